"""Which option of a site wins, told by recorded timings alone: no clock, no session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_fft.cost.choose import Alternative, Decision
from onnx_fft.errors import Refusal
from onnx_fft.lowering.base import Plan
from onnx_fft.sites.site import Spec, list_lengths
from onnx_fft.timing.stats import Ratio, compare

SAME_SPEED = 1.05
"""Options within this factor are as good as each other: the smaller file decides, and no more time is spent on them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to replace a site: its plan, predicted mean seconds over the contest's shapes, bytes added."""

    plan: Plan
    predicted_s: float
    growth_bytes: int


@dataclass(frozen=True, slots=True)
class Contest:
    """One distinct site and the options to time: ONNX Runtime's own operator, predicted at `conv_s`, or a candidate.

    `spec` is what the model says, open lengths included; `shapes` are the inputs to time.
    """

    spec: Spec
    opset: int
    shapes: tuple[tuple[int, ...], ...]
    conv_s: float
    candidates: tuple[Candidate, ...]

    @property
    def predicted_saving_s(self) -> float:
        """Seconds a run that the best candidate is predicted to save; negative if none is."""
        return self.conv_s - min((candidate.predicted_s for candidate in self.candidates), default=self.conv_s)


@dataclass(frozen=True, slots=True)
class Timings:
    """`seconds[option][case][round]` of options timed in turn; all options and cases have the same rounds.

    A case is an input the options were run on: a shape of a contest, a feed of a model.
    """

    seconds: tuple[tuple[tuple[float, ...], ...], ...]

    def __post_init__(self) -> None:
        """Raises ValueError if rounds or cases do not align."""
        counts = {len(rounds) for cases in self.seconds for rounds in cases}
        if len({len(cases) for cases in self.seconds}) != 1 or len(counts) != 1 or 0 in counts:
            raise ValueError(f"got {sorted(counts)} rounds; expected the same cases and rounds for all")

    @property
    def rounds(self) -> int:
        """How many there are."""
        return len(self.seconds[0][0])

    def total(self, option: int) -> tuple[float, ...]:
        """Seconds of all cases together, by round: a case that takes longer weighs more."""
        return tuple(map(sum, zip(*self.seconds[option], strict=True)))

    def mean_s(self, option: int) -> float:
        """Seconds of one run, the mean over cases."""
        return float(np.median(self.total(option))) / len(self.seconds[option])

    def compare(self, before: int, after: int) -> Ratio:
        """How many times faster one option is over all cases together."""
        return compare(self.total(before), self.total(after))

    def compare_cases(self, before: int, after: int) -> list[Ratio]:
        """The same for each case."""
        return [compare(b, a) for b, a in zip(self.seconds[before], self.seconds[after], strict=True)]

    def join(self, later: Timings) -> Timings:
        """The rounds of both."""
        pairs = zip(self.seconds, later.seconds, strict=True)
        return Timings(tuple(tuple(a + b for a, b in zip(mine, others, strict=True)) for mine, others in pairs))


def align_rounds(seconds: Sequence[Sequence[Sequence[float]]]) -> Timings:
    """Timings of samples `[case][option][round]` whose cases have different numbers of rounds: the fewest count."""
    rounds = min(len(samples) for case in seconds for samples in case)
    options = zip(*seconds, strict=True)
    return Timings(tuple(tuple(tuple(samples[:rounds]) for samples in cases) for cases in options))


def is_settled(timings: Timings) -> bool:
    """Whether more rounds would change nothing that matters.

    The fastest option is shown to be faster than each other one, or the two are within `SAME_SPEED`.
    """
    options = range(len(timings.seconds))
    leader = min(options, key=timings.mean_s)
    ratios = [timings.compare(other, leader) for other in options if other != leader]
    return all(ratio.low > 1 or ratio.high < SAME_SPEED for ratio in ratios)


def choose_measured(contest: Contest, timings: Timings) -> Decision:
    """The decision for every site of the contest; `timings` has the original first, then the candidates in order.

    A candidate is taken if it is shown faster over all shapes together and shown slower on none of them; of those
    within `SAME_SPEED` of the fastest, the one that adds the fewest bytes.
    """
    numbers = range(1, len(contest.candidates) + 1)
    ratios = {number: timings.compare(0, number) for number in numbers}
    fastest = max(numbers, key=lambda number: ratios[number].value)
    paying = [n for n in numbers if ratios[n].is_gain and not any(r.is_loss for r in timings.compare_cases(0, n))]
    if not paying:
        return _leave(contest, timings, fastest)
    best = max(ratios[number].value for number in paying)
    near = [number for number in paying if ratios[number].value * SAME_SPEED >= best]
    chosen = min(near, key=lambda number: contest.candidates[number - 1].growth_bytes)
    candidate = contest.candidates[chosen - 1]
    return Decision(
        candidate.plan,
        None,
        contest.conv_s,
        candidate.predicted_s,
        candidate.growth_bytes,
        _options(contest, timings),
        f"measured at {describe_speed(ratios[chosen])}{_name_shapes(contest)}",
        timings.mean_s(0),
        timings.mean_s(chosen),
    )


def describe_speed(ratio: Ratio) -> str:
    """`1.62x the speed (95% interval 1.55 to 1.70)`."""
    return f"{ratio.value:.2f}x the speed (95% interval {ratio.low:.2f} to {ratio.high:.2f})"


def print_shape(shape: Sequence[int]) -> str:
    """`1x64x56x56`."""
    return "x".join(map(str, shape))


def _leave(contest: Contest, timings: Timings, fastest: int) -> Decision:
    """Leave the original, for what `fastest` was measured at."""
    ratio = timings.compare(0, fastest)
    sentence = f"{contest.candidates[fastest - 1].plan.lowering} measured at {describe_speed(ratio)}"
    losses = zip(contest.shapes, timings.compare_cases(0, fastest), strict=True)
    slower = [f"{describe_speed(ratio)} on {print_shape(shape)}" for shape, ratio in losses if ratio.is_loss]
    sentence += f", and {slower[0]}" if slower and ratio.value > 1 else _name_shapes(contest)
    refusal = Refusal("no-gain", sentence)
    options, seconds = _options(contest, timings), (timings.mean_s(0), timings.mean_s(fastest))
    return Decision(None, refusal, contest.conv_s, None, 0, options, sentence, *seconds)


def _options(contest: Contest, timings: Timings) -> tuple[Alternative, ...]:
    return tuple(
        Alternative(c.plan.lowering, c.plan, c.predicted_s, c.growth_bytes, measured_s=timings.mean_s(number))
        for number, c in enumerate(contest.candidates, 1)
    )


def _name_shapes(contest: Contest) -> str:
    """Where lengths are open, the shapes that were timed."""
    is_open = None in list_lengths(contest.spec)
    return f" on {', '.join(map(print_shape, contest.shapes))}" if is_open else ""
