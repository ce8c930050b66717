"""Which plans of a site are worth timing, by predicted cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from onnx_fft.cost.choose import NEAR_BEST, Request
from onnx_fft.cost.growth import OWN_WEIGHT, growth_bytes
from onnx_fft.cost.predict import lowering_seconds, original_seconds
from onnx_fft.fourier.axis import AxisPlan
from onnx_fft.lowering.base import ConvPlan, Plan
from onnx_fft.measure.choice import Candidate, Contest
from onnx_fft.model.storage import Storage
from onnx_fft.sites.site import Spec, fix_lengths

MAX_CANDIDATES = 3
"""Plans timed for one site."""

HOPELESS = 3.0
"""A plan predicted at more than this many times the original, or the best plan, is not timed."""

DISTINCT_LENGTH = 1.25
"""Plans whose DFT lengths on some axis differ by this factor are worth timing both."""


@cache
def make_contest(
    spec: Spec,
    opset: int,
    shapes: tuple[tuple[int, ...], ...],
    request: Request,
    storage: Storage = OWN_WEIGHT,
) -> Contest:
    """The contest of a site for inputs of `shapes`; it may have no candidates.

    The planner's own pick comes first, the smallest of those predicted near the fastest; then the next plans that
    differ from those before. Costs are predicted for `shapes`, for any lowering that `request` and `opset` allow.
    """
    specs = [fix_lengths(spec, shape) for shape in shapes]
    conv_s = _mean([original_seconds(each, request.machines[0]) for each in specs])
    options = []
    for lowering in request.find_lowerings(spec):
        applies = opset >= lowering.min_opset(spec) and not lowering.find_obstacle(spec)
        plans: list[Plan] = lowering.candidates(spec) if applies else []
        for plan in plans:
            growth = growth_bytes(spec, plan, storage)
            if growth <= request.max_growth_bytes:
                seconds = _mean([lowering_seconds(each, plan, request.machines[0]) for each in specs])
                options.append(Candidate(plan, seconds, growth))
    return Contest(spec, opset, shapes, conv_s, _pick(options, conv_s))


def are_distinct(first: Plan, second: Plan) -> bool:
    """Whether two plans differ by more than a few samples: in lowering, structure, or a DFT length."""
    if isinstance(first, ConvPlan) and isinstance(second, ConvPlan):
        return first.lowering != second.lowering or any(map(_differ, first.axes, second.axes))
    return first != second


def _pick(options: Sequence[Candidate], conv_s: float) -> tuple[Candidate, ...]:
    ordered = sorted(options, key=lambda option: option.predicted_s)
    if not ordered:
        return ()
    fastest_s = ordered[0].predicted_s
    near = [option for option in ordered if option.predicted_s <= NEAR_BEST * fastest_s]
    ordered.insert(0, min(near, key=lambda option: option.growth_bytes))
    picked: list[Candidate] = []
    for option in ordered:
        is_hopeless = option.predicted_s > HOPELESS * min(conv_s, fastest_s)
        if not is_hopeless and all(are_distinct(option.plan, other.plan) for other in picked):
            picked.append(option)
    return tuple(picked[:MAX_CANDIDATES])


def _differ(first: AxisPlan, second: AxisPlan) -> bool:
    lengths = sorted((first.dft_length, second.dft_length))
    same_structure = (first.columns, first.whole) == (second.columns, second.whole)
    return not same_structure or lengths[1] >= DISTINCT_LENGTH * lengths[0]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
