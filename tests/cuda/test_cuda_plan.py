"""What is predicted for NVIDIA GPUs: from datasheets, to Conv's advantage; and what plans `rfft` has."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings

from onnx_fft.cost.choose import Request, choose
from onnx_fft.cost.gains import MIN_GAIN, MIN_GAIN_CUDA, predict_gain
from onnx_fft.cost.machines import GPUS, load_gpus, machines_for
from onnx_fft.cost.plan_file import load_plan, match_plan, plan_to_json
from onnx_fft.cost.predict import conv_seconds
from onnx_fft.cost.rfft import count_rfft
from onnx_fft.errors import UsageError
from onnx_fft.fourier.axis import AxisPlan
from onnx_fft.fourier.tiling import smooth_plans
from onnx_fft.lowering import find_lowering, list_lowerings
from onnx_fft.lowering.base import ConvPlan, spec_axes
from scripts.shared.layers import FIELD, LAYERS, TRAPS, Layer, make_spec
from tests.marks import by_layer
from tests.strategies import FRAGMENT_LOWERINGS, Trial, trials

RFFT = find_lowering("rfft")
CUDA = Request(target="cuda", max_growth_bytes=256 << 20)
LONG = {
    "1-D k=1024 64->64 L=16000",
    "1-D dw k=4096 64 L=8192 causal",
    "1-D FIR k=16384 L=160000",
}
"""The layers of the tables that are predicted to gain on a GPU at batch 1."""

SPEC = make_spec((4, 4), (9, 9), (40, 40))


@by_layer((*LAYERS, *TRAPS, *FIELD))
def test_only_long_kernels_are_replaced(layer: Layer) -> None:
    decision = choose(layer.spec, 17, CUDA)
    assert (decision.plan is not None) is (layer.name in LONG), decision.reason
    if decision.plan is None:
        assert decision.refusal is not None
        assert decision.refusal.code == "no-gain"
        assert f"the speed by datasheets, {MIN_GAIN_CUDA}x needed" in decision.reason


def test_both_lowerings_are_among_those_tested_without_a_gpu() -> None:
    assert set(list_lowerings("cuda")) <= set(FRAGMENT_LOWERINGS)


def test_the_margin_is_wider_than_where_something_is_measured() -> None:
    assert MIN_GAIN_CUDA > MIN_GAIN


def test_the_preferred_lowering_is_the_one_predicted_faster() -> None:
    chosen = {}
    for layer in LAYERS:
        if layer.name in LONG:
            decision = choose(layer.spec, 17, CUDA)
            best = max(decision.options, key=lambda option: option.gain)
            assert decision.plan == best.plan
            chosen[layer.name] = best.lowering
    assert set(chosen.values()) == {lowering.name for lowering in list_lowerings("cuda")}, chosen


@pytest.mark.parametrize("max_growth_bytes, code", [(1 << 20, "no-lowering"), (1 << 30, "no-gain")])
def test_the_cap_is_not_blamed_for_a_gain_that_would_not_do(max_growth_bytes: int, code: str) -> None:
    decision = choose(make_spec((64, 64), (600,), (25000,)), 17, replace(CUDA, max_growth_bytes=max_growth_bytes))
    assert MIN_GAIN < max(option.gain for option in decision.options) < MIN_GAIN_CUDA
    assert decision.refusal is not None
    assert decision.refusal.code == code


@pytest.mark.parametrize("kernel_shape, extents", [((9,), (400,)), ((5, 5), (40, 40)), ((3, 3, 3), (9, 9, 9))])
def test_more_output_channels_never_make_conv_faster(kernel_shape: tuple[int, ...], extents: tuple[int, ...]) -> None:
    for machine in machines_for("cuda"):
        specs = [make_spec((16, channels), kernel_shape, extents) for channels in range(1, 65)]
        seconds = [conv_seconds(spec, machine) for spec in specs]
        assert seconds == sorted(seconds)
        assert seconds[-1] > seconds[0]


def test_float16_makes_conv_twice_as_fast() -> None:
    half = replace(SPEC, dtype="float16")
    for machine in machines_for("cuda"):
        assert conv_seconds(SPEC, machine) == pytest.approx(2 * conv_seconds(half, machine))
    for machine in machines_for("standard"):
        assert conv_seconds(SPEC, machine) == conv_seconds(half, machine)


def test_the_figures_say_where_they_are_from_and_that_nothing_is_measured() -> None:
    data = json.loads(GPUS.read_text())
    assert data["measured"] is False
    assert set(data) - {"gpus", "sources", "measured", "date", "assumed"} == set(data["assumed"])
    assert len(data["sources"]) == len(data["gpus"]) == len(load_gpus()) >= 2
    for gpu, source in zip(data["gpus"], data["sources"], strict=True):
        assert " ".join(gpu["name"].split()[:2]) in source and "datasheet" in source
    shares = data["efficiency"]
    assert shares["conv"] > shares["product"] and shares["conv_memory"] > shares["memory"]


def test_twice_the_memory_speed_gains_more(tmp_path: Path) -> None:
    data = json.loads(GPUS.read_text())
    for gpu in data["gpus"]:
        gpu["memory_bytes_s"] *= 2
    (tmp_path / "gpus.json").write_text(json.dumps(data))
    spec = make_spec((64, 64), (4096,), (8192,), group=64, batch=32, pads="causal")
    plan = RFFT.candidates(spec)[-1]
    slow, fast = machines_for("cuda")[0], load_gpus(tmp_path / "gpus.json")[0]
    assert predict_gain(spec, plan, (fast,)) > 1.3 * predict_gain(spec, plan, (slow,))


@pytest.mark.slow
@settings(max_examples=200)
@given(trials())
def test_candidates_are_lengths_that_the_operators_take(trial: Trial) -> None:
    assume(not RFFT.find_obstacle(trial.spec))
    for plan in RFFT.candidates(trial.spec):
        RFFT.check_plan(trial.spec, plan)
        lengths = [axis.dft_length for axis in plan.axes if axis.dft_length > 1]
        assert lengths[-1] % 2 == 0
        assert prod(lengths) % 128 == 0
        assert count_rfft(trial.spec, plan).operators.memory_bytes > 0


def test_a_product_in_many_operators_counts_as_such() -> None:
    """Where ComplexMul has no kernel, or does not broadcast so; with a multiplier, more outputs are transformed too."""
    spec = make_spec((16, 16), (9, 9), (40, 40), group=16)
    plan = RFFT.candidates(spec)[0]
    one, float64 = (count_rfft(each, plan).operators for each in (spec, replace(spec, dtype="float64")))
    assert float64.operators > one.operators
    assert float64.memory_bytes > 1.2 * one.memory_bytes
    double = count_rfft(replace(spec, out_channels=32), plan).operators
    assert double.operators == float64.operators
    assert double.memory_bytes > 1.5 * one.memory_bytes + (float64.memory_bytes - one.memory_bytes)


def test_lengths_are_smooth_and_whole_where_that_is_shorter() -> None:
    (axis,) = spec_axes(make_spec((1, 1), (11,), (1000,)))
    plans = smooth_plans(axis, 128)
    for plan in plans:
        quotient = plan.dft_length // 128
        for prime in (2, 3, 5, 7):
            while quotient % prime == 0:
                quotient //= prime
        assert quotient == 1
    assert plans[-1].whole and plans[-1].dft_length == 1024
    assert all(plan.dft_length < 1005 for plan in plans[:-1])


def plan_of(*axes: tuple[int, int]) -> ConvPlan:
    return ConvPlan("rfft", tuple(AxisPlan(length, step) for length, step in axes))


@pytest.mark.parametrize(
    "plan, why",
    [
        (plan_of((128, 120), (15, 7)), "last DFT length must be even"),
        (plan_of((16, 8), (12, 4)), "multiple of 128"),
        (ConvPlan("rfft", (AxisPlan(16, 8, 2), AxisPlan(16, 8))), "one column"),
        (plan_of((16, 9), (16, 8)), "tile step 9"),
    ],
)
def test_a_plan_by_hand_is_held_to_the_same(plan: ConvPlan, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        RFFT.check_plan(SPEC, plan)


@pytest.mark.parametrize(
    "spec, why",
    [
        (make_spec((4, 4), (1, 1), (8, 8)), "nothing to transform"),
        (make_spec((1, 1), (3, 3, 3, 3), (4, 4, 4, 4)), "reaches along 4"),
        (replace(SPEC, batch=0), "empty batch"),
    ],
)
def test_what_cannot_be_done_has_a_reason(spec: Any, why: str) -> None:
    assert why in RFFT.find_obstacle(spec)
    with pytest.raises(ValueError, match=why):
        RFFT.check_plan(spec, ConvPlan("rfft", tuple(AxisPlan(1, 1) for _ in spec.kernel_shape)))
    decision = choose(spec, 17, Request("rfft", target="cuda"))
    assert decision.refusal is not None
    assert (decision.refusal.code, why in decision.reason) == ("no-lowering", True)


def test_four_axes_of_which_one_is_added_are_three() -> None:
    assert RFFT.find_obstacle(make_spec((1, 1), (1, 3, 3, 3), (1, 4, 4, 4))) == ""


def test_a_plan_file_keeps_its_target() -> None:
    decision = choose(SPEC, 17, Request("rfft", target="cuda"))
    data = plan_to_json({"c": SPEC}, {"c": decision}, "cuda")
    plan_file = load_plan(data)
    assert plan_file.target == data["target"] == "cuda"
    assert match_plan(plan_file, {"c": SPEC})["c"].plan == decision.plan
    assert load_plan({key: value for key, value in data.items() if key != "target"}).target == "standard"
    for wrong in ("tpu", ["cuda"]):
        with pytest.raises(UsageError, match=re.escape(f"got target {wrong!r}")):
            load_plan({**data, "target": wrong})


def test_a_plan_for_cuda_is_none_for_the_target_that_is_meant_by_no_word() -> None:
    decision = choose(SPEC, 17, Request("rfft", target="cuda"))
    data = plan_to_json({"c": SPEC}, {"c": decision}, "cuda")
    del data["target"]
    with pytest.raises(UsageError, match="expected null or one of matmul, dft, which target standard has; correct one"):
        match_plan(load_plan(data), {"c": SPEC})


def test_a_plan_for_cuda_holds_only_what_cuda_has() -> None:
    decision = choose(SPEC, 17, Request("dft"))
    data = plan_to_json({"c": SPEC}, {"c": decision}, "cuda")
    with pytest.raises(UsageError, match=r"got lowering 'dft'.*one of rfft, matmul, which target cuda has"):
        match_plan(load_plan(data), {"c": SPEC})
