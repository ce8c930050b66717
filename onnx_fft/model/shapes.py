"""Tensor shapes: what can be inferred, and what the user fixes."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    TensorShapeProto,
    TypeProto,
    ValueInfoProto,
    numpy_helper,
)
from onnx.external_data_helper import uses_external_data

from onnx_fft.errors import InvalidModelError, UsageError
from onnx_fft.model.external import tensor_array
from onnx_fft.model.inlining import find_endless
from onnx_fft.model.scopes import (
    DEFAULT_DOMAINS,
    MICROSOFT_DOMAIN,
    Body,
    FunctionKey,
    find_bodies,
    function_key,
    is_graph,
    walk_bodies,
    walk_nodes,
)

MAX_SHAPE_ELEMENTS = 1024
"""Larger tensors are not shapes, axes or sizes: inference does not need their data."""

UNKNOWN_DOMAIN = "unknown"
"""Of nodes that inference is to leave alone."""

_CARRIERS = (ModelProto, GraphProto, FunctionProto, NodeProto, AttributeProto, SparseTensorProto)
"""Messages that can hold a tensor somewhere inside."""


def infer_shapes(model: ModelProto, base_dir: Path | None = None) -> ModelProto:
    """A copy without the data of large tensors, with inferred shapes in the `value_info` of each body.

    Lengths the file states may be stale, and ONNX Runtime holds a model to those of its graph inputs only. Others are
    believed only behind operators that ONNX does not know. Where inference fails altogether, the copy has the shapes
    that are left. Never raises for an unknown operator.
    """
    skeleton = strip_data(model, base_dir)
    functions = {function_key(function): function for function in skeleton.functions}
    endless = find_endless(functions)
    for key in endless:
        functions[key].domain = UNKNOWN_DOMAIN
    local = functions.keys() - endless
    for number, body in enumerate(walk_bodies(skeleton)):
        _prepare_body(body, local, is_main=number == 0)
    for root in (skeleton.graph, *skeleton.functions):
        _lend_integers(root, {})
    with suppress(Exception):  # inference raises several types; whatever went wrong, the shapes are unknown
        return onnx.shape_inference.infer_shapes(skeleton, data_prop=True)
    return skeleton


def drop_unproven_lengths(model: ModelProto, base_dir: Path | None = None) -> None:
    """Remove, in place, every length that the file states and that does not follow from the graph's inputs.

    A stale one does no harm until something reads lengths: ONNX Runtime computes a Shape node from it at load. So those
    of outputs that no node reads stay; they belong to the interface.
    """
    read = {name for node in walk_nodes(model) for name in node.input}
    for number, (body, inferred) in enumerate(
        zip(walk_bodies(model), walk_bodies(infer_shapes(model, base_dir)), strict=True)
    ):
        proven = {value.name: value.type.tensor_type.shape.dim for value in inferred.value_info}
        claims = list(body.value_info)
        if is_graph(body) and is_graph(inferred):
            proven |= {value.name: value.type.tensor_type.shape.dim for value in (*inferred.input, *inferred.output)}
            claims += [*body.input, *body.output] if number > 0 else [v for v in body.output if v.name in read]
        for value in claims:
            _drop_unproven(value, proven.get(value.name, ()))


def _drop_unproven(value: ValueInfoProto, proven: Sequence[onnx.TensorShapeProto.Dimension]) -> None:
    if not value.type.tensor_type.HasField("shape"):
        return
    dims = value.type.tensor_type.shape.dim
    lengths = [dim.dim_value for dim in proven] if len(proven) == len(dims) else [0] * len(dims)
    for dim, length in zip(dims, lengths, strict=True):
        if dim.HasField("dim_value") and dim.dim_value != length:
            dim.ClearField("dim_value")


def strip_data(model: ModelProto, base_dir: Path | None = None) -> ModelProto:
    """A copy without doc strings and the data of tensors of more than `MAX_SHAPE_ELEMENTS`; small ones have it inline.

    Raises InvalidModelError for data or text that cannot be read.
    """
    skeleton = ModelProto()
    try:
        _copy_stripped(model, skeleton, base_dir)
    except UnicodeDecodeError as error:
        problem = f"got a model with a text that is not UTF-8 ({error})"
        raise InvalidModelError(problem, "UTF-8", "export the model again") from error
    return skeleton


def set_input_shapes(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Fix the dimensions of graph inputs in place; UsageError for an unknown name or a shape that does not fit.

    Of a sequence or an optional, those of what it holds. An input without a number of axes takes any.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in stored}
    for name, dims in shapes.items():
        if name not in inputs:
            names = ", ".join(map(repr, inputs))
            raise UsageError(f"got a shape for input {name!r}", f"one of {names}", "correct the name")
        _set_shape(inputs[name], list(dims))


def _set_shape(value: ValueInfoProto, dims: list[int]) -> None:
    tensor = _find_tensor_type(value.type)
    stated = [_print_dim(dim) for dim in tensor.shape.dim]
    fits = not tensor.HasField("shape") or (
        len(dims) == len(stated)
        and all(
            not dim.dim_value > 0 or dim.dim_value == given for dim, given in zip(tensor.shape.dim, dims, strict=True)
        )
    )
    if not fits or min(dims, default=1) < 1:
        expected = "positive lengths" + (f" that agree with [{', '.join(stated)}]" if stated else "")
        raise UsageError(f"got shape {dims} for input {value.name!r}", expected, "correct the shape")
    for position, length in enumerate(dims):
        dim = tensor.shape.dim[position] if position < len(stated) else tensor.shape.dim.add()
        dim.dim_value = length


def _find_tensor_type(kind: TypeProto) -> TypeProto.Tensor:
    """The type of the tensor, or of those in the sequence or optional; an empty one for other kinds, such as maps."""
    which = kind.WhichOneof("value")
    if which in ("sequence_type", "optional_type"):
        return _find_tensor_type(getattr(kind, which).elem_type)
    return kind.tensor_type if which == "tensor_type" else TypeProto.Tensor(shape=TensorShapeProto())


def _print_dim(dim: TensorShapeProto.Dimension) -> str:
    return str(dim.dim_value) if dim.dim_value > 0 else dim.dim_param or "?"


def _copy_stripped(source: Any, target: Any, base_dir: Path | None) -> None:
    """Copy a protobuf message field by field, down to its tensors."""
    if isinstance(source, TensorProto) and prod(source.dims) > MAX_SHAPE_ELEMENTS:
        target.name, target.data_type = source.name, source.data_type
        target.dims.extend(source.dims)
    elif isinstance(source, TensorProto) and uses_external_data(source) and base_dir is not None:
        target.CopyFrom(numpy_helper.from_array(tensor_array(source, base_dir), source.name))
    elif not isinstance(source, _CARRIERS):
        target.CopyFrom(source)
    else:
        for field, value in source.ListFields():
            if field.name == "doc_string":
                continue  # any text, in any encoding
            if field.message_type is None:
                target.MergeFrom(type(source)(**{field.name: value}))
            elif hasattr(value, "add"):
                for item in value:
                    _copy_stripped(item, getattr(target, field.name).add(), base_dir)
            else:
                _copy_stripped(value, getattr(target, field.name), base_dir)


def _prepare_body(body: Body, local: Container[FunctionKey], *, is_main: bool) -> None:
    """Make a body of the skeleton fit for inference: no stale claims, no dimension of -1, FusedConv as plain Conv.

    Inference goes through the model's own functions, which `local` names. What a Loop or Scan body says of the lengths
    of its inputs is not binding, nor is what a graph says of its outputs.
    """
    unknown: set[str] = set()
    for node in body.node:
        if node.domain in DEFAULT_DOMAINS:
            node.domain = ""  # inference does not know the other name
        if any(attribute.name == "strides" and 0 in attribute.ints for attribute in node.attribute):
            node.domain = UNKNOWN_DOMAIN  # onnx 1.16 divides by them, which ends the process
        if (node.domain, node.op_type) == (MICROSOFT_DOMAIN, "FusedConv"):
            node.domain, node.op_type = "", "Conv"
            del node.input[3:]
            kept = [attribute for attribute in node.attribute if not attribute.name.startswith("activation")]
            del node.attribute[:]
            node.attribute.extend(kept)
        elif function_key(node) not in local and not onnx.defs.has(node.op_type, node.domain):
            unknown.update(node.output)
    believed = [value for value in body.value_info if value.name in unknown]
    del body.value_info[:]
    body.value_info.extend(believed)
    inputs, outputs = (list(body.input), list(body.output)) if is_graph(body) else ([], [])
    claims = [value for value in outputs if value.name not in unknown] + ([] if is_main else inputs)
    for value in (*body.value_info, *inputs, *outputs):
        is_claim = any(value is claim for claim in claims)
        for dim in value.type.tensor_type.shape.dim if value.type.tensor_type.HasField("shape") else ():
            if is_claim or dim.dim_value < 0:
                dim.ClearField("dim_value")


def _lend_integers(body: Body, around: Mapping[str, TensorProto]) -> None:
    """Give each body of the skeleton the integers `around` it that it reads: inference knows values of its own only.

    They are the axes and shapes that nodes there take from constants further out.
    """
    given = {value.name for value in body.input} if is_graph(body) else set(body.input)
    stored = {tensor.name: tensor for tensor in body.initializer} if is_graph(body) else {}
    for node in body.node:
        if node.op_type == "Constant" and node.output and node.attribute and node.attribute[0].name == "value":
            stored[node.output[0]] = node.attribute[0].t
    hidden = given | {name for node in body.node for name in node.output}
    own = {name: tensor for name, tensor in stored.items() if name not in given and _is_integer(tensor)}
    free = around.keys() - hidden - stored.keys()
    for node in body.node:
        for _, inner in find_bodies(node):
            _lend_integers(inner, {name: around[name] for name in free} | own)
    for name in free & {name for node in body.node for name in node.input} if is_graph(body) else ():
        tensor = body.initializer.add()
        tensor.CopyFrom(around[name])
        tensor.name = name


def _is_integer(tensor: TensorProto) -> bool:
    return tensor.data_type in (TensorProto.INT32, TensorProto.INT64) and prod(tensor.dims) <= MAX_SHAPE_ELEMENTS
