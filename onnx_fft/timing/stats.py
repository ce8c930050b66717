"""What samples say: medians, quartiles, ratios, and the words for them. Pure functions, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SAME_MARGIN = 0.01
"""A ratio this near to 1 is called neither faster nor slower."""


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


def summarize(samples: Sequence[float]) -> Spread:
    """Median and quartiles (linear interpolation); raises ValueError where there is no sample."""
    if not samples:
        raise ValueError("got no samples; expected at least one")
    low, median, high = (float(value) for value in np.percentile(samples, (25, 50, 75)))
    return Spread(median, low, high, len(samples))


def compare(before_s: Sequence[float], after_s: Sequence[float]) -> Spread:
    """How many times faster `after` is: the ratio of each round's two times, below 1 for a loss.

    The two times of a round were taken right after each other, so what slows the machine for a while slows both; the
    median of these ratios therefore says more than the ratio of the medians. Raises ValueError for unequal counts.
    """
    return summarize([before / after for before, after in zip(before_s, after_s, strict=True)])


def describe_ratio(ratio: Spread) -> str:
    """`1.62x: faster`, `0.71x: slower`, or `1.01x: the same` where the quartiles lie on both sides of 1."""
    same = abs(ratio.median - 1) < SAME_MARGIN or ratio.low <= 1 <= ratio.high
    word = "the same within the spread" if same else "faster" if ratio.median > 1 else "slower"
    return f"{ratio.median:.2f}x: {word} (quartiles {ratio.low:.2f} to {ratio.high:.2f}, {ratio.count} rounds)"


def describe_seconds(spread: Spread) -> str:
    """`12.3 ms (12.1 to 12.9)`."""
    return f"{format_ms(spread.median)} ms ({format_ms(spread.low)} to {format_ms(spread.high)})"


def format_ms(seconds: float) -> str:
    """Milliseconds with three digits that mean something."""
    ms = seconds * 1e3
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 1 else f"{ms:.3f}"


def format_bytes(count: int) -> str:
    """`1.2 MiB`."""
    return f"{count / 2**20:.2f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
