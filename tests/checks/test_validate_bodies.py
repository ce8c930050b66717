"""Replaced Convs that no feed needs to reach: in branches, loops and functions, or behind what hides them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

import onnx_fft.checks.coverage
from onnx_fft.rewrite import rewrite
from onnx_fft.validate import validate
from scripts.shared.conv_models import Array
from tests.checks.pairs import flip, make_model, make_pair, replaced, text
from tests.models import FLOAT, W1, W2, conv, relu

Wrap = Callable[[NodeProto, Array], ModelProto]
FIXED = (1, 4, 8, 8)


def make_body(name: str, inner: NodeProto, weight: Array | None = None, tail: str = "Relu") -> GraphProto:
    """A body that captures `x` and yields the `tail` of `inner`, which writes `c`."""
    out = helper.make_tensor_value_info(f"{name}_y", FLOAT, None)
    nodes = [inner, helper.make_node(tail, ["c"], [out.name])]
    return helper.make_graph(
        nodes, name, [], [out], [numpy_helper.from_array(weight, "w")] if weight is not None else []
    )


def in_branch(inner: NodeProto, weight: Array, *, taken: bool = False, tail: str = "Relu") -> ModelProto:
    """`inner` in the branch of a nameless If that is, or is not, the one that runs."""
    out = helper.make_tensor_value_info("else_y", FLOAT, None)
    other = helper.make_graph([relu("x", "else_y")], "else", [], [out])
    bodies = {"then_branch": make_body("then", inner, weight, tail), "else_branch": other}
    node = helper.make_node("If", ["cond"], ["y"], **bodies)
    return make_model([node], {"cond": np.array(taken)}, x=FIXED)


def in_nested_branch(inner: NodeProto, weight: Array) -> ModelProto:
    """As `in_branch`, two levels deep, and the weight is a constant of the main graph that a node makes."""
    out = helper.make_tensor_value_info("mid", FLOAT, None)
    deep = helper.make_node("If", ["cond"], ["mid"], then_branch=make_body("then", inner), else_branch=_pass("else"))
    middle = helper.make_graph([deep], "middle", [], [out])
    node = helper.make_node("If", ["cond"], ["y"], name="outer", then_branch=middle, else_branch=_pass("last"))
    half = helper.make_node("Mul", ["half", "two"], ["w"])
    return make_model([half, node], {"cond": np.array(False), "half": weight / 2, "two": np.array(2, np.float32)})


def _pass(name: str) -> GraphProto:
    out = helper.make_tensor_value_info(f"{name}_out", FLOAT, None)
    return helper.make_graph([helper.make_node("Identity", ["x"], [out.name])], name, [], [out])


def in_idle_loop(inner: NodeProto, weight: Array) -> ModelProto:
    """`inner` in the body of a Loop that runs zero times; it reads the carried value."""
    inner.input[0] = "carried"
    values = [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", 9, [])]
    values.append(helper.make_tensor_value_info("carried", FLOAT, None))
    outs = [helper.make_tensor_value_info("go_on", 9, []), helper.make_tensor_value_info("c", FLOAT, None)]
    nodes = [helper.make_node("Identity", ["go"], ["go_on"]), inner]
    body = helper.make_graph(nodes, "body", values, outs, [numpy_helper.from_array(weight, "w")])
    node = helper.make_node("Loop", ["times", "", "x"], ["y"], name="loop", body=body)
    return make_model([node], {"times": np.array(0, np.int64)}, x=FIXED)


def in_uncalled_function(inner: NodeProto, weight: Array) -> ModelProto:
    """`inner` in a function that no node calls, its weight a Constant there."""
    function: FunctionProto = helper.make_function(
        "local",
        "block",
        ["x"],
        ["c"],
        [helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight)), inner],
        [helper.make_opsetid("", 17)],
    )
    model = make_model([relu("x", "y")], {}, x=FIXED, functions=[function])
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def get_branch(model: ModelProto) -> GraphProto:
    """The body that `in_branch` puts the Conv into."""
    body: GraphProto = next(a.g for a in model.graph.node[-1].attribute if a.name == "then_branch")
    return body


NAMES = {
    in_branch: "If#0.then_branch/deep",
    in_nested_branch: "outer.then_branch/If#0.then_branch/deep",
    in_idle_loop: "loop.body/deep",
    in_uncalled_function: "local:block/deep",
}


def pair(wrap: Wrap, factor: float = 1.0) -> tuple[ModelProto, ModelProto]:
    """`wrap` around a Conv, and around its replacement with a weight `factor` times too large."""
    swap = replaced("x", "w", "c", site="deep", pads=1)
    weight = flip(W2 * np.float32(factor))
    return wrap(conv("x", "c", "w", name="deep", pads=1), W2), wrap(swap, weight)


@pytest.mark.parametrize("wrap", NAMES, ids=lambda wrap: wrap.__name__)
def test_a_conv_that_never_runs_is_checked_alone(wrap: Wrap) -> None:
    result = validate(*pair(wrap))
    assert result.ok, text(result)
    [check] = result.convs
    assert (check.name, check.ok) == (NAMES[wrap], True)  # type: ignore[index]
    assert "on random input, alone" in check.sentence
    assert 0 < check.relative_l2_original < 2e-6
    assert "1 of 1 replaced operators held against float64" in result.verdict


@pytest.mark.parametrize("wrap", NAMES, ids=lambda wrap: wrap.__name__)
@pytest.mark.parametrize("factor", [3.0, 1.001])
def test_a_wrong_conv_that_never_runs_is_found(wrap: Wrap, factor: float) -> None:
    result = validate(*pair(wrap, factor))
    assert not result.ok
    assert result.verdict.startswith("different: Conv ")
    assert all(feed.ok for feed in result.feeds)


def test_tripled_constants_of_a_real_rewrite_are_found_in_an_idle_branch() -> None:
    original = in_branch(conv("x", "c", "w", name="deep", pads=1), W2)
    rewritten = rewrite(original, select="all").model
    assert validate(original, rewritten).ok
    for tensor in get_branch(rewritten).initializer:
        if tensor.data_type == FLOAT:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(values * np.float32(3), tensor.name))
    result = validate(original, rewritten)
    assert not result.ok
    assert "deep" in result.verdict


@pytest.mark.slow
@pytest.mark.parametrize("lowering", ["matmul", "dft"])
@pytest.mark.parametrize("shapes", [{}, {"x": (1, 4, 30, 21)}])
def test_a_chain_of_rewritten_convs_in_an_idle_branch(lowering: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    original = in_branch(conv("x", "c0", "w", name="first", pads=1), W2)
    body = get_branch(original)
    body.node.insert(1, conv("c0", "c", "w", name="second", pads=1))
    dims = original.graph.input[0].type.tensor_type.shape.dim
    for axis in (0, 2, 3):
        dims[axis].Clear()
    rewritten = rewrite(original, select="all", lowering=lowering, input_shapes=shapes).model
    result = validate(original, rewritten)
    assert [check.ok for check in result.convs] == [True, True], text(result)
    assert all(("(1x4x30x21)" in check.sentence) is bool(shapes) for check in result.convs), text(result)


def fold_into_elu(model: ModelProto) -> ModelProto:
    """The branch's Conv under another output name, as a rewriter may leave it that merges nodes."""
    branch = get_branch(model)
    branch.node[0].output[0] = branch.node[1].input[0] = "merged"
    return model


@pytest.mark.parametrize("taken", [True, False])
def test_what_can_be_cut_out_nowhere_is_shown_by_outputs_or_not_at_all(taken: bool) -> None:
    # Elu is not an activation known to be computed along with a Conv
    original, rewritten = pair(lambda node, weight: in_branch(node, weight, taken=taken, tail="Elu"))
    result = validate(original, fold_into_elu(rewritten))
    [check] = result.convs
    assert check.ok is None
    assert check.covered is result.ok is taken
    assert "no longer there" in check.sentence
    if taken:
        assert "covered by the outputs" in check.sentence
    else:
        assert result.verdict.startswith("not shown: Conv If#0.then_branch/deep")


def test_outputs_are_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_fft.checks.coverage, "MAX_S", 0.0)
    original, rewritten = pair(lambda node, weight: in_branch(node, weight, taken=True, tail="Elu"))
    result = validate(original, fold_into_elu(rewritten))
    assert result.verdict.startswith("not shown: Conv If#0.then_branch/deep")
    assert "was not tried" in result.verdict


def test_an_output_that_is_drawn_at_random_shows_no_conv() -> None:
    original, rewritten = pair(lambda node, weight: in_branch(node, weight, taken=True, tail="Elu"))
    for model in (original, fold_into_elu(rewritten)):
        model.opset_import[0].version = 8  # too old for numbers that are not drawn
        model.graph.node[-1].output[0] = "z"
        noise = helper.make_node("RandomNormalLike", ["z"], ["n"])
        model.graph.node.extend([noise, helper.make_node("Add", ["z", "n"], ["y"])])
    result = validate(original, rewritten)
    assert result.convs[0].covered is False
    assert result.verdict.startswith("not shown: Conv If#0.then_branch/deep"), text(result)


def test_a_conv_with_an_input_that_is_not_finite_is_checked_on_another() -> None:
    for wrong, ok in ((0.0, True), (1.0, False)):
        original, rewritten = make_pair(wrong=wrong)
        for model in (original, rewritten):
            model.graph.node[1].CopyFrom(helper.make_node("Div", ["c1", "zero"], ["r1"]))
            model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
            model.graph.node[-1].CopyFrom(helper.make_node("IsNaN", ["c2"], ["y"]))
            model.graph.output[0].type.tensor_type.elem_type = TensorProto.BOOL
        result = validate(original, rewritten)
        assert [check.ok for check in result.convs] == [ok], text(result)
        assert "on random input, alone" in result.convs[0].sentence


@pytest.mark.slow
def test_rounding_noise_is_no_excuse_while_a_conv_is_unchecked() -> None:
    pairs = []
    for model in make_pair(wrong=3e-7):
        model.graph.initializer.append(numpy_helper.from_array(np.array(1e6, np.float32), "large"))
        model.graph.node[-1].CopyFrom(helper.make_node("Neg", ["c2"], ["n"]))  # which no replacement takes along
        model.graph.node.append(helper.make_node("Mul", ["n", "large"], ["m"]))
        model.graph.node.append(helper.make_node("Sin", ["m"], ["y"]))
        model.graph.output.append(helper.make_tensor_value_info("r1", FLOAT, None))  # an output that does say something
        pairs.append(model)
    assert validate(*pairs).ok  # the Conv holds, so the rest is rounding
    for node in pairs[1].graph.node[2:4]:
        for names in (node.input, node.output):
            names[:] = ["gone" if name == "c2" else name for name in names]
    result = validate(*pairs)
    assert result.convs[0].ok is None
    assert not result.ok, text(result)


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_sparse_weight_is_read(by_hand: bool) -> None:
    x = (1, 3, 12, 12)
    weight = np.where(np.abs(W1) > 0.1, W1, 0).astype(np.float32)
    places = np.flatnonzero(weight)
    values = numpy_helper.from_array(weight.ravel()[places], "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(places, "w_places"), weight.shape)
    original = make_model([conv("x", "y", "w", name="conv")], {}, x=x)
    original.graph.sparse_initializer.append(sparse)
    rewritten = make_model([replaced("x", "w", "y", site="conv")], {"w": flip(weight)}, x=x)
    result = validate(original, rewritten if by_hand else rewrite(original, select="all").model)
    assert result.ok, text(result)
    assert result.convs[0].ok is True


@pytest.mark.slow
@pytest.mark.real_model
def test_every_conv_of_both_branches_of_a_real_model(real_model: Callable[[str], Path]) -> None:
    path = real_model("silero_vad")
    result = validate(path, rewrite(path, select="all").model)
    assert result.ok, text(result)
    assert "12 of 12 replaced operators held against float64" in result.verdict


def test_near_ties_behind_a_conv_in_a_branch_are_excused() -> None:
    """The disturbed original has noise on Convs in bodies, too; `Sign` of a sum that cancels is decided by it."""
    weight = (W2 - W2.mean(axis=(1, 2, 3), keepdims=True)).astype(np.float32)
    own = conv("x", "c", "w", name="inner", pads=1)
    other = replaced("x", "w", "c", site="inner", pads=1)
    models = [in_branch(inner, w, taken=True, tail="Sign") for inner, w in ((own, weight), (other, flip(weight)))]
    result = validate(*models, inputs={"x": np.full(FIXED, 0.7, np.float32)})
    assert result.ok, text(result)
    assert result.feeds[0].comparisons[0].excused > 0
