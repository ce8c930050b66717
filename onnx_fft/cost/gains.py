"""How much a replacement is predicted to gain, at which sizes, and how much is enough."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_fft.cost.extents import ASSUMED_EXTENTS, assume_extents, assume_sizes
from onnx_fft.cost.fourier import judge_at
from onnx_fft.cost.frames import judge_frames
from onnx_fft.cost.machines import CPU_MACHINES, Machine
from onnx_fft.cost.predict import FFTCONV, border_seconds, lowering_seconds, original_seconds
from onnx_fft.lowering import CUDA, NATIVE
from onnx_fft.lowering.base import Plan
from onnx_fft.sites.fourier import DftSpec, MatMulSpec, StftSpec
from onnx_fft.sites.site import Spec, list_lengths
from onnx_fft.sites.spec import describe_lengths

MIN_GAIN = 1.4
"""Predicted speed-up from which on a site is replaced.

`calibration.json` says how many of the convolutions measured are predicted to gain that much, and how many lost."""

LEAST_GAIN = 0.97
"""Predicted speed-up that a native node must have at every size that the model leaves open."""

MIN_GAIN_NATIVE = 1.15
"""The same for the native library, which measures the machine that it predicts for. Of the 150 convolutions of
scripts/bench/results/held_out_native_avx2.jsonl, which its rates were not fitted on (2-core AMD EPYC, AVX2, ONNX
Runtime 1.32, 2 threads, 2026-11), what is chosen so is the fastest or within 10% of it for 94%. Of the 87 that are
replaced one loses, at 0.94x."""

MIN_GAIN_CUDA = 2.0
"""The same for NVIDIA GPUs, of which nothing is measured."""


def predict_gain(spec: Spec, plan: Plan, machines: Sequence[Machine] = CPU_MACHINES) -> float:
    """The original's time over the plan's, in a model: the least over machines, and over assumed sizes for open ones.

    A native node sees the shape and calls ONNX Runtime's Conv where that is faster, so that it is judged by the size
    that gains most, if it loses on none. So is a MatMul, whose node calls no other.
    """
    gains = [
        min(
            original_seconds(known, machine) / (lowering_seconds(known, plan, machine) + border_seconds(known, machine))
            for machine in machines
        )
        for known in judged_specs(spec, plan.lowering)
    ]
    return max(gains) if _may_lose_none(spec, plan.lowering) and min(gains) >= LEAST_GAIN else min(gains)


def least_gain(target: str) -> float:
    """Predicted speed-up from which on a site is replaced for `target`, by the plans that are predicted best."""
    return {CUDA: MIN_GAIN_CUDA, NATIVE: MIN_GAIN_NATIVE}.get(target, MIN_GAIN)


def describe_basis(spec: Spec, lowering: str, gain: float, target: str) -> str:
    """What a predicted speed holds for, unless it is the very site on a measured machine."""
    by = " by datasheets" if target == CUDA else ""
    if isinstance(spec, DftSpec | StftSpec):
        shapes = [describe_lengths(list_lengths(known)) for known in judge_at(spec)]
        return (f" on {' and '.join(shapes)}" if len(shapes) > 1 else "") + by
    judged = judged_specs(spec, lowering)
    if _may_lose_none(spec, lowering) and len(judged) > 1:
        sizes = [_describe_input(known, 0) for known in judged]
        which = "worst" if is_worst(spec, lowering, gain) else "best"
        return f" at the {which} of {len(sizes)} sizes from {sizes[0]} to {sizes[-1]}"
    if isinstance(spec, MatMulSpec):
        return by
    known_lengths = [_describe_input(known, 2) for known in judged]
    lengths = f" on {' and '.join(known_lengths)}" if None in spec.extents else ""
    return lengths + by


def _describe_input(spec: Spec, first: int) -> str:
    """Batch and extents of a convolution's input, or the extents alone, from dimension `first` on; all of frames."""
    if isinstance(spec, MatMulSpec):
        return describe_lengths(spec.shape)
    batch, _, *extents = list_lengths(spec)
    return describe_lengths((batch, *extents) if first == 0 else tuple(extents))


def is_worst(spec: Spec, lowering: str, gain: float) -> bool:
    """Whether an option for open sizes was judged by one at which it loses."""
    return _may_lose_none(spec, lowering) and gain < LEAST_GAIN and len(judged_specs(spec, lowering)) > 1


def _may_lose_none(spec: Spec, lowering: str) -> bool:
    """Whether it is enough for open sizes to gain at one and to lose at none."""
    return lowering == FFTCONV or isinstance(spec, MatMulSpec)


def judged_specs(spec: Spec, lowering: str) -> Sequence[Spec]:
    """The site itself, or one for each assumed length if lengths are open."""
    if isinstance(spec, DftSpec | StftSpec):
        return judge_at(spec)
    if isinstance(spec, MatMulSpec):
        return judge_frames(spec)
    if lowering == FFTCONV:
        return assume_sizes(spec)
    if None not in spec.extents:
        return [spec]
    return list(dict.fromkeys(assume_extents(spec, length) for length in ASSUMED_EXTENTS))
