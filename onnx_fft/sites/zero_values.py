"""What operators make of the one value that zeros give many places.

A sum over zeros is exactly its bias, in all places alike; a transform makes that bias +- noise. `Shared` is such a
value with its noise, and `follow` takes it through an operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import Refused, Scope, read_attributes
from onnx_fft.model.weights import resolve_constant

Values = NDArray[np.float64]

NOISE = 0.5
"""What a constant must be for noise not to matter beside it. Data may be pixels of 16 bits and filters may add up to
hundreds, so noise is 1e-2 at times, and Log(x + 1e-2) or 1 / (x + 0.1) shows it."""
NOISE_OF_SQUARES = 1e-10
"""The same for squares of noise, which are not negative: power spectra of sound get 1e-10, variances 1e-8 or more."""
LEAST_FACTOR = 100
"""A smaller factor is of a layer, such as the scale of a normalization: noise does not grow from layer to layer."""
UNKNOWN = float("nan")
MOST_VALUES = 4096
"""Larger constants are positions or the like, no biases: they do not move all zeros away."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What exact zeros have become: one value, or one a channel; NaN is unknown, and none are unknown ones that differ.

    `noise` is what a number must exceed for the noise not to matter beside it.
    """

    values: tuple[float, ...]
    noise: float = NOISE
    is_square: bool = False
    """Whether the noise was squared, so that it is not negative."""

    @property
    def is_zero(self) -> bool:
        """Whether nothing has moved the zeros."""
        return bool(self.values) and not any(self.values)

    def is_near(self, edge: float) -> bool:
        """Whether noise may carry a value over the edge."""
        return any(abs(value - edge) <= self.noise for value in self.values)


def list_names(names: str) -> frozenset[str]:
    """Operators by name."""
    return frozenset(names.split())


NORMALIZES = list_names("LayerNormalization GroupNormalization InstanceNormalization")

PASSES_ZEROS = list_names(
    "Relu LeakyRelu PRelu ThresholdedRelu Elu Selu Celu Gelu FastGelu HardSwish Mish Swish Shrink Softsign Tanh Erf "
    "Sin Tan Asin Atan Sinh Asinh Atanh Abs Neg Identity Dropout Mul Div Pow Max Min Sum Mean Clip Concat Reshape "
    "Transpose Squeeze Unsqueeze Flatten Slice Split SplitToSequence SequenceConstruct SequenceAt "
    "ConcatFromSequence Gather GatherElements GatherND ScatterElements ScatterND Expand Tile Pad Resize Upsample "
    "SpaceToDepth DepthToSpace Trilu ReverseSequence Compress MaxPool MaxUnpool AveragePool LpPool GlobalMaxPool "
    "GlobalAveragePool GlobalLpPool MaxRoiPool RoiAlign ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd "
    "ReduceL1 ReduceL2 ReduceSumSquare CumSum MatMul Einsum DFT STFT Col2Im GridSample MeanVarianceNormalization LRN "
    "Cast CastLike Where Add Sub Conv ConvTranspose FusedConv Gemm Rfft Irfft ComplexMul BatchNormalization "
    "LayerNormalization GroupNormalization InstanceNormalization ReduceLogSumExp"
)
"""Operators whose result is exactly 0 wherever all that an element reads is, but for a bias."""

SHARES_A_VALUE = list_names(
    "Sigmoid HardSigmoid Softplus Exp Cos Cosh Softmax LogSoftmax Log Sqrt Reciprocal Acos Acosh"
)
"""Operators that make one and the same value of all zeros, or of another value, which is not 0."""

KEEPS_VALUES = list_names(
    "Identity Dropout Concat Reshape Transpose Squeeze Unsqueeze Flatten Slice Split SplitToSequence "
    "SequenceConstruct SequenceAt ConcatFromSequence Gather GatherElements GatherND Expand Tile Resize Upsample "
    "SpaceToDepth DepthToSpace MaxPool AveragePool GlobalMaxPool GlobalAveragePool Cast CastLike ReduceLogSumExp "
    "Compress MaxRoiPool RoiAlign Where Max Min Clip"
)
MIXES = list_names("Conv ConvTranspose FusedConv Gemm MatMul Einsum")
"""Operators that make of one value as many as they have weights."""


def _softmax(x: Values) -> Values:
    return np.asarray(np.exp(x - x.max()) / np.exp(x - x.max()).sum()) if x.size > 1 else np.full_like(x, np.nan)


COMPUTES: dict[str, Callable[[Values], Values]] = {
    "Relu": lambda x: np.maximum(x, 0),
    "Neg": lambda x: -x,
    "Abs": np.abs,
    "Exp": np.exp,
    "Log": np.log,
    "Sqrt": np.sqrt,
    "Reciprocal": lambda x: 1 / x,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "HardSigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "Softplus": lambda x: np.log1p(np.exp(x)),
    "Tanh": np.tanh,
    "Sin": np.sin,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}
COMBINES: dict[str, Callable[[Values, Values], Values]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
}


def follow(node: NodeProto, position: int, scope: Scope, shared: Shared) -> Shared | None:
    """What a node makes of `shared` in this input, None if nothing worth following."""
    op_type = node.op_type
    if op_type not in PASSES_ZEROS and op_type not in SHARES_A_VALUE:
        return None
    if op_type == "Sqrt" and shared.is_square and shared.is_near(0):
        root = NOISE * float(np.sqrt(shared.noise / NOISE_OF_SQUARES))
        return replace(shared, values=(0.0,), noise=_limit(root), is_square=False)
    is_power = op_type == "Pow" and position == 0 and read_whole_power(node, scope) > 1
    is_product = op_type == "Mul" and node.input[:1] == node.input[1:]
    if is_power or is_product or op_type == "ReduceSumSquare":
        return _square(shared)
    if op_type == "BatchNormalization":
        return replace(shared, values=_normalize(node, scope, shared.values))
    if op_type in MIXES or op_type in NORMALIZES:
        return Shared(_mix(node, scope, shared))
    if op_type in COMBINES:
        return _combine(node, position, scope, shared)
    if op_type in COMPUTES:
        x = np.array(shared.values)
        with np.errstate(all="ignore"):
            noise = _limit(_steepen(op_type, x, shared.noise))
            return replace(shared, values=pack_values(COMPUTES[op_type](x)), noise=noise)
    if op_type in KEEPS_VALUES or (shared.is_zero and op_type in PASSES_ZEROS):
        return shared
    return replace(shared, values=_forget(shared.values))


def read_constant(node: NodeProto, place: int, scope: Scope) -> Values | None:
    """The values of a constant operand in one dimension, None if there is none."""
    if not 0 <= place < len(node.input) or not node.input[place]:
        return None
    value = resolve_constant(node.input[place], scope)
    return None if isinstance(value, Refusal) or value.dtype.kind not in "fiub" else value.astype(np.float64).ravel()


def _combine(node: NodeProto, position: int, scope: Scope, shared: Shared) -> Shared:
    """Behind an operator of two operands: a constant moves or scales the value, another value may be anything."""
    other = read_constant(node, 1 - position, scope) if len(node.input) == 2 else None
    if other is None or not other.size or (node.op_type == "Div" and position == 1):
        restored = node.op_type == "Sub" or shared.is_zero
        return shared if shared.is_zero else replace(shared, values=(0.0,) if restored else _forget(shared.values))
    values = np.array(shared.values)
    distinct = np.unique(other)
    other = distinct if distinct.size == 1 else other
    noise = shared.noise
    with np.errstate(all="ignore"):
        size = float(np.median(np.abs(other)))
        factors = {"Mul": size, "Div": 1 / size if size else np.inf}
        factor = factors.get(node.op_type, 1.0)
        noise *= 1.0 if 1 / LEAST_FACTOR < factor < LEAST_FACTOR else factor
        if other.size <= MOST_VALUES and (1 in (values.size, other.size) or values.size == other.size):
            pair = (values, other) if position == 0 else (other, values)
            values = COMBINES[node.op_type](*pair) if values.size else values
    return replace(shared, values=pack_values(values), noise=_limit(noise))


def _square(shared: Shared) -> Shared:
    values = tuple(value * value for value in shared.values)
    if not shared.is_zero or shared.is_square:
        return replace(shared, values=values)
    return Shared(values, _limit(NOISE_OF_SQUARES * (shared.noise / NOISE) ** 2), is_square=True)


def _mix(node: NodeProto, scope: Scope, shared: Shared) -> tuple[float, ...]:
    """Behind weights: the bias if nothing else is there; channel by channel the same value if there was one."""
    if shared.is_zero:
        place = {"MatMul": 99, "Einsum": 99}.get(node.op_type, 2)
        bias = read_constant(node, place, scope)
        return (0.0,) if bias is None or not 0 < bias.size <= MOST_VALUES else pack_values(bias)
    is_depthwise = read_number(node, "group", 1) > 1
    return _forget(shared.values) if is_depthwise else ()


def _normalize(node: NodeProto, scope: Scope, values: tuple[float, ...]) -> tuple[float, ...]:
    found = [read_constant(node, place, scope) for place in range(1, 5)]
    given = [each for each in found if each is not None]
    if len(given) < 4 or len(values) not in (1, given[0].size):
        return _forget(values)
    scale, bias, mean, variance = given
    return pack_values(
        (np.array(values) - mean) / np.sqrt(variance + read_number(node, "epsilon", 1e-5)) * scale + bias
    )


def _forget(values: tuple[float, ...]) -> tuple[float, ...]:
    """Unknown values: of each channel its own if they were different, else one."""
    is_apart = len(values) != 1 and len(set(values)) == len(values)
    return () if is_apart else (UNKNOWN,)


def _steepen(op_type: str, x: Values, noise: float) -> float:
    """The noise behind a function that is steep at `x`."""
    least = np.abs(x).min(initial=np.inf)
    slopes = {
        "Sqrt": 0.5 / np.sqrt(least),
        "Log": 1 / least,
        "Reciprocal": 1 / np.square(least),
        "Exp": np.exp(x.max(initial=0.0)),
        "Sigmoid": 0.25,
    }
    slope = float(slopes.get(op_type, 1.0))
    return noise * slope if np.isfinite(slope) else noise


def read_whole_power(node: NodeProto, scope: Scope) -> int:
    """The exponent of a Pow if it is one positive whole number: then 0 stays 0, and noise noise; 0 otherwise."""
    value = read_constant(node, 1, scope)
    if value is None or value.size != 1 or value.item() <= 0 or value.item() != round(value.item()):
        return 0
    return int(value.item())


def pack_values(values: Values) -> tuple[float, ...]:
    """One value if all are the same. All NaN are one object, because tuples that hold it are compared."""
    distinct = values[:1] if np.unique(values).size == 1 else values
    return tuple(UNKNOWN if np.isnan(value) else value for value in distinct.tolist())


def _limit(noise: float) -> float:
    """One digit of it, within bounds: a loop may multiply for ever."""
    return float(f"{min(max(noise, 1e-12), 1e12):.0e}")


def read_number(node: NodeProto, name: str, default: float) -> float:
    """An attribute that is a number."""
    try:
        return float(read_attributes(node).get(name, default))
    except Refused:
        return default
