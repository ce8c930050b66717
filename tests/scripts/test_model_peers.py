"""Other libraries on whole models: what a side reads, what becomes of one that cannot, and the columns of the tables.

The peers themselves need not be installed: fakes stand in for those and for their converters.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_fft.inputs.feeds import Feed
from onnx_fft.timing.stats import Ratio, Spread
from scripts.bench import model_peers, model_sides, pages, peer_worker
from scripts.bench import models as bench_models
from scripts.bench.peers import Peer
from scripts.bench.sides import LateError, PeerResult, Side, compare_sides, list_leads, measure_error, store_feeds
from scripts.shared.tables import read_table
from tests.models import write_two_convs

WHOLE = np.array([3], np.int64)
X = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
SECONDS = Spread(1.0, 1.0, 1.0, 9)
FASTER = PeerResult("", Ratio(2.0, 2.0, 2.0, 9), SECONDS, SECONDS, 1e-7)


def store_model(folder: Path) -> Path:
    """A model of two inputs, one of them an integer, and two outputs, with names that files could not have."""
    nodes = [
        helper.make_node("Cast", ["count:0"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["audio/x", "as_float"], ["y/scaled"]),
        helper.make_node("Add", ["count:0", "count:0"], ["twice:0"]),
    ]
    inputs = [
        helper.make_tensor_value_info("audio/x", TensorProto.FLOAT, [None, 2, 3]),
        helper.make_tensor_value_info("count:0", TensorProto.INT64, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("y/scaled", TensorProto.FLOAT, [None, 2, 3]),
        helper.make_tensor_value_info("twice:0", TensorProto.INT64, [1]),
    ]
    graph = helper.make_graph(nodes, "two_of_each", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = folder / "original.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def make_feed() -> Feed:
    outputs = {"y/scaled": 3 * X, "twice:0": 2 * WHOLE}
    return Feed("given", {"audio/x": X, "count:0": WHOLE}, outputs)


def place_model(folder: Path) -> Path:
    """What `measure_model_peers` gives a side to read."""
    store_model(folder).rename(folder / "model.onnx")
    feed = make_feed()
    store_feeds(folder, feed.arrays, list(feed.outputs))
    return folder


@pytest.mark.parametrize(
    "peer", [Peer("ORT", "onnxruntime", "onnxruntime"), *model_peers.MODEL_PEERS], ids=lambda peer: peer.name
)
def test_installed_sides_compute_a_model_of_several_inputs_and_outputs(peer: Peer, tmp_path: Path) -> None:
    if peer.version is None:
        pytest.skip("not installed")
    if peer.name == "ncnn":
        with pytest.raises(ValueError, match="float32 inputs, got int64"):
            model_sides.MODEL_SIDES[peer.side](place_model(tmp_path), 1)
        return
    run = model_sides.MODEL_SIDES[peer.side](place_model(tmp_path), 1)
    scaled, twice = map(peer_worker.to_array, run())
    assert measure_error(scaled, 3 * X) < 1e-6
    assert measure_error(twice, 2 * WHOLE) == 0.0


def test_a_converter_that_makes_no_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[str]] = []
    monkeypatch.setitem(sys.modules, "_tools", SimpleNamespace(mnnconvert=tried.append))
    for name in ("MNN", "MNN.expr"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    with pytest.raises(ValueError, match="makes no file"):
        model_sides.open_mnn(place_model(tmp_path), 1)
    assert tried == [["mnnconvert", "-f", "ONNX", *tried[0][3:]]]


def fake_pnnx(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A package whose program is `script`."""
    package = folder / "pnnx"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "pnnx").write_text(f"#!/bin/sh\n{script}\n")
    (package / "pnnx").chmod(0o755)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "pnnx", raising=False)


def test_pnnx_is_told_shapes_and_kinds_and_says_which_axis_is_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = "ex.input('in0', ncnn.Mat(in0.numpy(), batch_index=1).clone()) in1.numpy() out0.numpy(batch_index=0)"
    fake_pnnx(tmp_path, monkeypatch, f'echo "$@" > told; echo "{example}" > model_ncnn.py')
    axes = model_sides._convert_by_pnnx(tmp_path, make_feed().arrays)
    assert axes == {"in0": {"batch_index": 1}, "out0": {"batch_index": 0}}
    assert (tmp_path / "told").read_text().split() == ["model.onnx", "inputshape=[1,2,3]f32,[1]i64", "fp16=0"]


# --- what becomes of a side that fails ------------------------------------------------------------------------------


def fake_sides(monkeypatch: pytest.MonkeyPatch, wait: Callable[[str], None]) -> None:
    """Sides that start no process: `wait` makes the first output of each, or raises."""

    class Fake(Side):
        def __init__(self, module: str, folder: Path, threads: int) -> None:
            self.module, self.folder = module, folder

        def __exit__(self, *_: object) -> None:
            pass

        def wait_ready(self, limit_s: float = 0.0) -> None:
            wait(self.module)
            scale = 2.0 if self.module == "wrong" else 1.0
            outputs = [X] if self.module == "short" else [scale * X, WHOLE]
            np.savez(self.folder / f"{self.module}.npz", *outputs)

        def measure(self, block_s: float = 0.0) -> float:
            return 1.0 if self.module == "onnxruntime" else 0.5

    monkeypatch.setattr("scripts.bench.sides.Side", Fake)


def test_each_side_gets_a_cell_whatever_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(module: str) -> None:
        if module == "late":
            raise LateError("over 120 s")

    fake_sides(monkeypatch, wait)
    names = ("right", "wrong", "short", "late")
    found = compare_sides(tmp_path, dict(zip(names, names, strict=True)), threads=1, budget_s=0.0)
    assert [found[name].format() for name in names] == [
        "2.00x, 500 ms",
        "wrong (relative L2 1e+00)",
        "wrong (relative L2 inf)",
        "over 120 s",
    ]


def test_without_the_original_there_is_no_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(module: str) -> None:
        raise LateError("over 120 s")

    fake_sides(monkeypatch, wait)
    found = compare_sides(tmp_path, {"MNN": "MNN"}, threads=1, budget_s=0.0)
    assert found == {"MNN": PeerResult("ONNX Runtime over 120 s")}


def test_axes_of_one_may_be_missing_from_an_output() -> None:
    assert measure_error(X[0], X) == 0.0
    assert measure_error(X[0].T, X) == float("inf")


@pytest.mark.slow
def test_a_failing_converter_is_a_cell_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_pnnx(tmp_path, monkeypatch, "exit 3")
    (tmp_path / "ncnn.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # of the sides' processes
    broken = Peer("broken", "pnnx", "onnx")
    again, missing = Peer("again", "onnxruntime", "onnxruntime"), Peer("missing", "no_such_module", "no-such-package")
    monkeypatch.setattr(model_peers, "MODEL_PEERS", (broken, missing, again))
    monkeypatch.setattr(bench_models, "CASES", (bench_models.Case("two_convs", {}),))
    monkeypatch.setattr(bench_models, "obtain", lambda name: write_two_convs(tmp_path))
    file = tmp_path / "models.json"
    assert bench_models.main(["--peers", "--threads", "1", "--budget", "0.01", "--json", str(file)]) == 0
    printed = capsys.readouterr()
    row = read_table(printed.out)["two_convs"]
    assert (row["broken"], row["missing"]) == ("cannot read it", "not installed")
    assert re.fullmatch(r"[\d.e-]+x, [\d.]+ ms", row["again"])
    assert "non-zero exit status 3" in printed.err
    assert "Not installed: no-such-package" in printed.out
    peers = json.loads(file.read_text())["models"][0]["peers"]
    assert peers["again"]["relative_l2"] == 0.0 and "exit status 3" in peers["broken"]["detail"]


# --- tables ---------------------------------------------------------------------------------------------------------


def test_who_is_ahead_is_said_for_each_peer() -> None:
    rows = [("first", 3.0, {"MNN": FASTER}), ("second", 1.0, {"MNN": FASTER, "ncnn": PeerResult("cannot read it")})]
    assert list_leads(rows) == ["MNN ahead of auto on 1 of 2: second (2.00x, auto 1.00x)"]


def test_the_page_has_a_column_for_each_peer_that_was_timed(tmp_path: Path) -> None:
    head = "| model | input | replaced | original ms | ratio | peak memory MiB |"
    row = "| nmp | x 1 | 1 of 2 | 35 | 1.5x (1-2) | 20 -> 30 |"
    (tmp_path / pages.AVX2).mkdir()
    for name in ("models.md", "models_native.md", f"{pages.AVX2}/models_native.md"):
        (tmp_path / name).write_text("\n".join([head, "| --- | ---: |", row, row.replace("nmp", "kaldi")]))
    assert pages.make_models_block(tmp_path)[0].endswith("| standard | native | with AVX2 | peak memory MiB |")
    timed = [
        f"{head} promised | MNN | ncnn | OpenVINO |",
        "| --- |",
        f"{row} 1x: met | 0.94x, 8 ms | cannot read it | 2.00x, 4 ms |",
    ]
    (tmp_path / "models_peers.md").write_text("\n".join(timed))
    titles, _, nmp, kaldi = pages.make_models_block(tmp_path)
    assert "| with AVX2 | MNN | ncnn | OpenVINO | peak memory MiB |" in titles
    assert "| 1.5x (1 of 2) | 0.94x | cannot read it | 2.00x |" in nmp
    assert "| 1.5x (1 of 2) |  |  |  |" in kaldi
