"""`--target native`: which activations and constants become part of the operator, and which stay nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

import onnx_fft
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.report import describe
from scripts.shared.running import executed_op_types, run_model, run_reference, run_with_library
from tests.comparing import assert_same, dump
from tests.models import B1, W1, X, Y, conv, make_model
from tests.native.rewritten import assert_close, forced

ACTIVATIONS: dict[str, tuple[dict[str, Any], int]] = {
    "Relu": ({}, 17),
    "LeakyRelu": ({"alpha": 0.25}, 17),
    "HardSigmoid": ({"alpha": 0.25, "beta": 0.375}, 17),
    "Clip": ({"min": -0.5, "max": 0.75}, 10),
    "HardSwish": ({}, 17),
    "Sigmoid": ({}, 17),
    "Tanh": ({}, 17),
}
Z = np.random.default_rng(5).standard_normal(Y).astype(np.float32)
by_activation = pytest.mark.parametrize("op_type", ACTIVATIONS)


def activated_model(op_type: str, dtype: str = "float32", opset: int = 17, **attributes: Any) -> ModelProto:
    """`x -> Conv -> activation -> y`, parameters as attributes: those of a Clip up to opset 10."""
    node = helper.make_node(op_type, ["c"], ["y"], name="act", **attributes)
    constants = {"w1": W1.astype(dtype), "b1": B1.astype(dtype)}
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return make_model([conv("x", "c", "w1", "b1"), node], constants, opset=opset, dtype=elem_type)


def clip_model(*bounds: float | None, dtype: str = "float32", opset: int = 17) -> ModelProto:
    """`x -> Conv -> Clip -> y` with bounds as initializers, None for a missing one."""
    names = ["" if bound is None else f"bound{number}" for number, bound in enumerate(bounds)]
    node = helper.make_node("Clip", ["c", *names], ["y"], name="act")
    constants = {"w1": W1.astype(dtype), "b1": B1.astype(dtype)}
    constants |= {name: np.array(bound, dtype) for name, bound in zip(names, bounds, strict=True) if bound is not None}
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return make_model([conv("x", "c", "w1", "b1"), node], constants, opset=opset, dtype=elem_type)


@by_activation
def test_an_activation_is_fused(op_type: str) -> None:
    original = activated_model(op_type, opset=ACTIVATIONS[op_type][1], **ACTIVATIONS[op_type][0])
    rewritten = forced(original)
    (node,) = rewritten.graph.node
    assert (node.domain, node.op_type) == (OPERATOR_DOMAIN, f"FFTConv{op_type}")
    given = {attribute.name: attribute.f for attribute in node.attribute}
    parameters = list(ACTIVATIONS[op_type][0].values())
    assert [given[name] for name in ("alpha", "beta")[: len(parameters)]] == parameters
    assert_same(original, rewritten, rtol=0)
    assert executed_op_types(rewritten, {"x": X}) == executed_op_types(original, {"x": X})
    assert_close(run_reference(rewritten, {"x": X}), run_model(original, {"x": X}))
    assert_close(run_with_library(rewritten, {"x": X}), run_model(original, {"x": X}))


@by_activation
def test_default_parameters_are_onnxs(op_type: str) -> None:
    opset, names = ACTIVATIONS[op_type][1], list(ACTIVATIONS[op_type][0])
    original = activated_model(op_type, opset=opset)
    rewritten = forced(original)
    (node,) = rewritten.graph.node
    assert node.op_type == f"FFTConv{op_type}"
    given = {attribute.name: attribute.f for attribute in node.attribute}
    standard = onnx.defs.get_schema(op_type, opset).attributes
    assert [given[name] for name in ("alpha", "beta")[: len(names)]] == [standard[n].default_value.f for n in names]
    assert_same(original, rewritten, rtol=0)
    assert_close(run_with_library(rewritten, {"x": X}), run_model(original, {"x": X}))


@pytest.mark.parametrize("bounds", [(-0.5, 0.75), (None, 0.5), (0.25,), (), (0.75, -0.5)], ids=str)
@pytest.mark.parametrize(("dtype", "opset"), [("float32", 11), ("float32", 13), ("float16", 13), ("float16", 17)])
def test_the_bounds_of_clip_may_be_constant_inputs(bounds: tuple[float | None, ...], dtype: str, opset: int) -> None:
    original = clip_model(*bounds, dtype=dtype, opset=opset)
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConvClip"]
    assert not {t.name for t in rewritten.graph.initializer} - {"w1", "b1"}
    feeds = {"x": X.astype(dtype)}
    assert_close(run_model(rewritten, feeds), run_model(original, feeds))
    assert_close(run_with_library(rewritten, feeds), run_model(original, feeds))


def test_bounds_that_float32_does_not_hold_stay() -> None:
    rewritten = forced(clip_model(-0.1, 0.1, dtype="float64"))
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConv", "Clip"]


def test_bounds_computed_at_run_time_stay() -> None:
    nodes = [conv("x", "c"), helper.make_node("Clip", ["c", "low"], ["y"])]
    low = helper.make_tensor_value_info("low", 1, [])
    original = make_model(nodes, inputs=[low])
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConv", "Clip"]
    assert_same(original, rewritten, {"x": X, "low": np.array(-0.25, np.float32)}, rtol=0)


def test_a_second_reader_or_an_output_keeps_the_activation() -> None:
    relu = helper.make_node("Relu", ["c"], ["r"])
    twice = [conv("x", "c"), relu, helper.make_node("Add", ["c", "r"], ["y"])]
    seen = make_model([conv("x", "c"), helper.make_node("Relu", ["c"], ["y"])])
    seen.graph.output.append(helper.make_tensor_value_info("c", 1, (2, 4, 13, 11)))
    for original in (make_model(twice), seen):
        rewritten = forced(original)
        assert [node.op_type for node in rewritten.graph.node][:2] == ["FFTConv", "Relu"]
        assert_same(original, rewritten, rtol=0)


def test_other_parameters_of_the_same_activation_stay_a_node() -> None:
    nodes = [
        conv("x", "c", "w1", name="first"),
        helper.make_node("LeakyRelu", ["c"], ["l"], alpha=0.25),
        conv("l", "d", "w2", pads=1, name="second"),
        helper.make_node("LeakyRelu", ["d"], ["m"], alpha=0.5),
        conv("m", "e", "w2", pads=1, name="third"),
        helper.make_node("LeakyRelu", ["e"], ["y"], alpha=0.25),
    ]
    original = make_model(nodes)
    rewritten = forced(original)
    types = [node.op_type for node in rewritten.graph.node]
    assert types == ["FFTConvLeakyRelu", "FFTConv", "LeakyRelu", "FFTConvLeakyRelu"]
    assert sorted(function.name for function in rewritten.functions) == ["FFTConv", "FFTConvLeakyRelu"]
    assert_same(original, rewritten, rtol=1e-6)
    assert_close(run_reference(rewritten, {"x": X}), run_model(original, {"x": X}))
    assert_close(run_with_library(rewritten, {"x": X}), run_model(original, {"x": X}))
    assert dump(forced(rewritten)) == dump(rewritten)


@pytest.mark.parametrize("bias", [(), ("b1",)], ids=["", "bias"])
def test_batch_normalization_and_activation_are_folded(bias: tuple[str, ...]) -> None:
    rng = np.random.default_rng(8)
    norm = {name: rng.standard_normal(4).astype(np.float32) for name in ("scale", "shift", "mean")}
    constants = {"w1": W1, "b1": B1, **norm, "variance": rng.uniform(0.5, 2, 4).astype(np.float32)}
    nodes = [
        conv("x", "c", "w1", *bias),
        helper.make_node("BatchNormalization", ["c", *norm, "variance"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    original = make_model(nodes, constants if bias else {k: v for k, v in constants.items() if k != "b1"})
    rewritten = forced(original)
    (node,) = rewritten.graph.node
    assert node.op_type == "FFTConvRelu"
    assert all(node.input)
    assert {tensor.name for tensor in rewritten.graph.initializer} == set(node.input[1:])
    assert_same(original, rewritten, rtol=1e-6)
    assert_close(run_reference(rewritten, {"x": X}), run_model(original, {"x": X}))
    assert_close(run_with_library(rewritten, {"x": X}), run_model(original, {"x": X}))
    validation = onnx_fft.validate(original, rewritten)
    assert validation.ok, describe(validation)
    assert [check.ok for check in validation.convs] == [True]


@pytest.mark.parametrize("adds", [False, True], ids=["", "sum"])
@pytest.mark.parametrize("op_type", [*(name for name in ACTIVATIONS if name != "HardSwish"), ""])
def test_fused_conv_becomes_the_same_operator(op_type: str, adds: bool) -> None:
    params = list(ACTIVATIONS[op_type][0].values()) if op_type else []
    fused: dict[str, Any] = {"activation": op_type} if op_type else {}
    fused |= {"activation_params": params} if params else {}
    operands = ["x", "w1", "b1", *(["z"] if adds else [])]
    node = helper.make_node("FusedConv", operands, ["y"], domain="com.microsoft", pads=[2] * 4, **fused)
    original = make_model([node], inputs=[helper.make_tensor_value_info("z", 1, Y)] if adds else [])
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == [f"FFTConv{'Add' if adds else ''}{op_type}"]
    feeds = {"x": X, "z": Z} if adds else {"x": X}
    attributes, opset = ACTIVATIONS[op_type] if op_type else ({}, 17)
    parts = [conv("x", "c", "w1", "b1"), helper.make_node("Add", ["c", "z"], ["s"])][: 1 + adds]
    parts.append(helper.make_node(op_type or "Identity", [parts[-1].output[0]], ["y"], **attributes))
    # ONNX Runtime 1.17 does not run its own FusedConv with a sum of so few channels.
    expected = run_model(make_model(parts, opset=opset, inputs=original.graph.input[1:]), feeds)
    assert_close(run_model(rewritten, feeds), expected)
    assert_close(run_with_library(rewritten, feeds), expected)
