"""What a convolution costs, in seconds, on plain ONNX Runtime: its own Conv, and each lowering under a plan.

Each cost is a count of work (`work.py`) times the constants of one machine. They need not be right to the percent: a
Conv is replaced only where the prediction leaves a wide margin (`choose.MIN_GAIN`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from onnx_fft.fourier.axis import Axis, AxisPlan
from onnx_fft.fourier.basis import axis_rank
from onnx_fft.lowering.base import ConvPlan, spec_axes
from onnx_fft.model.spec import ConvSpec
from onnx_fft.plan.work import assume_extent, dft_work, matmul_work


@dataclass(frozen=True, slots=True)
class Machine:
    """What one machine does in a second, or what one unit of work takes there; float32, 2 threads."""

    name: str
    gemm_flops_s: float
    nchwc_flops_s: float
    """Conv in ONNX Runtime's blocked layout, and in `depthwise_flops_s` its depthwise form."""
    depthwise_flops_s: float
    im2col_s: float
    """One element of the matrix that Conv's im2col path writes and reads."""
    cached_bytes_s: float = 300e9
    memory_bytes_s: float = 47e9
    packed_bytes_s: float = 41e9
    serial_bytes_s: float = 28e9
    row_s: float = 7.5e-9
    product_s: float = 90e-9
    butterfly_s: float = 8e-9
    operator_s: float = 3e-6


# The lowerings' constants were fitted to 520 plans of 260 random convolutions, 2026-11-24, ONNX Runtime 1.32: half of
# the predictions lie within 0.68 and 1.07 of the measured time, nine in ten within 0.41 and 1.28. The Conv constants
# are the fastest seen for each kernel, so that Conv is rather taken for too fast.
EPYC = Machine("AMD EPYC (Zen 4), 2 cores", 180e9, 225e9, 120e9, 0.075e-9)

# Matrix products and Convs are twice as fast here and memory is not, so FFTs gain less. From the Conv times of 15
# layers, ONNX Runtime 1.32; what was not measured is taken from above.
XEON = Machine("AVX-512 machine of 250 GF/s a core, 2 cores", 430e9, 490e9, 165e9, 0.07e-9)

MACHINES = (EPYC, XEON)
"""A Conv is replaced where that pays on all of them."""

NCHWC_BLOCK = 16
"""Output channels a group from which on Conv runs in the blocked layout."""

BORDER_BYTES_S = 50e9
"""What leaving the blocked layout costs: tensors before and after are reordered, fusions are lost."""


def conv_seconds(spec: ConvSpec, machine: Machine) -> float:
    """ONNX Runtime's own Conv, all optimizations on; never too high for the kernels it was measured on.

    Three kernels, told apart by what they accept: blocked layout (NCHWc) for rank 2 with at least one block of output
    channels a group; its depthwise form; and elsewhere im2col, which writes every input of every output once and
    multiplies, at a cost an element of that matrix of `im2col_s + 2 * out_channels / gemm_flops_s`.
    """
    axes = [assume_extent(axis) for axis in spec_axes(spec)]
    outputs = (spec.batch or 1) * prod(axis.output_extent or 1 for axis in axes)
    inner, out_per_group = spec.in_channels // spec.group, spec.out_channels // spec.group
    taps = prod(spec.kernel_shape)
    flops = 2.0 * outputs * spec.out_channels * inner * taps
    if spec.rank == 2 and spec.is_depthwise and spec.group > 1 and out_per_group == 1:
        return flops * _rows_inside(axes[0]) / machine.depthwise_flops_s + machine.operator_s
    if spec.rank == 2 and out_per_group >= NCHWC_BLOCK:
        return flops / machine.nchwc_flops_s + machine.operator_s
    elements = float(outputs) * spec.group * inner * taps
    return elements * (machine.im2col_s + 2 * out_per_group / machine.gemm_flops_s) + machine.operator_s


def _rows_inside(axis: Axis) -> float:
    """Share of the kernel's rows that fall inside the input, averaged over outputs: the others are skipped."""
    assert axis.extent is not None and axis.output_extent is not None
    starts = [output * axis.stride - axis.pad_begin for output in range(axis.output_extent)]
    inside = sum(
        len([tap for tap in range(axis.taps) if 0 <= start + tap * axis.dilation < axis.extent]) for start in starts
    )
    return inside / (axis.taps * len(starts))


def lowering_seconds(spec: ConvSpec, plan: ConvPlan, machine: Machine) -> float:
    """The lowering named in `plan`, in its surroundings."""
    work = matmul_work(spec, plan) if plan.lowering == "matmul" else dft_work(spec, plan)
    axes = [assume_extent(axis) for axis in spec_axes(spec)]
    inputs = spec.in_channels * prod(axis.extent or 1 for axis in axes)
    outputs = spec.out_channels * prod(axis.output_extent or 1 for axis in axes)
    return (
        work.flops / machine.gemm_flops_s
        + work.cached_bytes / machine.cached_bytes_s
        + work.memory_bytes / machine.memory_bytes_s
        + work.packed_bytes / machine.packed_bytes_s
        + work.serial_bytes / machine.serial_bytes_s
        + work.rows * machine.row_s
        + work.products * machine.product_s
        + work.operators * machine.operator_s
        + work.butterflies * machine.butterfly_s
        + 4 * (spec.batch or 1) * (inputs + outputs) / BORDER_BYTES_S
    )


def growth_bytes(spec: ConvSpec, plan: ConvPlan) -> int:
    """Bytes the constants of a fragment add to the file, the Conv's own weight taken off."""
    itemsize = 8 if spec.dtype == "float64" else 4
    pairs = spec.out_channels * spec.in_channels // spec.group
    raw = pairs * prod(spec.kernel_shape) * (2 if spec.dtype == "float16" else itemsize)
    if plan.lowering == "dft":
        bins = prod(axis_plan.dft_length for axis_plan in plan.axes) // 2
        return pairs * bins * itemsize * (2 if spec.is_depthwise else 4) - raw
    axes = spec_axes(spec)
    spectrum = pairs * prod(axis_rank(axis_plan) for axis_plan in plan.axes)
    matrices = sum(_matrix_elements(axis, axis_plan) for axis, axis_plan in zip(axes, plan.axes, strict=True))
    return (spectrum + matrices) * itemsize - raw


def _matrix_elements(axis: Axis, plan: AxisPlan) -> int:
    lengths = plan.input_length(axis) + plan.output_length(axis)
    if plan.columns == 1:
        return axis_rank(plan) * lengths
    outer = (plan.rows // 2 + 1) * 2 * plan.columns * 3 * plan.columns
    return (plan.rows + 2) * lengths // plan.columns + outer * (axis.stride + 1) // axis.stride
