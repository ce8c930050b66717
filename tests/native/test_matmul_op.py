"""FFTMatMul: frames times a windowed DFT basis, by the library, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto
from onnx.helper import make_node

from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import TENSOR_TYPES, Array
from tests.models import build_model, info
from tests.native.fourier_models import draw_signal
from tests.native.test_basis import ARRANGEMENTS, write_basis
from tests.native_models import RELATIVE_L2, assert_close, open_session

pytestmark = pytest.mark.usefixtures("native_library")

BASES = {"even": (400, 400), "filled up": (512, 400), "power of two": (256, 256), "odd": (75, 75), "prime": (94, 94)}
"""Points of the DFT and taps."""
COLUMNS = ("w", "x")


def make_model(weight: Array, rank: int, operands: tuple[str, str] = ("x", "w")) -> ModelProto:
    kind = TENSOR_TYPES[weight.dtype.name]
    node = make_node("FFTMatMul", operands, ["y"], domain=OPERATOR_DOMAIN)
    shape = [f"length{axis}" for axis in range(rank)]
    return build_model([node], [info("x", kind, shape)], [info("y", kind)], {"w": weight}, domains=[OPERATOR_DOMAIN])


def write_weight(name: str, dtype: str = "float32") -> Array:
    """`[taps, rows]`, whose last column says that it is taken for a basis: it comes out as zeros."""
    rows = write_basis(*BASES[name], "hann", dtype)
    rows[-1] = 1e-13 if dtype == "float32" else 0
    return np.ascontiguousarray(rows.T)


def run(weight: Array, x: Array, threads: int = 1) -> Array:
    y: Array = open_session(make_model(weight, x.ndim), threads).run(None, {"x": x})[0]
    return y


def run_columns(weight: Array, x: Array, threads: int = 1) -> Array:
    """The other order: `[rows, taps]` before `[..., taps, frames]`."""
    y: Array = open_session(make_model(weight, x.ndim, COLUMNS), threads).run(None, {"x": x})[0]
    return y


@pytest.mark.parametrize("leading", [(), (1,), (37,), (3, 5), (2, 3, 9)], ids=str)
@pytest.mark.parametrize("dtype", RELATIVE_L2)
@pytest.mark.parametrize("name", BASES)
def test_against_float64(name: str, dtype: str, leading: tuple[int, ...]) -> None:
    """From one frame on, in any shape, groups of frames that are not full included."""
    weight = write_weight(name, dtype)
    x = draw_signal((*leading, len(weight)), dtype)
    y = run(weight, x, threads=2)
    assert_close(y, x.astype(np.float64) @ weight.astype(np.float64), dtype)
    assert not y[..., -1].any(), "it was computed as any other product"


@pytest.mark.parametrize("arrange", ARRANGEMENTS, ids=lambda arrange: arrange.__name__)
def test_any_arrangement_of_columns(arrange: Any, rng: np.random.Generator) -> None:
    weight = np.ascontiguousarray(arrange(write_basis(400, 400), rng).T)
    x = draw_signal((2, 30, 400))
    assert_close(run(weight, x), x.astype(np.float64) @ weight.astype(np.float64), "float32")


def test_threads_change_no_bit() -> None:
    weight, x = write_weight("even"), draw_signal((3, 333, 400))
    first, *others = (run(weight, x, threads) for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_shapes_may_change_and_be_empty() -> None:
    weight = write_weight("power of two")
    session = open_session(make_model(weight, 3))
    for shape in ((1, 9, 256), (4, 2, 256), (0, 9, 256), (3, 0, 256), (1, 1, 256)):
        x = draw_signal(shape)
        (y,) = session.run(None, {"x": x})
        assert y.shape == (*shape[:2], 258)
        np.testing.assert_allclose(y, x.astype(np.float64) @ weight, rtol=0, atol=1e-4)


def test_silent_frames_stay_silent() -> None:
    x = draw_signal((20, 400))
    x[3:15] = 0
    y = run(write_weight("even"), x)
    assert not y[3:15].any() and y[:3].any()


@pytest.mark.parametrize(
    "edit",
    [lambda w: np.where(np.arange(w.size).reshape(w.shape) == 70_000, w + 1e-3, w), lambda w: w[:, :7] + 1],
    ids=["nearly a basis", "another matrix"],
)
def test_weights_that_somebody_edited_count_as_they_are(edit: Any) -> None:
    weight = edit(write_weight("even")).astype(np.float32)
    x = draw_signal((2, 9, 400))
    np.testing.assert_allclose(run(weight, x), x.astype(np.float64) @ weight, rtol=0, atol=1e-4)


@pytest.mark.parametrize("cut", [lambda w: w[None], lambda w: w[:, :0], lambda w: w[:0]], ids=["batch", "rows", "taps"])
def test_weights_that_do_not_fit(cut: Any) -> None:
    with pytest.raises(Exception, match="expected 2 dimensions of at least one"):
        open_session(make_model(cut(write_weight("even")), 2))


# --- the other order: each column is a frame -----------------------------------------------------------------------


def write_rows(name: str, dtype: str = "float32") -> Array:
    return np.ascontiguousarray(write_weight(name, dtype).T)


@pytest.mark.parametrize(
    ("leading", "frames"),
    [((), None), ((), 37), ((5,), 1), ((3,), 20), ((2, 3), 9)],
    ids=str,
)
@pytest.mark.parametrize("dtype", RELATIVE_L2)
@pytest.mark.parametrize("name", BASES)
def test_columns_against_float64(name: str, dtype: str, leading: tuple[int, ...], frames: int | None) -> None:
    """A vector alone, one frame, groups of frames that are not full, one frame in each of several signals."""
    weight = write_rows(name, dtype)
    x = draw_signal((*leading, weight.shape[1], *([] if frames is None else [frames])), dtype)
    y = run_columns(weight, x, threads=2)
    assert_close(y, weight.astype(np.float64) @ x.astype(np.float64), dtype)
    last = y[-1] if frames is None else y[..., -1, :]
    assert not last.any(), "it was computed as any other product"


@pytest.mark.parametrize("arrange", ARRANGEMENTS, ids=lambda arrange: arrange.__name__)
def test_any_arrangement_of_rows(arrange: Any, rng: np.random.Generator) -> None:
    weight = np.ascontiguousarray(arrange(write_basis(400, 400), rng))
    x = draw_signal((2, 400, 30))
    assert_close(run_columns(weight, x), weight.astype(np.float64) @ x.astype(np.float64), "float32")


@pytest.mark.parametrize("shape", [(400, 333), (3, 400, 333), (64, 400, 5)], ids=str)
def test_threads_change_no_bit_of_columns(shape: tuple[int, ...]) -> None:
    weight, x = write_rows("even"), draw_signal(shape)
    first, *others = (run_columns(weight, x, threads) for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_columns_may_change_and_be_empty() -> None:
    weight = write_rows("power of two")
    session = open_session(make_model(weight, 3, COLUMNS))
    for shape in ((1, 256, 9), (4, 256, 2), (0, 256, 9), (3, 256, 0), (1, 256, 1), (7, 256, 1)):
        x = draw_signal(shape)
        (y,) = session.run(None, {"x": x})
        assert y.shape == (shape[0], 258, shape[2])
        np.testing.assert_allclose(y, weight @ x.astype(np.float64), rtol=0, atol=1e-4)


def test_silent_columns_stay_silent() -> None:
    x = draw_signal((400, 20))
    x[:, 3:15] = 0
    y = run_columns(write_rows("even"), x)
    assert not y[:, 3:15].any() and y[:, :3].any()


@pytest.mark.parametrize(
    "edit",
    [lambda w: np.where(np.arange(w.size).reshape(w.shape) == 70_000, w + 1e-3, w), lambda w: w[:7] + 1],
    ids=["nearly a basis", "another matrix"],
)
def test_rows_that_somebody_edited_count_as_they_are(edit: Any) -> None:
    weight = edit(write_rows("even")).astype(np.float32)
    x = draw_signal((2, 400, 9))
    np.testing.assert_allclose(run_columns(weight, x), weight @ x.astype(np.float64), rtol=0, atol=1e-4)


@pytest.mark.parametrize("cut", [lambda w: w[None], lambda w: w[:, :0], lambda w: w[:0]], ids=["batch", "taps", "rows"])
def test_rows_that_do_not_fit(cut: Any) -> None:
    with pytest.raises(Exception, match="expected 2 dimensions of at least one"):
        open_session(make_model(cut(write_rows("even")), 2, COLUMNS))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((399, 3), "a last dimension but one of 400"), ((3, 400), "but one of 400"), ((399,), "a last dimension of 400")],
    ids=str,
)
def test_columns_that_do_not_fit(shape: tuple[int, ...], expected: str) -> None:
    with pytest.raises(Exception, match=expected):
        run_columns(write_rows("even"), draw_signal(shape))


@pytest.mark.parametrize("shape", [(3, 400, 9), (400, 9), (400,)], ids=str)
def test_of_two_constants_one_is_the_matrix(shape: tuple[int, ...]) -> None:
    """ONNX Runtime may find out more than the model says."""
    weight, x = write_rows("even"), draw_signal(shape)
    turned = x.T if x.ndim < 3 else x.transpose(0, 2, 1)
    for operands, stored in ((COLUMNS, {"w": weight, "x": x}), (("x", "w"), {"w": weight.T, "x": turned})):
        model = make_model(stored["w"], 1, operands)
        held = build_model(list(model.graph.node), [], list(model.graph.output), stored, domains=[OPERATOR_DOMAIN])
        (y,) = open_session(held).run(None, {})
        expected = stored[operands[0]].astype(np.float64) @ stored[operands[1]]
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-3)


# --- neither ----------------------------------------------------------------------------------------------------------


def test_weights_at_run_time_do_not_fit() -> None:
    model = make_model(write_weight("even"), 2)
    model.graph.input.append(info("w", shape=(400, 402)))
    del model.graph.initializer[:]
    with pytest.raises(Exception, match="weights that come at run time"):
        open_session(model)


@pytest.mark.parametrize("shape", [(3, 399), (400, 3)], ids=str)
def test_frames_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(Exception, match="expected a last dimension of 400"):
        run(write_weight("even"), draw_signal(shape))
