"""A MatMul of frames with a windowed DFT basis through the whole pass; any other MatMul is no site at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft import inspect, rewrite, validate
from onnx_fft.errors import NativeUnavailable
from onnx_fft.measure.choice import Contest
from onnx_fft.measure.single_matmul import make_matmul_models
from onnx_fft.model.scopes import walk_nodes
from onnx_fft.native.planning import find_basis_length
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.fourier import MatMulSpec
from scripts.shared.conv_models import Array
from scripts.shared.running import executed_op_types, run_model, run_reference, run_with_library
from tests.models import FLOAT, body_graph, build_model, info
from tests.native.test_basis import write_basis
from tests.native_models import assert_close, open_session

pytestmark = pytest.mark.usefixtures("native_library")


def write_weight(dtype: str = "float32") -> Array:
    """`[taps, rows]`."""
    return np.ascontiguousarray(write_basis(400, 400, dtype=dtype).T)


def matmul(x: str = "x", w: str = "w", y: str = "y", name: str = "stft") -> NodeProto:
    return helper.make_node("MatMul", [x, w], [y], name=name)


def make_model(weight: Array | None = None, shape: Any = (2, 50, 400), **options: Any) -> ModelProto:
    weight = write_weight() if weight is None else weight
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    return build_model([matmul()], [info("x", kind, shape)], [info("y", kind)], {"w": weight}, **options)


def draw(*shape: int, dtype: str = "float32") -> Array:
    return np.random.default_rng(3).standard_normal(shape).astype(dtype)


def replaced_types(model: ModelProto) -> list[str]:
    return [node.op_type for node in walk_nodes(model) if node.domain == OPERATOR_DOMAIN]


# --- what is replaced -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "run"),
    [((400,), (400,)), ((9, 400), (9, 400)), ((2, 50, 400), (2, 50, 400)), ((None, "frames", 400), (3, 21, 400))],
    ids=str,
)
def test_frames_in_any_shape(shape: Any, run: tuple[int, ...]) -> None:
    model, weight, x = make_model(shape=shape), write_weight(), draw(*run)
    result = rewrite(model, target="native", select="all")
    (row,) = result.report.rows
    assert (row.name, row.op_type, row.lowering, row.growth_bytes) == ("stft", "MatMul", "fft", 0)
    assert result.validation is not None and [check.ok for check in result.validation.convs] == [True]
    assert result.validation.convs[0].op_type == "MatMul"
    expected = x.astype(np.float64) @ weight.astype(np.float64)
    for outputs in (run_with_library(result.model, {"x": x}), run_model(result.model, {"x": x})):
        assert_close(outputs[0], expected, "float32")
    assert executed_op_types(result.model, {"x": x}, with_library=True) == {"FFTMatMul": 1}
    assert executed_op_types(result.model, {"x": x}) == {"MatMul": 1}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_any_dtype_and_the_function_on_the_evaluator(dtype: str) -> None:
    weight, x = write_weight(dtype), draw(2, 30, 400, dtype=dtype)
    result = rewrite(make_model(weight, (2, 30, 400)), target="native", select="all")
    expected = x.astype(np.float64) @ weight.astype(np.float64)
    assert_close(run_with_library(result.model, {"x": x})[0], expected, dtype)
    (y,) = run_reference(result.model, {"x": x})
    assert np.linalg.norm(y - expected) <= {"float16": 2e-2, "float32": 1e-6, "float64": 1e-14}[dtype] * np.linalg.norm(
        expected
    )


def test_threads_change_no_bit_in_a_model() -> None:
    model, x = rewrite(make_model(), target="native", validate=False).model, draw(2, 50, 400)
    one, two = (open_session(model, threads).run(None, {"x": x})[0] for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_a_log_behind_it_is_no_obstacle() -> None:
    model = make_model()
    model.graph.node.append(helper.make_node("Log", ["y"], ["log"]))
    model.graph.output[0].name = "log"
    (row,) = inspect(model, target="native").rows
    assert (row.lowering, row.warning) == ("fft", "")


# --- what stays -----------------------------------------------------------------------------------------------------


def nearly(place: tuple[int, int]) -> Array:
    weight = write_weight()
    weight[place] += 1e-3
    return weight


OTHERS = {
    "nearly a basis": lambda: make_model(nearly((70, 301))),
    "nearly, in a column that is sampled": lambda: make_model(nearly((3, 0))),
    "random": lambda: make_model(draw(400, 402)),
    "rows for columns": lambda: make_model(np.ascontiguousarray(write_weight().T), (2, 50, 402)),
    "too few taps": lambda: make_model(draw(31, 64), (2, 50, 31)),
    "a batch of weights": lambda: make_model(write_weight()[None]),
    "integers": lambda: make_model(np.ones((400, 402), np.int32)),
    "no columns": lambda: make_model(np.ones((400, 0), np.float32)),
    "no taps": lambda: make_model(np.ones((0, 402), np.float32), (2, 50, 0)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_matmuls_are_no_sites(name: str) -> None:
    for target in ("native", "standard"):
        assert inspect(OTHERS[name](), target=target).rows == ()


def test_weights_that_are_no_constants_are_no_sites() -> None:
    given = make_model()
    given.graph.input.append(info("w", shape=(400, 402)))
    assert inspect(given, target="native").rows == ()
    computed = make_model()
    computed.graph.node[0].input[1] = "twice"
    computed.graph.input.append(info("factor", shape=()))
    computed.graph.node.insert(0, helper.make_node("Mul", ["w", "factor"], ["twice"]))
    assert inspect(computed, target="native").rows == ()


def test_the_standard_target_lists_it_and_leaves_it() -> None:
    model = make_model()
    result = rewrite(model, target="standard", select="all")
    (row,) = result.report.rows
    assert (row.lowering, row.code) == (None, "no-lowering")
    assert "target standard" in row.reason
    assert result.model == model


def test_few_columns_do_not_gain() -> None:
    weight = np.ascontiguousarray(write_weight()[:, 30:46])
    (row,) = inspect(make_model(weight), target="native").rows
    assert (row.lowering, row.code) == (None, "no-gain")


def test_refusals_are_told() -> None:
    constant = make_model()
    constant.graph.initializer.append(numpy_helper.from_array(draw(2, 50, 400), "held"))
    constant.graph.node[0].input[0] = "held"
    unknown = make_model()
    unknown.graph.input[0].type.tensor_type.ClearField("shape")
    empty = make_model(shape=(0, 50, 400))
    quantized = make_model()
    quantized.graph.node[0].input[0], quantized.graph.node[0].output[0] = "frames", "bins"
    quantized.graph.node.insert(0, helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["frames"]))
    quantized.graph.node.append(helper.make_node("QuantizeLinear", ["bins", "scale", "zero"], ["y"]))
    scale, zero = np.float32(0.1), np.uint8(128)
    quantized.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in (("scale", scale), ("zero", zero))
    )
    for value in (quantized.graph.input[0], quantized.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.UINT8
    codes = ("constant-input", "unknown-input", "zero-size", "quantized")
    for model, code in zip((constant, unknown, empty, quantized), codes, strict=True):
        (row,) = inspect(model, target="native").rows
        assert (row.lowering, row.code) == (None, code)


# --- where it stands ------------------------------------------------------------------------------------------------


def test_a_weight_that_is_computed_is_stored_anew() -> None:
    """ONNX Runtime may leave a Transpose to the run, and a node has to know its weight when it is made."""
    model = make_model(write_basis(400, 400))
    model.graph.node[0].input[1] = "turned"
    model.graph.node.insert(0, helper.make_node("Transpose", ["w"], ["turned"]))
    result = rewrite(model, target="native")
    assert replaced_types(result.model) == ["FFTMatMul"]
    assert [node.op_type for node in result.model.graph.node] == ["FFTMatMul"]
    assert abs(result.report.growth_bytes) < 1000
    x = draw(2, 50, 400)
    assert_close(
        run_with_library(result.model, {"x": x})[0], run_model(model, {"x": x})[0].astype(np.float64), "float32"
    )


def test_in_a_branch_that_reads_the_weight_of_the_graph() -> None:
    branches = {
        "then_branch": body_graph("then", [matmul(y="b0")], [], [info("b0", FLOAT)]),
        "else_branch": body_graph("else", [matmul(y="b1", name="other")], [], [info("b1", FLOAT)]),
    }
    node = helper.make_node("If", ["flag"], ["y"], "if", **branches)
    inputs = [info("x", FLOAT, (2, 50, 400)), info("flag", TensorProto.BOOL, ())]
    model = build_model([node], inputs, [info("y", FLOAT)], {"w": write_weight()})
    result = rewrite(model, target="native")
    assert [row.lowering for row in result.report.rows] == ["fft", "fft"]
    for flag in (True, False):
        feeds = {"x": draw(2, 50, 400), "flag": np.array(flag)}
        assert_close(run_with_library(result.model, feeds)[0], run_model(model, feeds)[0].astype(np.float64), "float32")


def test_in_a_function() -> None:
    """In which the shape of the frames is not known: its call is written out."""
    held = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(write_weight(), "w"))
    imports = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Frontend", ["x"], ["y"], [held, matmul()], imports)
    call = helper.make_node("Frontend", ["x"], ["y"], "call", domain="local")
    frames = info("x", FLOAT, (2, 50, 400))
    model = build_model([call], [frames], [info("y", FLOAT)], {}, domains=["local"], functions=[function])
    result = rewrite(model, target="native")
    assert [row.lowering for row in result.report.rows] == ["fft"]
    feeds = {"x": draw(2, 50, 400)}
    assert executed_op_types(result.model, feeds, with_library=True) == {"FFTMatMul": 1}
    assert_close(run_with_library(result.model, feeds)[0], run_model(model, feeds)[0].astype(np.float64), "float32")


# --- treated like other sites ---------------------------------------------------------------------------------------


def test_plan_files_hold_it_and_older_ones_leave_it_alone() -> None:
    first = rewrite(make_model(), target="native", validate=False)
    (entry,) = first.plan["matmuls"]
    assert (entry["name"], entry["lowering"], entry["lengths"]) == ("stft", "fft", [])
    assert rewrite(make_model(), plan=first.plan, validate=False).model == first.model
    older = {key: value for key, value in first.plan.items() if key != "matmuls"}
    (row,) = rewrite(make_model(), plan=older, validate=False).report.rows
    assert (row.lowering, row.code) == (None, "planned")


def test_a_plan_that_needs_the_library_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, nothing tells the MatMul from any other: a plan that leaves it alone fits all the same."""
    plan = rewrite(make_model(), target="native", validate=False).plan
    left = rewrite(make_model(), validate=False).plan
    monkeypatch.setenv("ONNX_FFT_LIBRARY", str(tmp_path / "absent.so"))
    with pytest.raises(NativeUnavailable):
        rewrite(make_model(), plan=plan, validate=False)
    assert rewrite(make_model(), plan=left, validate=False).report.rows == ()


def test_names_do_not_depend_on_what_is_listed() -> None:
    """Of two MatMuls of one name the second is a site; validation, which sees what was replaced, calls it the same."""
    model = make_model()
    model.graph.initializer.append(numpy_helper.from_array(draw(402, 8), "mel"))
    model.graph.node[0].output[0] = "bins"
    model.graph.node.append(matmul("bins", "mel", "y"))
    model.graph.node.insert(0, matmul("z", "square", "x"))
    model.graph.input[0].name = "z"
    model.graph.initializer.append(numpy_helper.from_array(draw(400, 400), "square"))
    result = rewrite(model, target="native")
    assert result.validation is not None
    assert [row.name for row in result.report.rows] == [check.name for check in result.validation.convs] == ["stft#1"]


def test_lengths_beyond_any_memory_are_refused() -> None:
    (row,) = inspect(make_model(shape=(1 << 32, None, 400)), target="native").rows
    assert (row.lowering, row.code) == (None, "too-large")


def test_names_select_it() -> None:
    (row,) = inspect(make_model(), target="native", exclude=["stft"]).rows
    assert (row.lowering, row.code) == (None, "not-selected")
    (row,) = inspect(make_model(), target="native", include=["stft"]).rows
    assert row.lowering == "fft"


def test_a_name_of_its_own_is_respected() -> None:
    model = make_model(domains=[OPERATOR_DOMAIN])
    imports = [helper.make_opsetid("", 17)]
    own = helper.make_function(
        OPERATOR_DOMAIN, "FFTMatMul", ["X", "W"], ["Y"], [helper.make_node("Sub", ["X", "W"], ["Y"])], imports
    )
    model.functions.append(own)
    with pytest.raises(Exception, match="the name to be free"):
        rewrite(model, target="native")


def test_validation_finds_a_wrong_one() -> None:
    model = make_model()
    wrong = rewrite(model, target="native", validate=False).model
    weight = write_weight()
    weight[:, 100] *= np.float32(1.001)
    wrong.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, wrong.graph.initializer[0].name))
    result = validate(model, wrong)
    assert not result.ok
    assert [check.ok for check in result.convs] == [False]


def test_measuring_takes_a_basis_as_well() -> None:
    """A contest has weights of its own, which must cost what the model's do."""
    spec = MatMulSpec((None, 400), 402, "float32", 512)
    contest = Contest(spec, 17, ((98, 400),), 1.0, ())
    weight = numpy_helper.to_array(make_matmul_models(contest)[0].graph.initializer[0])
    assert find_basis_length(np.ascontiguousarray(weight.T)) == 512


@pytest.mark.slow
def test_measured() -> None:
    result = rewrite(make_model(shape=(None, 50, 400)), target="native", select="measure", budget_s=10, use_cache=False)
    (row,) = result.report.rows
    assert row.measured_conv_s is not None and row.measured_s is not None
