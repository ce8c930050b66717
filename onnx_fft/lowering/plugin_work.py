"""What one `FFTConv` of the native library costs: overlap-save tiles of the lengths that come out cheapest.

The kernel plans by itself at run time; this is the planner's picture of it. An axis with stride `s` is split into its
polyphase components, which are summed like input channels; one with dilation `d` into `d` residues, computed apart. For
tiles of `T` points in all, `rows` of them with the batch, and `B` bins of the half-spectrum,

    transforms   rows * (inputs + out_channels) * 2.5 T log2(T)  flops
    products     rows * out_channels * inputs / group * B * 8    flops
    bytes        8 B * (the weight's spectra, and rows * (inputs + out_channels) where channels are summed)

where `inputs` counts the input channels times their phases, and lanes of vectors that stay idle count as well. Samples
are loaded one by one where a stride or a dilation of the last axis scatters them, or nothing is summed along it. A
depthwise tile stays in the cache from end to end; of a short kernel it slides over the samples without transforms:

    sliding      rows * channels * outputs * taps * 2            flops
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, gcd, prod

import numpy as np
from numpy.typing import NDArray

from onnx_fft.fourier.axis import Axis, ceil_divide
from onnx_fft.lowering.counting import known_axes
from onnx_fft.lowering.work import Work
from onnx_fft.model.spec import ConvSpec

SECONDS_PER = {
    "plugin_transform_flops": 1 / 100e9,
    "plugin_product_flops": 1 / 200e9,
    "plugin_sliding_flops": 1 / 180e9,
    "plugin_sliding_samples": 1 / 5e9,
    "plugin_bytes": 1 / 20e9,
    "plugin_scattered_samples": 1e-9,
    "plugin_tiles": 0.75e-6,
}
"""What tiles are compared by, as in `plugin/plan.cpp`; what they take on a machine is in its calibration."""

LANES = 16
"""Of an AVX-512 vector, for which the cost model is calibrated."""

MAX_LENGTH = 1 << 17
"""Longest DFT along an axis, unless the kernel is longer."""

MAX_CHOICES = 24
"""Lengths looked at along one axis."""

MAX_SPECTRA = 3.5
SPARE_BYTES = 32 << 20
"""The library holds spectra of the weight up to so many times its own size, and so many bytes more."""

FloatArray = NDArray[np.float64]


Parts = dict[str, FloatArray]
"""Work of each kind, over a grid of tile lengths."""


@dataclass(frozen=True, slots=True)
class _Tiles:
    """Tiles of one size each, over a grid of lengths."""

    points: FloatArray
    outputs: FloatArray
    rows: FloatArray
    bins: FloatArray
    inner: float
    """Sequences summed to one output."""


def count_plugin_work(spec: ConvSpec) -> Work:
    """The work of the cheapest tiles; every open extent is the longest assumed one."""
    tiles = _cut_tiles(spec)
    spectra_bytes = 8 * tiles.bins * spec.out_channels * tiles.inner
    ways = [_pick(_count_transforms(spec, tiles, spectra_bytes), spectra_bytes, _spectra_limit(spec))]
    if _is_elementwise(spec, tiles.inner):
        ways.append(_pick(_count_sliding(spec, tiles), np.zeros_like(tiles.points), 0))
    _, parts = min(ways, key=lambda way: way[0])
    return Work(plugin_calls=1, **parts)


def _cut_tiles(spec: ConvSpec) -> _Tiles:
    axes = [_split_axis(axis) for axis in known_axes(spec)]
    grids = np.meshgrid(*(_find_lengths(taps, outputs) for taps, outputs, _, _ in axes), indexing="ij")
    points: FloatArray = np.ones_like(grids[0])
    outputs: FloatArray = np.ones_like(points)
    rows: FloatArray = np.full_like(points, spec.batch or 1)
    for length, (taps, wanted, _, residues) in zip(grids, axes, strict=True):
        points = points * length
        outputs = outputs * np.minimum(length - taps + 1, wanted)
        rows = rows * residues * np.ceil(wanted / (length - taps + 1))
    last = max((number for number, (taps, *_) in enumerate(axes) if taps > 1), default=len(axes) - 1)
    inner = spec.in_channels // spec.group * prod(phases for _, _, phases, _ in axes)
    return _Tiles(points, outputs, rows, points * (0.5 + 1 / grids[last]), inner)


def _count_transforms(spec: ConvSpec, tiles: _Tiles, spectra_bytes: FloatArray) -> Parts:
    signals, pairs = _count_lanes(spec, tiles.inner, tiles.rows)
    row = known_axes(spec)[-1]
    scattered = row.stride > 1 or row.dilation > 1 or row.taps == 1
    passed_on = 8 * tiles.bins * signals if tiles.inner > 1 else 0
    return {
        "plugin_transform_flops": signals * 2.5 * tiles.points * np.log2(np.maximum(tiles.points, 2)),
        "plugin_product_flops": 8 * tiles.bins * pairs,
        "plugin_bytes": spectra_bytes + passed_on + _tensor_bytes(spec),
        "plugin_tiles": signals / LANES,
        "plugin_scattered_samples": tiles.rows * spec.group * tiles.inner * tiles.points * scattered,
    }


def _count_sliding(spec: ConvSpec, tiles: _Tiles) -> Parts:
    signals, _ = _count_lanes(spec, tiles.inner, tiles.rows)
    parts = {
        "plugin_sliding_flops": signals * tiles.outputs * prod(spec.kernel_shape),
        "plugin_sliding_samples": signals / 2 * (tiles.points + tiles.outputs),
        "plugin_bytes": np.full_like(tiles.points, _tensor_bytes(spec)),
        "plugin_tiles": signals / LANES,
    }
    row = known_axes(spec)[-1]
    scattered = tiles.rows * spec.group * tiles.points * (row.stride > 1 or row.dilation > 1)
    return parts | {"plugin_scattered_samples": scattered}


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
    pairs = np.where(across < along, rows * fill(outputs), fill(rows) * outputs) * inner * spec.group
    return np.minimum(across, along), pairs


def _pick(parts: Parts, spectra_bytes: FloatArray, limit: float) -> tuple[float, dict[str, float]]:
    """Seconds and work of the fastest tiles whose spectra fit, or of the smallest where none does."""
    seconds: FloatArray = np.zeros_like(spectra_bytes)
    for name, part in parts.items():
        seconds = seconds + SECONDS_PER[name] * part
    fitting = np.where(spectra_bytes <= limit, seconds, np.inf)
    order = fitting if np.isfinite(fitting).any() else spectra_bytes
    best = np.unravel_index(int(np.argmin(order)), order.shape)
    return float(seconds[best]), {name: float(part[best]) for name, part in parts.items()}


def _split_axis(axis: Axis) -> tuple[int, int, int, int]:
    """Taps and outputs of each sequence of one axis, sequences that are summed, sequences computed apart."""
    assert axis.output_extent is not None
    if axis.stride > 1:
        step = gcd(axis.stride, axis.dilation)
        phases = ceil_divide(min(axis.stride, axis.span), step)
        return ceil_divide(axis.span, axis.stride), axis.output_extent, phases, 1
    residues = min(axis.phases, axis.output_extent)
    return axis.taps, ceil_divide(axis.output_extent, residues), 1, residues


def _find_lengths(taps: int, outputs: int) -> FloatArray:
    """DFT lengths `2^a 3^b 5^c 7^d` from the kernel's up to one that holds all outputs; 1 where nothing is summed."""
    if taps == 1:
        return np.ones(1)
    longest = min(taps + outputs - 1, max(MAX_LENGTH, 2 * taps))
    powers = [
        np.array([base**power for power in range(ceil(np.log(2 * longest) / np.log(base)))]) for base in (2, 3, 5, 7)
    ]
    smooth = np.unique(np.einsum("a,b,c,d->abcd", *powers))
    whole = smooth[np.searchsorted(smooth, longest)]
    lengths: FloatArray = smooth[(smooth >= taps) & (smooth <= whole)].astype(np.float64)
    places = np.linspace(0, len(lengths) - 1, min(len(lengths), MAX_CHOICES)).round().astype(int)
    return np.take(lengths, places)


def _tensor_bytes(spec: ConvSpec) -> float:
    """Input and output, read and written once."""
    axes = known_axes(spec)
    inputs = spec.in_channels * prod(axis.extent or 1 for axis in axes)
    outputs = spec.out_channels * prod(axis.output_extent or 1 for axis in axes)
    return 4.0 * (spec.batch or 1) * (inputs + outputs)


def _spectra_limit(spec: ConvSpec) -> float:
    weights = 4 * spec.out_channels * spec.in_channels // spec.group * prod(spec.kernel_shape)
    return MAX_SPECTRA * weights + SPARE_BYTES
