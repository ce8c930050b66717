"""Each replaced Conv of the main graph against float64: what the oracle knows, and what rounding excuses."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fft.checks.convcheck
import onnx_fft.checks.convs
from onnx_fft.checks.convcheck import share_budget
from onnx_fft.checks.fragments import cut_fragment
from onnx_fft.checks.probes import judge_probe
from onnx_fft.fourier.maps import Truth, compute_maps
from onnx_fft.fourier.oracle import ConvGeometry
from onnx_fft.model.io import LoadedModel
from onnx_fft.validate import validate
from scripts.shared.conv_models import Array
from tests.checks.pairs import flip, make_model, make_pair, replaced, text
from tests.marks import with_addends
from tests.models import B1, FLOAT, W1, W2, conv, relu

RNG = np.random.default_rng(11)


def test_the_oracle_finds_what_the_outputs_hide() -> None:
    original, rewritten = make_pair(wrong=1.0)
    for model in (original, rewritten):
        model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
        model.graph.node[-1].CopyFrom(helper.make_node("Mul", ["c2", "zero"], ["y"]))
    result = validate(original, rewritten)
    assert all(feed.ok for feed in result.feeds)
    assert not result.ok
    assert "Conv second" in result.verdict


def test_the_oracle_is_sampled_when_it_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_fft.checks.convcheck, "BUDGET", 2e5)
    result = validate(*make_pair(), seed=9)
    [check] = result.convs
    assert check.ok is True
    assert 0 < check.checked_outputs < check.all_outputs
    assert "drawn with seed 9" in check.sentence
    assert validate(*make_pair(wrong=0.05), seed=9).convs[0].ok is False


def test_many_convs_share_what_the_oracle_may_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[float] = []

    def spy(x: Array, weight: Array, geometry: ConvGeometry, budget: float, seed: int) -> list[Truth]:
        budgets.append(budget)
        return compute_maps(x, weight, geometry, budget, seed)

    monkeypatch.setattr(onnx_fft.checks.convcheck, "compute_maps", spy)
    monkeypatch.setattr(onnx_fft.checks.convcheck, "TOTAL_BUDGET", 4e7)
    monkeypatch.setattr(onnx_fft.checks.convcheck, "LEAST_BUDGET", 1e5)
    names = ["x", "c0", "c1", "c2", "y"]
    pairs = list(pairwise(names))
    weight: Array = W1[:3]
    original = make_model([conv(x, y, "w", name=y) for x, y in pairs], {"w": weight})
    rewritten = make_model([replaced(x, "w", y, site=y) for x, y in pairs], {"w": flip(weight)})
    assert validate(original, rewritten).ok
    assert budgets == [1e7] * len(pairs)
    assert [share_budget(count) for count in (0, 1, 500)] == [4e7, 4e7, 1e5]


def make_chain(wrong: int | None = None) -> tuple[ModelProto, ModelProto]:
    """Five Convs with a Relu each, replaced; the weight of one is 1% `wrong`."""
    names = ["x", "c0", "c1", "c2", "c3", "y"]
    pairs = list(enumerate(pairwise(names)))
    weight: Array = W1[:3] / 2
    wrong_weight = flip(weight) * np.float32(1.01)
    before = [[conv(x, f"{y}s", "w", name=f"conv{i}"), relu(f"{y}s", y)] for i, (x, y) in pairs]
    weights = {i: "bad" if i == wrong else "w" for i in range(5)}
    after = [[replaced(x, weights[i], f"{y}s", site=f"conv{i}"), relu(f"{y}s", y)] for i, (x, y) in pairs]
    constants = {"w": flip(weight), "bad": wrong_weight}
    original, rewritten = (list(chain.from_iterable(nodes)) for nodes in (before, after))
    return make_model(original, {"w": weight}), make_model(rewritten, constants)


def test_all_convs_are_recorded_in_one_run_of_the_rewritten_model(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[list[str]] = []

    def spy(source: LoadedModel, *arguments: Any) -> LoadedModel:
        fragment = cut_fragment(source, *arguments)
        parts.append([node.op_type for node in fragment.model.graph.node])
        return fragment

    monkeypatch.setattr(onnx_fft.checks.convcheck, "cut_fragment", spy)
    monkeypatch.setattr(onnx_fft.checks.convs, "CHUNK", 1)
    monkeypatch.setattr(onnx_fft.checks.convs, "RECORDED_BYTES", 1)
    monkeypatch.setattr(onnx_fft.checks.convs, "MAX_OWN_S", 0.0)
    result = validate(*make_chain())
    assert [check.ok for check in result.convs] == [True] * 5
    assert parts == [["ConvTranspose"], *[["Relu", "ConvTranspose"]] * 4]
    assert all(np.isnan(check.relative_l2_original) for check in result.convs)
    assert all("the original's own Conv not run alone" in check.sentence for check in result.convs)


@pytest.mark.parametrize("max_own_s", [0.0, 10.0])
def test_a_wrong_conv_is_found_and_those_behind_it_are_right(max_own_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_fft.checks.convs, "MAX_OWN_S", max_own_s)
    result = validate(*make_chain(wrong=2))
    assert [check.ok for check in result.convs] == [True, True, False, True, True]
    assert result.convs[2].relative_l2_original < 2e-6, "run, because the verdict depends on it"


def test_a_folded_batch_normalization_is_part_of_the_oracle() -> None:
    scale, shift, mean = (RNG.standard_normal(4).astype(np.float32) for _ in range(3))
    variance = RNG.uniform(0.5, 2, 4).astype(np.float32)
    norm = helper.make_node("BatchNormalization", ["c", "s", "t", "m", "v"], ["bn"], epsilon=1e-3)
    constants = {"w": W1, "s": scale, "t": shift, "m": mean, "v": variance}
    original = make_model([conv("x", "c", "w", name="conv"), norm, relu("bn", "y")], constants)
    factor = scale / np.sqrt(variance + np.float32(1e-3))
    folded = {"w": flip(W1 * factor.reshape(-1, 1, 1, 1)), "b": shift - mean * factor}
    rewritten = make_model([replaced("x", "w", "bn", site="conv", bias="b"), relu("bn", "y")], folded)
    result = validate(original, rewritten)
    assert result.ok, text(result)
    assert result.convs[0].ok is True
    folded["b"] = folded["b"] + np.float32(0.01)
    assert validate(original, make_model(list(rewritten.graph.node), folded)).convs[0].ok is False


@with_addends
def test_a_fused_conv_with_addend_and_activation() -> None:
    attributes: dict[str, Any] = {"pads": [1] * 4, "activation": "LeakyRelu", "activation_params": [0.25]}
    fused = helper.make_node(
        "FusedConv", ["c1", "w2", "b2", "c1"], ["c2"], name="fused", domain="com.microsoft", **attributes
    )
    head = conv("x", "c1", "w1", name="first")
    original = make_model([head, fused, relu("c2", "y")], {"w1": W1, "w2": W2, "b2": B1})
    parts = [
        head,
        replaced("c1", "w2", "s", site="fused", pads=1, bias="b2"),
        helper.make_node("Add", ["s", "c1"], ["t"]),
        helper.make_node("LeakyRelu", ["t"], ["c2"], alpha=0.25),
        relu("c2", "y"),
    ]
    result = validate(original, make_model(parts, {"w1": W1, "w2": flip(W2), "b2": B1}))
    assert result.ok, text(result)
    assert [(check.name, check.ok) for check in result.convs] == [("fused", True)]


@pytest.mark.slow
def test_float64_falls_back_to_the_reference_evaluator_and_says_so() -> None:
    x, w = (1, 3, 12, 12), W1.astype(np.float64)
    node = conv("x", "c", "w", name="conv")
    original = make_model([node, relu("c", "y")], {"w": w}, x=x, dtype=TensorProto.DOUBLE)
    swap = [replaced("x", "w", "c", site="conv"), relu("c", "y")]
    result = validate(original, make_model(swap, {"w": flip(w)}, x=x, dtype=TensorProto.DOUBLE))
    assert result.ok, text(result)
    assert result.engine == "onnx.reference"
    assert any("onnxruntime" in note.text for note in result.notes)
    assert result.convs[0].relative_l2_rewritten < 1e-14
    off = validate(original, make_model(swap, {"w": flip(w) * (1 + 1e-8)}, x=x, dtype=TensorProto.DOUBLE))
    assert not off.ok


@pytest.mark.filterwarnings("error:overflow")
@pytest.mark.slow
def test_float16() -> None:
    w = W1.astype(np.float16)
    original = make_model([conv("x", "c", "w", name="conv"), relu("c", "y")], {"w": w}, dtype=TensorProto.FLOAT16)
    cast = [
        helper.make_node("Cast", ["x"], ["xf"], to=FLOAT),
        replaced("xf", "w", "cf", site="conv"),
        helper.make_node("Cast", ["cf"], ["c"], to=TensorProto.FLOAT16),
        relu("c", "y"),
    ]
    weights = flip(w.astype(np.float32))
    result = validate(original, make_model(cast, {"w": weights}, dtype=TensorProto.FLOAT16))
    assert result.ok, text(result)
    assert result.convs[0].ok is True
    assert not validate(original, make_model(cast, {"w": weights * 1.1}, dtype=TensorProto.FLOAT16)).ok


@pytest.mark.filterwarnings("error:overflow")
def test_the_probe_of_an_outlier_compares_large_float16() -> None:
    ordinary = np.full(8, 2e4, np.float16)  # ten times its RMS is beyond float16
    after = ordinary.copy()
    after[3] += 16
    (probe,) = judge_probe("outlier", {"y": ordinary}, {"y": after}, {"y": ordinary})
    assert (probe.before, probe.after) == (2e4, 16)


def test_what_was_not_recorded_leaves_no_range() -> None:
    ordinary, huge = np.ones(3, np.float16), np.array([1, 1e37], np.float32)
    assert not onnx_fft.checks.convs._leaves_range(ordinary, None)
    assert onnx_fft.checks.convs._leaves_range(ordinary, None, huge)


def add_chaos(model: ModelProto) -> ModelProto:
    """Make the last node `sin(1e6 * c2)`: what it makes of rounding errors is beyond any tolerance of float32."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(1e6, np.float32), "large"))
    model.graph.node[-1].CopyFrom(helper.make_node("Mul", ["c2", "large"], ["m"]))
    model.graph.node.append(helper.make_node("Sin", ["m"], ["y"]))
    return model


@pytest.mark.slow
def test_rounding_noise_is_told_from_a_wrong_model() -> None:
    result = validate(*(add_chaos(model) for model in make_pair()))
    assert result.ok, text(result)
    assert "rounding noise" in text(result)
    assert "say nothing" in result.verdict
    assert not validate(*(add_chaos(model) for model in make_pair(wrong=0.01))).ok
    assert not validate(*(add_chaos(model) for model in make_pair()), rtol=1e-4).ok  # asked for, so no excuse
