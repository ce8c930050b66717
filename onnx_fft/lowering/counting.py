"""What the lowerings' counts of work and of bytes have in common."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from onnx_fft.fourier.axis import Axis, AxisPlan, check_plan
from onnx_fft.lowering.base import ConvPlan, spec_axes
from onnx_fft.lowering.work import Work
from onnx_fft.sites.spec import ConvSpec

CACHE_BYTES = 16 << 20
"""Traffic of one operator from which on it counts as memory's. Of 4, 8, 16 and 32 MiB the one that fitted best on a
2-core AMD EPYC with 32 MiB of third-level cache, 2026-11."""

ASSUMED_EXTENTS = (64, 256)
"""Lengths at which a spatial extent that the model leaves open is judged, or twice the kernel if that is longer."""


def assume_extents(spec: ConvSpec, length: int) -> ConvSpec:
    """The convolution with `length` for every open extent.

    An open axis the kernel does not reach along is taken for one added to make 2-D work 3-D, of length 1.
    """
    extents = []
    for axis, span in zip(spec_axes(spec), spec.effective_kernel_shape, strict=True):
        assumed = 1 if axis.is_pointwise else max(length, 2 * span)
        extents.append(assumed if axis.extent is None else axis.extent)
    return replace(spec, extents=tuple(extents))


def known_axes(spec: ConvSpec) -> list[Axis]:
    """The axes, each with an extent, the longest assumed one where the model leaves it open."""
    return list(spec_axes(assume_extents(spec, ASSUMED_EXTENTS[-1])))


def check_axes(spec: ConvSpec, plan: ConvPlan) -> None:
    """Raise ValueError where some axis of `plan` would not compute that of `spec` exactly."""
    for axis, axis_plan in zip(spec_axes(spec), plan.axes, strict=True):
        check_plan(axis, axis_plan)


def count_tiles(axis: Axis, plan: AxisPlan) -> int:
    """Tiles times residues of an axis whose extent is known."""
    tiles = plan.tile_count(axis)
    assert tiles is not None
    return tiles


def count_traffic(count: float) -> Work:
    """`count` bytes read and written by one operator."""
    return Work(cached_bytes=count) if count < CACHE_BYTES else Work(memory_bytes=count)


def count_product(batch: float, rows: float, inner: float, columns: float) -> Work:
    """`batch` matrix products `[rows, inner] x [inner, columns]` in float32."""
    traffic = count_traffic(4 * batch * (rows * inner + inner * columns + rows * columns))
    return traffic + Work(
        gemm_flops=2 * batch * rows * inner * max(columns, 16),
        packed_bytes=4 * batch * inner * columns,
        operators=2,
    )


def count_bin_products(bins: float, rows: float, inner: float, columns: float) -> Work:
    """A batch of `bins` small products, `[rows, inner] x [inner, columns]` each."""
    return count_product(bins, rows, inner, columns) + Work(products=bins)


def count_framing(spec: ConvSpec, axes: list[Axis], plan: ConvPlan, rows: float) -> Work:
    """Padding, transposing, gathering tiles, and the way back; `rows` counts tiles times batch."""
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
    work += count_traffic(8 * gathered) + count_traffic(8 * outputs)
    return work + Work(serial_bytes=8 * inputs, gather_rows=framed + unframed, operators=6)


def weight_bytes(spec: ConvSpec) -> int:
    """Bytes of the Conv's own weight."""
    itemsize = {"float16": 2, "float32": 4, "float64": 8}[spec.dtype]
    return spec.out_channels * spec.in_channels // spec.group * prod(spec.kernel_shape) * itemsize


def constant_itemsize(spec: ConvSpec) -> int:
    """Bytes of one number in a fragment's constants, which hold float16 as float32."""
    return 8 if spec.dtype == "float64" else 4


def index_bytes(spec: ConvSpec, plan: ConvPlan) -> int:
    """Bytes of the vectors that the indices of framing are made of."""
    axes = zip(spec_axes(spec), plan.axes, strict=True)
    return 8 * sum(p.input_length(axis) + (axis.output_extent or 0) for axis, p in axes if not p.whole)
