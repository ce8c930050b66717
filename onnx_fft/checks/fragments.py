"""Which Convs a rewritten model replaced, and how to cut one of them, or what took its place, out of its model.

A replaced Conv is found by names alone, whatever rewrote the model: its output (or that of a BatchNormalization folded
into it) still exists in the rewritten main graph, but no Conv makes it. Both cuts read the same tensors, so the same
recorded input can be given to the original Conv, to its replacement, and to the oracle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper

from onnx_fft.model.scopes import find_bodies, label_node
from onnx_fft.runtime import Source, Value

REPLACES = "onnx_fft.replaces"
"""Key of the node metadata that names the site a node was written for."""
CONV_TYPES = ("Conv", "FusedConv")


@dataclass(frozen=True)
class ReplacedConv:
    """A Conv of the original's main graph that something else computes now. `batch_norm` is the one folded into it."""

    name: str
    node: NodeProto
    output: str
    batch_norm: NodeProto | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Every tensor the original Conv (and its BatchNormalization) reads: `X, W, B, Z, scale, ...`."""
        norm = () if self.batch_norm is None else tuple(self.batch_norm.input[1:])
        return tuple(name for name in (*self.node.input, *norm) if name)


class CutError(Exception):
    """The fragment reads more than the original Conv does; the message names it."""


def find_replaced(original: ModelProto, rewritten: ModelProto) -> tuple[ReplacedConv, ...]:
    """The replaced Convs of the main graph, in its order."""
    makers = find_producers(rewritten.graph)
    readers: dict[str, list[NodeProto]] = {}
    for node in original.graph.node:
        for name in free_inputs(node):
            readers.setdefault(name, []).append(node)
    found = []
    for position, node in enumerate(original.graph.node):
        if node.op_type not in CONV_TYPES or _is_conv(makers.get(node.output[0])):
            continue
        name = label_node(node, position)
        users = readers.get(node.output[0], [])
        if node.output[0] in makers:
            found.append(ReplacedConv(name, node, node.output[0]))
        elif len(users) == 1 and users[0].op_type == "BatchNormalization" and users[0].output[0] in makers:
            found.append(ReplacedConv(name, node, users[0].output[0], users[0]))
    return tuple(found)


def find_unreachable(original: ModelProto, rewritten: ModelProto) -> tuple[tuple[str, str], ...]:
    """Replaced Convs that cannot be cut out, as name and reason: in bodies and functions, or with their output gone."""
    after = {key for key, node in _walk_bodies(rewritten) if node.op_type in CONV_TYPES}
    missing = [(key, node) for key, node in _walk_bodies(original) if node.op_type in CONV_TYPES and key not in after]
    found = [
        (f"{scope}/{node.name or output}", "inside a body or function, not reachable alone; covered by the outputs")
        for (scope, output), node in missing
    ]
    checked = {id(conv.node) for conv in find_replaced(original, rewritten)}
    makers = find_producers(rewritten.graph)
    for position, node in enumerate(original.graph.node):
        if node.op_type in CONV_TYPES and id(node) not in checked and node.output[0] not in makers:
            reason = f"its output {node.output[0]!r} is no longer there; covered by the outputs"
            found.append((label_node(node, position), reason))
    return tuple(found)


def is_constant(graph: GraphProto, name: str) -> bool:
    """Whether a tensor of the main graph depends on no graph input."""
    _, outside = region_between(graph, name, ())
    return outside <= {tensor.name for tensor in graph.initializer}


def find_producers(graph: GraphProto) -> dict[str, NodeProto]:
    """The node that makes each tensor of the graph proper."""
    return {name: node for node in graph.node for name in node.output if name}


def free_inputs(node: NodeProto) -> set[str]:
    """What a node reads from its graph, the captures of its bodies included."""
    names = {name for name in node.input if name}
    for _, body in find_bodies(node):
        own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        inner: set[str] = set()
        for inner_node in body.node:
            inner |= free_inputs(inner_node)
            own.update(inner_node.output)
        names |= (inner | {value.name for value in body.output}) - own
    return names


def read_site(node: NodeProto) -> str:
    """The site the rewrite says this node was written for, "" where it says nothing."""
    return next((entry.value for entry in node.metadata_props if entry.key == REPLACES), "")


def region_between(graph: GraphProto, output: str, stop: Collection[str]) -> tuple[list[NodeProto], set[str]]:
    """The nodes that make `output` out of `stop`, in graph order, and every other tensor they read from outside."""
    makers = find_producers(graph)
    wanted, seen = [output], {output}
    picked: set[int] = set()
    outside: set[str] = set()
    while wanted:
        name = wanted.pop()
        node = makers.get(name)
        if node is None:
            outside.add(name)
            continue
        if id(node) in picked:
            continue
        picked.add(id(node))
        for read in free_inputs(node) - seen:
            seen.add(read)
            if read not in stop:
                wanted.append(read)
    return [node for node in graph.node if id(node) in picked], outside


def cut_fragment(source: Source, output: str, given: Mapping[str, Value]) -> Source:
    """The part of the main graph that makes `output` out of the tensors `given`, as a model of its own.

    Raises CutError where it reads anything else that is not a constant.
    """
    graph = source.model.graph
    nodes, outside = region_between(graph, output, given.keys())
    constants = [tensor for tensor in graph.initializer if tensor.name in outside]
    if strange := sorted(outside - {tensor.name for tensor in constants}):
        raise CutError(f"its replacement also reads {', '.join(map(repr, strange[:3]))}")
    read = set().union(*(free_inputs(node) for node in nodes))
    inputs = [_describe(name, value) for name, value in given.items() if name in read]
    cut = helper.make_graph(nodes, "fragment", inputs, [onnx.ValueInfoProto(name=output)], constants)
    model = helper.make_model(cut, functions=list(source.model.functions), opset_imports=source.model.opset_import)
    model.ir_version = source.model.ir_version
    return Source(model, source.base_dir)


def _describe(name: str, value: Value) -> onnx.ValueInfoProto:
    array = np.asarray(value)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _is_conv(node: NodeProto | None) -> bool:
    return node is not None and node.op_type in CONV_TYPES


def _walk_bodies(model: ModelProto) -> Iterator[tuple[tuple[str, str], NodeProto]]:
    """Nodes below the main graph, each with its scope and first output; a scope is named by what is never rewritten."""
    yield from _walk_nested("", model.graph.node)
    for function in model.functions:
        scope = f"{function.domain}:{function.name}"
        yield from (((scope, node.output[0] if node.output else ""), node) for node in function.node)
        yield from _walk_nested(f"{scope}/", function.node)


def _walk_nested(prefix: str, nodes: Iterable[NodeProto]) -> Iterator[tuple[tuple[str, str], NodeProto]]:
    for node in nodes:
        for attribute, body in find_bodies(node):
            scope = f"{prefix}{node.name or node.output[0]}.{attribute}"
            yield from (((scope, inner.output[0] if inner.output else ""), inner) for inner in body.node)
            yield from _walk_nested(f"{scope}/", body.node)
