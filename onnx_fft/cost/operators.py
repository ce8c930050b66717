"""What the counts of chains of standard operators have in common."""

from __future__ import annotations

from math import prod

from onnx_fft.cost.counts import OperatorCounts
from onnx_fft.cost.extents import count_tensors, known_axes
from onnx_fft.fourier.axis import Axis, AxisPlan
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.sites.spec import ConvSpec

CACHE_BYTES = 16 << 20
"""Traffic of one operator from which on it counts as memory's. Of 4, 8, 16 and 32 MiB the one that fitted best on a
2-core AMD EPYC with 32 MiB of third-level cache, 2026-11."""


def count_rows(spec: ConvSpec, plan: ConvPlan) -> int:
    """Tiles of all axes together, times batch."""
    tiles = (_count_tiles(axis, axis_plan) for axis, axis_plan in zip(known_axes(spec), plan.axes, strict=True))
    return prod(tiles) * (spec.batch or 1)


def count_traffic(count: float) -> OperatorCounts:
    """`count` bytes read and written by one operator."""
    return OperatorCounts(cached_bytes=count) if count < CACHE_BYTES else OperatorCounts(memory_bytes=count)


def count_product(batch: float, rows: float, inner: float, columns: float) -> OperatorCounts:
    """`batch` matrix products `[rows, inner] x [inner, columns]` in float32."""
    traffic = count_traffic(4 * batch * (rows * inner + inner * columns + rows * columns))
    return traffic + OperatorCounts(
        gemm_flops=2 * batch * rows * inner * max(columns, 16),
        packed_bytes=4 * batch * inner * columns,
        operators=2,
    )


def count_bin_products(bins: float, rows: float, inner: float, columns: float) -> OperatorCounts:
    """A batch of `bins` small products, `[rows, inner] x [inner, columns]` each."""
    return count_product(bins, rows, inner, columns) + OperatorCounts(products=bins)


def count_framing(spec: ConvSpec, plan: ConvPlan, rows: float) -> OperatorCounts:
    """Padding, transposing, gathering tiles, and the way back; `rows` counts tiles times batch."""
    inputs, outputs = count_tensors(spec)
    passes = 2 if spec.group > 1 and not spec.is_depthwise else 1
    counts = OperatorCounts(serial_bytes=8 * passes * (inputs + outputs), operators=4)
    if all(axis_plan.whole for axis_plan in plan.axes):
        return counts
    batch = spec.batch or 1
    lengths = (p.input_length(axis) for axis, p in zip(known_axes(spec), plan.axes, strict=True))
    framed = rows / batch * prod(lengths)
    gathered = framed * batch * spec.in_channels
    unframed = outputs / (batch * spec.out_channels)
    counts += count_traffic(8 * gathered) + count_traffic(8 * outputs)
    return counts + OperatorCounts(serial_bytes=8 * inputs, gather_rows=framed + unframed, operators=6)


def _count_tiles(axis: Axis, plan: AxisPlan) -> int:
    """Tiles times residues of an axis whose extent is known."""
    tiles = plan.tile_count(axis)
    assert tiles is not None
    return tiles
