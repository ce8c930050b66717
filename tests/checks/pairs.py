"""Pairs made by hand for `validate`: a Conv, and the same written as a ConvTranspose, right or wrong in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper

from onnx_fft import Validation
from onnx_fft.model.scopes import MICROSOFT_DOMAIN
from onnx_fft.provenance import REPLACES_KEY
from onnx_fft.report import describe
from scripts.shared.conv_models import Array
from tests.models import B1, FLOAT, W1, W2, Dims, build_model, conv, info, relu

DYNAMIC: Dims = ("n", 3, "h", "w")


def make_model(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, Array],
    *,
    x: Dims = DYNAMIC,
    output: str = "y",
    dtype: int = FLOAT,
    **options: Any,
) -> ModelProto:
    """A model from `x`, whose shape is open, to `output`; it may hold a FusedConv, and nodes of an unknown domain."""
    domains = (MICROSOFT_DOMAIN, "nowhere")
    return build_model(nodes, [info("x", dtype, x)], [info(output, dtype)], constants, domains=domains, **options)


def replaced(x: str, w: str, y: str, *, site: str, pads: int = 2, bias: str = "") -> NodeProto:
    """The node that computes what `conv` does, with `flip(weight)` as its weight."""
    node = helper.make_node("ConvTranspose", [x, w, *([bias] if bias else [])], [y], pads=[pads] * 4)
    node.metadata_props.add(key=REPLACES_KEY, value=site)
    return node


def flip(weight: Array) -> Array:
    """A Conv's weight as ConvTranspose takes it; for odd kernels, 'same' pads stay what they are."""
    return np.ascontiguousarray(np.flip(weight, (2, 3)).swapaxes(0, 1))


def make_pair(*, wrong: float = 0.0, tail: str = "Relu") -> tuple[ModelProto, ModelProto]:
    """Conv, Relu, Conv, `tail`; the second Conv is replaced, its weight `wrong` times off in one tap."""
    last = helper.make_node(tail, ["c2"], ["y"])
    w2 = W2.copy()
    w2[1, 2, 0, 1] *= 1 + wrong
    first = [conv("x", "c1", "w1", "b1", name="first"), relu("c1", "r1")]
    constants = {"w1": W1, "b1": B1}
    original = make_model([*first, conv("r1", "c2", "w2", name="second", pads=1), last], {**constants, "w2": W2})
    swap = replaced("r1", "w2t", "c2", site="second", pads=1)
    return original, make_model([*first, swap, last], {**constants, "w2t": flip(w2)})


def text(result: Validation) -> str:
    return describe(result)
