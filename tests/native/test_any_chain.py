"""Any steps behind any convolution, by the library and by the functions, against ONNX Runtime's own operators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from onnx import NodeProto, helper

from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model, run_with_library
from tests.models import build_model, info
from tests.native.chains import NORM, SIXTH
from tests.native.rewritten import forced

pytestmark = pytest.mark.usefixtures("native_library")


def one_node(op_type: str, x: str, y: str, *operands: str, **attributes: Any) -> list[NodeProto]:
    return [helper.make_node(op_type, [x, *operands], [y], **attributes)]


def gated(gate: str, x: str, y: str, **attributes: Any) -> list[NodeProto]:
    return [helper.make_node(gate, [x], ["gate"], **attributes), helper.make_node("Mul", [x, "gate"], [y])]


STEPS: dict[str, Callable[[str, str], list[NodeProto]]] = {
    **{name: partial(one_node, name) for name in ("Relu", "Sigmoid", "Tanh", "HardSwish")},
    "LeakyRelu": partial(one_node, "LeakyRelu", alpha=0.25),
    "HardSigmoid": partial(one_node, "HardSigmoid", alpha=0.25, beta=0.375),
    "PRelu": lambda x, y: one_node("PRelu", x, y, "slope"),
    "Add": lambda x, y: one_node("Add", x, y, "z"),
    "BatchNormalization": lambda x, y: one_node("BatchNormalization", x, y, *NORM),
    "SiLU": partial(gated, "Sigmoid"),
    "HardSwish in two": partial(gated, "HardSigmoid", alpha=SIXTH, beta=0.5),
}


def draw_conv(rng: np.random.Generator) -> tuple[NodeProto, dict[str, Array], tuple[int, ...], tuple[int, ...]]:
    """`c = Conv(x, w, b)` of any rank, strides, dilations, pads and groups; weight and bias; the shapes of x and c."""
    rank = int(rng.integers(1, 4))
    kernel, strides, dilations = rng.integers(1, 6, rank), rng.integers(1, 4, rank), rng.integers(1, 4, rank)
    spans = (kernel - 1) * dilations + 1
    begin, end = rng.integers(0, spans), rng.integers(0, spans)
    extents = spans + rng.integers(0, [300, 30, 10][rank - 1], rank)
    group, inputs, outputs, batch = (int(rng.integers(1, most)) for most in (4, 4, 7, 3))
    lengths = (extents + begin + end - spans) // strides + 1
    given = {"strides": strides, "dilations": dilations, "pads": np.concatenate([begin, end])}
    attributes: dict[str, Any] = {name: [int(value) for value in values] for name, values in given.items()}
    node = helper.make_node("Conv", ["x", "w", "b"], ["c"], group=group, **attributes)
    weight = rng.standard_normal((group * outputs, inputs, *map(int, kernel))).astype(np.float32)
    bias = rng.standard_normal(group * outputs).astype(np.float32)
    x_shape = (batch, group * inputs, *map(int, extents))
    return node, {"w": weight, "b": bias}, x_shape, (batch, group * outputs, *map(int, lengths))


@pytest.mark.slow
@settings(max_examples=100)
@given(strategies.integers(0, 1 << 32))
def test_any_chain_on_any_convolution(seed: int) -> None:
    """Run by the library and by the functions, against ONNX Runtime's own operators."""
    rng = np.random.default_rng(seed)
    node, constants, x_shape, y_shape = draw_conv(rng)
    constants["slope"] = rng.uniform(-1, 1, (y_shape[1], *[1] * (len(y_shape) - 2))).astype(np.float32)
    constants |= {name: rng.uniform(0.5, 2, y_shape[1]).astype(np.float32) for name in NORM}
    steps = ["Add"] * (rng.random() < 0.5) + [str(rng.choice(list(STEPS)))]
    steps += ["BatchNormalization"] * (rng.random() < 0.5)
    nodes = [node]
    for number, step in enumerate(steps):
        nodes += STEPS[step](nodes[-1].output[0], "y" if number == len(steps) - 1 else f"step{number}")
    read = {name for node in nodes for name in node.input}
    stored = {name: value for name, value in constants.items() if name in read}
    original = build_model(
        nodes, [info("x", shape=x_shape), info("z", shape=y_shape)], [info("y", shape=y_shape)], stored
    )
    rewritten = forced(original)
    assert rewritten.graph.node[0].domain == OPERATOR_DOMAIN
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in (("x", x_shape), ("z", y_shape))}
    (expected,) = run_model(original, feeds)
    terms = float(np.sqrt(constants["w"][0].size)) * 3 + float(np.abs(expected).max())
    for (y,) in (run_with_library(rewritten, feeds), run_model(rewritten, feeds)):
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * terms)
