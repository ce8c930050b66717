"""`--target native` on whole models: bodies, functions, weights that other nodes read, old IR versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnx_fft
import onnx_fft.native
from onnx_fft import inspect, rewrite, validate
from onnx_fft.model.scopes import walk_nodes
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.report import describe
from scripts.shared.running import executed_op_types, open_session, run_model, run_reference, run_with_library
from tests.comparing import assert_same, dump, without
from tests.models import BODIES, W1, W2, X, conv, decorated_model, make_model, two_convs
from tests.native.rewritten import assert_close, forced, native_nodes

ORT, ONNX = (tuple(map(int, module.__version__.split(".")[:2])) for module in (onnxruntime, onnx))


# --- where convolutions stand -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_and_functions(kind: str) -> None:
    make, feeds, convs = BODIES[kind]
    model = make()
    rewritten = forced(model)
    assert sum(node.domain == OPERATOR_DOMAIN for node in walk_nodes(rewritten)) == convs
    assert [function.name for function in rewritten.functions][:1] == ["FFTConv"]
    for feed in feeds:
        inputs = {"x": X, **feed}
        assert_same(model, rewritten, inputs, rtol=0)
        assert_close(run_with_library(rewritten, inputs), run_model(model, inputs))
        if kind != "scan" or ONNX > (1, 16):  # 1.16 does not let the body of a Scan see the original's names either
            assert_close(run_reference(rewritten, inputs), run_reference(model, inputs))


def test_the_rest_of_the_file_is_kept() -> None:
    model = decorated_model()
    before = dump(model)
    rewritten = forced(model)
    assert dump(model) == before
    rest = ModelProto()
    rest.CopyFrom(rewritten)
    own = [function for function in rest.functions if function.domain == OPERATOR_DOMAIN]
    assert [function.name for function in own] == ["FFTConv"]
    rest.functions.remove(own[0])
    imports = [entry for entry in rest.opset_import if entry.domain == OPERATOR_DOMAIN]
    assert [entry.version for entry in imports] == [1]
    rest.opset_import.remove(imports[0])
    kept = without(model, [node for node in model.graph.node if node.op_type == "Conv"], set())
    zeros = {tensor.name for tensor in rest.graph.initializer} - {t.name for t in model.graph.initializer}
    assert len(zeros) == 1
    assert without(rest, native_nodes(rest), zeros) == kept
    assert_same(model, rewritten, rtol=0)


def test_weights_and_bias_that_other_nodes_read_or_compute() -> None:
    half = numpy_helper.from_array(W1.astype(np.float16), "half")
    nodes = [
        helper.make_node("Cast", ["half"], ["w"], to=1),
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0, 2, 3], keepdims=0),
        helper.make_node("Concat", ["m", "one"], ["bias"], axis=0),
        conv("x", "y", "w", "bias"),
    ]
    model = make_model(nodes, {"one": np.ones(1, np.float32)})
    model.graph.initializer.append(half)
    rewritten = forced(model)
    (node,) = native_nodes(rewritten)
    assert node.input[1:] == ["w", "bias"]
    assert {tensor.name for tensor in rewritten.graph.initializer} == {"half", "one"}
    assert_same(model, rewritten, rtol=1e-6)
    assert_close(run_with_library(rewritten, {"x": X}), run_model(model, {"x": X}))


def test_two_steps_give_what_one_does() -> None:
    model = two_convs()
    first = rewrite(model, target="native", select="all", include=["first"]).model
    both = rewrite(first, target="native", select="all", include=["second"]).model
    assert [function.name for function in both.functions] == ["FFTConv", "FFTConvRelu"]
    assert [node.op_type for node in both.graph.node] == ["FFTConvRelu", "FFTConv"]
    assert_same(model, both, rtol=0)
    mixed = rewrite(first, lowering="matmul").model
    assert_same(model, mixed)
    assert_close(run_with_library(mixed, {"x": X}), run_model(model, {"x": X}))


def test_the_functions_are_not_listed_as_convolutions() -> None:
    rewritten = forced(two_convs())
    assert OPERATOR_DOMAIN == OPERATOR_DOMAIN
    assert inspect(rewritten).rows == ()


def test_a_function_of_that_name_which_is_not_ours_is_an_error() -> None:
    model = two_convs()
    other = helper.make_node("Abs", ["X"], ["Y"])
    model.functions.append(
        helper.make_function(OPERATOR_DOMAIN, "FFTConv", ["X"], ["Y"], [other], [helper.make_opsetid("", 17)], [])
    )
    with pytest.raises(onnx_fft.OnnxFftError, match=r"got a model with another function onnx_fft::FFTConv"):
        rewrite(model, target="native", select="all")


# --- IR versions --------------------------------------------------------------------------------------------------


def old_model(ir_version: int) -> ModelProto:
    """Two Convs, with weights that are folded at load unless a caller may override what they are made of."""
    nodes = [
        helper.make_node("Add", ["w1", "w1"], ["twice"]),
        conv("x", "c", "twice", name="first"),
        conv("c", "d", "w2", pads=1, name="second"),
        helper.make_node("Add", ["d", "b1"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    constants = {"w1": W1, "w2": W2, "b1": np.ones((4, 1, 1), np.float32)}
    return make_model(nodes, constants, opset=8, ir_version=ir_version)


def test_initializers_of_ir_3_stay_constants() -> None:
    model = old_model(3)
    assert len(model.graph.input) == 4
    for options in ({"include": ["first"]}, {"include": ["second"]}, {}):
        rewritten = forced(model, **options)
        assert rewritten.ir_version == 8
        assert [value.name for value in rewritten.graph.input] == ["x"]
        before, after = open_session(model), open_session(rewritten)
        assert [value.name for value in after.get_inputs()] == [value.name for value in before.get_inputs()]
        assert after.get_overridable_initializers() == before.get_overridable_initializers() == []
        assert executed_op_types(rewritten, {"x": X}) == executed_op_types(model, {"x": X})
        assert_same(model, rewritten, rtol=0)
        assert_close(run_with_library(rewritten, {"x": X}), run_model(model, {"x": X}))
        validation = validate(model, rewritten)
        assert validation.ok, describe(validation)


def test_several_lowerings_on_ir_3() -> None:
    """One target after the other, because a plan has the lowerings of one target only."""
    model = old_model(3)
    steps: list[dict[str, Any]] = [
        {"target": "native", "include": ["first"]},
        {"target": "standard", "include": ["second"]},
    ]
    for order in (steps, steps[::-1]):
        rewritten = model
        for options in order:
            rewritten = rewrite(rewritten, select="all", **options).model
        onnx.checker.check_model(rewritten, full_check=True)
        assert len(native_nodes(rewritten)) == 1
        assert "Conv" not in {node.op_type for node in rewritten.graph.node}
        assert [value.name for value in rewritten.graph.input] == ["x"]
        assert_same(model, rewritten)


NEWER_IR = pytest.param(10, marks=pytest.mark.skipif(ORT < (1, 18), reason="ONNX Runtime 1.17 reads IR 9 at most"))


@pytest.mark.parametrize("ir_version", [4, 7, NEWER_IR])
def test_what_a_caller_may_override_stays_so(ir_version: int) -> None:
    model = old_model(ir_version)
    model.graph.input.append(helper.make_tensor_value_info("b1", 1, (4, 1, 1)))
    rewritten = forced(model)
    assert rewritten.ir_version == max(8, ir_version)
    assert rewritten.graph.input == model.graph.input
    feeds = {"x": X, "b1": np.full((4, 1, 1), 3, np.float32)}
    assert_same(model, rewritten, feeds, rtol=0)
