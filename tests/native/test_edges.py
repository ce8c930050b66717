"""The native library at the edges: tiles, vectors, polyphase components or the input itself just begin or end.

Tolerances are those of `native_models`: relative L2 against float64, 5e-7 for float32, by the size of the terms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scripts.shared.conv_models import Array
from tests.marks import mark_slow
from tests.native.convolutions import EDGES, SWEEPS, sweep
from tests.native_models import ACTIVATIONS, RELATIVE_L2, Conv, assert_close, conv_model, open_session

pytestmark = pytest.mark.usefixtures("native_library")

KINDS = ("float16", "float32", "float64", "float32 by FFT")


def run(conv: Conv, arrays: dict[str, Array], threads: int = 1) -> Array:
    """In a session of its own."""
    y: Array = open_session(conv_model(conv, arrays), threads).run(None, {"x": arrays["x"]})[0]
    return y


@pytest.mark.parametrize("kind", mark_slow(KINDS, lambda kind: kind != "float32 by FFT"))
@pytest.mark.parametrize("name", EDGES)
def test_edge(name: str, kind: str) -> None:
    dtype, _, by_fft = kind.partition(" by ")
    conv = replace(EDGES[name], dtype=dtype)
    if by_fft:
        conv = conv.lifted() if len(conv.kernel) < 3 else replace(conv, pads=(*conv.geometry.pads_begin, 0, 0, -1))
    arrays = conv.arrays()
    assert_close(run(conv, arrays), conv.expect(arrays), dtype, conv.size(arrays))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SWEEPS)
def test_every_extent(name: str, dtype: str) -> None:
    """Whatever the tiles are: their last outputs, one more, one less, and more plans than a node remembers."""
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


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_million_samples(name: str) -> None:
    """Against the sum itself at 300 of the outputs, the first and the last among them."""
    channels, kernel, extent = LONG[name]
    pads = (kernel // 2, 3)
    conv = Conv((extent,), (kernel,), channels, (channels, channels), batch=1, pads=pads, bias=False)
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


FAR = {
    "dilation": ((64,), (3,), 1 << 30, (4, 6)),
    "dilation, many channels": ((64,), (2,), 1 << 20, (64, 64)),
    "dilations": ((5, 7), (2, 3), (1 << 31) - 1, (4, 6)),
    "strides": ((5, 7, 9), (1 << 31,) * 3, (1 << 31) - 1, (4, 6)),
}
"""Extents, strides, the dilation of all axes, channels. A transform of all that is between taps takes gigabytes."""


@pytest.mark.parametrize("name", FAR)
def test_taps_that_are_too_far_apart_are_left_to_onnxruntime(name: str) -> None:
    """Of three taps only the middle one falls on the input; for float64 ONNX Runtime has no Conv, which is said."""
    extents, strides, dilation, channels = FAR[name]
    rank = len(extents)
    conv = Conv(extents, (3,) * rank, channels=channels, strides=strides, dilations=(dilation,) * rank)
    conv = replace(conv, pads=(dilation,) * 2 * rank)
    arrays = conv.arrays()
    middle = replace(conv, kernel=(1,) * rank, dilations=(1,) * rank, pads=(0,) * 2 * rank)
    taps = {
        **arrays,
        "w": arrays["w"].reshape(channels[1], -1, 3**rank)[..., 3**rank // 2].reshape(channels[1], -1, *middle.kernel),
    }
    assert_close(run(conv, arrays), middle.expect(taps), "float32", middle.size(taps))
    wide = replace(conv, dtype="float64")
    with pytest.raises(Exception, match="so far apart"):
        run(wide, wide.arrays())


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
    """Within it, it reaches at least every output whose sum contains it, and may reach its whole tile. The next run,
    which takes over the memory that holds it, is free of it.
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
    """One sample times one tap is exact in float32, so the result is rounded once, as NumPy rounds it: subnormal
    results, ties and overflows included.
    """
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = every[np.isfinite(every)].reshape(-1, 1, 1)
    conv = Conv(extents=(1,), kernel=(1,), channels=(1, 1), group=1, dtype="float16", bias=False, pads=(0, 0))
    for factor in (1.0, 0.5, 1.5, 1.0009765625, -3.0):
        weight = np.full((1, 1, 1), factor, np.float16)
        with np.errstate(over="ignore"):
            expected = (values.astype(np.float32) * np.float32(factor)).astype(np.float16)
        np.testing.assert_array_equal(run(conv, {"x": values, "w": weight}), expected)


# --- activations --------------------------------------------------------------------------------------------------

ACTIVATED = {
    "by FFT": Conv(extents=(9, 37), kernel=(3, 5), channels=(4, 6), batch=3).lifted(),
    "by onnxruntime": Conv(extents=(60, 61), kernel=(1, 1), channels=(4, 6), batch=3, pads=(0,) * 4),
}
"""The library applies an activation in vectors as it stores a tile, and in scalars behind ONNX Runtime's Conv."""

by_path = pytest.mark.parametrize("path", ACTIVATED)


@by_path
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name])
def test_a_nan_passes_every_activation(path: str, activation: str) -> None:
    """As it passes those of ONNX Runtime, in vectors and at their ends."""
    conv = replace(ACTIVATED[path], activation=activation)
    arrays = conv.arrays()
    assert np.isnan(run(conv, {**arrays, "x": np.full_like(arrays["x"], np.nan)})).all()


@by_path
def test_the_greatest_value_of_contradictory_bounds_wins(path: str) -> None:
    """As in ONNX Runtime's Clip and FusedConv: min(max(x, least), greatest)."""
    conv = replace(ACTIVATED[path], activation="Clip", extra={"alpha": 1.0, "beta": -2.0})
    y = run(conv, conv.arrays())
    np.testing.assert_array_equal(y, np.full_like(y, -2.0))
