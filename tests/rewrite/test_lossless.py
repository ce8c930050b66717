"""What is not replaced is byte for byte there, whatever fields ONNX has; what is said of a replaced node is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

import onnx_fft
from onnx_fft.model.scopes import is_graph, walk_bodies
from onnx_fft.provenance import OPERATOR_DOMAIN, is_own, read_marks
from tests.comparing import dump, own_nodes
from tests.models import B1, FLOAT, W1, Y, conv, decorated_model, function_model, info, make_model, relu

UNKNOWN = b"\xc2\x3e\x06future"
"""Field 1000 of a later version of ONNX, as it is in a file."""

DOUBLE, REAL, TEXT, BYTES = 1, 2, 9, 12
"""Protobuf's numbers of the types of fields."""

KEPT_EMPTY = {("NodeProto", "input")}
"""A made-up node reads nothing."""


class Filler:
    """Sets every field of a message that is not set, all the way down."""

    def __init__(self) -> None:
        self.count = 0
        self.filled: set[str] = set()

    def fill(self, message: Any, around: tuple[str, ...] = ()) -> None:
        kind = message.DESCRIPTOR.name
        is_set = {field.name for field, _ in message.ListFields()}
        for field in message.DESCRIPTOR.fields:
            if field.name in is_set or (kind, field.name) in KEPT_EMPTY or self._is_taken(message, field):
                continue
            value = getattr(message, field.name)
            if field.message_type is None:
                scalar = self._make(field)
                value.append(scalar) if hasattr(value, "append") else setattr(message, field.name, scalar)
            elif field.message_type.name not in around:
                self.fill(value.add() if hasattr(value, "add") else value, (*around, kind))
            self.filled.add(f"{kind}.{field.name}")
        if kind in ("GraphProto", "FunctionProto") and around:
            if kind == "GraphProto":
                message.output[0].name = message.input[0].name  # one that is there
            else:
                message.output[0] = message.input[0]
        message.MergeFromString(UNKNOWN)

    def _is_taken(self, message: Any, field: Any) -> bool:
        """Whether another field is set of which there can be only one."""
        return field.containing_oneof is not None and message.WhichOneof(field.containing_oneof.name) is not None

    def _make(self, field: Any) -> object:
        self.count += 1
        if field.type in (TEXT, BYTES):
            text = f"{field.name} {self.count}"
            return text.encode() if field.type == BYTES else text
        if field.enum_type is not None:
            return field.enum_type.values[0].number
        return 0.5 if field.type in (DOUBLE, REAL) else 1


def make_full_model() -> tuple[ModelProto, set[str]]:
    """A model in which one node is to be replaced, and everything else has every field there is."""
    model = decorated_model()
    filler = Filler()
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Twice"):
            node.domain, node.overload = "", ""
            filler.fill(node)
    for part in (*model.graph.input, *model.graph.output, model.functions[0].node[0], model.functions[0]):
        filler.fill(part)
    model.functions[0].overload = ""
    filler.fill(model.graph.initializer.add(), ("filled",))
    filler.fill(model.graph.sparse_initializer.add(), ("filled",))
    filler.fill(model.graph.value_info.add(), ("filled",))
    filler.fill(model.graph)
    filler.fill(model)
    return model, filler.filled


def list_fields(kind: str) -> set[str]:
    return {f"{kind}.{field.name}" for field in getattr(onnx, kind).DESCRIPTOR.fields}


def strip_replaced(model: ModelProto) -> ModelProto:
    """Without what a rewrite takes out or puts in: the Convs, what stands for them, and what these need.

    Nor with the lengths that the file states of tensors: those that do not follow from the inputs go.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    kept = {tensor.name for tensor in copy.graph.initializer} - {"w1", "w2", "b1"}
    pairs: list[tuple[Any, Callable[[Any], bool]]] = [
        (copy.graph.node, lambda node: node.op_type != "Conv" and not is_own(node)),
        (copy.graph.initializer, lambda tensor: tensor.name in kept and not tensor.name.startswith("onnx_fft")),
        (copy.functions, lambda function: function.domain != OPERATOR_DOMAIN),
        (copy.opset_import, lambda entry: entry.domain != OPERATOR_DOMAIN),
    ]
    for held, is_kept in pairs:
        for place in reversed([place for place, item in enumerate(held) if not is_kept(item)]):
            del held[place]
    for body in walk_bodies(copy):
        for value in (*body.value_info, *((*body.input, *body.output) if is_graph(body) else ())):
            for dim in value.type.tensor_type.shape.dim:
                dim.ClearField("dim_value")
                dim.ClearField("dim_param")
    copy.ir_version = 0
    return copy


@pytest.mark.parametrize("target", ["standard", "native"])
@pytest.mark.parametrize("replaces", [True, False])
def test_every_field_of_what_is_not_replaced_stays(target: str, replaces: bool, tmp_path: Path) -> None:
    """By the descriptors of the installed onnx, so that a field of a later one is not forgotten."""
    model, filled = make_full_model()
    for kind in ("ModelProto", "GraphProto", "FunctionProto", "TensorProto", "NodeProto", "ValueInfoProto"):
        assert list_fields(kind) - filled - {"NodeProto.input"} <= set_by_hand(model, kind), kind
    chosen: dict[str, Any] = {"select": "all"} if replaces else {"exclude": ["."]}
    result = onnx_fft.rewrite(model, target=target, validate=False, **chosen)
    assert len(result.report.replaced) == 2 * replaces
    assert dump(strip_replaced(result.model)) == dump(strip_replaced(model))
    assert replaces or dump(result.model) == dump(model)
    result.save(tmp_path / "o.onnx")
    assert dump(onnx.load(tmp_path / "o.onnx")) == dump(result.model)


def set_by_hand(model: ModelProto, kind: str) -> set[str]:
    """The fields that the model had before it was filled up."""
    found: set[str] = set()
    waiting: list[Any] = [model]
    while waiting:
        message = waiting.pop()
        for field, value in message.ListFields():
            if message.DESCRIPTOR.name == kind:
                found.add(f"{kind}.{field.name}")
            if field.message_type is not None:
                waiting += list(value) if hasattr(value, "add") else [value]
    return found


# --- what is said of the replaced node ----------------------------------------------------------------------------


def make_described_model() -> ModelProto:
    """A Conv with an Add of its bias and a Relu behind it, each with words of its own."""
    nodes = [conv("x", "c", "w1", "b1", name="first"), relu("c", "y")]
    nodes[1].name = "relu"
    model = make_model(nodes, ir_version=10)
    for node in model.graph.node:
        node.doc_string = f"words of {node.name}"
        node.metadata_props.add(key="namespace", value=f"/{node.name}")
        node.metadata_props.add(key=f"only {node.name}", value="here")
        node.metadata_props.add(key="both", value="the same")
    return model


def test_metadata_and_words_of_a_replaced_node_go_to_each_that_stands_for_it() -> None:
    result = onnx_fft.rewrite(make_described_model(), lowering="matmul")
    own = own_nodes(result.model)
    assert len(own) > 1
    for node in own:
        said = read_marks(node)
        assert {key: said[key] for key in ("namespace", "only first", "both")} == {
            "namespace": "/first",
            "only first": "here",
            "both": "the same",
        }
        assert said["onnx_fft.replaces"] == "first"
        assert node.doc_string == "words of first"
        assert max(Counter(entry.key for entry in node.metadata_props).values()) == 1
    onnx.checker.check_model(result.model, full_check=True)
    (left,) = [node for node in result.model.graph.node if node.op_type == "Relu"]
    assert left == make_described_model().graph.node[1]


def test_what_is_said_of_a_fused_node_is_kept_beside_it() -> None:
    result = onnx_fft.rewrite(make_described_model(), target="native", select="all")
    (node,) = own_nodes(result.model)
    assert (
        read_marks(node).items()
        >= {
            "namespace": "/first",
            "Relu.namespace": "/relu",
            "only first": "here",
            "only relu": "here",
            "both": "the same",
        }.items()
    )
    assert node.doc_string == "words of first\nwords of relu"


def test_a_node_rewritten_before_is_marked_anew() -> None:
    model = make_described_model()
    model.graph.node[0].metadata_props.add(key="onnx_fft.replaces", value="of an earlier time")
    result = onnx_fft.rewrite(model, lowering="matmul")
    for node in own_nodes(result.model):
        assert [entry.value for entry in node.metadata_props if entry.key == "onnx_fft.replaces"] == ["first"]


def test_a_pipeline_stage_is_kept_and_a_sharding_is_not() -> None:
    model = make_described_model()
    node = model.graph.node[0]
    if not hasattr(node, "device_configurations"):
        pytest.skip("this onnx has no device configurations")
    stated = node.device_configurations.add(configuration_id="two", pipeline_stage=1)
    stated.sharding_spec.add(tensor_name="w1")
    for node in own_nodes(onnx_fft.rewrite(model, lowering="matmul", validate=False).model):
        (kept,) = node.device_configurations
        assert (kept.configuration_id, kept.pipeline_stage, len(kept.sharding_spec)) == ("two", 1, 0)


# --- training -----------------------------------------------------------------------------------------------------


def make_training_model(*, bind: bool = True) -> ModelProto:
    """A model whose weight and bias training starts from constants, and steps on from."""
    model = make_model([conv("x", "y", "w1", "b1", name="first")])
    training = model.training_info.add()
    for graph, name in ((training.initialization, "start"), (training.algorithm, "step")):
        weight = helper.make_node("Identity", ["w1"], ["w_new"])
        graph.CopyFrom(helper.make_graph([weight], name, [], [info("w_new", FLOAT, W1.shape)]))
    if bind:
        training.initialization_binding.add(key="b1", value="w_new")
        training.update_binding.add(key="w1", value="w_new")
    return model


@pytest.mark.parametrize("target", ["standard", "native"])
@pytest.mark.parametrize("bind", [True, False])
def test_what_training_binds_or_reads_stays(target: str, bind: bool) -> None:
    model = make_training_model(bind=bind)
    result = onnx_fft.rewrite(model, target=target, select="all")
    assert len(result.report.replaced) == 1
    stored = {tensor.name: tensor for tensor in result.model.graph.initializer}
    for tensor in model.graph.initializer:
        if bind or tensor.name == "w1":
            assert stored[tensor.name] == tensor
    assert result.model.training_info == model.training_info


def test_without_training_they_go() -> None:
    model = make_training_model()
    model.ClearField("training_info")
    result = onnx_fft.rewrite(model, select="all")
    assert not {tensor.name for tensor in result.model.graph.initializer} & {"w1", "b1"}


def test_external_data_of_training_is_saved_too(tmp_path: Path) -> None:
    model = make_training_model()
    start = model.training_info[0].initialization
    start.initializer.append(TensorProto(name="s", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL))
    start.initializer[0].external_data.add(key="location", value="start.bin")
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "in" / "start.bin").write_bytes(B1.tobytes())
    onnx_fft.rewrite(tmp_path / "in" / "m.onnx", select="all").save(tmp_path / "out" / "o.onnx")
    assert (tmp_path / "out" / "start.bin").read_bytes() == B1.tobytes()


def test_functions_keep_what_they_have() -> None:
    """Their overload, the attributes they have defaults for, and the notes on their tensors."""
    model = function_model()
    function = model.functions[0]
    function.overload = model.graph.node[0].overload = "second"
    function.attribute_proto.add(name="alpha", type=onnx.AttributeProto.FLOAT, f=0.5)
    function.value_info.append(info("a", FLOAT, Y))
    function.metadata_props.add(key="made by", value="hand")
    model.ir_version = 10
    result = onnx_fft.rewrite(model, target="native", select="all", validate=False)
    assert len(result.report.replaced) == 1
    (after,) = [held for held in result.model.functions if held.domain != OPERATOR_DOMAIN]
    for held in (function, after):
        del held.node[:]
    function.opset_import.append(onnx.helper.make_opsetid(OPERATOR_DOMAIN, 1))
    assert after == function
