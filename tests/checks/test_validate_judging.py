"""How `validate` judges real rewrites: sparse feeds, near ties, sums that cancel, overflow."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft.checks import reference
from onnx_fft.checks.compare import compare_outputs
from onnx_fft.checks.result import Validation
from onnx_fft.checks.truth import SLOW_VALUES, judge_by_truth, run_in_float64
from onnx_fft.hints import Option
from onnx_fft.inputs.feeds import Feed
from onnx_fft.inputs.sparse import KINDS
from onnx_fft.model.io import LoadedModel
from onnx_fft.report import describe
from onnx_fft.report.files import write_report
from onnx_fft.rewrite import rewrite
from onnx_fft.runtime.engines import EngineError
from onnx_fft.validate import validate
from scripts.shared.conv_models import Array
from tests.checks.pairs import make_model, text
from tests.checks.rewritten import RNG, W, judge, make_tail, node, replace_all, spoil
from tests.marks import mark_slow
from tests.models import FLOAT

# --- exact zeros ----------------------------------------------------------------------------------------------------

TURNS_ON_ZEROS: dict[str, tuple[list[NodeProto], dict[str, Any], int]] = {
    "Sqrt": ([node("Sqrt", ["c"], ["y"])], {}, FLOAT),
    "Log": ([node("Log", ["c"], ["y"])], {}, FLOAT),
    "Greater": ([node("Greater", ["c", "z"], ["y"])], {"z": np.float32(0)}, TensorProto.BOOL),
    "Sign": ([node("Sign", ["c"], ["y"])], {}, FLOAT),
    "Floor": ([node("Floor", ["c"], ["f"]), node("Cast", ["f"], ["y"], to=TensorProto.INT32)], {}, TensorProto.INT32),
    "Reciprocal": ([node("Reciprocal", ["c"], ["y"])], {}, FLOAT),
    "ArgMax": ([node("ArgMax", ["c"], ["y"], axis=1)], {}, TensorProto.INT64),
}


def judge_zeros(name: str) -> Validation:
    """The verdict on a model whose operator `name` turns on exact zeros."""
    tail, constants, dtype = TURNS_ON_ZEROS[name]
    model = make_tail(tail, constants)
    model.graph.output[0].type.tensor_type.elem_type = dtype
    x = {"x": np.abs(RNG.standard_normal((1, 4, 48, 48))).astype(np.float32)} if name == "Sqrt" else None
    return judge(model, inputs=x)


@pytest.mark.parametrize("name", mark_slow(list(TURNS_ON_ZEROS), lambda name: name not in ("Sqrt", "Greater")))
def test_what_turns_on_exact_zeros_is_called_different_on_a_sparse_feed(name: str) -> None:
    result = judge_zeros(name)
    assert not result.ok, text(result)
    assert "on a black border, made of" in result.verdict
    assert any(note.hint and Option("exclude") in note.hint for note in result.notes)
    assert all(feed.ok for feed in result.feeds)


def test_noise_in_place_of_zeros_is_no_difference_but_a_warning() -> None:
    result = judge(make_tail([node("Relu", ["c"], ["y"])]))
    assert result.ok, text(result)
    assert len(result.sparse) == 7
    assert all(feed.ok and feed.comparisons for feed in result.sparse)
    (probe,) = [probe for probe in result.probes if probe.kind == "zeros"]
    assert probe.is_warning and probe.after < probe.before
    assert "exact zeros of 'y' become" in text(result)
    assert "7 sparse feed(s)" in result.verdict


@pytest.mark.parametrize("name", mark_slow(list(TURNS_ON_ZEROS), lambda name: name not in ("Log", "Greater")))
def test_a_model_that_takes_long_gets_two_feeds_that_hold_all_kinds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "MAX_SPARSE_S", 0.0)
    result = judge_zeros(name)
    assert not result.ok, text(result)
    assert "beside a black border beside" in result.verdict


def test_what_a_model_that_takes_long_is_spared_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "MAX_SPARSE_S", 0.0)
    monkeypatch.setattr(reference, "MAX_PROBES_S", 0.0)
    result = judge(make_tail([node("Relu", ["c"], ["y"])]))
    assert result.ok, text(result)
    assert sorted(kind for feed in result.sparse for kind in KINDS if kind in feed.label) == sorted(KINDS)
    assert "2 sparse feed(s)" in result.verdict
    assert {probe.kind for probe in result.probes} == {"zeros"}
    said = " ".join(text(result).split())
    assert f"left out as feeds of their own: {', '.join(KINDS)}" in said
    assert "the probes are left out: outlier, nan, non-negative" in said


def test_an_output_that_is_next_to_nothing_on_a_sparse_feed_is_no_difference() -> None:
    """All of it is exactly 0 there, and rounding noise in the rewritten model."""
    crop = [node("Slice", ["c", "a", "b", "axes"], ["y"])]
    bounds = {"a": np.array([0, 0]), "b": np.array([4, 4]), "axes": np.array([2, 3])}
    assert judge(make_tail(crop, bounds)).ok


def test_a_feed_the_original_does_not_run_on_is_left_out() -> None:
    """A Gather with an index that the data decides fails for large values."""
    tail = [
        node("ReduceMax", ["x"], ["m"], keepdims=0),
        node("Cast", ["m"], ["i"], to=TensorProto.INT64),
        node("Gather", ["table", "i"], ["t"]),
        node("Add", ["c", "t"], ["y"]),
    ]
    result = judge(make_tail(tail, {"table": np.ones(40, np.float32)}))
    assert result.ok, text(result)
    assert len(result.sparse) == 4
    assert "does not run on it: a feed of a large offset" in text(result)


# --- near ties ------------------------------------------------------------------------------------------------------


def make_pixels(weight: Array = W, gain: float = 4000) -> ModelProto:
    tail = [
        node("Mul", ["c", "gain"], ["d"]),
        node("Add", ["d", "grey"], ["e"]),
        node("Round", ["e"], ["f"]),
        node("Clip", ["f", "low", "high"], ["g"]),
        node("Cast", ["g"], ["y"], to=TensorProto.UINT8),
    ]
    values = {"gain": gain, "grey": 128, "low": 0, "high": 255}
    model = make_tail(tail, {name: np.float32(value) for name, value in values.items()}, weight=weight)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    return model


def test_near_ties_of_pixels_are_excused_and_counted_everywhere(tmp_path: Any) -> None:
    """Half of odd whole numbers: a transform makes a little more or less of them."""
    x = {"x": RNG.integers(-1, 2, (1, 4, 48, 48)).astype(np.float32)}
    result = judge(make_pixels(np.ones_like(W), 0.5), inputs=x)
    assert result.ok, text(result)
    assert result.excused > 0
    assert f"{result.excused} values excused" in result.verdict
    data = json.loads(json.dumps(result.to_dict()))
    assert data["excused"] == result.excused
    assert "near ties, excused" in describe(result)
    page = tmp_path / "page.html"
    write_report(page, rewrite(make_pixels()).report, validation=result)
    assert "near ties, excused" in page.read_text()


def test_pixels_far_from_a_tie_are_a_difference() -> None:
    """One pixel of a right rewrite set to another grey level."""
    model = make_pixels()
    right = replace_all(model)
    wrong = ModelProto()
    wrong.CopyFrom(right)
    spot = np.zeros((1, 4, 48, 48), np.float32)
    spot[0, 1, 20, 20] = 40
    wrong.graph.initializer.append(numpy_helper.from_array(spot, "spot"))
    place = next(i for i, each in enumerate(wrong.graph.node) if each.op_type == "Round")
    wrong.graph.node.insert(place, node("Add", ["e", "spot"], ["e2"]))
    wrong.graph.node[place + 1].input[0] = "e2"
    x = {"x": RNG.standard_normal((1, 4, 48, 48)).astype(np.float32) * 0.01}
    assert validate(model, right, inputs=x).ok
    result = validate(model, wrong, inputs=x)
    assert not result.ok
    assert "not the rest" in result.verdict


# --- sums that cancel -----------------------------------------------------------------------------------------------


def make_cancelling(offset: float, dtype: type = np.float32) -> ModelProto:
    weight = (RNG.standard_normal((4, 1, 15, 15)) / 15).astype(np.float64)
    weight -= weight.mean(axis=(2, 3), keepdims=True)
    nodes = [node("Add", ["x", "offset"], ["t"]), node("Conv", ["t", "w"], ["y"], name="wide", group=4)]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    constants: dict[str, Any] = {"w": weight.astype(dtype), "offset": np.asarray(offset, dtype)}
    return make_model(nodes, constants, x=(1, 4, 40, 40), dtype=kind)


@pytest.mark.parametrize(("offset", "dtype"), [(3000, np.float32), (3e4, np.float32), (30, np.float16)])
def test_a_sum_that_cancels_is_judged_by_float64(offset: float, dtype: type) -> None:
    model = make_cancelling(offset, dtype)
    right = replace_all(model)
    result = validate(model, right)
    assert result.ok, text(result)
    if dtype is np.float32 and offset == 3000:
        assert "from float64 the original is" in text(result)
        assert "so as right as that" in text(result)
    assert result.convs[0].ok is True
    assert not validate(model, spoil(right) if dtype is np.float32 else _double(right)).ok


def _double(model: ModelProto) -> ModelProto:
    wrong = ModelProto()
    wrong.CopyFrom(model)
    wrong.graph.node[-1].output[0] = "half"
    wrong.graph.node.append(node("Add", ["half", "half"], ["y"]))
    return wrong


def test_where_the_original_is_noise_nothing_is_judged_and_the_conv_is_judged_on_another_input() -> None:
    model = make_cancelling(3e6)
    right = replace_all(model)
    result = validate(model, right)
    assert result.ok, text(result)
    assert "say nothing (empty or rounding noise)" in result.verdict
    assert "on random input, alone" in result.convs[0].sentence
    assert not validate(model, spoil(right, 1.01)).ok


def test_a_difference_of_large_numbers_passes() -> None:
    tail = [node("Add", ["c", "big"], ["d"]), node("Sub", ["d", "big"], ["y"])]
    assert judge(make_tail(tail, {"big": np.float32(1e5)})).ok


# --- NaN, Inf and overflow ------------------------------------------------------------------------------------------


def test_a_tie_that_turns_in_float64_excuses_no_other_value() -> None:
    truth = np.round(RNG.standard_normal(20000) * 90)
    reference, candidate = truth.astype(np.float32), truth.astype(np.float32)
    reference[7] += 1
    candidate[9] += 1
    candidate[np.abs(truth).argmin()] += 2

    def is_passed(values: Array) -> bool:
        [comparison] = compare_outputs("y", reference, values, rtol=1e-9)
        return judge_by_truth(comparison, reference, values, truth).ok

    assert not is_passed(candidate)
    noise = RNG.standard_normal(20000) * 1e-2
    reference += noise[::-1].astype(np.float32)
    assert is_passed((truth + noise).astype(np.float32))


def test_what_takes_long_in_float64_is_not_tried() -> None:
    model = make_cancelling(1e3)
    small = Feed("small", {"x": np.ones((1, 4, 48, 48), np.float32)}, {"y": np.ones(9, np.float32)})
    model.graph.node.append(node("MaxPool", ["y"], ["z"], kernel_shape=[2, 2]))
    source = LoadedModel(model)
    assert run_in_float64(source, small, ["y"])["y"].dtype == np.float64
    large = replace(small, outputs={"y": np.ones(SLOW_VALUES, np.float32)})
    with pytest.raises(EngineError, match="MaxPool takes too long"):
        run_in_float64(source, large, ["y"])


def test_a_feed_on_which_outputs_overflow_is_scaled() -> None:
    model = make_tail([node("Mul", ["c", "k"], ["d"]), node("Exp", ["d"], ["y"])], {"k": np.float32(100)})
    right = replace_all(model)
    result = validate(model, right)
    assert result.ok, text(result)
    assert "scaled by" in result.feeds[0].label
    assert not validate(model, spoil(right)).ok


def test_the_same_nan_in_both_is_equal_and_the_rest_is_compared() -> None:
    """The square root of a negative input, beside the Conv's own output."""
    first = [node("Sqrt", ["x"], ["s"]), node("Add", ["c", "s"], ["y"])]
    model = make_tail(first)
    result = judge(model, inputs={"x": RNG.standard_normal((1, 4, 48, 48)).astype(np.float32)})
    assert result.ok, text(result)
    (comparison,) = result.feeds[0].comparisons
    assert 0 < comparison.compared < 4 * 48 * 48
    assert not validate(model, spoil(replace_all(model))).ok


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e37, 1e-44])
def test_numbers_beyond_a_transform_are_the_outputs_to_judge(scale: float) -> None:
    """The Conv is right on other input: so `rewrite` may leave it alone and go on with the rest."""
    nodes = [node("Mul", ["x", "k"], ["m"]), node("Conv", ["m", "w"], ["y"], name="wide", pads=[5] * 4)]
    result = judge(make_model(nodes, {"w": W, "k": np.array(scale, np.float32)}, x=(1, 4, 48, 48)))
    assert not result.ok
    assert result.verdict.startswith("different: output 'y'")
    assert result.convs[0].ok is True
    assert "beyond the range of a transform" in result.convs[0].sentence


@pytest.mark.slow
def test_a_decision_on_infinity_is_not_excused_by_noise() -> None:
    """Positive weights make Inf of one infinite channel, a transform makes NaN, and pixels of either."""
    constants = {"scale": np.float32(0.05), "zero": np.uint8(128)}
    pixels = [
        node("QuantizeLinear", ["c", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    model = make_tail(pixels, constants, weight=np.abs(W))
    x = RNG.standard_normal((1, 4, 48, 48)).astype(np.float32)
    x[:, 0] = np.inf
    result = judge(model, inputs={"x": x})
    assert not result.ok and all(conv.ok for conv in result.convs), text(result)


def test_nothing_finite_is_never_the_same() -> None:
    tail = [node("Abs", ["c"], ["d"]), node("Add", ["d", "k"], ["e"]), node("Exp", ["e"], ["y"])]
    result = judge(make_tail(tail, {"k": np.float32(100)}))
    assert not result.ok
    assert result.verdict.startswith("not shown")
    assert "not compared, because no feed gives a finite value there: y" in text(result)


def test_what_is_right_passes_though_the_original_is_wrong() -> None:
    """As ONNX Runtime 1.17's DFT is at some lengths."""
    truth = RNG.standard_normal(1000)
    wrong = (truth * 1e20).astype(np.float32)

    def is_passed(values: Array) -> bool:
        [comparison] = compare_outputs("y", wrong, values.astype(np.float32))
        return judge_by_truth(comparison, wrong, values.astype(np.float32), truth).ok

    assert is_passed(truth)
    assert not is_passed(truth * 1.001)
    assert not is_passed(truth + np.eye(1, 1000, 7)[0] * 0.05)
