"""Constants are computed whatever operator computes them, within bounds, and have the values of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper, numpy_helper

from onnx_fft.errors import Refusal
from onnx_fft.model.folding import Budget
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import find_scopes
from onnx_fft.model.weights import resolve_constant
from onnx_fft.runtime.constants import evaluate_constants
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model
from tests.marks import since_onnxruntime
from tests.models import body_graph, build_model, info, make_model
from tests.sites.finding import find_convs

RNG = np.random.default_rng(5)
C: Array = RNG.standard_normal((4, 3, 5, 5)).astype(np.float32)
X: Array = RNG.standard_normal((2, 3, 13, 11)).astype(np.float32)
FILTER = {"f": np.ones((3, 3, 3, 3), np.float32)}


def node(op_type: str, inputs: str, outputs: str = "w", **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, inputs.split(" "), outputs.split(" "), **attributes)


def branch(op_type: str) -> Any:
    return body_graph("b", [node(op_type, "c", "v")], [], [info("v")])


def resolve(nodes: Sequence[NodeProto], constants: dict[str, Array], *, opset: int = 17, **options: Any) -> Any:
    """The value of `w` by ONNX Runtime, or why it has none."""
    model = make_model([*nodes, node("Identity", "w", "y")], constants, y=None, opset=opset, **options)
    return resolve_constant("w", find_scopes(model, None, evaluate_constants)[0])


ROUNDING = [node("Cast", "c", "h", to=10), node("Mul", "h h", "g"), node("Sin", "g", "s"), node("Cast", "s", to=1)]
COMPUTED: dict[str, tuple[list[NodeProto], dict[str, Array]]] = {
    "sin": ([node("Sin", "c")], {}),
    "softmax": ([node("Softmax", "c", axis=1)], {}),
    "einsum": ([node("Einsum", "c m", equation="oiab,bd->oiad")], {"m": C[0, 0]}),
    "layer-norm": ([node("LayerNormalization", "c s")], {"s": np.ones(5, np.float32)}),
    "trilu": ([node("Trilu", "c")], {}),
    "scatter": ([node("ScatterND", "c i u")], {"i": np.array([[2]]), "u": C[:1]}),
    "resize": ([node("Resize", "c  s", mode="linear")], {"s": np.array([1, 1, 1.6, 2.2], np.float32)}),
    "conv": ([node("Conv", "c f", pads=[1] * 4)], FILTER),
    "if": ([node("If", "t", then_branch=branch("Sin"), else_branch=branch("Cos"))], {"t": np.array(False)}),
    "quantized": (
        [node("QuantizeLinear", "c s", "q"), node("DequantizeLinear", "q s")],
        {"s": np.array(0.1, np.float32)},
    ),
    "of ONNX Runtime": ([node("Gelu", "c", domain="com.microsoft")], {}),
    "several outputs": ([node("TopK", "c k", "w i", axis=2)], {"k": np.array([2])}),
    "float16": (ROUNDING, {}),
    "dropout without training": (
        [node("Dropout", "c r t")],
        {"r": np.array(0.5, np.float32), "t": np.array(False)},
    ),
    "normalized by groups": (
        [node("GroupNormalization", "c s b", num_groups=1)],
        {"s": np.ones(1, np.float32), "b": np.zeros(1, np.float32)},
    ),
    "boxes": (
        [node("NonMaxSuppression", "o s k t", "i"), node("Cast", "i", to=1)],
        {"o": abs(C[:1, 0, :, :4]), "s": abs(C[:1, :2, 0]), "k": np.array([3]), "t": np.array([0.5], np.float32)},
    ),
}


@pytest.mark.parametrize("case", COMPUTED)
def test_any_operator_folds_to_what_onnxruntime_computes(case: str) -> None:
    nodes, constants = COMPUTED[case]
    opset = 18 if case == "normalized by groups" else 17
    value = resolve(nodes, {"c": C, **constants}, opset=opset)
    assert not isinstance(value, Refusal), value
    model = make_model([*nodes, node("Identity", "w", "y")], {"c": C, **constants}, y=None, opset=opset)
    (expected,) = run_model(model, {"x": X})
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


def test_a_function_folds_with_the_attributes_of_its_call() -> None:
    inner = node("Softmax", "a", "s")
    inner.attribute.add(name="axis", ref_attr_name="along", type=2)
    function = helper.make_function(
        "local", "Window", ["a"], ["b"], [inner, node("Sin", "s", "b")], [helper.make_opsetid("", 17)], ["along"]
    )
    call = node("Window", "c", domain="local", along=2)
    value = resolve([call], {"c": C}, functions=[function], domains=["local"])
    expected = np.exp(C) / np.exp(C).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(value, np.sin(expected), rtol=1e-5)


def test_one_name_in_two_calls_keeps_both_its_values() -> None:
    """In float16 nodes are computed together, but `k` is another constant in each call."""
    factor = helper.make_node("Constant", [], ["k"])
    factor.attribute.add(name="value", ref_attr_name="by", type=4)
    imports = [helper.make_opsetid("", 17)]
    scale = helper.make_function("local", "Scale", ["a"], ["b"], [factor, node("Mul", "a k", "b")], imports, ["by"])
    by = [numpy_helper.from_array(np.array(value, np.float16)) for value in (2, 3)]
    calls = [node("Scale", "c", name, domain="local", by=value) for name, value in zip("uv", by, strict=True)]
    constants = {"c": np.ones(3, np.float16)}
    value = resolve([*calls, node("Add", "u v")], constants, functions=[scale], domains=["local"])
    np.testing.assert_array_equal(value, [5, 5, 5])


RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize("op_type", RECURRENT)
def test_recurrent_layers_fold(op_type: str) -> None:
    gates, hidden = RECURRENT[op_type], 3
    weights = {
        "k": RNG.standard_normal((1, gates * hidden, 5)).astype(np.float32),
        "r": RNG.standard_normal((1, gates * hidden, hidden)).astype(np.float32),
    }
    layer = node(op_type, "m k r", "all w", hidden_size=hidden)
    value = resolve([layer], {"m": C[0], **weights})
    assert not isinstance(value, Refusal), value
    model = make_model([layer, node("Identity", "w", "y")], {"m": C[0], **weights}, y=None)
    np.testing.assert_allclose(value, run_model(model, {"x": X})[0], rtol=1e-5, atol=1e-6)


HUGE = np.array([1 << 20, 1 << 20, 5, 5])
BEYOND: dict[str, tuple[list[NodeProto], dict[str, Array], str]] = {
    "expand": ([node("Expand", "c n")], {"n": np.array([1 << 40, 4, 3, 5, 5])}, "elements"),
    "fill": ([node("ConstantOfShape", "n")], {"n": HUGE}, "elements"),
    "tile": ([node("Tile", "c n")], {"n": HUGE}, "elements"),
    "range": ([node("Range", "a n b")], {"a": np.array(0), "n": np.array(1 << 50), "b": np.array(1)}, "elements"),
    "endless range": (
        [node("Range", "a n b")],
        {"a": np.array(0.0, np.float32), "n": np.array(np.inf, np.float32), "b": np.array(1.0, np.float32)},
        "size",
    ),
    "sums": ([node("Einsum", "v v v v", equation="a,b,c,d->")], {"v": np.zeros(900, np.float32)}, "products"),
    "loop": (
        [node("Loop", "n t c", body=body_graph("b", [], [info("i"), info("t2"), info("s")], [info("t2"), info("s")]))],
        {"n": np.array(1 << 40), "t": np.array(True)},
        "Loop",
    ),
    "random": ([node("RandomNormalLike", "c")], {}, "random"),
    "training": ([node("Dropout", "c r t")], {"r": np.array(0.5, np.float32), "t": np.array(True)}, "random"),
}  # fmt: skip


@pytest.mark.parametrize("case", BEYOND)
def test_what_costs_too_much_or_varies_is_refused(case: str) -> None:
    nodes, constants, word = BEYOND[case]
    found = resolve(nodes, {"c": C, **constants})
    assert isinstance(found, Refusal)
    assert found.code == "runtime-weight"
    assert word in found.reason


def test_many_constants_cost_as_much_as_a_large_one() -> None:
    budget, feeds = Budget(elements=500), {"c": C}
    assert budget.find_obstacle(node("Sin", "c"), feeds, 17) == ""
    assert "200 left" in budget.find_obstacle(node("Sin", "c"), feeds, 17)


ZEROS: dict[str, Array] = {
    "long": np.zeros((1 << 16, 1, 1), np.float32),
    "gates": np.zeros((1, 256, 1), np.float32),
    "square": np.zeros((1, 256, 64), np.float32),
    "matrix": np.zeros((1024, 1024), np.float32),
    "region": np.array([[0, 0, 1e30, 1e30]], np.float32),
    "image": np.zeros((1, 1, 4, 4), np.float32),
    "zero": np.zeros(1, np.int64),
}
COSTLY = {
    "recurrence": node("LSTM", "long gates square", " w", hidden_size=64),
    "determinant": node("Det", "matrix"),
    "regions": node("RoiAlign", "image region zero"),
    "samples": node("RoiAlign", "image region zero", sampling_ratio=1 << 40),
    "attention": node("Attention", "image long matrix"),
    "window": node("LRN", "image", size=(1 << 40) + 1),
}


@pytest.mark.parametrize("case", COSTLY)
def test_an_operator_that_costs_more_than_its_result_is_counted(case: str) -> None:
    costly = COSTLY[case]
    feeds = {name: ZEROS[name] for name in costly.input}
    assert "are 1000000 left" in Budget(elements=10**6, work=10**6).find_obstacle(costly, feeds, 17)


def test_functions_that_multiply_are_refused() -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    functions = [helper.make_function("local", "f20", ["a"], ["b"], [node("Sin", "a", "b")], imports)]
    for depth in reversed(range(20)):  # each calls the next one twice
        calls = [node(f"f{depth + 1}", f"{a}", f"{b}", domain="local") for a, b in (("a", "m"), ("m", "b"))]
        functions.append(helper.make_function("local", f"f{depth}", ["a"], ["b"], calls, imports))
    found = resolve([node("f0", "c", domain="local")], {"c": C}, functions=functions, domains=["local"])
    assert isinstance(found, Refusal)
    assert "too many nodes" in found.reason


LENGTHS = [
    node("Shape", "x", "lengths"), node("Gather", "lengths one", "channels"),
    node("Concat", "four channels rest", "size", axis=0), node("Expand", "k size", "w"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "is_known"), [(1, True), (2, False)])
def test_lengths_that_the_model_fixes_are_constants(place: int, is_known: bool) -> None:
    constants = {"one": np.array([place]), "four": np.array([4]), "rest": np.array([5, 5]), "k": C[:, :1].copy()}
    model = make_model([*LENGTHS, node("Conv", "x w", "y", pads=[2] * 4)], constants, x=("N", 3, "H", 11), y=None)
    (site,) = find_convs(LoadedModel(model), evaluate_constants)
    if not is_known:
        assert site.refusal is not None and "leaves open" in site.refusal.reason
        return
    np.testing.assert_array_equal(site.read_weights().weight, np.repeat(C[:, :1], 3, axis=1))


since_21 = since_onnxruntime(19, "knows opsets up to 20")


@since_21
def test_blocked_dequantization_folds() -> None:
    q: Array = np.arange(-20, 20, dtype=np.int8).reshape(2, 20)
    constants: dict[str, Array] = {"q": q, "s": np.full((2, 5), 0.125, np.float32)}
    value = resolve([node("DequantizeLinear", "q s", block_size=4)], constants, opset=21, ir_version=9)
    np.testing.assert_array_equal(value, q / np.float32(8))


@pytest.mark.parametrize("op_types", [["Identity"], ["Sin", "Relu"], ["Conv"]])
def test_a_convolution_of_constants_is_left_to_onnxruntime(op_types: list[str]) -> None:
    names = ["c", *(f"v{place}" for place in range(len(op_types)))]
    steps = [
        node(op_type, f"{before} f" if op_type == "Conv" else before, after)
        for op_type, before, after in zip(op_types, names, names[1:], strict=False)
    ]
    model = make_model(
        [*steps, node("Conv", f"{names[-1]} f", "k"), node("Add", "k x", "y")], {"c": C, **FILTER}, y=None
    )
    *_, site = find_convs(LoadedModel(model))
    assert site.refusal is not None and site.refusal.code == "constant-input"


def test_a_convolution_of_constants_in_a_body_is_left_to_onnxruntime() -> None:
    body = body_graph("b", [node("Relu", "c", "v"), node("Conv", "v f", "k")], [], [info("k")])
    nodes = [node("If", "t", "y", then_branch=body, else_branch=branch("Sin"))]
    values = [info("t", 9, ())]
    model = build_model(nodes, values, [info("y")], {"c": C, **FILTER})
    (site,) = find_convs(LoadedModel(model))
    assert site.refusal is not None and site.refusal.code == "constant-input"
