"""Inputs without a number of axes, alone or in sequences and optionals, with shapes that the caller gives."""

from __future__ import annotations

import onnx
import pytest
from onnx import ModelProto, NodeProto, TypeProto, helper

from onnx_fft import inspect, rewrite, validate
from onnx_fft.errors import UsageError
from onnx_fft.inputs.search import search_model
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.shapes import set_input_shapes
from onnx_fft.runtime.opening import open_original
from tests.models import FLOAT, W1, build_model, conv, info

SHAPE = (2, 3, 13, 11)
TENSOR = helper.make_tensor_type_proto(FLOAT, None)
OPEN = helper.make_tensor_type_proto(FLOAT, ["n", 3, "h", None])
KINDS: dict[str, tuple[TypeProto, list[NodeProto]]] = {
    "tensor": (TENSOR, [helper.make_node("Identity", ["given"], ["x"])]),
    "sequence": (
        helper.make_sequence_type_proto(TENSOR),
        [helper.make_node("ConcatFromSequence", ["given"], ["x"], axis=0)],
    ),
    "open sequence": (
        helper.make_sequence_type_proto(OPEN),
        [helper.make_node("ConcatFromSequence", ["given"], ["x"], axis=0)],
    ),
    "optional": (helper.make_optional_type_proto(TENSOR), [helper.make_node("OptionalGetElement", ["given"], ["x"])]),
}


def make_model(kind: str) -> ModelProto:
    given, nodes = KINDS[kind]
    values = [helper.make_value_info("given", given)]
    return build_model([*nodes, conv("x", "y", name="only")], values, [info("y")], {"w1": W1}, opset=18)


@pytest.mark.parametrize("kind", KINDS)
def test_a_given_shape_is_enough(kind: str) -> None:
    model = make_model(kind)
    assert inspect(model, input_shapes={"given": SHAPE}).rows[0].geometry
    result = rewrite(model, select="all", input_shapes={"given": SHAPE})
    assert len(result.report.replaced) == 1 and result.validation is not None and result.validation.ok
    assert validate(model, result.model).ok, "the rewritten model says which shape"
    feed, *_ = search_model(LoadedModel(model), open_original(LoadedModel(model)), 0, {"given": SHAPE})
    value = feed.arrays["given"]
    assert (value[0] if isinstance(value, list) else value).shape == SHAPE


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_names_and_ranks(kind: str) -> None:
    model = make_model(kind)
    with pytest.raises(UsageError, match=r"got a shape for input 'other'; expected one of 'given'"):
        rewrite(model, input_shapes={"other": SHAPE})
    with pytest.raises(UsageError, match=r"got shape \[0, 3, 13, 11\] for input 'given'; expected positive lengths"):
        rewrite(model, input_shapes={"given": (0, *SHAPE[1:])})
    if kind == "open sequence":
        with pytest.raises(UsageError, match=r"expected positive lengths that agree with \[n, 3, h, \?\]"):
            rewrite(model, input_shapes={"given": (1, 3)})
    else:
        with pytest.raises(UsageError, match=r"'given' without a number of axes; .*input_shapes="):
            rewrite(model, select="all")


def test_a_shape_that_the_other_model_excludes() -> None:
    model = make_model("tensor")
    fixed = rewrite(model, select="all", input_shapes={"given": SHAPE}).model
    with pytest.raises(UsageError, match="got input 'given' as 2x3x13x12; expected 2x3x13x11, as the other model"):
        validate(model, fixed, input_shapes={"given": (2, 3, 13, 12)})


def test_a_map_has_no_shape() -> None:
    model = make_model("tensor")
    model.graph.input[0].type.CopyFrom(helper.make_map_type_proto(onnx.TensorProto.INT64, TENSOR))
    with pytest.raises(UsageError, match=r"got shape .* for input 'given'"):
        set_input_shapes(model, {"given": SHAPE})
