"""What samples say: medians, quartiles, ratios, and what a ratio is called. Pure functions, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SAME_MARGIN = 0.01
"""A ratio this near to 1 is called neither faster nor slower."""
RESAMPLES = 2000
"""Of the bootstrap."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of `count` samples."""

    median: float
    low: float
    high: float
    count: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times faster, with a 95% interval, from `rounds` rounds; below 1 is a loss."""

    value: float
    low: float
    high: float
    rounds: int

    @property
    def is_gain(self) -> bool:
        """Whether a gain is shown: one worth mentioning, whose interval lies above 1."""
        return self.value >= 1 + SAME_MARGIN and self.low > 1

    @property
    def is_loss(self) -> bool:
        """Whether a loss is shown: one worth mentioning, whose interval lies below 1."""
        return self.value <= 1 - SAME_MARGIN and self.high < 1

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def summarize(samples: Sequence[float]) -> Spread:
    """Median and quartiles (linear interpolation); raises ValueError without samples."""
    if not samples:
        raise ValueError("got no samples; expected at least one")
    low, median, high = (float(value) for value in np.percentile(samples, (25, 50, 75)))
    return Spread(median, low, high, len(samples))


def compare(before_s: Sequence[float], after_s: Sequence[float]) -> Ratio:
    """How many times faster `after` is: the ratio of the medians, below 1 for a loss.

    The interval comes from a bootstrap over whole rounds (the percentile method, seeded): the two times of a round were
    taken right after each other, so what slows the machine for a while slows both. Raises ValueError without samples or
    for unequal counts.
    """
    before, after = np.asarray(before_s, np.float64), np.asarray(after_s, np.float64)
    if before.shape != after.shape or before.size == 0:
        raise ValueError(f"got {before.size} and {after.size} samples; expected equally many, at least one")
    drawn = np.random.default_rng(0).integers(0, before.size, (RESAMPLES, before.size))
    ratios = np.median(before[drawn], axis=1) / np.median(after[drawn], axis=1)
    low, high = (float(value) for value in np.percentile(ratios, (2.5, 97.5)))
    return Ratio(float(np.median(before) / np.median(after)), low, high, before.size)


def describe_ratio(ratio: Ratio) -> str:
    """`1.62x: faster`, `0.71x: slower`, or `1.01x: no difference shown`, each with its interval."""
    return f"{ratio.value:.2f}x: {describe_verdict(ratio)}"


def describe_verdict(ratio: Ratio) -> str:
    """`faster (95% interval 1.55 to 1.70, 40 rounds)`: what comes after the number."""
    word = "faster" if ratio.is_gain else "slower" if ratio.is_loss else "no difference shown"
    return f"{word} (95% interval {ratio.low:.2f} to {ratio.high:.2f}, {ratio.rounds} rounds)"
