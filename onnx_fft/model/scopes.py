"""Naming environments: the graph, the bodies of If, Loop and Scan at any depth, and the model-local functions.

A body sees the values of the scopes around it, a function only its own. `Scope` answers the three questions every other
module asks: who defines a name, who reads it, and what holds the nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto
from onnx.helper import get_attribute_value

from onnx_fft.errors import Refusal
from onnx_fft.hints import Hint
from onnx_fft.model.external import Array, Value

Body = GraphProto | FunctionProto
FunctionKey = tuple[str, str, str]
"""Domain, name and overload, which a function and its calls share."""

Functions = Mapping[FunctionKey, FunctionProto]
"""The model-local functions."""

Evaluate = Callable[[Sequence[NodeProto], Mapping[str, Array], Sequence[str], int], list[Any]]
"""Computes outputs of nodes, by name, from the values they read, in an opset; raises anything if it cannot."""

DEFAULT_DOMAINS = ("", "ai.onnx")
MICROSOFT_DOMAIN = "com.microsoft"
"""Of operators that ONNX Runtime adds to the standard's."""

INLINING = "if callers give a constant, inline it: onnx.inliner.inline_local_functions(model, convert_version=True)"
"""What to do about a function that cannot be written out, because of its opset for example."""

IR_WITH_CONSTANT_INITIALIZERS = 4
"""Before this IR version every initializer had to be a graph input too, without thereby being meant to change."""


class Refused(Exception):
    """Carries a `Refusal` out of nested helpers."""

    def __init__(self, code: str, reason: str, hint: Hint = "") -> None:
        """See `Refusal` for these."""
        super().__init__(reason)
        self.refusal = Refusal(code, reason, hint)


@dataclass(eq=False, repr=False, slots=True)
class Scope:
    """One body with its place in the model.

    `path` prefixes the names of what lies inside: "" for the graph, `If_12.then_branch/` for a body. `reads` counts how
    often a name is read here or in bodies within, graph outputs included; names that a body shadows are counted too,
    which errs on the side of keeping a value alive.
    """

    path: str
    body: Body
    parent: Scope | None
    opset: int
    ir_version: int
    base_dir: Path | None
    inputs: set[str] = field(default_factory=set)
    tensors: dict[str, TensorProto | SparseTensorProto] = field(default_factory=dict)
    producers: dict[str, NodeProto] = field(default_factory=dict)
    reads: Counter[str] = field(default_factory=Counter)
    shared: dict[bytes, str] = field(default_factory=dict)
    """Digest of a constant added by `splice` -> its name."""
    functions: Functions = field(default_factory=dict)
    shapes: dict[str, list[int | None]] = field(default_factory=dict)
    """Shapes of tensors defined here or around, None for an open length; empty unless somebody has looked for them."""
    types: dict[str, int] = field(default_factory=dict)
    """Their element types, `TensorProto.DataType`, likewise."""
    evaluate: Evaluate | None = None
    """What computes constants, None for ONNX's own evaluator."""
    unrolled: Unrolled = field(default_factory=lambda: Unrolled())
    """The same for all scopes of a model."""

    def __post_init__(self) -> None:
        """Index the body itself; `find_scopes` adds what the bodies within read."""
        for node in self.body.node:
            self.producers.update((name, node) for name in node.output if name)
            self.reads.update(name for name in node.input if name)
        if is_graph(self.body):
            self.inputs = {value.name for value in self.body.input}
            self.tensors.update((tensor.name, tensor) for tensor in self.body.initializer)
            self.tensors.update((tensor.values.name, tensor) for tensor in self.body.sparse_initializer)
            self.reads.update(value.name for value in self.body.output)
            for annotation in self.body.quantization_annotation:
                self.reads.update(entry.value for entry in annotation.quant_parameter_tensor_names)
        else:
            self.inputs = set(self.body.input)
            self.reads.update(self.body.output)

    @property
    def root(self) -> Scope:
        """The scope of the graph or function that this one lies in."""
        return self if self.parent is None else self.parent.root

    def find_owner(self, name: str) -> Scope | None:
        """The innermost scope, from here outwards, that defines `name`."""
        if name in self.inputs or name in self.tensors or name in self.producers:
            return self
        return self.parent.find_owner(name) if self.parent else None

    def enclose(self, body: GraphProto, opset: int | None = None) -> Scope:
        """The scope of a body within this one; `opset` if it is another one there."""
        inner = Scope(self.path, body, self, opset or self.opset, self.ir_version, self.base_dir)
        inner.functions, inner.evaluate, inner.unrolled = self.functions, self.evaluate, self.unrolled
        return inner

    def count_reads(self, node: NodeProto, sign: int) -> None:
        """Add (`sign` 1) or take away (-1) the reads of a node of this scope, here and in every scope around."""
        scope: Scope | None = self
        while scope is not None:
            for name in filter(None, node.input):
                scope.reads[name] += sign
            scope = scope.parent


@dataclass(slots=True)
class Unrolled:
    """What Loop, Scan and SequenceMap make of constants, or why it is not computed, and how many nodes that took.

    Their bodies may take seconds, so that they are computed once for a model, and bounded for all of it.
    """

    results: dict[tuple[Scope, str], tuple[list[Value] | Refusal, int]] = field(default_factory=dict)
    """By scope and first output: the outputs that have a name, and the nodes that were evaluated for them."""
    nodes: int = 0


def find_scopes(model: ModelProto, base_dir: Path | None, evaluate: Evaluate | None = None) -> list[Scope]:
    """Every scope of the model in the order of `walk_bodies`; each comes after the scope around it.

    `evaluate` computes constants there.
    """
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    scopes = _open_scopes("", model.graph, None, opsets, model.ir_version, base_dir)
    scopes[0].reads.update(_read_by_training(model))
    for function in model.functions:
        path = ":".join(filter(None, (function.domain, function.name, function.overload))) + "/"
        own = {entry.domain: entry.version for entry in function.opset_import}
        scopes += _open_scopes(path, function, None, own, model.ir_version, base_dir)
    functions = {function_key(function): function for function in model.functions}
    for scope in scopes:
        scope.functions, scope.evaluate, scope.unrolled = functions, evaluate, scopes[0].unrolled
    return scopes


def function_key(function: FunctionProto | NodeProto) -> FunctionKey:
    """What a function and the nodes that call it have in common."""
    name = function.name if isinstance(function, FunctionProto) else function.op_type
    return function.domain, name, function.overload


def _read_by_training(model: ModelProto) -> Iterator[str]:
    """Names of the main graph that training binds or computes with."""
    for training in model.training_info:
        yield from (entry.key for entry in (*training.initialization_binding, *training.update_binding))
        for graph in (training.initialization, training.algorithm):
            yield from (name for node in graph.node for name in free_inputs(node))
            yield from (value.name for value in graph.output)


def walk_bodies(model: ModelProto) -> Iterator[Body]:
    """The graph and the bodies in it, depth first, then each function and the bodies in it."""
    for body in (model.graph, *model.functions):
        yield from walk_body(body)


def walk_body(body: Body) -> Iterator[Body]:
    """A body and those in it, depth first."""
    yield body
    for node in body.node:
        for _, graph in find_bodies(node):
            yield from walk_body(graph)


def walk_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of the graph, of its bodies at any depth, and of the model-local functions."""
    return (node for body in walk_bodies(model) for node in body.node)


def find_producers(graph: GraphProto) -> dict[str, NodeProto]:
    """The node that makes each tensor of the graph proper."""
    return {name: node for node in graph.node for name in node.output if name}


def walk_training(model: ModelProto) -> Iterator[Body]:
    """The graphs that training runs, and the bodies in them; they see the main graph, and call the same functions."""
    for part in model.training_info:
        for graph in (part.initialization, part.algorithm):
            yield from walk_body(graph)


def walk_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor: initializers, sparse ones, and those held by node attributes, of training graphs as well."""
    for body in (*walk_bodies(model), *walk_training(model)):
        if is_graph(body):
            yield from body.initializer
            for sparse in body.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in body.node:
            for attribute in node.attribute:
                yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)


def find_bodies(node: NodeProto) -> list[tuple[str, GraphProto]]:
    """The graphs a node holds, each with the name of its attribute."""
    return [
        (attribute.name, graph)
        for attribute in node.attribute
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
    ]


def free_inputs(node: NodeProto) -> set[str]:
    """What a node reads from its graph, the captures of its bodies included."""
    names = {name for name in node.input if name}
    for _, body in find_bodies(node):
        own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        own |= {tensor.values.name for tensor in body.sparse_initializer}
        inner: set[str] = set()
        for inner_node in body.node:
            inner |= free_inputs(inner_node)
            own.update(inner_node.output)
        names |= (inner | {value.name for value in body.output}) - own
    return names


def read_attributes(node: NodeProto) -> dict[str, Any]:
    """Attribute values by name; refuses one of no valid type, or set by the caller of the enclosing function."""
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            reason = f"attribute {attribute.name} is set by the caller of the function, as {attribute.ref_attr_name!r}"
            raise Refused("referenced-attribute", reason, INLINING)
        if attribute.type == AttributeProto.UNDEFINED:
            raise Refused("bad-attribute", f"attribute {attribute.name} has no type")
        values[attribute.name] = get_attribute_value(attribute)
    return values


def copy_node(node: NodeProto) -> NodeProto:
    """An equal node of its own."""
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def label_node(node: NodeProto, position: int) -> str:
    """The node's name in print, or `Conv#3` for a nameless Conv that is the fourth node of its body."""
    return "".join(c if c.isprintable() else "?" for c in node.name) or f"{node.op_type}#{position}"


def is_graph(body: Body) -> TypeGuard[GraphProto]:
    """Whether the body is a graph, which holds initializers, rather than a function, which cannot."""
    return isinstance(body, GraphProto)


def _open_scopes(
    path: str, body: Body, parent: Scope | None, opsets: dict[str, int], ir_version: int, base_dir: Path | None
) -> list[Scope]:
    opset = next((opsets[domain] for domain in DEFAULT_DOMAINS if domain in opsets), 1)
    scope = Scope(path, body, parent, opset, ir_version, base_dir)
    scopes = [scope]
    for position, node in enumerate(body.node):
        for attribute, graph in find_bodies(node):
            inner_path = f"{path}{label_node(node, position)}.{attribute}/"
            inner = _open_scopes(inner_path, graph, scope, opsets, ir_version, base_dir)
            scope.reads.update(inner[0].reads)
            scopes += inner
    return scopes
