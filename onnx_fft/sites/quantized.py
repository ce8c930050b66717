"""Does ONNX Runtime compute a convolution in integers?

It makes one QLinearConv of DequantizeLinear -> Conv -> QuantizeLinear when it loads a model. What any version from
1.17.3 to 1.32 quantizes counts; the tests hold this against the models that ONNX Runtime optimizes.

- The input comes from a DequantizeLinear of 8 bits, directly or through operators that only move values.
- The weight does, too; or it is a float32 constant of the same body, which newer versions quantize themselves.
- The bias is absent, dequantized from int32 like the weight, or a float32 constant.
- QuantizeLinear to 8 bits alone reads the output, directly, through operators that only move values, or through a Relu
  or Clip that leaves alone all that it can represent. If the weight is float, what ONNX Runtime folds into it may come
  before: BatchNormalization, Add and Mul by a value a channel.

Functions are inlined before all this, so it goes on in their callers. A body of If, Loop or Scan is a model of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from onnx import NodeProto, TensorProto

from onnx_fft.model.scopes import Scope, is_graph
from onnx_fft.sites.qdq import (
    EIGHT_BITS,
    MOVES,
    Step,
    describe,
    has_one_scale,
    is_float_constant,
    is_folded,
    is_of,
    is_plain,
    is_redundant,
    is_zero_padding,
    lets_through,
)


@dataclass(frozen=True, slots=True)
class Passed:
    """What lies between a Conv and a reader behind it.

    `channels` are those of a float weight that more can be folded into, or 0; `limits` the Relus and Clips.
    """

    channels: int
    limits: tuple[Step, ...] = ()
    is_moved: bool = False

    def through(self, scope: Scope, node: NodeProto, name: str) -> Passed | None:
        """The same behind the only reader of `name`; None if it is computed in float."""
        if node.op_type in ("Relu", "Clip") and node.output:
            return Passed(0, (*self.limits, (scope, node)), self.is_moved)
        if lets_through(node, scope) and node.input[0] == name:
            is_moved = node.op_type in MOVES
            return Passed(0 if is_moved else self.channels, self.limits, self.is_moved or is_moved)
        return self if self.channels and is_folded(node, scope, name, self.channels) else None


@dataclass(slots=True)
class QuantizationTracer:
    """The edges of a model across the borders of functions, made once."""

    scopes: Sequence[Scope]
    _functions: dict[tuple[str, str], Scope] = field(init=False, default_factory=dict)
    _callers: dict[Scope, list[Step]] = field(init=False, default_factory=dict)
    _readers: dict[tuple[Scope, str], list[NodeProto]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Index the model."""
        for scope in self.scopes:
            if not is_graph(scope.body):
                self._functions[scope.body.domain, scope.body.name] = scope
        for scope in self.scopes:
            for node in scope.body.node:
                if (function := self._find_function(node)) is not None:
                    self._callers.setdefault(function, []).append((scope, node))
                for name in filter(None, node.input):
                    self._readers.setdefault((scope, name), []).append(node)

    def is_quantized(self, scope: Scope, conv: NodeProto, dtype: str, channels: int) -> bool:
        """Whether ONNX Runtime may compute a node of constant weight, `dtype`, and so many outputs in integers."""
        inputs, weights, biases = (
            self._find_dequantizers(scope, name) if name else [] for name in (*conv.input, "", "")[:3]
        )
        if conv.op_type != "Conv" or not inputs:
            return False
        is_float = not weights and dtype == "float32" and is_float_constant(conv.input[1], scope)
        has_bias = len(conv.input) > 2 and conv.input[2] != ""
        has_float_bias = has_bias and not biases
        if biases:
            takes_bias = not is_float and any(is_of(step, (TensorProto.INT32,)) for step, _ in biases)
        else:
            takes_bias = not has_bias or is_float_constant(conv.input[2], scope)
        needs_one_scale = is_float or has_float_bias
        return (
            takes_bias
            and (is_float or any(is_of(step, EIGHT_BITS) for step, _ in weights))
            and any(
                is_of(step, EIGHT_BITS) and (has_one_scale(step) or not (is_moved or needs_one_scale))
                for step, is_moved in inputs
            )
            and self._ends_quantized(scope, conv.output[0], Passed(channels if is_float else 0))
        )

    def _find_dequantizers(self, scope: Scope, name: str) -> list[tuple[Step, bool]]:
        """Each DequantizeLinear that `name` may come from, and whether operators move its values on the way."""
        found: list[tuple[Step, bool]] = []
        waiting, seen = [(scope, name, False)], set[tuple[Scope, str, bool]]()
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            scope, name, is_moved = place
            node = scope.producers.get(name)
            if node is None:
                waiting += [(outer, argument, is_moved) for outer, argument in self._find_arguments(scope, name)]
            elif (function := self._find_function(node)) is not None:
                waiting += [(function, result, is_moved) for result in _match(name, node.output, function.body.output)]
            elif is_plain(node, "DequantizeLinear"):
                found.append(((scope, node), is_moved))
            elif lets_through(node, scope) or is_zero_padding(node, scope):
                waiting.append((scope, node.input[0], is_moved or node.op_type in MOVES))
        return found

    def _ends_quantized(self, scope: Scope, name: str, passed: Passed) -> bool:
        """Whether QuantizeLinear alone reads `name` in the end, for some caller of the function that this may be in."""
        waiting, seen = [(scope, name, passed)], set[tuple[Scope, str]]()
        while waiting:
            scope, name, passed = waiting.pop()
            if (scope, name) in seen:
                continue
            seen.add((scope, name))
            readers = self._readers.get((scope, name), [])
            if not readers and not is_graph(scope.body):
                calls = self._callers.get(scope, [])
                results = [
                    (outer, each) for outer, call in calls for each in _match(name, scope.body.output, call.output)
                ]
                waiting += [(outer, result, passed) for outer, result in results]
            if scope.reads[name] != len(readers) or len({describe(node) for node in readers}) != 1:
                continue  # the body gives it, one within reads it, or several nodes do
            node = readers[0]
            if is_plain(node, "QuantizeLinear"):
                if _quantizes((scope, node), passed):
                    return True
            elif len(readers) == 1 and (function := self._find_function(node)) is not None:
                waiting += [(function, inner, passed) for inner in _match(name, node.input, function.body.input)]
            elif len(readers) == 1 and (after := passed.through(scope, node, name)) is not None:
                waiting.append((scope, node.output[0], after))
        return False

    def _find_arguments(self, scope: Scope, name: str) -> list[tuple[Scope, str]]:
        """What callers pass as the input `name` of a function."""
        if is_graph(scope.body):
            return []
        calls = self._callers.get(scope, [])
        return [(outer, each) for outer, call in calls for each in _match(name, scope.body.input, call.input)]

    def _find_function(self, node: NodeProto) -> Scope | None:
        return self._functions.get((node.domain, node.op_type))


def _match(name: str, names: Iterable[str], others: Iterable[str]) -> list[str]:
    """The names of `others` at the places that `name` has among `names`."""
    return [other for each, other in zip(names, others, strict=False) if each == name and other]


def _quantizes(step: Step, passed: Passed) -> bool:
    """Whether ONNX Runtime makes a QuantizeLinear part of the Conv with this between them."""
    fits = is_of(step, EIGHT_BITS) and all(is_redundant(limit, step) for limit in passed.limits)
    return fits and (has_one_scale(step) or not passed.is_moved)
