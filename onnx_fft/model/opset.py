"""The opset of a model, and moving the model to a newer one without losing what onnx's converter drops."""

from __future__ import annotations

from math import prod

from onnx import GraphProto, ModelProto, TensorProto
from onnx.version_converter import convert_version

from onnx_fft.errors import OpsetError, one_line
from onnx_fft.model.scopes import DEFAULT_DOMAINS, is_graph, walk_bodies, walk_tensors
from onnx_fft.model.shapes import MAX_SHAPE_ELEMENTS, strip_data

_TYPED_DATA = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def model_opset(model: ModelProto) -> int:
    """Version of the default domain that the model imports, 1 if it imports none."""
    return next((entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), 1)


def convert_opset(model: ModelProto, target: int) -> ModelProto:
    """A copy at opset `target` of the default domain; OpsetError if onnx's version converter cannot make one.

    The converter sees no large tensor: they are put back by name, as are metadata, doc strings and annotations.
    """
    opset = model_opset(model)
    if target == opset:
        copy = ModelProto()
        copy.CopyFrom(model)
        return copy
    problem = _find_obstacle(model, opset, target)
    if problem:
        raise _error(opset, target, problem)
    try:
        converted = convert_version(strip_data(model), target)
        for before, after in zip(walk_bodies(model), walk_bodies(converted), strict=True):
            assert is_graph(before) and is_graph(after)  # models with functions do not come here
            _restore_graph(before, after)
        converted.doc_string = model.doc_string
        converted.ClearField("metadata_props")
        converted.metadata_props.extend(model.metadata_props)
    except Exception as error:  # the C++ converter raises RuntimeError, ValueError and types of its own
        raise _error(opset, target, one_line(error)) from error
    if any(_is_stripped(tensor) for tensor in walk_tensors(converted)):
        raise _error(opset, target, "the converter renamed a large constant")
    return converted


def _find_obstacle(model: ModelProto, opset: int, target: int) -> str:
    """Why the converter must not be tried, or ""."""
    if target < opset:
        return "the target is older than the model"
    if model.functions:
        return f"the converter drops model-local functions, and the model has {model.functions[0].name!r}"
    if any(body.sparse_initializer for body in walk_bodies(model) if is_graph(body)):
        return "the converter does not know sparse initializers"
    return ""


def _error(opset: int, target: int, problem: str) -> OpsetError:
    return OpsetError(
        f"got a model of opset {opset} that could not be converted to opset {target} ({problem})",
        hint="export the model again, or use a lowering that needs no newer opset",
    )


def _restore_graph(before: GraphProto, after: GraphProto) -> None:
    """Put back into `after`, in place, what the converter did not see or did not keep."""
    tensors = {tensor.name: tensor for tensor in before.initializer}
    for tensor in after.initializer:
        if _is_stripped(tensor) and tensor.name in tensors:
            tensor.CopyFrom(tensors[tensor.name])
    nodes = {node.output[0]: node for node in before.node if node.output}
    for node in after.node:
        original = nodes.get(node.output[0]) if node.output else None
        if original is None:
            node.ClearField("name")  # the converter gives several nodes the name of the one they came from
            continue
        node.name, node.doc_string = original.name, original.doc_string
        node.metadata_props.extend(original.metadata_props)
        constants = {attribute.name: attribute for attribute in original.attribute}
        for attribute in node.attribute:
            if attribute.HasField("t") and _is_stripped(attribute.t) and attribute.name in constants:
                attribute.CopyFrom(constants[attribute.name])
    after.doc_string = before.doc_string
    names = {name for node in after.node for name in node.output} | tensors.keys()
    kept_values = [value for value in before.value_info if value.name in names]
    for field, values in (
        ("input", before.input),
        ("output", before.output),
        ("value_info", kept_values),
        ("quantization_annotation", before.quantization_annotation),
        ("metadata_props", before.metadata_props),
    ):
        after.ClearField(field)
        getattr(after, field).extend(values)


def _is_stripped(tensor: TensorProto) -> bool:
    """Whether the tensor has a shape of a large one but no data."""
    has_data = tensor.raw_data or tensor.external_data or any(len(getattr(tensor, field)) for field in _TYPED_DATA)
    return prod(tensor.dims) > MAX_SHAPE_ELEMENTS and not has_data
