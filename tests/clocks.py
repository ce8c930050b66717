"""A clock that tests wind by hand."""

from __future__ import annotations

from collections.abc import Callable


class FakeClock:
    """Time passes only while a fake model runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def make_run(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            self.now += seconds

        return run
