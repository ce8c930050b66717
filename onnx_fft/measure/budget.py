"""Time to spend on measuring."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

CONV_SHARE = 0.6
"""Part of the budget that single convolutions may use up; the rest is for whole models."""


@dataclass(slots=True)
class Budget:
    """Seconds of wall-clock time, spent from the moment it is made."""

    total_s: float
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._started = self.clock()

    @property
    def spent_s(self) -> float:
        """Seconds since the start."""
        return self.clock() - self._started

    @property
    def share(self) -> float:
        """Part of the budget that is spent, 0 to 1."""
        return min(1.0, self.spent_s / self.total_s) if self.total_s > 0 else 1.0

    def left_s(self, share: float = 1.0) -> float:
        """Seconds left of this share of the budget; negative once it is overdrawn."""
        return share * self.total_s - self.spent_s

    def describe(self) -> str:
        """`at most 43 s left`, the last comparison apart."""
        return f"at most {max(0.0, self.left_s()):.0f} s left"
