"""ConvTranspose through the whole pass: what is computed, what ran, what stays, and that a wrong one is found out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx_fft import inspect, rewrite, validate
from onnx_fft.cost.gains import judged_specs
from onnx_fft.fourier.oracle import conv_transpose_direct
from onnx_fft.lowering import list_lowerings
from onnx_fft.model.scopes import walk_nodes
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.transposed import ConvTransposeSpec
from scripts.shared.conv_models import Array
from scripts.shared.running import executed_op_types, run_model, run_reference, run_with_library
from tests.marks import mark_slow
from tests.models import FLOAT, body_graph, build_model, info
from tests.transposed import Transposed, spec_of

TARGETS = ("standard", "native")
STANDARD = tuple(lowering.name for lowering in list_lowerings("standard", ConvTransposeSpec))
LIMITS = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-14}

LONG = Transposed((400,), (257,), 6, 4, 2, 1, attributes=(("strides", (2,)), ("pads", (128, 127))))
"""One that gains."""

CASES = {
    "group, stride": Transposed(),
    "3-D": Transposed((3, 4, 5), (2, 3, 2), attributes=(("strides", (2, 1, 2)), ("output_padding", (1, 0, 1)))),
    "open": Transposed(open=(True, True, True), attributes=(("strides", (2, 3)), ("auto_pad", "SAME_LOWER"))),
    "output_shape": Transposed((9,), (5,), has_bias=False, attributes=(("strides", (3,)), ("output_shape", (26,)))),
    "float16": Transposed((9,), (5,), dtype="float16", attributes=(("strides", (2,)), ("dilations", (2,)))),
    "float64": Transposed((9,), (5,), dtype="float64", attributes=(("pads", (1, 2)),)),
}


CHECKED = ("group, stride", "open", "float16", "float64")


def truth(case: Transposed) -> Array:
    held = case.constants()
    y: Array = conv_transpose_direct(case.draw(), held["w"], held.get("b"), spec_of(case.model()).geometry)
    return y


def replaced(case: Transposed, target: str, **options: Any) -> ModelProto:
    result = rewrite(case.model(), target=target, select="all", **options)
    assert [row.lowering is not None for row in result.report.rows] == [True], result.report.rows
    return result.model


def assert_near(y: Array, expected: Array, dtype: str) -> None:
    assert (y.shape, str(y.dtype)) == (expected.shape, dtype)
    assert np.linalg.norm(y.astype(np.float64) - expected) <= LIMITS[dtype] * np.linalg.norm(expected)


@pytest.mark.parametrize("lowering", STANDARD)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_standard_operators_compute_it(case: str, lowering: str) -> None:
    one = CASES[case]
    model = replaced(one, "standard", lowering=lowering, validate=False)
    assert "ConvTranspose" not in {node.op_type for node in walk_nodes(model)}
    assert_near(run_model(model, {"x": one.draw()})[0], truth(one), one.dtype)
    executed = executed_op_types(model, {"x": one.draw()})
    assert executed[{"matmul": "MatMul", "dft": "DFT"}[lowering]] and not executed["ConvTranspose"]


@pytest.mark.usefixtures("native_library")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_library_computes_it_and_the_function_stands_in(case: str) -> None:
    one = CASES[case]
    model = replaced(one, "native", validate=False)
    (node,) = model.graph.node
    assert (node.domain, node.op_type) == (OPERATOR_DOMAIN, "FFTConvTranspose")
    assert len(node.input) == 3
    x = {"x": one.draw()}
    assert_near(run_with_library(model, x)[0], truth(one), one.dtype)
    if one.dtype != "float64":  # which ONNX Runtime has no ConvTranspose for
        assert_near(run_model(model, x)[0], truth(one), one.dtype)
    if one.group == 1:  # for more, onnx's evaluator fails
        assert_near(run_reference(model, x)[0], truth(one), one.dtype)


@pytest.mark.usefixtures("native_library")
def test_the_node_reads_the_weight_where_it_stands() -> None:
    result = rewrite(LONG.model(), target="native", validate=False)
    (row,) = result.report.rows
    assert (row.lowering, row.growth_bytes) == ("fftconv", 0)
    assert {"w", "b"} <= set(result.model.graph.node[0].input)


@pytest.mark.parametrize("target", TARGETS)
def test_auto_takes_what_gains_and_leaves_what_does_not(target: str, request: pytest.FixtureRequest) -> None:
    if target == "native":
        request.getfixturevalue("native_library")
    big = Transposed((64, 64), (31, 31), 16, 16, 1, 1, attributes=(("pads", (15,) * 4),))
    small = Transposed((64, 64), (2, 2), 16, 16, 1, 1, attributes=(("strides", (2, 2)),))
    for case, gains in ((big, True), (small, False)):
        (row,) = inspect(case.model(), target=target).rows
        assert (row.lowering is not None) == gains, row
        assert row.op_type == "ConvTranspose"
    (row,) = inspect(small.model(), target=target).rows
    assert row.code == "no-gain"


def test_plan_files_hold_it_and_older_ones_leave_it_alone() -> None:
    first = rewrite(LONG.model(), validate=False)
    plan = first.plan
    (entry,) = plan["transposed"]
    assert (entry["name"], entry["lowering"]) == ("up", first.report.rows[0].lowering)
    again = rewrite(LONG.model(), plan=plan, validate=False)
    assert again.model == first.model
    older = {key: value for key, value in plan.items() if key != "transposed"}
    (row,) = rewrite(LONG.model(), plan=older, validate=False).report.rows
    assert (row.lowering, row.code) == (None, "planned")


def test_growth_counts_what_the_file_grows_by() -> None:
    model = LONG.model()
    result = rewrite(model, lowering="matmul", validate=False)
    grown = len(result.model.SerializeToString()) - len(model.SerializeToString())
    assert abs(grown - result.report.growth_bytes) < 8_000
    (row,) = rewrite(model, lowering="matmul", max_growth_bytes=1000, validate=False).report.rows
    assert (row.lowering, row.code) == (None, "growth")


def wrap_in_if(case: Transposed) -> ModelProto:
    """The node in a branch; the weights are the graph's."""
    y = [info("b0", FLOAT)]
    inner = case.node(y="b0")
    other = helper.make_node("Identity", ["other"], ["b1"])
    branches = {
        "then_branch": body_graph("then", [inner], [], y),
        "else_branch": body_graph("else", [other], [], [info("b1", FLOAT)]),
    }
    node = helper.make_node("If", ["flag"], ["y"], "if", **branches)
    constants = {**case.constants(), "other": truth(case).astype(np.float32)}
    inputs = [info("x", FLOAT, case.dims), info("flag", 9, [])]
    return build_model([node], inputs, [info("y", FLOAT)], constants)


def wrap_in_function(case: Transposed) -> ModelProto:
    """The node in a function that gets the weight from its caller."""
    imports = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "Up", ["x", "w", "b"], ["y"], [case.node()], imports)
    node = helper.make_node("Up", ["x", "w", "b"], ["y"], domain="local")
    inputs = [info("x", FLOAT, case.dims)]
    return build_model([node], inputs, [info("y", FLOAT)], case.constants(), domains=("local",), functions=[function])


@pytest.mark.parametrize("wrap", [wrap_in_if, wrap_in_function])
def test_subgraphs_and_functions(wrap: Any) -> None:
    case = Transposed()
    model = wrap(case)
    result = rewrite(model, select="all", lowering="matmul")
    assert len(result.report.replaced) == 1
    assert result.validation is not None and result.validation.ok
    assert "ConvTranspose" not in {node.op_type for node in walk_nodes(result.model)}
    feeds = {"x": case.draw()} | ({"flag": np.asarray(True)} if wrap is wrap_in_if else {})
    assert_near(run_model(result.model, feeds)[0], truth(case), "float32")


@pytest.mark.parametrize(
    "case", mark_slow(("group, stride", "open", "float16", "float64"), lambda case: case == "open")
)
def test_validation_holds_it_against_float64(case: str) -> None:
    result = rewrite(CASES[case].model(), select="all", lowering="matmul")
    assert result.validation is not None and result.validation.ok
    (check,) = result.validation.convs
    assert (check.name, check.op_type, check.ok) == ("up", "ConvTranspose", True)
    assert check.checked_outputs == check.all_outputs > 0


@pytest.mark.parametrize("wrong", [1e-3, 1.0])
def test_a_wrong_one_is_found_out(wrong: float) -> None:
    """A tap of the replacement is off."""
    case = Transposed()
    behind = [helper.make_node("Mul", ["c", "zero"], ["z"]), helper.make_node("Add", ["z", "c"], ["y"])]
    model = case.model(behind)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    bent = ModelProto()
    bent.CopyFrom(model)
    (held,) = (tensor for tensor in bent.graph.initializer if tensor.name == "w")
    weight = numpy_helper.to_array(held).copy()
    weight[1, 2, 0, 1] *= 1 + wrong
    held.CopyFrom(numpy_helper.from_array(weight, "w"))
    result = validate(model, rewrite(bent, select="all", lowering="matmul", validate=False).model)
    assert not result.ok
    (check,) = result.convs
    assert check.ok is False


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_weights_that_a_transform_would_spread_are_left(value: float) -> None:
    model = LONG.model()
    (held,) = (tensor for tensor in model.graph.initializer if tensor.name == "w")
    weight = numpy_helper.to_array(held).copy()
    weight[:, 0, 3] = value
    held.CopyFrom(numpy_helper.from_array(weight, "w"))
    result = rewrite(model, select="all", validate=False)
    (row,) = result.report.rows
    assert row.code in ("nonfinite", "overflow")
    assert result.model == model


def test_what_turns_on_exact_zeros_behind_it_leaves_it_alone() -> None:
    case = Transposed(LONG.extents, LONG.kernel, 6, 4, 2, 1, has_bias=False, attributes=LONG.attributes)
    (row,) = inspect(case.model([helper.make_node("Sqrt", ["c"], ["y"])])).rows
    assert row.code == "zeros"
    assert "Sqrt" in row.reason
    (row,) = inspect(case.model([helper.make_node("Relu", ["c"], ["y"])])).rows
    assert row.lowering is not None


def test_a_weight_of_run_time_is_left() -> None:
    case = Transposed()
    model = case.model()
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "w"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.input.append(info("w", FLOAT, (4, 3, 4, 3)))
    (row,) = inspect(model, select="all").rows
    assert (row.code, row.lowering) == ("runtime-weight", None)


def test_a_bias_of_run_time_is_added() -> None:
    case = Transposed()
    model = case.model()
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "b"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.input.append(info("b", FLOAT, (6,)))
    result = rewrite(model, select="all", lowering="matmul")
    assert len(result.report.replaced) == 1
    feeds = {"x": case.draw(), "b": case.constants()["b"]}
    assert_near(run_model(result.model, feeds)[0], truth(case), "float32")


@pytest.mark.slow
def test_it_can_be_measured() -> None:
    result = rewrite(LONG.model(), select="measure", budget_s=20)
    (row,) = result.report.rows
    assert row.measured_conv_s is not None
    assert Counter(node.op_type for node in walk_nodes(result.model))["ConvTranspose"] == (row.lowering is None)


@pytest.mark.parametrize("lowering", ["matmul", "fftconv"])
@pytest.mark.parametrize(("taps", "stride", "pads"), [(1, 1, (2, 41)), (3, 4, (90, 90)), (1, 8, (300, 300))])
def test_open_lengths_are_judged_where_pads_leave_outputs(
    taps: int, stride: int, pads: tuple[int, int], lowering: str
) -> None:
    attributes = (("strides", (stride,)), ("pads", pads))
    case = Transposed((300,), (taps,), open=(False, True), attributes=attributes)
    for known in judged_specs(spec_of(case.model()), lowering):
        assert isinstance(known, ConvTransposeSpec)
        assert min(length or 0 for length in known.output_extents) >= 1
    (row,) = inspect(case.model(), target="native" if lowering == "fftconv" else "standard").rows
    assert row.lowering is not None or row.code == "no-gain"
