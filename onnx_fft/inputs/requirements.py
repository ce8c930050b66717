"""What operators ask of the shapes they read, as gaps: differences of lengths that must be zero.

Only what fixes sizes is here: products, broadcasting, joints, reshaping. A gap is a function of all shapes, so that
whoever changes the sizes of the inputs sees it shrink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from math import lcm, prod

import numpy as np
from onnx import NodeProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import DEFAULT_DOMAINS, Refused, Scope, read_attributes
from onnx_fft.model.weights import resolve_constant

Shape = tuple[int | None, ...]
Shapes = Mapping[str, Shape]
Gap = Callable[[Shapes], int | None]
"""How far the shapes are from what is asked; None if that is not known."""

MULTIPLES = 8
"""Of a divisor: how many are tried."""

# fmt: off
BROADCASTING = frozenset((
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod",
    "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
))
# fmt: on
EQUAL_AXES = {
    "BatchNormalization": (1, 0),
    "ConvTranspose": (1, 0),
    "InstanceNormalization": (1, 0),
    "LayerNormalization": (-1, -1),
    "MatMul": (-1, -2),
    "MatMulInteger": (-1, -2),
}
"""Of the first two inputs: the axes that are of the same length."""


def find_violation(node: NodeProto, scope: Scope, shapes: Shapes) -> list[Gap]:
    """The gaps of the first thing that `node` asks for and `shapes` do not have; one of them must go. [] if none."""
    if node.domain not in DEFAULT_DOMAINS:
        return []
    for gaps in (*_list_requirements(node, scope, shapes), *_list_lengths(node, shapes)):
        if gaps and gaps[0](shapes) not in (0, None):
            return gaps
    return []


def _list_requirements(node: NodeProto, scope: Scope, shapes: Shapes) -> Iterator[list[Gap]]:
    """For each thing that the operator asks for, the gaps of which one must be zero."""
    kind, names = node.op_type, list(node.input)
    try:
        attributes = read_attributes(node)
    except Refused:  # one that only callers of a function know
        return
    if kind in BROADCASTING:
        yield from _broadcast(names, shapes)
    elif kind in EQUAL_AXES:
        first, second = EQUAL_AXES[kind]
        yield [_differ(_axis(names[0], first), _axis(names[1], second))]
    elif kind == "Gemm":
        left, right = 0 if attributes.get("transA", 0) else 1, 1 if attributes.get("transB", 0) else 0
        yield [_differ(_axis(names[0], left), _axis(names[1], right))]
    elif kind in ("Conv", "ConvInteger"):
        yield [_differ(_axis(names[0], 1), _axis(names[1], 1, attributes.get("group", 1)))]
    elif kind in ("GRU", "LSTM", "RNN"):
        yield [_differ(_axis(names[0], 2), _axis(names[1], 2))]
        for state in names[5:7]:
            yield [_differ(_axis(state, 2), _axis(names[2], 2))]
            yield [_differ(_axis(state, 1), _axis(names[0], 1))]
    elif kind == "Concat":
        rank = len(shapes.get(names[0], ()))
        axes = [axis for axis in range(rank) if axis != attributes["axis"] % rank]
        yield from ([_differ(_axis(names[0], axis), _axis(name, axis))] for name in names[1:] for axis in axes)
    elif kind == "Split" and len(names) > 1:
        sizes = _read_integers(names[1], scope)
        yield [_differ(_axis(names[0], attributes.get("axis", 0)), lambda _: sum(sizes))] if sizes else []
    elif kind == "Gather":
        least = max(_read_integers(names[1], scope), default=0) + 1
        yield [_lack(names[0], attributes.get("axis", 0), least)]
    elif kind == "Einsum":
        yield from _match_labels(attributes["equation"].decode(), names)
    elif kind == "Reshape" and len(names) > 1:
        yield from _reshape(node, scope, shapes)


def _reshape(node: NodeProto, scope: Scope, shapes: Shapes) -> Iterator[list[Gap]]:
    """As many values come out as go in; if part of the target is open, a multiple of the rest goes in."""
    before, after = _count(node.input[0]), _count(node.output[0])
    multiples = _fill(node.input[0], _read_target(node.input[1], scope), shapes)
    if after(shapes) is not None:
        yield [_differ(before, after), *multiples]
    elif not any(gap(shapes) == 0 for gap in multiples):
        yield multiples


def _list_lengths(node: NodeProto, shapes: Shapes) -> Iterator[list[Gap]]:
    """No length that comes out is below 1, as those of an input shorter than a kernel are."""
    for name in node.output:
        yield from ([_lack(name, axis, 1)] for axis in range(len(shapes.get(name, ()))))


def _axis(name: str, axis: int, factor: int = 1) -> Gap:
    def read(shapes: Shapes) -> int | None:
        shape = shapes.get(name, ())
        length = shape[axis] if -len(shape) <= axis < len(shape) else None
        return None if length is None else length * factor

    return read


def _differ(one: Gap, other: Gap) -> Gap:
    def measure(shapes: Shapes) -> int | None:
        a, b = one(shapes), other(shapes)
        return None if a is None or b is None else a - b

    return measure


def _broadcast(names: Sequence[str], shapes: Shapes) -> Iterator[list[Gap]]:
    """Lengths are the same or 1; one that is another is to become the same."""
    for one, other in combinations(names, 2):
        for axis in range(-min(len(shapes.get(one, ())), len(shapes.get(other, ()))), 0):
            lengths = _axis(one, axis), _axis(other, axis)
            if 1 not in [length(shapes) for length in lengths]:
                yield [_differ(*lengths)]


def _lack(name: str, axis: int, least: int) -> Gap:
    def measure(shapes: Shapes) -> int | None:
        length = _axis(name, axis)(shapes)
        return None if length is None else min(length - least, 0)

    return measure


def _count(name: str) -> Gap:
    def measure(shapes: Shapes) -> int | None:
        lengths = shapes.get(name, (None,))
        known = [length for length in lengths if length is not None]
        return prod(known) if len(known) == len(lengths) else None

    return measure


def _match_labels(equation: str, names: Sequence[str]) -> Iterator[list[Gap]]:
    """The same label of an Einsum stands for the same length."""
    places: dict[str, Gap] = {}
    for name, labels in zip(names, equation.replace(" ", "").partition("->")[0].split(","), strict=True):
        if "." in labels:
            return
        for axis, label in enumerate(labels):
            yield [_differ(_axis(name, axis), places.setdefault(label, _axis(name, axis)))]


def _read_integers(name: str, scope: Scope) -> list[int]:
    """A constant's integers, [] if it is computed at run time."""
    value = resolve_constant(name, scope)
    return [] if isinstance(value, Refusal) else [int(number) for number in np.ravel(value)]


def _read_target(name: str, scope: Scope) -> list[int]:
    """The shape that a Reshape is to make; if it is joined of parts, -1 for those computed at run time."""
    maker = scope.producers.get(name)
    if maker is None or maker.op_type != "Concat":
        return _read_integers(name, scope)
    return [length for part in maker.input for length in _read_integers(part, scope) or [-1]]


def _fill(name: str, target: Sequence[int], shapes: Shapes) -> list[Gap]:
    """To `name` having as many values as the constants of the target, or a multiple if part of it is open."""

    def miss(count: int) -> Gap:
        def measure(shapes: Shapes) -> int | None:
            total = _count(name)(shapes)
            copied = [_axis(name, axis)(shapes) for axis, length in enumerate(target) if length == 0]
            return None if total is None else total - count * divisor * prod(n or 1 for n in copied)

        return measure

    divisor, total = prod(length for length in target if length > 0), _count(name)(shapes)
    if divisor == 1 or total is None:
        return []
    nearest = max(total // divisor, 1)
    several = (lcm(total, divisor) // divisor, *range(nearest, nearest + MULTIPLES)) if -1 in target else ()
    return [miss(count) for count in (1, *several)]
