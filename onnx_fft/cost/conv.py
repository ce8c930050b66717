"""The work of Conv, and of each lowering under a plan, in countable units."""

from __future__ import annotations

from math import prod

from onnx_fft.fourier.axis import Axis
from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.lowering.counting import ASSUMED_EXTENTS, assume_extents, known_axes
from onnx_fft.lowering.work import Work
from onnx_fft.sites.spec import ConvSpec

__all__ = ["ASSUMED_EXTENTS", "Work", "assume_extents", "conv_work", "lowering_work"]

NCHWC_BLOCK = 16
"""Output channels a group from which on ONNX Runtime's Conv runs in its blocked layout: one AVX-512 register."""


def conv_work(spec: ConvSpec, least_output_channels: int = 1) -> Work:
    """The work of ONNX Runtime's own Conv, by the kernel that takes the convolution.

    But for a 2-D depthwise one, with fewer than `least_output_channels` a group it multiplies as much as with those.
    """
    axes = known_axes(spec)
    outputs = (spec.batch or 1) * prod(axis.output_extent or 1 for axis in axes)
    inputs = (spec.batch or 1) * prod(axis.extent or 1 for axis in axes)
    inner, out_per_group = spec.in_channels // spec.group, spec.out_channels // spec.group
    elements = float(outputs) * spec.group * inner * prod(spec.kernel_shape)
    traffic = 4.0 * (inputs * spec.in_channels + outputs * spec.out_channels)
    if spec.rank == 2 and spec.is_depthwise and spec.group > 1 and out_per_group == 1:
        return Work(depthwise_flops=2.0 * elements * _rows_inside(axes[0]), depthwise_bytes=traffic, operators=1)
    flops = 2.0 * elements * max(out_per_group, least_output_channels)
    if spec.rank == 2 and out_per_group >= NCHWC_BLOCK:
        return Work(nchwc_flops=flops, nchwc_bytes=traffic, operators=1)
    strided = elements if max(spec.strides) > 1 else 0.0
    return Work(
        im2col_elements=elements,
        im2col_strided_elements=strided,
        im2col_runs=elements / (axes[-1].output_extent or 1),
        im2col_flops=flops,
        im2col_bytes=traffic,
        operators=1,
    )


def lowering_work(spec: ConvSpec, plan: ConvPlan) -> Work:
    """The work of the lowering named in `plan`."""
    return find_lowering(plan.lowering).count_work(spec, plan)


def _rows_inside(axis: Axis) -> float:
    """Share of the kernel's rows that fall inside the input, averaged over outputs: the others are skipped."""
    assert axis.extent is not None and axis.output_extent is not None
    starts = [output * axis.stride - axis.pad_begin for output in range(axis.output_extent)]
    inside = sum(
        len([tap for tap in range(axis.taps) if 0 <= start + tap * axis.dilation < axis.extent]) for start in starts
    )
    return inside / (axis.taps * len(starts))
