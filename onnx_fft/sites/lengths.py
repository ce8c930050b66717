"""Do two tensors have one shape in every run, along axes of open length, too?

A length is known by where it comes from: a number, or a tensor and its axis; or the window, stride and source of the
convolution that made it. So a residual is known to be as long as the sum that it is added to, without one number.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import DEFAULT_DOMAINS, MICROSOFT_DOMAIN, Refused, Scope, read_attributes
from onnx_fft.model.weights import resolve_type
from onnx_fft.sites.zero_values import list_names

Length = int | tuple[object, ...]
Lengths = dict[str, list[Length]]

KEEPS_SHAPE = list_names(
    "Relu LeakyRelu PRelu ThresholdedRelu Elu Selu Celu Gelu Mish Swish HardSwish HardSigmoid Sigmoid Softplus "
    "Softsign Tanh Erf Clip Abs Neg Exp Sin Cos Sqrt Identity Dropout Cast BatchNormalization InstanceNormalization "
    "GroupNormalization LayerNormalization Softmax"
)
"""Operators whose first output has the shape of their first input."""

BROADCASTS = list_names("Add Sub Mul Div Pow Max Min Sum Mean")


def trace_lengths(scope: Scope) -> Lengths:
    """The lengths of every tensor of a scope whose number of axes is known; equal ones are equal in every run."""
    found: Lengths = {}

    def find(name: str) -> list[Length] | None:
        if name not in found and (shape := scope.shapes.get(name)) is not None:
            found[name] = [(name, axis) if length is None else length for axis, length in enumerate(shape)]
        return found.get(name)

    for node in scope.body.node:
        for place, output in enumerate(filter(None, node.output)):
            shape = scope.shapes.get(output)
            if shape is None or None not in shape or place > 0:
                continue
            derived = _derive(node, [find(name) for name in node.input], scope)
            if derived is not None and len(derived) == len(shape):
                pairs = enumerate(zip(shape, derived, strict=True))
                found[output] = [
                    known if known is not None else (output, axis) if source is None else source
                    for axis, (known, source) in pairs
                ]
    for name in scope.shapes:
        find(name)
    return found


def _derive(node: NodeProto, inputs: list[list[Length] | None], scope: Scope) -> Sequence[Length | None] | None:
    """The lengths of a node's first output, None for those that nothing is known of."""
    is_fused = (node.domain, node.op_type) == (MICROSOFT_DOMAIN, "FusedConv")
    if not is_fused and node.domain not in DEFAULT_DOMAINS:
        return None
    if is_fused or node.op_type == "Conv":
        return _convolve(node, inputs[0], scope) if inputs else None
    if node.op_type in KEEPS_SHAPE:
        return inputs[0] if inputs else None
    return _broadcast(inputs) if node.op_type in BROADCASTS else None


def _broadcast(inputs: Sequence[list[Length] | None]) -> list[Length | None] | None:
    known = [lengths for lengths in inputs if lengths is not None]
    if len(known) < len(inputs):
        return None
    rank = max(map(len, known))
    ones: list[Length] = [1] * rank
    padded = [ones[len(lengths) :] + lengths for lengths in known]
    columns = [list(dict.fromkeys(length for length in column if length != 1)) for column in zip(*padded, strict=True)]
    return [1 if not column else column[0] if len(column) == 1 else None for column in columns]


def _convolve(node: NodeProto, x: list[Length] | None, scope: Scope) -> list[Length | None] | None:
    """An output has `(length + pads - span) // stride + 1` samples: as many as the input if that is all of them."""
    weight = resolve_type(node.input[1], scope)
    try:
        given = read_attributes(node)
    except Refused:
        return None
    if x is None or isinstance(weight, Refusal) or len(x) != len(weight.shape):
        return None
    rank = len(x) - 2
    mode = bytes(given.get("auto_pad", b"")).decode("utf-8", "replace")
    strides, dilations = given.get("strides") or [1] * rank, given.get("dilations") or [1] * rank
    pads = given.get("pads") or [0] * 2 * rank
    if (len(strides), len(dilations), len(pads)) != (rank, rank, 2 * rank):
        return None
    lengths: list[Length | None] = [x[0], weight.shape[0]]
    for axis, source in enumerate(x[2:]):
        is_same = mode in ("SAME_UPPER", "SAME_LOWER")
        padding = 0 if mode == "VALID" else pads[axis] + pads[axis + rank]
        spare = 0 if is_same else padding - dilations[axis] * (weight.shape[axis + 2] - 1)
        is_source = spare == 0 and strides[axis] == 1
        lengths.append(source if is_source else ("conv", source, is_same, spare, strides[axis]))
    return lengths
