"""Calls of model-local functions, written out: the nodes of the body in the caller's names.

A function sees its inputs only, so what a caller gives it as a constant is none inside. Written out, the body reads the
caller's own tensor. Every other name of the body gets the caller's prefix, and attributes that the call sets (or the
function's defaults) take the place of the references to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto
from onnx.helper import make_opsetid

from onnx_fft.model.scopes import (
    DEFAULT_DOMAINS,
    FunctionKey,
    Functions,
    copy_node,
    find_bodies,
    function_key,
    walk_bodies,
    walk_body,
    walk_training,
)
from onnx_fft.model.splice import walk_names

MAX_ADDED = 1 << 15
"""Most nodes that are written out: functions that call functions can multiply them."""

MAX_NODES = 1 << 16
"""Most nodes that one call may come to: onnx's shape inference writes all of them out, too."""


def expand_call(call: NodeProto, function: FunctionProto, prefix: str) -> list[NodeProto]:
    """The nodes that compute what `call` of `function` computes; names that are new begin with `prefix`.

    An input that the call leaves out reads as left out. Outputs that the body hands on from its inputs, or that
    another output is too, come from an Identity.
    """
    given = dict(zip(function.input, [*call.input, *[""] * len(function.input)], strict=False))
    names = dict(given)
    copies: list[NodeProto] = []
    for inner, outer in zip(function.output, call.output, strict=False):
        if outer and inner in names:
            copies.append(NodeProto(op_type="Identity", name=prefix + inner, input=[inner], output=[outer]))
        elif outer:
            names[inner] = outer
    attributes = {attribute.name: attribute for attribute in function.attribute_proto}
    attributes |= {attribute.name: attribute for attribute in call.attribute}
    nodes: list[NodeProto] = []
    for node in (*function.node, *copies):
        is_copy = any(node is copy for copy in copies)
        added = copy_node(node)
        added.name = node.name or f"{node.op_type}#{len(nodes)}"
        _rename(added, names, prefix, attributes, keep_outputs=is_copy)
        nodes.append(added)
    return nodes


def inline_calls(model: ModelProto, chosen: Iterable[FunctionKey]) -> list[tuple[str, FunctionKey]]:
    """Write out, in place, the calls of the `chosen` functions, which go unless training calls them too.

    Returns a prefix for each call, with which the names of its nodes begin, and the function called. Functions must
    have the model's opsets, and not be endless. Raises ValueError for more than `MAX_ADDED` nodes.
    """
    functions = {function_key(function): function for function in model.functions}
    wanted = {key: functions[key] for key in chosen}
    taken = _list_prefixes(walk_names(model))
    calls: list[tuple[str, FunctionKey]] = []
    added_count = 0
    for body in walk_bodies(model):  # bodies within come after what is written out here
        place = 0
        while place < len(body.node):
            node = body.node[place]
            if (function := wanted.get(function_key(node))) is None:
                place += 1
                continue
            calls.append((_make_prefix(node.name or function.name, taken), function_key(function)))
            nodes = expand_call(node, function, calls[-1][0])
            added_count += len(nodes)
            if added_count > MAX_ADDED:
                raise ValueError(f"more than {MAX_ADDED} nodes to write out")
            taken |= _list_prefixes(name for each in nodes for name in (each.name, *each.output))
            del body.node[place]
            for offset, added in enumerate(nodes):
                body.node.insert(place + offset, added)
    known = {entry.domain for entry in model.opset_import}
    for function in wanted.values():
        missing = [entry for entry in function.opset_import if entry.domain not in known]
        model.opset_import.extend(make_opsetid(entry.domain, entry.version) for entry in missing)
        known |= {entry.domain for entry in missing}
    trained = {function_key(node) for body in walk_training(model) for node in body.node}
    for place in reversed(range(len(model.functions))):
        if function_key(model.functions[place]) in wanted.keys() - trained:
            del model.functions[place]
    return calls


def _list_prefixes(names: Iterable[str]) -> set[str]:
    """All beginnings of names up to a slash."""
    return {name[: place + 1] for name in names for place, character in enumerate(name) if character == "/"}


def _make_prefix(label: str, taken: set[str]) -> str:
    """A prefix that no name begins with; it is `taken` then."""
    prefix, count = f"{label}/", 0
    while prefix in taken:
        count += 1
        prefix = f"{label}_{count}/"
    taken.add(prefix)
    return prefix


def has_same_opsets(function: FunctionProto, model: ModelProto) -> bool:
    """Whether the body means the same in the model's graph: no operator domain is imported in another version."""
    versions = {_plain(entry.domain): entry.version for entry in model.opset_import}
    return all(versions.get(_plain(entry.domain), entry.version) == entry.version for entry in function.opset_import)


def find_endless(functions: Functions) -> set[FunctionKey]:
    """The functions that call themselves, be it through others, or come to more than `MAX_NODES` nodes written out."""
    called = {
        key: [function_key(node) for body in walk_body(function) for node in body.node]
        for key, function in functions.items()
    }
    callers: dict[FunctionKey, list[FunctionKey]] = {key: [] for key in functions}
    pending = {key: 0 for key in functions}
    for key, others in called.items():
        for other in filter(functions.__contains__, others):
            callers[other].append(key)
            pending[key] += 1
    sizes = {key: len(others) for key, others in called.items()}
    ready = [key for key, count in pending.items() if count == 0]
    while ready:  # from the innermost outwards; what calls itself never gets ready
        key = ready.pop()
        for caller in callers[key]:
            sizes[caller] = min(sizes[caller] + sizes[key], MAX_NODES + 1)
            pending[caller] -= 1
            ready += [caller] if pending[caller] == 0 else []
    return {key for key in functions if pending[key] or sizes[key] > MAX_NODES}


def _rename(
    node: NodeProto, names: dict[str, str], prefix: str, attributes: Mapping[str, AttributeProto], keep_outputs: bool
) -> None:
    """Turn a copy of a body's node into one of the caller's; what it defines is added to `names`."""
    node.name = prefix + node.name if node.name else ""
    node.input[:] = [names.get(name, name) for name in node.input]
    for attribute in list(node.attribute):
        if attribute.ref_attr_name:
            _bind(node, attribute, attributes.get(attribute.ref_attr_name))
    for _, graph in find_bodies(node):
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


def _plain(domain: str) -> str:
    return "" if domain in DEFAULT_DOMAINS else domain
