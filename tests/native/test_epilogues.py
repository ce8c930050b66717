"""What follows a Conv and stands alone on its output is computed along: which chains, and that they are exact.

`test_fused.py` has the activations of one node.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper

import onnx_fft
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.report import describe
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model, run_reference, run_with_library
from tests.comparing import assert_same
from tests.models import B1, W1, X, Y, conv, info, make_model, relu
from tests.native.chains import BLOCK, CONV, NORM, RNG, SECOND, SIXTH, SLOPE, assert_replaced, model_of
from tests.native.rewritten import assert_close, forced

pytestmark = pytest.mark.usefixtures("native_library")

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


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_one_node(name: str) -> None:
    original, op_type = CHAINS[name]
    rewritten = assert_replaced(original, [op_type])
    assert len(rewritten.graph.node) == 1
    assert rewritten.graph.node[0].output[0] == "y"
    names = {tensor.name for tensor in rewritten.graph.initializer}
    assert names == set(rewritten.graph.node[0].input[1:])  # what only the chain read is gone


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_of_float64_are_not_rounded(dtype: str) -> None:
    """A sixth that float32 holds is not one in float64, nor is a three a little above."""
    constants = {"w1": W1, "three": np.array(3 + 1e-9), "no": np.array(0.0), "six": np.array(6.0)}
    tail = [
        helper.make_node("Clip", ["a", "no", "six"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("Div", ["m", "six"], ["y"]),
    ]
    parts = [conv("x", "c"), helper.make_node("Add", ["c", "three"], ["a"]), *tail]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = make_model(parts, {name: value.astype(dtype) for name, value in constants.items()}, dtype=kind)
    gated = [conv("x", "c"), helper.make_node("HardSigmoid", ["c"], ["s"], alpha=1 / 6, beta=0.5), tail[1]]
    gated[-1].output[0] = "y"
    other = make_model(gated, {"w1": W1.astype(dtype)}, dtype=kind)
    for each in (model, other):
        first = forced(each).graph.node[0]
        assert first.op_type == ("FFTConvHardSwish" if dtype == "float32" else "FFTConv")


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
