"""Does anything behind a convolution turn on exact zeros?

A sum over zeros is exactly 0, and what transforms make of it is +-1e-7. Most operators do not care. A square root or a
logarithm makes NaN of the negative half, a quotient anything, and a decision (a comparison, a rounding, an ArgMax) goes
by a coin toss. So this follows an output forwards, through operators that let exact zeros through, to the first that
turns on them. A value that a constant moves away from 0 is followed no further: a bias of 1 and one of 1 +- 1e-7
compare alike with all but that very bias.

*Values* are what Sqrt, Log, Div, Reciprocal and Pow turn on. *Decisions* turn on any value that many places share, so
they are looked for behind Sigmoid and Softmax as well, which make one constant of all zeros.

*Squares* of noise are 1e-14 and not negative. A square root of them is noise again, no worse than before, and a small
constant outweighs them, as in the variance of a normalization.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import (
    FunctionKey,
    Refused,
    Scope,
    find_bodies,
    function_key,
    is_graph,
    read_attributes,
)
from onnx_fft.model.weights import resolve_constant

Place = tuple[Scope, str]
"""A value: the scope that defines it, and its name there."""

Trace = tuple[Place, int]
"""A value, and the power of the noise that exact zeros have become there: 1, 2 for its square, or 0 if zeros have
become another value that many places share."""


def _list(names: str) -> frozenset[str]:
    return frozenset(names.split())


TURNS_ON_VALUES = {
    "Sqrt": (0,),
    "Log": (0,),
    "Div": (1,),
    "Reciprocal": (0,),
    "Pow": (0,),
    "Rsqrt": (0,),
    "ReduceLogSum": (0,),
    "LpNormalization": (0,),
    "Mod": (0, 1),
}
"""Operators that make something else of +-1e-7 than of 0, and of which input."""

DECIDES = _list(
    "Greater GreaterOrEqual Less LessOrEqual Equal Sign Ceil Floor Round NonZero ArgMax ArgMin TopK Hardmax Unique "
    "And Or Xor Not"
)
"""Operators whose result jumps."""

PASSES_ZEROS = _list(
    "Relu LeakyRelu PRelu ThresholdedRelu Elu Selu Celu Gelu FastGelu HardSwish Mish Swish Shrink Softsign Tanh Erf "
    "Sin Tan Asin Atan Sinh Asinh Atanh Abs Neg Identity Dropout Mul Div Pow Max Min Sum Mean Clip Concat Reshape "
    "Transpose Squeeze Unsqueeze Flatten Slice Split SplitToSequence SequenceConstruct SequenceAt "
    "ConcatFromSequence Gather GatherElements GatherND ScatterElements ScatterND Expand Tile Pad Resize Upsample "
    "SpaceToDepth DepthToSpace Trilu ReverseSequence Compress MaxPool AveragePool LpPool GlobalMaxPool "
    "GlobalAveragePool GlobalLpPool MaxRoiPool RoiAlign ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd "
    "ReduceL1 ReduceL2 ReduceSumSquare CumSum MatMul Einsum DFT STFT Col2Im GridSample MeanVarianceNormalization "
    "Cast CastLike Where Add Sub Conv ConvTranspose FusedConv Gemm Rfft Irfft ComplexMul"
)
"""Operators whose result is exactly 0 wherever all that an element reads is."""

SHARES_A_VALUE = _list("Sigmoid HardSigmoid Softplus Exp Cos Cosh Softmax LogSoftmax")
"""Operators that make one and the same value of all zeros, which is not 0."""

OUTWEIGHS = {1: 1e-3, 2: 1e-11}
"""By the power of the noise, what a constant must be for noise not to matter beside it: not so in Log(x + 1e-10)."""

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


@dataclass(slots=True)
class ZeroTracer:
    """Forward edges of a model, made once: who reads each value, and where it comes out of a body or a function."""

    scopes: Sequence[Scope]
    _readers: dict[Place, list[tuple[Scope, NodeProto, int]]] = field(init=False, default_factory=dict)
    _exits: dict[Place, list[Place]] = field(init=False, default_factory=dict)
    _functions: dict[FunctionKey, Scope] = field(init=False, default_factory=dict)
    _bodies: dict[int, Scope] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Index the model."""
        for scope in self.scopes:
            self._bodies[id(scope.body)] = scope
            if not is_graph(scope.body):
                self._functions[function_key(scope.body)] = scope
        for scope in self.scopes:
            for node in scope.body.node:
                for position, name in enumerate(node.input):
                    if name and (owner := scope.find_owner(name)) is not None:
                        self._readers.setdefault((owner, name), []).append((scope, node, position))
                for _, graph in find_bodies(node):
                    self._join_body(scope, node, self._bodies[id(graph)])
                if (function := self._functions.get(function_key(node))) is not None:
                    self._join(function, list(function.body.output), scope, node.output)

    def find_reader(self, scope: Scope, output: str, bias: NDArray[np.float64] | None = None) -> str:
        """The first operator behind `output` that turns on exact zeros, as `Sqrt 'norm'`; "" if there is none.

        `bias` is what was added to the output, one value a channel.
        """
        if bias is not None and np.all(np.abs(bias) >= OUTWEIGHS[1]):
            return ""
        seen: set[Trace] = set()
        waiting: list[Trace] = [((scope.find_owner(output) or scope, output), 1)]
        while waiting:
            trace = waiting.pop(0)
            if trace in seen:
                continue
            seen.add(trace)
            place, power = trace
            for reader_scope, node, position in self._readers.get(place, ()):
                if _turns_on(node, position, reader_scope, power):
                    return f"{node.op_type} {(node.name or ''.join(node.output[:1]))!r}"
                waiting += self._follow(reader_scope, node, position, power)
            waiting += [(after, power) for after in self._exits.get(place, ())]
        return ""

    def _follow(self, scope: Scope, node: NodeProto, position: int, power: int) -> Iterator[Trace]:
        """What a node makes of the noise in one input."""
        if (function := self._functions.get(function_key(node))) is not None:
            if position < len(function.body.input):
                yield (function, function.body.input[position]), power
            return
        if node.op_type in ("Loop", "Scan"):
            for _, graph in find_bodies(node):
                if position < len(graph.input):
                    yield (self._bodies[id(graph)], graph.input[position].name), power
        after = _power_after(node, position, scope, power)
        if after is not None:
            yield from (((scope, name), after) for name in node.output if name)

    def _join_body(self, scope: Scope, node: NodeProto, inner: Scope) -> None:
        """What a body of If, Loop or Scan yields comes out of the node; a Loop's first output is its condition."""
        assert is_graph(inner.body)
        names = [value.name for value in inner.body.output]
        self._join(inner, names[1:] if node.op_type == "Loop" else names, scope, node.output)

    def _join(self, inner: Scope, names: Sequence[str], scope: Scope, outputs: Sequence[str]) -> None:
        for name, output in zip(names, outputs, strict=False):
            owner = inner.find_owner(name)
            if owner is not None and output:
                self._exits.setdefault((owner, name), []).append((scope, output))


def _turns_on(node: NodeProto, position: int, scope: Scope, power: int) -> bool:
    """Whether a node turns on noise of this power in this input, or (0) on a value that many places share."""
    if node.op_type in DECIDES or (node.op_type == "Where" and position == 0):
        return True
    if node.op_type == "Cast":
        return _read(node, "to", TensorProto.FLOAT) not in FLOATS
    if power == 0 or position not in TURNS_ON_VALUES.get(node.op_type, ()):
        return False
    if node.op_type == "Pow":
        return _whole_power(node, scope) == 0
    return node.op_type != "Sqrt" or power == 1


def _power_after(node: NodeProto, position: int, scope: Scope, power: int) -> int | None:
    """The power of the noise behind a node, None if there is none worth following."""
    if node.op_type in SHARES_A_VALUE:
        return 0
    if node.op_type == "Sqrt":
        return 1 if power == 2 else None
    if node.op_type not in PASSES_ZEROS or (power and _outweighs(node, position, scope, OUTWEIGHS[power])):
        return None
    squares = node.op_type == "ReduceSumSquare" or (node.op_type == "Mul" and node.input[:1] == node.input[1:])
    squares = squares or (node.op_type == "Pow" and position == 0 and _whole_power(node, scope) > 1)
    return 2 if power and squares else power


def _outweighs(node: NodeProto, position: int, scope: Scope, least: float) -> bool:
    """Whether a constant operand of at least this size moves every zero away from 0."""
    operands = {"Add": 1 - position, "Sub": 1 - position, "Conv": 2, "ConvTranspose": 2, "FusedConv": 2, "Gemm": 2}
    place = operands.get(node.op_type)
    if place is None or place == position or place >= len(node.input) or not node.input[place]:
        return False
    value = resolve_constant(node.input[place], scope)
    return not isinstance(value, Refusal) and value.size > 0 and bool(np.all(np.abs(value) >= least))


def _whole_power(node: NodeProto, scope: Scope) -> int:
    """The exponent of a Pow if it is one positive whole number: then 0 stays 0, and noise noise; 0 otherwise."""
    value = resolve_constant(node.input[1], scope) if len(node.input) > 1 else Refusal("", "")
    if isinstance(value, Refusal) or value.size != 1 or value.item() <= 0 or value.item() != round(value.item()):
        return 0
    return int(value.item())


def _read(node: NodeProto, name: str, default: int) -> int:
    try:
        return int(read_attributes(node).get(name, default))
    except Refused:
        return default
