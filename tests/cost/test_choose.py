"""The choice: right on the layer table, reasons with numbers, growth within its cap; and plans that must be refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onnx_fft.cost.choose import NEAR_BEST, Decision, Request, choose, leave, limit_growth
from onnx_fft.cost.extents import ASSUMED_EXTENTS
from onnx_fft.cost.gains import MIN_GAIN, predict_gain
from onnx_fft.cost.growth import growth_bytes
from onnx_fft.cost.machines import CALIBRATED
from onnx_fft.cost.predict import lowering_seconds
from onnx_fft.errors import Refusal
from onnx_fft.fourier.axis import Axis, AxisPlan, check_plan
from onnx_fft.hints import Option
from onnx_fft.lowering import list_lowerings
from onnx_fft.lowering.base import ConvPlan, spec_axes
from onnx_fft.rewrite import rewrite
from onnx_fft.sites.spec import ConvSpec, describe_spec
from onnx_fft.units import format_size
from scripts.shared.conv_models import build_conv_model, draw_weights
from scripts.shared.layers import FIELD, LAYERS, TRAPS, Layer, make_spec
from tests.marks import by_layer

MIB = 1 << 20
NAMES = [lowering.name for lowering in list_lowerings("standard")]
ALL_LAYERS = (*LAYERS, *TRAPS, *FIELD)
LARGE = make_spec((64, 64), (11, 11), (112, 112))
SMALL = make_spec((64, 64), (3, 3), (56, 56))


def name_layer(layer: Layer) -> str:
    return layer.name


@by_layer([layer for layer in ALL_LAYERS if layer.should_gain is not None])
@pytest.mark.parametrize("opset", [13, 17])
def test_the_table_is_decided_right(layer: Layer, opset: int) -> None:
    decision = choose(layer.spec, opset, Request())
    assert (decision.plan is not None) is layer.should_gain, decision.reason
    assert (decision.refusal is None) is layer.should_gain
    if decision.refusal is not None:
        assert decision.refusal.code == "no-gain"


def test_the_table_has_both_kinds() -> None:
    known = [layer.should_gain for layer in (*LAYERS, *TRAPS)]
    assert known.count(True) >= 5
    assert known.count(False) >= 8


@by_layer([layer for layer in LAYERS if layer.at_least])
def test_what_is_promised_is_also_predicted(layer: Layer) -> None:
    decision = choose(layer.spec, 17, Request())
    assert decision.conv_seconds is not None
    assert decision.seconds is not None
    assert layer.at_least is not None
    assert decision.conv_seconds / decision.seconds >= min(MIN_GAIN, layer.at_least)


@pytest.mark.slow
@by_layer(ALL_LAYERS)
def test_every_candidate_is_exact_and_the_chosen_one_near_the_best(layer: Layer) -> None:
    decision = choose(layer.spec, 17, Request(select="all", max_growth_bytes=1 << 40))
    assert decision.plan is not None
    assert decision.seconds is not None
    times = {}
    for lowering in list_lowerings("standard"):
        for plan in lowering.candidates(layer.spec):
            for axis, axis_plan in zip(spec_axes(layer.spec), plan.axes, strict=True):
                check_plan(axis, axis_plan)
            times[plan] = lowering_seconds(layer.spec, plan, CALIBRATED)
    assert min(times.values()) > 0
    fastest = min(seconds for plan, seconds in times.items() if plan.lowering == decision.plan.lowering)
    assert times[decision.plan] == decision.seconds <= NEAR_BEST * fastest
    best = max(decision.options, key=lambda option: option.gain)  # by the worst of the machines
    assert (best.plan, best.gain) == (decision.plan, predict_gain(layer.spec, decision.plan))
    assert decision.growth_bytes == growth_bytes(layer.spec, decision.plan)


def test_reasons_name_values() -> None:
    gains, stays = choose(LARGE, 17, Request()), choose(SMALL, 17, Request())
    assert gains.plan is not None
    assert gains.reason.startswith("predicted at ")
    assert stays.refusal is not None
    assert stays.reason == stays.refusal.reason
    assert f"{MIN_GAIN}x needed" in stays.reason
    assert stays.reason.split()[0] in NAMES
    assert [option.lowering for option in stays.options] == NAMES
    assert all(option.seconds for option in stays.options)


def test_forced_replaces_without_a_gain() -> None:
    for request in (Request(select="all"), *(Request(lowering=name) for name in NAMES)):
        decision = choose(SMALL, 17, request)
        assert decision.plan is not None
        assert request.lowering in ("auto", decision.plan.lowering)
        gain = float(decision.reason.split()[2].rstrip("x"))
        assert gain < 1


@pytest.mark.parametrize("name", NAMES)
def test_an_opset_too_old_is_a_reason(name: str) -> None:
    needed = next(lowering.min_opset(LARGE) for lowering in list_lowerings("standard") if lowering.name == name)
    decision = choose(LARGE, needed - 1, Request(lowering=name))
    reason = f"{name} needs opset {needed}, the model has {needed - 1}"
    hint = ("set ", Option("opset", needed))
    assert decision.refusal == Refusal("no-lowering", reason, hint)
    assert (decision.reason, decision.hint) == (reason, hint)
    assert [option.hint for option in decision.options] == [hint]
    assert choose(LARGE, needed, Request(lowering=name)).plan is not None


def test_a_cap_too_small_for_any_plan_is_a_reason() -> None:
    for cap in (0, MIB):
        decision = choose(LARGE, 17, Request(select="all", max_growth_bytes=cap))
        assert decision.refusal is not None
        assert decision.refusal.code == "growth"
        assert f"may grow by {format_size(cap)}" in decision.reason
        assert all(name in decision.reason for name in NAMES)


def test_the_cap_is_blamed_only_where_a_gain_is_missed() -> None:
    missed = choose(LARGE, 17, Request(max_growth_bytes=0))
    assert missed.refusal is not None and missed.refusal.code == "growth"
    hopeless = choose(make_spec((8, 8), (3, 3), (20, 20)), 17, Request(max_growth_bytes=0))
    assert hopeless.refusal is not None and hopeless.refusal.code == "no-lowering"


def test_a_small_cap_takes_a_smaller_plan() -> None:
    free = choose(LARGE, 17, Request(select="all"))
    tight = choose(LARGE, 17, Request(select="all", max_growth_bytes=free.growth_bytes - 1))
    assert tight.plan is not None
    assert tight.growth_bytes < free.growth_bytes
    assert tight.plan != free.plan


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        replace(LARGE, batch=None, extents=(None, None)),
        replace(LARGE, batch=None),
        make_spec((1, 1), (3,), (3,), pads="valid"),
        make_spec((8, 8), (5, 5), (40, 40), strides=(3, 2), dilations=(2, 3), group=4),
        pytest.param(make_spec((4, 4), (3, 3, 3, 3), (9, 9, 9, 9)), marks=pytest.mark.slow),
        make_spec((2, 2), (7,), (None,), dtype="float64"),
    ],
    ids=["open", "open batch", "one output", "everything", "rank 4", "float64"],
)
def test_any_geometry_is_decided(spec: ConvSpec) -> None:
    assert choose(spec, 17, Request()).reason
    for name in NAMES:
        assert choose(spec, 17, Request(lowering=name, max_growth_bytes=1 << 40)).plan is not None


@pytest.mark.parametrize("length", ASSUMED_EXTENTS)
def test_open_lengths_are_taken_only_where_all_assumed_ones_gain(length: int) -> None:
    replaced = make_spec((32, 32), (1, 11, 11), (None, None, None))
    decision = choose(replaced, 17, Request())
    assert decision.plan is not None
    known = make_spec((32, 32), (1, 11, 11), (1, length, length))
    assert predict_gain(known, decision.plan) >= MIN_GAIN
    assert f"1x{length}x{length}" in decision.reason


@pytest.mark.slow
def test_a_gain_on_large_images_alone_is_none_on_open_ones() -> None:
    large, small, open_ = (make_spec((96, 96), (51, 51), (n, n), group=96) for n in (256, 102, None))
    plan = choose(large, 17, Request()).plan
    assert plan is not None
    assert choose(small, 17, Request(select="all")).seconds is not None
    assert predict_gain(open_, plan) <= min(predict_gain(large, plan), predict_gain(small, plan))
    decision = choose(open_, 17, Request())
    assert decision.plan is None or predict_gain(small, decision.plan) >= MIN_GAIN


GROWING = [
    make_spec((16, 16), (5, 5), (40, 40)),
    make_spec((16, 16), (9, 9), (20, 24), group=16),
    make_spec((8, 4), (200,), (3000,), strides=(2,)),
    make_spec((1, 1), (3000,), (40000,)),
]


@pytest.mark.slow
@pytest.mark.parametrize("spec", GROWING, ids=describe_spec)
@pytest.mark.parametrize("lowering", NAMES)
def test_growth_is_predicted_as_it_comes(spec: ConvSpec, lowering: str) -> None:
    original = build_conv_model(spec, *draw_weights(spec))
    rewritten = rewrite(original, lowering=lowering, max_growth_bytes=1 << 40)
    grown = rewritten.model.ByteSize() - original.ByteSize()
    names = 30_000  # of nodes and constants, which are not counted
    (row,) = rewritten.report.rows
    assert 0 <= grown - row.growth_bytes <= names


# --- the cap on growth --------------------------------------------------------------------------------------------


def decide(growth: int, saved: float) -> Decision:
    plan = ConvPlan("matmul", (AxisPlan(8, 4),))
    return Decision(plan, None, conv_seconds=1.0 + saved, seconds=1.0, growth_bytes=growth, reason="gains")


def kept(decisions: list[Decision], cap: int) -> list[bool]:
    return [decision.plan is not None for decision in limit_growth(decisions, cap)]


def test_limit_growth_keeps_what_saves_most_a_byte() -> None:
    decisions = [decide(60, 1.0), decide(50, 2.0), decide(10, 1.0), decide(40, 0.1)]
    assert kept(decisions, 1000) == [True] * 4
    assert kept(decisions, 160) == [True] * 4
    assert kept(decisions, 120) == [True, True, True, False]
    assert kept(decisions, 60) == [False, True, True, False]
    assert kept(decisions, 59) == [False, False, True, True]
    assert kept(decisions, 9) == [False] * 4


def test_limit_growth_says_what_was_missing() -> None:
    left = leave(Refusal("no-gain", "slow"))
    limited = limit_growth([decide(3 * MIB, 2.0), left, decide(2 * MIB, 1.0)], 4 * MIB)
    assert limited[0].plan is not None
    assert limited[1] is left
    assert limited[2].refusal is not None
    assert limited[2].refusal.code == "growth"
    assert limited[2].reason == "its replacement adds 2.0 MiB and 1.0 MiB are left of the 4.0 MiB the file may grow"
    assert limited[2].conv_seconds == 2.0


def test_what_shrinks_the_file_is_always_kept_and_makes_no_room() -> None:
    assert kept([decide(-5, 0.1), decide(6, 1.0)], 5) == [True, False]
    assert kept([decide(-5, -0.5)], 0) == [True]


# --- plans of one axis --------------------------------------------------------------------------------------------

AXIS = Axis(taps=5, pad_begin=2, pad_end=2, extent=40)
STRIDED = Axis(taps=5, stride=2, pad_begin=2, pad_end=2, extent=40)
DILATED = Axis(taps=5, dilation=3, extent=40)
OPEN = Axis(taps=5, pad_begin=2, pad_end=2)


@pytest.mark.parametrize(
    ("axis", "plan"),
    [
        (AXIS, AxisPlan(16, 12)),
        (AXIS, AxisPlan(16, 12, columns=4)),
        (AXIS, AxisPlan(42, 0, whole=True)),
        (STRIDED, AxisPlan(16, 12)),
        (STRIDED, AxisPlan(16, 12, columns=2)),
        (DILATED, AxisPlan(16, 12)),
        (OPEN, AxisPlan(5, 1)),
    ],
)
def test_exact_plans_pass(axis: Axis, plan: AxisPlan) -> None:
    check_plan(axis, plan)


@pytest.mark.parametrize(
    ("axis", "plan", "message"),
    [
        (AXIS, AxisPlan(16, 13), "13 is more than the 12"),
        (AXIS, AxisPlan(4, 1), "more than the 0"),
        (AXIS, AxisPlan(16, 0), "tile step 0"),
        (AXIS, AxisPlan(0, 0), "positive"),
        (AXIS, AxisPlan(16, -4), "positive"),
        (AXIS, AxisPlan(16, 12, columns=0), "positive"),
        (AXIS, AxisPlan(16, 12, columns=3), "3 columns must divide"),
        (AXIS, AxisPlan(16, 10, columns=4), "of 4 columns"),
        (AXIS, AxisPlan(41, 0, whole=True), "41 is less than the 42"),
        (STRIDED, AxisPlan(16, 11), "multiple of stride 2"),
        (STRIDED, AxisPlan(15, 10, columns=5), "multiple of stride 2"),
        (DILATED, AxisPlan(64, 0, whole=True), "cannot be transformed whole"),
        (OPEN, AxisPlan(64, 0, whole=True), "extent is open"),
        (AXIS, AxisPlan(16.0, 12), "integers"),  # type: ignore[arg-type]
        (AXIS, AxisPlan(16, 12, whole="false"), "true or false"),  # type: ignore[arg-type]
    ],
)
def test_wrong_plans_are_refused(axis: Axis, plan: AxisPlan, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_plan(axis, plan)
