"""Putting a fragment where a convolution stood; everything else stays what it was.

What goes: the node, the BatchNormalization folded into it, the constants that only these read with the chains they were
computed from, and notes (`value_info`, quantization annotations) on tensors that no longer exist. What comes: the nodes
of the fragment, marked in their `metadata_props`, and its constants, each content once in a scope. What the model says
about the node (doc string, metadata, the device it is meant for) is said about each node of the fragment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import make_node, make_tensor_value_info

from onnx_fft.model.scopes import IR_WITH_CONSTANT_INITIALIZERS, Scope, is_graph, walk_bodies


def splice(
    scope: Scope,
    old: Sequence[NodeProto],
    constants: Iterable[str],
    nodes: Sequence[NodeProto],
    initializers: Sequence[TensorProto],
    marks: Mapping[str, str],
) -> None:
    """Replace the nodes `old` of a scope, first to last, by `nodes`, which read `initializers` and write the same.

    `nodes` come where the last of `old` was, behind all that any of these read. They are in topological order; new
    names must not occur in the model (see `unused_prefix`). Constants become initializers, or Constant nodes at the
    head of a function, which holds none. Each new node gets `marks` as metadata. `constants` are the names that `old`
    alone may have read. Scopes of the model remain valid.
    """
    stored = {tensor.name: _store_constant(scope, tensor, marks) for tensor in initializers}
    place = _find_place(scope.body.node, old[-1])
    about = _inherit(old, marks)
    for offset, node in enumerate(nodes):
        added = _insert_node(scope, place + offset, node, marks, about)
        added.input[:] = [stored.get(name, name) for name in added.input]
        scope.count_reads(added, 1)
    for node in old:
        _remove_node(scope, node)
    for name in constants:
        _remove_constant(scope, name)


def unused_prefix(model: ModelProto, stem: str = "onnx_fft") -> str:
    """A prefix for new names: no value and no node anywhere in the model has a name that starts with it."""
    names = set(walk_names(model))
    prefix, count = f"{stem}/", 0
    while any(name.startswith(prefix) for name in names):
        count += 1
        prefix = f"{stem}_{count}/"
    return prefix


def walk_names(model: ModelProto) -> Iterable[str]:
    """Names of values and nodes anywhere in the model, some more than once."""
    for body in walk_bodies(model):
        for node in body.node:
            yield from (node.name, *node.input, *node.output)
        if is_graph(body):
            yield from (value.name for value in (*body.input, *body.output, *body.initializer))
            yield from (tensor.values.name for tensor in body.sparse_initializer)
        else:
            yield from (*body.input, *body.output)
        yield from (value.name for value in body.value_info)


def _store_constant(scope: Scope, tensor: TensorProto, marks: Mapping[str, str]) -> str:
    """Store a constant where `scope` sees it, unless one of the same content is there, and return the name it has.

    Before IR version 4 an initializer is a graph input as well, which a body cannot have more of: there the outermost
    graph takes it.
    """
    while scope.parent is not None and scope.ir_version < IR_WITH_CONSTANT_INITIALIZERS:
        scope = scope.parent
    content = TensorProto()
    content.CopyFrom(tensor)
    content.ClearField("name")
    digest = sha256(content.SerializeToString()).digest()
    if digest in scope.shared:
        return scope.shared[digest]
    scope.shared[digest] = tensor.name
    if is_graph(scope.body):
        scope.body.initializer.append(tensor)
        scope.tensors[tensor.name] = scope.body.initializer[-1]
        if scope.ir_version < IR_WITH_CONSTANT_INITIALIZERS:
            scope.body.input.append(make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
            scope.inputs.add(tensor.name)
    else:
        _insert_node(scope, 0, make_node("Constant", [], [tensor.name], tensor.name, value=content), marks)
    return tensor.name


def _inherit(old: Sequence[NodeProto], marks: Mapping[str, str]) -> NodeProto:
    """What the model says about nodes to be replaced, in the fields of a node that has no others.

    Of two values under one key the first node's keeps the key; another's gets its operator in front.
    """
    about = NodeProto(doc_string="\n".join(dict.fromkeys(node.doc_string for node in old if node.doc_string)))
    entries = dict[str, str]()
    for node in old:
        for entry in node.metadata_props:
            key = entry.key
            while entries.get(key, entry.value) != entry.value:
                key = f"{node.op_type}.{key}"
            entries[key] = entry.value
    for key, value in entries.items():
        if key not in marks:
            about.metadata_props.add(key=key, value=value)
    if hasattr(about, "device_configurations"):  # onnx 1.16 has none
        about.device_configurations.extend(old[0].device_configurations)
        for configuration in about.device_configurations:
            configuration.ClearField("sharding_spec")  # of tensors that the new nodes may not have
    return about


def _insert_node(
    scope: Scope, place: int, node: NodeProto, marks: Mapping[str, str], about: NodeProto | None = None
) -> NodeProto:
    """Insert a marked copy of `node`, whose reads are yet to be counted, and return it."""
    scope.body.node.insert(place, node)
    added: NodeProto = scope.body.node[place]
    if about is not None:
        added.MergeFrom(about)
    for key, value in marks.items():
        added.metadata_props.add(key=key, value=value)
    scope.producers.update((name, added) for name in added.output)
    return added


def _remove_node(scope: Scope, node: NodeProto) -> None:
    del scope.body.node[_find_place(scope.body.node, node)]
    scope.count_reads(node, -1)
    for name in node.output:
        if scope.producers.get(name) is node:  # else the fragment writes it now
            del scope.producers[name]
            _remove_notes(scope, name)


def _remove_constant(scope: Scope, name: str) -> None:
    """Remove a constant that nothing reads any more, and what only served to compute it."""
    owner = scope.find_owner(name)
    if owner is None or owner.reads[name]:
        return
    if name in owner.tensors and is_graph(owner.body):
        tensor = owner.tensors.pop(name)
        held = owner.body.initializer if isinstance(tensor, TensorProto) else owner.body.sparse_initializer
        del held[_find_place(held, tensor)]
        for place in [place for place, value in enumerate(owner.body.input) if value.name == name]:
            del owner.body.input[place]  # its twin, before IR version 4
        owner.inputs.discard(name)
        _remove_notes(owner, name)
    elif name in owner.producers:
        node = owner.producers[name]
        if not any(owner.reads[output] for output in node.output):
            _remove_node(owner, node)
            for operand in node.input:
                _remove_constant(owner, operand)


def _remove_notes(scope: Scope, name: str) -> None:
    """Remove what the body says about a tensor that no longer exists."""
    notes = [(scope.body.value_info, "name")]
    if is_graph(scope.body):
        notes.append((scope.body.quantization_annotation, "tensor_name"))
    for held, key in notes:
        for place in reversed([place for place, note in enumerate(held) if getattr(note, key) == name]):
            del held[place]


def _find_place(held: Sequence[Any], message: Any) -> int:
    """Position of this very message in a repeated field; an equal one is another one."""
    return next(place for place, other in enumerate(held) if other is message)
