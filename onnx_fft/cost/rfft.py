"""What the `rfft` lowering does on a GPU: bytes through its memory, flops of transforms and products, kernels."""

from __future__ import annotations

from math import log2, prod

from onnx_fft.cost.counts import Counts, OperatorCounts
from onnx_fft.cost.extents import count_tensors
from onnx_fft.cost.operators import count_rows
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.lowering.rfft import has_complex_mul, signal_lengths
from onnx_fft.sites.spec import ConvSpec

ONE_PASS_LENGTH = 8192
"""Longest DFT that cuFFT computes in one pass over memory, about."""


def count_rfft(spec: ConvSpec, plan: ConvPlan) -> Counts:
    """The kernels launched for one convolution."""
    rows = count_rows(spec, plan)
    lengths = signal_lengths(plan)
    points, bins = prod(lengths), prod(lengths[:-1]) * (lengths[-1] // 2 + 1)
    signals = rows * (spec.in_channels + spec.out_channels)
    passes = len(lengths) + sum(length > ONE_PASS_LENGTH for length in lengths)
    inputs, outputs = count_tensors(spec)
    numbers = inputs + 2 * outputs + signals * points  # padded, and cropped
    numbers += passes * signals * (points + 2 * bins) + 2 * rows * spec.out_channels * points  # divided by T
    counts = OperatorCounts(butterflies=signals * points * log2(points) / 4, operators=6)
    if not all(axis_plan.whole for axis_plan in plan.axes):
        numbers += 4 * inputs + 4 * rows * spec.in_channels * points + 6 * outputs
        counts += OperatorCounts(operators=8)
    counts += OperatorCounts(memory_bytes=4 * numbers)
    return Counts(counts + _count_spectra(spec, rows, bins))


def _count_spectra(spec: ConvSpec, rows: int, bins: int) -> OperatorCounts:
    """The product of spectra of `bins` bins."""
    signals = rows * (spec.in_channels + spec.out_channels)
    pairs = spec.out_channels * spec.in_channels // spec.group
    numbers = 2 * signals * bins + (2 if spec.is_depthwise else 4) * pairs * bins
    if not spec.is_depthwise:
        numbers += 8 * signals * bins  # transposed there and back
        return OperatorCounts(gemm_flops=8 * rows * pairs * bins, operators=4, memory_bytes=4 * numbers)
    if has_complex_mul(spec):
        return OperatorCounts(memory_bytes=4 * numbers)
    numbers += 12 * signals * bins  # split, multiplied by both parts of the spectrum, added, joined
    return OperatorCounts(operators=8, memory_bytes=4 * numbers)
