"""How far rounding alone moves the original: what it returns if its inputs and its replaced Convs are disturbed.

An output that a decision, a saturated Sigmoid or a chaotic network makes of rounding errors cannot be held to a
tolerance of the dtype. So the original is run again with inputs changed in the last place, with noise on each output of
a replaced Conv that is no larger than what rounding may make of its sum, `eps * sum |w| |x|`, and with noise in the
last place of what is ranked. Exact zeros stay exactly zero in it. `checks/excuses.py` excuses what this *nudged
original* shows of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from onnx_fft.checks.draws import walk_types
from onnx_fft.checks.replaced import ReplacedConv, find_replaced
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import Body, walk_bodies
from onnx_fft.model.shapes import infer_shapes
from onnx_fft.runtime.engines import Value

EPSILONS: dict[int, float] = {
    kind: float(np.finfo(helper.tensor_dtype_to_np_dtype(kind)).eps)
    for kind in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
}
"""Rounding of the types that a Conv may have."""
RANKING = ("ArgMax", "ArgMin", "TopK", "NonMaxSuppression")
"""Operators that put equal values in some order. What others decide on may be whole numbers, which rounding keeps."""
CONV_ATTRIBUTES = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def disturb_model(original: LoadedModel, rewritten: LoadedModel, seed: int) -> LoadedModel:
    """A copy of `original` with noise on each Conv that `rewritten` replaces and on what is ranked; new in each run."""
    copy = replace(original.copy(), path=None)
    types = _find_types(copy)
    for number, conv in enumerate(find_replaced(copy, rewritten)):
        if conv.node.op_type == "Conv":
            _disturb(conv, types.get(conv.node.output[0], TensorProto.FLOAT), float(seed + number))
    for number, body in enumerate(walk_bodies(copy.model)):
        _disturb_ranked(body, types, seed + number + 1000.0)
    return copy


def nudge(arrays: Mapping[str, Value], rng: np.random.Generator) -> dict[str, Value]:
    """The floats among `arrays` changed by one unit in the last place, up or down."""
    return {name: _nudge(value, rng) for name, value in arrays.items()}


def _find_types(source: LoadedModel) -> dict[str, int]:
    """Element types by name, of whatever body."""
    bodies = walk_bodies(infer_shapes(source.model, source.base_dir))
    return dict(pair for body in bodies for pair in walk_types(body))


def _disturb(conv: ReplacedConv, kind: int, seed: float) -> None:
    """`y = Conv(x, w, b)` becomes that plus `Conv(|x|, |w|, |b|) * eps * N(0, 1)`."""
    body, node = conv.scope.body, conv.node
    place = next(place for place, other in enumerate(body.node) if other is node)
    output = node.output[0]
    names = {what: f"{output}/{what}" for what in ("exact", "size")}
    sizes = [f"{output}/size_{number}" if name else "" for number, name in enumerate(node.input)]
    made = [helper.make_node("Abs", [name], [size]) for name, size in zip(node.input, sizes, strict=True) if name]
    whole = NodeProto(op_type="Conv", input=sizes, output=[names["size"]])
    whole.attribute.extend(attribute for attribute in node.attribute if attribute.name in CONV_ATTRIBUTES)
    made += [whole, *_add_noise(names["exact"], names["size"], output, kind, seed)]
    node.output[0] = names["exact"]
    for new in reversed(made):
        body.node.insert(place + 1, new)


def _disturb_ranked(body: Body, types: Mapping[str, int], seed: float) -> None:
    """Each float that is ranked changed in the last place; the same wherever it is ranked."""
    moved: dict[str, str] = {}
    for node in body.node:
        for position, name in enumerate(node.input):
            if node.op_type in RANKING and types.get(name) in EPSILONS:
                moved[name] = node.input[position] = f"{name}/moved"
    for number, (name, target) in enumerate(moved.items()):
        made = next((place for place, node in enumerate(body.node) if name in node.output), -1)
        for new in reversed(_add_noise(name, name, target, types[name], seed + number)):
            body.node.insert(made + 1, new)


def _add_noise(exact: str, size: str, output: str, kind: int, seed: float) -> list[NodeProto]:
    """`output = exact + size * eps * N(0, 1)`."""
    drawn, cast, noise = (f"{output}/{what}" for what in ("drawn", "cast", "noise"))
    given: dict[str, Any] = {"scale": EPSILONS.get(kind, EPSILONS[TensorProto.FLOAT]), "seed": seed}
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
    return np.asarray(value * (1 + step)).astype(value.dtype)
