"""How a node is written in the next version of its operator, for each change that is more than an addition.

A rule `(node, place) -> nodes` gets a copy of the node, which it may change, as the version before has it, and returns
what computes the same in the new version, in topological order. It raises Refused where nothing is sure to do so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, TypeProto, helper, numpy_helper

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import Refused, Scope, read_attributes
from onnx_fft.model.weights import resolve_constant

Rule = Callable[[NodeProto, "Place"], list[NodeProto]]
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands: its scope, the types that are known there and around, and fresh names."""

    scope: Scope
    types: Mapping[Scope, Mapping[str, TypeProto]]
    names: Iterator[str]
    made: dict[str, TensorProto] = field(default_factory=dict)
    """The constants that rules have added for this node."""

    def add_constant(self, value: NDArray[Any]) -> str:
        """The name of a new constant."""
        return self._add(numpy_helper.from_array(np.asarray(value)))

    def find_constant(self, name: str) -> NDArray[Any] | None:
        """The value of a constant, None if it has none before run time."""
        if name in self.made:
            return numpy_helper.to_array(self.made[name])
        value = resolve_constant(name, self.scope)
        return None if isinstance(value, Refusal) else value

    def find_type(self, name: str) -> tuple[int, int | None]:
        """Element type and number of axes; 0 and None if they are not known."""
        owner = self.scope.find_owner(name)
        if owner is None:
            return 0, None
        tensor = owner.tensors.get(name)
        if isinstance(tensor, TensorProto):
            return tensor.data_type, len(tensor.dims)
        kind = self.types[owner].get(name, TypeProto()).tensor_type
        return kind.elem_type, len(kind.shape.dim) if kind.HasField("shape") else None

    def make_scalar(self, value: float, like: str) -> str:
        """The name of a new scalar of the element type of `like`."""
        elem_type, _ = self.find_type(like)
        if elem_type not in FLOATS:
            raise Refused("opset", f"{like!r} is not known to hold floats")
        return self._add(helper.make_tensor("", elem_type, [], [value]))

    def _add(self, tensor: TensorProto) -> str:
        tensor.name = next(self.names)
        self.made[tensor.name] = tensor
        return tensor.name


def _pop(node: NodeProto, name: str, default: Any = None) -> Any:
    """Take an attribute away and return its value."""
    value = read_attributes(node).get(name, default)
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    return value


def _set_input(node: NodeProto, position: int, name: str) -> None:
    while len(node.input) <= position:
        node.input.append("")
    node.input[position] = name


def _move_attributes(node: NodeProto, place: Place, **positions: int) -> list[NodeProto]:
    """Attributes of integers become inputs at these positions."""
    for name, position in positions.items():
        value = _pop(node, name)
        if value is not None and value != []:
            _set_input(node, position, place.add_constant(np.array(value, np.int64)))
    return [node]


def _broadcast(node: NodeProto, place: Place) -> list[NodeProto]:
    """Opset 6 aligned the second operand at `axis`, or, without that, at the last axis as all newer ones do."""
    if _pop(node, "axis") is not None:
        raise Refused("opset", "an operand that is aligned at an axis cannot be written as simply in opset 7")
    _pop(node, "broadcast")
    return [node]


def _forget_test(node: NodeProto, place: Place) -> list[NodeProto]:
    if not _pop(node, "is_test", 0):
        raise Refused("opset", f"{node.op_type} of opset 6 without is_test=1 is in training mode")
    return [node]


def _bound_clip(node: NodeProto, place: Place) -> list[NodeProto]:
    for position, name in enumerate(("min", "max"), 1):
        value = _pop(node, name)
        if value is not None:
            _set_input(node, position, place.make_scalar(value, node.input[0]))
    return [node]


def _pad(node: NodeProto, place: Place) -> list[NodeProto]:
    value = _pop(node, "value", 0.0)
    _move_attributes(node, place, pads=1)
    if value:
        _set_input(node, 2, place.make_scalar(value, node.input[0]))
    return [node]


def _top_k(node: NodeProto, place: Place) -> list[NodeProto]:
    _set_input(node, 1, place.add_constant(np.array([_pop(node, "k")], np.int64)))
    return [node]


def _drop_mask(node: NodeProto, place: Place) -> list[NodeProto]:
    """A mask was of the input's type before opset 10, and is one of bool from there on."""
    if any(place.scope.reads[name] for name in node.output[1:]):
        raise Refused("opset", "the mask of Dropout is another type in opset 10")
    del node.output[1:]
    return [node]


def _rate_dropout(node: NodeProto, place: Place) -> list[NodeProto]:
    ratio = _pop(node, "ratio")
    if ratio is not None:
        _set_input(node, 1, place.add_constant(np.array(ratio, np.float32)))
    return [node]


def _number_split(node: NodeProto, place: Place) -> list[NodeProto]:
    if len(node.input) < 2 or not node.input[1]:
        node.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
    return [node]


def _flatten(node: NodeProto, place: Place) -> list[NodeProto]:
    """Softmax and its kin worked on a matrix, [axes before `axis`, the others], and now work along one axis."""
    axis = _pop(node, "axis", 1)
    x, y = node.input[0], node.output[0]
    _, rank = place.find_type(x)
    if axis == -1 or (rank is not None and axis == rank - 1):
        node.attribute.append(helper.make_attribute("axis", axis))
        return [node]
    flat, result, shape = (next(place.names) for _ in range(3))
    node.attribute.append(helper.make_attribute("axis", -1))
    node.input[0], node.output[0] = flat, result
    return [
        helper.make_node("Flatten", [x], [flat], flat, axis=axis),
        node,
        helper.make_node("Shape", [x], [shape], shape),
        helper.make_node("Reshape", [result, shape], [y], f"{result}/shaped"),
    ]


def _scale_upsample(node: NodeProto, place: Place) -> list[NodeProto]:
    _set_input(node, 1, place.add_constant(np.array(_pop(node, "scales"), np.float32)))
    return [node]


def _rename(node: NodeProto, place: Place, *, op_type: str) -> list[NodeProto]:
    node.op_type = op_type
    return [node]


def _place_resize(node: NodeProto, place: Place) -> list[NodeProto]:
    """Resize of opset 10 samples at `y / scale`; nearest takes the sample before if it enlarges, else the one after."""
    if read_attributes(node).get("mode", b"nearest") == b"nearest":
        scales = place.find_constant(node.input[1])
        if scales is None or not scales.size or scales.dtype != np.float32 or scales.min() < 1 < scales.max():
            raise Refused("opset", "scales that are computed, or that enlarge and shrink, round otherwise in opset 11")
        node.attribute.append(helper.make_attribute("nearest_mode", "ceil" if scales.min() < 1 else "floor"))
    node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
    node.input.insert(1, place.add_constant(np.zeros(0, np.float32)))  # the region, read by another mode only
    return [node]


def _check_resize(node: NodeProto, place: Place) -> list[NodeProto]:
    if read_attributes(node).get("coordinate_transformation_mode") == b"tf_half_pixel_for_nn":
        raise Refused("opset", "coordinate_transformation_mode tf_half_pixel_for_nn ends with opset 12")
    return [node]


def _fix_default(node: NodeProto, place: Place, *, name: str, value: str) -> list[NodeProto]:
    """State what the older version did without saying so."""
    if name not in read_attributes(node):
        node.attribute.append(helper.make_attribute(name, value))
    return [node]


def _rename_mode(node: NodeProto, place: Place) -> list[NodeProto]:
    mode = _pop(node, "mode", b"bilinear").decode(errors="replace")
    names = {"bilinear": "linear", "bicubic": "cubic"}
    node.attribute.append(helper.make_attribute("mode", names.get(mode, mode)))
    return [node]


def _forget_spatial(node: NodeProto, place: Place) -> list[NodeProto]:
    if _pop(node, "spatial", 1) != 1:
        raise Refused("opset", "BatchNormalization with spatial=0 ends with opset 8")
    return [node]


def _check_training(node: NodeProto, place: Place) -> list[NodeProto]:
    if any(node.output[1:]):
        raise Refused("opset", "BatchNormalization in training mode has other outputs in opset 14")
    del node.output[1:]
    return [node]


def _take_axis(node: NodeProto, place: Place) -> list[NodeProto]:
    _set_input(node, 2, place.add_constant(np.array(_pop(node, "axis", 1), np.int64)))
    return [node]


def _repeat_scales(node: NodeProto, place: Place) -> list[NodeProto]:
    """GroupNormalization of opset 18 has a scale and a bias per group; now there is one per channel."""
    groups = read_attributes(node)["num_groups"]
    channels, share, sizes = (next(place.names) for _ in range(3))
    count, one = place.add_constant(np.array([groups])), place.add_constant(np.array([1]))
    column, flat = place.add_constant(np.array([-1, 1])), place.add_constant(np.array([-1]))
    nodes = [
        helper.make_node("Shape", [node.input[0]], [channels], channels, start=1, end=2),
        helper.make_node("Div", [channels, count], [share], share),
        helper.make_node("Concat", [one, share], [sizes], sizes, axis=0),
    ]
    for position in (1, 2):
        columns, repeated, result = (next(place.names) for _ in range(3))
        nodes += [
            helper.make_node("Reshape", [node.input[position], column], [columns], columns),
            helper.make_node("Expand", [columns, sizes], [repeated], repeated),
            helper.make_node("Reshape", [repeated, flat], [result], result),
        ]
        node.input[position] = result
    return [*nodes, node]


def _check_float(node: NodeProto, place: Place) -> list[NodeProto]:
    if place.find_type(node.input[0])[0] not in FLOATS:
        raise Refused("opset", f"{node.op_type} is for floats only there, and {node.input[0]!r} is not known as one")
    return [node]


def _refuse(node: NodeProto, place: Place, *, reason: str) -> list[NodeProto]:
    raise Refused("opset", reason)


def _list_rules() -> Iterator[tuple[tuple[str, int], Rule]]:
    for op_type in ("Add", "And", "Div", "Equal", "Gemm", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"):
        yield (op_type, 7), _broadcast
    for op_type in ("BatchNormalization", "Dropout"):
        yield (op_type, 7), _forget_test
    for op_type in ("Squeeze", "Unsqueeze", "ReduceSum"):
        yield (op_type, 13), partial(_move_attributes, axes=1)
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare"):
        yield (f"Reduce{kind}", 18), partial(_move_attributes, axes=1)
    for op_type in ("Softmax", "LogSoftmax", "Hardmax"):
        yield (op_type, 13), _flatten
    for place in (("Erf", 13), ("ReduceLogSum", 28), ("ReduceLogSumExp", 28)):
        yield place, _check_float


RULES: Mapping[tuple[str, int], Rule] = {
    ("Attention", 25): partial(_refuse, reason="Attention of opset 25 treats what a mask hides otherwise"),
    ("BatchNormalization", 9): _forget_spatial,
    ("BatchNormalization", 14): _check_training,
    ("Clip", 11): _bound_clip,
    ("DFT", 20): _take_axis,
    ("Dropout", 10): _drop_mask,
    ("Dropout", 12): _rate_dropout,
    ("GridSample", 20): _rename_mode,
    ("GroupNormalization", 21): _repeat_scales,
    ("PRelu", 7): partial(_refuse, reason="PRelu of opset 6 has slopes of channels, newer ones align them otherwise"),
    ("Pad", 11): _pad,
    ("Resize", 11): _place_resize,
    ("Resize", 13): _check_resize,
    ("RoiAlign", 16): partial(_fix_default, name="coordinate_transformation_mode", value="output_half_pixel"),
    ("Scatter", 11): partial(_rename, op_type="ScatterElements"),
    ("Slice", 10): partial(_move_attributes, starts=1, ends=2, axes=3),
    ("Split", 13): partial(_move_attributes, split=1),
    ("Split", 18): _number_split,
    ("TopK", 10): _top_k,
    ("Upsample", 9): _scale_upsample,
    ("Upsample", 10): partial(_rename, op_type="Resize"),
    **dict(_list_rules()),
}
"""By operator and the version that changed it."""
