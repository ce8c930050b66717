"""Feeds that random ones are not like: zeros, one value, a few bright samples, a large offset, a black border.

The bright ones come at the scale of pixels as well: beside them, a constant that outweighs the noise of numbers around
1 may not outweigh theirs.

On them an FFT may do what a sum of taps does not: it makes +-1e-7 of exact zeros, and loses small values beside large
ones. They are made from an ordinary feed, in its shapes, so they fit whatever that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_fft.runtime.engines import Value

Array = npt.NDArray[Any]

FEW = 16
"""A smaller input is a parameter, such as a scale or a threshold, unless all are that small: it stays what it is."""
SPREAD, MOST_SPOTS = 1 << 14, 4
"""One sample of so many is bright, and never more than a few: most kernels reach none of them."""
LEAST_AXIS = 8
"""Axes as long as this have a border; shorter ones are channels."""
OFFSETS = {"float16": 16.0}
OFFSET = 64.0
"""How large an offset is, in units of the feed's RMS: that of a sensor. Of a larger one, networks that normalize make
noise."""


PIXELS = {"float16": 16.0}
PIXEL = 255.0
"""How many times brighter a bright image is."""


Change = Callable[[Array, np.random.Generator], Array]


def make_sparse(
    arrays: Mapping[str, Value], seed: int, kinds: Mapping[str, Change] | None = None
) -> Iterator[tuple[str, dict[str, Value]]]:
    """The feeds of `kinds`, by default `KINDS`, with a name each, the most telling first; none without samples.

    Samples are floats, and integers of 8 or 16 bits; wider integers are positions or choices, and stay what they are.
    """
    samples = {name for name, value in arrays.items() if _holds_samples(value)}
    samples = {name for name in samples if _count(arrays[name]) >= FEW} or samples
    for label, change in (KINDS if kinds is None else kinds).items() if samples else ():
        rng = np.random.default_rng([seed, len(label)])
        changed = {name: _apply(change, value, rng) if name in samples else value for name, value in arrays.items()}
        yield label, changed


def scale_feed(arrays: Mapping[str, Value], factor: float) -> dict[str, Value]:
    """The same with all floats times `factor`."""
    return {name: _change(value, lambda x: x * factor) for name, value in arrays.items()}


def make_non_negative(arrays: Mapping[str, Value]) -> dict[str, Value]:
    """The same with the absolute values of all floats."""
    return {name: _change(value, np.abs) for name, value in arrays.items()}


def _border(x: Array, _: np.random.Generator) -> Array:
    """The middle quarter of each long axis but the first; of a line, of its only axis."""
    axes = [axis for axis in range(1, x.ndim) if x.shape[axis] >= LEAST_AXIS] or [x.ndim - 1] * (x.ndim > 0)
    inside = np.zeros(x.shape, np.bool_)
    middle = [slice(3 * n // 8, n - 3 * n // 8) if axis in axes else slice(None) for axis, n in enumerate(x.shape)]
    inside[tuple(middle)] = True
    return np.where(inside, x, np.zeros_like(x))


def _spots(x: Array, rng: np.random.Generator) -> Array:
    """Zeros with a few samples as bright as the brightest."""
    bright = np.zeros(x.size, x.dtype)
    places = rng.choice(x.size, size=min(MOST_SPOTS, -(-x.size // SPREAD)), replace=False)
    bright[places] = _fit(np.abs(x.astype(np.float64)).max(), x.dtype)
    return bright.reshape(x.shape)


def _bright_border(x: Array, rng: np.random.Generator) -> Array:
    """No value is negative, as in an image."""
    return _brighten(_border(x, rng))


def _glaring(x: Array, rng: np.random.Generator) -> Array:
    return _brighten(_spots(x, rng))


def _brighten(x: Array) -> Array:
    """Floats as large as pixels; integers are as large as they may be already."""
    if x.dtype.kind != "f":
        return x
    return np.asarray(np.abs(x) * PIXELS.get(str(x.dtype), PIXEL)).astype(x.dtype)


def _offset(x: Array, _: np.random.Generator) -> Array:
    if x.dtype.kind != "f":
        limits = np.iinfo(x.dtype)
        return np.asarray(x // 4 + 3 * (limits.max // 4)).astype(x.dtype)
    return np.asarray(x + OFFSETS.get(str(x.dtype), OFFSET) * _rms(x)).astype(x.dtype)


def _constant(x: Array, _: np.random.Generator) -> Array:
    return np.full_like(x, _fit(_rms(x), x.dtype))


def _zero(x: Array, _: np.random.Generator) -> Array:
    return np.zeros_like(x)


BRIGHT = ("a bright image on black", "a few glaring samples")
"""Kinds of feeds that a model may not be made for: they show NaN and decisions; numbers are not held to tolerances."""
KINDS: dict[str, Change] = {
    "a black border": _border,
    "a few bright samples": _spots,
    "a bright image on black": _bright_border,
    "a few glaring samples": _glaring,
    "a large offset": _offset,
    "a constant": _constant,
    "all zero": _zero,
}


def _patch(x: Array, rng: np.random.Generator, kinds: Mapping[str, int]) -> Array:
    """Each of `kinds` on its share of the longest axis; of a batch, on every row."""
    axis = 1 + int(np.argmax(x.shape[1:])) if x.ndim > 1 else 0
    ends = np.cumsum(list(kinds.values())) * x.shape[axis] // sum(kinds.values())
    patches = zip(kinds, np.split(x, ends[:-1], axis), strict=True)
    return np.concatenate([KINDS[kind](patch, rng) if patch.size else patch for kind, patch in patches], axis)


PATCHES = (
    {"all zero": 1, "a few bright samples": 2, "a black border": 2, "a constant": 1, "a large offset": 1},
    {"a few glaring samples": 1, "a bright image on black": 1},
)
"""All kinds and their shares of a feed; what is black is together, so that large kernels have room in it."""
PATCHWORKS: dict[str, Change] = {f"{' beside '.join(shares)}": partial(_patch, kinds=shares) for shares in PATCHES}
"""All kinds in two feeds, for models that take long."""


def _apply(change: Change, value: Value, rng: np.random.Generator) -> Value:
    if isinstance(value, list):
        return [_apply(change, item, rng) for item in value]
    return change(value, rng)


def _change(value: Value, change: Callable[[Array], Array]) -> Value:
    if isinstance(value, list):
        return [_change(item, change) for item in value]
    is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return change(value).astype(value.dtype) if is_float else value


def _holds_samples(value: Value) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_holds_samples, value))
    if not isinstance(value, np.ndarray) or not value.size:
        return False
    return value.dtype.kind == "f" or (value.dtype.kind in "iu" and value.dtype.itemsize <= 2)


def _count(value: Value) -> int:
    return sum(map(np.size, value)) if isinstance(value, list) else int(np.size(value))


def _fit(value: float, dtype: np.dtype[Any]) -> float:
    """No larger than an integer type holds."""
    return value if dtype.kind == "f" else min(value, float(np.iinfo(dtype).max))


def _rms(x: Array) -> float:
    """1 if there is nothing to go by."""
    finite = x[np.isfinite(x)].astype(np.float64)
    return float(np.sqrt(np.mean(np.square(finite)))) if finite.any() else 1.0
