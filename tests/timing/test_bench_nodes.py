"""Where the time went: replaced Convs found in profiles under whatever name ONNX Runtime ran them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_fft.bench import bench
from onnx_fft.model.io import load_model
from onnx_fft.rewrite import rewrite
from onnx_fft.timing.launch import ModelTiming, NodeTime
from onnx_fft.timing.nodes import NodeChange, compare_nodes
from tests.timing.fakes import fake_benchmark


def make_chain(names: tuple[str, ...] = ("sin", "conv", "relu", "last")) -> ModelProto:
    """Sin, a Conv with a weight from a Constant node, Relu, Conv."""
    weight = numpy_helper.from_array(np.ones((2, 2, 3, 3), np.float32))
    nodes = [
        helper.make_node("Sin", ["x"], ["s"], names[0]),
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Conv", ["s", "w"], ["c"], names[1], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], names[2]),
        helper.make_node("Conv", ["r", "w"], ["y"], names[3], pads=[1, 1, 1, 1]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 8, 8]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def ran(*names: str, op_type: str = "Conv") -> list[NodeTime]:
    """One second for each."""
    return [NodeTime(name, op_type, 1.0) for name in names]


def timing(nodes: tuple[NodeTime, ...]) -> ModelTiming:
    return ModelTiming((1.0,), 0.0, 0, (), nodes)


def replace_conv(model: ModelProto, name: str) -> tuple[ModelProto, list[str]]:
    """The model with one Conv replaced, and the names of the nodes in its place."""
    result = rewrite(model, lowering="matmul", select="all", include=[f"^{name}$"])
    return result.model, [node.name for node in result.model.graph.node if node.name.startswith("onnx_fft/")]


@pytest.mark.parametrize("name", ["conv", "c_nchwc", "r_nchwc"])
def test_a_conv_is_found_under_every_name_it_runs_by(name: str) -> None:
    model = make_chain()
    rewritten, fragment = replace_conv(model, "conv")
    assert len(fragment) > 2
    before = ran(name, "y_nchwc", "ReorderInput", "ReorderOutput_token_3", op_type="Conv")
    after = [*ran(*fragment), *ran("onnx_fft/conv/made_by_a_fusion", "y_nchwc"), *ran("relu", op_type="Relu")]
    conv, *rest = compare_nodes(load_model(model), load_model(rewritten), before, after)
    assert conv == NodeChange("conv", "Conv", "matmul", 1.0, len(fragment) + 1.0, len(fragment) + 1)
    assert {n.name: (n.original_s, n.rewritten_s) for n in rest}["y"] == (1.0, 1.0)
    assert {n.name: (n.original_s, n.rewritten_s) for n in rest}["relu"] == (None, 1.0)


def test_layout_changes_are_one_row_and_containers_none() -> None:
    source = load_model(make_chain())
    before = [*ran("ReorderInput", "ReorderInput_token_2", op_type="ReorderInput"), *ran("if", op_type="If")]
    (row,) = compare_nodes(source, source, before, ran("ReorderOutput", op_type="ReorderOutput"))
    assert (row.name, row.original_s, row.rewritten_s) == ("layout changes", 2.0, 1.0)


def test_nameless_nodes_keep_their_row_though_indices_shift() -> None:
    model = make_chain(("", "", "", ""))
    rewritten, fragment = replace_conv(model, "Conv#2")
    last = [node for node in rewritten.graph.node if node.op_type != "Constant"].index(rewritten.graph.node[-1])
    assert last > 3
    rows = compare_nodes(
        load_model(model), load_model(rewritten), ran("Conv_1", "Conv_3"), ran(*fragment, f"Conv_{last}")
    )
    assert [(row.name, row.original_s, row.nodes) for row in rows] == [("Conv#2", 1.0, len(fragment)), ("y", 1.0, 1)]


def test_a_conv_nobody_recognizes_has_no_time() -> None:
    model = make_chain()
    rewritten, fragment = replace_conv(model, "conv")
    conv, other = compare_nodes(load_model(model), load_model(rewritten), ran("mystery"), ran(*fragment))
    assert (conv.original_s, conv.rewritten_s) == (None, float(len(fragment)))
    assert (other.name, other.original_s, other.rewritten_s) == ("mystery", 1.0, None)


def test_operators_are_ranked_by_the_larger_time_and_the_rest_is_summed_up() -> None:
    before = (NodeTime("a", "Conv", 3.0), NodeTime("b", "Relu", 1.0), NodeTime("c", "Add", 0.5))
    after = (NodeTime("d", "MatMul", 4.0), NodeTime("b", "Relu", 1.5), NodeTime("e", "Conv", 0.25))
    result = replace(fake_benchmark((1.0,), (1.0,)), original=timing(before), rewritten=timing(after))
    assert result.rank_op_types(2) == [("MatMul", None, 4.0), ("Conv", 3.0, 0.25), ("2 more", 1.5, 1.5)]
    assert result.rank_op_types(9)[2:] == [("Relu", 1.0, 1.5), ("Add", 0.5, None)]


def test_no_profile_no_rows() -> None:
    source = load_model(make_chain())
    assert compare_nodes(source, source, [], ran("conv")) == ()


def test_real_profiles_know_the_fragment() -> None:
    """The names ONNX Runtime really gives: the Conv, in the blocked layout or not, and its replacement are one row."""
    model = make_chain()
    rewritten, fragment = replace_conv(model, "conv")
    result = bench(model, rewritten, threads=1, budget_s=0.0, memory=False)
    conv = result.nodes[0]
    assert (conv.name, conv.lowering) == ("conv", "matmul")
    assert conv.original_s is not None and conv.rewritten_s is not None
    assert 1 < conv.nodes <= len(fragment)
    assert result.original.peak_bytes is None
