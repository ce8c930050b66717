"""A MatMul of a windowed DFT basis with frames that are columns, through the whole pass: the order of operands is kept.

What holds for any MatMul is in `test_rewrite_matmul`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft import inspect, rewrite, validate
from onnx_fft.cost.frames import as_pointwise
from onnx_fft.errors import UsageError
from onnx_fft.lowering.base import FourierPlan
from onnx_fft.measure.choice import Candidate, Contest
from onnx_fft.measure.single_matmul import make_matmul_models
from onnx_fft.native.planning import find_basis_length
from onnx_fft.sites.fourier import MatMulSpec
from scripts.shared.conv_models import Array
from scripts.shared.running import executed_op_types, run_model, run_reference, run_with_library
from tests.models import FLOAT, body_graph, build_model, info
from tests.native.test_basis import write_basis
from tests.native_models import assert_close, open_session

pytestmark = pytest.mark.usefixtures("native_library")


def matmul(w: str = "w", x: str = "x", y: str = "y", name: str = "stft") -> NodeProto:
    return helper.make_node("MatMul", [w, x], [y], name=name)


def make_model(weight: Array | None = None, shape: Any = (2, 400, 50)) -> ModelProto:
    weight = write_basis(400, 400) if weight is None else weight
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    return build_model([matmul()], [info("x", kind, shape)], [info("y", kind)], {"w": weight})


def draw(*shape: int, dtype: str = "float32") -> Array:
    return np.random.default_rng(3).standard_normal(shape).astype(dtype)


def compute(x: Array, weight: Array | None = None) -> Array:
    weight = write_basis(400, 400) if weight is None else weight
    product: Array = weight.astype(np.float64) @ x.astype(np.float64)
    return product


@pytest.mark.parametrize(
    ("shape", "run", "geometry"),
    [
        ((400,), (400,), "on 400 columns"),
        ((400, 9), (400, 9), "on 400x9 columns"),
        ((400, 1), (400, 1), "on 400x1 columns"),
        ((None, 400, "frames"), (3, 400, 21), "on ?x400x? columns"),
        ((2, 3, None, 40), (2, 3, 400, 40), "on 2x3x400x40 columns"),
    ],
    ids=str,
)
def test_columns_in_any_shape(shape: Any, run: tuple[int, ...], geometry: str) -> None:
    model, x = make_model(shape=shape), draw(*run)
    result = rewrite(model, target="native", select="all")
    (row,) = result.report.rows
    assert (row.name, row.op_type, row.lowering, row.growth_bytes) == ("stft", "MatMul", "fft", 0)
    assert row.geometry.endswith(geometry)
    assert result.validation is not None and [check.ok for check in result.validation.convs] == [True]
    for outputs in (run_with_library(result.model, {"x": x}), run_model(result.model, {"x": x})):
        assert_close(outputs[0], compute(x), "float32")
    assert executed_op_types(result.model, {"x": x}, with_library=True) == {"FFTMatMul": 1}
    assert executed_op_types(result.model, {"x": x}) == {"MatMul": 1}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_any_dtype_and_the_function_on_the_evaluator(dtype: str) -> None:
    weight, x = write_basis(400, 400, dtype=dtype), draw(2, 400, 30, dtype=dtype)
    result = rewrite(make_model(weight, (2, 400, 30)), target="native", select="all")
    assert [row.lowering for row in result.report.rows] == ["fft"]
    expected = compute(x, weight)
    assert_close(run_with_library(result.model, {"x": x})[0], expected, dtype)
    (y,) = run_reference(result.model, {"x": x})
    assert np.linalg.norm(y - expected) <= {"float16": 2e-2, "float32": 1e-6, "float64": 1e-14}[dtype] * np.linalg.norm(
        expected
    )


def test_by_default_and_on_open_lengths() -> None:
    (fixed,) = inspect(make_model(), target="native").rows
    (left_open,) = inspect(make_model(write_basis(1024, 1024), (None, 1024, None)), target="native").rows
    assert fixed.lowering == left_open.lowering == "fft"
    assert "at the best of 3 sizes from 1x1024x1 to 1x1024x4096" in left_open.reason
    (few,) = inspect(make_model(write_basis(400, 400)[30:46]), target="native").rows
    assert (few.lowering, few.code) == (None, "no-gain")


def test_threads_change_no_bit_in_a_model() -> None:
    model, x = rewrite(make_model(), target="native", validate=False).model, draw(2, 400, 50)
    assert executed_op_types(model, {"x": x}, with_library=True) == {"FFTMatMul": 1}
    one, *others = (open_session(model, threads).run(None, {"x": x})[0] for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(one, other)


def test_both_orders_in_one_model() -> None:
    """There and, of the turned frames, back: one function stands in for both."""
    model = make_model()
    turned = helper.make_node("Transpose", ["x"], ["frames"], perm=[0, 2, 1])
    behind = helper.make_node("MatMul", ["frames", "columns"], ["z"], name="behind")
    model.graph.node.extend([turned, behind])
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(write_basis(400, 400).T), "columns"))
    model.graph.output.append(info("z"))
    result = rewrite(model, target="native")
    assert [row.lowering for row in result.report.rows] == ["fft", "fft"]
    assert [function.name for function in result.model.functions] == ["FFTMatMul"]
    x = draw(2, 400, 50)
    for run in (run_with_library, run_model):
        y, z = run(result.model, {"x": x})
        assert_close(y, compute(x), "float32")
        assert_close(z, compute(x).transpose(0, 2, 1), "float32")


# --- what stays -----------------------------------------------------------------------------------------------------


def nearly(place: tuple[int, int]) -> Array:
    weight = write_basis(400, 400)
    weight[place] += np.float32(1e-3)
    return weight


OTHERS = {
    "nearly a basis": lambda: make_model(nearly((301, 70))),
    "nearly, in a row that is sampled": lambda: make_model(nearly((0, 3))),
    "random": lambda: make_model(draw(402, 400)),
    "columns for rows": lambda: make_model(np.ascontiguousarray(write_basis(400, 400).T), (2, 402, 50)),
    "too few taps": lambda: make_model(draw(64, 31), (2, 31, 50)),
    "a batch of weights": lambda: make_model(write_basis(400, 400)[None]),
    "integers": lambda: make_model(np.ones((402, 400), np.int32)),
    "no rows": lambda: make_model(np.ones((0, 400), np.float32)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_matmuls_are_no_sites(name: str) -> None:
    for target in ("native", "standard"):
        assert inspect(OTHERS[name](), target=target).rows == ()


def test_refusals_are_told() -> None:
    constant = make_model()
    constant.graph.initializer.append(numpy_helper.from_array(draw(2, 400, 50), "held"))
    constant.graph.node[0].input[1] = "held"
    unknown = make_model()
    unknown.graph.input[0].type.tensor_type.ClearField("shape")
    empty = make_model(shape=(2, 400, 0))
    long = make_model(shape=(1 << 32, 400, None))
    quantized = make_model()
    quantized.graph.node[0].input[1], quantized.graph.node[0].output[0] = "frames", "bins"
    quantized.graph.node.insert(0, helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["frames"]))
    quantized.graph.node.append(helper.make_node("QuantizeLinear", ["bins", "scale", "zero"], ["y"]))
    for name, value in (("scale", np.float32(0.1)), ("zero", np.uint8(128))):
        quantized.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    for value_info in (quantized.graph.input[0], quantized.graph.output[0]):
        value_info.type.tensor_type.elem_type = TensorProto.UINT8
    codes = ("constant-input", "unknown-input", "zero-size", "too-large", "quantized")
    for model, code in zip((constant, unknown, empty, long, quantized), codes, strict=True):
        (row,) = inspect(model, target="native").rows
        assert (row.lowering, row.code) == (None, code)


# --- where it stands, and how it is treated -------------------------------------------------------------------------


def test_a_weight_that_is_computed_is_stored_anew() -> None:
    model = make_model(np.ascontiguousarray(write_basis(400, 400).T))
    model.graph.node[0].input[0] = "turned"
    model.graph.node.insert(0, helper.make_node("Transpose", ["w"], ["turned"]))
    result = rewrite(model, target="native")
    assert [node.op_type for node in result.model.graph.node] == ["FFTMatMul"]
    assert result.validation is not None and [check.ok for check in result.validation.convs] == [True]
    x = draw(2, 400, 50)
    assert_close(run_with_library(result.model, {"x": x})[0], compute(x), "float32")


def test_in_branches_that_no_input_reaches() -> None:
    """Each is checked alone, on frames of its own."""
    branches = {
        "then_branch": body_graph("then", [matmul(y="b0")], [], [info("b0", FLOAT)]),
        "else_branch": body_graph("else", [matmul(y="b1", name="other")], [], [info("b1", FLOAT)]),
    }
    node = helper.make_node("If", ["flag"], ["y"], "if", **branches)
    inputs = [info("x", FLOAT, (None, 400, 50)), info("flag", TensorProto.BOOL, ())]
    model = build_model([node], inputs, [info("y", FLOAT)], {"w": write_basis(400, 400)})
    result = rewrite(model, target="native")
    assert [row.lowering for row in result.report.rows] == ["fft", "fft"]
    assert result.validation is not None
    assert all(check.ok and "x400x50)" in check.sentence for check in result.validation.convs)
    for flag in (True, False):
        feeds = {"x": draw(2, 400, 50), "flag": np.array(flag)}
        assert_close(run_with_library(result.model, feeds)[0], compute(feeds["x"]), "float32")


def test_plan_files_tell_the_order() -> None:
    first = rewrite(make_model(np.asarray(write_basis(400, 400)[:400])), target="native", validate=False)
    (entry,) = first.plan["matmuls"]
    assert entry["geometry"] == "400 points 400->400 on 2x400x50 columns"
    again = rewrite(make_model(np.asarray(write_basis(400, 400)[:400])), plan=first.plan, validate=False)
    assert again.model == first.model
    turned = make_model(shape=(2, 50, 400))
    turned.graph.node[0].input[:] = ["x", "w"]
    turned.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.ascontiguousarray(write_basis(400, 400)[:400].T), "w")
    )
    with pytest.raises(UsageError, match="made for another model"):
        rewrite(turned, plan=first.plan, validate=False)


def test_validation_finds_a_wrong_one() -> None:
    model = make_model()
    wrong = rewrite(model, target="native", validate=False).model
    weight = write_basis(400, 400)
    weight[100] *= np.float32(1.001)
    wrong.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, wrong.graph.initializer[0].name))
    result = validate(model, wrong)
    assert not result.ok
    assert [check.ok for check in result.convs] == [False]


def test_work_is_that_of_a_conv_over_columns() -> None:
    spec = MatMulSpec((2, 3, 400, 50), 402, "float32", 512, in_columns=True)
    conv = as_pointwise(spec)
    assert (conv.batch, conv.in_channels, conv.out_channels, conv.extents) == (6, 400, 402, (50,))
    alone = as_pointwise(MatMulSpec((400,), 402, "float32", 512, in_columns=True))
    assert (alone.batch, alone.extents) == (1, (1,))


def test_measuring_takes_a_basis_as_well() -> None:
    """A contest has weights of its own, which must cost what the model's do."""
    spec = MatMulSpec((400, None), 402, "float32", 512, in_columns=True)
    original, replacement = make_matmul_models(
        Contest(spec, 17, ((400, 98),), 1.0, (Candidate(FourierPlan("fft"), 0.5, 0),))
    )
    assert find_basis_length(numpy_helper.to_array(original.graph.initializer[0])) == 512
    x = draw(400, 98)
    truth = run_model(original, {"x": x})[0].astype(np.float64)
    assert_close(run_with_library(replacement, {"x": x})[0], truth, "float32")


@pytest.mark.slow
def test_measured() -> None:
    result = rewrite(make_model(shape=(None, 400, 50)), target="native", select="measure", budget_s=10, use_cache=False)
    (row,) = result.report.rows
    assert row.measured_conv_s is not None and row.measured_s is not None
