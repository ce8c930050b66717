"""Does ONNX Runtime compute a convolution in integers, or with an integer weight?

When it loads a model, it makes QLinearConv of a Conv between DequantizeLinear and QuantizeLinear if their types and the
operators between allow it. Newer versions quantize the float32 weight of a Conv that stands there as well, even if they
then compute in float. A weight that a replacement stores as float32 would be quantized like that, if the replacement is
a model-local function around a Conv. So whatever stands there is left alone, whichever its weight is:

- The input comes from a DequantizeLinear, directly or through operators that only move values.
- Of all nodes, QuantizeLinear alone reads the output, directly, through operators that only move values, through Relu
  or Clip, or through what ONNX Runtime folds into a weight: BatchNormalization, Add and Mul by a constant for each
  channel.

A bias that is computed in each run prevents it. Functions are inlined before all this, so it goes on in their callers;
a body of If, Loop or Scan is a model of its own. The tests hold this against what ONNX Runtime makes of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from onnx import NodeProto

from onnx_fft.model.scopes import FunctionKey, Scope, function_key, is_graph
from onnx_fft.sites.qdq import describe, is_folded, is_plain, is_zero_padding, lets_through

Place = tuple[Scope, str]
"""A value: a body, and its name there."""


@dataclass(slots=True)
class QuantizationTracer:
    """The edges of a model across the borders of functions, made once."""

    scopes: Sequence[Scope]
    _functions: dict[FunctionKey, Scope] = field(init=False, default_factory=dict)
    _callers: dict[Scope, list[tuple[Scope, NodeProto]]] = field(init=False, default_factory=dict)
    _readers: dict[Place, list[NodeProto]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Index the model."""
        for scope in self.scopes:
            if not is_graph(scope.body):
                self._functions[function_key(scope.body)] = scope
        for scope in self.scopes:
            for node in scope.body.node:
                if (function := self._find_function(node)) is not None:
                    self._callers.setdefault(function, []).append((scope, node))
                for name in filter(None, node.input):
                    self._readers.setdefault((scope, name), []).append(node)

    def is_quantized(
        self, scope: Scope, conv: NodeProto, channels: int, bias_input: str = "", *, place: int = 0
    ) -> bool:
        """Whether ONNX Runtime may quantize a node of so many output channels.

        `bias_input` is computed in each run; at `place` among the operands stands what is transformed.
        """
        if bias_input and not self._is_dequantized(scope, bias_input):
            return False
        is_dequantized = self._is_dequantized(scope, conv.input[place])
        return is_dequantized and self._is_quantized_behind(scope, conv.output[0], channels)

    def _is_dequantized(self, scope: Scope, name: str) -> bool:
        """Whether `name` comes from a DequantizeLinear, for some caller of the function that it may be in."""
        waiting = [(scope, name)]
        for scope, name in _visit(waiting):
            node = scope.producers.get(name)
            if node is None:
                waiting += self._find_arguments(scope, name)
            elif (function := self._find_function(node)) is not None:
                waiting += [(function, result) for result in _match(name, node.output, function.body.output)]
            elif is_plain(node, "DequantizeLinear"):
                return True
            elif lets_through(node, scope) or is_zero_padding(node, scope):
                waiting.append((scope, node.input[0]))
        return False

    def _is_quantized_behind(self, scope: Scope, name: str, channels: int) -> bool:
        """Whether QuantizeLinear alone reads `name` in the end, for some caller of the function that this may be in."""
        waiting = [(scope, name)]
        for scope, name in _visit(waiting):
            readers = self._readers.get((scope, name), [])
            if not readers:
                waiting += self._find_results(scope, name)
            outputs = [each if isinstance(each, str) else each.name for each in scope.body.output].count(name)
            if scope.reads[name] != len(readers) + outputs or len({describe(node) for node in readers}) != 1:
                continue  # a body within reads it, or several nodes do
            node = readers[0]
            if is_plain(node, "QuantizeLinear"):
                return True
            if (function := self._find_function(node)) is not None:
                waiting += [(function, inner) for inner in _match(name, node.input, function.body.input)]
            elif len(readers) == 1 and _goes_on(node, scope, name, channels):
                waiting.append((scope, node.output[0]))
        return False

    def _find_arguments(self, scope: Scope, name: str) -> list[Place]:
        """What callers pass as the input `name` of a function."""
        if is_graph(scope.body):
            return []
        calls = self._callers.get(scope, [])
        return [(outer, each) for outer, call in calls for each in _match(name, scope.body.input, call.input)]

    def _find_results(self, scope: Scope, name: str) -> list[Place]:
        """What callers call the output `name` of a function."""
        if is_graph(scope.body):
            return []
        calls = self._callers.get(scope, [])
        return [(outer, each) for outer, call in calls for each in _match(name, scope.body.output, call.output)]

    def _find_function(self, node: NodeProto) -> Scope | None:
        return self._functions.get(function_key(node))


def _goes_on(node: NodeProto, scope: Scope, name: str, channels: int) -> bool:
    """Whether ONNX Runtime looks past a node for the QuantizeLinear behind a Conv."""
    if is_folded(node, scope, name, channels) or (node.op_type in ("Relu", "Clip") and node.output):
        return True
    return lets_through(node, scope) and node.input[0] == name


def _visit(waiting: list[Place]) -> Iterator[Place]:
    """Each of the places once, those that are put to them meanwhile included."""
    seen: set[Place] = set()
    while waiting:
        place = waiting.pop()
        if place not in seen:
            seen.add(place)
            yield place


def _match(name: str, names: Iterable[str], others: Iterable[str]) -> list[str]:
    """The names of `others` at the places that `name` has among `names`."""
    return [other for each, other in zip(names, others, strict=False) if each == name and other]
