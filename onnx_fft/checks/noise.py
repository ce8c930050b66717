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
from onnx_fft.checks.replaced import Replaced, find_replaced
from onnx_fft.errors import Refusal
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import walk_bodies
from onnx_fft.model.shapes import infer_shapes
from onnx_fft.model.weights import resolve_constant
from onnx_fft.runtime.engines import Value
from onnx_fft.sites.dft import AXIS_INPUT_OPSET, is_fourier
from onnx_fft.sites.matmul import is_matmul

LIMITS: dict[int, np.finfo[Any]] = {
    kind: np.finfo(helper.tensor_dtype_to_np_dtype(kind))
    for kind in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
}
"""Rounding and the largest number of the types that a replaced Conv may have."""
SHAPING = ("auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides")
"""Attributes of Conv and ConvTranspose."""


def disturb_model(original: LoadedModel, rewritten: LoadedModel, seed: int) -> LoadedModel:
    """A copy of `original` with noise on each node that `rewritten` replaces; new in each run."""
    copy = replace(original.copy(), path=None)
    types = find_types(copy)
    for number, conv in enumerate(find_replaced(copy, rewritten)):
        kind = types.get(conv.node.output[0], TensorProto.FLOAT)
        is_sum = conv.node.op_type in ("Conv", "ConvTranspose") or is_matmul(conv.node)
        if kind in LIMITS and (is_fourier(conv.node) or is_sum):
            (_disturb_transform if is_fourier(conv.node) else _disturb)(conv, kind, float(seed + number))
    return copy


def find_types(source: LoadedModel) -> dict[str, int]:
    """Element types by name, of whatever body."""
    bodies = walk_bodies(infer_shapes(source.model, source.base_dir))
    return dict(pair for body in bodies for pair in walk_types(body))


def nudge(arrays: Mapping[str, Value], rng: np.random.Generator) -> dict[str, Value]:
    """The floats among `arrays` changed by one unit in the last place, up or down."""
    return {name: _nudge(value, rng) for name, value in arrays.items()}


def _disturb(conv: Replaced, kind: int, seed: float) -> None:
    """`y = Conv(x, w, b)` becomes `y + min(s + [s > 0] * |y|, largest) * eps * N(0, 1)`, `s = Conv(|x|, |w|)`.

    So does a MatMul.
    """
    body, node = conv.scope.body, conv.node
    place = next(place for place, other in enumerate(body.node) if other is node)
    output = node.output[0]
    exact, whole, size = (f"{output}/{what}" for what in ("exact", "whole", "size"))
    operands = [f"{output}/size_{number}" for number in range(2)]
    made = [helper.make_node("Abs", [name], [operand]) for name, operand in zip(node.input, operands, strict=False)]
    made += [NodeProto(op_type=node.op_type, input=operands, output=[whole])]
    made[-1].attribute.extend(attribute for attribute in node.attribute if attribute.name in SHAPING)
    made += [*_add_rounding(exact, whole, size, kind), *_add_noise(exact, size, output, kind, seed)]
    node.output[0] = exact
    for new in reversed(made):
        body.node.insert(place + 1, new)


def _disturb_transform(site: Replaced, kind: int, seed: float) -> None:
    """`y = DFT(x)` becomes `y + s * eps * N(0, 1)`, `s` the norm of each spectrum: the most that `sum |w| |x|` can be.

    Of what is all zeros it is 0.
    """
    body, node = site.scope.body, site.node
    place = next(place for place, other in enumerate(body.node) if other is node)
    output = node.output[0]
    exact, square, axes, total, size = (f"{output}/{what}" for what in ("exact", "square", "axes", "total", "size"))
    value = numpy_helper.from_array(np.array(_find_axes(site), np.int64))
    made = [
        helper.make_node("Mul", [exact, exact], [square]),
        helper.make_node("Constant", [], [axes], value=value),
        helper.make_node("ReduceSum", [square, axes], [total]),
        helper.make_node("Sqrt", [total], [size]),
        *_add_noise(exact, size, output, kind, seed, drawn_like=exact),
    ]
    node.output[0] = exact
    for new in reversed(made):
        body.node.insert(place + 1, new)


def _find_axes(site: Replaced) -> list[int]:
    """The dimensions of one spectrum in the output; all of them for an axis that is not known."""
    if site.node.op_type == "STFT":
        return [-2, -1]
    given = {attribute.name: attribute.i for attribute in site.node.attribute if not attribute.ref_attr_name}
    if site.scope.opset < AXIS_INPUT_OPSET:
        return [given.get("axis", 1), -1]
    name = site.node.input[2] if len(site.node.input) > 2 else ""
    value = resolve_constant(name, site.scope) if name else np.array(-2)
    return [] if isinstance(value, Refusal) else [int(value.reshape(())), -1]


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


def _add_noise(exact: str, size: str, output: str, kind: int, seed: float, drawn_like: str = "") -> list[NodeProto]:
    """`output = exact + size * eps * N(0, 1)`; `drawn_like` has the shape of the noise, if `size` does not."""
    drawn, cast, noise = (f"{output}/{what}" for what in ("drawn", "cast", "noise"))
    given: dict[str, Any] = {"scale": float(LIMITS[kind].eps), "seed": seed}
    return [
        helper.make_node("RandomNormalLike", [drawn_like or size], [drawn], dtype=TensorProto.FLOAT, **given),
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
