"""The benchmark: what it says of given samples, how it takes them (on a fake clock), and one real run's structure."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from onnx_fft.bench import bench
from onnx_fft.errors import InvalidModelError, UsageError
from onnx_fft.hints import Option
from onnx_fft.model.io import load_model
from onnx_fft.report import describe
from onnx_fft.report.numbers import format_ms
from onnx_fft.report.sentences import describe_host
from onnx_fft.runtime.engines import ORT, EngineError
from onnx_fft.runtime.opening import open_runner
from onnx_fft.timing.launch import ModelTiming, NodeTime, _run_worker, _store_feeds, time_models
from onnx_fft.timing.stats import Ratio, Spread, compare, describe_ratio, summarize
from onnx_fft.timing.worker import (
    MAX_ROUNDS,
    MIN_ROUNDS,
    MIN_SAMPLE_S,
    _read_feeds,
    interleave,
    read_memory,
    read_nodes,
)
from scripts.shared.conv_models import build_conv_model
from scripts.shared.layers import make_spec
from tests.clocks import FakeClock
from tests.timing.fakes import HOST, SPEC, fake_benchmark

# --- what samples say -----------------------------------------------------------------------------------------------


def test_ratio_is_of_medians_before_over_after() -> None:
    ratio = compare([10.0, 12.0, 500.0], [5.0, 4.0, 6.0])
    assert ratio.value == 12.0 / 5.0
    assert ratio.rounds == 3
    assert ratio.low <= ratio.value <= ratio.high


def test_equal_rounds_have_no_spread() -> None:
    assert compare([0.3] * 9, [0.1] * 9) == Ratio(0.3 / 0.1, 0.3 / 0.1, 0.3 / 0.1, 9)


def test_interval_pairs_the_rounds() -> None:
    """The machine slows both models tenfold in half of the rounds: each spreads, their ratio does not."""
    slow = np.array([1.0, 10.0] * 20)
    ratio = compare(list(2 * slow), list(slow))
    assert (ratio.low, ratio.value, ratio.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("samples", [([], []), ([1.0], [1.0, 2.0])])
def test_ratio_of_nothing_raises(samples: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="samples"):
        compare(*samples)


def test_summary_is_median_and_quartiles() -> None:
    assert summarize([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 2.0, 4.0, 5)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (Ratio(0.71, 0.69, 0.74, 9), "0.71x: slower (95% interval 0.69 to 0.74, 9 rounds)"),
        (Ratio(0.98, 0.97, 0.985, 9), "0.98x: slower"),
        (Ratio(1.62, 1.60, 1.65, 9), "1.62x: faster"),
        (Ratio(1.10, 0.95, 1.30, 9), "1.10x: no difference shown"),
        (Ratio(0.93, 0.80, 1.01, 9), "0.93x: no difference shown"),
        (Ratio(1.004, 1.003, 1.005, 9), "1.00x: no difference shown"),
    ],
)
def test_losses_are_called_losses(ratio: Ratio, words: str) -> None:
    assert describe_ratio(ratio).startswith(words)


def test_a_loss_is_the_last_line_and_in_the_json() -> None:
    result = fake_benchmark((1.0,) * 5, (2.0,) * 5)
    assert describe(result).splitlines()[-1].startswith("0.50x: slower")
    assert result.to_dict()["verdict"].startswith("0.50x: slower")


def test_description_says_everything_that_decides_a_time() -> None:
    text = describe(fake_benchmark((2.0,) * 5, (1.0,) * 5))
    for part in ("a CPU", "1.32.0", "2 thread(s)", "x:1x3x12x12", "seed 0"):
        assert part in text
    assert "busy" not in text
    rows = [line.split() for line in text.splitlines()]
    for row in (
        "model run load file memory providers",
        "original 2000 ms (2000 to 2000) 100 ms 1.0 KiB 5.00 MiB CPU",
        "rewritten 1000 ms (1000 to 1000) 200 ms 3.00 MiB unknown CPU",
        "operator, profiled original ms rewritten ms",
        "MatMul - 100",
        "node, profiled what original ms rewritten ms",
        "conv Conv -> matmul, 7 nodes 200 100",
        "act Relu - 10.0",
    ):
        assert row.split() in rows


def test_a_busy_machine_is_told() -> None:
    assert "1.2 cores busy" in describe_host(replace(HOST, busy_cores=1.2))


def test_operator_times_leave_out_containers() -> None:
    nodes = [NodeTime("if", "If", 9.0), NodeTime("a", "Conv", 1.0), NodeTime("b", "Conv", 2.0)]
    timing = ModelTiming((1.0,), 0.0, 0, (), (*nodes, NodeTime("c", "Add", 4.0)))
    assert timing.seconds_by_op_type == {"Add": 4.0, "Conv": 3.0}
    assert list(timing.seconds_by_op_type) == ["Add", "Conv"]


def test_milliseconds_keep_three_digits() -> None:
    assert [format_ms(s) for s in (0.4321, 0.04321, 0.004321, 0.0004321)] == ["432", "43.2", "4.32", "0.432"]


# --- how samples are taken, on a fake clock -------------------------------------------------------------------------


def test_runs_alternate_and_the_order_is_reversed_every_other_round() -> None:
    clock = FakeClock()
    samples = interleave([clock.make_run("a", 0.5), clock.make_run("b", 0.25)], 0.0, clock)
    assert "".join(clock.calls[-2 * MIN_ROUNDS :]) == ("abba" * MIN_ROUNDS)[: 2 * MIN_ROUNDS]
    assert samples == [[0.5] * MIN_ROUNDS, [0.25] * MIN_ROUNDS]


def test_the_budget_ends_the_rounds() -> None:
    clock = FakeClock()
    (samples,) = interleave([clock.make_run("a", 1.0)], 20.5, clock)
    assert len(samples) == 21


def test_rounds_have_an_upper_limit() -> None:
    clock = FakeClock()
    (samples,) = interleave([clock.make_run("a", 1.0)], 1e9, clock)
    assert len(samples) == MAX_ROUNDS


def test_short_runs_are_averaged_over_many() -> None:
    clock = FakeClock()
    (samples,) = interleave([clock.make_run("a", MIN_SAMPLE_S / 8)], 0.0, clock)
    assert np.allclose(samples, MIN_SAMPLE_S / 8, rtol=1e-9)
    assert len(clock.calls) >= 8 * MIN_ROUNDS


def test_profile_leaves_out_the_cold_run() -> None:
    def kernel(ts: int, dur: int) -> dict[str, Any]:
        return {"name": "conv_kernel_time", "ts": ts, "dur": dur, "args": {"op_name": "Conv"}}

    runs = [{"name": "model_run", "ts": ts, "dur": 100} for ts in (0, 200, 400)]
    events = [kernel(10, 90), kernel(210, 20), kernel(410, 40), *runs, {"name": "session_init", "ts": 0, "dur": 1}]
    assert read_nodes(events) == [{"name": "conv", "op_type": "Conv", "seconds": 30e-6}]
    assert read_nodes(events[:4]) == []


def test_memory_is_read_from_the_status_of_this_process(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
    assert read_memory(status) == (1 << 20, 2 << 20)


@pytest.mark.parametrize("text", [None, "", "VmRSS:\t1024 kB\n", "VmRSS:\t\nVmHWM:\tmuch\n"])
def test_memory_is_unknown_where_the_system_does_not_tell(tmp_path: Path, text: str | None) -> None:
    status = tmp_path / "status"
    if text is not None:
        status.write_text(text)
    assert read_memory(status) == (None, None)


def test_feeds_reach_the_worker_unchanged(tmp_path: Path) -> None:
    feeds: dict[str, Any] = {
        "text": np.array(["a", "bcd"], dtype=object),
        "many": [np.zeros((2, 3), np.float32), np.ones(1, np.float32)],
        "flag": np.array(True),
        "half": np.arange(3, dtype=np.float16),
    }
    kinds = json.loads(json.dumps(_store_feeds(feeds, tmp_path / "feeds.npz")))
    read = _read_feeds(kinds, tmp_path)
    assert list(read) == list(feeds)
    for name in ("text", "flag", "half"):
        assert read[name].dtype == np.asarray(feeds[name]).dtype
        np.testing.assert_array_equal(read[name], feeds[name])
    assert [part.tolist() for part in read["many"]] == [part.tolist() for part in feeds["many"]]


# --- one real run; nothing is said about its times ------------------------------------------------------------------


def test_bench_end_to_end(tmp_path: Path) -> None:
    model = build_conv_model(SPEC, dynamic=(0, 2))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    steps: list[str] = []

    def note(what: str, share: float | None = None) -> None:
        steps.append(what)

    result = bench(path, model, input_shapes={"x": (2, 3, 20, 12)}, threads=1, budget_s=0.0, progress=note)
    assert result.input_shapes == {"x": (2, 3, 20, 12)}
    assert result.notes == ()
    assert result.ratio.rounds == MIN_ROUNDS == len(result.original.samples_s) == len(result.rewritten.samples_s)
    assert result.host.threads == 1
    assert result.original.providers == ("CPUExecutionProvider",)
    assert result.original.file_bytes == path.stat().st_size
    assert "Conv" in result.original.seconds_by_op_type
    assert result.nodes
    if sys.platform == "linux":
        assert result.original.peak_bytes is not None and result.rewritten.peak_bytes is not None
        assert result.original.peak_bytes > 0
    assert json.loads(json.dumps(result.to_dict()))["host"]["threads"] == 1
    assert len(steps) == 2
    assert open_runner(load_model(model)).engine == ORT, "sessions with threads of their own must still open"


def test_shapes_that_were_made_up_are_told() -> None:
    model = build_conv_model(SPEC, dynamic=(0, 2, 3))
    result = bench(model, model, threads=1, budget_s=0.0, profile=False, memory=False)
    (note,) = result.notes
    assert "made up: x 1x3x64x64" in note.text and Option("input_shapes", {"x": (1, 3, 64, 64)}) in note.hint
    assert f"note: {note.text}; pass yours as in input_shapes={{'x': (1, 3, 64, 64)}}" in describe(result).splitlines()
    assert result.to_dict()["notes"] == [note.tell()]


@pytest.mark.slow
def test_bench_reads_external_data(tmp_path: Path) -> None:
    model = build_conv_model(make_spec((3, 64), (9, 9), (12, 12)))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="data.bin", size_threshold=0)
    result = bench(path, load_model(path), threads=1, budget_s=0.0, profile=False)
    data_bytes = (tmp_path / "data.bin").stat().st_size
    assert result.original.file_bytes == path.stat().st_size + data_bytes
    assert result.rewritten.file_bytes > data_bytes
    assert result.original.nodes == ()


@pytest.mark.slow
def test_several_models_are_timed_at_once() -> None:
    source = load_model(build_conv_model(SPEC))
    timings, host = time_models([source] * 3, {"x": np.zeros((1, 3, 12, 12), np.float32)}, budget_s=0.0)
    assert [len(timing.samples_s) for timing in timings] == [MIN_ROUNDS] * 3
    assert host.threads is None
    assert "its own choice" in describe_host(host)


@pytest.mark.parametrize(("in_place", "device"), [(False, ""), (True, "cpu")])
def test_values_stay_in_place_if_asked(in_place: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    def run_worker(job: dict[str, Any], folder: Path) -> dict[str, Any]:
        devices.append(job["device"])
        return _run_worker(job, folder)

    monkeypatch.setattr("onnx_fft.timing.launch._run_worker", run_worker)
    source, x = load_model(build_conv_model(SPEC)), np.zeros((1, 3, 12, 12), np.float32)
    (timing,), _ = time_models([source], {"x": x}, budget_s=0.0, in_place=in_place)
    assert devices == [device] and len(timing.samples_s) == MIN_ROUNDS


def make_unrunnable() -> ModelProto:
    """The reference evaluator runs it; ONNX Runtime 1.32 has no 1-D Conv for float64 on CPU."""
    return build_conv_model(make_spec((1, 1), (3,), (8,), dtype="float64"))


def test_a_model_onnxruntime_does_not_run_is_a_clear_error() -> None:
    with pytest.raises(InvalidModelError, match=r"cannot be timed.*onnxruntime"):
        bench(make_unrunnable(), make_unrunnable(), threads=1, budget_s=0.0)


def test_inputs_that_do_not_fit_the_rewritten_model_are_a_clear_error() -> None:
    other = build_conv_model(make_spec((3, 4), (3, 3), (14, 14)))
    with pytest.raises(InvalidModelError, match="cannot be timed"):
        bench(build_conv_model(SPEC), other, threads=1, budget_s=0.0)


def test_a_model_nothing_runs_is_a_clear_error() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Nowhere", ["x"], ["y"], domain="nobody")], "g", [x], [y])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("nobody", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    with pytest.raises(InvalidModelError, match="nothing here runs"):
        bench(model, model)


def test_a_worker_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text("raise SystemExit('no more memory')")
    monkeypatch.setattr("onnx_fft.timing.launch.WORKER", script)
    with pytest.raises(EngineError, match=r"ended with code 1: no more memory"):
        time_models([load_model(build_conv_model(SPEC))], {"x": np.zeros((1, 3, 12, 12), np.float32)}, budget_s=1.0)


def test_no_threads_is_bad_usage() -> None:
    with pytest.raises(UsageError, match="got 0 threads"):
        bench(build_conv_model(SPEC), build_conv_model(SPEC), threads=0)
