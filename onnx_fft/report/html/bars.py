"""Times as bars on one scale."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_fft.report.numbers import format_time
from onnx_fft.timing.stats import SAME_MARGIN


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of `share` of the longest, with its time beside it; `label` says to those who listen what it is."""

    kind: str
    """A class of the style sheet: before, after, "after lost", idle."""
    label: str
    share: float
    time: str


def make_bar(seconds: float, longest: float, kind: str, label: str) -> Bar:
    """A bar of `seconds` on a scale that ends at `longest`."""
    return Bar(kind, label, seconds / longest if longest > 0 else 0.0, format_time(seconds))


def is_slower(before_s: float | None, after_s: float | None) -> bool:
    """Whether a replacement takes longer by as much as is worth mentioning; of single times, not a verdict."""
    return before_s is not None and after_s is not None and after_s > (1 + SAME_MARGIN) * before_s


def pair_bars(before_s: float | None, after_s: float | None, longest: float, *, judged: bool = True) -> tuple[Bar, ...]:
    """The original's bar above the rewritten model's; None has no bar. If `judged`, a loss has a colour of its own."""
    bars = [] if before_s is None else [make_bar(before_s, longest, "before", "original")]
    if after_s is not None:
        lost = judged and is_slower(before_s, after_s)
        kind, label = ("after lost", "rewritten, slower") if lost else ("after", "rewritten")
        bars.append(make_bar(after_s, longest, kind, label))
    return tuple(bars)
