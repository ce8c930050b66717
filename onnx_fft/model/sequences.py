"""Operators of sequences and optionals over constants: they hold, pick, cut or join tensors, and compute no element.

onnx's own evaluator is not used for them: that of onnx 1.16 joins along another axis than it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from onnx_fft.model.external import Array, Value

Hold = Callable[[Mapping[str, Any], Sequence[Any]], Value]
"""The output of a node from its attributes and inputs, None for one that is left out; raises what it likes."""


def _insert(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> list[Array]:
    parts, added, place = [*inputs, None][:3]
    at = len(parts) if place is None else _find_place(place, len(parts) + 1, len(parts))
    return [*parts[:at], added, *parts[at:]]


def _erase(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> list[Array]:
    parts, place = [*inputs, None][:2]
    at = len(parts) - 1 if place is None else _find_place(place, len(parts), len(parts))
    return [*parts[:at], *parts[at + 1 :]]


def _split(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> list[Array]:
    whole, lengths = [*inputs, None][:2]
    axis = attributes.get("axis", 0)
    if lengths is None:
        pieces = np.split(whole, whole.shape[axis], axis)
        return pieces if attributes.get("keepdims", 1) else [piece.squeeze(axis) for piece in pieces]
    if lengths.ndim == 0:
        return np.split(whole, range(lengths.item(), whole.shape[axis], lengths.item()), axis)
    if lengths.sum() != whole.shape[axis] or (lengths < 0).any():
        raise ValueError(f"lengths {lengths.tolist()} of an axis of {whole.shape[axis]}")
    return np.split(whole, np.cumsum(lengths)[:-1], axis)


def _join(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Array:
    join = np.stack if attributes.get("new_axis", 0) else np.concatenate
    return np.asarray(join(inputs[0], axis=attributes["axis"]))


def _find_place(place: Array, count: int, length: int) -> int:
    """A place of `count`, negative ones from the end of a sequence of `length`."""
    at = int(place.item())
    at += length if at < 0 else 0
    if not 0 <= at < count:
        raise IndexError(f"place {place.item()} in a sequence of {length}")
    return at


HELD: Mapping[str, Hold] = {
    "SequenceEmpty": lambda attributes, inputs: [],
    "SequenceConstruct": lambda attributes, inputs: list(inputs),
    "SequenceInsert": _insert,
    "SequenceErase": _erase,
    "SequenceAt": lambda attributes, inputs: inputs[0][_find_place(inputs[1], len(inputs[0]), len(inputs[0]))],
    "SequenceLength": lambda attributes, inputs: np.array(len(inputs[0])),
    "SplitToSequence": _split,
    "ConcatFromSequence": _join,
    "Optional": lambda attributes, inputs: next(iter(inputs), None),
    "OptionalGetElement": lambda attributes, inputs: inputs[0],
    "OptionalHasElement": lambda attributes, inputs: np.array(next(iter(inputs), None) is not None),
}
"""By operator of the default domain, what computes its one output."""
