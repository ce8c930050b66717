"""Random operators: the comparison gives both models the same numbers, and the files keep drawing theirs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, TensorProto

from onnx_fft.checks.draws import fix_draws
from onnx_fft.model.io import LoadedModel
from onnx_fft.runtime.opening import open_runner
from onnx_fft.validate import validate
from tests.checks.pairs import make_model, text
from tests.checks.rewritten import judge, make_tail, node, replace_all, spoil
from tests.marks import mark_slow
from tests.models import FLOAT

RANDOM: dict[str, tuple[list[NodeProto], int]] = {
    "RandomNormalLike": ([node("RandomNormalLike", ["c"], ["n"]), node("Add", ["c", "n"], ["y"])], FLOAT),
    "RandomUniformLike": ([node("RandomUniformLike", ["c"], ["n"]), node("Mul", ["c", "n"], ["y"])], FLOAT),
    "RandomNormal": ([node("RandomNormal", [], ["n"], shape=[1, 4, 48, 48]), node("Add", ["c", "n"], ["y"])], FLOAT),
    "RandomUniform": ([node("RandomUniform", [], ["n"], shape=[48, 48]), node("Add", ["c", "n"], ["y"])], FLOAT),
    "Bernoulli": ([node("Sigmoid", ["c"], ["p"]), node("Bernoulli", ["p"], ["y"])], FLOAT),
    "Multinomial": (
        [node("Flatten", ["c"], ["f"]), node("Multinomial", ["f"], ["y"], sample_size=9)],
        TensorProto.INT32,
    ),
    "Dropout": ([node("Dropout", ["c", "half", "training"], ["y"])], FLOAT),
}


@pytest.mark.parametrize("name", mark_slow(list(RANDOM), lambda name: "Uniform" in name))
def test_random_operators_give_both_models_the_same_numbers(name: str) -> None:
    tail, dtype = RANDOM[name]
    model = make_tail(tail, {"half": np.float32(0.5), "training": np.array(True)} if name == "Dropout" else {})
    model.graph.output[0].type.tensor_type.elem_type = dtype
    right = replace_all(model)
    result = validate(model, right)
    assert result.ok, text(result)
    assert all(comparison.compared for comparison in result.feeds[0].comparisons)
    assert name in [each.op_type for each in right.graph.node]
    assert f"same numbers from {name}" in text(result)
    assert not validate(model, spoil(right)).feeds[0].ok


def test_numbers_are_fixed_at_old_opsets_too() -> None:
    nodes = [node("RandomUniformLike", ["c"], ["u"]), node("Mul", ["c", "two"], ["t"]), node("Add", ["t", "u"], ["y"])]
    model = make_tail(nodes, {"two": np.float32(2)}, opset=9)
    right = replace_all(model)
    result = validate(model, right)
    assert result.ok and result.feeds[0].comparisons[0].compared, text(result)
    wrong = replace_all(make_tail(nodes, {"two": np.float32(3)}, opset=9))
    assert not validate(model, wrong).ok


def test_a_length_that_drawn_numbers_decide() -> None:
    tail = [
        node("RandomNormalLike", ["c"], ["n"], scale=0.7),
        node("Add", ["c", "n"], ["z"]),
        node("Exp", ["z"], ["e"]),
        node("ReduceSum", ["e"], ["s"], keepdims=0),
        node("Cast", ["s"], ["l"], to=TensorProto.INT64),
        node("Reshape", ["l", "one"], ["shape"]),
        node("ReduceMean", ["z"], ["m"], keepdims=0),
        node("Expand", ["m", "shape"], ["y"]),
    ]
    result = judge(make_tail(tail, {"one": np.array([1])}))
    assert result.ok, text(result)


def test_drawn_numbers_of_the_right_mean_and_spread() -> None:
    """What the comparison puts in place of the operators, seen through two equal models."""
    nodes = [
        node("RandomNormalLike", ["x"], ["n"], mean=3.0, scale=2.0),
        node("RandomUniformLike", ["x"], ["u"], low=-1.0, high=5.0),
        node("RandomNormalLike", ["x"], ["other"], mean=3.0, scale=2.0),
    ]
    model = make_model(nodes, {}, x=(200, 300), output="n")
    source = LoadedModel(model)
    assert fix_draws(source) == (["RandomNormalLike", "RandomUniformLike"], [])
    out = open_runner(source, expose=["u", "other"]).run({"x": np.zeros((200, 300), np.float32)})
    assert np.mean(out["n"]) == pytest.approx(3, abs=0.05) and np.std(out["n"]) == pytest.approx(2, rel=0.05)
    assert np.mean(out["u"]) == pytest.approx(2, abs=0.05) and -1 <= out["u"].min() < -0.9 < 4.9 < out["u"].max() <= 5
    assert abs(np.corrcoef(out["n"].ravel(), out["other"].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(out["n"].ravel()[1:], out["n"].ravel()[:-1])[0, 1]) < 0.02


def test_what_cannot_be_fixed_is_said_and_not_compared() -> None:
    tail = [node("RandomNormalLike", ["c"], ["n"]), node("Add", ["c", "n"], ["y"])]
    result = judge(make_tail(tail, opset=8))
    assert result.ok, text(result)
    assert "not compared, because they depend on numbers drawn at random: y" in text(result)
    assert result.convs[0].ok is True
