"""How far rounding alone moves the original: what it returns if its inputs and its replaced Convs are disturbed.

An output that a decision, a saturated Sigmoid or a chaotic network makes of rounding errors cannot be held to a
tolerance of the dtype. So the original is run again with inputs changed in the last place, with noise on each output of
a replaced Conv that is no larger than what rounding may make of its sum, `eps * sum |w| |x|`. A sum over zeros is
exact, whatever its bias, and stays what it is: what is equal there stays a tie. Rounding makes no number infinite, and
of Inf nothing else. `checks/excuses.py` excuses what this *nudged original* shows of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnx_fft.checks.draws import walk_types
from onnx_fft.checks.replaced import ReplacedConv, find_replaced
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import walk_bodies
from onnx_fft.model.shapes import infer_shapes
from onnx_fft.runtime.engines import Value

LIMITS: dict[int, np.finfo[Any]] = {
    kind: np.finfo(helper.tensor_dtype_to_np_dtype(kind))
    for kind in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
}
"""Rounding and the largest number of the types that a replaced Conv may have."""
CONV_ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def disturb_model(original: LoadedModel, rewritten: LoadedModel, seed: int) -> LoadedModel:
    """A copy of `original` with noise on each Conv that `rewritten` replaces; new in each run."""
    copy = replace(original.copy(), path=None)
    types = find_types(copy)
    for number, conv in enumerate(find_replaced(copy, rewritten)):
        kind = types.get(conv.node.output[0], TensorProto.FLOAT)
        if conv.node.op_type == "Conv" and kind in LIMITS:
            _disturb(conv, kind, float(seed + number))
    return copy


def find_types(source: LoadedModel) -> dict[str, int]:
    """Element types by name, of whatever body."""
    bodies = walk_bodies(infer_shapes(source.model, source.base_dir))
    return dict(pair for body in bodies for pair in walk_types(body))


def nudge(arrays: Mapping[str, Value], rng: np.random.Generator) -> dict[str, Value]:
    """The floats among `arrays` changed by one unit in the last place, up or down."""
    return {name: _nudge(value, rng) for name, value in arrays.items()}


def _disturb(conv: ReplacedConv, kind: int, seed: float) -> None:
    """`y = Conv(x, w, b)` becomes `y + min(s + [s > 0] * |y|, largest) * eps * N(0, 1)`, `s = Conv(|x|, |w|)`."""
    body, node = conv.scope.body, conv.node
    place = next(place for place, other in enumerate(body.node) if other is node)
    output = node.output[0]
    exact, whole, size = (f"{output}/{what}" for what in ("exact", "whole", "size"))
    operands = [f"{output}/size_{number}" for number in range(2)]
    made = [helper.make_node("Abs", [name], [operand]) for name, operand in zip(node.input, operands, strict=False)]
    made += [NodeProto(op_type="Conv", input=operands, output=[whole])]
    made[-1].attribute.extend(attribute for attribute in node.attribute if attribute.name in CONV_ATTRIBUTES)
    made += [*_add_rounding(exact, whole, size, kind), *_add_noise(exact, size, output, kind, seed)]
    node.output[0] = exact
    for new in reversed(made):
        body.node.insert(place + 1, new)


def _add_rounding(exact: str, whole: str, size: str, kind: int) -> list[NodeProto]:
    """`size = min(whole + [whole > 0] * |exact|, largest)`: a bias is rounded too, if anything is added to it.

    An infinite sum would make NaN of itself. Min broadcasts from opset 8 on only, so the limit has the mask's shape.
    """
    names = ("is_sum", "mask", "result", "rounded", "sum", "largest", "limit")
    is_sum, mask, result, rounded, total, largest, limit = (f"{size}/{what}" for what in names)
    value = numpy_helper.from_array(np.asarray(LIMITS[kind].max))
    return [
        helper.make_node("Cast", [whole], [is_sum], to=TensorProto.BOOL),
        helper.make_node("Cast", [is_sum], [mask], to=kind),
        helper.make_node("Abs", [exact], [result]),
        helper.make_node("Mul", [mask, result], [rounded]),
        helper.make_node("Add", [whole, rounded], [total]),
        helper.make_node("Constant", [], [largest], value=value),
        helper.make_node("Mul", [mask, largest], [limit]),
        helper.make_node("Min", [total, limit], [size]),
    ]


def _add_noise(exact: str, size: str, output: str, kind: int, seed: float) -> list[NodeProto]:
    """`output = exact + size * eps * N(0, 1)`."""
    drawn, cast, noise = (f"{output}/{what}" for what in ("drawn", "cast", "noise"))
    given: dict[str, Any] = {"scale": float(LIMITS[kind].eps), "seed": seed}
    return [
        helper.make_node("RandomNormalLike", [size], [drawn], dtype=TensorProto.FLOAT, **given),
        helper.make_node("Cast", [drawn], [cast], to=kind),
        helper.make_node("Mul", [size, cast], [noise]),
        helper.make_node("Add", [exact, noise], [output]),
    ]


def _nudge(value: Value, rng: np.random.Generator) -> Value:
    if isinstance(value, list):
        return [_nudge(item, rng) for item in value]
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    step = np.finfo(value.dtype).eps * rng.choice([-1.0, 1.0], size=value.shape)
    with np.errstate(over="ignore"):
        moved = np.asarray(value * (1 + step)).astype(value.dtype)
    return np.where(np.isinf(moved), value, moved)
