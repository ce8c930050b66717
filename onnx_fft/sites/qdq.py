"""Single nodes of quantized models, as ONNX Runtime (1.17.3 to 1.32) sees them: what moves values, what it folds."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import DEFAULT_DOMAINS, MICROSOFT_DOMAIN, Refused, Scope, read_attributes
from onnx_fft.model.weights import TensorType, resolve_constant, resolve_type

VANISHES = frozenset(("Identity", "Dropout", "Cast"))
"""Operators that do nothing, and that ONNX Runtime takes out first: a Cast of float32 to itself."""

MOVES = frozenset(("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice"))
"""Operators that ONNX Runtime has for integers as well: it computes them before the one, or behind the other."""

FOLDS = frozenset(("BatchNormalization", "Add", "Mul"))
"""Operators that it folds into a float weight."""

MAX_POOL_OPSET = 12
"""From it on, MaxPool takes integers."""

PAD_INPUTS_OPSET = 11
"""From it on, the lengths and the value of Pad are inputs."""


def is_plain(node: NodeProto, op_type: str) -> bool:
    """Whether a node is the QuantizeLinear or DequantizeLinear of ONNX or of ONNX Runtime."""
    is_complete = len(node.input) >= 2 and len(node.output) == 1
    return node.op_type == op_type and node.domain in (*DEFAULT_DOMAINS, MICROSOFT_DOMAIN) and is_complete


def describe(node: NodeProto) -> bytes:
    """What a node computes: of two that do the same, ONNX Runtime keeps one."""
    copy = NodeProto(op_type=node.op_type, domain=node.domain, input=node.input, attribute=node.attribute)
    return bytes(copy.SerializeToString(deterministic=True))


def lets_through(node: NodeProto, scope: Scope) -> bool:
    """Whether a node leaves values as they are, or computes the same of integers."""
    if node.domain not in DEFAULT_DOMAINS or not node.input or not node.output:
        return False
    if node.op_type == "Cast":
        return bool(_read(node, "to") == TensorProto.FLOAT)
    if node.op_type == "MaxPool":
        return scope.opset >= MAX_POOL_OPSET
    return node.op_type in VANISHES or node.op_type in MOVES


def is_zero_padding(node: NodeProto, scope: Scope) -> bool:
    """Whether ONNX Runtime can make a Pad part of the Conv: zeros, along spatial axes."""
    if node.op_type != "Pad" or not node.input or _read(node, "mode") not in (None, b"constant"):
        return False
    operands = [resolve_constant(name, scope) for name in node.input[1:3] if name]
    if scope.opset < PAD_INPUTS_OPSET:
        operands = [np.asarray(_read(node, "pads") or 0), np.asarray(_read(node, "value") or 0)]
    if not operands or any(isinstance(operand, Refusal) for operand in operands):
        return False
    pads, *value = (np.asarray(operand) for operand in operands)
    if any(operand.dtype.kind not in "iuf" for operand in (pads, *value)):
        return False
    has_axes = len(node.input) > 3 and node.input[3] != ""
    others = np.zeros(1) if has_axes or pads.size % 2 else pads.reshape(2, -1)[:, :2]
    return bool(np.all(pads >= 0) and not np.any(others) and not np.any(value))


def is_folded(node: NodeProto, scope: Scope, name: str, channels: int) -> bool:
    """Whether a node combines `name` with constants of one value a channel, or multiplies by one number."""
    if node.op_type not in FOLDS or node.domain not in DEFAULT_DOMAINS or not node.output:
        return False
    types = [resolve_type(operand, scope) for operand in node.input if operand != name]
    shapes = [found.shape for found in types if isinstance(found, TensorType)]
    is_number = node.op_type == "Mul" and shapes == [()]
    return is_number or (len(shapes) == len(types) > 0 and all(prod(shape) == channels for shape in shapes))


def _read(node: NodeProto, name: str) -> Any:
    """The value of an attribute; None if it is absent, or set by the caller of a function."""
    try:
        return read_attributes(node).get(name)
    except Refused:
        return None
