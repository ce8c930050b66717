"""Random convolutions of sizes that models have: with large kernels for the most part, or ordinary ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any

import numpy as np

from onnx_fft.sites.spec import ConvSpec
from scripts.shared.layers import make_spec

FLOPS = (1e6, 3e10)
"""Direct sums of fewer flops are noise, of more flops take too long."""


def draw_large(seed: int) -> Iterator[ConvSpec]:
    """Convolutions with kernels that an FFT may be for, without end."""
    return _draw_measurable(_draw_large, seed)


def draw_ordinary(seed: int) -> Iterator[ConvSpec]:
    """Convolutions of ordinary networks: kernels of 1 to 7 taps, 3 to 512 channels; without end."""
    return _draw_measurable(_draw_ordinary, seed)


def _draw_measurable(draw: Callable[[np.random.Generator], ConvSpec], seed: int) -> Iterator[ConvSpec]:
    rng = np.random.default_rng(seed)
    while True:
        spec = draw(rng)
        if is_measurable(spec):
            yield spec


def draw_mixed(seed: int) -> Iterator[ConvSpec]:
    """Two ordinary ones, one with a large kernel, and so on."""
    ordinary, large = draw_ordinary(seed), draw_large(seed)
    while True:
        yield next(ordinary)
        yield next(ordinary)
        yield next(large)


def is_measurable(spec: ConvSpec) -> bool:
    """Whether it has an output, and takes neither too long nor too short a time."""
    extents = [extent or 0 for extent in spec.output_extents]
    taps = prod(spec.kernel_shape) * spec.in_channels // spec.group
    flops = 2 * (spec.batch or 1) * prod(extents) * spec.out_channels * taps
    return min(extents) > 0 and FLOPS[0] < flops < FLOPS[1]


def _pick(rng: np.random.Generator, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def _draw_ordinary(rng: np.random.Generator) -> ConvSpec:
    pick = partial(_pick, rng)

    def channels() -> int:
        return int(pick(3, 8, 12, 16, 24, 32, 48, 64, 64, 96, 128, 256, 512))

    rank, kernel, pair = int(pick(1, 2, 2, 2, 3)), int(pick(1, 2, 3, 3, 3, 4, 5, 7)), (channels(), channels())
    if rank == 1:
        length, dilation, batch = int(pick(500, 2048, 8192, 32768)), int(pick(1, 1, 3, 5)), int(pick(1, 1, 4))
        return make_spec(pair, (kernel + int(pick(0, 4)),), (length,), dilations=(dilation,), batch=batch)
    if rank == 3:
        side = int(pick(8, 16, 24, 32, 48, 64))
        return make_spec(pair, (kernel,) * 3, (side,) * 3, strides=(int(pick(1, 1, 1, 2)),) * 3)
    group, side, strides = int(pick(1, 1, 1, 2)), int(pick(14, 28, 56, 96, 112, 160, 224)), (int(pick(1, 1, 1, 2)),) * 2
    dilations = (int(pick(1, 1, 1, 2)),) * 2 if strides == (1, 1) else None
    pair = (group * pair[0], group * pair[1])
    return make_spec(pair, (kernel, kernel), (side, side), group=group, strides=strides, dilations=dilations)


def _draw_large(rng: np.random.Generator) -> ConvSpec:
    pick = partial(_pick, rng)

    def channels() -> int:
        return int(pick(1, 3, 8, 16, 32, 64, 64, 128, 256))

    kind = pick("dense 2-D", "dense 2-D", "grouped 2-D", "3-D form", "depthwise 2-D", "depthwise 2-D", "dense 1-D",
                "dense 1-D", "depthwise 1-D", "depthwise 1-D", "3-D")  # fmt: skip
    if kind == "depthwise 2-D":
        width = int(pick(16, 32, 64, 96, 128, 256, 512))
        kernel, side = int(pick(3, 5, 7, 9, 11, 13, 17, 21, 27, 31, 41, 51)), int(pick(14, 20, 28, 56, 80, 112, 160))
        strides = (int(pick(1, 1, 1, 2)),) * 2
        return make_spec((width, width), (kernel, kernel), (side, side), group=width, strides=strides)
    if kind == "dense 1-D":
        kernel, length = (
            int(pick(15, 31, 64, 127, 255, 512, 1024, 2048)),
            int(pick(500, 1000, 4000, 8000, 16000, 48000)),
        )
        pads, stride, batch = pick("same", "causal"), int(pick(1, 1, 1, 2, 4, 16)), int(pick(1, 1, 4))
        return make_spec((channels(), channels()), (kernel,), (length,), strides=(stride,), pads=pads, batch=batch)
    if kind == "depthwise 1-D":
        width, kernel = (
            int(pick(1, 1, 2, 8, 64, 256, 512)),
            int(pick(15, 31, 64, 127, 255, 512, 1024, 2048, 4096, 16384)),
        )
        length = int(pick(500, 1000, 4000, 8000, 16000, 48000, 160000))
        return make_spec((width, width), (kernel,), (length,), group=width, pads=pick("same", "causal"))
    if kind == "3-D":
        kernel, side = int(pick(3, 5, 7, 9)), int(pick(8, 16, 32))
        return make_spec((int(pick(1, 4, 8, 16)), int(pick(1, 4, 8, 16))), (kernel,) * 3, (side,) * 3)
    kernel, side = int(pick(3, 5, 7, 9, 11, 13, 15, 21, 31)), int(pick(14, 28, 56, 80, 112, 160, 224, 256))
    shape = pick((kernel, kernel), (kernel, kernel), (kernel, kernel), (1, kernel), (kernel, 1), (3, kernel))
    group = int(pick(2, 4)) if kind == "grouped 2-D" else 1
    pair = (group * channels(), group * channels())
    if kind == "3-D form":
        return make_spec(pair, (1, *shape), (1, side, side))
    stride = int(pick(1, 1, 1, 1, 2, 4))
    return make_spec(pair, shape, (side, side), group=group, strides=(stride, stride), pads=pick("same", "valid"))
