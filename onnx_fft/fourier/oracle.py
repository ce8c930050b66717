"""The slow float64 truth: ONNX Conv and ConvTranspose by their definitions, one kernel tap at a time.

    y[n, o, t] = b[o] + sum_c sum_k w[o, c, k] * x[n, g(o) * C + c, t * stride + k * dilation - pad_begin]

with `C = in_channels / group` input channels a group, `g(o) = o // (out_channels / group)`, and zero outside the
input (https://onnx.ai/onnx/operators/onnx__Conv.html). Written to be obviously right, not to be fast: every other
implementation in this package is judged by it. A cost is counted in multiply-adds, and if the whole sum is too
dear `sample_conv` picks a seeded part of the output and `conv_direct_at` computes only that part, by the same sum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ConvGeometry:
    """The attributes of one Conv, resolved: one entry a spatial axis; negative pads crop."""

    group: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]

    def output_extents(self, extents: Sequence[int], kernel_shape: Sequence[int]) -> tuple[int, ...]:
        """Output length of each spatial axis, 0 if the kernel does not fit into the padded input."""
        rows = zip(extents, kernel_shape, self.strides, self.dilations, self.pads_begin, self.pads_end, strict=True)
        return tuple(max(0, (x + begin + end - (d * (k - 1) + 1)) // s + 1) for x, k, s, d, begin, end in rows)


@dataclass(frozen=True, slots=True)
class TransposedGeometry:
    """The attributes of one ConvTranspose, resolved: one entry a spatial axis; pads crop."""

    group: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    output_padding: tuple[int, ...]

    def output_extents(self, extents: Sequence[int], kernel_shape: Sequence[int]) -> tuple[int, ...]:
        """Output length of each spatial axis, 0 if the pads leave nothing."""
        spans = (d * (k - 1) + 1 for d, k in zip(self.dilations, kernel_shape, strict=True))
        added = (span + more for span, more in zip(spans, self.output_padding, strict=True))
        rows = zip(extents, self.strides, added, self.pads_begin, self.pads_end, strict=True)
        return tuple(max(0, s * (x - 1) + more - begin - end) for x, s, more, begin, end in rows)


@dataclass(frozen=True, slots=True)
class Sample:
    """A part of a Conv's output: the outer product of some batch rows, output channels and positions of each axis."""

    batch: IndexArray
    channels: IndexArray
    positions: tuple[IndexArray, ...]

    def take(self, output: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The sampled part of a whole output `[batch, out_channels, *output_extents]`."""
        return output[np.ix_(self.batch, self.channels, *self.positions)]


def conv_direct(
    x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike | None, geometry: ConvGeometry
) -> Float64Array:
    """Whole Conv in float64: `x [N, Cin, *extents]`, `weight [Cout, Cin/group, *kernel]`, `bias [Cout]`.

    Returns `[N, Cout, *output_extents]`. Raises ValueError if channels and group do not fit together.
    """
    x64, w64 = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    _check_channels(x64.shape, w64.shape, geometry.group)
    batch, in_channels, *extents = x64.shape
    out_channels, _, *kernel_shape = w64.shape
    group = geometry.group
    outputs = geometry.output_extents(extents, kernel_shape)
    padded = _pad_or_crop(x64, geometry)
    taps = w64.reshape(group, out_channels // group, in_channels // group, -1)
    total = np.zeros((batch, group, out_channels // group, math.prod(outputs)))
    for number, tap in enumerate(itertools.product(*(range(k) for k in kernel_shape))):
        window = tuple(
            slice(k * d, k * d + (count - 1) * s + 1 if count else k * d, s)
            for k, d, s, count in zip(tap, geometry.dilations, geometry.strides, outputs, strict=True)
        )
        taken = padded[(slice(None), slice(None), *window)].reshape(batch, group, in_channels // group, total.shape[3])
        total += _multiply(taps[..., number], taken)
    return _add_bias(total.reshape(batch, out_channels, *outputs), bias)


def conv_direct_at(
    x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike | None, geometry: ConvGeometry, sample: Sample
) -> Float64Array:
    """The same sum at the sampled outputs only: `[len(batch), len(channels), *len(positions)]`."""
    w64 = np.asarray(weight, np.float64)
    picked = np.asarray(x)[sample.batch]
    _check_channels(picked.shape, w64.shape, geometry.group)
    groups, rows, places = _spread_over_groups(sample.channels, w64.shape[0] // geometry.group)
    inputs = picked.reshape(len(picked), geometry.group, w64.shape[1], *picked.shape[2:])[:, groups]
    few = math.prod(map(len, sample.positions)) < math.prod(w64.shape[2:])
    sum_up = _sum_windows if few else _sum_taps  # the shorter loop
    total = sum_up(np.asarray(inputs, np.float64), w64[rows], geometry, sample.positions)
    total = total.reshape(len(picked), rows.size, *total.shape[3:])[:, places]
    return _add_bias(total, None if bias is None else np.asarray(bias, np.float64)[sample.channels])


def conv_transpose_direct(
    x: npt.ArrayLike, weight: npt.ArrayLike, bias: npt.ArrayLike | None, geometry: TransposedGeometry
) -> Float64Array:
    """Whole ConvTranspose in float64: `x [N, Cin, *extents]`, `weight [Cin, Cout/group, *kernel]`, `bias [Cout]`.

    Each tap adds the input, times its weight, to the outputs from `tap * dilation` on that are `stride` apart; of that,
    pads are cropped (https://onnx.ai/onnx/operators/onnx__ConvTranspose.html). Returns `[N, Cout, *output_extents]`.
    Raises ValueError if channels and group do not fit together.
    """
    x64, w64 = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    batch, in_channels, *extents = x64.shape
    group, outputs = geometry.group, geometry.output_extents(extents, w64.shape[2:])
    if w64.shape[0] != in_channels or in_channels % group:
        raise ValueError(f"input {x64.shape} and weight {w64.shape} do not fit together with group {group}")
    axes = zip(geometry.strides, extents, geometry.dilations, w64.shape[2:], geometry.pads_begin, outputs, strict=True)
    lengths = [max(s * (n - 1) + d * (k - 1) + 1, begin + count) for s, n, d, k, begin, count in axes]
    full = np.zeros((batch, group, w64.shape[1], *lengths))
    inputs = x64.reshape(batch, group, in_channels // group, math.prod(extents))
    taps = w64.reshape(group, in_channels // group, w64.shape[1], -1).transpose(0, 2, 1, 3)
    every = (slice(None),) * 3
    for number, tap in enumerate(itertools.product(*(range(k) for k in w64.shape[2:]))):
        reached = tuple(
            slice(k * d, k * d + s * (n - 1) + 1, s)
            for k, d, s, n in zip(tap, geometry.dilations, geometry.strides, extents, strict=True)
        )
        spread = _multiply(taps[..., number], inputs)
        full[(*every, *reached)] += spread.reshape(*spread.shape[:3], *extents)
    kept = tuple(slice(begin, begin + count) for begin, count in zip(geometry.pads_begin, outputs, strict=True))
    return _add_bias(full[(*every, *kept)].reshape(batch, group * w64.shape[1], *outputs), bias)


def conv_transpose_maps(
    x: npt.NDArray[Any], weight: npt.NDArray[Any], geometry: TransposedGeometry, budget: float, seed: int
) -> tuple[Sample, Float64Array]:
    """The same without bias, of as many batch rows and channels as `budget` multiply-adds pay for, at least one.

    Which ones is drawn with `seed`; the sample holds every position, both ends of each axis included.
    """
    rng = np.random.default_rng(seed)
    group, per_group, per_in = geometry.group, weight.shape[1], len(weight) // geometry.group
    paid = int(budget / max(1, math.prod(x.shape[2:]) * math.prod(weight.shape[2:]) * per_in))
    channels = _draw(rng, group * per_group, max(1, paid))
    batch = _draw(rng, x.shape[0], max(1, paid // len(channels)))
    outputs = geometry.output_extents(x.shape[2:], weight.shape[2:])
    values = np.zeros((len(batch), len(channels), *outputs))
    alone = replace(geometry, group=1)
    for number in np.unique(channels // per_group):
        here = channels // per_group == number
        read = slice(number * per_in, (number + 1) * per_in)
        taps = weight[read][:, channels[here] % per_group]
        values[:, here] = conv_transpose_direct(x[batch, read], taps, None, alone)
    return Sample(batch, channels, tuple(np.arange(count, dtype=np.int64) for count in outputs)), values


def count_multiply_adds(x_shape: Sequence[int], weight_shape: Sequence[int], geometry: ConvGeometry) -> int:
    """Multiply-adds of the whole direct sum."""
    outputs = geometry.output_extents(x_shape[2:], weight_shape[2:])
    return x_shape[0] * math.prod(outputs) * math.prod(weight_shape)


def sample_conv(
    x_shape: Sequence[int], weight_shape: Sequence[int], geometry: ConvGeometry, budget: float, seed: int
) -> Sample | None:
    """A seeded part of the output that costs at most about `budget` multiply-adds; None if the whole fits.

    One batch row is kept, and each axis is thinned, to 3 positions at least; channels are left out last, because what
    is wrong in one channel shows in no other. Both ends of every axis stay in, because that is where padding goes
    wrong; the rest is drawn without replacement.
    """
    cost = float(count_multiply_adds(x_shape, weight_shape, geometry))
    if cost <= budget:
        return None
    rng = np.random.default_rng(seed)
    batch = _draw(rng, x_shape[0], 1)
    cost /= x_shape[0]
    outputs = geometry.output_extents(x_shape[2:], weight_shape[2:])
    share = min(1.0, budget / cost) ** (1 / len(outputs))
    positions = tuple(_draw_with_ends(rng, count, max(3, math.floor(count * share))) for count in outputs)
    each = math.prod(map(len, positions)) * math.prod(weight_shape[1:])
    channels = _draw(rng, weight_shape[0], max(1, math.floor(budget / each)))
    return Sample(batch, channels, positions)


def _check_channels(x_shape: tuple[int, ...], weight_shape: tuple[int, ...], group: int) -> None:
    if x_shape[1] != weight_shape[1] * group or weight_shape[0] % group:
        raise ValueError(f"input {x_shape} and weight {weight_shape} do not fit together with group {group}")


def _pad_or_crop(x: Float64Array, geometry: ConvGeometry) -> Float64Array:
    pairs = list(zip(geometry.pads_begin, geometry.pads_end, strict=True))
    x = np.pad(x, [(0, 0), (0, 0), *((max(b, 0), max(e, 0)) for b, e in pairs)])
    crop = (slice(max(-b, 0), size - max(-e, 0)) for (b, e), size in zip(pairs, x.shape[2:], strict=True))
    return x[(slice(None), slice(None), *crop)]


def _spread_over_groups(channels: IndexArray, per_group: int) -> tuple[IndexArray, IndexArray, IndexArray]:
    """The groups of sorted `channels`, those of each group as a row of equal length, and each one's place in the rows.

    A row that is too short repeats its first channel.
    """
    groups, first, counts = np.unique(channels // per_group, return_index=True, return_counts=True)
    longest = int(counts.max())
    numbers = np.arange(longest)
    rows = channels[first[:, None] + np.where(numbers < counts[:, None], numbers, 0)]
    places = np.flatnonzero((numbers < counts[:, None]).ravel())
    return groups, rows, places


def _sum_taps(
    x: Float64Array, weight: Float64Array, geometry: ConvGeometry, positions: tuple[IndexArray, ...]
) -> Float64Array:
    """Some outputs: `x [N, G, C, *extents]`, `weight [G, O, C, *kernel]` -> `[N, G, O, *len(positions)]`."""
    lengths = [len(p) for p in positions]
    total = np.zeros((x.shape[0], *weight.shape[:2], math.prod(lengths)))
    taps = weight.reshape(*weight.shape[:3], -1)
    for number, tap in enumerate(itertools.product(*(range(k) for k in weight.shape[3:]))):
        taken = x
        for axis, k in enumerate(tap):
            where = positions[axis] * geometry.strides[axis] + k * geometry.dilations[axis] - geometry.pads_begin[axis]
            inside = (where >= 0) & (where < x.shape[3 + axis])
            taken = np.take(taken, np.where(inside, where, 0), axis=3 + axis)
            taken = taken * inside.reshape(-1, *[1] * (x.ndim - 4 - axis))
        total += _multiply(taps[..., number], taken.reshape(*x.shape[:3], -1))
    return total.reshape(*total.shape[:3], *lengths)


def _sum_windows(
    x: Float64Array, weight: Float64Array, geometry: ConvGeometry, positions: tuple[IndexArray, ...]
) -> Float64Array:
    """As `_sum_taps`, one output position at a time: all that the kernel touches there, times the kernel."""
    lengths = [len(p) for p in positions]
    total = np.zeros((x.shape[0], *weight.shape[:2], math.prod(lengths)))
    kernel = weight.reshape(*weight.shape[:2], -1)
    for number, place in enumerate(itertools.product(*positions)):
        taken = x
        for axis, t in enumerate(place):
            taps = np.arange(weight.shape[3 + axis])
            where = t * geometry.strides[axis] + taps * geometry.dilations[axis] - geometry.pads_begin[axis]
            inside = (where >= 0) & (where < x.shape[3 + axis])
            taken = np.take(taken, np.where(inside, where, 0), axis=3 + axis)
            taken = taken * inside.reshape(-1, *[1] * (x.ndim - 4 - axis))
        total[..., number] = np.matmul(kernel, taken.reshape(*x.shape[:2], -1, 1))[..., 0]
    return total.reshape(*total.shape[:3], *lengths)


def _multiply(tap: Float64Array, x: Float64Array) -> Float64Array:
    """`tap [G, O, C]`, `x [N, G, C, P]` -> `[N, G, O, P]`; a product of matrices with one entry is slow as one."""
    return tap * x if tap.shape[2] == 1 else np.matmul(tap, x)


def _add_bias(y: Float64Array, bias: npt.ArrayLike | None) -> Float64Array:
    if bias is None:
        return y
    return y + np.asarray(bias, np.float64).reshape(-1, *[1] * (y.ndim - 2))


def _draw(rng: np.random.Generator, count: int, keep: int) -> IndexArray:
    return np.sort(rng.choice(count, size=min(count, keep), replace=False)).astype(np.int64)


def _draw_with_ends(rng: np.random.Generator, count: int, keep: int) -> IndexArray:
    if keep >= count:
        return np.arange(count, dtype=np.int64)
    at_each_end = max(1, keep // 4)
    ends = [*range(at_each_end), *range(count - at_each_end, count)]
    middle = at_each_end + rng.choice(count - 2 * at_each_end, size=max(0, keep - len(ends)), replace=False)
    return np.unique(np.concatenate([ends, middle]).astype(np.int64))
