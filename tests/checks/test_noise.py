"""The nudged original: noise where rounding is, none where a sum is exact; and feeds on which outputs are finite."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_fft.checks.noise import disturb_model, nudge
from onnx_fft.checks.reference import run_original
from onnx_fft.model.io import LoadedModel
from onnx_fft.runtime.opening import open_runner
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model
from tests.checks.rewritten import make_tail, node, replace_all

SHAPE = (1, 4, 48, 48)


def make_border() -> Array:
    x = np.zeros(SHAPE, np.float32)
    x[..., 36:, 36:] = np.random.default_rng(0).uniform(1, 2, (1, 4, 12, 12))
    return x


def test_a_sum_over_zeros_is_exact_whatever_its_bias() -> None:
    """A bias of 100 is rounded in what is added to it, and is a tie everywhere else."""
    model = make_tail([node("Identity", ["c"], ["y"])])
    bias = np.full(4, 100, np.float32)
    model.graph.node[0].input[2:] = ["hundred"]
    model.graph.initializer.append(helper.make_tensor("hundred", TensorProto.FLOAT, [4], bias))
    nudged = disturb_model(LoadedModel(model), LoadedModel(replace_all(model)), 1).model
    feed = {"x": make_border()}
    (before,), (after,) = run_model(model, feed), run_model(nudged, feed)
    assert np.array_equal(after[before == 100], before[before == 100])
    assert (before == 100).mean() > 0.3
    moved = np.abs(after - before)[..., 36:, 36:]
    assert (moved > 0).mean() > 0.5
    assert 1e-6 < moved.max() < 1e-3


def test_equal_values_that_are_exact_stay_ties() -> None:
    """What is ranked is as it was if no noise reaches it."""
    model = make_tail([node("ArgMax", ["c"], ["y"], axis=3)])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    nudged = disturb_model(LoadedModel(model), LoadedModel(replace_all(model)), 1).model
    feed = {"x": np.zeros(SHAPE, np.float32)}
    assert np.array_equal(run_model(nudged, feed)[0], run_model(model, feed)[0])


@pytest.mark.parametrize(("kind", "label"), [("Log", "without signs"), ("Exp", "scaled by")])
def test_feeds_are_made_finite_by_their_signs_or_their_scale(kind: str, label: str) -> None:
    """A Log of negative values is NaN at any scale; only what overflows is scaled down."""
    tail = [node("Mul", ["x", "gain"], ["m"]), node(kind, ["m"], ["l"]), node("Add", ["c", "l"], ["y"])]
    model = LoadedModel(make_tail(tail, {"gain": np.float32(100)}))
    found = run_original(open_runner(model), model, model, None, {}, 0)
    assert label in found.feeds[0].label
    assert np.isfinite(found.feeds[0].outputs["y"]).all()


@pytest.mark.parametrize("opset", [7, 17])
def test_infinity_is_not_moved_and_makes_no_nan(opset: int) -> None:
    """One tap of -Inf makes -Inf or +Inf, by the sign of what it meets; rounding cannot tell them apart."""
    weight = np.full((4, 4, 11, 11), 0.01, np.float32)
    weight[0, 0, 5, 5] = -np.inf
    model = make_tail([node("Identity", ["c"], ["y"])], weight=weight, opset=opset)
    other = make_tail([node("Identity", ["c"], ["y"])], opset=opset)
    nudged = disturb_model(LoadedModel(model), LoadedModel(replace_all(other)), 1).model
    feed = {"x": np.random.default_rng(0).uniform(0.5, 1, SHAPE).astype(np.float32)}
    (before,), (after,) = run_model(model, feed), run_model(nudged, feed)
    assert np.isinf(before[:, 0]).all() and np.array_equal(after[:, 0], before[:, 0])
    assert (after[:, 1:] != before[:, 1:]).any()


def test_no_finite_input_is_nudged_to_infinity() -> None:
    largest = np.finfo(np.float32).max
    moved = nudge({"x": np.array([largest, -largest, np.inf, 1], np.float32)}, np.random.default_rng(0))["x"]
    assert moved.tolist()[:3] == [largest, -largest, np.inf]
