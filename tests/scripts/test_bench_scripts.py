"""The bench scripts: tables, words, turns and bars, of given results and a fake clock; no result depends on speed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from onnx_fft.cost.native import predict_fftconv
from onnx_fft.fourier.oracle import conv_direct
from onnx_fft.lowering import TARGETS
from onnx_fft.native.profile import find_rates
from onnx_fft.runtime.engines import EngineError
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.timing.stats import Ratio, Spread
from scripts.bench import layers as bench_layers
from scripts.bench import models as bench_models
from scripts.bench import peer_worker, validation_time
from scripts.bench.layer_results import Measured, Variant, make_table, summarize_rows
from scripts.bench.machine_limits import Limits, measure_limits
from scripts.bench.peer_worker import measure_block
from scripts.bench.peers import PEERS, Peer, describe_peers, measure_peers, refuse_steps, store_layer
from scripts.bench.plot import PEER_INKS, PEER_MARKS, make_bars
from scripts.bench.scaling import PANELS, Point, draw
from scripts.bench.sides import MIN_BLOCKS, PeerResult, Side, SideError, alternate, measure_error
from scripts.shared.conv_models import build_conv_model, draw_input, draw_weights
from scripts.shared.layers import FIELD, NATIVE_PROMISES, ORDINARY, TRAPS, Layer, make_spec
from scripts.shared.tables import list_losses
from tests.clocks import FakeClock

SPEC = make_spec((3, 4), (3, 3), (12, 12))


def fake_row(
    name: str, at_least: float | None, forced: float, auto: float | None, peer: PeerResult | None = None
) -> Measured:
    def variant(label: str, value: float | None) -> Variant:
        if value is None:
            return Variant(label, ModelProto(), None, "no gain")
        ratio, run_s = Ratio(value, value, value, 9), Spread(1 / value, 1 / value, 1 / value, 9)
        return Variant(label, ModelProto(), "matmul", "gain", ratio, run_s, 1 << 20, 5e-7)

    variants = {"matmul": variant("matmul", forced), "auto": variant("auto", auto)}
    peers = {} if peer is None else {"PyTorch": peer}
    return Measured(Layer(name, SPEC, None, at_least), Spread(1.0, 1.0, 1.0, 9), 1e-7, variants, peers)


def fake_peer(ratio: float) -> PeerResult:
    seconds = Spread(1 / ratio, 1 / ratio, 1 / ratio, 9)
    return PeerResult("", Ratio(ratio, ratio, ratio, 9), seconds, Spread(1.0, 1.0, 1.0, 9), 1e-7)


# --- the layer table ------------------------------------------------------------------------------------------------


def test_table_shows_promises_and_losses() -> None:
    rows = [
        fake_row("kept", 2.0, 2.5, 2.5),
        fake_row("missed", 8.0, 4.6, 4.6),
        fake_row("lost", None, 0.71, 0.71),
        fake_row("left", None, 1.4, None),
    ]
    lines = make_table(rows, ["matmul"]).to_markdown()
    assert len(lines) == 2 + len(rows)
    kept, missed, lost, left = lines[2:]
    assert "2x: met" in kept and "2.50x" in kept and "+1.0" in kept
    assert "8x: MISSED" in missed
    assert "0.71x" in lost
    assert "left alone" in left
    assert summarize_rows(rows) == [
        "missed: missed, 4.60x of 8x promised",
        "promises met: 1 of 2",
        "not taken by auto: left, matmul is 1.40x",
        "slower on 1 of 4 (below 0.97x): lost (0.71x)",
    ]


def test_a_promise_is_not_kept_by_leaving_the_conv_alone() -> None:
    assert fake_row("left", 2.0, 3.0, None).promise_kept is False


def test_the_librarys_rows_show_their_limit_their_error_and_that_some_may_be_left_alone() -> None:
    row = fake_row("fast", 4.0, 4.0, 4.0)
    native = replace(row.variants["matmul"], name="fftconv", lowering="fftconv")
    row = replace(row, variants={"fftconv": native, "auto": native}, least_s=0.2)
    head, _, line = make_table([row], ["fftconv"]).to_markdown()
    assert "| fftconv MiB | limit | auto |" in head
    assert "| 80% | fftconv 4.00x" in line and "4x: met" in line
    assert "error above 5e-07 on 0 of 1: none" in summarize_rows([row])
    wrong = replace(row, variants={"fftconv": replace(native, relative_l2=5.4e-7), "auto": native})
    assert "error above 5e-07 on 1 of 1: fast (5.4e-07)" in summarize_rows([wrong])
    left = fake_row("3x3", 1.2, 0.5, None)
    assert replace(left, layer=replace(left.layer, may_be_left=True)).promise_kept is True


def test_the_librarys_limit_is_that_of_flops_or_of_bytes() -> None:
    slow_memory, slow_arithmetic = Limits(1e15, 1e9), Limits(1e9, 1e15)
    found = predict_fftconv(SPEC, find_rates())
    assert slow_memory.least_seconds(SPEC) == found.work["bytes"] / 1e9
    flops = found.work["transform_flops"] + found.work["product_flops"]
    assert slow_arithmetic.least_seconds(SPEC) == flops / 1e9


def test_the_dense_engine_has_a_limit_though_it_counts_cycles() -> None:
    channels, length, taps = 64, 32_768, 11
    spec = make_spec((channels, channels), (taps,), (length,))
    found = predict_fftconv(spec, find_rates())
    assert Limits(1e15, 1e9).least_seconds(spec) == (found.work["bytes"] + found.weight_bytes) / 1e9
    known = re.match(r"dense (by Gauss )?1x1x(\d+), (\d+) tiles", found.plan)
    assert known is not None
    points, tiles = int(known[2]), int(known[3])
    assert tiles == -(-length // (points - taps + 1))
    bins = (6 if known[1] else 8) * (points // 2 - 1) + 2 * 2  # the first and the last bin are real
    flops = tiles * (channels**2 * bins + 2 * channels * 2.5 * points * np.log2(points))
    assert Limits(1e9, 1e15).least_seconds(spec) == pytest.approx(flops / 1e9)


@pytest.mark.slow
def test_the_machine_is_measured_in_a_process_of_its_own() -> None:
    limits = measure_limits(1)
    assert limits.flops_per_s > 1e8 and limits.bytes_per_s > 1e8


def test_every_target_has_its_table_and_its_lowerings() -> None:
    assert [layer.name for layer in bench_layers.list_layers("native", False)] == [
        *NATIVE_PROMISES,
        *(layer.name for layer in ORDINARY),
    ]
    names = [layer.name for layer in bench_layers.list_layers("native", True)]
    assert len(names) == len(set(names)) and {layer.name for layer in (*TRAPS, *FIELD)} <= set(names)
    assert bench_layers.parse_arguments(["--target", "native"]).lowering == ["fftconv"]
    with pytest.raises(SystemExit):
        bench_layers.parse_arguments(["--target", "native", "--lowering", "dft"])


def test_losses_come_worst_first_and_no_loss_is_said_too() -> None:
    assert list_losses([("a", 0.9), ("b", 0.5), ("c", 0.98), ("d", 2.0)], 0.97) == (
        "slower on 2 of 4 (below 0.97x): b (0.50x), a (0.90x)"
    )
    assert list_losses([("a", 1.0)], 0.97) == "slower on 0 of 1 (below 0.97x): none"


# --- the table of models --------------------------------------------------------------------------------------------


def test_a_model_that_does_not_load_with_its_shapes_fixed_is_a_row_and_the_rest_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(case: bench_models.Case, **_: object) -> None:
        asked.append(case.name)
        raise EngineError("rank 3")

    asked: list[str] = []
    monkeypatch.setattr(bench_models, "measure_model", refuse)
    assert bench_models.main(["--fix-shapes", "--select", "crepe|silero"]) == 0
    assert "| silero_vad | input 1x576, state 2x1x128 | does not load with its shapes fixed" in capsys.readouterr().out
    assert asked == ["crepe_tiny", "crepe_full", "silero_vad"]
    with pytest.raises(EngineError):
        bench_models.main(["--select", "silero"])


# --- peers ----------------------------------------------------------------------------------------------------------


def test_table_shows_peers_their_lead_and_why_one_is_missing() -> None:
    rows = [
        fake_row("ahead", None, 2.0, 2.0, fake_peer(4.0)),
        fake_row("behind", None, 2.0, 2.0, fake_peer(0.5)),
        fake_row("refused", None, 2.0, 2.0, PeerResult("no stride")),
    ]
    head, _, ahead, _, refused = make_table(rows, ["matmul"]).to_markdown()
    assert head.endswith("| PyTorch |")
    assert ahead.endswith("| 4.00x, 250 ms |")
    assert refused.endswith("| no stride |")
    lead = "PyTorch ahead of auto on 1 of 2: ahead (4.00x, auto 2.00x)"
    assert lead in summarize_rows(rows)
    assert json.loads(json.dumps(rows[2].to_dict()))["peers"]["PyTorch"]["note"] == "no stride"


def test_what_a_peer_cannot_compute_is_refused() -> None:
    assert refuse_steps(make_spec((1, 1), (3,), (9,), strides=(2,))) == "no stride"
    assert refuse_steps(make_spec((1, 1), (3,), (9,), dilations=(2,))) == "no dilation"
    assert refuse_steps(SPEC) == ""
    assert {peer.side for peer in PEERS} <= peer_worker.SIDES.keys()


def test_a_wrong_output_is_not_taken_for_a_right_one() -> None:
    truth = np.arange(1.0, 7.0, dtype=np.float32).reshape(1, 2, 3)
    spoiled = truth.copy()
    spoiled[0, 0, 0] = np.nan
    assert measure_error(truth, truth) == 0.0
    for wrong in (0 * truth, 2 * truth, -truth):
        assert measure_error(wrong, truth) >= 1.0
    for broken in (spoiled, truth[:, :1], truth[:0]):
        assert measure_error(broken, truth) == float("inf")
    assert measure_error(truth[:0], truth[:0]) == float("inf")


def test_sides_take_turns_in_alternating_order() -> None:
    turns: list[str] = []

    def make_side(name: str, value: float) -> Callable[[], float]:
        def measure() -> float:
            turns.append(name)
            return value

        return measure

    conv_s, peer_s = alternate(make_side("c", 1.0), make_side("p", 2.0), 0.0, clock=lambda: 0.0)
    assert (conv_s, peer_s) == ([1.0] * MIN_BLOCKS, [2.0] * MIN_BLOCKS)
    assert "".join(turns) == "cppccppccppc"[: 2 * MIN_BLOCKS]


def test_a_block_leaves_out_its_first_run_unless_one_run_fills_it() -> None:
    clock = FakeClock()
    assert measure_block(clock.make_run("a", 0.25), 1.0, clock) == 0.25
    assert len(clock.calls) == 1 + 4
    clock = FakeClock()
    assert measure_block(clock.make_run("a", 3.0), 1.0, clock) == 3.0
    assert len(clock.calls) == 1


@pytest.mark.parametrize("side", sorted(peer_worker.SIDES))
@pytest.mark.parametrize(
    "spec",
    [
        make_spec((4, 6), (3, 4), (9, 10), group=2, has_bias=True),
        make_spec((3, 3), (5,), (20,), group=3, pads="causal"),
        make_spec((2, 3), (1, 3, 2), (1, 6, 7), pads="valid"),
        make_spec((8, 16), (3, 3), (12, 13), has_bias=True),
        make_spec((8, 16), (5,), (40,), strides=(2,), dilations=(3,), has_bias=True),
    ],
    ids=["groups", "causal", "3-D", "dense", "steps"],
)
def test_installed_sides_compute_the_layer(side: str, spec: ConvSpec, tmp_path: Path) -> None:
    peer = next((peer for peer in PEERS if peer.side == side), Peer(side, side, side))
    if peer.version is None or peer.refuse(spec):
        pytest.skip(peer.refuse(spec) or "not installed")
    weight, bias = draw_weights(spec)
    x = draw_input(spec)
    store_layer(tmp_path, spec, build_conv_model(spec, weight, bias), x, weight, bias)
    geometry = spec.geometry
    run = peer_worker.SIDES[side](tmp_path, 1)  # the oldest ORT's outputs are valid for as long as it is
    (output,) = map(peer_worker.to_array, run())
    assert measure_error(output, conv_direct(x, weight, bias, geometry)) < 1e-5


@pytest.mark.slow
def test_peers_end_to_end_with_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    again = Peer("again", "onnxruntime", "onnxruntime")
    monkeypatch.setattr("scripts.bench.peers.PEERS", (again, Peer("missing", "no_such_module", "no-such-package")))
    weight, bias = draw_weights(SPEC)
    model = build_conv_model(SPEC, weight, bias)
    found = measure_peers(SPEC, model, draw_input(SPEC), weight, bias, threads=1, budget_s=0.0)
    assert found["missing"] == PeerResult("not installed")
    assert found["again"].relative_l2 == 0.0
    assert found["again"].ratio is not None and found["again"].ratio.rounds == MIN_BLOCKS
    versions, missing = describe_peers()
    assert f"onnxruntime {again.version}" in versions
    assert "no-such-package" in missing and "scripts/bench/requirements-peers.txt" in missing


def test_a_side_that_fails_says_so(tmp_path: Path) -> None:
    with Side("onnxruntime", tmp_path, 1) as side, pytest.raises(SideError, match=r"failed: .*model\.onnx"):
        side.wait_ready()


# --- charts -----------------------------------------------------------------------------------------------------------


def test_bars_show_what_auto_does_first_and_what_it_leaves_as_such() -> None:
    rows = [
        fake_row("left", None, 0.3, None),
        fake_row("lost", None, 0.71, 0.71),
        fake_row("won", None, 12.3, 12.3, fake_peer(4.0)),
    ]
    won, lost, left = make_bars(json.loads(json.dumps([row.to_dict() for row in rows])))
    assert (won.name, won.ratio, won.is_done, won.label, won.peers) == ("won", 12.3, True, "12x", {"PyTorch": 4.0})
    assert (lost.name, lost.ratio, lost.is_done, lost.label) == ("lost", 0.71, True, "0.71x")
    assert (left.name, left.ratio, left.is_done, left.label) == ("left", 0.3, False, "left alone (0.30x)")


def test_a_bar_without_a_number_is_no_gain() -> None:
    row = fake_row("refused", None, 1.0, None).to_dict()
    row["variants"]["matmul"]["ratio"] = None
    (bar,) = make_bars([row])
    assert (bar.ratio, bar.is_done, bar.label) == (1.0, False, "left alone")


def test_every_target_has_its_tables() -> None:
    assert set(bench_models.TITLES) == set(bench_layers.TITLES) == set(bench_layers.TABLES) == set(TARGETS)


def test_every_peer_has_a_mark() -> None:
    assert len(set(PEER_MARKS)) == len(set(PEER_INKS)) >= len(PEERS)


def test_the_chart_of_scaling_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "scaling.svg"
    draw([Point(panel, n, threads, n, n / 2) for panel in PANELS for n in (8, 16) for threads in (1, 2)], ["a"], path)
    assert "</svg>" in path.read_text()


# --- the time that validation takes -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chain", "wide", "bodies"])
def test_the_models_of_validation_time_are_rewritten_and_checked(name: str) -> None:
    found = validation_time.measure(name, "standard", 2)
    assert found["verdict"].startswith("same")
    assert found["checked"] == 2
    assert found["truth"] > 0
    cells = validation_time.make_row(name, "standard", 2, found)
    assert cells[0] == f"{name}, standard"
    assert cells[-3:] == ("2 of 2", "100%", "same")
