"""Random operators made to give the same numbers in two models, so that what depends on them can be compared.

A seed does not do it: ONNX Runtime goes on drawing from one run to the next. So each random node is replaced, in copies
made for the comparison only, by standard nodes that compute numbers from positions and from the node's output name:

    h = (i A + salt) mod P,   twice h = (h h + i) mod P,   u = (h + 1/2) / P

with `i` the position of an element and the prime `P` below 2^23, so that every step is exact in int64 and float32 and
`u` lies between 0 and 1. A normal number is the logistic quantile of `u`, of the same mean and spread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any
from zlib import crc32

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft.errors import Refusal
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import (
    DEFAULT_DOMAINS,
    Body,
    Scope,
    find_bodies,
    find_scopes,
    free_inputs,
    is_graph,
    read_attributes,
    walk_bodies,
)
from onnx_fft.model.shapes import infer_shapes
from onnx_fft.model.weights import resolve_constant

PRIME = 8388593
STEP = 1103515
LEAST_OPSET = 9
"""Of what the replacements are written in."""
LOGISTIC_SPREAD = np.pi / np.sqrt(3)
"""Standard deviation of `log(u / (1 - u))`."""


def fix_draws(source: LoadedModel) -> tuple[list[str], list[str]]:
    """Replace the random nodes of the model, in place; the types of those replaced, and the outputs of those left.

    What is replaced is known by the name of its output: two models get the same numbers under the same names.
    """
    fixed: list[str] = []
    left: list[str] = []
    scopes = find_scopes(source.model, source.base_dir)
    if not any(_is_random(node, scope) for scope in scopes for node in scope.body.node):
        return fixed, left
    known = [dict(walk_types(body)) for body in walk_bodies(infer_shapes(source.model, source.base_dir))]
    for scope, types in zip(scopes, known, strict=True):
        for place, node in reversed(list(enumerate(scope.body.node))):
            if not _is_random(node, scope):
                continue
            if scope.opset < LEAST_OPSET or any(attribute.ref_attr_name for attribute in node.attribute):
                left += filter(None, node.output)
                continue
            fixed.append(node.op_type)
            made = _REPLACEMENTS[node.op_type](_Writer(node, types))
            del scope.body.node[place]
            for new in reversed(made):
                scope.body.node.insert(place, new)
    return sorted(set(fixed)), left


def find_reached(model: ModelProto, names: Collection[str]) -> set[str]:
    """The outputs of the graph that depend on one of the tensors `names`, which bodies and functions may make."""
    functions = {(function.domain, function.name): function for function in model.functions}

    def makes(node: NodeProto) -> bool:
        bodies = [body.node for _, body in find_bodies(node)]
        bodies += [functions[node.domain, node.op_type].node] if (node.domain, node.op_type) in functions else []
        return bool(set(node.output) & set(names)) or any(makes(inner) for body in bodies for inner in body)

    reached: set[str] = set()
    for node in model.graph.node:
        if makes(node) or free_inputs(node) & reached:
            reached.update(node.output)
    return reached & {value.name for value in model.graph.output}


class _Writer:
    """Nodes that take the place of one random node; names begin with that of its output."""

    def __init__(self, node: NodeProto, types: dict[str, int]) -> None:
        """`types` are the element types that are known in the node's body."""
        self.node, self.types = node, types
        self.attributes = read_attributes(node)
        self.nodes: list[NodeProto] = []

    def add(self, op_type: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node; the name of its output."""
        name = output or f"{next(filter(None, self.node.output))}/draw_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], **attributes))
        return name

    def constant(self, value: object, dtype: type = np.float32) -> str:
        """The name of a constant."""
        return self.add("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def uniform(self, like: str) -> str:
        """Numbers between 0 and 1 in the shape of `like`, float32."""
        prime, salt = (self.constant(v, np.int64) for v in (PRIME, crc32(self.node.output[0].encode()) % PRIME))
        i = self.count_up(like)
        h = self.add("Add", self.add("Mul", i, self.constant(STEP, np.int64)), salt)
        for _ in range(2):
            h = self.modulo(h, prime)
            h = self.add("Add", self.add("Mul", h, h), i)
        h = self.add("Cast", self.modulo(h, prime), to=TensorProto.FLOAT)
        u = self.add("Div", self.add("Add", h, self.constant(0.5)), self.constant(PRIME))
        return self.add("Reshape", u, self.add("Shape", like))

    def count_up(self, like: str) -> str:
        """The positions of the elements of `like`, int64 `[n]`; Range is of opset 11."""
        flat = self.constant([-1], np.int64)
        ones = self.add("ConstantOfShape", self.add("Shape", like), value=numpy_helper.from_array(np.ones(1, np.int64)))
        return self.add("Reshape", self.add("NonZero", self.add("Reshape", ones, flat)), flat)

    def modulo(self, value: str, prime: str) -> str:
        """What is left of non-negative int64 numbers; Mod is of opset 10."""
        return self.add("Sub", value, self.add("Mul", self.add("Div", value, prime), prime))

    def dtype(self, default: int = TensorProto.FLOAT) -> int:
        """The type to give: the node's own attribute, or that of its input."""
        like = self.types.get(self.node.input[0], default) if self.node.input else default
        return int(self.attributes.get("dtype", like))

    def scaled(self, value: str, factor: float, offset: float, output: str) -> None:
        """`value * factor + offset`, as the node's output."""
        product = self.add("Mul", value, self.constant(factor))
        total = self.add("Add", product, self.constant(offset))
        self.add("Cast", total, to=self.dtype(), output=output)


def _write_normal(writer: _Writer) -> list[NodeProto]:
    u = writer.uniform(_like(writer))
    odds = writer.add("Div", u, writer.add("Sub", writer.constant(1), u))
    factor = float(writer.attributes.get("scale", 1.0)) / LOGISTIC_SPREAD
    writer.scaled(writer.add("Log", odds), factor, writer.attributes.get("mean", 0.0), writer.node.output[0])
    return writer.nodes


def _write_uniform(writer: _Writer) -> list[NodeProto]:
    low, high = (float(writer.attributes.get(name, value)) for name, value in (("low", 0.0), ("high", 1.0)))
    writer.scaled(writer.uniform(_like(writer)), high - low, low, writer.node.output[0])
    return writer.nodes


def _write_bernoulli(writer: _Writer) -> list[NodeProto]:
    x = writer.node.input[0]
    drawn = writer.add("Less", writer.uniform(x), writer.add("Cast", x, to=TensorProto.FLOAT))
    writer.add("Cast", drawn, to=writer.dtype(), output=writer.node.output[0])
    return writer.nodes


def _write_multinomial(writer: _Writer) -> list[NodeProto]:
    """The class whose logarithmic weight, plus a number of Gumbel's distribution, is largest."""
    x = writer.add("Cast", writer.node.input[0], to=TensorProto.FLOAT)
    shape = writer.add("Shape", x)
    batch, classes = (writer.add("Gather", shape, writer.constant([k], np.int64)) for k in (0, 1))
    one, samples = (writer.constant([v], np.int64) for v in (1, writer.attributes.get("sample_size", 1)))
    weights = writer.add("Reshape", x, writer.add("Concat", batch, one, classes, axis=0))
    wide = writer.add("Expand", weights, writer.add("Concat", batch, samples, classes, axis=0))
    u = writer.uniform(wide)
    for _ in range(2):
        u = writer.add("Neg", writer.add("Log", u))
    best = writer.add("ArgMax", writer.add("Add", wide, u), axis=2, keepdims=0)
    to = int(writer.attributes.get("dtype", TensorProto.INT32))
    writer.add("Cast", best, to=to, output=writer.node.output[0])
    return writer.nodes


def _write_dropout(writer: _Writer) -> list[NodeProto]:
    """In training: elements dropped with probability `ratio`, the others divided by the rest of it."""
    x, ratio, training = writer.node.input[:3]
    given = writer.add("Cast", ratio, to=TensorProto.FLOAT) if ratio else writer.constant(0.5)
    is_kept = writer.add("GreaterOrEqual", writer.uniform(x), given)
    mask = writer.add("Or", is_kept, writer.add("Not", training))
    factor = writer.add("Where", training, writer.add("Sub", writer.constant(1), given), writer.constant(1))
    wide = writer.add("Div", writer.add("Cast", x, to=TensorProto.FLOAT), factor)
    kept = writer.add("Where", mask, wide, writer.constant(0))
    writer.add("Cast", kept, to=writer.types.get(x, TensorProto.FLOAT), output=writer.node.output[0])
    if len(writer.node.output) > 1 and writer.node.output[1]:
        writer.add("Identity", mask, output=writer.node.output[1])
    return writer.nodes


def _like(writer: _Writer) -> str:
    """A tensor of the shape to give."""
    if writer.node.input:
        return str(writer.node.input[0])
    return writer.add("ConstantOfShape", writer.constant(writer.attributes["shape"], np.int64))


_REPLACEMENTS: dict[str, Callable[[_Writer], list[NodeProto]]] = {
    "RandomNormal": _write_normal,
    "RandomNormalLike": _write_normal,
    "RandomUniform": _write_uniform,
    "RandomUniformLike": _write_uniform,
    "Bernoulli": _write_bernoulli,
    "Multinomial": _write_multinomial,
    "Dropout": _write_dropout,
}


def _is_random(node: NodeProto, scope: Scope) -> bool:
    if node.domain not in DEFAULT_DOMAINS or node.op_type not in _REPLACEMENTS:
        return False
    return node.op_type != "Dropout" or _may_train(node, scope)


def _may_train(node: NodeProto, scope: Scope) -> bool:
    """Whether a Dropout has an input that says so, and it is not a constant that says no."""
    if len(node.input) < 3 or not node.input[2]:
        return False
    value = resolve_constant(node.input[2], scope)
    return isinstance(value, Refusal) or bool(value.any())


def walk_types(body: Body) -> Iterator[tuple[str, int]]:
    """What is known of element types in one body of a model with inferred shapes."""
    values = list(body.value_info)
    if is_graph(body):
        yield from ((tensor.name, tensor.data_type) for tensor in body.initializer)
        values += [*body.input, *body.output]
    for value in values:
        if kind := value.type.tensor_type.elem_type:
            yield value.name, kind
