"""Does anything behind a convolution turn on exact zeros?

A sum over zeros is exactly 0, and what transforms make of it is +-1e-7. Most operators do not care. A square root or a
logarithm makes NaN of the negative half, a quotient anything, and a decision (a comparison, a rounding, an ArgMax) goes
by a coin toss. So this follows an output forwards, with what exact zeros become there (`zero_values.py`), to the first
operator that turns on it (`zero_readers.py`). A bias moves zeros away from the edge of a Sqrt, but not apart: what many
places share stays a tie, and another constant may move it back.

*Squares* of noise are 1e-14 and not negative. A square root of them is noise again, no worse than before, and a small
constant outweighs them, as in the variance of a normalization.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnx_fft.model.scopes import FunctionKey, Scope, find_bodies, function_key, is_graph, read_attributes
from onnx_fft.sites.zero_readers import turns_on
from onnx_fft.sites.zero_values import Shared, follow, pack_values

Place = tuple[Scope, str]
"""A value: the scope that defines it, and its name there."""

Trace = tuple[Place, Shared]
"""A value, and what exact zeros have become there."""

MOST_TRACES = 8
"""No value is followed more often, with other numbers each time: a loop may add for ever."""


@dataclass(slots=True)
class ZeroTracer:
    """Forward edges of a model, made once: who reads each value, and where it comes out of a body or a function."""

    scopes: Sequence[Scope]
    _readers: dict[Place, list[tuple[Scope, NodeProto, int]]] = field(init=False, default_factory=dict)
    _exits: dict[Place, list[Place]] = field(init=False, default_factory=dict)
    _functions: dict[FunctionKey, Scope] = field(init=False, default_factory=dict)
    _bodies: dict[int, Scope] = field(init=False, default_factory=dict)
    _steps: dict[tuple[int, int, Shared], tuple[bool, Shared | None]] = field(init=False, default_factory=dict)
    """By the node's identity, what it does with a value: many convolutions have the same nodes behind them."""

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
        shared = Shared((0.0,) if bias is None or not bias.size else pack_values(bias))
        seen: dict[Place, set[Shared]] = {}
        waiting: deque[Trace] = deque([((scope.find_owner(output) or scope, output), shared)])
        while waiting:
            place, shared = waiting.popleft()
            known = seen.setdefault(place, set())
            if shared in known or len(known) >= MOST_TRACES:
                continue
            known.add(shared)
            for reader_scope, node, position in self._readers.get(place, ()):
                if self._step(reader_scope, node, position, shared)[0]:
                    return f"{node.op_type} {(node.name or ''.join(node.output[:1]))!r}"
                waiting += self._follow(reader_scope, node, position, shared)
            waiting += [(after, shared) for after in self._exits.get(place, ())]
        return ""

    def _follow(self, scope: Scope, node: NodeProto, position: int, shared: Shared) -> Iterator[Trace]:
        """What a node makes of the noise in one input."""
        if (function := self._functions.get(function_key(node))) is not None:
            if position < len(function.body.input):
                yield (function, function.body.input[position]), shared
            return
        if node.op_type in ("Loop", "Scan"):
            for _, graph in find_bodies(node):
                if position < len(graph.input):
                    yield (self._bodies[id(graph)], graph.input[position].name), shared
        after = self._step(scope, node, position, shared)[1]
        if after is not None:
            yield from (((scope, name), after) for name in node.output if name)

    def _step(self, scope: Scope, node: NodeProto, position: int, shared: Shared) -> tuple[bool, Shared | None]:
        """Whether the node turns on the value, and what it makes of it."""
        key = id(node), position, shared
        if key not in self._steps:
            self._steps[key] = turns_on(node, position, scope, shared), follow(node, position, scope, shared)
        return self._steps[key]

    def _join_body(self, scope: Scope, node: NodeProto, inner: Scope) -> None:
        """What a body of If, Loop or Scan yields comes out of the node; a Loop's first output is its condition.

        What the next iteration starts from goes back into the body.
        """
        assert is_graph(inner.body)
        names = [value.name for value in inner.body.output]
        given = [value.name for value in inner.body.input]
        self._join(inner, names[1:] if node.op_type == "Loop" else names, scope, node.output)
        if node.op_type == "Loop":
            self._join(inner, names[1:], inner, given[2:])
        elif node.op_type == "Scan":
            scanned = read_attributes(node).get("num_scan_inputs", len(given))
            self._join(inner, names, inner, given[: max(0, len(given) - scanned)])

    def _join(self, inner: Scope, names: Sequence[str], scope: Scope, outputs: Sequence[str]) -> None:
        for name, output in zip(names, outputs, strict=False):
            owner = inner.find_owner(name)
            if owner is not None and output:
                self._exits.setdefault((owner, name), []).append((scope, output))
