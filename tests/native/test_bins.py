"""The power and the magnitude of the bins of an STFT, taken along by the library, against float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto
from onnx.helper import make_node

from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import TENSOR_TYPES, Array
from tests.models import build_model, info
from tests.native.fourier_models import draw_signal, expect_stft
from tests.native.test_basis import CONVS, arrays_of, write_basis
from tests.native_models import Conv, open_session

pytestmark = pytest.mark.usefixtures("native_library")

FORMS = ("Power", "Magnitude")
RELATIVE_L2 = {"float16": 2e-3, "float32": 1e-6, "float64": 2e-14}
"""A power has twice the error of its bin."""

NO_SIGNAL = [name for name, (one, _) in CONVS.items() if set(one.kernel) == {1}]

PERMS = ([0, 1, 2], [0, 2, 1])


def join(form: str, re: Array, im: Array) -> Array:
    power: Array = re * re + im * im
    return np.sqrt(power) if form == "Magnitude" else power


def assert_close(got: Array, expected: Array, dtype: str) -> None:
    assert (got.shape, str(got.dtype)) == (expected.shape, dtype)
    assert np.linalg.norm(got - expected) <= RELATIVE_L2[dtype] * np.linalg.norm(expected)


# --- STFT -----------------------------------------------------------------------------------------------------------


def stft_model(form: str, window: Array, step: int, onesided: int) -> ModelProto:
    kind = TENSOR_TYPES[window.dtype.name]
    node = make_node(f"STFT{form}", ["x", "s", "w", "n"], ["y"], domain=OPERATOR_DOMAIN, onesided=onesided)
    constants = {"s": np.array(step), "w": window, "n": np.array(len(window))}
    return build_model(
        [node], [info("x", kind, ["b", "l", "p"])], [info("y", kind)], constants, domains=[OPERATOR_DOMAIN]
    )


def check_stft(form: str, x: Array, window: Array, step: int, onesided: int) -> None:
    (y,) = open_session(stft_model(form, window, step, onesided), 2).run(None, {"x": x})
    parts = expect_stft(x, step, window, onesided=onesided)
    assert_close(y, join(form, parts[..., 0], parts[..., 1]), x.dtype.name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", RELATIVE_L2)
@pytest.mark.parametrize("length", [1, 2, 3, 8, 17, 25, 94, 400])
def test_stft(length: int, dtype: str, form: str) -> None:
    scale = np.asarray(0.05 if dtype == "float16" else 1, dtype)  # a power beyond 65,504 is infinite
    window = np.random.default_rng(length).uniform(0.1, 1, length).astype(dtype)
    for parts, onesided in ((1, 1), (1, 0), (2, 0)):
        check_stft(form, draw_signal((3, 5 * length + 20, parts), dtype, length) * scale, window, 3, onesided)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [4096, 12_288, 16_411])
def test_long_frames(length: int, form: str) -> None:
    """Which are transformed one by one."""
    check_stft(form, draw_signal((1, 3 * length, 1)), np.hanning(length).astype(np.float32), length, 1)


@settings(deadline=None)
@given(data=st.data())
def test_any_stft(data: st.DataObject) -> None:
    length, step = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 40))
    samples = length + data.draw(st.integers(0, 200))
    parts, onesided = data.draw(st.sampled_from([(1, 1), (1, 0), (2, 0)]))
    window = np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)
    x = draw_signal((data.draw(st.integers(1, 3)), samples, parts), seed=data.draw(st.integers(0, 99)))
    check_stft(data.draw(st.sampled_from(FORMS)), x, window, step, onesided)


def test_threads_change_no_bit_of_an_stft() -> None:
    model = stft_model("Power", np.hanning(400).astype(np.float32), 160, 1)
    x = draw_signal((1, 48_000, 1))
    first, *others = (open_session(model, threads).run(None, {"x": x})[0] for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(first, other)


# --- an STFT written as Conv ----------------------------------------------------------------------------------------


def conv_model(arrays: dict[str, Array], form: str = "Power", perm: Any = (0, 1, 2), **attributes: Any) -> ModelProto:
    kind, names = TENSOR_TYPES[arrays["x"].dtype.name], [name for name in arrays if name in ("w", "b")]
    plain = {"group": 1, "kernel_shape": [arrays["w"].shape[2]], "strides": [1], "dilations": [1], "pads": [0, 0]}
    node = make_node(
        f"FFTConv{form}", ["x", *names], ["y"], domain=OPERATOR_DOMAIN, **{**plain, **attributes}, perm=perm
    )
    constants = {name: arrays[name] for name in names}
    return build_model(
        [node], [info("x", kind, ["b", "c", "l"])], [info("y", kind)], constants, domains=[OPERATOR_DOMAIN]
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("perm", PERMS, ids=str)
@pytest.mark.parametrize("dtype", RELATIVE_L2)
@pytest.mark.parametrize("name", [name for name in CONVS if name not in (*NO_SIGNAL, "groups", "image")])
def test_conv(name: str, dtype: str, perm: list[int], form: str) -> None:
    one, arrays = arrays_of(name, dtype, bias=dtype == "float64")
    arrays["x"] = (arrays["x"] * np.asarray(0.05, dtype)).astype(dtype)
    given = {name: arrays[name] for name in ("x", "w", *(["b"] if one.bias else []))}
    attributes = {key: value for key, value in one.attributes().items() if key not in ("kernel_shape", "group")}
    (y,) = open_session(conv_model(given, form, perm, **attributes), 2).run(None, {"x": arrays["x"]})
    re, im = np.split(one.expect(arrays), 2, axis=1)
    assert_close(y, join(form, re, im).transpose(perm), dtype)


def test_several_signals_and_threads() -> None:
    """Groups of frames that begin in one signal and end in the next, in any order of threads."""
    basis = write_basis(64, 64)[:, None]
    x = draw_signal((7, 1, 64 * 5))
    model = conv_model({"x": x, "w": basis}, perm=[0, 2, 1], strides=[64])
    first, *others = (open_session(model, threads).run(None, {"x": x})[0] for threads in (1, 2, 4))
    spectra = np.fft.rfft(x.reshape(7, 5, 64) * np.hanning(65)[:64].astype(np.float32).astype(np.float64))
    assert_close(first, np.abs(spectra) ** 2, "float32")
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_no_frames_and_no_signals() -> None:
    basis = write_basis(64, 64)[:, None]
    session = open_session(conv_model({"x": draw_signal((1, 1, 64)), "w": basis}, perm=[0, 2, 1]))
    assert session.run(None, {"x": draw_signal((0, 1, 64))})[0].shape == (0, 1, 33)
    with pytest.raises(Exception, match="shorter than the kernel"):
        session.run(None, {"x": draw_signal((1, 1, 63))})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"w": lambda w: w[:-1]}, "weights of 65 rows"),
        ({"perm": [1, 0, 2]}, "got another 'perm'"),
        ({"perm": [0, 1]}, "got another 'perm'"),
        ({"strides": [0]}, "at least 1"),
    ],
    ids=["half a bin", "turned batch", "short perm", "no stride"],
)
def test_what_does_not_fit(changes: dict[str, Any], problem: str) -> None:
    arrays = {"x": draw_signal((1, 1, 300)), "w": write_basis(64, 64)[:, None]}
    attributes = {key: value for key, value in changes.items() if key != "w"}
    arrays["w"] = changes.get("w", lambda w: w)(arrays["w"]).astype(np.float32)
    with pytest.raises(Exception, match=problem):
        open_session(conv_model(arrays, **attributes))


def edit_one(weight: Array) -> Array:
    edited = weight.copy()
    edited[5, 0, 7] += 1e-3
    return edited


OTHER_WEIGHTS: dict[str, Callable[[Array], Array]] = {
    "nearly a basis": edit_one,
    "no basis": lambda w: np.random.default_rng(1).standard_normal(w.shape).astype(w.dtype),
    "two inputs": lambda w: np.concatenate([w, w], axis=1),
    "one tap": lambda w: w[:, :, :1],
}
"""Of a model that somebody edits once it is rewritten."""


@pytest.mark.parametrize("at_run_time", [False, True], ids=["constant", "run time"])
@pytest.mark.parametrize("perm", PERMS, ids=str)
@pytest.mark.parametrize("dtype", RELATIVE_L2)
@pytest.mark.parametrize("name", OTHER_WEIGHTS)
def test_other_weights_are_convolved(name: str, dtype: str, perm: list[int], at_run_time: bool) -> None:
    weight = OTHER_WEIGHTS[name](write_basis(64, 64)[:, None]).astype(dtype)
    x = draw_signal((3, weight.shape[1], 300), dtype) * np.asarray(0.05, dtype)
    one = Conv((300,), (weight.shape[2],), 1, weight.shape[1::-1], 3, bias=False, strides=(7,), pads=(3, 4))
    arrays = {"x": x, "w": weight, "b": np.full(66, 0.5, dtype)}
    for form in FORMS:
        model = conv_model(arrays, form, perm, strides=[7], pads=[3, 4])
        feeds = {"x": x}
        if at_run_time:
            (held,) = (tensor for tensor in model.graph.initializer if tensor.name == "w")
            model.graph.initializer.remove(held)
            model.graph.input.append(info("w", TENSOR_TYPES[dtype], weight.shape))
            feeds["w"] = weight
        first, *others = (open_session(model, threads).run(None, feeds)[0] for threads in (1, 2))
        re, im = np.split(one.sum(arrays) + 0.5, 2, axis=1)
        assert_close(first, join(form, re, im).transpose(perm), dtype)
        np.testing.assert_array_equal(first, others[0])


def test_no_frames_of_other_weights() -> None:
    session = open_session(conv_model({"x": draw_signal((1, 1, 64)), "w": edit_one(write_basis(64, 64)[:, None])}))
    assert session.run(None, {"x": draw_signal((0, 1, 64))})[0].shape == (0, 33, 1)
