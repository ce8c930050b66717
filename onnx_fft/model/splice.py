"""Putting a fragment where a convolution stood; everything else stays what it was."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version

from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import make_node

from onnx_fft.model.scopes import Scope, is_graph, walk_bodies
from onnx_fft.model.sites import ConvSite


def splice(
    site: ConvSite, nodes: Sequence[NodeProto], initializers: Sequence[TensorProto], metadata: dict[str, str] | None = None
) -> None:
    """Replace the node of `site`, and what it absorbed, by `nodes` in topological order reading `initializers`.

    New nodes are marked with `onnx_fft.version`, `onnx_fft.replaces` and `metadata`, keys without the prefix.
    """
    scope = site.scope
    names = {tensor.name: _add_constant(scope, tensor) for tensor in initializers}
    marks = {"version": version("onnx-fft"), "replaces": site.name, **(metadata or {})}
    place = _find_place(scope, site.node)
    for offset, node in enumerate(nodes):
        scope.body.node.insert(place + offset, node)
        added = scope.body.node[place + offset]
        added.input[:] = [names.get(name, name) for name in added.input]
        for key, value in marks.items():
            added.metadata_props.add(key=f"onnx_fft.{key}", value=value)
        scope.producers.update((name, added) for name in added.output)
        scope.count_reads(added, 1)
    for node in (site.node, *site.absorbed):
        _remove_node(scope, node)


def unused_prefix(model: ModelProto, stem: str = "onnx_fft") -> str:
    """A prefix that no name of a value or node anywhere in the model starts with."""
    names: set[str] = set()
    for body in walk_bodies(model):
        for node in body.node:
            names.update((node.name, *node.input, *node.output))
        if is_graph(body):
            names.update(value.name for value in (*body.input, *body.output, *body.initializer, *body.value_info))
        else:
            names.update((*body.input, *body.output))
    prefix, count = f"{stem}/", 0
    while any(name.startswith(prefix) for name in names):
        count += 1
        prefix = f"{stem}_{count}/"
    return prefix


def _add_constant(scope: Scope, tensor: TensorProto) -> str:
    """Store a constant in the scope, or find the one with the same content, and return its name."""
    nameless = TensorProto()
    nameless.CopyFrom(tensor)
    nameless.ClearField("name")
    digest = sha256(nameless.SerializeToString()).digest()
    if digest not in scope.shared:
        scope.shared[digest] = tensor.name
        if is_graph(scope.body):
            scope.body.initializer.append(tensor)
            scope.tensors[tensor.name] = scope.body.initializer[-1]
        else:
            scope.body.node.insert(0, make_node("Constant", [], [tensor.name], tensor.name, value=nameless))
            scope.producers[tensor.name] = scope.body.node[0]
    return scope.shared[digest]


def _remove_node(scope: Scope, node: NodeProto) -> None:
    del scope.body.node[_find_place(scope, node)]
    scope.count_reads(node, -1)


def _find_place(scope: Scope, node: NodeProto) -> int:
    """Position of this very node; equal nodes are other nodes."""
    return next(place for place, other in enumerate(scope.body.node) if other is node)
