"""What the standard demands of a node of its operators: inputs, outputs and attributes that must be there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from onnx import AttributeProto, ModelProto, NodeProto, defs

from onnx_fft.model.scopes import DEFAULT_DOMAINS, find_scopes, function_key, label_node


@dataclass(frozen=True, slots=True)
class _Demands:
    """The least numbers of inputs and outputs, the type of each attribute, and which attributes must be there."""

    inputs: int
    outputs: int
    types: dict[str, int]
    required: tuple[str, ...]


def find_lack(model: ModelProto) -> str:
    """A sentence about the first node that lacks what its operator cannot be without, "" if there is none.

    Operators that onnx does not know are not looked at, nor is any in an opset that is newer than onnx.
    """
    for scope in find_scopes(model, None):
        for position, node in enumerate(scope.body.node):
            if node.domain in DEFAULT_DOMAINS and function_key(node) not in scope.functions:
                demands = _read_demands(node.op_type, scope.opset)
                lack = "" if demands is None else next(_list_lacks(node, demands), "")
                if lack:
                    return f"node {label_node(node, position)!r} of operator {node.op_type} {lack}"
    return ""


def _list_lacks(node: NodeProto, demands: _Demands) -> Iterator[str]:
    if len(node.input) < demands.inputs:
        yield f"has {len(node.input)} inputs in place of {demands.inputs} or more"
    if len(node.output) < demands.outputs:
        yield f"has {len(node.output)} outputs in place of {demands.outputs} or more"
    given = {attribute.name: attribute.type for attribute in node.attribute}
    yield from (f"has no attribute {name!r}" for name in demands.required if name not in given)
    for name, kind in given.items():
        wanted = demands.types.get(name, kind)
        if kind not in (wanted, AttributeProto.UNDEFINED):
            kinds = AttributeProto.AttributeType
            yield f"has an attribute {name!r} of type {kinds.Name(kind)} in place of {kinds.Name(wanted)}"


@lru_cache
def _read_demands(op_type: str, opset: int) -> _Demands | None:
    """What onnx says of an operator; None if it does not know it or the opset."""
    if not 1 <= opset <= defs.onnx_opset_version():
        return None
    try:
        schema = defs.get_schema(op_type, max_inclusive_version=opset, domain="")
    except defs.SchemaError:
        return None
    types = {name: attribute.type.value for name, attribute in schema.attributes.items()}  # type: ignore[attr-defined]
    required = tuple(name for name, attribute in schema.attributes.items() if attribute.required)
    return _Demands(schema.min_input, schema.min_output, types, required)
