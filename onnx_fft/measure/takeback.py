"""Taking replacements back that pay alone and not in the model, where they cost layout changes and fusions.

One replacement after the other (all convolutions of one geometry together), the one with the smallest gain first: if
the whole model is faster without it, it is taken back. Then what is left is compared with the original model, and
everything is taken back unless a gain is shown. Talks to no clock: a `Timer` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from onnx_fft.measure.choice import Timings, describe_speed
from onnx_fft.timing.stats import SAME_MARGIN, Ratio

Variant = frozenset[str]
"""A whole model: the labels of the replacements it keeps."""

ORIGINAL: Variant = frozenset()
MAX_ROUNDS = 100
"""No comparison is made longer than this."""


class Timer(Protocol):
    """Times whole models."""

    def has_time(self, comparisons: int) -> bool:
        """Whether the budget allows for so many more calls of `time`."""

    def time(self, variants: Sequence[Variant]) -> Timings:
        """Seconds of each variant on each feed in each round."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The labels kept; those taken back, with the reason; how sure it is.

    `ratio` compares the original with the last variant that was compared with it, over all feeds together, `cases` feed
    by feed; if `kept` is empty, that variant was rejected, or none was left to compare.
    """

    kept: Variant
    taken_back: dict[str, str] = field(default_factory=dict)
    ratio: Ratio | None = None
    cases: tuple[Ratio, ...] = ()
    untested: tuple[str, ...] = ()
    """Kept without being asked for alone: the time was up."""


def take_back(gains: Mapping[str, float], timer: Timer) -> Outcome:
    """Which of the replacements to keep; `gains` are the seconds each saves if it is timed alone."""
    kept = frozenset(gains)
    timings = timer.time([ORIGINAL, kept])
    kept, taken_back, untested = _drop_each(gains, timer)
    if not kept:
        return Outcome(kept, taken_back)
    if taken_back:
        timings = timer.time([ORIGINAL, kept])
    while not _is_decided(timings) and timer.has_time(1):
        timings = timings.join(timer.time([ORIGINAL, kept]))
    ratio, cases = timings.compare(0, 1), tuple(timings.compare_cases(0, 1))
    if ratio.is_gain and not any(case.is_loss for case in cases):
        return Outcome(kept, taken_back, ratio, cases, untested)
    worst = min(cases, key=lambda case: case.value) if ratio.is_gain else ratio
    where = "on one of the inputs " if ratio.is_gain else ""
    sentence = f"with it the whole model runs {where}at {describe_speed(worst)}: no gain shown"
    return Outcome(ORIGINAL, taken_back | dict.fromkeys(sorted(kept), sentence), ratio, cases)


def _drop_each(gains: Mapping[str, float], timer: Timer) -> tuple[Variant, dict[str, str], tuple[str, ...]]:
    """What is kept, what is taken back and why, and what there was no time to ask for.

    A single replacement needs no question of its own: the comparison with the original answers it.
    """
    kept: Variant = frozenset(gains)
    taken_back: dict[str, str] = {}
    order = sorted(gains, key=lambda label: (gains[label], label))
    if len(order) == 1:
        return kept, {}, ()
    for number, label in enumerate(order):
        if not timer.has_time(2):  # this question, and the comparison with the original afterwards
            return kept, taken_back, tuple(order[number:])
        ratio = timer.time([kept, kept - {label}]).compare(0, 1)
        if ratio.value > 1:
            kept -= {label}
            taken_back[label] = f"it gains alone, but without it the whole model runs at {describe_speed(ratio)}"
    return kept, taken_back, ()


def _is_decided(timings: Timings) -> bool:
    """Whether the interval lies above any gain not worth a word, or below it, or enough rounds were run.

    Clearly above: looking again and again until an interval just leaves 1 would find a gain in noise.
    """
    ratio = timings.compare(0, 1)
    return ratio.low > 1 + SAME_MARGIN or ratio.high < 1 + SAME_MARGIN or timings.rounds >= MAX_ROUNDS
