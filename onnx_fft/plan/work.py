"""The work of Conv, and of each lowering under a plan, in countable units: flops, bytes, rows moved, operators."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from math import log2, prod

from onnx_fft.fourier.axis import Axis, AxisPlan
from onnx_fft.fourier.basis import axis_rank
from onnx_fft.lowering.base import ConvPlan, spec_axes
from onnx_fft.model.spec import ConvSpec

CACHE_BYTES = 16 << 20
"""Traffic of one operator from which on it counts as memory's. Of 4, 8, 16 and 32 MiB the one that fitted best on a
2-core AMD EPYC with 32 MiB of third-level cache, 2026-11."""

ASSUMED_EXTENTS = (64, 256)
"""Lengths at which a spatial extent that the model leaves open is judged, or twice the kernel if that is longer."""


NCHWC_BLOCK = 16
"""Output channels a group from which on ONNX Runtime's Conv runs in its blocked layout: one AVX-512 register."""


@dataclass(frozen=True, slots=True)
class Work:
    """Countable work of a chain of operators; also, in a `cost.Machine`, the seconds one unit of each takes."""

    gemm_flops: float = 0.0
    """Multiplications and additions of matrix products."""
    cached_bytes: float = 0.0
    """Bytes that operators running on all threads read and write, where they fit the caches."""
    memory_bytes: float = 0.0
    """The same, where they do not."""
    packed_bytes: float = 0.0
    """Bytes of right operands, which a matrix product copies into its own layout first."""
    serial_bytes: float = 0.0
    """Bytes that operators running on one thread (Pad, Transpose) read and write."""
    gather_rows: float = 0.0
    """Runs of memory copied by Gather."""
    products: float = 0.0
    """Products of the spectra of single bins, each a small matrix product within a batch."""
    mul_runs: float = 0.0
    """Short runs of a Mul that broadcasts along its last dimension."""
    butterflies: float = 0.0
    """Radix-2 butterflies of the DFT operator."""
    operators: float = 0.0
    nchwc_flops: float = 0.0
    """Conv in the blocked layout (NCHWc), and in `nchwc_bytes` the tensors it reads and writes."""
    nchwc_bytes: float = 0.0
    depthwise_flops: float = 0.0
    """Its depthwise form; rows of the kernel outside the input are not counted, since they are skipped."""
    depthwise_bytes: float = 0.0
    im2col_elements: float = 0.0
    """Conv elsewhere: elements of the matrix of every input of every output, which is written, then multiplied."""
    im2col_strided_elements: float = 0.0
    """Those elements where a stride scatters the reads."""
    im2col_runs: float = 0.0
    """Rows of outputs that the matrix is written in."""
    im2col_flops: float = 0.0
    im2col_bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        """The work of both."""
        return Work(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def assume_extents(spec: ConvSpec, length: int) -> ConvSpec:
    """The convolution with `length` for every open extent.

    An open axis the kernel does not reach along is taken for one added to make 2-D work 3-D, of length 1.
    """
    extents = []
    for axis, span in zip(spec_axes(spec), spec.effective_kernel_shape, strict=True):
        assumed = 1 if axis.is_pointwise else max(length, 2 * span)
        extents.append(assumed if axis.extent is None else axis.extent)
    return replace(spec, extents=tuple(extents))


def conv_work(spec: ConvSpec) -> Work:
    """The work of ONNX Runtime's own Conv, by the kernel that takes the convolution."""
    axes = _known_axes(spec)
    outputs = (spec.batch or 1) * prod(axis.output_extent or 1 for axis in axes)
    inputs = (spec.batch or 1) * prod(axis.extent or 1 for axis in axes)
    inner, out_per_group = spec.in_channels // spec.group, spec.out_channels // spec.group
    elements = float(outputs) * spec.group * inner * prod(spec.kernel_shape)
    flops = 2.0 * elements * out_per_group
    traffic = 4.0 * (inputs * spec.in_channels + outputs * spec.out_channels)
    if spec.rank == 2 and spec.is_depthwise and spec.group > 1 and out_per_group == 1:
        return Work(depthwise_flops=flops * _rows_inside(axes[0]), depthwise_bytes=traffic, operators=1)
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
    return {"matmul": matmul_work, "dft": dft_work}[plan.lowering](spec, plan)


def matmul_work(spec: ConvSpec, plan: ConvPlan) -> Work:
    """The work of the `matmul` lowering."""
    axes = _known_axes(spec)
    pairs = list(zip(axes, plan.axes, strict=True))
    tiles = prod(_tiles(axis, axis_plan) for axis, axis_plan in pairs)
    rows = tiles * (spec.batch or 1)
    ranks = [axis_rank(axis_plan) for axis_plan in plan.axes]
    lengths_in = [p.input_length(axis) for axis, p in pairs]
    lengths_out = [p.output_length(axis) for axis, p in pairs]
    work = _framing_work(spec, axes, plan, rows)
    for number, (axis, axis_plan) in enumerate(pairs):
        outer = prod(ranks[:number])
        work += _axis_work(axis, axis_plan, outer, prod(lengths_in[number + 1 :]) * rows * spec.in_channels)
        work += _axis_work(axis, axis_plan, outer, prod(lengths_out[number + 1 :]) * rows * spec.out_channels)
    return work + _product_work(spec, prod(ranks), rows)


def _known_axes(spec: ConvSpec) -> list[Axis]:
    """The axes, each with an extent, the longest assumed one where the model leaves it open."""
    return list(spec_axes(assume_extents(spec, ASSUMED_EXTENTS[-1])))


def _tiles(axis: Axis, plan: AxisPlan) -> int:
    tiles = plan.tile_count(axis)
    assert tiles is not None
    return tiles


def _traffic(count: float) -> Work:
    """`count` bytes read and written by one operator."""
    return Work(cached_bytes=count) if count < CACHE_BYTES else Work(memory_bytes=count)


def _product(batch: float, rows: float, inner: float, columns: float) -> Work:
    """`batch` matrix products `[rows, inner] x [inner, columns]` in float32."""
    traffic = _traffic(4 * batch * (rows * inner + inner * columns + rows * columns))
    return traffic + Work(
        gemm_flops=2 * batch * rows * inner * max(columns, 16),
        packed_bytes=4 * batch * inner * columns,
        operators=2,
    )


def _bin_products(bins: float, rows: float, inner: float, columns: float) -> Work:
    """A batch of `bins` small products, `[rows, inner] x [inner, columns]` each."""
    return _product(bins, rows, inner, columns) + Work(products=bins)


def _axis_work(axis: Axis, plan: AxisPlan, outer: float, rest: float) -> Work:
    """One direction of the DFT along one axis; both directions cost about the same."""
    if plan.dft_length == 1:
        return Work()
    length = plan.input_length(axis)
    if plan.columns == 1:
        return _product(outer, axis_rank(plan), length, rest)
    rows, columns = plan.rows, plan.columns
    first = _product(outer, rows + 2, length / columns, columns * rest)
    return first + _product(outer * (rows // 2 + 1), 3 * columns, 2 * columns, rest)


def _product_work(spec: ConvSpec, rank: float, rows: float) -> Work:
    """The product of spectra, as a MatMul or a Mul."""
    inner, outputs = spec.in_channels // spec.group, spec.out_channels // spec.group
    if inner > 1:
        return _bin_products(rank * spec.group, rows, inner, outputs)
    elements = rank * (rows * (spec.in_channels + spec.out_channels) + spec.out_channels)
    # with several outputs a channel, Mul broadcasts in short runs
    runs = rank * rows * spec.group if outputs > 1 else 0
    return _traffic(4 * elements) + Work(mul_runs=runs, operators=2)


def _framing_work(spec: ConvSpec, axes: list[Axis], plan: ConvPlan, rows: float) -> Work:
    """Padding, transposing, gathering tiles, and the way back."""
    batch = spec.batch or 1
    inputs = batch * spec.in_channels * prod(axis.extent or 1 for axis in axes)
    outputs = batch * spec.out_channels * prod(axis.output_extent or 1 for axis in axes)
    passes = 2 if spec.group > 1 and not spec.is_depthwise else 1
    work = Work(serial_bytes=8 * passes * (inputs + outputs), operators=4)
    if all(axis_plan.whole for axis_plan in plan.axes):
        return work
    framed = rows / batch * prod(p.input_length(axis) for axis, p in zip(axes, plan.axes, strict=True))
    gathered = framed * batch * spec.in_channels
    unframed = outputs / (batch * spec.out_channels)
    work += _traffic(8 * gathered) + _traffic(8 * outputs)
    return work + Work(serial_bytes=8 * inputs, gather_rows=framed + unframed, operators=6)


def dft_work(spec: ConvSpec, plan: ConvPlan) -> Work:
    """The work of the `dft` lowering."""
    axes = _known_axes(spec)
    tiles = prod(_tiles(axis, axis_plan) for axis, axis_plan in zip(axes, plan.axes, strict=True))
    rows = tiles * (spec.batch or 1)
    points = prod(axis_plan.dft_length for axis_plan in plan.axes)
    signals = rows * (spec.in_channels + spec.out_channels)
    stages = sum(log2(axis_plan.dft_length) for axis_plan in plan.axes)
    work = _framing_work(spec, axes, plan, rows) + Work(butterflies=signals * points * stages / 2)
    work += Work(serial_bytes=4 * 8 * signals * points, operators=8)
    if spec.is_depthwise:
        return work + _traffic(6 * 8 * signals * points)
    inner, outputs = spec.in_channels // spec.group, spec.out_channels // spec.group
    return work + _bin_products(points / 2 * spec.group, rows, 2 * inner, 2 * outputs)


def _rows_inside(axis: Axis) -> float:
    """Share of the kernel's rows that fall inside the input, averaged over outputs: the others are skipped."""
    assert axis.extent is not None and axis.output_extent is not None
    starts = [output * axis.stride - axis.pad_begin for output in range(axis.output_extent)]
    inside = sum(
        len([tap for tap in range(axis.taps) if 0 <= start + tap * axis.dilation < axis.extent]) for start in starts
    )
    return inside / (axis.taps * len(starts))
