"""How work that takes a while says how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with what is being done and, if it is known, the share of the work that is done."""

    def __call__(self, what: str, share: float | None = None) -> None:
        """`share` is from 0 to 1."""


def no_progress(what: str, share: float | None = None) -> None:
    """Say nothing."""
