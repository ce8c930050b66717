"""Pairs made by hand for `validate`: a Conv, and the same written as a ConvTranspose, right or wrong in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft.report import describe
from onnx_fft.validate import Validation
from scripts.shared.conv_models import Array

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(11)
W1 = RNG.standard_normal((4, 3, 5, 5)).astype(np.float32) / 8
W2 = RNG.standard_normal((4, 4, 3, 3)).astype(np.float32) / 6
B1 = RNG.standard_normal(4).astype(np.float32)
DYNAMIC: tuple[int | str, ...] = ("n", 3, "h", "w")


def make_model(
    nodes: Sequence[NodeProto],
    constants: dict[str, Array],
    *,
    x: Sequence[int | str] = DYNAMIC,
    output: str = "y",
    dtype: int = FLOAT,
    **options: Any,
) -> ModelProto:
    """`x -> output` with symbolic output dims; opset 17, FusedConv allowed."""
    values = [helper.make_tensor_value_info("x", dtype, list(x)), helper.make_tensor_value_info(output, dtype, None)]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "pair", values[:1], values[1:], tensors)
    domains = {"": 17, "com.microsoft": 1, "nowhere": 1}
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **options)


def conv(x: str, w: str, y: str, *, name: str = "", pads: int = 2, bias: str = "") -> NodeProto:
    return helper.make_node("Conv", [x, w, *([bias] if bias else [])], [y], name=name, pads=[pads] * 4)


def replaced(x: str, w: str, y: str, *, site: str, pads: int = 2, bias: str = "") -> NodeProto:
    """The node that computes what `conv` does, with `flip(weight)` as its weight."""
    node = helper.make_node("ConvTranspose", [x, w, *([bias] if bias else [])], [y], pads=[pads] * 4)
    node.metadata_props.add(key="onnx_fft.replaces", value=site)
    return node


def flip(weight: Array) -> Array:
    """Conv's weight as ConvTranspose wants it; 'same' pads stay what they are for odd kernels."""
    return np.ascontiguousarray(np.flip(weight, (2, 3)).swapaxes(0, 1))


def relu(x: str, y: str) -> NodeProto:
    return helper.make_node("Relu", [x], [y])


def make_pair(*, wrong: float = 0.0, tail: str = "Relu") -> tuple[ModelProto, ModelProto]:
    """Conv, Relu, Conv, `tail`; the second Conv is replaced, its weight `wrong` times off in one tap."""
    last = helper.make_node(tail, ["c2"], ["y"])
    w2 = W2.copy()
    w2[1, 2, 0, 1] *= 1 + wrong
    first = [conv("x", "w1", "c1", name="first", bias="b1"), relu("c1", "r1")]
    constants = {"w1": W1, "b1": B1}
    original = make_model([*first, conv("r1", "w2", "c2", name="second", pads=1), last], {**constants, "w2": W2})
    swap = replaced("r1", "w2t", "c2", site="second", pads=1)
    return original, make_model([*first, swap, last], {**constants, "w2t": flip(w2)})


def text(result: Validation) -> str:
    return describe(result)
