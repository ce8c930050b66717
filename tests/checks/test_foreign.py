"""Nodes of foreign operators that are named as the standard's, and read or make nothing."""

from __future__ import annotations

import pytest
from onnx import ModelProto, helper

from onnx_fft import inspect
from onnx_fft.checks.lookback import find_before_saturation
from onnx_fft.checks.replaced import find_replaced
from onnx_fft.inputs.feeds import find_selectors, read_inputs
from onnx_fft.model.io import LoadedModel
from onnx_fft.provenance import REPLACES_KEY
from onnx_fft.timing.launch import NodeTime
from onnx_fft.timing.nodes import compare_nodes
from tests.models import conv, make_model

NAMES = (
    "BatchNormalization", "Cast", "Clip", "Constant", "Conv", "Equal", "Floor", "FusedConv", "Identity", "If", "Mul",
    "QuantizeLinear", "Relu", "Shape", "Sigmoid", "Sqrt",
)  # fmt: skip


def make_foreign(op_type: str) -> ModelProto:
    """A Conv, and nodes of an unknown domain: one makes `y` of nothing, one reads the Conv and makes nothing."""
    one = helper.make_tensor("one", 1, [1], [1.0])
    makes = helper.make_node(op_type, [], ["y"], domain="plugin", value=one)
    reads = helper.make_node(op_type, ["c1"], [], domain="plugin", value=one)
    return make_model([conv("x", "c1", name="first"), makes, reads], domains=("plugin",))


@pytest.mark.parametrize("op_type", NAMES)
def test_a_foreign_node_that_reads_or_makes_nothing(op_type: str) -> None:
    model, other = make_foreign(op_type), make_foreign(op_type)
    other.graph.node[0].output[0] = "c2"
    other.graph.node[2].input[0] = "c2"
    assert len(inspect(model, select="all").rows) == 1
    assert find_before_saturation(model, model) == {}
    assert find_selectors(model, read_inputs(model)) == {}
    pair = LoadedModel(model), LoadedModel(other)
    assert "no longer there" in find_replaced(*pair)[0].obstacle
    times = [NodeTime("first", "Conv", 1.0)]
    other.graph.node[0].metadata_props.add(key=REPLACES_KEY, value="first")
    assert len(compare_nodes(*pair, times, times)) == 1
