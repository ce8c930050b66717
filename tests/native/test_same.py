"""`FFTConvSame`: the operator for pads that depend on an open length."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, helper

import onnx_fft
from onnx_fft.fourier.axis import Axis
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.conv_models import Array, build_conv_model
from scripts.shared.running import executed_op_types, run_model, run_reference, run_with_library
from tests.comparing import assert_same
from tests.models import B1, W1, X, make_model
from tests.native.rewritten import assert_close, forced, native_nodes
from tests.native_models import Conv, conv_model, open_session
from tests.strategies import make_spec

pytestmark = pytest.mark.usefixtures("native_library")


def same_conv(y: str, mode: str = "SAME_LOWER", name: str = "") -> onnx.NodeProto:
    return helper.make_node("Conv", ["x", "w1", "b1"], [y], name=name, auto_pad=mode, strides=[3, 2])


def open_model(*nodes: onnx.NodeProto) -> ModelProto:
    return make_model(nodes, {"w1": W1, "b1": B1}, x=("n", 3, "h", "w"), y=("n", 4, None, None))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_the_node_has_auto_pad_in_place_of_pads(mode: str) -> None:
    original = open_model(same_conv("y", mode))
    rewritten = forced(original)
    (node,) = native_nodes(rewritten)
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert node.op_type == "FFTConvSame"
    assert attributes.keys() == {"group", "kernel_shape", "strides", "dilations", "auto_pad"}
    assert attributes["auto_pad"] == mode.encode()
    assert_same(original, rewritten, rtol=0)
    assert executed_op_types(rewritten, {"x": X}) == executed_op_types(original, {"x": X})
    assert_close(run_reference(rewritten, {"x": X}), run_reference(original, {"x": X}))
    assert executed_op_types(rewritten, {"x": X}, with_library=True) == {"FFTConvSame": 1}
    assert_close(run_with_library(rewritten, {"x": X}), run_model(original, {"x": X}))


def test_an_activation_stays_a_node() -> None:
    original = open_model(same_conv("c"), helper.make_node("Relu", ["c"], ["y"]))
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConvSame", "Relu"]
    assert [function.name for function in rewritten.functions] == ["FFTConvSame"]
    assert_close(run_with_library(rewritten, {"x": X}), run_model(original, {"x": X}))


def test_beside_a_conv_with_pads() -> None:
    last = helper.make_node("Conv", ["c", "w2"], ["y"], pads=[1] * 4)
    weight = np.random.default_rng(3).standard_normal((4, 4, 3, 3)).astype(np.float32)
    nodes = [same_conv("c"), last]
    original = make_model(nodes, {"w1": W1, "b1": B1, "w2": weight}, x=("n", 3, "h", "w"), y=("n", 4, None, None))
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConvSame", "FFTConv"]
    assert_close(run_with_library(rewritten, {"x": X}), run_model(original, {"x": X}))
    validation = onnx_fft.validate(original, rewritten)
    assert validation.ok
    assert [check.ok for check in validation.convs] == [True, True]


def test_fixed_lengths_keep_pads() -> None:
    rewritten = forced(make_model([same_conv("y")], {"w1": W1, "b1": B1}, y=("n", 4, None, None)))
    assert [node.op_type for node in native_nodes(rewritten)] == ["FFTConv"]


def run_plainly(model: ModelProto, feeds: dict[str, Array]) -> Array:
    """By ONNX Runtime's Conv as the library calls it, without blocked channels."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    y: Array = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)[0]
    return y


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_a_conv_left_to_onnx_runtime_gets_auto_pad(mode: str, rng: np.random.Generator) -> None:
    """Bit by bit what its Conv computes."""
    spec: ConvSpec = make_spec([Axis(2, 2, auto_pad=mode), Axis(2, 2, auto_pad=mode)], (3, 8, 1))
    original = build_conv_model(spec)
    for extents in ((33, 20), (32, 21)):
        feeds = {"x": rng.standard_normal((1, 3, *extents)).astype(np.float32)}
        (y,) = run_with_library(forced(original), feeds)
        np.testing.assert_array_equal(y, run_plainly(original, feeds))


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"auto_pad": "VALID"}, "got 'auto_pad' VALID; expected SAME_UPPER or SAME_LOWER"),
        ({"pads": [1, 1]}, "got no attribute 'auto_pad'"),
    ],
)
def test_other_padding_is_refused(attributes: dict[str, Any], problem: str) -> None:
    model = conv_model(Conv(extents=(9,), kernel=(3,)), Conv(extents=(9,), kernel=(3,)).arrays())
    (node,) = model.graph.node
    assert node.domain == OPERATOR_DOMAIN
    node.op_type = "FFTConvSame"
    del node.attribute[:]
    plain = {"group": 2, "kernel_shape": [3], "strides": [2], "dilations": [1], **attributes}
    node.attribute.extend(helper.make_attribute(name, value) for name, value in plain.items())
    with pytest.raises(Exception, match=f"FFTConvSame 'conv': {problem}"):
        open_session(model)
