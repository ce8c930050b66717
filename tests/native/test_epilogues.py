"""What follows a Conv and stands alone on its output is computed along: which chains, and that they are exact.

`test_fused.py` has the activations of one node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx.inliner
import pytest
from hypothesis import given, settings, strategies
from onnx import ModelProto, NodeProto, helper

import onnx_fft
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.report import describe
from scripts.shared.conv_models import Array
from scripts.shared.running import executed_op_types, run_model, run_reference, run_with_library
from tests.comparing import assert_same, dump
from tests.models import B1, W1, W2, X, Y, build_model, conv, info, make_model, parse_model, relu
from tests.native.rewritten import assert_close, forced

pytestmark = pytest.mark.usefixtures("native_library")

RNG = np.random.default_rng(12)
W3 = (RNG.standard_normal((4, 4, 3, 3)) / 6).astype(np.float32)
SLOPE = RNG.uniform(-0.5, 1.5, (4, 1, 1)).astype(np.float32)
NORM = {name: RNG.uniform(0.5, 2, 4).astype(np.float32) for name in ("gamma", "shift", "mean", "var")}
CONSTANTS = {"w1": W1, "w2": W2, "w3": W3, "b1": B1, "slope": SLOPE, **NORM}
SIXTH = float(np.float32(1 / 6))


def model_of(body: str, **constants: Any) -> ModelProto:
    """`x -> body -> y`, with those of `CONSTANTS` that it reads, and numbers by name."""
    text = f"g (float[2, 3, 13, 11] x) => (float[2, 4, 13, 11] y) {{ {body} }}"
    stored = {name: value for name, value in CONSTANTS.items() if name in text}
    return parse_model(text, stored | {name: np.asarray(value, np.float32) for name, value in constants.items()})


CONV = "c = Conv<pads = [2, 2, 2, 2]>(x, w1, b1)"
SECOND = "Conv<pads = [1, 1, 1, 1]>"
CHAINS: dict[str, tuple[ModelProto, str]] = {
    "PRelu, a slope a channel": (model_of(f"{CONV} y = PRelu(c, slope)"), "FFTConvPRelu"),
    "PRelu, one slope": (model_of(f"{CONV} y = PRelu(c, one)", one=[0.3]), "FFTConvPRelu"),
    "SiLU": (model_of(f"{CONV} s = Sigmoid(c) y = Mul(c, s)"), "FFTConvSwish"),
    "SiLU, the other way round": (model_of(f"{CONV} s = Sigmoid(c) y = Mul(s, c)"), "FFTConvSwish"),
    "HardSwish in two": (
        model_of(f"{CONV} s = HardSigmoid<alpha = {SIXTH!r}, beta = 0.5>(c) y = Mul(c, s)"),
        "FFTConvHardSwish",
    ),
    "HardSwish in four": (
        model_of(f"{CONV} a = Add(c, three) s = Clip(a, no, six) m = Mul(c, s) y = Div(m, six)", three=3, no=0, six=6),
        "FFTConvHardSwish",
    ),
    "HardSwish in four, times a sixth": (
        model_of(
            f"{CONV} a = Add(three, c) s = Clip(a, no, six) m = Mul(s, c) y = Mul(m, part)",
            three=3,
            no=0,
            six=6,
            part=SIXTH,
        ),
        "FFTConvHardSwish",
    ),
    "normalized behind an activation": (
        model_of(f"{CONV} r = Relu(c) y = BatchNormalization<epsilon = 0.001>(r, gamma, shift, mean, var)"),
        "FFTConvReluBatchNormalization",
    ),
    "folded, and normalized again": (
        model_of(
            f"{CONV} n = BatchNormalization(c, gamma, shift, mean, var) s = Sigmoid(n) m = Mul(n, s) "
            "y = BatchNormalization(m, gamma, mean, shift, var)"
        ),
        "FFTConvSwishBatchNormalization",
    ),
}


def assert_replaced(original: ModelProto, types: Sequence[str], feeds: dict[str, Array] | None = None) -> ModelProto:
    """All of `types` stand for it, and run; with the library, without it, inlined and in onnx's evaluator."""
    feeds = feeds or {"x": X}
    rewritten = forced(original)
    ours = [node.op_type for node in rewritten.graph.node if node.domain == OPERATOR_DOMAIN]
    assert ours == list(types)
    executed = executed_op_types(rewritten, feeds, with_library=True)
    assert {name: count for name, count in executed.items() if name.startswith("FFT")} == {
        name: ours.count(name) for name in ours
    }
    assert_same(original, rewritten, feeds, rtol=2e-6)
    assert_same(original, onnx.inliner.inline_local_functions(rewritten), feeds, rtol=2e-6)
    expected = run_model(original, feeds)
    assert_close(run_reference(rewritten, feeds), expected)
    assert_close(run_with_library(rewritten, feeds), expected)
    validation = onnx_fft.validate(original, rewritten)
    assert validation.ok, describe(validation)
    assert [check.ok for check in validation.convs] == [True] * len(ours)
    assert dump(forced(rewritten)) == dump(rewritten)
    return rewritten


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_one_node(name: str) -> None:
    original, op_type = CHAINS[name]
    rewritten = assert_replaced(original, [op_type])
    assert len(rewritten.graph.node) == 1
    assert rewritten.graph.node[0].output[0] == "y"
    names = {tensor.name for tensor in rewritten.graph.initializer}
    assert names == set(rewritten.graph.node[0].input[1:])  # what only the chain read is gone


BLOCK = (
    f"{CONV} r = Relu(c) d = {SECOND}(r, w2) e = Relu(d) f = {SECOND}(e, w3) s = Add(f, r) t = Relu(s) "
    f"g = {SECOND}(t, w2) h = {SECOND}(g, w3) u = Add(t, h) y = Relu(u)"
)
"""Two blocks of a ResNet behind a Conv."""

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


LEFT: dict[str, tuple[ModelProto, list[str]]] = {
    "the sum is read again": (model_of(f"{CONV} r = Relu(c) s = Add(c, r) y = Tanh(s)"), ["FFTConv"]),
    "the gate is read again": (model_of(f"{CONV} s = Sigmoid(c) m = Mul(c, s) y = Add(m, s)"), ["FFTConv"]),
    "the gate is of something else": (model_of(f"{CONV} d = Neg(c) s = Sigmoid(d) y = Mul(c, s)"), ["FFTConv"]),
    "a product of two gates": (model_of(f"{CONV} s = Sigmoid(c) t = Tanh(c) y = Mul(s, t)"), ["FFTConv"]),
    "another HardSigmoid": (model_of(f"{CONV} s = HardSigmoid(c) y = Mul(c, s)"), ["FFTConv"]),
    "a square": (model_of(f"{CONV} y = Mul(c, c)"), ["FFTConv"]),
    "twice itself": (model_of(f"{CONV} y = Add(c, c)"), ["FFTConv"]),
    "five instead of six": (
        model_of(f"{CONV} a = Add(c, n3) s = Clip(a, n0, n6) m = Mul(c, s) y = Div(m, n5)", n3=3, n0=0, n6=6, n5=5),
        ["FFTConv"],
    ),
    "six taken away": (
        model_of(f"{CONV} a = Add(c, n3) s = Clip(a, n0, n6) m = Mul(c, s) y = Sub(m, n6)", n3=3, n0=0, n6=6),
        ["FFTConv"],
    ),
    "slopes along the width": (model_of(f"{CONV} y = PRelu(c, wide)", wide=np.ones(11)), ["FFTConv"]),
    "a slope computed at run time": (
        model_of(
            f"{CONV} a = ReduceMax<axes = [0, 2, 3], keepdims = 0>(x) i = Size(a) j = Cast<to = 1>(i) "
            "k = ReduceMean<keepdims = 0>(x) y = PRelu(c, k)"
        ),
        ["FFTConv"],
    ),
    "an activation before the residual": (
        model_of(f"{CONV} r = Relu(c) d = {SECOND}(r, w2) e = Relu(d) y = Add(e, r)"),
        ["FFTConvRelu", "FFTConvRelu"],
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_does_not_stand_alone_stays(name: str) -> None:
    original, types = LEFT[name]
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node if node.domain == OPERATOR_DOMAIN] == types
    assert_same(original, rewritten, rtol=0)
    assert_close(run_with_library(rewritten, {"x": X}), run_model(original, {"x": X}))


def test_a_sum_that_is_an_output_stays() -> None:
    for body in (f"{CONV} s = Sigmoid(c) y = Mul(c, s)", f"d = {CONV[4:]} r = Relu(d) {CONV} y = Add(c, r)"):
        original = model_of(body)
        original.graph.output.append(info("c", shape=Y))
        rewritten = forced(original)
        assert "FFTConv" in [node.op_type for node in rewritten.graph.node]
        assert_same(original, rewritten, rtol=0)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(dtype: str) -> None:
    """float16 would round the factor and the addend of a normalization."""
    norm = {name: value.astype(dtype) for name, value in NORM.items()}
    constants = {"w1": W1.astype(dtype), "b1": B1.astype(dtype), "slope": SLOPE.astype(dtype), **norm}
    nodes = [
        conv("x", "c", "w1", "b1"),
        helper.make_node("Add", ["c", "z"], ["s"]),
        helper.make_node("PRelu", ["s", "slope"], ["p"]),
        helper.make_node("BatchNormalization", ["p", *norm], ["y"]),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    original = make_model(nodes, constants, dtype=kind, inputs=[info("z", kind, Y)])
    rewritten = forced(original)
    types = [node.op_type for node in rewritten.graph.node]
    assert types == (
        ["FFTConvAddPRelu", "BatchNormalization"] if dtype == "float16" else ["FFTConvAddPReluBatchNormalization"]
    )
    feeds = {"x": X.astype(dtype), "z": RNG.standard_normal(Y).astype(dtype)}
    expected = run_reference(original, {name: array.astype(dtype) for name, array in feeds.items()})
    assert_close(run_with_library(rewritten, feeds), expected)


def prelu_chain(layers: int) -> ModelProto:
    """As realesr-animevideov3: Convs of 3x3, each with slopes of its own behind it."""
    nodes, constants, x = list[NodeProto](), dict[str, Array](), "x"
    for number in range(layers):
        constants[f"w{number}"] = (RNG.standard_normal((4, 3 if number == 0 else 4, 3, 3)) / 5).astype(np.float32)
        constants[f"s{number}"] = RNG.uniform(0, 0.5, (4, 1, 1)).astype(np.float32)
        y = "y" if number == layers - 1 else f"p{number}"
        nodes.append(conv(x, f"c{number}", f"w{number}", pads=1, name=f"conv{number}"))
        nodes.append(helper.make_node("PRelu", [f"c{number}", f"s{number}"], [y], f"prelu{number}"))
        x = y
    return make_model(nodes, constants)


def test_a_chain_of_prelus() -> None:
    """Slopes are inputs: one function serves all."""
    rewritten = assert_replaced(prelu_chain(5), ["FFTConvPRelu"] * 5)
    assert [function.name for function in rewritten.functions] == ["FFTConvPRelu"]


def test_other_numbers_of_the_same_steps_stay_nodes() -> None:
    body = (
        f"{CONV} r = Relu(c) d = {SECOND}(r, w2) s = Add(d, r) l = LeakyRelu<alpha = 0.25>(s) "
        f"e = {SECOND}(l, w3) t = Add(l, e) y = LeakyRelu<alpha = 0.5>(t)"
    )
    original = model_of(body)
    rewritten = assert_replaced(original, ["FFTConvRelu", "FFTConvAddLeakyRelu", "FFTConvAdd"])
    assert rewritten.graph.node[-1] == original.graph.node[-1]


def test_a_name_that_the_model_has_already_shortens_the_operator() -> None:
    original = model_of(f"{CONV} r = Relu(c) d = {SECOND}(r, w2) s = Add(d, r) y = LeakyRelu<alpha = 0.5>(s)")
    first = forced(model_of(f"{CONV} r = Relu(c) d = {SECOND}(r, w2) s = Add(d, r) y = LeakyRelu<alpha = 0.25>(s)"))
    original.functions.extend(function for function in first.functions if "Leaky" in function.name)
    original.opset_import.extend([helper.make_opsetid(OPERATOR_DOMAIN, 1)])
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConvRelu", "FFTConvAdd", "LeakyRelu"]
    assert_close(run_with_library(rewritten, {"x": X}), run_model(original, {"x": X}))


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


def test_what_the_model_says_of_the_nodes_is_kept() -> None:
    nodes = [conv("x", "c", name="conv"), relu("c", "y")]
    for node, text in zip(nodes, ("one", "two"), strict=True):
        node.doc_string = text
        if hasattr(node, "metadata_props"):
            node.metadata_props.add(key="from", value=text)
    (node,) = forced(make_model(nodes)).graph.node
    assert node.doc_string == "one\ntwo"
    assert {entry.key: entry.value for entry in node.metadata_props}.items() >= {
        "from": "one",
        "Relu.from": "two",
    }.items()


def test_reports_say_what_is_taken_along() -> None:
    model = model_of(f"{CONV} r = Relu(c) d = {SECOND}(r, w2) s = Add(d, r) y = Sigmoid(s)")
    inspected = onnx_fft.inspect(model, target="native", select="all")
    rewritten = onnx_fft.rewrite(model, target="native", select="all")
    for report in (inspected, rewritten.report):
        assert [row.followers for row in report.rows] == [("Relu",), ("Add", "Sigmoid")]
        assert "takes along Add, Sigmoid" in describe(report)
    standard = onnx_fft.inspect(model, select="all")
    assert [row.followers for row in standard.rows] == [(), ()]


@pytest.mark.parametrize("fault", ["no activation", "another residual"])
def test_a_wrong_epilogue_is_found(fault: str) -> None:
    """The check of each Conv alone covers what follows it."""
    original = model_of(BLOCK)
    rewritten = forced(original)
    if fault == "no activation":
        rewritten.graph.node[0].op_type = "FFTConv"
    else:
        rewritten.graph.node[2].input[3] = "e"
    validation = onnx_fft.validate(original, rewritten)
    assert not validation.ok
    wrong = [number for number, check in enumerate(validation.convs) if check.ok is False]
    assert wrong == [0 if fault == "no activation" else 2], describe(validation)


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
