"""Calls of model-local functions, written out: the nodes of the body in the caller's names.

A function sees its inputs only, so what a caller gives it as a constant is none inside. Written out, the body reads the
caller's own tensor. Every other name of the body gets the caller's prefix, and attributes that the call sets (or the
function's defaults) take the place of the references to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto
from onnx.helper import make_opsetid

from onnx_fft.model.scopes import DEFAULT_DOMAINS, Body, FunctionKey, Functions, function_key, walk_bodies
from onnx_fft.model.splice import unused_prefix

MAX_CALLS = 2048
"""Most calls that are written out: functions that call functions can multiply them."""


def expand_call(call: NodeProto, function: FunctionProto, prefix: str) -> list[NodeProto]:
    """The nodes that compute what `call` of `function` computes; names that are new begin with `prefix`.

    An input that the call leaves out reads as left out. Outputs that the body hands on from its inputs, or that
    another output is too, come from an Identity.
    """
    given = dict(zip(function.input, [*call.input, *[""] * len(function.input)], strict=False))
    names = dict(given)
    copies: list[NodeProto] = []
    for inner, outer in zip(function.output, call.output, strict=False):
        if inner in names:
            copies.append(NodeProto(op_type="Identity", name=prefix + inner, input=[inner], output=[outer]))
        elif outer:
            names[inner] = outer
    attributes = {attribute.name: attribute for attribute in function.attribute_proto}
    attributes |= {attribute.name: attribute for attribute in call.attribute}
    nodes: list[NodeProto] = []
    for node in (*function.node, *copies):
        is_copy = any(node is copy for copy in copies)
        added = NodeProto()
        added.CopyFrom(node)
        added.name = node.name or f"{node.op_type}#{len(nodes)}"
        _rename(added, names, prefix, attributes, keep_outputs=is_copy)
        nodes.append(added)
    return nodes


def inline_calls(model: ModelProto, chosen: Iterable[FunctionKey]) -> list[tuple[str, FunctionKey]]:
    """Write out, in place, the calls of the `chosen` functions, which go.

    Returns a prefix for each call, with which the names of its nodes begin, and the function called. Functions must
    have the model's opsets, and not call one another in a circle.
    """
    functions = {function_key(function): function for function in model.functions}
    wanted = {key: functions[key] for key in chosen}
    calls: list[tuple[str, FunctionKey]] = []
    while any(_inline_once(body, wanted, model, calls) for body in walk_bodies(model)):
        if len(calls) > MAX_CALLS:
            raise ValueError(f"more than {MAX_CALLS} calls to write out")
    known = {entry.domain for entry in model.opset_import}
    for function in wanted.values():
        missing = [entry for entry in function.opset_import if entry.domain not in known]
        model.opset_import.extend(make_opsetid(entry.domain, entry.version) for entry in missing)
        known |= {entry.domain for entry in missing}
    for place in reversed(range(len(model.functions))):
        if function_key(model.functions[place]) in wanted:
            del model.functions[place]
    return calls


def has_same_opsets(function: FunctionProto, model: ModelProto) -> bool:
    """Whether the body means the same in the model's graph: no operator domain is imported in another version."""
    versions = {_plain(entry.domain): entry.version for entry in model.opset_import}
    return all(versions.get(_plain(entry.domain), entry.version) == entry.version for entry in function.opset_import)


def calls_itself(key: FunctionKey, functions: Functions) -> bool:
    """Whether a function calls itself, be it through others."""
    seen: set[FunctionKey] = set()
    waiting = [key]
    while waiting:
        current = waiting.pop()
        called = {function_key(node) for node in _walk_all(functions[current].node)} & functions.keys()
        if key in called:
            return True
        waiting += called - seen
        seen |= called
    return False


def _inline_once(
    body: Body,
    wanted: Mapping[FunctionKey, FunctionProto],
    model: ModelProto,
    calls: list[tuple[str, FunctionKey]],
) -> bool:
    """Write out the first call in a body, if there is one."""
    for place, node in enumerate(body.node):
        function = wanted.get(function_key(node))
        if function is not None:
            calls.append((unused_prefix(model, node.name or function.name), function_key(function)))
            nodes = expand_call(node, function, calls[-1][0])
            del body.node[place]
            for offset, added in enumerate(nodes):
                body.node.insert(place + offset, added)
            return True
    return False


def _rename(
    node: NodeProto, names: dict[str, str], prefix: str, attributes: Mapping[str, AttributeProto], keep_outputs: bool
) -> None:
    """Turn a copy of a body's node into one of the caller's; what it defines is added to `names`."""
    node.name = prefix + node.name if node.name else ""
    node.input[:] = [names.get(name, name) for name in node.input]
    for attribute in list(node.attribute):
        if attribute.ref_attr_name:
            _bind(node, attribute, attributes.get(attribute.ref_attr_name))
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            _rename_graph(graph, dict(names), prefix, attributes)
    if not keep_outputs:
        names.update((name, prefix + name) for name in node.output if name and name not in names)
        node.output[:] = [names.get(name, name) for name in node.output]


def _rename_graph(
    graph: GraphProto, names: dict[str, str], prefix: str, attributes: Mapping[str, AttributeProto]
) -> None:
    """The same for a body within, whose own names become the caller's too: it must not shadow any."""
    stored = [*graph.initializer, *(tensor.values for tensor in graph.sparse_initializer)]
    for held in (*graph.input, *stored):
        names[held.name] = prefix + held.name
        held.name = names[held.name]
    for node in graph.node:
        for name in node.output:
            names.pop(name, None)  # it hides one of the same name outside
        _rename(node, names, prefix, attributes, keep_outputs=False)
    for value in (*graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    del graph.quantization_annotation[:]


def _bind(node: NodeProto, attribute: AttributeProto, value: AttributeProto | None) -> None:
    """Put the caller's value where the body refers to it; without one the attribute is absent."""
    name = attribute.name
    node.attribute.remove(attribute)
    if value is not None:
        node.attribute.add().CopyFrom(value)
        node.attribute[-1].name = name


def _walk_all(nodes: Iterable[NodeProto]) -> Iterable[NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _walk_all(graph.node)


def _plain(domain: str) -> str:
    return "" if domain in DEFAULT_DOMAINS else domain
