"""The native library's DFT and STFT in ONNX Runtime: results, inputs that do not fit, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.helper import make_node

from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import Array
from tests.models import build_model, info
from tests.native.fourier_models import (
    INT64,
    dft_model,
    draw_signal,
    expect_dft,
    expect_stft,
    run_dft,
    run_stft,
)
from tests.native_models import RELATIVE_L2, open_session

pytestmark = pytest.mark.usefixtures("native_library")

DTYPES = ("float16", "float32", "float64")
FORMS = {
    "real": (1, 0, 0),
    "real, onesided": (1, 0, 1),
    "real, inverse": (1, 1, 0),
    "complex": (2, 0, 0),
    "complex, inverse": (2, 1, 0),
    "half-spectrum, inverse": (2, 1, 1),
}
"""The last dimension, `inverse` and `onesided` of everything that the operator computes."""

by_form = pytest.mark.parametrize(("parts", "inverse", "onesided"), FORMS.values(), ids=FORMS)


def assert_close(got: Array, expected: Array, dtype: str) -> None:
    assert got.shape == expected.shape
    assert got.dtype == dtype
    assert np.isfinite(got).all()
    assert np.linalg.norm(got - expected) <= RELATIVE_L2[dtype] * np.linalg.norm(expected)


def check_dft(x: Array, axis: int, length: int, inverse: int, onesided: int) -> None:
    y = run_dft(x, axis, length, inverse=inverse, onesided=onesided)
    assert_close(y, expect_dft(x, axis, length, inverse=inverse, onesided=onesided), x.dtype.name)


# --- DFT ------------------------------------------------------------------------------------------------------------


@by_form
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_form_and_axis(parts: int, inverse: int, onesided: int, dtype: str) -> None:
    x = draw_signal((2, 12, 9, 10, parts), dtype)
    for axis in range(4):
        for length in (x.shape[axis], 8, 17, 30):  # as long, cropped, filled with zeros
            check_dft(x, axis, length, inverse, onesided)


@pytest.mark.slow
@by_form
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_length(parts: int, inverse: int, onesided: int, dtype: str) -> None:
    """Of one line, and of enough of them to fill a vector, which long lines are computed otherwise for."""
    for lines in (1, 17):
        for length in range(1, 1101):
            check_dft(draw_signal((lines, length, parts), dtype, length), 1, length, inverse, onesided)


@by_form
@pytest.mark.parametrize("lines", [1, 5])
@pytest.mark.parametrize("length", [4096, 12_288, 65_000, 65_537])
def test_long_lines(length: int, lines: int, parts: int, inverse: int, onesided: int) -> None:
    check_dft(draw_signal((lines, length, parts)), 1, length, inverse, onesided)


@pytest.mark.slow
@by_form
def test_a_million_and_three_points(parts: int, inverse: int, onesided: int) -> None:
    """A prime."""
    check_dft(draw_signal((1, 1_000_003, parts)), 1, 1_000_003, inverse, onesided)


@by_form
def test_long_lines_across(parts: int, inverse: int, onesided: int) -> None:
    """Their samples are far apart, some are cropped, and some are missing."""
    for length in (4000, 40_000, 40_009):
        check_dft(draw_signal((2, 39_000, 3, parts)), 1, length, inverse, onesided)


@pytest.mark.parametrize("length", [1024, 1000, 1009, 50_000, 50_021])
def test_the_inverse_brings_back_the_input(length: int) -> None:
    x = draw_signal((3, length, 1))
    spectrum = run_dft(x, 1, length, onesided=1)
    assert np.linalg.norm(run_dft(spectrum, 1, length, inverse=1, onesided=1) - x) <= 1e-6 * np.linalg.norm(x)


@pytest.mark.parametrize("length", [2, 16, 15, 34, 1024, 40_000])
def test_imaginary_parts_that_a_real_signal_has_not_are_ignored(length: int) -> None:
    spectrum = draw_signal((2, length // 2 + 1, 2))
    other = spectrum.copy()
    other[:, 0, 1] = np.nan
    if length % 2 == 0:
        other[:, -1, 1] = np.nan
    got, expected = (run_dft(x, 1, length, inverse=1, onesided=1) for x in (other, spectrum))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("length", [24, 15, 37])
def test_one_bad_value_stays_in_its_line(length: int) -> None:
    for axis, shape in ((1, (20, length, 1)), (0, (length, 20, 1))):
        x = draw_signal(shape)
        x[5 if axis == 1 else 2, 5 if axis == 0 else 2] = np.nan
        bad = np.isnan(run_dft(x, axis, length, onesided=1)).any(axis=(axis, 2))
        assert list(np.flatnonzero(bad)) == [5]


@st.composite
def draw_transforms(draw: st.DrawFn) -> tuple[Array, int, int, int, int]:
    parts, inverse, onesided = draw(st.sampled_from(tuple(FORMS.values())))
    shape = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    axis = draw(st.integers(0, len(shape) - 1))
    shape[axis] = draw(st.integers(1, 300))
    length = draw(st.one_of(st.just(shape[axis]), st.integers(1, 400)))
    while np.prod(shape) > 200_000:
        shape[shape.index(max(shape))] //= 2
    x = draw_signal([*shape, parts], draw(st.sampled_from(DTYPES)), draw(st.integers(0, 1000)))
    return x, axis, length, inverse, onesided


@pytest.mark.slow
@settings(max_examples=300)
@given(draw_transforms())
def test_any_dft(transform: tuple[Array, int, int, int, int]) -> None:
    check_dft(*transform)


def test_a_constant_length() -> None:
    x = draw_signal((3, 40, 1))
    (y,) = open_session(dft_model(3, 1, onesided=1, length=50)).run(None, {"x": x})
    assert_close(y, expect_dft(x, 1, 50, onesided=1), "float32")


def test_a_length_in_a_list() -> None:
    """One number is one number, whatever its shape."""
    node = make_node("DFT", ["x", "n"], ["y"], domain=OPERATOR_DOMAIN, axis=0, inverse=0, onesided=0)
    values = [info("x", shape=["l", 1]), info("n", INT64, [1])]
    session = open_session(build_model([node], values, [info("y")], {}, domains=[OPERATOR_DOMAIN]))
    x = draw_signal((12, 1))
    (y,) = session.run(None, {"x": x, "n": np.array([12])})
    assert_close(y, expect_dft(x, 0, 12), "float32")


@pytest.mark.parametrize("shape", [(0, 16, 1), (3, 16, 0, 1), (0, 16, 4, 2)])
def test_no_lines(shape: tuple[int, ...]) -> None:
    y = run_dft(draw_signal(shape), 1, 20)
    assert (y.size, y.shape) == (0, (shape[0], 20, *shape[2:-1], 2))


@by_form
@pytest.mark.parametrize("length", [8, 9, 5000])
def test_no_samples_are_zeros(length: int, parts: int, inverse: int, onesided: int) -> None:
    y = run_dft(draw_signal((3, 0, parts)), 1, length, inverse=inverse, onesided=onesided)
    assert y.size > 0
    np.testing.assert_array_equal(y, np.zeros_like(y))


@by_form
@pytest.mark.parametrize("length", [16, 15, 37, 5000])
def test_silence_stays_silent(length: int, parts: int, inverse: int, onesided: int) -> None:
    """A line of zeros beside others, of which no transform may make noise: a Log behind would show it."""
    for shape, axis in (((20, length, parts), 1), ((length, 20, parts), 0)):
        x = draw_signal(shape)
        x[(slice(None), 7) if axis == 0 else 7] = 0
        y = np.moveaxis(run_dft(x, axis, length, inverse=inverse, onesided=onesided), axis, 1)
        assert list(np.flatnonzero(~y.any(axis=(1, 2)))) == [7]


@pytest.mark.parametrize("length", [64, 67, 6000])
def test_silent_frames_stay_silent(length: int) -> None:
    x = draw_signal((1, 12 * length, 1))
    x[:, 2 * length : 5 * length] = 0
    step = length // 2
    y = run_stft(x, step, np.hanning(length + 2)[1:-1].astype(np.float32), length)
    silent = [frame for frame in range(y.shape[1]) if 2 * length <= frame * step <= 4 * length]
    assert list(np.flatnonzero(~y.any(axis=(0, 2, 3)))) == silent


WRONG: dict[str, tuple[tuple[int, ...], int, Any, int, int, str]] = {
    "length 0": ((2, 8, 1), 1, 0, 0, 0, "'dft_length' 0; expected at least 1"),
    "negative length": ((2, 8, 1), 1, -4, 0, 1, "'dft_length' -4; expected at least 1"),
    "least length": ((2, 8, 1), 1, -(1 << 63), 0, 1, "'dft_length' -9223372036854775808; expected at least 1"),
    "huge length": ((2, 8, 1), 1, 1 << 60, 0, 0, "more than any memory holds"),
    "greatest length": ((1, 8, 1), 1, (1 << 63) - 1, 1, 0, "more than any memory holds"),
    "long length": ((1, 8, 1), 1, 1 << 28, 0, 1, "a DFT of 268435456 points; expected at most 134217728"),
    "last axis": ((2, 8, 1), 2, 8, 0, 0, "'axis' 2 for an input of shape 2x8x1; expected an axis before the last"),
    "axis beyond": ((2, 8, 1), 7, 8, 0, 0, "'axis' 7 for an input of shape 2x8x1"),
    "three parts": ((2, 8, 3), 1, 8, 0, 0, "an input of shape 2x8x3; expected a last dimension of 1"),
    "no parts": ((2, 8, 0), 1, 8, 0, 0, "an input of shape 2x8x0; expected a last dimension of 1"),
    "complex where real is meant": ((2, 8, 2), 1, 8, 0, 1, "a complex input of shape 2x8x2 for 'onesided'"),
    "real where complex is meant": ((2, 8, 1), 1, 8, 1, 1, "a real input of shape 2x8x1 for 'onesided' and 'inverse'"),
    "one dimension": ((2,), 0, 8, 0, 0, "'axis' 0 for an input of shape 2"),
}
"""Shape, axis, length, inverse, onesided, and a part of the sentence."""


@pytest.mark.parametrize("case", WRONG)
def test_what_a_dft_refuses(case: str) -> None:
    shape, axis, length, inverse, onesided, sentence = WRONG[case]
    with pytest.raises(Exception, match="DFT 'dft': got ") as error:
        run_dft(draw_signal(shape), axis, length, inverse=inverse, onesided=onesided)
    assert sentence in str(error.value)
    x = draw_signal((2, 8, 1))  # and goes on
    assert_close(run_dft(x, 1, 8), expect_dft(x, 1, 8), "float32")


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"axis": -2}, "'axis' -2; expected at least 0"),
        ({"inverse": 2}, "'inverse' 2; expected 0 or 1"),
        ({"onesided": -1}, "'onesided' -1; expected 0 or 1"),
        ({"onesided": None}, "no attribute 'onesided'"),
    ],
)
def test_attributes_that_are_refused(attributes: dict[str, int | None], sentence: str) -> None:
    given = {"axis": 1, "inverse": 0, "onesided": 0} | attributes
    kept: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    node = make_node("DFT", ["x", "n"], ["y"], "dft", domain=OPERATOR_DOMAIN, **kept)
    values = [info("x", shape=["b", "l", 1]), info("n", INT64, [])]
    with pytest.raises(Exception, match="DFT 'dft': got ") as error:
        open_session(build_model([node], values, [info("y")], {}, domains=[OPERATOR_DOMAIN]))
    assert sentence in str(error.value)


# --- STFT -----------------------------------------------------------------------------------------------------------

FRAMES = {
    "Whisper": ((1, 8000, 1), 160, 400),
    "powers of two": ((2, 5000, 1), 128, 512),
    "short": ((5, 300, 1), 10, 100),
    "one frame": ((3, 256, 1), 1, 256),
    "odd": ((2, 700, 1), 13, 75),
    "prime": ((1, 700, 1), 3, 101),
    "long": ((1, 30_000, 1), 700, 8192),
    "step beyond the frame": ((2, 500, 1), 90, 32),
    "one sample": ((2, 50, 1), 1, 1),
    "complex": ((2, 600, 2), 25, 64),
}
"""The signal's shape, the step, the frame's length."""


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FRAMES)
def test_frames(name: str, dtype: str, onesided: int) -> None:
    shape, step, length = FRAMES[name]
    x, window = draw_signal(shape, dtype), draw_signal((length,), dtype, 1)
    if shape[-1] == 2 and onesided:
        with pytest.raises(Exception, match="STFT 'stft': got a complex signal of shape 2x600x2 for 'onesided'"):
            run_stft(x, step, window, length, onesided=onesided)
        return
    y = run_stft(x, step, window, length, onesided=onesided)
    assert_close(y, expect_stft(x, step, window, onesided=onesided), dtype)


@pytest.mark.slow
@settings(max_examples=200)
@given(st.integers(1, 3), st.integers(1, 200), st.integers(1, 60), st.integers(0, 900), st.sampled_from(DTYPES))
def test_any_frames(batch: int, length: int, step: int, more: int, dtype: str) -> None:
    x, window = draw_signal((batch, length + more, 1), dtype), draw_signal((length,), dtype, 1)
    assert_close(run_stft(x, step, window, length), expect_stft(x, step, window), dtype)


def test_an_empty_batch_has_no_frames() -> None:
    y = run_stft(draw_signal((0, 500, 1)), 100, draw_signal((200,)), 200)
    assert y.shape == (0, 4, 101, 2)


WRONG_FRAMES: dict[str, tuple[tuple[int, ...], int, int, int, str]] = {
    "step 0": ((1, 100, 1), 0, 20, 20, "'frame_step' 0; expected at least 1"),
    "negative step": ((1, 100, 1), -3, 20, 20, "'frame_step' -3; expected at least 1"),
    "length 0": ((1, 100, 1), 5, 0, 0, "'frame_length' 0; expected at least 1"),
    "window of another length": ((1, 100, 1), 5, 20, 21, "a window of shape 21; expected 20"),
    "frame beyond the signal": ((1, 100, 1), 5, 101, 101, "'frame_length' 101 for a signal of shape 1x100x1"),
    "no signal": ((1, 0, 1), 5, 4, 4, "'frame_length' 4 for a signal of shape 1x0x1; expected at most 0"),
    "three parts": ((1, 100, 3), 5, 20, 20, "a signal of shape 1x100x3; expected a last dimension of 1"),
    "huge frame": ((1, 100, 1), 5, 1 << 62, 20, "a window of shape 20; expected 4611686018427387904"),
}
"""Shape, step, frame_length, the window's length, and a part of the sentence."""


@pytest.mark.parametrize("case", WRONG_FRAMES)
def test_what_an_stft_refuses(case: str) -> None:
    shape, step, length, window, sentence = WRONG_FRAMES[case]
    with pytest.raises(Exception, match="STFT 'stft': got ") as error:
        run_stft(draw_signal(shape), step, draw_signal((window,)), length)
    assert sentence in str(error.value)


def test_a_step_beyond_the_signal_gives_one_frame() -> None:
    x, window = draw_signal((2, 100, 1)), draw_signal((20,))
    assert_close(run_stft(x, (1 << 63) - 1, window, 20), expect_stft(x, 1000, window), "float32")


# --- threads, and runs that change ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis", "length"),
    [
        ((40, 64, 64, 1), 2, 64),
        ((40, 64, 64, 1), 1, 64),
        ((9, 65_000, 1), 1, 65_000),
        ((1, 100_000, 1), 1, 100_003),
        ((64, 1009, 1), 1, 1009),
        ((3, 30_000, 2, 1), 1, 30_000),
    ],
)
@pytest.mark.parametrize("onesided", [0, 1])
def test_threads_do_not_change_a_bit(shape: tuple[int, ...], axis: int, length: int, onesided: int) -> None:
    x = draw_signal(shape)
    first, *others = (run_dft(x, axis, length, onesided=onesided, threads=threads) for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_threads_do_not_change_a_bit_of_frames() -> None:
    x, window = draw_signal((2, 60_000, 1)), draw_signal((400,))
    first, *others = (run_stft(x, 160, window, 400, threads=threads) for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_shapes_and_lengths_that_change_on_several_threads() -> None:
    """Four callers of one session, in an order of their own, and more lengths than plans are kept."""
    lengths = [*range(20, 120), 3001, 5000, 5003, 6000, 7000, 8192]
    runs = {length: draw_signal((5, length, 1), seed=length) for length in lengths}
    alone = {length: run_dft(x, 1, length, onesided=1) for length, x in runs.items()}

    def call(seed: int) -> None:
        for length in np.random.default_rng(seed).permutation(lengths):
            y = run_dft(runs[length], 1, length, onesided=1, threads=2)
            np.testing.assert_array_equal(y, alone[length])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(4)))


def test_windows_that_change() -> None:
    x = draw_signal((1, 1000, 1))
    for seed, length in enumerate((64, 64, 100, 64)):
        window = draw_signal((length,), seed=seed)
        assert_close(run_stft(x, 30, window, length), expect_stft(x, 30, window), "float32")
