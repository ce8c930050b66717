"""What ONNX Runtime's own Conv does, by the kernel that takes the convolution."""

from __future__ import annotations

from math import prod

from onnx_fft.cost.counts import ConvCounts, Counts, OperatorCounts
from onnx_fft.cost.extents import count_tensors, known_axes
from onnx_fft.fourier.axis import Axis
from onnx_fft.sites.spec import ConvSpec

RUNNABLE_DTYPES = ("float16", "float32")
"""What ONNX Runtime's CPU provider has a Conv and a FusedConv for, of any number of axes (1.17.3 to 1.32). A model with
another one does not load. Its CUDA provider has one for float64 as well."""

NCHWC_BLOCK = 16
"""Output channels a group from which on ONNX Runtime's Conv runs in its blocked layout: one AVX-512 register."""


def count_conv(spec: ConvSpec, least_output_channels: int = 1) -> Counts:
    """One Conv, alone.

    Unless it is a 2-D depthwise one, with fewer than `least_output_channels` a group it multiplies as much as with
    those.
    """
    return Counts(OperatorCounts(operators=1), _count_kernel(spec, least_output_channels))


def _count_kernel(spec: ConvSpec, least_output_channels: int) -> ConvCounts:
    axes = known_axes(spec)
    outputs = (spec.batch or 1) * prod(axis.output_extent or 1 for axis in axes)
    inner, out_per_group = spec.in_channels // spec.group, spec.out_channels // spec.group
    elements = float(outputs) * spec.group * inner * prod(spec.kernel_shape)
    traffic = 4.0 * sum(count_tensors(spec))
    if spec.rank == 2 and spec.is_depthwise and spec.group > 1 and out_per_group == 1:
        return ConvCounts(depthwise_flops=2.0 * elements * _rows_inside(axes[0]), depthwise_bytes=traffic)
    flops = 2.0 * elements * max(out_per_group, least_output_channels)
    if spec.rank == 2 and out_per_group >= NCHWC_BLOCK:
        return ConvCounts(nchwc_flops=flops, nchwc_bytes=traffic)
    return ConvCounts(
        im2col_elements=elements,
        im2col_strided_elements=elements if max(spec.strides) > 1 else 0.0,
        im2col_runs=elements / (axes[-1].output_extent or 1),
        im2col_flops=flops,
        im2col_bytes=traffic,
    )


def _rows_inside(axis: Axis) -> float:
    """Share of the kernel's rows that fall inside the input, averaged over outputs: the others are skipped."""
    assert axis.extent is not None and axis.output_extent is not None
    starts = [output * axis.stride - axis.pad_begin for output in range(axis.output_extent)]
    inside = sum(
        len([tap for tap in range(axis.taps) if 0 <= start + tap * axis.dilation < axis.extent]) for start in starts
    )
    return inside / (axis.taps * len(starts))
