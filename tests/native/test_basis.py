"""Convs whose weight is a windowed DFT basis: the library knows them by their numbers, and transforms frames.

`driver/frames.cpp` tries many more geometries, and asserts which plan they get.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from onnx_fft import inspect, rewrite
from onnx_fft.cost.native import predict_fftconv
from onnx_fft.measure.choice import Contest
from onnx_fft.measure.single import make_models
from onnx_fft.native.planning import find_basis_length, read_isa, read_rates
from scripts.shared.conv_models import Array
from scripts.shared.layers import make_spec
from scripts.shared.running import executed_op_types, run_model, run_with_library
from tests.marks import mark_slow
from tests.models import build_model, info
from tests.native_models import RELATIVE_L2, Conv, assert_close, conv_model, open_session

pytestmark = pytest.mark.usefixtures("native_library")

WINDOWS: dict[str, Callable[[int], Array]] = {
    "rectangle": np.ones,
    "hann": lambda taps: np.hanning(taps + 1)[:taps],
    "hamming": np.hamming,
    "blackman": lambda taps: np.blackman(taps + 2)[1:-1],
    "kaiser": lambda taps: np.kaiser(taps, 14),
    "povey": lambda taps: np.hanning(taps) ** 0.85,
    "decaying": lambda taps: np.exp(-3 * np.arange(taps) / taps),
    "short, in the middle": lambda taps: np.pad(np.hanning(taps // 2), (taps // 4, taps - taps // 2 - taps // 4)),
}


def write_basis(length: int, taps: int, window: str = "hann", dtype: str = "float32") -> Array:
    """Rows of all cosines, then of all sines, as models have them: `[rows, taps]`."""
    bins, k = np.arange(length // 2 + 1), np.arange(taps)
    angles = 2 * np.pi / length * (np.outer(bins, k) % length)
    rows: Array = (WINDOWS[window](taps) * np.concatenate([np.cos(angles), -np.sin(angles)])).astype(dtype)
    return rows


# --- what is one --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", RELATIVE_L2)
@pytest.mark.parametrize("window", WINDOWS)
def test_any_window(window: str, dtype: str) -> None:
    assert find_basis_length(write_basis(400, 400, window, dtype)) == 400


@pytest.mark.parametrize(("length", "support"), [(400, 50), (512, 32), (1024, 64)])
def test_windows_that_are_short(length: int, support: int) -> None:
    """Frames filled up to a longer DFT, wherever the window lies in them; its lobes are wide."""
    for begin in (0, (length - support) // 2, length - support):
        window = np.pad(np.hanning(support + 2)[1:-1], (begin, length - support - begin))
        rows = window * write_basis(length, length, "rectangle", "float64")
        assert find_basis_length(rows.astype(np.float32)) == length
        rows[5, begin + 7] += 1e-3
        assert find_basis_length(rows.astype(np.float32)) == 0


@pytest.mark.parametrize(("length", "taps"), [(512, 400), (640, 200), (401, 401), (802, 802), (128, 33), (100, 100)])
def test_any_length_and_shorter_windows(length: int, taps: int) -> None:
    """Odd lengths, twice a prime, and frames that are filled up with zeros."""
    assert find_basis_length(write_basis(length, taps)) == length


def permuted(rows: Array, rng: np.random.Generator) -> Array:
    return rows[rng.permutation(len(rows))]


def scaled(rows: Array, rng: np.random.Generator) -> Array:
    scales = rng.choice([-1, 1], len(rows)) * rng.uniform(0.01, 100, len(rows))
    return (rows * scales[:, None]).astype(rows.dtype)


def some(rows: Array, rng: np.random.Generator) -> Array:
    return rows[np.sort(rng.permutation(len(rows))[: len(rows) // 3])]


def interleaved(rows: Array, rng: np.random.Generator) -> Array:
    return np.ascontiguousarray(rows.reshape(2, len(rows) // 2, -1).swapaxes(0, 1).reshape(rows.shape))


def with_zeros(rows: Array, rng: np.random.Generator) -> Array:
    rows = rows.copy()
    rows[rng.permutation(len(rows))[:20]] = 0
    return rows


ARRANGEMENTS = (permuted, scaled, some, interleaved, with_zeros)


@pytest.mark.parametrize("arrange", ARRANGEMENTS, ids=lambda arrange: arrange.__name__)
def test_any_arrangement_of_rows(arrange: Callable[..., Array], rng: np.random.Generator) -> None:
    for length, taps in ((400, 400), (512, 400)):
        assert find_basis_length(arrange(write_basis(length, taps), rng)) == length


def test_rounded_zeros_are_zeros() -> None:
    """The sine of the last bin, as NumPy's FFT of a unit matrix or an angle in float64 has it: about 1e-14."""
    rows = write_basis(400, 400)
    assert np.abs(rows[-1]).max() > 0
    rows[-1] = np.random.default_rng(1).uniform(-1e-13, 1e-13, 400)
    assert find_basis_length(rows) == 400


# --- what is none -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [1e-3, -1e-3, 1e-5])
@pytest.mark.parametrize("arrange", ARRANGEMENTS, ids=lambda arrange: arrange.__name__)
def test_one_weight_that_is_off(part: float, arrange: Callable[..., Array], rng: np.random.Generator) -> None:
    rows = arrange(write_basis(400, 400, "hamming"), rng)
    largest = np.abs(rows).max(axis=1)
    for row in rng.choice(np.flatnonzero(largest > 0.1), 4):
        wrong = rows.copy()
        wrong[row, rng.integers(400)] += part * largest[row]
        assert find_basis_length(wrong) == 0


def test_near_and_far_misses(rng: np.random.Generator) -> None:
    rows, samples = write_basis(400, 400), np.arange(400)
    other = rows.copy()
    other[30] = write_basis(400, 400, "hamming")[30]
    shifted = rows.copy()
    shifted[40] = np.roll(shifted[40], 1)
    angles = (2 * np.pi / 400 * np.outer(np.arange(201), samples)).astype(np.float32)
    misses = {
        "random": rng.standard_normal((402, 400)),
        "another window in one row": other,
        "one row shifted": shifted,
        "cosine transform": np.cos(np.pi / 800 * np.outer(samples, 2 * samples + 1)),
        "sums of cosine and sine": rows[:201] + rows[201:],
        "angles rounded to float32": np.cos(angles) * np.hanning(400),
        "a window for each row": rows * rng.uniform(0.5, 1, rows.shape),
        "zeros": np.zeros((402, 400)),
        "ones": np.ones((402, 400)),
        "unit matrix": np.eye(400),
        "too few rows": rows[20:27],
        "NaN": np.where(rows == rows.max(), np.nan, rows),
    }
    found = {name: find_basis_length(weights.astype(np.float32)) for name, weights in misses.items()}
    assert found == dict.fromkeys(misses, 0)


# --- what it computes ---------------------------------------------------------------------------------------------

CONVS = {
    "whisper": (Conv(extents=(4000,), kernel=(400,), strides=(160,), channels=(1, 402), pads=(200, 200)), 400),
    "kaldi": (Conv(extents=(4000,), kernel=(512,), strides=(160,), channels=(1, 514), pads=(0, 0)), 512),
    "silero": (Conv(extents=(576,), kernel=(256,), strides=(128,), channels=(1, 258), pads=(0, 0)), 256),
    "filled up": (Conv(extents=(3000,), kernel=(100,), strides=(50,), channels=(1, 130), pads=(0, 0)), 128),
    "odd": (Conv(extents=(3000,), kernel=(75,), strides=(20,), channels=(1, 76), pads=(10, 30)), 75),
    "twice a prime": (Conv(extents=(3000,), kernel=(94,), strides=(20,), channels=(1, 96), pads=(-5, -7)), 94),
    "every sample": (Conv(extents=(300,), kernel=(64,), strides=(1,), channels=(1, 66), pads=(63, 0)), 64),
    "one frame": (Conv(extents=(64,), kernel=(64,), strides=(9,), channels=(1, 66), pads=(0, 0), batch=3), 64),
    "dilated": (Conv(extents=(900,), kernel=(64,), strides=(30,), dilations=(3,), channels=(1, 66), pads=(9, 0)), 64),
    "groups": (Conv(extents=(900,), kernel=(64,), strides=(30,), group=3, channels=(3, 198), pads=(0, 0)), 64),
    "frames that are cut": (Conv(extents=(37,), kernel=(1,), channels=(64, 66), group=1, pads=(0, 0)), 64),
    "an odd number of channels": (Conv(extents=(5, 9), kernel=(1, 1), channels=(75, 76), group=1, pads=(0,) * 4), 75),
    "one cut frame": (Conv(extents=(1,), kernel=(1,), channels=(256, 258), group=1, pads=(0, 0), batch=75), 256),
    "image": (Conv(extents=(900, 1), kernel=(64, 1), strides=(30, 1), channels=(1, 66), pads=(5, 0, 5, 0)), 64),
}


def arrays_of(name: str, dtype: str = "float32", **changes: Any) -> tuple[Conv, dict[str, Array]]:
    """The convolution and its arrays, with a basis for a weight whose last row says that it is taken for one.

    What is left of a sine that is zero at every tap comes out as zeros, not as what it is times the signal.
    """
    plain, length = CONVS[name]
    one = replace(plain, group=max(1, plain.group if plain.channels[0] > 1 else 1), dtype=dtype, **changes)
    arrays = one.arrays()
    taps = one.kernel[0] * one.channels[0] // one.group
    rows = write_basis(length, taps, "hann", dtype)
    assert len(rows) == one.channels[1] // one.group
    weight = np.tile(rows, (one.group, 1))
    weight[-1] = 1e-13 if dtype == "float32" else 0
    arrays["w"] = weight.reshape(arrays["w"].shape)
    return one, arrays


@pytest.mark.parametrize("dtype", mark_slow(tuple(RELATIVE_L2), lambda dtype: dtype == "float64"))
@pytest.mark.parametrize("name", CONVS)
def test_against_float64(name: str, dtype: str) -> None:
    one, arrays = arrays_of(name, dtype, bias=False)
    (y,) = open_session(conv_model(one, arrays), threads=2).run(None, {"x": arrays["x"]})
    assert_close(y, one.expect(arrays), dtype)
    if dtype == "float32" and y.shape[0] * y.shape[2] > 3:  # a few frames leave lanes idle, and are ONNX Runtime's
        assert not y[:, -1].any(), "it was computed as any other convolution"


def test_another_weight_is_computed_as_it_is() -> None:
    one, arrays = arrays_of("whisper", bias=False)
    arrays["w"][100, 0, 200] += np.float32(1e-3)
    (y,) = open_session(conv_model(one, arrays)).run(None, {"x": arrays["x"]})
    assert_close(y, one.expect(arrays), "float32")
    assert y[:, -1].any()


@pytest.mark.parametrize(
    "changes",
    [{}, {"activation": "Relu"}, {"adds": True, "activation": "Clip"}, {"activation": "PRelu", "normalizes": True}],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_follows_the_sum(changes: dict[str, Any], dtype: str) -> None:
    one, arrays = arrays_of("filled up", dtype, **changes)
    feeds = {name: arrays[name] for name in ("x", *(["z"] if one.adds else []))}
    (y,) = open_session(conv_model(one, arrays)).run(None, feeds)
    assert_close(y, one.expect(arrays), dtype, one.size(arrays))


@pytest.mark.parametrize("name", CONVS)
def test_threads_change_no_bit(name: str) -> None:
    one, arrays = arrays_of(name)
    model = conv_model(one, arrays)
    first, *others = (open_session(model, threads).run(None, {"x": arrays["x"]})[0] for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_silent_frames_stay_silent() -> None:
    """Exact zeros beside loud frames: of those, transforms of whole tiles make noise, which a Log behind shows."""
    one, arrays = arrays_of("kaldi", bias=False)
    arrays["x"][:, :, 1000:2500] = 0
    (y,) = open_session(conv_model(one, arrays)).run(None, {"x": arrays["x"]})
    silent = [frame for frame in range(y.shape[2]) if 1000 <= 160 * frame <= 2500 - 512]
    assert len(silent) == 6
    assert not y[:, :, silent].any() and np.abs(y[:, :-1]).max() > 1


# --- what is replaced ---------------------------------------------------------------------------------------------

SPEC = make_spec((1, 402), (400,), (16_000,), strides=(160,), pads="valid")


def stft_model(weight: Array) -> Any:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="stft", strides=[160])
    return build_model([node], [info("x", shape=(1, 1, 16_000))], [info("y", shape=(1, 402, 98))], {"w": weight})


def test_the_library_predicts_it() -> None:
    rates = read_rates(measure=False)
    plain, basis = predict_fftconv(SPEC, rates), predict_fftconv(replace(SPEC, basis_length=400), rates)
    assert basis.plan == "frames 400, 98 frames, in lanes"
    assert 5 * basis.seconds < min(plain.seconds, plain.model_seconds)


@pytest.mark.parametrize(
    ("length", "step", "bins", "batch", "frames"),
    [(89, 22, 45, 1, 2646), (291, 72, 36, 6, 890), (401, 200, 50, 5, 114), (433, 216, 54, 3, 187)],
)
def test_lengths_with_a_large_prime_factor_are_left_to_onnx_runtime(
    length: int, step: int, bins: int, batch: int, frames: int
) -> None:
    """ONNX Runtime's Conv took 0.4 to 0.8 times as long as the frames' chirps (2-core Intel Xeon, AVX-512)."""
    extents = (length + step * (frames - 1),)
    spec = make_spec((1, 2 * bins), (length,), extents, batch=batch, strides=(step,), pads="valid")
    found = predict_fftconv(replace(spec, basis_length=length), read_rates(measure=False))
    assert found.plan.startswith(f"frames {length}")
    assert found.seconds > found.model_seconds


@pytest.mark.skipif(os.cpu_count() == 1, reason="no thread that could be idle")
def test_one_group_of_frames_leaves_threads_idle() -> None:
    """It takes as long as two, which two threads compute at once."""
    lanes = {"baseline": 4, "neon": 4, "avx2": 8, "avx512": 16}[read_isa()]
    spec = replace(make_spec((400, 402), (1,), (lanes,)), basis_length=400)
    one, two = (
        predict_fftconv(replace(spec, extents=(extent,)), read_rates(measure=False)) for extent in (lanes, 2 * lanes)
    )
    assert one.work["dense_transforms"] == pytest.approx(two.work["dense_transforms"])
    assert one.work["calls"] < two.work["calls"]


def test_auto_replaces_it_and_leaves_others() -> None:
    weight = write_basis(400, 400)[:, None]
    wrong = weight.copy()
    wrong[5, 0, 7] += 1e-3
    rewritten = rewrite(stft_model(weight), target="native")
    assert [row.lowering for row in rewritten.report.rows] == ["fftconv"]
    x = np.random.default_rng(3).standard_normal((1, 1, 16_000)).astype(np.float32)
    assert executed_op_types(rewritten.model, {"x": x}, with_library=True) == {"FFTConv": 1}
    (row,) = inspect(stft_model(wrong), target="native").rows
    assert not row.lowering


def frames_model(weight: Array, **attributes: Any) -> Any:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="frames", **attributes)
    return build_model([node], [info("x", shape=(1, 400, 998))], [info("y")], {"w": weight})


def test_frames_that_are_cut_are_transformed() -> None:
    """A Conv with one tap, whose channels are the samples of a frame."""
    weight = write_basis(400, 400)[:, :, None]
    rewritten = rewrite(frames_model(weight), target="native")
    assert [row.lowering for row in rewritten.report.rows] == ["fftconv"]
    assert rewritten.validation is not None and rewritten.validation.convs[0].ok is True
    x = np.random.default_rng(3).standard_normal((1, 400, 998)).astype(np.float32)
    assert executed_op_types(rewritten.model, {"x": x}, with_library=True) == {"FFTConv": 1}


@pytest.mark.parametrize("wrong", [(300, 70), (17, 3)])
def test_frames_and_nearly_a_basis(wrong: tuple[int, int]) -> None:
    weight = write_basis(400, 400)[:, :, None]
    weight[wrong] += 1e-3
    (row,) = inspect(frames_model(weight), target="native").rows
    assert not row.lowering


@pytest.mark.parametrize("attributes", [{"strides": [2]}, {"pads": [1, 0]}], ids=str)
def test_frames_with_strides_or_pads_stay(attributes: dict[str, Any]) -> None:
    (row,) = inspect(frames_model(write_basis(400, 400)[:, :, None], **attributes), target="native").rows
    assert not row.lowering


def test_a_log_behind_it_is_no_obstacle() -> None:
    """As in the front ends of speech recognition; behind any other convolution it is one."""
    weight = write_basis(400, 400)[:, None]
    model = stft_model(weight)
    model.graph.node.append(helper.make_node("Log", ["y"], ["log"]))
    model.graph.output[0].name = "log"
    (row,) = inspect(model, target="native").rows
    assert row.lowering == "fftconv"
    (row,) = inspect(model, target="standard", select="all").rows
    assert "turns on exact zeros" in row.warning


INVERSE_STRIDE = 100


def inverse_model(behind: str = "", extents: tuple[int, ...] = (200,), **attributes: Any) -> Any:
    """An inverse STFT of frames `[1, 402, *extents]`, as ConvTranspose, with an operator behind it."""
    weight = write_basis(400, 400).reshape(402, 1, *[1] * (len(extents) - 1), 400)
    given = {"strides": [*[1] * (len(extents) - 1), INVERSE_STRIDE], **attributes}
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["c"], name="istft", **given)]
    nodes += [helper.make_node(behind, ["c"], ["y"])] if behind else []
    return build_model(nodes, [info("x", shape=(1, 402, *extents))], [info("y" if behind else "c")], {"w": weight})


def draw_frames(count: int, silent: slice) -> Array:
    x = np.random.default_rng(5).standard_normal((1, 402, count)).astype(np.float32)
    x[:, :, silent] = 0
    return x


def test_a_log_behind_the_inverse_is_no_obstacle() -> None:
    """Where all frames that reach a sample are silent, it is exactly zero before and after."""
    rewritten = rewrite(inverse_model("Log"), target="native", validate=False)
    assert [row.lowering for row in rewritten.report.rows] == ["fftconv"]
    feeds = {"x": draw_frames(200, slice(50, 70))}
    (y,), (expected,) = run_with_library(rewritten.model, feeds), run_model(inverse_model("Log"), feeds)
    silent = slice(49 * INVERSE_STRIDE + 400, 70 * INVERSE_STRIDE)
    assert np.isneginf(y[..., silent]).all()
    np.testing.assert_array_equal(np.isneginf(y), np.isneginf(expected))
    (row,) = inspect(inverse_model("Log"), target="standard", select="all").rows
    assert "turns on exact zeros" in row.warning


@pytest.mark.parametrize(
    ("extents", "attributes"),
    [((200,), {"dilations": [2]}), ((3, 200), {}), ((1, 200), {"strides": [2, 100], "output_padding": [1, 0]})],
    ids=["dilation", "lines", "filled line"],
)
def test_what_is_no_inverse_stft_has_to_heed_zeros(extents: tuple[int, ...], attributes: dict[str, Any]) -> None:
    """Its weight is a basis, and the library does not add up frames."""
    model = inverse_model("Log", extents, **attributes)
    (row,) = inspect(model, target="native", select="all").rows
    assert "turns on exact zeros" in row.warning


def test_measuring_takes_a_basis_as_well() -> None:
    """A contest has weights of its own, which must cost what the model's do."""
    spec = replace(SPEC, basis_length=400)
    contest = Contest(spec, 17, ((1, 1, 16_000),), 1.0, ())
    weight = numpy_helper.to_array(make_models(contest)[0].graph.initializer[0])
    assert find_basis_length(weight.reshape(402, 400)) == 400
