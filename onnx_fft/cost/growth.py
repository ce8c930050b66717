"""How many bytes the constants of a fragment add to the file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import prod

from onnx_fft.cost.fourier import know_lengths
from onnx_fft.cost.matmul_fourier import matmul_fourier_bytes
from onnx_fft.fourier.axis import Axis, AxisPlan
from onnx_fft.fourier.basis import spectrum_length
from onnx_fft.lowering.base import ConvPlan, FourierPlan, Plan, spec_axes
from onnx_fft.lowering.rfft import signal_lengths
from onnx_fft.lowering.transposed import as_conv
from onnx_fft.model.storage import Storage
from onnx_fft.sites.fourier import DftSpec, MatMulSpec, StftSpec
from onnx_fft.sites.site import FourierSpec, Spec
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec

OWN_WEIGHT = Storage()
"""Of a site that holds its constants as it computes with them, alone."""

ITEMSIZES = {"float16": 2, "float32": 4, "float64": 8}
"""Bytes of one number, by dtype."""


def growth_bytes(spec: Spec, plan: Plan, storage: Storage = OWN_WEIGHT) -> int:
    """Bytes that the constants of the fragment of `plan` add to the file, those that go with the site taken off.

    Constants that several fragments share are counted for each of them.
    """
    if isinstance(spec, MatMulSpec):
        size = spec.taps * spec.rows * ITEMSIZES[spec.dtype]
        return 0 if storage.is_readable else size - (size if storage.freed_bytes is None else storage.freed_bytes)
    if isinstance(spec, DftSpec | StftSpec):
        assert isinstance(plan, FourierPlan)
        return FOURIER_CONSTANTS[plan.lowering](know_lengths(spec), plan) - (storage.freed_bytes or 0)
    assert isinstance(plan, ConvPlan)
    freed = _weight_bytes(spec) if storage.freed_bytes is None else storage.freed_bytes
    if plan.lowering in READS_WEIGHT:
        return 0 if storage.is_readable else _fftconv_bytes(spec) - freed
    return CONSTANTS[plan.lowering](as_conv(spec) if isinstance(spec, ConvTransposeSpec) else spec, plan) - freed


def _matmul_bytes(spec: ConvSpec, plan: ConvPlan) -> int:
    """The weight's spectrum, the matrices of every axis, the indices of framing."""
    pairs = spec.out_channels * spec.in_channels // spec.group
    spectrum = pairs * prod(spectrum_length(axis_plan) for axis_plan in plan.axes)
    matrices = sum(itertools.starmap(_matrix_elements, zip(spec_axes(spec), plan.axes, strict=True)))
    return (spectrum + matrices) * _constant_itemsize(spec) + _index_bytes(spec, plan)


def _dft_bytes(spec: ConvSpec, plan: ConvPlan) -> int:
    """The weight's half-spectrum and the indices of framing."""
    spectrum = _spectrum_bytes(spec, [axis_plan.dft_length for axis_plan in plan.axes])
    return spectrum + _index_bytes(spec, plan)


def _rfft_bytes(spec: ConvSpec, plan: ConvPlan) -> int:
    """The same, along the axes that are transformed."""
    return _spectrum_bytes(spec, signal_lengths(plan)) + _index_bytes(spec, plan)


def _fftconv_bytes(spec: ConvSpec | ConvTransposeSpec) -> int:
    """The weight and a bias, if the node cannot read those of the Conv."""
    return _weight_bytes(spec) + spec.out_channels * ITEMSIZES[spec.dtype]


CONSTANTS: dict[str, Callable[[ConvSpec, ConvPlan], int]] = {
    "matmul": _matmul_bytes,
    "dft": _dft_bytes,
    "rfft": _rfft_bytes,
}
"""Bytes of the constants that each lowering stores, by its name; see `READS_WEIGHT` for the others."""


def _fft_bytes(spec: FourierSpec, plan: FourierPlan) -> int:
    """The lengths, and a window of ones if there may be none."""
    return 16 + (spec.frame_length * ITEMSIZES[spec.dtype] if isinstance(spec, StftSpec) else 0)


FOURIER_CONSTANTS: dict[str, Callable[[FourierSpec, FourierPlan], int]] = {
    "matmul": matmul_fourier_bytes,
    "fft": _fft_bytes,
}
"""The same for a DFT or STFT."""

READS_WEIGHT = ("fftconv",)
"""Lowerings that leave the weight where it stands, if it can be read there."""


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


def _weight_bytes(spec: ConvSpec | ConvTransposeSpec) -> int:
    """Bytes of the original's own weight."""
    return spec.out_channels * spec.in_channels // spec.group * prod(spec.kernel_shape) * ITEMSIZES[spec.dtype]


def _constant_itemsize(spec: ConvSpec) -> int:
    """Bytes of one number in a fragment's constants, which hold float16 as float32."""
    return 8 if spec.dtype == "float64" else 4


def _index_bytes(spec: ConvSpec, plan: ConvPlan) -> int:
    """Bytes of the vectors that the indices of framing are made of."""
    axes = zip(spec_axes(spec), plan.axes, strict=True)
    return 8 * sum(p.input_length(axis) + (axis.output_extent or 0) for axis, p in axes if not p.whole)
