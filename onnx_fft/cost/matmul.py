"""What the `matmul` lowering does in a run: framing, products with DFT matrices, the product of spectra."""

from __future__ import annotations

from math import prod

from onnx_fft.cost.counts import Counts, OperatorCounts
from onnx_fft.cost.extents import known_axes
from onnx_fft.cost.operators import count_bin_products, count_framing, count_product, count_rows, count_traffic
from onnx_fft.fourier.axis import Axis, AxisPlan
from onnx_fft.fourier.basis import spectrum_length
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.sites.spec import ConvSpec


def count_matmul(spec: ConvSpec, plan: ConvPlan) -> Counts:
    """One or two products an axis and direction, besides framing and the product of spectra."""
    rows = count_rows(spec, plan)
    pairs = list(zip(known_axes(spec), plan.axes, strict=True))
    spectra = [spectrum_length(axis_plan) for axis_plan in plan.axes]
    lengths_in = [axis_plan.input_length(axis) for axis, axis_plan in pairs]
    lengths_out = [axis_plan.output_length(axis) for axis, axis_plan in pairs]
    counts = count_framing(spec, plan, rows)
    for number, (axis, axis_plan) in enumerate(pairs):
        outer = prod(spectra[:number])
        counts += _count_axis(axis, axis_plan, outer, prod(lengths_in[number + 1 :]) * rows * spec.in_channels)
        counts += _count_axis(axis, axis_plan, outer, prod(lengths_out[number + 1 :]) * rows * spec.out_channels)
    return Counts(counts + _count_spectra(spec, prod(spectra), rows))


def _count_axis(axis: Axis, plan: AxisPlan, outer: float, rest: float) -> OperatorCounts:
    """One direction of the DFT along one axis; both directions cost about the same."""
    if plan.dft_length == 1:
        return OperatorCounts()
    length = plan.input_length(axis)
    if plan.columns == 1:
        return count_product(outer, spectrum_length(plan), length, rest)
    rows, columns = plan.rows, plan.columns
    first = count_product(outer, rows + 2, length / columns, columns * rest)
    return first + count_product(outer * (rows // 2 + 1), 3 * columns, 2 * columns, rest)


def _count_spectra(spec: ConvSpec, numbers: float, rows: float) -> OperatorCounts:
    """The product of spectra of `numbers` real numbers a channel and tile, as a MatMul or a Mul."""
    inner, outputs = spec.in_channels // spec.group, spec.out_channels // spec.group
    if inner > 1:
        return count_bin_products(numbers * spec.group, rows, inner, outputs)
    elements = numbers * (rows * (spec.in_channels + spec.out_channels) + spec.out_channels)
    # with several outputs a channel, Mul broadcasts in short runs
    runs = numbers * rows * spec.group if outputs > 1 else 0
    return count_traffic(4 * elements) + OperatorCounts(mul_runs=runs, operators=2)
