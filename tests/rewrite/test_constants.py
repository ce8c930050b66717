"""What becomes constant on the way: overridable initializers, functions' weights; and what constants must not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft import inspect, rewrite
from onnx_fft.hints import tell
from onnx_fft.model.inlining import expand_call
from onnx_fft.report import describe
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model, run_with_library
from tests.comparing import assert_same
from tests.models import B1, W1, W2, X, Y, body_graph, conv, info, make_model, relu

IMPORTS = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]

# --- initializers that are inputs as well -------------------------------------------------------------------------


def overridable_model() -> ModelProto:
    return make_model([conv("x", "y", "w1", "b1")], inputs=[info("w1", shape=W1.shape), info("b1", shape=(4,))])


def test_overridable_initializers_are_frozen_if_asked_for() -> None:
    model = overridable_model()
    (row,) = rewrite(model, select="all").report.rows
    assert row.code == "overridable-weight"
    assert "freeze_initializers=True" in tell(row.hint)
    result = rewrite(model, select="all", freeze_initializers=True)
    assert len(result.report.replaced) == 1
    assert [value.name for value in result.model.graph.input] == ["x"]
    assert "inputs no longer: 'w1', 'b1'" in describe(result.report)
    assert result.validation is not None and result.validation.ok
    assert_same(model, result.model)
    onnx.checker.check_model(result.model, full_check=True)


def test_freezing_alone_is_validated_too() -> None:
    result = rewrite(overridable_model(), exclude=["."], freeze_initializers=True)
    assert [value.name for value in result.model.graph.input] == ["x"]
    assert result.validation is not None and result.validation.ok


def test_nothing_is_frozen_where_every_initializer_is_an_input() -> None:
    model = make_model([conv("x", "y")], ir_version=3)
    result = rewrite(model, exclude=["."], freeze_initializers=True)
    assert result.model == model
    assert result.report.changes == ()


# --- weights that functions are given -----------------------------------------------------------------------------


def function(name: str, nodes: Sequence[NodeProto], inputs: str = "a w", opset: int = 17) -> FunctionProto:
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, inputs.split(), ["b"], nodes, imports)


def call(name: str, inputs: str, output: str, label: str = "") -> NodeProto:
    return helper.make_node(name, inputs.split(), [output], label, domain="local")


LAYER = function("Layer", [relu("a", "r"), conv("r", "c", "w", pads=1), relu("c", "b")])
BLOCK = function("Block", [call("Layer", "a w", "m", "one"), call("Layer", "m w", "b", "two")])
SMALL = function("Small", [conv("a", "b", "w", pads=0)])


def calling_model(
    nodes: Sequence[NodeProto], constants: Mapping[str, Array], functions: Sequence[FunctionProto], **options: Any
) -> ModelProto:
    first = conv("x", "x4", "w1", name="first")
    return make_model([first, *nodes], {"w1": W1, **constants}, functions=functions, domains=["local"], **options)


@pytest.mark.parametrize("target", ["standard", "native"])
def test_functions_are_written_out_if_their_callers_give_the_weights(target: str) -> None:
    model = calling_model([call("Block", "x4 w2", "y", "top")], {"w2": W2}, [LAYER, BLOCK])
    result = rewrite(model, target=target, select="all")
    names = [row.name for row in result.report.replaced]
    assert names == ["first", "top/one/Conv#1", "top/two/Conv#1"]
    assert not [f for f in result.model.functions if f.domain == "local"]
    assert "'local:Block', 'local:Layer'" in describe(result.report)
    assert result.validation is not None and result.validation.ok
    run = run_with_library if target == "native" else run_model
    np.testing.assert_allclose(run(result.model, {"x": X})[0], run_model(model, {"x": X})[0], rtol=1e-4, atol=1e-4)
    again = rewrite(model, plan=result.plan)
    assert again.model == result.model
    assert inspect(model, target=target, select="all") == result.report


def test_a_call_with_a_weight_of_run_time_is_left_alone() -> None:
    nodes = [call("Layer", "x4 w2", "m", "one"), call("Layer", "m v", "y", "two")]
    model = calling_model(nodes, {"w2": W2}, [LAYER], inputs=[info("v", shape=W2.shape)])
    result = rewrite(model, select="all")
    assert [row.name for row in result.report.rows if row.lowering is None] == ["two/Conv#1"]
    feeds = {"x": X, "v": W2[::-1].copy()}
    np.testing.assert_allclose(run_model(result.model, feeds)[0], run_model(model, feeds)[0], rtol=1e-4, atol=1e-4)


def test_functions_stay_if_nothing_in_them_is_replaced() -> None:
    model = calling_model([call("Small", "x4 k", "y")], {"k": W2[:, :, :1, :1].copy()}, [SMALL])
    result = rewrite(model)
    assert result.model == model
    assert [row.code for row in result.report.rows if row.name != "first"] == ["function-weight"]
    assert result.report.changes == ()


def test_only_functions_with_a_replaced_convolution_are_written_out() -> None:
    nodes = [call("Layer", "x4 w2", "m", "one"), call("Small", "m w2", "y", "other")]
    model = calling_model(nodes, {"w2": W2}, [SMALL, LAYER], y=None)
    result = rewrite(model, select="all", exclude=["other"])
    assert [f.name for f in result.model.functions] == ["Small"]
    assert [node for node in result.model.graph.node if node.op_type == "Small"] == [nodes[1]]
    assert rewrite(model, plan=result.plan).model == result.model


def test_what_is_written_out_is_told_in_a_converted_model_too() -> None:
    model = calling_model([call("Small", "x4 w2", "y", "other")], {"w2": W2}, [SMALL], y=None)
    result = rewrite(model, select="all", exclude=["other/Conv#0"], opset=18)
    assert result.report.converted_from == 17
    assert bool(result.model.functions) != ("'local:Small'" in describe(result.report))


def test_an_output_that_a_call_leaves_out_is_not_made() -> None:
    both = helper.make_function("local", "Both", ["a"], ["a", "b"], [relu("a", "b")], [helper.make_opsetid("", 17)])
    call_one = helper.make_node("Both", ["x"], ["", "y"], domain="local")
    assert [list(node.output) for node in expand_call(call_one, both, "p/")] == [["y"]]


def test_the_convolution_of_each_call_is_checked_by_itself() -> None:
    """Negated in the function, it is negated twice, which no output shows; and one call may be wrong alone."""
    linear = function("Linear", [conv("a", "b", "w", name="it", pads=1)])
    model = calling_model(
        [call("Linear", "x4 w2", "m", "one"), call("Linear", "m w2", "y", "two")], {"w2": W2}, [linear]
    )
    result = rewrite(model, select="all")
    assert result.validation is not None
    assert [(check.name, check.ok) for check in result.validation.convs] == [
        ("first", True),
        ("one/it", True),
        ("two/it", True),
    ]
    assert result.validation.ok


def test_a_function_that_training_calls_stays() -> None:
    model = calling_model([call("Layer", "x4 w2", "y")], {"w2": W2}, [LAYER])
    graph = helper.make_graph([call("Layer", "y w2", "t")], "algorithm", [], [info("t")])
    model.training_info.add().algorithm.CopyFrom(graph)
    result = rewrite(model, lowering="matmul")
    assert len(result.report.replaced) == 2
    assert [function.name for function in result.model.functions] == ["Layer"]
    assert result.model.training_info == model.training_info


OLD_SQUEEZE = [
    helper.make_node("Unsqueeze", ["a"], ["u"], axes=[0]),
    helper.make_node("Squeeze", ["u"], ["v"], axes=[0]),
    conv("v", "b", "w", pads=1),
]
OTHER_OPSETS = {
    "older, the same operators": (13, [relu("a", "r"), conv("r", "b", "w", pads=1)]),
    "older, other operators": (11, OLD_SQUEEZE),
    "newer, the same operators": (18, [relu("a", "r"), conv("r", "b", "w", pads=1)]),
}


@pytest.mark.parametrize("case", OTHER_OPSETS)
def test_a_function_of_another_opset_is_converted_and_written_out(case: str) -> None:
    opset, nodes = OTHER_OPSETS[case]
    model = calling_model([call("Other", "x4 w2", "y")], {"w2": W2}, [function("Other", nodes, opset=opset)])
    result = rewrite(model, select="all")
    assert len(result.report.replaced) == 2
    assert not result.model.functions
    assert {entry.domain: entry.version for entry in result.model.opset_import}[""] == 17
    onnx.checker.check_model(result.model, full_check=True)


MASKED = [
    helper.make_node("Dropout", ["a"], ["m", "mask"]),
    helper.make_node("Mul", ["m", "mask"], ["n"]),
    conv("n", "b", "w", pads=1),
]
UNCONVERTED = {
    "newer operators": (18, [helper.make_node("Mish", ["a"], ["m"]), conv("m", "b", "w", pads=1)]),
    "no rule": (9, MASKED),
}


@pytest.mark.parametrize("case", UNCONVERTED)
def test_a_function_that_cannot_be_converted_is_left_alone_with_a_hint(case: str) -> None:
    opset, nodes = UNCONVERTED[case]
    model = calling_model([call("Other", "x4 w2", "y")], {"w2": W2}, [function("Other", nodes, opset=opset)])
    *_, row = inspect(model).rows
    assert row.code == "runtime-weight"
    assert "onnx.inliner" in tell(row.hint)


def refer(node: onnx.NodeProto, name: str, kind: int) -> onnx.NodeProto:
    """The node with an attribute that the call sets as `V`."""
    node.attribute.add(name=name, ref_attr_name="V", type=kind)
    return node


HELD = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(W2))
BARE = helper.make_node("Conv", ["a", "w"], ["b"])
BY_ATTRIBUTE: dict[str, tuple[list[NodeProto], Any]] = {
    "weight": ([refer(helper.make_node("Constant", [], ["w"]), "value", 4), conv("a", "b", "w", pads=1)], W2),
    "pads": ([HELD, refer(BARE, "pads", 7)], [1] * 4),
}


@pytest.mark.parametrize("given", ["by the call", "by default", "through another function"])
@pytest.mark.parametrize("case", BY_ATTRIBUTE)
def test_what_a_call_sets_as_an_attribute_is_written_out(case: str, given: str) -> None:
    nodes, value = BY_ATTRIBUTE[case]
    attribute = helper.make_attribute("V", numpy_helper.from_array(value) if case == "weight" else value)
    by_default = given == "by default"
    inner = helper.make_function("local", "Inner", ["a"], ["b"], nodes, IMPORTS, [] if by_default else ["V"])
    top = call("Inner", "x4", "y")
    (inner.attribute_proto if by_default else top.attribute).append(attribute)
    functions = [inner]
    if given == "through another function":
        nested = refer(call("Inner", "a", "b"), "V", attribute.type)
        functions.append(helper.make_function("local", "Outer", ["a"], ["b"], [nested], IMPORTS, ["V"]))
        top.op_type = "Outer"
    model = calling_model([top], {}, functions)
    result = rewrite(model, select="all")
    assert len(result.report.replaced) == 2
    np.testing.assert_allclose(
        run_model(result.model, {"x": X})[0], run_model(model, {"x": X})[0], rtol=1e-4, atol=1e-4
    )


def test_functions_that_multiply_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_fft.model.inlining.MAX_ADDED", 500)
    last = function("F40", [conv("a", "b", "w", pads=1)])
    doubling = [function(f"F{i}", [call(f"F{i + 1}", "a w", "m"), call(f"F{i + 1}", "m w", "b")]) for i in range(40)]
    model = calling_model([call("F0", "x4 w2", "y")], {"w2": W2}, [last, *reversed(doubling)])
    assert [row.code for row in inspect(model, select="all").rows] == ["", "runtime-weight"]


def test_names_attributes_and_absent_inputs_survive_being_written_out() -> None:
    inner = helper.make_node("Clip", ["c", "low", "high"], ["clipped"])
    leaky = helper.make_node("LeakyRelu", ["clipped"], ["b"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=1)
    then = body_graph("then", [helper.make_node("Neg", ["x4"], ["t"])], [], [info("t")])
    other = body_graph("else", [helper.make_node("Identity", ["x4"], ["t"])], [], [info("t")])
    branches = helper.make_node("If", ["yes"], ["x4i"], then_branch=then, else_branch=other)
    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("v", 9, [], [True]))
    nodes = [relu("a", "x4"), yes, branches, conv("x4i", "c", "w", pads=1), inner, leaky]
    odd = helper.make_function("local", "Odd", ["a", "w", "low", "high"], ["b"], nodes, IMPORTS, ["slope"])
    top = call("Odd", "x4 w2 low", "y", "top")
    top.attribute.append(helper.make_attribute("slope", 0.25))
    model = calling_model([top], {"w2": W2, "low": np.array(-0.5, np.float32)}, [odd])
    result = rewrite(model, select="all")
    assert len(result.report.replaced) == 2
    np.testing.assert_allclose(
        run_model(result.model, {"x": X})[0], run_model(model, {"x": X})[0], rtol=1e-4, atol=1e-4
    )


# --- lengths that the file states, and that are not so ------------------------------------------------------------


def stale_models() -> dict[str, ModelProto]:
    """Models of open lengths that say [2, 4, 6, 7] of some tensor, be it what it may."""
    claim = info("t", shape=(2, 4, 6, 7))
    nodes = [conv("x", "c", name="first"), relu("c", "t"), conv("t", "y", "w2", pads=1, name="second")]
    open_x, open_y = (None, 3, "h", "w"), (None, 4, "h", "w")
    noted = make_model(nodes, x=open_x, y=open_y)
    noted.graph.value_info.append(claim)
    output = make_model(nodes, x=open_x, y=(2, 4, 6, 7))
    output.graph.output.append(claim)
    equal = make_model(nodes, x=open_x, y=open_y)
    equal.graph.value_info.append(info("t", shape=(None, "h", "h", "h")))
    body = body_graph(
        "b", [relu("x4", "t"), conv("t", "z", "w2", pads=1, name="inside")], [], [info("z", shape=(2, 4, 6, 7))]
    )
    body.value_info.append(claim)
    branches = helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body)
    inner = make_model([conv("x", "x4"), branches], {"w1": W1, "w2": W2, "yes": np.array(True)}, x=open_x, y=open_y)
    growing = [conv("h", "grown", "w2", pads=2, name="inside"), helper.make_node("Identity", ["go"], ["on"])]
    inputs = [info("i", TensorProto.INT64, ()), info("go", TensorProto.BOOL, ()), info("h", shape=Y)]
    step = body_graph("b", growing, inputs, [info("on", TensorProto.BOOL, ()), info("grown")])
    nodes = [conv("x", "x4"), helper.make_node("Loop", ["n", "yes", "x4"], ["y"], body=step)]
    looped = make_model(
        nodes, {"w1": W1, "w2": W2, "n": np.array(3), "yes": np.array(True)}, x=open_x, y=(None, 4, None, None)
    )
    return {"value_info": noted, "output": output, "symbols": equal, "body": inner, "loop": looped}


@pytest.mark.parametrize("case", stale_models())
def test_stale_lengths_are_not_believed(case: str) -> None:
    model = stale_models()[case]
    result = rewrite(model, lowering="matmul", validate=False)
    assert result.report.replaced == result.report.rows
    for x in (X, np.pad(X, ((0, 0), (0, 0), (0, 20), (0, 3)))):
        before, after = run_model(model, {"x": x}), run_model(result.model, {"x": x})
        for one, other in zip(before, after, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def test_lengths_that_follow_from_the_inputs_stay() -> None:
    model = make_model(
        [conv("x", "t", name="first"), conv("t", "y", "w2", pads=1)], x=(2, 3, "h", 11), y=(2, 4, "h", 11)
    )
    model.graph.value_info.append(info("t", shape=(2, 4, 13, 11)))
    result = rewrite(model, lowering="matmul", include=["first"])
    (dims,) = [value.type.tensor_type.shape.dim for value in result.model.graph.value_info if value.name == "t"]
    assert [dim.dim_value for dim in dims] == [2, 4, 0, 11]


# --- NaN, Inf and overflow ----------------------------------------------------------------------------------------


def with_value(array: Array, value: float) -> Array:
    changed = array.copy()
    changed.flat[3] = value
    return changed


BAD = conv("c", "y", "w2", pads=1, name="bad")
BIASED = conv("c", "y", "w2", "b1", pads=1, name="bad")
NORMALIZED = [
    conv("c", "n", "w2", pads=1, name="bad"),
    helper.make_node("BatchNormalization", ["n", "s", "s", "s", "v"], ["y"], epsilon=0.0),
]
ONES, VARIANCES = np.ones(4, np.float32), np.array([1, 0, 1, -1], np.float32)
SPOILT: dict[str, tuple[list[NodeProto], dict[str, Array], str, str]] = {
    "NaN in a weight": ([BAD], {"w2": with_value(W2, np.nan)}, "nonfinite", "weight holds NaN"),
    "Inf in a weight": ([BAD], {"w2": with_value(W2, -np.inf)}, "nonfinite", "weight holds Inf"),
    "NaN in a bias": ([BIASED], {"w2": W2, "b1": with_value(B1, np.nan)}, "nonfinite", "bias holds NaN"),
    "sums": ([BAD], {"w2": with_value(W2, 1e38)}, "overflow", "1.0e+38"),
    "subnormal": ([BAD], {"w2": (W2 * np.float32(1e-40))}, "underflow", "loses digits"),
    "variance": (NORMALIZED, {"w2": W2, "s": ONES, "v": VARIANCES}, "nonfinite", "BatchNormalization"),
}


@pytest.mark.parametrize("case", SPOILT)
@pytest.mark.parametrize("choices", [{"select": "all"}, {"lowering": "matmul"}, {"target": "native", "select": "all"}])
def test_constants_that_spread_are_left_alone_and_the_rest_is_replaced(case: str, choices: Any) -> None:
    nodes, constants, code, words = SPOILT[case]
    # Inf times 0 is NaN, and times the noise that a transform makes of 0 it is Inf: so there are no zeros.
    shift = helper.make_node("Add", ["g", "one"], ["c"])
    constants = {"w1": W1, "one": np.array(1, np.float32), **constants}
    model = make_model([conv("x", "g", name="good"), shift, *nodes], constants)
    result = rewrite(model, **choices)
    rows = {row.name: row for row in result.report.rows}
    assert rows["good"].lowering is not None
    assert rows["bad"].code == code
    assert words in rows["bad"].reason
    assert inspect(model, **choices) == result.report


def test_a_plan_does_not_spread_nan_either() -> None:
    nodes = [conv("x", "c", name="good"), conv("c", "y", "w2", pads=1, name="bad")]
    plan = rewrite(make_model(nodes), select="all").plan
    result = rewrite(make_model(nodes, {"w1": W1, "w2": with_value(W2, np.nan)}), plan=plan)
    assert [row.code for row in result.report.rows] == ["", "nonfinite"]


def test_float16_weights_are_held_against_what_transforms_compute_in() -> None:
    large = np.full((4, 3, 5, 5), 3e4, np.float16)  # they sum up to 2.2e6, beyond float16
    model = make_model([conv("x", "y", "w")], {"w": large}, dtype=10)
    (row,) = inspect(model, select="all").rows
    assert row.lowering is not None
