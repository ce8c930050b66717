"""The native library at the edges: shapes where tiles, vectors, phases or the input itself just begin or end.

Tolerances are those of `native_models`: relative L2 against float64, 5e-7 for float32, by the size of the terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from tests.native_models import RELATIVE_L2, Array, Conv, assert_close, conv_model, open_session

pytestmark = pytest.mark.usefixtures("native_library")

EDGES = {
    "kernel as long as the input": Conv(extents=(31,), kernel=(31,), pads=(0, 0)),
    "kernel as large as the input": Conv(extents=(13, 11), kernel=(13, 11), pads=(0,) * 4),
    "kernel as large as the body": Conv(extents=(3, 5, 8), kernel=(3, 5, 7), pads=(0, 0, 0, 0, 0, -1)),
    "one output of a stride": Conv(extents=(20,), kernel=(11,), strides=(16,), pads=(0, 0)),
    "one output of a dilation": Conv(extents=(21,), kernel=(3,), dilations=(10,), pads=(0, 0)),
    "one sample": Conv(extents=(1,), kernel=(1,), pads=(0, 0)),
    "one sample, long kernel": Conv(extents=(1,), kernel=(63,), pads=(31, 31)),
    "two samples": Conv(extents=(2, 2), kernel=(2, 2)),
    "primes": Conv(extents=(211,), kernel=(37,), channels=(5, 7), group=1, pads=(0, 0)),
    "primes in two dimensions": Conv(extents=(23, 29), kernel=(7, 11), channels=(3, 11), group=1, pads=(2, 3, 5, 7)),
    "primes in three dimensions": Conv(extents=(7, 11, 13), kernel=(3, 5, 2), channels=(3, 5), group=1),
    "height 1": Conv(extents=(1, 400), kernel=(1, 31), pads=(0, 15, 0, 15)),
    "height 2": Conv(extents=(2, 300), kernel=(2, 65), pads=(0, 32, 1, 32)),
    "width 1": Conv(extents=(400, 1), kernel=(31, 1), pads=(15, 0, 15, 0)),
    "height below the kernel's": Conv(extents=(3, 200), kernel=(9, 17), pads=(4, 8, 4, 8)),
    "depth 1": Conv(extents=(1, 40, 50), kernel=(1, 5, 7), pads=(0, 2, 3, 0, 2, 3)),
    "one channel": Conv(extents=(70, 50), kernel=(9, 9), channels=(1, 1), group=1, batch=1),
    "one channel to many": Conv(extents=(40, 40), kernel=(7, 7), channels=(1, 37), group=1),
    "many channels to one": Conv(extents=(40, 40), kernel=(7, 7), channels=(37, 1), group=1),
    "depthwise, 3 channels": Conv(extents=(40, 30), kernel=(9, 9), channels=(3, 3), group=3),
    "depthwise, 17 channels": Conv(extents=(300,), kernel=(33,), channels=(17, 17), group=17),
    "depthwise, 31 channels in tiles": Conv(extents=(90, 80), kernel=(5, 5), channels=(31, 31), group=31, batch=1),
    "depthwise, few taps": Conv(extents=(40, 41), kernel=(3, 3), channels=(20, 20), group=20),
    "depthwise, few taps, dilated": Conv(
        extents=(30, 41), kernel=(3, 2), channels=(7, 7), group=7, dilations=(2, 3), pads=(2, 3, 2, 0)
    ),
    "depthwise, few taps, 1-D": Conv(extents=(301,), kernel=(4,), channels=(19, 19), group=19, pads=(3, 0)),
    "depthwise, few taps, 3-D": Conv(extents=(7, 9, 11), kernel=(3, 3, 3), channels=(5, 5), group=5, pads=(1,) * 6),
    "one channel, few taps": Conv(extents=(99, 101), kernel=(3, 5), channels=(1, 1), group=1, batch=3),
    "depthwise, large kernel": Conv(
        extents=(60, 50), kernel=(31, 29), channels=(17, 17), group=17, pads=(15, 14, 15, 14)
    ),
    "depthwise, long kernel": Conv(extents=(700,), kernel=(401,), channels=(3, 3), group=3, pads=(200, 200)),
    "one channel, long kernel": Conv(extents=(1700,), kernel=(601,), channels=(1, 1), group=1, batch=1, pads=(0, 0)),
    "multiplier, 19 groups": Conv(extents=(200,), kernel=(21,), channels=(19, 57), group=19),
    "5 groups of 3 and 7": Conv(extents=(30, 30), kernel=(5, 5), channels=(15, 35), group=5),
    "9 groups of 17 and 1": Conv(extents=(120,), kernel=(13,), channels=(153, 9), group=9),
    "stride above the kernel": Conv(extents=(100,), kernel=(3,), strides=(5,)),
    "strides above the kernel": Conv(extents=(40, 50), kernel=(2, 3), strides=(5, 7)),
    "stride above the input": Conv(extents=(30, 9), kernel=(5, 5), strides=(3, 50)),
    "stride and dilation of a common factor": Conv(extents=(150,), kernel=(9,), strides=(4,), dilations=(6,)),
    "stride a multiple of the dilation": Conv(extents=(150,), kernel=(9,), strides=(6,), dilations=(2,)),
    "dilation a multiple of the stride": Conv(extents=(150,), kernel=(9,), strides=(2,), dilations=(6,)),
    "stride 1 beside stride 3": Conv(extents=(40, 41), kernel=(5, 6), strides=(3, 1), dilations=(1, 2)),
    "dilation above the input": Conv(extents=(20,), kernel=(3,), dilations=(50,), pads=(50, 50)),
    "dilation above the outputs": Conv(extents=(60, 60), kernel=(3, 3), dilations=(28, 29), pads=(0,) * 4),
    "dilation of a kernel of one": Conv(extents=(20, 30), kernel=(1, 5), dilations=(99, 1)),
    "padding before the kernel": Conv(extents=(50,), kernel=(5,), pads=(40, 0)),
    "padding behind the kernel": Conv(extents=(50,), kernel=(5,), pads=(0, 40)),
    "padding above the input": Conv(extents=(6, 7), kernel=(3, 3), pads=(20, 0, 0, 30)),
    "causal": Conv(extents=(256,), kernel=(128,), channels=(8, 8), group=8, pads=(127, 0)),
    "large batch": Conv(extents=(33,), kernel=(9,), channels=(2, 2), group=1, batch=67),
}
KINDS = ("float16", "float32", "float64", "float32 by FFT")


def run(conv: Conv, arrays: dict[str, Array], threads: int = 1) -> Array:
    """In a session of its own."""
    (y,) = open_session(conv_model(conv, arrays), threads).run(None, {"x": arrays["x"]})
    return y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EDGES)
def test_edge(name: str, kind: str) -> None:
    dtype, _, by_fft = kind.partition(" by ")
    conv = replace(EDGES[name], dtype=dtype)
    if by_fft:
        conv = conv.lifted() if len(conv.kernel) < 3 else replace(conv, pads=(*conv.geometry.pads_begin, 0, 0, -1))
    arrays = conv.arrays()
    assert_close(run(conv, arrays), conv.expect(arrays), dtype, conv.size(arrays))


SWEEPS = {
    "depthwise": (Conv(kernel=(31,), channels=(3, 3), group=3, pads=(0, 0)), ((31, 331),)),
    "long kernel": (Conv(kernel=(401,), channels=(3, 3), group=3, pads=(0, 200)), ((201, 420, 7),)),
    "many tiles": (Conv(kernel=(31,), channels=(2, 3), group=1, pads=(0, 0)), ((31, 390),)),
    "one channel": (Conv(kernel=(5,), channels=(1, 1), group=1, pads=(2, 2)), ((1, 70),)),
    "dense": (Conv(kernel=(7,), channels=(3, 5), group=1, pads=(3, 3)), ((1, 200),)),
    "whole": (Conv(kernel=(500,), channels=(1, 1), group=1, pads=(499, 20)), ((1, 160, 5),)),
    "stride and dilation": (Conv(kernel=(5,), strides=(3,), dilations=(2,), pads=(4, 1)), ((4, 150),)),
    "dilation": (Conv(kernel=(6,), dilations=(4,), pads=(0, 7)), ((14, 150),)),
    "few taps": (Conv(kernel=(3,), channels=(17, 17), group=17, dilations=(2,), pads=(2, 2)), ((1, 100),)),
    "two dimensions": (Conv(kernel=(3, 5), pads=(0, 2, 1, 2), batch=1), ((2, 20), (1, 21))),
}
"""A convolution, and for each axis the input extents to try as a range, from one output on to some tiles."""


def sweep(name: str) -> Iterator[Conv]:
    conv, ranges = SWEEPS[name]
    for extents in product(*(range(*limits) for limits in ranges)):
        yield replace(conv, extents=extents)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SWEEPS)
def test_every_extent(name: str, dtype: str) -> None:
    """So, whatever the tiles are, their last outputs, one more and one less; more plans than a node remembers."""
    wrong: list[tuple[tuple[int, ...], float]] = []
    first, *_ = convs = [replace(conv, dtype=dtype).lifted() for conv in sweep(name)]
    weights = {key: first.arrays()[key] for key in "wb"}
    session = open_session(conv_model(first, first.arrays()))
    for conv in convs:
        arrays = {**conv.arrays(), **weights}
        (y,) = session.run(None, {"x": arrays["x"]})
        expected = conv.expect(arrays)
        assert y.shape == expected.shape
        error = float(np.linalg.norm(y - expected) / np.linalg.norm(conv.size(arrays)))
        if not error <= RELATIVE_L2[dtype]:
            wrong.append((conv.extents, error))
    assert not wrong


LONG = {
    "short kernel": (1, 31, (1 << 20) + 7),
    "long kernel": (1, 16_381, 1_200_007),
    "kernel above the usual DFTs": (1, 200_003, 1_000_003),
    "kernel as long as the input": (1, 200_003, 200_003),
    "depthwise": (3, 257, 400_009),
}
"""Channels, one a group, kernel and extent: primes for the most part."""


@pytest.mark.parametrize("name", LONG)
def test_a_million_samples(name: str) -> None:
    """Against the sum itself at 300 of the outputs, the first and the last among them."""
    channels, kernel, extent = LONG[name]
    pads = (kernel // 2, 3)
    sizes = {"extents": (extent,), "kernel": (kernel,), "channels": (channels, channels), "group": channels}
    conv = Conv(**sizes, batch=1, pads=pads, bias=False)
    arrays = conv.arrays()
    y = run(conv, arrays, threads=2)
    outputs = extent + sum(pads) - kernel + 1
    assert y.shape == (1, channels, outputs)
    assert np.isfinite(y).all()
    places = np.unique([0, 1, outputs - 2, outputs - 1, *np.random.default_rng(1).integers(0, outputs, 296)])
    x = np.pad(arrays["x"][0].astype(np.float64), ((0, 0), pads))
    weights = arrays["w"][:, 0].astype(np.float64)
    expected = np.array([[x[c, t : t + kernel] @ weights[c] for t in places] for c in range(channels)])
    size = np.array([[np.square(x[c, t : t + kernel] * weights[c]).sum() for t in places] for c in range(channels)])
    assert_close(y[0][:, places], expected, "float32", np.sqrt(size))


# --- values -------------------------------------------------------------------------------------------------------

DENSE = Conv(extents=(60, 50), kernel=(9, 9), channels=(4, 6), batch=3).lifted()
DEPTHWISE = Conv(extents=(60, 50), kernel=(9, 9), channels=(5, 5), group=5, batch=3).lifted()
FEW_TAPS = replace(DEPTHWISE, kernel=(1, 3, 3))
by_kind = pytest.mark.parametrize("conv", [DENSE, DEPTHWISE, FEW_TAPS], ids=["dense", "depthwise", "few taps"])


@by_kind
@pytest.mark.parametrize("dtype", RELATIVE_L2)
def test_zeros_give_the_bias(conv: Conv, dtype: str) -> None:
    arrays = replace(conv, dtype=dtype).arrays()
    y = run(replace(conv, dtype=dtype), {**arrays, "x": np.zeros_like(arrays["x"])})
    np.testing.assert_array_equal(y, np.broadcast_to(arrays["b"].reshape(-1, 1, 1, 1), y.shape))


@by_kind
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38], ids=str)
def test_one_bad_value_stays_in_its_image_and_group(conv: Conv, value: float) -> None:
    """Within it, it reaches at least every output whose sum it is in, and may reach its whole tile. And it is gone in
    the next run, which finds it in the memory that it takes over.
    """
    arrays = conv.arrays()
    session = open_session(conv_model(conv, arrays))
    x = arrays["x"].copy()
    x[1, 0, 1, 30, 25] = value
    right, y, again = (session.run(None, {"x": array})[0] for array in (arrays["x"], x, arrays["x"]))
    np.testing.assert_array_equal(again, right)
    outputs = conv.channels[1] // conv.group
    reached = np.zeros(y.shape, bool)
    reached[1, :outputs] = True
    np.testing.assert_array_equal(y[~reached], right[~reached])
    if not np.isfinite(value):
        rows, columns = (slice(place + 2 - k, place + 2) for place, k in zip((30, 25), conv.kernel[1:], strict=True))
        assert not np.isfinite(y[1, :outputs, 0, rows, columns]).any()


def test_every_float16_comes_through() -> None:
    """One sample times one tap is exact in float32, so that the result is rounded once, as NumPy rounds: subnormal
    results, ties and overflows included.
    """
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)].reshape(-1, 1, 1)
    conv = Conv(extents=(1,), kernel=(1,), channels=(1, 1), group=1, dtype="float16", bias=False, pads=(0, 0))
    for factor in (1.0, 0.5, 1.5, 1.0009765625, -3.0):
        weight = np.full((1, 1, 1), factor, np.float16)
        with np.errstate(over="ignore"):
            expected = (values.astype(np.float32) * np.float32(factor)).astype(np.float16)
        np.testing.assert_array_equal(run(conv, {"x": values, "w": weight}), expected)
