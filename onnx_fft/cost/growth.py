"""How many bytes the constants of a fragment add to the file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import prod

from onnx_fft.fourier.axis import Axis, AxisPlan
from onnx_fft.fourier.basis import spectrum_length
from onnx_fft.lowering.base import ConvPlan, spec_axes
from onnx_fft.lowering.rfft import signal_lengths
from onnx_fft.sites.spec import ConvSpec


def growth_bytes(spec: ConvSpec, plan: ConvPlan) -> int:
    """Bytes that the fragment of `plan` adds to the file, the Conv's own weight taken off."""
    return GROWTHS[plan.lowering](spec, plan)


def _matmul_growth(spec: ConvSpec, plan: ConvPlan) -> int:
    """The weight's spectrum, the matrices of every axis, the indices of framing."""
    pairs = spec.out_channels * spec.in_channels // spec.group
    spectrum = pairs * prod(spectrum_length(axis_plan) for axis_plan in plan.axes)
    matrices = sum(itertools.starmap(_matrix_elements, zip(spec_axes(spec), plan.axes, strict=True)))
    return (spectrum + matrices) * _constant_itemsize(spec) + _index_bytes(spec, plan) - _weight_bytes(spec)


def _dft_growth(spec: ConvSpec, plan: ConvPlan) -> int:
    """The weight's half-spectrum and the indices of framing."""
    spectrum = _spectrum_bytes(spec, [axis_plan.dft_length for axis_plan in plan.axes])
    return spectrum + _index_bytes(spec, plan) - _weight_bytes(spec)


def _rfft_growth(spec: ConvSpec, plan: ConvPlan) -> int:
    """The same, along the axes that are transformed."""
    return _spectrum_bytes(spec, signal_lengths(plan)) + _index_bytes(spec, plan) - _weight_bytes(spec)


def _fftconv_growth(spec: ConvSpec, plan: ConvPlan) -> int:
    """None: the weight stays the raw one."""
    return 0


GROWTHS: dict[str, Callable[[ConvSpec, ConvPlan], int]] = {
    "matmul": _matmul_growth,
    "dft": _dft_growth,
    "rfft": _rfft_growth,
    "fftconv": _fftconv_growth,
}
"""What each lowering adds, by its name."""


def _matrix_elements(axis: Axis, plan: AxisPlan) -> int:
    lengths = plan.input_length(axis) + plan.output_length(axis)
    if plan.columns == 1:
        return spectrum_length(plan) * lengths
    outer = (plan.rows // 2 + 1) * 2 * plan.columns * 3 * plan.columns
    return (plan.rows + 2) * lengths // plan.columns + outer * (axis.stride + 1) // axis.stride


def _spectrum_bytes(spec: ConvSpec, lengths: Sequence[int]) -> int:
    """Bytes of the weight's half-spectrum for DFTs of these lengths, as real matrices if channels are summed."""
    *full, half = lengths
    numbers = prod(full) * (half // 2 + 1) * (2 if spec.is_depthwise else 4)
    return spec.out_channels * spec.in_channels // spec.group * numbers * _constant_itemsize(spec)


def _weight_bytes(spec: ConvSpec) -> int:
    """Bytes of the Conv's own weight."""
    itemsize = {"float16": 2, "float32": 4, "float64": 8}[spec.dtype]
    return spec.out_channels * spec.in_channels // spec.group * prod(spec.kernel_shape) * itemsize


def _constant_itemsize(spec: ConvSpec) -> int:
    """Bytes of one number in a fragment's constants, which hold float16 as float32."""
    return 8 if spec.dtype == "float64" else 4


def _index_bytes(spec: ConvSpec, plan: ConvPlan) -> int:
    """Bytes of the vectors that the indices of framing are made of."""
    axes = zip(spec_axes(spec), plan.axes, strict=True)
    return 8 * sum(p.input_length(axis) + (axis.output_extent or 0) for axis, p in axes if not p.whole)
