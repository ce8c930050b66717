"""How to cut a part of a model out of it: the nodes that make tensors out of others, as a model of its own.

The part may lie in any scope. The constants it reads from the scopes around it come along.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import FunctionProto, NodeProto, OperatorSetIdProto, SparseTensorProto, TensorProto, helper

from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import Scope, free_inputs, walk_nodes
from onnx_fft.runtime.engines import Value
from onnx_fft.runtime.pieces import find_called


class CutError(Exception):
    """The part cannot stand alone, say because it reads more than it is given; the message says what is in the way."""


@dataclass(slots=True)
class Region:
    """Nodes in an order they can run in, the stored constants they read, and whatever else they read from outside."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto | SparseTensorProto] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)


def is_constant(scope: Scope, name: str) -> bool:
    """Whether a tensor that `scope` sees depends on no input of its graph or function."""
    return not region_between(scope, [name], ()).outside


def region_between(scope: Scope, outputs: Sequence[str], stop: Collection[str]) -> Region:
    """What makes `outputs`, as `scope` sees them, out of `stop`: nodes of this scope and of those around it."""
    region = Region()
    wanted, picked = [(scope, output) for output in outputs], dict[int, NodeProto]()
    while wanted:
        inner, name = wanted.pop()
        owner = inner.find_owner(name)
        if owner is None or (name in owner.inputs and name not in owner.tensors):
            region.outside.add(name)
        elif name in owner.tensors:
            region.constants[name] = owner.tensors[name]
        elif id(owner.producers[name]) not in picked:
            node = owner.producers[name]
            picked[id(node)] = node
            wanted += [(owner, read) for read in free_inputs(node) if read not in stop]
    for around in _scopes_around(scope) if picked else ():  # often it is a stored constant
        region.nodes += [node for node in around.body.node if id(node) in picked]
    return region


def cut_fragment(source: LoadedModel, scope: Scope, outputs: Sequence[str], given: Mapping[str, Value]) -> LoadedModel:
    """The part of `scope` that makes `outputs` out of the tensors `given`, as a model of its own.

    Raises CutError if it reads anything else that is not a constant, or an attribute that only a caller sets.
    """
    region = region_between(scope, outputs, given.keys())
    if region.outside:
        raise CutError(f"it also reads {', '.join(map(repr, sorted(region.outside)[:3]))}")
    read = set().union(*(free_inputs(node) for node in region.nodes))
    inputs = [_describe(name, value) for name, value in given.items() if name in read]
    dense = [tensor for tensor in region.constants.values() if isinstance(tensor, TensorProto)]
    sparse = [tensor for tensor in region.constants.values() if isinstance(tensor, SparseTensorProto)]
    made = [onnx.ValueInfoProto(name=output) for output in outputs]
    cut = helper.make_graph(region.nodes, "fragment", inputs, made, dense, sparse_initializer=sparse)
    imports = _read_imports(source, scope)
    model = helper.make_model(cut, opset_imports=imports)
    if any(attribute.ref_attr_name for node in walk_nodes(model) for attribute in node.attribute):
        raise CutError("an attribute is set by the caller of the function")
    called = find_called(source.model, region.nodes)
    model.functions.extend(f for f in source.model.functions if (f.domain, f.name) in called)
    model.ir_version = source.model.ir_version
    return LoadedModel(model, source.base_dir)


def _scopes_around(scope: Scope) -> list[Scope]:
    """From the graph or function inwards, `scope` last."""
    chain = [scope]
    while chain[0].parent is not None:
        chain.insert(0, chain[0].parent)
    return chain


def _read_imports(source: LoadedModel, scope: Scope) -> list[OperatorSetIdProto]:
    body = _scopes_around(scope)[0].body
    return list(body.opset_import if isinstance(body, FunctionProto) else source.model.opset_import)


def _describe(name: str, value: Value) -> onnx.ValueInfoProto:
    array = np.asarray(value)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
