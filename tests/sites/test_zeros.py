"""What turns on exact zeros behind a convolution, and what is done about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft import describe, inspect, rewrite
from onnx_fft.model.io import LoadedModel
from onnx_fft.sites.find import find_sites
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model, run_with_library

SHAPE = (1, 1, 96, 96)
CONSTANTS: dict[str, Array] = {
    "w": np.full((1, 1, 33, 33), 1 / 33**2, np.float32),
    "tiny": np.array(1e-6, np.float32),
    "milli": np.array(1e-3, np.float32),
    "huge": np.array(65025, np.float32),
    "steep": np.array(1e9, np.float32),
    "zero": np.array(0, np.float32),
    "k": np.array([3]),
    "scale": np.ones(96, np.float32),
    "other_bias": np.full(1, 0.1, np.float32),
    "biases": np.array([0.3, -0.2, 0.1], np.float32),
    "equal_biases": np.array([0.3, -0.2, 0.3], np.float32),
    "w3": np.full((3, 1, 33, 33), 1 / 33**2, np.float32),
    "one": np.array(1, np.float32),
    "two": np.array(2, np.float32),
    "half": np.array(0.5, np.float32),
    "bias": np.ones(1, np.float32),
    "no_bias": np.zeros(1, np.float32),
}


def make_model(*behind: NodeProto, bias: str = "", elem_type: int = TensorProto.FLOAT) -> ModelProto:
    """`x -> blur -> behind`: these nodes read `c` and the constants, and the last makes `y`."""
    conv = helper.make_node("Conv", ["x", "w", *([bias] if bias else [])], ["c"], "blur", pads=[16] * 4)
    used = {name for node in (conv, *behind) for name in node.input}
    tensors = [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in used]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
    graph = helper.make_graph([conv, *behind], "g", [x], [helper.make_tensor_value_info("y", elem_type, None)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(op_type: str, *inputs: str, y: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, inputs, [y], **attributes)


def find_reader(model: ModelProto) -> str:
    (site,) = find_sites(LoadedModel(model))
    return site.zero_reader.partition(" ")[0]


TURNS: dict[str, Sequence[NodeProto]] = {
    "Sqrt": [node("Sqrt", "c")],
    "Log": [node("Relu", "c", y="r"), node("Log", "r")],
    "Div": [node("Abs", "c", y="a"), node("Max", "a", "tiny", y="m"), node("Div", "one", "m")],
    "Pow": [node("Pow", "c", "half")],
    "Greater": [node("Flatten", "c", y="r"), node("Greater", "r", "tiny")],
    "Sign": [node("MaxPool", "c", y="p", kernel_shape=[2, 2]), node("Sign", "p")],
    "Floor": [node("Mul", "c", "two", y="m"), node("Floor", "m")],
    "Where": [node("Cast", "c", y="b", to=TensorProto.BOOL), node("Where", "b", "one", "two")],
    "ArgMax": [node("Concat", "c", "c", y="cc", axis=1), node("ArgMax", "cc", axis=1)],
    "NonZero": [node("NonZero", "c")],
    "Equal": [node("Sigmoid", "c", y="s"), node("Equal", "s", "half")],
    "Log of squares": [node("Mul", "c", "c", y="s"), node("Log", "s")],
    "Sqrt of a sum with nothing": [node("Add", "c", "tiny", y="a"), node("Sqrt", "a")],
    "Log of a sum with little": [node("Add", "c", "milli", y="a"), node("Log", "a")],
    "Div by a sum with little": [node("Add", "c", "milli", y="a"), node("Div", "one", "a")],
    "Log behind a large factor": [node("Mul", "c", "huge", y="m"), node("Add", "m", "one", y="a"), node("Log", "a")],
}

RESTORES: dict[str, Sequence[NodeProto]] = {
    "Acosh": [node("Add", "c", "one", y="a"), node("Acosh", "a")],
    "Acos": [node("Sub", "one", "c", y="a"), node("Acos", "a")],
    "Atanh": [node("Cos", "c", y="a"), node("Atanh", "a")],
    "Sqrt of Exp": [node("Exp", "c", y="e"), node("Sub", "e", "one", y="a"), node("Sqrt", "a")],
    "Sqrt of Sigmoid": [node("Sigmoid", "c", y="e"), node("Sub", "e", "half", y="a"), node("Sqrt", "a")],
    "Sqrt of Log": [node("Add", "c", "one", y="e"), node("Log", "e", y="l"), node("Sqrt", "l")],
    "Sqrt of twice 1": [node("Add", "c", "one", y="e"), node("Sub", "one", "e", y="a"), node("Sqrt", "a")],
    "Greater": [node("Add", "c", "one", y="a"), node("Greater", "a", "one")],
    "Greater of a Log": [node("Exp", "c", y="e"), node("Log", "e", y="l"), node("Greater", "l", "zero")],
    "Round": [node("Add", "c", "half", y="a"), node("Round", "a")],
    "Ceil": [node("Add", "c", "one", y="a"), node("Ceil", "a")],
}
"""A constant moves zeros to where the operator turns."""

DECIDES: dict[str, Sequence[NodeProto]] = {
    "ArgMax": [node("ArgMax", "c", axis=2)],
    "TopK": [node("Flatten", "c", y="r"), helper.make_node("TopK", ["r", "k"], ["v", "y"], axis=1)],
    "Equal": [node("MaxPool", "c", y="p", kernel_shape=[3, 3], pads=[1] * 4), node("Equal", "c", "p")],
    "MaxPool": [helper.make_node("MaxPool", ["c"], ["p", "y"], kernel_shape=[2, 2])],
    "MeanVarianceNormalization": [node("MeanVarianceNormalization", "c", axes=[3])],
    "LayerNormalization": [node("LayerNormalization", "c", "scale", epsilon=1e-12)],
    "DynamicQuantizeLinear": [helper.make_node("DynamicQuantizeLinear", ["c"], ["y", "s", "z"])],
    "Clip": [node("Mul", "c", "steep", y="m"), node("Clip", "m", "zero", "one")],
    "Sigmoid": [node("Mul", "c", "steep", y="m"), node("Sigmoid", "m")],
}
"""They turn on equal values, whatever these are."""

PASSES: dict[str, Sequence[NodeProto]] = {
    "nothing": [node("Relu", "c")],
    "a constant of weight": [node("Add", "c", "one", y="a"), node("Sqrt", "a")],
    "the root of squares": [node("Mul", "c", "c", y="s"), node("Sqrt", "s")],
    "a variance": [
        node("Pow", "c", "two", y="s"),
        node("ReduceMean", "s", y="m", axes=[2, 3]),
        node("Add", "m", "tiny", y="v"),
        node("Sqrt", "v", y="d"),
        node("Div", "c", "d"),
    ],
    "the dividend": [node("Div", "c", "two")],
    "a whole power": [node("Pow", "c", "two")],
    "a value that is not compared": [node("Sigmoid", "c")],
}


@pytest.mark.parametrize("kind", TURNS)
def test_what_turns_on_zeros_is_found(kind: str) -> None:
    expected = "Cast" if kind == "Where" else kind.split()[0]
    assert find_reader(make_model(*TURNS[kind])) == expected
    assert find_reader(make_model(*TURNS[kind], bias="no_bias")) == expected


@pytest.mark.parametrize("kind", PASSES)
def test_what_does_not_is_not(kind: str) -> None:
    assert not find_reader(make_model(*PASSES[kind]))


@pytest.mark.parametrize("kind", sorted(TURNS.keys() - {"Floor", "ArgMax", "Log behind a large factor"}))
def test_a_bias_of_the_conv_keeps_zeros_from_an_edge(kind: str) -> None:
    assert not find_reader(make_model(*TURNS[kind], bias="bias"))


@pytest.mark.parametrize("kind", RESTORES)
def test_a_constant_may_bring_the_edge_back(kind: str) -> None:
    assert find_reader(make_model(*RESTORES[kind])) == kind.split()[0]


@pytest.mark.parametrize("bias", ["", "other_bias", "bias"])
@pytest.mark.parametrize("kind", DECIDES)
def test_one_bias_for_all_keeps_nothing_apart(kind: str, bias: str) -> None:
    if kind not in ("Clip", "Sigmoid") or not bias:
        assert find_reader(make_model(*DECIDES[kind], bias=bias)) == kind


def test_channels_of_other_biases_are_no_tie() -> None:
    """Along the channels, that is, and if the largest bias is that of one channel only."""
    for bias, axis, is_tie in (("biases", 1, False), ("biases", 2, True), ("equal_biases", 1, True)):
        model = make_model(node("ArgMax", "c", axis=axis), bias=bias)
        model.graph.node[0].input[1] = "w3"
        model.graph.initializer.append(numpy_helper.from_array(CONSTANTS["w3"], "w3"))
        assert bool(find_reader(model)) == is_tie, (bias, axis)


def test_a_normalization_behind_biases_is_none() -> None:
    """Of ConvNeXt: over channels, with a variance to which 1e-6 is added."""
    mean = [node("ReduceMean", "c", y="m", axes=[1]), node("Sub", "c", "m", y="d")]
    variance = [
        node("Pow", "d", "two", y="q"),
        node("ReduceMean", "q", y="v", axes=[1]),
        node("Add", "v", "tiny", y="e"),
    ]
    model = make_model(*mean, *variance, node("Sqrt", "e", y="s"), node("Div", "d", "s"), bias="biases")
    model.graph.node[0].input[1] = "w3"
    model.graph.initializer.append(numpy_helper.from_array(CONSTANTS["w3"], "w3"))
    assert not find_reader(model)


def test_the_state_of_a_loop_comes_back() -> None:
    """The Conv of one iteration makes what a Sqrt reads in the next."""
    flag, index = TensorProto.BOOL, TensorProto.INT64
    inside = [node("Sqrt", "a", y="s"), node("Conv", "s", "w", y="c", pads=[16] * 4), node("Identity", "go", y="on")]
    values = [("i", index), ("go", flag), ("a", TensorProto.FLOAT), ("on", flag), ("c", TensorProto.FLOAT)]
    infos = [helper.make_tensor_value_info(name, kind, None) for name, kind in values]
    body = helper.make_graph(inside, "b", infos[:3], infos[3:])
    model = make_model(helper.make_node("Loop", ["k", "", "x"], ["y"], body=body))
    del model.graph.node[0]
    model.graph.initializer.extend(numpy_helper.from_array(CONSTANTS[name], name) for name in ("k", "w"))
    assert find_reader(model) == "Sqrt"


def test_bodies_and_functions_are_followed() -> None:
    """Into a branch that captures the output, out of one that holds the Conv, and through a function."""

    def graph(nodes: Sequence[NodeProto], result: str) -> onnx.GraphProto:
        return helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)])

    choose = node("Constant", y="yes", value=numpy_helper.from_array(np.array(True)))
    captured = graph([node("Sqrt", "c", y="s")], "s")
    other = graph([node("Identity", "c", y="i")], "i")
    inside = node("If", "yes", then_branch=captured, else_branch=other)
    assert find_reader(make_model(choose, inside)) == "Sqrt"
    passed = node("If", "yes", y="f", then_branch=other, else_branch=other)
    assert find_reader(make_model(choose, passed, node("Log", "f"))) == "Log"
    model = make_model(helper.make_node("Root", ["c"], ["y"], domain="local"))
    root = helper.make_function(
        "local", "Root", ["a"], ["b"], [helper.make_node("Sqrt", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    model.functions.append(root)
    model.opset_import.append(helper.make_opsetid("local", 1))
    assert find_reader(model) == "Sqrt"
    model.functions.append(root)  # another one of the same name, which nothing calls
    model.functions[-1].overload = "plain"
    model.functions[-1].node[0].op_type = "Relu"
    assert find_reader(model) == "Sqrt"


@pytest.mark.parametrize("target", ["standard", "native"])
@pytest.mark.parametrize("kind", ["Sqrt", "Log"])
def test_a_black_border_stays_what_it_was(kind: str, target: str, native_library: object) -> None:
    """A bright square on black: a transform would put NaN around it."""
    model = make_model(*TURNS[kind])
    x = np.zeros(SHAPE, np.float32)
    x[..., 40:56, 40:56] = 255
    rewritten = rewrite(model, target=target)
    (row,) = rewritten.report.rows
    assert row.lowering is None and row.code == "zeros" and kind in row.reason
    assert "select='all'" in describe(rewritten.report)
    run = run_with_library if target == "native" else run_model
    np.testing.assert_array_equal(run(rewritten.model, {"x": x})[0], run_model(model, {"x": x})[0])
    assert rewrite(model, target=target, select="measure", budget_s=0, use_cache=False).report.replaced == ()


@pytest.mark.parametrize("target", ["standard", "native"])
def test_float64_is_replaced_all_the_same(target: str) -> None:
    """ONNX Runtime does not run it at all as it is."""
    model = make_model(node("ArgMax", "c", axis=3), elem_type=TensorProto.INT64)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(CONSTANTS["w"].astype(np.float64), "w"))
    (row,) = inspect(model, target=target).rows
    assert row.lowering is not None
    assert "ArgMax" in row.warning and "+-1e-16" in row.warning


def test_who_insists_is_warned() -> None:
    model = make_model(*TURNS["Sqrt"])
    report = inspect(model, select="all")
    (row,) = report.rows
    assert row.lowering is not None and "Sqrt" in row.warning
    assert "1 warning, see why" in describe(report) and "warning: Sqrt" in describe(report)
    planned = rewrite(model, select="all", validate=False).plan
    assert inspect(model, plan=planned).rows[0].warning == row.warning
    assert not inspect(make_model(*PASSES["nothing"]), select="all").rows[0].warning


def test_noise_does_not_grow_from_layer_to_layer() -> None:
    """Scales of a few, one behind the other, make no step of a Sigmoid nor outweigh what a variance is added to."""
    scales = [node("Mul", f"c{i}" if i else "c", "two", y=f"c{i + 1}") for i in range(40)]
    variance = [node("Mul", "c40", "c40", y="q"), node("Add", "q", "tiny", y="e"), node("Sqrt", "e", y="s")]
    assert not find_reader(make_model(*scales, *variance, node("Div", "c40", "s")))
