"""Whole maps of a Conv in float64, at a cost that stays bounded: directly if that is cheap, else by float64 FFTs.

The FFTs here share nothing with the transforms of the lowerings but the formula: each axis is transformed in one piece
by NumPy. What they give is believed only if the direct sum agrees with it in a sample of places. Their error is about
1e-16 of the largest output, a billionth of what float32 is judged by. Work is counted in units of a multiply-add of
two arrays, about 1.6 ns each (NumPy 2.4 on one core of an AMD EPYC, 2026-11, within a factor of 1.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_fft.fourier.oracle import (
    ConvGeometry,
    Float64Array,
    Sample,
    conv_direct,
    conv_direct_at,
    count_multiply_adds,
    sample_conv,
)

PASS_WORK = 0.5
"""Units of reading or writing one number of an array."""
PRODUCT_SPEED = 24
"""How much cheaper a multiply-add is in a product of matrices."""
TRANSFORM_WORK = 1.5
"""Units of a float64 transform, for each point and each binary digit of their number."""
BIN_WORK = 2.0
"""Units of a complex multiply-add."""
BLOCK_BINS = 1 << 21
"""Bins that the spectra of a block of weights may have: 32 MiB."""
AGREEMENT = 1e-11
"""Of the largest output: how far the FFTs may be from the direct sum."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A part of a Conv's output in float64, and how that was computed."""

    sample: Sample
    values: Float64Array


def compute_maps(
    x: npt.NDArray[np.generic], weight: npt.NDArray[np.generic], geometry: ConvGeometry, budget: float, seed: int
) -> list[Truth]:
    """The sum without bias: of every output if `budget` units pay for that, else of a part drawn with `seed`.

    A part consists of whole maps of as many batch rows and channels as the budget pays, and of as many channels as it
    pays at a few positions, which hold both ends of each axis. A budget that pays for no map goes to such positions.
    `x [N, Cin, *extents]`, `weight [Cout, Cin/group, *kernel]`. Raises ValueError if channels and group do not fit
    together.
    """
    shapes = x.shape, weight.shape
    whole = _sample_whole(*shapes, geometry)
    if _count_direct(*shapes, geometry) <= budget:
        return [Truth(whole, conv_direct(x, weight, None, geometry))]
    paid = budget / _count_fft(*shapes, geometry)
    has_maps = paid * x.shape[0] * weight.shape[0] >= 1
    points = sample_conv(*shapes, geometry, budget / (16 if has_maps else 2), seed) or whole
    direct = Truth(points, conv_direct_at(x, weight, None, geometry, points))
    if not has_maps:
        return [direct]
    maps = whole if paid >= 1 else _draw_maps(whole, points, paid, seed)
    by_fft = Truth(maps, conv_fft(x, weight, geometry, maps))
    if not _agree(by_fft, direct):
        return [direct]
    return [by_fft] if paid >= 1 else [by_fft, direct]


def conv_fft(
    x: npt.NDArray[np.generic], weight: npt.NDArray[np.generic], geometry: ConvGeometry, sample: Sample
) -> Float64Array:
    """Whole maps of the batch rows and channels of `sample`, `[len(batch), len(channels), *output_extents]`.

    A circular correlation as long as the padded input: what wraps around lies behind the last output.
    """
    lengths = _find_lengths(x.shape, weight.shape, geometry)
    axes = tuple(range(2, x.ndim))
    outputs = geometry.output_extents(x.shape[2:], weight.shape[2:])
    kept = tuple(slice(0, (n - 1) * s + 1, s) for n, s in zip(outputs, geometry.strides, strict=True))
    spread = tuple(slice(0, d * (k - 1) + 1, d) for k, d in zip(weight.shape[2:], geometry.dilations, strict=True))
    per_in, per_out = weight.shape[1], weight.shape[0] // geometry.group
    step = max(1, BLOCK_BINS // (per_in * math.prod(lengths)))
    total = np.empty((len(sample.batch), len(sample.channels), *outputs))
    for group in np.unique(sample.channels // per_out):
        places = np.flatnonzero(sample.channels // per_out == group)
        read = np.asarray(x[sample.batch, group * per_in : (group + 1) * per_in], np.float64)
        spectra = np.fft.rfftn(_place(read, geometry, lengths), axes=axes)
        for start in range(0, len(places), step):
            block = places[start : start + step]
            kernels = np.zeros((len(block), per_in, *lengths))
            kernels[(slice(None), slice(None), *spread)] = weight[sample.channels[block]]
            products = np.einsum("nc...,oc...->no...", spectra, np.fft.rfftn(kernels, axes=axes).conj())
            total[:, block] = np.fft.irfftn(products, lengths, axes)[(slice(None), slice(None), *kept)]
    return total


def _place(x: Float64Array, geometry: ConvGeometry, lengths: Sequence[int]) -> Float64Array:
    """`x` behind its padding, in arrays of `lengths`; negative pads crop."""
    placed = np.zeros((*x.shape[:2], *lengths))
    rows = list(zip(x.shape[2:], geometry.pads_begin, geometry.pads_end, strict=True))
    source = tuple(slice(max(0, -begin), size - max(0, -end)) for size, begin, end in rows)
    target = tuple(
        slice(max(0, begin), max(0, begin) + size - max(0, -begin) - max(0, -end)) for size, begin, end in rows
    )
    placed[(slice(None), slice(None), *target)] = x[(slice(None), slice(None), *source)]
    return placed


def _find_lengths(x_shape: Sequence[int], weight_shape: Sequence[int], geometry: ConvGeometry) -> list[int]:
    """Of each axis, the padded input's length, or the next one that has no prime factor over 5."""
    rows = zip(x_shape[2:], geometry.pads_begin, geometry.pads_end, strict=True)
    return [_round_up(size + begin + end) for size, begin, end in rows]


def _round_up(length: int) -> int:
    powers = [3**a * 5**b for a in range(20) for b in range(14) if 3**a * 5**b < 2 * length]
    fitting: list[int] = [power << (-(-length // power) - 1).bit_length() for power in powers]
    return min(fitting)


def _count_direct(x_shape: Sequence[int], weight_shape: Sequence[int], geometry: ConvGeometry) -> float:
    """The products of matrices, and for each tap a pass over what is read and two over what is summed."""
    outputs = x_shape[0] * math.prod(geometry.output_extents(x_shape[2:], weight_shape[2:]))
    passes = math.prod(weight_shape[2:]) * outputs * (x_shape[1] + 2 * weight_shape[0]) * PASS_WORK
    return passes + count_multiply_adds(x_shape, weight_shape, geometry) / PRODUCT_SPEED


def _count_fft(x_shape: Sequence[int], weight_shape: Sequence[int], geometry: ConvGeometry) -> float:
    batch, in_channels, out_channels, per_in = x_shape[0], x_shape[1], *weight_shape[:2]
    points = math.prod(_find_lengths(x_shape, weight_shape, geometry))
    transforms = batch * in_channels + out_channels * per_in + batch * out_channels
    return points * (TRANSFORM_WORK * math.log2(points + 1) * transforms + BIN_WORK * batch * out_channels * per_in / 2)


def _sample_whole(x_shape: Sequence[int], weight_shape: Sequence[int], geometry: ConvGeometry) -> Sample:
    outputs = geometry.output_extents(x_shape[2:], weight_shape[2:])
    batch, channels, *positions = (np.arange(n, dtype=np.int64) for n in (x_shape[0], weight_shape[0], *outputs))
    return Sample(batch, channels, tuple(positions))


def _draw_maps(whole: Sample, points: Sample, paid: float, seed: int) -> Sample:
    """Two batch rows, or more if every channel is in: one row and one channel are also in `points`, to compare both."""
    rng = np.random.default_rng([seed, 1])
    rows, channels = len(whole.batch), len(whole.channels)
    count = max(1, math.floor(paid * rows * channels))
    keep_channels = min(channels, max(1, count // 2))
    keep_rows = min(rows, count // keep_channels)

    def draw(first: int, count: int, keep: int) -> npt.NDArray[np.int64]:
        others = np.delete(np.arange(count, dtype=np.int64), first)
        return np.sort(np.append(rng.choice(others, keep - 1, replace=False), first)).astype(np.int64)

    first_channel = int(rng.choice(points.channels))
    batch = draw(int(points.batch[0]), rows, keep_rows)
    return Sample(batch, draw(first_channel, channels, keep_channels), whole.positions)


def _agree(maps: Truth, points: Truth) -> bool:
    """Whether both have the same values at what they share."""
    batch = np.intersect1d(points.sample.batch, maps.sample.batch, return_indices=True)[1:]
    channels = np.intersect1d(points.sample.channels, maps.sample.channels, return_indices=True)[1:]
    direct = points.values[np.ix_(batch[0], channels[0])]
    fast = maps.values[np.ix_(batch[1], channels[1], *points.sample.positions)]
    return bool(np.abs(fast - direct).max() <= AGREEMENT * np.abs(maps.values).max())
