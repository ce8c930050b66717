"""Which operators turn on noise around a value that many places share.

At an edge: 0 for Sqrt, 1 for Acosh, a whole number for Floor; or wherever they rank or compare equal values.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto

from onnx_fft.model.scopes import Refused, Scope, read_attributes
from onnx_fft.sites.zero_values import (
    MOST_VALUES,
    NOISE,
    NOISE_OF_SQUARES,
    NORMALIZES,
    Shared,
    list_names,
    read_constant,
    read_number,
    read_whole_power,
)

EDGES: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    **dict.fromkeys(
        list_names("Sqrt Log Reciprocal Pow Rsqrt ReduceLogSum LpNormalization Sign NonZero"), ((0,), (0.0,))
    ),
    "Div": ((1,), (0.0,)),
    "Mod": ((0, 1), (0.0,)),
    "Acosh": ((0,), (1.0,)),
    **dict.fromkeys(list_names("Acos Asin Atanh"), ((0,), (-1.0, 1.0))),
}
"""Operators that turn at certain values: of which inputs, and where."""

RANKS = list_names("ArgMax ArgMin TopK Hardmax Unique")
"""Operators that order values, equal ones too."""

COMPARES = list_names("Greater GreaterOrEqual Less LessOrEqual Equal")

SATURATES = list_names("Clip Tanh Sigmoid HardSigmoid Erf Softsign Softmax Hardmax")

STEEP = 1e6
"""Behind such a factor, an operator that saturates is a step."""
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def turns_on(node: NodeProto, position: int, scope: Scope, shared: Shared) -> bool:
    """Whether a node turns on the noise around `shared` in this input."""
    op_type = node.op_type
    if op_type in RANKS:
        return position == 0 and not _is_apart(node, scope, shared)
    if op_type in COMPARES:
        other = read_constant(node, 1 - position, scope)
        return other is None or any(shared.is_near(edge) for edge in np.unique(other)[:MOST_VALUES].tolist())
    if op_type in SATURATES and shared.noise >= NOISE * STEEP and any(np.isfinite(shared.values)):
        return True
    if op_type in ("Floor", "Ceil", "Round", "Cast"):
        return _is_step(node, shared)
    if op_type in ("MaxPool", "GridSample", "DynamicQuantizeLinear", "MeanVarianceNormalization", *NORMALIZES):
        return _ranks_or_normalizes(node, position)
    positions, edges = EDGES.get(op_type, ((), ()))
    if position not in positions or (op_type == "Sqrt" and shared.is_square):
        return False
    if op_type == "Pow" and read_whole_power(node, scope):
        return False
    return any(shared.is_near(edge) for edge in edges)


def _is_apart(node: NodeProto, scope: Scope, shared: Shared) -> bool:
    """Whether what is ranked differs even if all that the convolution read is zero: along channels of other biases."""
    dims = scope.shapes.get(node.input[0])
    axis = read_number(node, "axis", {"TopK": -1, "Hardmax": -1}.get(node.op_type, 0))
    if int(axis if axis >= 0 or dims is None else axis + len(dims)) != 1 or node.op_type == "Unique":
        return False
    if len(shared.values) <= 1:
        return not shared.values
    if dims is None or len(dims) < 2 or dims[1] != len(shared.values) or any(np.isnan(shared.values)):
        return False
    ordered = sorted(shared.values)
    gaps = np.diff(ordered)
    gap = {"ArgMax": gaps[-1], "ArgMin": gaps[0], "Hardmax": gaps[-1]}.get(node.op_type, gaps.min())
    return bool(gap > 0)


def _is_step(node: NodeProto, shared: Shared) -> bool:
    if node.op_type == "Cast":
        kind = read_number(node, "to", TensorProto.FLOAT)
        if kind in FLOATS:
            return False
        if kind == TensorProto.BOOL:
            return shared.is_near(0)
    values = np.array(shared.values)
    values = values[np.isfinite(values)] + (0.5 if node.op_type == "Round" else 0.0)
    return bool(np.any(np.abs(values - np.round(values)) <= shared.noise / 1000))


def _ranks_or_normalizes(node: NodeProto, position: int) -> bool:
    if node.op_type == "MaxPool":
        return len(node.output) > 1 and bool(node.output[1])
    if node.op_type == "GridSample":
        return position == 1 and _read_text(node, "mode") == "nearest"
    if node.op_type in NORMALIZES:
        return position == 0 and read_number(node, "epsilon", 1e-5) < NOISE_OF_SQUARES
    return True


def _read_text(node: NodeProto, name: str) -> str:
    try:
        value = read_attributes(node).get(name, "")
    except Refused:
        return ""
    return value.decode() if isinstance(value, bytes) else str(value)
