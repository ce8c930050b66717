"""scripts/fuzz: an input depends on its seed alone, and tracebacks, crashes, hangs and wrong results are found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnx_fft
from scripts.fuzz import conv_nodes, driver, fourier_nodes, nodes, page, tries, wild
from scripts.fuzz.drawn import draw_model
from scripts.fuzz.inputs import draw_input
from scripts.fuzz.judge import find_difference
from scripts.fuzz.scenario import Scenario
from scripts.fuzz.tally import Tally, append_result
from scripts.fuzz.workers import Ended, Worker
from scripts.shared.blocks import read_block
from scripts.shared.running import list_op_types, open_session
from tests.models import W1, make_model, two_convs

SEEDS = range(30)


def write_pair(folder: Path, changed: ModelProto) -> tuple[Path, Path]:
    onnx.save(two_convs(), folder / "before.onnx")
    onnx.save(changed, folder / "after.onnx")
    return folder / "before.onnx", folder / "after.onnx"


def make_worker(folder: Path, program: str, hang_s: float = 60.0) -> Worker:
    """A process that runs `program` with the seed in `seed`, in place of trying it."""
    loop = f"import os, sys, time\nfor line in sys.stdin:\n    seed = int(line)\n    {program}\n"
    return Worker([sys.executable, "-c", loop], folder / "log", hang_s)


def test_an_input_depends_on_its_seed_alone() -> None:
    first, second = ([draw_input(seed) for seed in SEEDS] for _ in range(2))
    assert [each.model for each in first] == [each.model for each in second]
    assert [each.choices for each in first] == [each.choices for each in second]
    assert len({each.model for each in first}) > len(SEEDS) // 2
    assert sum(bool(each.files) for each in first) > 2


def test_models_are_valid_before_they_are_mutated() -> None:
    for seed in SEEDS:
        model = draw_model(Random(seed))
        onnx.checker.check_model(model)
        assert any(list_op_types(model)[op_type] for op_type in ("Conv", "ConvTranspose", "DFT", "STFT"))


def test_most_drawn_models_run() -> None:
    # Some do not: ONNX Runtime has no float64 Conv along one axis, and no operators of the newest opset.
    running = 0
    for seed in SEEDS:
        try:
            open_session(draw_model(Random(seed)))
            running += 1
        except Exception:
            continue
    assert running > len(SEEDS) // 2


def test_an_error_that_is_no_error_of_ours_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise IndexError("out of range")

    monkeypatch.setattr(tries, "main", fail)
    tried = tries.try_input(0, tmp_path, lambda verb: None)
    assert [finding["kind"] for finding in tried.findings] == ["traceback"]
    assert "IndexError" in tried.findings[0]["signature"]


def test_a_different_model_is_found(tmp_path: Path) -> None:
    assert not find_difference(*write_pair(tmp_path, two_convs()), seed=0, libraries=())
    changed = two_convs()
    weight = next(tensor for tensor in changed.graph.initializer if tensor.name == "w1")
    weight.CopyFrom(numpy_helper.from_array(np.asarray(W1 * 1.02, np.float32), "w1"))
    assert "off by" in find_difference(*write_pair(tmp_path, changed), seed=0, libraries=())


def test_noise_beside_the_smallest_tap_is_no_difference(tmp_path: Path) -> None:
    """Of an input of one sample, the middle tap alone is seen, and it is next to nothing."""
    weight = np.ones((1, 1, 23), np.float32)
    weight[..., 11] = 1e-40
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[11, 11])
    model = make_model([node], {"w": weight}, x=(1, 1, "n"), y=None)
    onnx.save(model, tmp_path / "before.onnx")
    pair = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx_fft.rewrite(model, lowering="matmul", validate=False).save(pair[1])
    assert not find_difference(*pair, 0, ())
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight + np.float32(0.5), "w"))
    onnx.save(model, pair[1])
    assert "off by" in find_difference(*pair, 0, ())


@pytest.mark.parametrize(("extra", "said"), [("IsNaN", "differs in"), ("Log", "is not finite")])
def test_a_different_decision_and_a_lost_number_are_found(extra: str, said: str, tmp_path: Path) -> None:
    before, after = two_convs(), two_convs()
    for model, shift in ((before, 1e3), (after, -1e3)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(shift, np.float32), "shift"))
        model.graph.node.append(helper.make_node("Add", ["y", "shift"], ["moved"]))
        inner = helper.make_node("Log", ["moved"], ["z"])
        outer = helper.make_node("IsNaN", ["z"], ["decision"])
        model.graph.node.extend([inner, outer] if extra == "IsNaN" else [inner])
        del model.graph.output[:]
        model.graph.output.append(onnx.ValueInfoProto(name="decision" if extra == "IsNaN" else "z"))
    onnx.save(before, tmp_path / "before.onnx")
    onnx.save(after, tmp_path / "after.onnx")
    assert said in find_difference(tmp_path / "before.onnx", tmp_path / "after.onnx", 0, ())


def test_a_crash_and_a_hang_are_found(tmp_path: Path) -> None:
    crashing = make_worker(tmp_path, "os.abort()")
    with pytest.raises(Ended, match="start: SIGABRT") as ended:
        crashing.run(1)
    assert ended.value.kind == "crash"
    for program in ("time.sleep(60)", "while True: pass"):
        hanging = make_worker(tmp_path, program, hang_s=0.02)
        with pytest.raises(Ended, match="more than") as ended:
            hanging.run(1)
        assert ended.value.kind == "hang"


def test_waiting_for_a_busy_machine_is_no_hang(tmp_path: Path) -> None:
    answer = """print('{"seed": %d, "verbs": {}, "findings": []}' % seed, flush=True)"""
    worker = make_worker(tmp_path, f"time.sleep(0.6); {answer}", hang_s=0.2)
    assert worker.run(1)["seed"] == 1
    worker.close()


def test_a_worker_goes_on_after_a_crash(tmp_path: Path) -> None:
    answer = """print('{"seed": %d, "verbs": {}, "findings": []}' % seed, flush=True) if seed != 2 else os.abort()"""
    worker = make_worker(tmp_path, answer)
    assert worker.run(1)["seed"] == 1
    with pytest.raises(Ended):
        worker.run(2)
    assert worker.run(3)["seed"] == 3
    worker.close()


def test_equal_findings_are_counted_once(tmp_path: Path) -> None:
    tally = Tally()
    for seed in range(5):
        tally.count({"inspect": "finding"})
        tally.find(seed, "traceback", "IndexError at a.py:1", "text", tmp_path)
    result = tally.to_dict("models", 1.0, 0, "")
    assert result["inputs"] == 5 and result["outcomes"] == {"inspect": {"finding": 5}}
    assert result["findings"] == {"IndexError at a.py:1": {"kind": "traceback", "count": 5, "seeds": [0, 1, 2]}}
    assert len(list(tmp_path.iterdir())) == 3


TRUTHS: dict[Callable[[Random], Scenario], tuple[ModuleType, str]] = {
    conv_nodes.draw_conv: (conv_nodes, "conv_direct"),
    conv_nodes.draw_stft_by_conv: (conv_nodes, "conv_direct"),
    conv_nodes.draw_transposed: (conv_nodes, "conv_transpose_direct"),
    fourier_nodes.draw_dft: (fourier_nodes, "dft"),
    fourier_nodes.draw_stft: (fourier_nodes, "stft"),
}
"""What draws a node, and what its results are held against."""


@pytest.mark.parametrize("draw", TRUTHS, ids=lambda draw: str(draw.__name__))
def test_a_wrong_node_is_found(
    draw: Callable[[Random], Scenario], native_library: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert native_library.is_file()
    monkeypatch.setattr(nodes, "KINDS", (draw,))

    def find() -> list[Any]:
        return [found for seed in range(4) for found in nodes.try_scenarios(seed, tmp_path, lambda verb: None).findings]

    assert not find()
    module, name = TRUTHS[draw]
    right = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *given, **options: right(*given, **options) * 1.001)
    assert find()


def test_every_kind_of_site_is_drawn() -> None:
    found = {op_type for seed in range(100) for op_type in list_op_types(draw_model(Random(seed)))}
    assert found >= {"Conv", "ConvTranspose", "DFT", "STFT"}


@pytest.mark.parametrize(
    ("program", "kinds"),
    [
        ("echo 'AVX2, seed 7: 90 passed, 0 failed, 10 refused, 0 too large to try'", []),
        (
            "echo '3: error 1 over 0: 1-D'; echo 'seed 7: 99 passed, 1 failed, 0 refused, 0 too large to try'; false",
            ["differs"],
        ),
        ("echo '==1==ERROR: AddressSanitizer'; kill -ABRT $$", ["crash"]),
    ],
)
def test_what_the_test_driver_says(
    program: str, kinds: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "native_test"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(0o755)
    monkeypatch.setenv(wild.PROGRAM_VARIABLE, str(script))
    tried = wild.try_set(7, tmp_path, lambda verb: None)
    assert [finding["kind"] for finding in tried.findings] == kinds
    if not kinds:
        tally = Tally()
        tally.count(tried.verbs)
        tally.count(tried.verbs)
        assert tally.to_dict("wild", 1.0, 0, "")["outcomes"]["convolution"]["passed"] == 180


def test_the_page_shows_what_was_kept() -> None:
    runs = page.load_runs()
    assert {run["kind"] for run in runs} == set(page.INPUTS)
    assert read_block(page.PAGE.read_text(encoding="utf-8"), "results") == page.render(runs)


def test_runs_are_added_up(tmp_path: Path) -> None:
    tally = Tally()
    for seed in range(3):
        tally.count({"inspect": "ok" if seed else "exit 2"})
    tally.find(1, "differs", "validate: called the same, and differs", "text", tmp_path)
    for first_seed in (1, 2):
        append_result(tmp_path / "runs.json", tally.to_dict("models", 90.0, first_seed, ""))
    lines = page.render(json.loads((tmp_path / "runs.json").read_text()))
    assert lines[0] == "- 6 models in 3 minutes; first seeds: 1, 2"
    assert "| inspect | ok 4, exit 2 2 |" in lines
    assert lines[-1] == "- validate: called the same, and differs: 2"


@pytest.mark.slow
def test_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["--count", "3", "--workers", "1", "--seed", "1", "--hang-s", "300", "--out", str(tmp_path)]
    assert driver.run("", "models", arguments) == 0
    assert "3 inputs in" in capsys.readouterr().out
