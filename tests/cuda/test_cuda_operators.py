"""NumPy's part of the CUDA provider against the operators' definitions, and models run in pieces around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from onnx_fft.model.io import load_model
from onnx_fft.runtime.contrib import Evaluator
from onnx_fft.runtime.engines import PIECES, REFERENCE, EngineError
from onnx_fft.runtime.opening import open_runner
from onnx_fft.runtime.pieces import cut_pieces
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model
from tests.gpu import LIMITS, contrib_node, fft_node
from tests.marks import since_onnxruntime
from tests.models import make_open_model


def run_one(node: onnx.NodeProto, **inputs: Array) -> Array:
    (result,) = Evaluator(make_open_model([node], inputs, [node.output[0]])).run(None, inputs)
    return np.asarray(result)


def direct_dft(x: Array, axes: int, sign: int) -> Array:
    """The sum of the definition, one axis after the other."""
    z = x.astype(np.complex128)
    for axis in range(-axes, 0):
        n = np.arange(z.shape[axis])
        matrix = np.exp(sign * 2j * np.pi * np.outer(n, n) / len(n))
        z = np.moveaxis(np.moveaxis(z, axis, -1) @ matrix, -1, axis)
    return z


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_rfft_is_the_unscaled_dft_of_the_last_axes(axes: int, dtype: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4, 6, 8)).astype(dtype)
    y = run_one(fft_node("Rfft", "x", "y", axes), x=x)
    truth = direct_dft(x, axes, -1)[..., :5]
    assert y.dtype == x.dtype
    assert y.shape == (2, 3, 4, 6, 5, 2)
    np.testing.assert_allclose(y[..., 0] + 1j * y[..., 1], truth, atol=LIMITS[dtype] * np.abs(truth).max())


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_irfft_divides_by_the_samples_of_all_its_axes(axes: int, dtype: str, rng: np.random.Generator) -> None:
    signal = rng.standard_normal((2, 4, 6, 8))
    half = direct_dft(signal, axes, -1)[..., :5]
    x = np.stack([half.real, half.imag], axis=-1).astype(dtype)
    y = run_one(fft_node("Irfft", "x", "y", axes), x=x)
    assert (y.dtype, y.shape) == (x.dtype, signal.shape)
    np.testing.assert_allclose(y, signal, atol=LIMITS[dtype] * np.abs(signal).max())


def test_complex_mul_is_the_product(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((3, 5, 2)).astype(np.float32), rng.standard_normal((5, 2)).astype(np.float32)
    y = run_one(contrib_node("ComplexMul", ["a", "b"], "y"), a=a, b=b)
    np.testing.assert_allclose(y[..., 0], a[..., 0] * b[:, 0] - a[..., 1] * b[:, 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y[..., 1], a[..., 0] * b[:, 1] + a[..., 1] * b[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 1, 2), (1, 5, 2), (5, 1)])
def test_complex_mul_broadcasts_no_other_way_than_the_kernel(shape: tuple[int, ...]) -> None:
    node = contrib_node("ComplexMul", ["a", "b"], "y")
    with pytest.raises(ValueError, match="expected the second to end the first"):
        run_one(node, a=np.ones((3, 5, 2)), b=np.ones(shape))


@pytest.mark.parametrize("flags", [{"normalized": 1}, {"onesided": 0}])
def test_what_has_no_kernel_is_refused(flags: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="normalized=0 and onesided=1"):
        run_one(fft_node("Rfft", "x", "y", 1, **flags), x=np.ones((2, 8)))


def test_complex_mul_has_no_kernel_for_float64() -> None:
    node = contrib_node("ComplexMul", ["a", "b"], "y")
    with pytest.raises(ValueError, match="got float64 and float64; expected float16 or float32"):
        run_one(node, a=np.ones((3, 5, 2)), b=np.ones((5, 2)))


@pytest.mark.parametrize("op_type, shape", [("Rfft", (0, 8)), ("Irfft", (0, 5, 2))])
def test_there_is_no_transform_of_an_empty_batch(op_type: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a signal"):
        run_one(fft_node(op_type, "x", "y", 1), x=np.ones(shape, np.float32))


def test_attributes_may_be_left_out(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 8))
    node = contrib_node("Rfft", ["x"], "y")
    np.testing.assert_array_equal(run_one(node, x=x), run_one(fft_node("Rfft", "x", "y", 1), x=x))


def chain() -> tuple[ModelProto, dict[str, Array]]:
    """Work for ONNX Runtime before, between and after an Rfft and an Irfft, with one tensor passed all along."""
    x = np.random.default_rng(3).standard_normal((2, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Add", ["x", "one"], ["a"]),
        fft_node("Rfft", "a", "f", 1),
        helper.make_node("Mul", ["f", "two"], ["g"]),
        fft_node("Irfft", "g", "b", 1),
        helper.make_node("Add", ["b", "a"], ["y"]),
    ]
    constants = {"one": np.ones(1, np.float32), "two": np.full(1, 2, np.float32)}
    return make_open_model(nodes, {"x": x}, ["y", "f"], constants), {"x": x}


def test_a_model_is_cut_at_what_only_cuda_has() -> None:
    pieces = cut_pieces(chain()[0])
    assert [piece.by_numpy for piece in pieces] == [False, True, False, True, False]
    assert [piece.makes for piece in pieces] == [("a",), ("f",), ("g",), ("b",), ("y",)]
    assert pieces[4].reads == {"a", "b"}


def test_pieces_give_what_the_whole_gives() -> None:
    model, feeds = chain()
    runner = open_runner(load_model(model))
    assert runner.engine == PIECES
    found = runner.run(feeds)
    assert runner.engine == PIECES, "every piece without FFT operators was ONNX Runtime's"
    np.testing.assert_allclose(found["y"], 3 * (feeds["x"] + 1), rtol=1e-5)
    np.testing.assert_allclose(found["f"][..., 0], np.fft.rfft(feeds["x"] + 1).real, rtol=1e-4, atol=1e-5)


def test_pieces_see_what_a_body_reads_from_outside() -> None:
    model, feeds = chain()
    body = helper.make_graph(
        [helper.make_node("Add", ["b", "a"], ["inner"])], "t", [], [helper.make_tensor_value_info("inner", 1, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Sub", ["b", "one"], ["outer"])], "e", [], [helper.make_tensor_value_info("outer", 1, None)]
    )
    model.graph.node[4].CopyFrom(helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=other))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    (before, _) = open_runner(load_model(chain()[0])).run(feeds).values()
    (after, _) = open_runner(load_model(model)).run(feeds).values()
    np.testing.assert_array_equal(before, after)


@since_onnxruntime(18, "does not find external data of a model given as bytes")
def test_pieces_read_external_data(tmp_path: Path) -> None:
    model, feeds = chain()
    expected = open_runner(load_model(model)).run(feeds)["y"]
    convert_model_to_external_data(model, location="m.bin", size_threshold=0)
    onnx.save(model, tmp_path / "m.onnx")
    runner = open_runner(load_model(tmp_path / "m.onnx"))
    np.testing.assert_array_equal(runner.run(feeds)["y"], expected)
    assert runner.engine == PIECES


def test_pieces_of_an_old_model_keep_its_constants() -> None:
    """Before IR version 4, constants are inputs as well."""
    model, feeds = chain()
    expected = open_runner(load_model(model)).run(feeds)["y"]
    model.ir_version = 3
    model.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer
    )
    runner = open_runner(load_model(model))
    np.testing.assert_array_equal(runner.run(feeds)["y"], expected)
    assert runner.engine == PIECES
    zeroed = runner.run({**feeds, "two": np.zeros(1, np.float32)})
    np.testing.assert_allclose(zeroed["y"], feeds["x"] + 1, rtol=1e-6)


def test_a_constant_and_an_input_may_be_outputs() -> None:
    model, feeds = chain()
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("two", "x"))
    found = open_runner(load_model(model)).run(feeds)
    np.testing.assert_array_equal(found["two"], [2])
    np.testing.assert_array_equal(found["x"], feeds["x"])


def test_a_sparse_constant_may_be_an_output() -> None:
    model, feeds = chain()
    values, indices = numpy_helper.from_array(np.array([3.0], np.float32), "s"), numpy_helper.from_array(np.array([1]))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    model.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, [3]))
    np.testing.assert_array_equal(open_runner(load_model(model)).run(feeds)["s"], [0, 3, 0])


def test_an_empty_sequence_keeps_its_type() -> None:
    """It crosses from one piece to another, and nothing in it says that it is of float32."""
    x = np.ones((2, 8), np.float32)
    nodes = [
        helper.make_node("SequenceEmpty", [], ["empty"], dtype=TensorProto.FLOAT),
        fft_node("Rfft", "x", "f", 1),
        helper.make_node("SequenceInsert", ["empty", "f"], ["filled"]),
        helper.make_node("ConcatFromSequence", ["filled"], ["y"], axis=0),
    ]
    runner = open_runner(load_model(make_open_model(nodes, {"x": x}, ["y"])))
    np.testing.assert_allclose(runner.run({"x": x})["y"][:, 0], [[8, 0], [8, 0]])
    assert runner.engine == PIECES


def test_an_empty_optional_keeps_its_type() -> None:
    x = np.ones((2, 8), np.float32)
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Optional", [], ["nothing"], type=kind),
        fft_node("Rfft", "x", "f", 1),
        helper.make_node("OptionalHasElement", ["nothing"], ["has"]),
        helper.make_node("Cast", ["has"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["f", "number"], ["y"]),
    ]
    runner = open_runner(load_model(make_open_model(nodes, {"x": x}, ["y"])))
    np.testing.assert_allclose(runner.run({"x": x})["y"][:, 0], [[8, 0], [8, 0]])
    assert runner.engine == PIECES


def test_a_piece_that_onnx_runtime_refuses_is_told() -> None:
    """ONNX Runtime has no one-dimensional Conv for float64 on the CPU; the evaluator has."""
    x = np.ones((1, 1, 8))
    nodes = [helper.make_node("Conv", ["x", "w"], ["s"]), fft_node("Rfft", "s", "y", 1)]
    runner = open_runner(load_model(make_open_model(nodes, {"x": x}, ["y"], {"w": np.ones((1, 1, 3))})))
    runner.run({"x": x})
    assert runner.engine == REFERENCE
    assert "Conv" in runner.note


def test_a_missing_input_is_an_engine_error() -> None:
    model, _ = chain()
    with pytest.raises(EngineError):
        open_runner(load_model(model)).run({})


def test_onnx_runtime_without_cuda_still_refuses_them() -> None:
    """If this fails, NumPy's part has had its day."""
    model, feeds = chain()
    with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
        run_model(model, feeds)
