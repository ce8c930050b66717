"""Random nodes of the native library for convolutions: FFTConv with what follows its sum, FFTConvTranspose, STFTs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from random import Random
from typing import Any

import numpy as np

from onnx_fft.fourier.oracle import ConvGeometry, TransposedGeometry, conv_direct, conv_transpose_direct
from scripts.fuzz.fourier import BASIS_POINTS, draw_basis
from scripts.fuzz.scenario import Inputs, Scenario, measure_sum
from scripts.shared.conv_models import Array

Activation = Callable[[Array, Inputs], Array]
ACTIVATIONS: Mapping[str, tuple[dict[str, float], Activation]] = {
    "": ({}, lambda y, _: y),
    "Relu": ({}, lambda y, _: np.maximum(y, 0)),
    "LeakyRelu": ({"alpha": 0.25}, lambda y, _: np.where(y < 0, 0.25 * y, y)),
    "PRelu": ({}, lambda y, given: np.where(y < 0, given["slope"] * y, y)),
    "Clip": ({"alpha": -0.5, "beta": 1.5}, lambda y, _: np.clip(y, -0.5, 1.5)),
    "HardSigmoid": ({"alpha": 0.25, "beta": 0.5}, lambda y, _: np.clip(0.25 * y + 0.5, 0, 1)),
    "HardSwish": ({}, lambda y, _: y * np.clip(y / 6 + 0.5, 0, 1)),
    "Sigmoid": ({}, lambda y, _: 1 / (1 + np.exp(-y))),
    "Swish": ({}, lambda y, _: y / (1 + np.exp(-y))),
    "Tanh": ({}, lambda y, _: np.tanh(y)),
}
"""Part of the op type: attributes, and the function, of the sum and all inputs."""

LENGTHS = {1: 200, 2: 24, 3: 8}
EPSILON = 2.0**-10
NORM_OPERANDS = ("scale", "shift", "mean", "variance")
MOST_GAIN = 20.0
"""Of an error by the steps behind the sum: PRelu's slope, and a scale over a standard deviation."""


def draw_conv(rng: Random) -> Scenario:
    """A convolution of any rank, with a residual, an activation, a BatchNormalization, or none."""
    rank, dtype = rng.choice((1, 1, 2, 2, 3)), rng.choice(("float32", "float32", "float16", "float64"))
    group, inputs, outputs = rng.choice((1, 1, 2, 5)), rng.randint(1, 3), rng.randint(1, 3)
    kernel = [rng.randint(1, max(2, LENGTHS[rank] // 3)) for _ in range(rank)]
    strides, dilations = ([rng.choice((1, 1, 1, 2, 3)) for _ in range(rank)] for _ in range(2))
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    begin, end = ([rng.choice((0, span // 2, span - 1, span + 2, -1)) for span in spans] for _ in range(2))
    values = np.random.default_rng(rng.getrandbits(32))
    # As long as a kernel needs it to be, and at times one sample shorter.
    least = [max(0, s - b - e - (rng.random() < 0.05)) for s, b, e in zip(spans, begin, end, strict=True)]
    xs = draw_images(rng, values, dtype, inputs * group, [(n, n + LENGTHS[rank]) for n in least])
    geometry = ConvGeometry(group, tuple(strides), tuple(dilations), tuple(begin), tuple(end))
    adds, normalizes, activation = rng.random() < 0.3, rng.random() < 0.3, rng.choice(list(ACTIVATIONS))
    behind: dict[str, tuple[int, ...]] = {}
    behind |= {"b": (outputs * group,)} if adds or normalizes or activation == "PRelu" or rng.random() < 0.5 else {}
    behind |= {"slope": (outputs * group, *[1] * rank)} if activation == "PRelu" else {}
    behind |= dict.fromkeys(NORM_OPERANDS, (outputs * group,)) if normalizes else {}
    shapes = {"w": (outputs * group, inputs, *kernel), **behind}
    operands = {name: values.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    attributes = _list_attributes(kernel, geometry) | ACTIVATIONS[activation][0]
    if normalizes:
        operands["variance"] = np.abs(operands["variance"]) + np.asarray(0.5, dtype)
        attributes["epsilon"] = EPSILON
    feeds = [{"x": x} for x in xs]
    for feed in feeds if adds else []:
        shape = (len(feed["x"]), outputs * group, *geometry.output_extents(feed["x"].shape[2:], kernel))
        feed["z"] = values.standard_normal(shape).astype(dtype)
    names = ["x", *operands]
    return Scenario(
        f"FFTConv{'Add' if adds else ''}{activation}{'BatchNormalization' if normalizes else ''}",
        attributes,
        [*names[:3], *(["z"] if adds else []), *names[3:]],
        operands,
        feeds,
        lambda given: _follow(conv_direct(given["x"], given["w"], given.get("b"), geometry), activation, given),
        lambda x: all(geometry.output_extents(x.shape[2:], kernel)),
        measure_sum(inputs * prod(kernel), MOST_GAIN if normalizes or activation == "PRelu" else 2.0),
    )


def _follow(y: Array, activation: str, given: Inputs) -> Array:
    """What follows the sum."""
    wide = {name: value.astype(np.float64) for name, value in given.items()}
    y = ACTIVATIONS[activation][1](y + wide.get("z", 0.0), wide)
    if "variance" not in wide:
        return y
    scale, shift, mean, variance = (wide[name].reshape(-1, *[1] * (y.ndim - 2)) for name in NORM_OPERANDS)
    return (y - mean) / np.sqrt(variance + EPSILON) * scale + shift


def draw_transposed(rng: Random) -> Scenario:
    """A transposed convolution of any rank, at times an inverse STFT."""
    rank, dtype = rng.choice((1, 1, 2, 2, 3)), rng.choice(("float32", "float32", "float16", "float64"))
    group, inputs, outputs = rng.choice((1, 1, 2, 5)), rng.randint(1, 3), rng.randint(1, 3)
    kernel = [rng.randint(1, max(2, LENGTHS[rank] // 3)) for _ in range(rank)]
    values = np.random.default_rng(rng.getrandbits(32))
    weight = values.standard_normal((inputs * group, outputs, *kernel))
    if rank == 1 and rng.random() < 0.4:
        weight = np.tile(draw_basis(rng, rng.choice(BASIS_POINTS)), (group, 1, 1))
        inputs, outputs, kernel = len(weight) // group, 1, [weight.shape[2]]
    strides, dilations = ([rng.choice((1, 1, 2, 3, 8)[: 5 if rank == 1 else 4]) for _ in range(rank)] for _ in range(2))
    added = [rng.randrange(max(s, d)) for s, d in zip(strides, dilations, strict=True)]
    full = [d * (k - 1) + 1 + more for d, k, more in zip(dilations, kernel, added, strict=True)]  # of one sample
    begin, end = ([rng.choice((0, 0, n // 4, n // 2, n + 1)) for n in full] for _ in range(2))
    geometry = TransposedGeometry(group, *(tuple(each) for each in (strides, dilations, begin, end, added)))
    xs = draw_images(rng, values, dtype, inputs * group, [(1, LENGTHS[rank] // 2)] * rank)
    operands = {"w": weight.astype(dtype)}
    has_bias = rng.random() < 0.5
    operands |= {"b": values.standard_normal(outputs * group).astype(dtype)} if has_bias else {}
    return Scenario(
        "FFTConvTranspose",
        _list_attributes(kernel, geometry) | {"output_padding": added},
        ["x", "w", *(["b"] if has_bias else rng.choice(([], [""])))],
        operands,
        [{"x": x} for x in xs],
        lambda given: conv_transpose_direct(given["x"], given["w"], given.get("b"), geometry),
        lambda x: all(n > 0 for n in geometry.output_extents(x.shape[2:], kernel)),
        measure_sum(inputs * prod(kernel)),
    )


def draw_stft_by_conv(rng: Random) -> Scenario:
    """A convolution whose weight is a windowed DFT basis, and what is made of its bins."""
    dtype, form = rng.choice(("float32", "float32", "float64")), rng.choice(("", "Power", "Magnitude"))
    taps, hop = rng.choice(BASIS_POINTS), rng.choice((1, 8, 13, 50))
    weight = draw_basis(rng, taps).astype(dtype)
    values = np.random.default_rng(rng.getrandbits(32))
    pads = [rng.choice((0, taps // 2, taps)) for _ in range(2)]
    geometry = ConvGeometry(1, (hop,), (1,), (pads[0],), (pads[1],))
    attributes = _list_attributes([taps], geometry)
    perm = rng.choice(([0, 1, 2], [0, 2, 1]))
    operands = {"w": weight}
    if rng.random() < 0.5:
        operands["b"] = values.standard_normal(len(weight)).astype(dtype)
    bins, is_power = len(weight) // 2, form == "Power"

    def compute(given: Inputs) -> Array:
        y = conv_direct(given["x"], given["w"], given.get("b"), geometry)
        return join_parts(y[:, :bins], y[:, bins:], is_power).transpose(perm) if form else y

    return Scenario(
        f"FFTConv{form}",
        attributes | ({"perm": perm} if form else {}),
        ["x", *operands],
        operands,
        [{"x": x} for x in draw_images(rng, values, dtype, 1, [(max(1, taps - sum(pads)), 400)])],
        compute,
        lambda x: all(geometry.output_extents(x.shape[2:], [taps])),
        measure_sum(taps if not is_power else 4.0 * taps**2),
    )


def draw_matmul(rng: Random) -> Scenario:
    """Frames that are cut already, in rows or in columns, by a windowed DFT basis."""
    dtype, taps = rng.choice(("float32", "float32", "float16", "float64")), rng.choice(BASIS_POINTS)
    in_columns = rng.random() < 0.5
    basis = draw_basis(rng, taps)[:, 0]
    weight = np.ascontiguousarray(basis if in_columns else basis.T).astype(dtype)
    values, leading = np.random.default_rng(rng.getrandbits(32)), rng.choice(((), (), (2,), (3, 1), (0,)))
    names = ["w", "x"] if in_columns else ["x", "w"]
    shapes = [(*leading, *((taps, n) if in_columns else (n, taps))) for n in (1, 5, 30)]

    def compute(given: Inputs) -> Array:
        first, second = (given[name].astype(np.float64) for name in names)
        return first @ second

    return Scenario(
        "FFTMatMul",
        {},
        names,
        {"w": weight},
        [{"x": values.standard_normal(shape).astype(dtype)} for shape in shapes],
        compute,
        lambda x: True,
        measure_sum(taps),
        ("w",),
    )


def join_parts(real: Array, imaginary: Array, is_power: bool) -> Array:
    """The power of complex numbers, or the magnitude."""
    power: Array = np.square(real) + np.square(imaginary)
    return power if is_power else np.sqrt(power)


def draw_images(
    rng: Random, values: np.random.Generator, dtype: str, channels: int, lengths: list[tuple[int, int]]
) -> list[Array]:
    """Three inputs `[batch, channels, *extents]`, each extent between two bounds; a batch may be empty."""
    shapes = [(rng.choice((1, 1, 2, 3, 0)), channels, *(rng.randint(*bounds) for bounds in lengths)) for _ in range(3)]
    return [values.standard_normal(shape).astype(dtype) for shape in shapes]


def _list_attributes(kernel: list[int], geometry: ConvGeometry | TransposedGeometry) -> dict[str, Any]:
    return {
        "group": geometry.group,
        "kernel_shape": kernel,
        "strides": list(geometry.strides),
        "dilations": list(geometry.dilations),
        "pads": [*geometry.pads_begin, *geometry.pads_end],
    }
