"""Loop, Scan and SequenceMap over constants, iteration by iteration: what each body computes is computed by itself.

So every node of every iteration is counted and bounded like one outside of a body, and a Loop without an end is given
up as soon as its nodes are too many. All follow ONNX Runtime: a Loop goes by the condition its body gives even if it is
given none to begin with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, ValueInfoProto

from onnx_fft.model.external import Array, Value

RunBody = Callable[[GraphProto, Sequence[Value]], list[Value]]
"""Computes the outputs of a body from the values of its inputs."""

Unroll = Callable[[Mapping[str, Any], Sequence[Value], RunBody], list[Value]]
"""Computes the outputs of a node from its attributes and inputs; None is one left out. Raises whatever it likes."""


def unroll_loop(attributes: Mapping[str, Any], inputs: Sequence[Value], run_body: RunBody) -> list[Value]:
    """The last values of what is carried, then what each iteration gave, stacked."""
    body: GraphProto = attributes["body"]
    most, goes_on, *carried = inputs
    kept: list[list[Value]] = []
    count = 0
    while (most is None or count < _scalar(most)) and (goes_on is None or _scalar(goes_on)):
        given = [_like(count, np.int64, body.input[0]), _like(True, np.bool_, body.input[1])]
        goes_on, *made = run_body(body, [*given, *carried])
        carried = made[: len(carried)]
        kept.append(made[len(carried) :])
        count += 1
    return [*carried, *_stack(kept, len(body.output) - 1 - len(carried))]


def unroll_scan(attributes: Mapping[str, Any], inputs: Sequence[Value], run_body: RunBody) -> list[Value]:
    """The last values of what is carried, then what each iteration gave, stacked along the axes asked for."""
    body: GraphProto = attributes["body"]
    scanned = attributes["num_scan_inputs"]
    carried = list(inputs[: len(inputs) - scanned])
    axes = attributes.get("scan_input_axes", [0] * scanned)
    backwards = attributes.get("scan_input_directions", [0] * scanned)
    rows = [
        np.moveaxis(np.asarray(value), axis, 0)[:: -1 if back else 1]
        for value, axis, back in zip(inputs[len(carried) :], axes, backwards, strict=True)
    ]
    kept: list[list[Value]] = []
    for row in zip(*rows, strict=True):
        made = run_body(body, [*carried, *row])
        carried = made[: len(carried)]
        kept.append(made[len(carried) :])
    outputs = len(body.output) - len(carried)
    axes = attributes.get("scan_output_axes", [0] * outputs)
    backwards = attributes.get("scan_output_directions", [0] * outputs)
    stacked = [
        np.moveaxis(value[:: -1 if back else 1], 0, axis)
        for value, axis, back in zip(_stack(kept, outputs), axes, backwards, strict=True)
    ]
    return [*carried, *stacked]


def unroll_sequence_map(attributes: Mapping[str, Any], inputs: Sequence[Value], run_body: RunBody) -> list[Value]:
    """Sequences of what the body gives for each element of the first; of others, tensors are handed on as they are."""
    body: GraphProto = attributes["body"]
    first = inputs[0]
    if not isinstance(first, list):
        raise TypeError("the first input is no sequence")
    made = [
        run_body(body, [value[place] if isinstance(value, list) else value for value in inputs])
        for place in range(len(first))
    ]
    return [[np.asarray(row[output]) for row in made] for output in range(len(body.output))]


UNROLLED: Mapping[str, Unroll] = {
    "Loop": unroll_loop,
    "Scan": unroll_scan,
    "SequenceMap": unroll_sequence_map,
}


def _scalar(value: Value) -> Any:
    return np.asarray(value).item()


def _like(value: int, dtype: Any, described: ValueInfoProto) -> Array:
    """A scalar, or a tensor of one element if the body states that it takes one."""
    return np.full((1,) * len(described.type.tensor_type.shape.dim), value, dtype)


def _stack(kept: Sequence[Sequence[Value]], outputs: int) -> list[Array]:
    """By output, what all iterations gave; there must be an iteration, since nothing else tells the shape."""
    return [np.stack([np.asarray(row[output]) for row in kept]) for output in range(outputs)]
