"""Residuals that are added along with the sum: where the shapes are proved to be equal, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from scripts.shared.running import run_model, run_with_library
from tests.comparing import assert_same
from tests.models import W1, X, Y, build_model, conv, info, make_model, relu
from tests.native.chains import BLOCK, CONV, RNG, SECOND, assert_replaced, model_of
from tests.native.rewritten import assert_close, forced

pytestmark = pytest.mark.usefixtures("native_library")

RESIDUAL_TYPES = ["FFTConvRelu", "FFTConvRelu", "FFTConvAddRelu", "FFTConv", "FFTConvAddRelu"]


def test_residual_blocks() -> None:
    rewritten = assert_replaced(model_of(BLOCK), RESIDUAL_TYPES)
    assert len(rewritten.graph.node) == len(RESIDUAL_TYPES)
    assert [node.input[3] for node in rewritten.graph.node if len(node.input) > 3] == ["r", "t"]


def test_residuals_of_open_lengths() -> None:
    """Nothing but where the lengths come from proves that a residual is as large as the sum."""
    original = model_of(BLOCK)
    original.graph.input[0].CopyFrom(info("x", shape=["n", 3, None, None]))
    original.graph.output[0].CopyFrom(info("y", shape=["m", 4, None, None]))
    rewritten = assert_replaced(original, RESIDUAL_TYPES)
    feeds = {"x": RNG.standard_normal((1, 3, 6, 40)).astype(np.float32)}
    assert_close(run_with_library(rewritten, feeds), run_model(original, feeds))


def test_a_block_that_halves_open_lengths() -> None:
    body = (
        f"{CONV} r = Relu(c) d = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(r, w2) e = Relu(d) f = {SECOND}(e, w3) "
        "g = Conv<strides = [2, 2], kernel_shape = [1, 1]>(r, w4) s = Add(f, g) y = Sigmoid(s)"
    )
    w4 = RNG.standard_normal((4, 4, 1, 1)).astype(np.float32)
    original = model_of(body, w4=w4)
    original.graph.input[0].CopyFrom(info("x", shape=["n", 3, None, None]))
    original.graph.output[0].CopyFrom(info("y", shape=["m", 4, None, None]))
    assert_replaced(original, ["FFTConvRelu", "FFTConvRelu", "FFTConv", "FFTConvAddSigmoid"])


def test_a_sum_of_two_is_an_addition() -> None:
    original = model_of(f"{CONV} r = Relu(c) d = {SECOND}(r, w2) s = Sum(r, d) y = Relu(s)")
    assert_replaced(original, ["FFTConvRelu", "FFTConvAddRelu"])


def test_what_comes_behind_the_last_step_stays() -> None:
    norm = "BatchNormalization({}, gamma, shift, mean, var)"
    body = f"{CONV} r = Relu(c) d = {SECOND}(r, w2) s = Add(d, r) n = {norm.format('s')} "
    body += f"m = {norm.format('n')} y = Relu(m)"
    rewritten = assert_replaced(model_of(body), ["FFTConvRelu", "FFTConvAddBatchNormalization"])
    assert [node.op_type for node in rewritten.graph.node][2:] == ["BatchNormalization", "Relu"]


def test_one_of_two_convs_takes_their_sum() -> None:
    original = model_of(f"{CONV} d = Conv<pads = [2, 2, 2, 2]>(x, w1) s = Add(c, d) y = Tanh(s)")
    rewritten = assert_replaced(original, ["FFTConv", "FFTConvAddTanh"])
    assert rewritten.graph.node[1].input[3] == "d"


UNPROVEN = {
    "a bias a channel": ((4, 1, 1), Y),
    "one number": ((), Y),
    "one image for all": ((1, 4, 13, 11), Y),
    "open": ((None, 4, 13, 11), Y),
    "larger": ((3, 2, 4, 13, 11), (3, *Y)),
}


@pytest.mark.parametrize("name", UNPROVEN)
def test_what_may_be_broadcast_is_not_taken(name: str) -> None:
    shape, result = UNPROVEN[name]
    nodes = [conv("x", "c"), helper.make_node("Add", ["c", "z"], ["y"])]
    original = make_model(nodes, y=result, inputs=[info("z", shape=shape)])
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConv", "Add"]
    z = np.full([1 if length is None else length for length in shape], 0.5, np.float32)
    assert_same(original, rewritten, {"x": X, "z": z}, rtol=0)


def test_inputs_whose_lengths_have_one_name_may_differ() -> None:
    """ONNX Runtime holds nobody to it, and broadcasts."""
    nodes = [conv("x", "c"), helper.make_node("Add", ["c", "z"], ["y"])]
    values = [info("x", shape=["n", 3, 13, 11]), info("z", shape=["n", 4, 13, 11])]
    original = build_model(nodes, values, [info("y", shape=["m", 4, 13, 11])], {"w1": W1})
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConv", "Add"]
    assert_same(original, rewritten, {"x": X, "z": np.ones((1, 4, 13, 11), np.float32)}, rtol=0)


def test_the_residual_may_be_made_after_the_conv() -> None:
    """Nodes are in an order to run in: the operator stands where the sum did."""
    nodes = [
        conv("x", "c"),
        conv("x", "d", "w1", "b1", name="later"),
        relu("d", "r"),
        helper.make_node("Neg", ["r"], ["z"]),
        helper.make_node("Add", ["z", "c"], ["y"]),
    ]
    assert_replaced(make_model(nodes), ["FFTConvRelu", "FFTConvAdd"])
