"""What one `FFTConv` of the native library does: overlap-save tiles of the lengths that come out cheapest.

The kernel plans by itself at run time; this is the planner's picture of it. An axis with stride `s` is split into its
polyphase components, which are summed like input channels; one with dilation `d` into `d` residues, computed apart. For
tiles of `T` points in all, `rows` of them with the batch, and `B` bins of the half-spectrum,

    transforms   rows * (inputs + out_channels) * 2.5 T log2(T)  flops
    products     rows * out_channels * inputs / group * B * 8    flops
    bytes        8 B * (the weight's spectra, and rows * (inputs + out_channels) if channels are summed)

where `inputs` counts the input channels times their polyphase components, and lanes of vectors that stay idle count as
well. Samples are loaded one by one if a stride or a dilation of the last axis scatters them, or nothing is summed along
it. The spectra of a depthwise tile do not pass through memory. Short kernels are summed directly, tap by tap:

    direct       rows * channels * outputs * taps * 2            flops
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd, prod

import numpy as np
from numpy.typing import NDArray

from onnx_fft.cost.counts import Counts, NativeCounts, NativeRates
from onnx_fft.cost.extents import count_tensors, known_axes
from onnx_fft.fourier.axis import Axis, ceil_divide
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.sites.spec import ConvSpec

TILE_RATES = NativeRates(
    transform_flops=1 / 76e9,
    product_flops=1 / 180e9,
    direct_flops=1 / 180e9,
    direct_samples=1 / 5e9,
    memory_bytes=1 / 16e9,
    scattered_samples=1e-9,
    tiles=0.75e-6,
)
"""What tiles are compared by: `native/planner/plan.cpp` on two cores. What they take on a machine is in its
calibration."""

LANES = 16
"""Of an AVX-512 vector, for which the cost model is calibrated."""

ENOUGH_ROWS = 4
"""Rows of a product of matrices from which on it is not slowed down by reading the weights' spectra."""

MAX_LENGTH = 1 << 17
"""Longest DFT along an axis, unless the kernel is longer."""

MAX_CHOICES = 24
"""Lengths looked at along one axis."""

MAX_SPECTRA = 3.5
SPARE_BYTES = 32 << 20
"""The library holds spectra of the weight up to so many times its own size, and so many bytes more."""

FloatArray = NDArray[np.float64]

Parts = dict[str, FloatArray]
"""Fields of `NativeCounts`, over a grid of tile lengths."""


@dataclass(frozen=True, slots=True)
class _Sequences:
    """What one axis is split into, and the shortest DFT that gives all outputs of a sequence at once.

    A circular sum that reaches past the end of the tile comes out at its begin; the zeros before the input can take it.
    """

    taps: int
    outputs: int
    polyphase: int
    """Sequences that are summed."""
    residues: int
    """Sequences that are computed apart."""
    whole: int


@dataclass(frozen=True, slots=True)
class _Tiles:
    """Tiles of one size each, over a grid of lengths; `samples` are those that a direct sum loads."""

    points: FloatArray
    samples: FloatArray
    outputs: FloatArray
    rows: FloatArray
    bins: FloatArray
    inner: float
    """Sequences summed to one output."""


def count_fftconv(spec: ConvSpec, plan: ConvPlan) -> Counts:
    """One node; its plan says nothing."""
    return Counts(native=count_native(spec))


def count_native(spec: ConvSpec) -> NativeCounts:
    """A call with the cheapest tiles; every open extent is the longest assumed one."""
    tiles = _cut_tiles(spec)
    spectra_bytes = 8 * tiles.bins * spec.out_channels * tiles.inner
    ways = [_pick(_count_transforms(spec, tiles, spectra_bytes), spectra_bytes, _spectra_limit(spec))]
    if _is_elementwise(spec, tiles.inner):
        tiles = _cut_tiles(spec, is_direct=True)
        ways.append(_pick(_count_direct(spec, tiles), np.zeros_like(tiles.points), 0))
    _, parts = min(ways, key=lambda way: way[0])
    return NativeCounts(calls=1, **parts)


def _cut_tiles(spec: ConvSpec, *, is_direct: bool = False) -> _Tiles:
    axes = [_split_axis(axis) for axis in _used_axes(spec)]
    grids = np.meshgrid(*(_find_lengths(axis, is_direct) for axis in axes), indexing="ij")
    points: FloatArray = np.ones_like(grids[0])
    samples, outputs = points, points
    rows: FloatArray = np.full_like(points, spec.batch or 1)
    for length, axis in zip(grids, axes, strict=True):
        complete = length >= axis.whole
        step = np.where(complete, axis.outputs, length - axis.taps + 1)
        points, outputs = points * length, outputs * step
        samples = samples * (step + axis.taps - 1)
        rows = rows * axis.residues * np.ceil(axis.outputs / step)
    last = max((number for number, axis in enumerate(axes) if axis.taps > 1), default=len(axes) - 1)
    inner = spec.in_channels // spec.group * prod(axis.polyphase for axis in axes)
    return _Tiles(points, samples, outputs, rows, points * (0.5 + 1 / grids[last]), inner)


def _count_transforms(spec: ConvSpec, tiles: _Tiles, spectra_bytes: FloatArray) -> Parts:
    signals, pairs = _count_lanes(spec, tiles.inner, tiles.rows)
    row = _used_axes(spec)[-1]
    scattered = row.stride > 1 or row.dilation > 1 or row.taps == 1
    passed_on = 8 * tiles.bins * signals if tiles.inner > 1 else 0
    return {
        "transform_flops": signals * 2.5 * tiles.points * np.log2(np.maximum(tiles.points, 2)),
        "product_flops": 8 * tiles.bins * pairs,
        "memory_bytes": spectra_bytes + passed_on + _tensor_bytes(spec),
        "tiles": signals / LANES,
        "scattered_samples": tiles.rows * spec.group * tiles.inner * tiles.points * scattered,
    }


def _count_direct(spec: ConvSpec, tiles: _Tiles) -> Parts:
    signals, _ = _count_lanes(spec, tiles.inner, tiles.rows)
    parts = {
        "direct_flops": signals * tiles.outputs * prod(spec.kernel_shape),
        "direct_samples": signals / 2 * (tiles.samples + tiles.outputs),
        "memory_bytes": np.full_like(tiles.points, _tensor_bytes(spec)),
        "tiles": signals / 2 / LANES,
    }
    scattered = tiles.rows * spec.group * tiles.samples * (_used_axes(spec)[-1].stride > 1)
    return parts | {"scattered_samples": scattered}


def _is_elementwise(spec: ConvSpec, inner: float) -> bool:
    return inner == 1 and spec.out_channels == spec.group


def _count_lanes(spec: ConvSpec, inner: float, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Tiles loaded and stored, and products a bin, with the idle lanes of vectors that channels or rows do not fill.

    The library lets either run along the lanes, whichever takes fewer vectors.
    """

    def fill(count: FloatArray | float) -> FloatArray:
        return np.ceil(np.asarray(count) / LANES) * LANES

    outputs = spec.out_channels / spec.group
    if _is_elementwise(spec, inner):
        signals = 2 * np.minimum(rows * fill(spec.group), fill(rows) * spec.group)
        return signals, rows * spec.group
    across = rows * (fill(spec.group * inner) + spec.group * fill(outputs))
    along = fill(rows) * spec.group * (inner + outputs)
    few = np.minimum(1, rows / ENOUGH_ROWS)
    pairs = np.where(across < along, rows * fill(outputs) / few, fill(rows) * outputs) * inner * spec.group
    return np.minimum(across, along), pairs


def _pick(parts: Parts, spectra_bytes: FloatArray, limit: float) -> tuple[float, dict[str, float]]:
    """Seconds and counts of the fastest tiles whose spectra fit, or of the smallest if none does."""
    seconds: FloatArray = np.zeros_like(spectra_bytes)
    for name, part in parts.items():
        seconds = seconds + getattr(TILE_RATES, name) * part
    fitting = np.where(spectra_bytes <= limit, seconds, np.inf)
    order = fitting if np.isfinite(fitting).any() else spectra_bytes
    best = np.unravel_index(int(np.argmin(order)), order.shape)
    return float(seconds[best]), {name: float(part[best]) for name, part in parts.items()}


def _used_axes(spec: ConvSpec) -> Sequence[Axis]:
    """The axes without those of one sample and one tap, which the library drops; the last one if all are such."""
    axes = known_axes(spec)
    units = [axis.taps == axis.extent == axis.output_extent == 1 and axis.pad_begin == 0 for axis in axes]
    return [axis for axis, is_unit in zip(axes, units, strict=True) if not is_unit] or axes[-1:]


def _split_axis(axis: Axis) -> _Sequences:
    assert axis.output_extent is not None and axis.extent is not None
    step, polyphase, residues, last_offset = axis.dilation, 1, min(axis.residues, axis.output_extent), 0
    taps, outputs = axis.taps, ceil_divide(axis.output_extent, residues)
    if axis.stride > 1:
        apart = gcd(axis.stride, axis.dilation)
        polyphase, residues, step = ceil_divide(min(axis.stride, axis.span), apart), 1, axis.stride
        taps, outputs, last_offset = ceil_divide(axis.span, axis.stride), axis.output_extent, (polyphase - 1) * apart
    zeros = max(0, ceil_divide(axis.pad_begin - max(last_offset, residues - 1), step))
    needed = outputs + taps - 1
    whole = max(outputs, needed - zeros, min(needed, (axis.extent - 1 + axis.pad_begin) // step + 1))
    return _Sequences(taps, outputs, polyphase, residues, whole)


def _find_lengths(axis: _Sequences, is_direct: bool) -> FloatArray:
    """DFT lengths `2^a 3^b 5^c 7^d` from the kernel's up to one that holds all outputs.

    Tiles that are transformed are 1 long if nothing is summed.
    """
    if axis.taps == 1 and not is_direct:
        return np.ones(1)
    longest = min(axis.whole, max(MAX_LENGTH, 2 * axis.taps))
    powers = [
        np.array([base**power for power in range(ceil(np.log(2 * longest) / np.log(base)))]) for base in (2, 3, 5, 7)
    ]
    smooth = np.unique(np.einsum("a,b,c,d->abcd", *powers))
    whole = smooth[np.searchsorted(smooth, longest)]
    lengths: FloatArray = smooth[(smooth >= min(axis.taps, whole)) & (smooth <= whole)].astype(np.float64)
    places = np.linspace(0, len(lengths) - 1, min(len(lengths), MAX_CHOICES)).round().astype(int)
    return np.take(lengths, places)


def _tensor_bytes(spec: ConvSpec) -> float:
    """Input and output, read and written once."""
    return 4.0 * sum(count_tensors(spec))


def _spectra_limit(spec: ConvSpec) -> float:
    weights = 4 * spec.out_channels * spec.in_channels // spec.group * prod(spec.kernel_shape)
    return MAX_SPECTRA * weights + SPARE_BYTES
