"""What the `dft` lowering does in a run: framing, the butterflies of both directions, the product of spectra."""

from __future__ import annotations

from math import log2, prod

from onnx_fft.cost.counts import Counts, OperatorCounts
from onnx_fft.cost.extents import known_axes
from onnx_fft.cost.operators import count_bin_products, count_framing, count_rows, count_traffic
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.sites.spec import ConvSpec


def count_dft(spec: ConvSpec, plan: ConvPlan) -> Counts:
    """The operators that write one convolution out in DFTs."""
    rows = count_rows(spec, plan)
    points = prod(axis_plan.dft_length for axis_plan in plan.axes)
    signals = rows * (spec.in_channels + spec.out_channels)
    stages = sum(log2(axis_plan.dft_length) for axis_plan in plan.axes)
    counts = count_framing(spec, plan, rows) + OperatorCounts(butterflies=signals * points * stages / 2)
    counts += OperatorCounts(serial_bytes=4 * 8 * signals * points, operators=8)
    pairs = zip(known_axes(spec), plan.axes, strict=True)
    *others, read = (axis_plan.input_length(axis) for axis, axis_plan in pairs)
    if (length := plan.axes[-1].dft_length) > read:
        lines = rows * spec.in_channels * prod(others)
        counts += OperatorCounts(serial_bytes=4 * lines * (read + length), operators=1)
    if spec.is_depthwise:
        return Counts(counts + count_traffic(6 * 8 * signals * points))
    inner, outputs = spec.in_channels // spec.group, spec.out_channels // spec.group
    return Counts(counts + count_bin_products(points / 2 * spec.group, rows, 2 * inner, 2 * outputs))
