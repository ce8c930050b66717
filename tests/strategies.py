"""Random convolutions for hypothesis: every attribute, every lowering, every plan, sized for hundreds of examples.

One limit of ONNX Runtime is kept to: float64 goes with some activations only. The CPU provider has no LeakyRelu and no
HardSigmoid for float64, and Clip only from opset 11; FusedConv itself has no float64 kernel, so no running model holds
one. `test_lowering.py` holds that the limit is still there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import onnx
from hypothesis import strategies as st

from onnx_fft.fourier.axis import Axis, same_padding
from onnx_fft.fourier.basis import spectrum_length
from onnx_fft.lowering import list_lowerings
from onnx_fft.lowering.base import ConvPlan, Lowering
from onnx_fft.sites.spec import SUPPORTED_DTYPES, Activation, ConvSpec

Draw = st.DrawFn

ACTIVATIONS = (
    Activation("Relu"),
    Activation("Tanh"),
    Activation("Sigmoid"),
    Activation("LeakyRelu", (0.1,)),
    Activation("Clip", (-0.5, 0.75)),
    Activation("HardSigmoid", (0.3, 0.4)),
)
"""All of FusedConv's. None has a slope above 1, so that none makes an error larger."""

FRAGMENT_LOWERINGS: tuple[Lowering, ...] = tuple(dict.fromkeys((*list_lowerings("standard"), *list_lowerings("cuda"))))
"""Those that plan axes and write a convolution out in operators, each once."""

FLOAT64_ACTIVATIONS = ACTIVATIONS[:3]
MAX_SPECTRUM = 1 << 17
"""Numbers in the weight's spectrum, or in one channel's, that a random example may hold."""

MAX_TAPS = {1: 40, 2: 19, 3: 4, 4: 2}
MAX_EXTRA = {1: 90, 2: 20, 3: 7, 4: 3}
"""Kernel length, and samples beyond the shortest input that yields an output, by rank."""

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


@dataclass(frozen=True, slots=True)
class Trial:
    """One convolution, the way it is computed, and the shapes `[batch, channels, *extents]` one session is fed."""

    spec: ConvSpec
    lowering: str
    plan: ConvPlan
    opset: int
    shapes: tuple[tuple[int, ...], ...]
    seed: int
    has_bias_input: bool

    def find_lowering(self) -> Lowering:
        """The lowering by its name."""
        return next(lowering for lowering in FRAGMENT_LOWERINGS if lowering.name == self.lowering)


@st.composite
def axes(draw: Draw, rank: int = 1, auto_pad: str = "") -> tuple[Axis, tuple[int, ...]]:
    """An axis, its extent known or not, and extents that it may be fed: one if it is known, else two or three.

    With `auto_pad` it is padded so, at run time if need be, and is not dilated: ONNX Runtime takes no such Conv.
    """
    taps = draw(_lengths(MAX_TAPS[rank]))
    stride = draw(st.sampled_from((1, 1, 1, 2, 3, 4)))
    dilation = 1 if auto_pad else draw(st.sampled_from((1, 1, 1, 2, 3)))
    span = dilation * (taps - 1) + 1
    pads = st.one_of(st.just(0), st.integers(0, span), st.just(span - 1), st.integers(span, span + 3))
    begin, end = (0, 0) if draw(st.booleans()) else (draw(pads), draw(pads))
    shortest = max(1, span - begin - end)
    extra = st.one_of(st.just(0), _lengths(MAX_EXTRA[rank]))
    known = draw(st.booleans())
    count = 1 if known else draw(st.integers(2, 3))
    if auto_pad:
        stride, extents = min(stride, span + 1), tuple(1 + draw(extra) for _ in range(count))
        if not known and stride > 1:
            return Axis(taps, stride, auto_pad=auto_pad), extents
        pads_same = same_padding(auto_pad, extents[0], stride, span)
        return Axis(taps, stride, 1, *pads_same, extents[0] if known else None), extents
    extents = tuple(shortest + draw(extra) for _ in range(count))
    return Axis(taps, stride, dilation, begin, end, extents[0] if known else None), extents


def _lengths(most: int) -> st.SearchStrategy[int]:
    primes = [prime for prime in PRIMES if prime <= most]
    high = st.integers(3 * most // 4, most)
    return st.one_of(st.integers(1, min(most, 3)), st.integers(1, most), high, st.sampled_from(primes))


@st.composite
def channels(draw: Draw) -> tuple[int, int, int]:
    """Input channels, output channels and group: dense, grouped, depthwise, with a multiplier, single."""
    kind = draw(st.sampled_from(("dense", "grouped", "depthwise", "multiplier", "single")))
    group = {"dense": 1, "single": 1}.get(kind) or draw(st.integers(2, 4))
    inputs = draw(st.integers(2, 4)) if kind in ("dense", "grouped") else 1
    outputs = 1 if kind == "depthwise" else draw(st.integers(1, 4))
    return group * inputs, group * outputs, group


@st.composite
def trials(draw: Draw) -> Trial:
    """A convolution with a lowering, one of its plans, an opset that is enough, and shapes to feed."""
    rank = draw(st.sampled_from((1, 1, 1, 2, 2, 2, 3, 4)))
    auto_pad = draw(st.sampled_from(("", "", "SAME_UPPER", "SAME_LOWER")))
    spatial = [draw(axes(rank, auto_pad)) for _ in range(rank)]
    is_static = all(axis.extent is not None for axis, _ in spatial)
    batches = draw(st.lists(st.sampled_from((0, 1, 2, 3)), min_size=3, max_size=3))
    dtype = draw(st.sampled_from(SUPPORTED_DTYPES))
    activations = FLOAT64_ACTIVATIONS if dtype == "float64" else ACTIVATIONS
    batch = draw(st.sampled_from((None, batches[0])))
    spec = make_spec(
        [axis for axis, _ in spatial],
        draw(channels()),
        batch=batch,
        dtype=dtype,
        has_bias=draw(st.booleans()),
        activation=draw(st.one_of(st.none(), st.sampled_from(activations))),
        has_sum=draw(st.sampled_from((False, False, True))),
    )
    lowering = draw(st.sampled_from([each for each in FRAGMENT_LOWERINGS if not each.find_obstacle(spec)]))
    if lowering.name == "rfft":  # transforms no empty batch
        batches = [max(1, each) for each in batches]
    runs = 1 if is_static and batch is not None else 3
    shapes = tuple(
        (
            batches[run] if batch is None else batch,
            spec.in_channels,
            *(extents[run % len(extents)] for _, extents in spatial),
        )
        for run in range(runs)
    )
    plan = draw_plan(draw, lowering, spec)
    newest = onnx.defs.onnx_opset_version()
    least = lowering.min_opset(spec)
    opset = draw(st.one_of(st.just(least), st.integers(least, newest)))
    return Trial(spec, lowering.name, plan, opset, shapes, draw(st.integers(0, 9999)), draw(st.booleans()))


def make_spec(
    spatial: Sequence[Axis],
    channel_counts: tuple[int, int, int],
    *,
    batch: int | None = 1,
    dtype: str = "float32",
    has_bias: bool = False,
    activation: Activation | None = None,
    has_sum: bool = False,
) -> ConvSpec:
    """The spec of the axes; `channel_counts` is (in, out, group)."""
    in_channels, out_channels, group = channel_counts
    return ConvSpec(
        batch=batch,
        in_channels=in_channels,
        out_channels=out_channels,
        group=group,
        extents=tuple(axis.extent for axis in spatial),
        kernel_shape=tuple(axis.taps for axis in spatial),
        strides=tuple(axis.stride for axis in spatial),
        dilations=tuple(axis.dilation for axis in spatial),
        pads_begin=tuple(axis.pad_begin for axis in spatial),
        pads_end=tuple(axis.pad_end for axis in spatial),
        dtype=dtype,
        has_bias=has_bias,
        activation=activation,
        has_sum=has_sum,
        auto_pad=next((axis.auto_pad for axis in spatial if axis.auto_pad), ""),
    )


def draw_plan(draw: Draw, lowering: Lowering, spec: ConvSpec) -> ConvPlan:
    """One of the candidates, its kind drawn first; the smallest of its kind where that one is too large to test."""
    kinds: dict[tuple[tuple[bool, bool], ...], list[ConvPlan]] = {}
    for plan in lowering.candidates(spec):
        kinds.setdefault(plan_kind(plan), []).append(plan)
    *_, rarest = ordered = sorted(kinds)
    plans = kinds[draw(st.sampled_from([*ordered, rarest, rarest]))]
    plan = plans[draw(st.integers(0, len(plans) - 1))]
    if spectrum_size(spec, plan) <= MAX_SPECTRUM:
        return plan
    return min(plans, key=lambda plan: spectrum_size(spec, plan))


def plan_kind(plan: ConvPlan) -> tuple[tuple[bool, bool], ...]:
    """Of each axis, whether it is transformed whole and whether its DFT is factored."""
    return tuple((axis.whole, axis.columns > 1) for axis in plan.axes)


def spectrum_size(spec: ConvSpec, plan: ConvPlan) -> int:
    """Real numbers in the weight's spectrum."""
    return spec.out_channels * spec.in_channels // spec.group * prod(spectrum_length(axis) for axis in plan.axes)
