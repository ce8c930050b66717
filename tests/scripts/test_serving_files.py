"""Many files on a cluster: results in order and whole, sessions made once a worker, nothing lost with a worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dask.config
import numpy as np
import pytest
from distributed import Client

import onnx_fft
from scripts.serving import many_files
from scripts.serving.arrays import read_arrays, write_arrays
from scripts.serving.cluster import find_worst, run_in_one, run_with_a_kill, write_inputs
from scripts.serving.sessions import open_session
from scripts.shared.conv_models import build_conv_model, draw_weights
from scripts.shared.layers import make_spec
from scripts.shared.running import run_model

pytestmark = pytest.mark.usefixtures("native_library")
SPEC = make_spec((8, 8), (31, 31), (64, 64), group=8)
SHAPE = (1, 8, 64, 64)
FILES = 10 * many_files.BATCH


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "native.onnx"
    onnx_fft.rewrite(build_conv_model(SPEC, *draw_weights(SPEC)), target="native", select="all").save(path)
    return path


def make_folders(folder: Path, count: int) -> tuple[list[Path], Path]:
    """Files with inputs, and a folder for results."""
    for name in ("inputs", "outputs"):
        (folder / name).mkdir()
    return write_inputs(folder / "inputs", "x", SHAPE, count), folder / "outputs"


def test_a_file_becomes_a_file(model: Path, tmp_path: Path) -> None:
    (source,), out = make_folders(tmp_path, 1)
    done = many_files.run_file(open_session(model, threads=1), source, out)
    assert (done.source, done.process, done.problem) == (source, os.getpid(), "")
    assert os.listdir(out) == [source.name]
    (y,) = read_arrays((out / source.name).read_bytes()).values()
    (expected,) = run_model(build_conv_model(SPEC, *draw_weights(SPEC)), read_arrays(source.read_bytes()))
    assert np.linalg.norm(y - expected) < 1e-5 * np.linalg.norm(expected)


def test_a_file_that_the_model_does_not_take_is_not_the_end(model: Path, tmp_path: Path) -> None:
    (source,), out = make_folders(tmp_path, 1)
    session = open_session(model, threads=1)
    for content in (b"no arrays", write_arrays({"x": np.ones((1, 2, 3), np.float32)})):
        source.write_bytes(content)
        assert many_files.run_file(session, source, out).problem
    assert os.listdir(out) == []


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(model: Path, tmp_path: Path) -> None:
    """Its files are run by others, and come in order: another process is started in its place."""
    sources, out = make_folders(tmp_path, FILES)
    (tmp_path / "expected").mkdir()
    assert len(list(run_in_one(model, sources, tmp_path / "expected"))) == FILES
    with many_files.open_cluster(2) as cluster, Client(cluster) as client:
        done = list(run_with_a_kill(client, model, sources, out))
        client.wait_for_workers(2)
        again = list(many_files.run_files(client, model, sources, out))
    assert [each.source for each in done] == [source.resolve() for source in sources]
    assert [each.problem for each in done] == [""] * FILES
    killed = done[FILES // 2].process
    assert os.getpid() not in {each.process for each in done}
    assert killed not in {each.process for each in again}
    assert len({each.process for each in again}) == 2
    lost, worst = find_worst(tmp_path / "expected", out, sources)
    assert lost == 0 and worst < 1e-6
    with pytest.raises(ProcessLookupError):
        os.kill(killed, signal.SIGCONT)


@pytest.mark.slow
def test_files_that_end_their_workers_are_named(model: Path, tmp_path: Path) -> None:
    """A batch is tried on some workers, here on one only; the other files have their results."""
    sources, out = make_folders(tmp_path, 2 * FILES)
    once = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with once, many_files.open_cluster(2) as cluster, Client(cluster) as client:
        done = list(run_with_a_kill(client, model, sources, out))
    assert [each.source for each in done] == [source.resolve() for source in sources]
    failed = {each.source.name for each in done if each.problem}
    assert failed and len(failed) % many_files.BATCH == 0
    assert set(os.listdir(out)) >= {source.name for source in sources} - failed


@pytest.mark.slow
def test_a_cluster_that_runs_already(model: Path, tmp_path: Path) -> None:
    sources, out = make_folders(tmp_path, 3)
    with many_files.open_cluster(1) as cluster:
        command = [str(model), str(tmp_path / "inputs"), str(out), "--scheduler", cluster.scheduler_address]
        assert many_files.main(command) == 0
        assert many_files.main(command) == 0  # it goes on for others
    assert sorted(os.listdir(out)) == [source.name for source in sources]


@pytest.mark.slow
def test_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources, out = make_folders(tmp_path, 5)
    sources[3].write_bytes(b"no arrays")
    command = [str(model), str(tmp_path / "inputs"), str(out)]
    assert many_files.main(command) == 1
    said = capsys.readouterr()
    assert f"4 of 5 files have a result in {out}" in said.out
    assert f"{sources[3].name}: got 9 bytes that are not an .npz file" in said.err
    assert sorted(os.listdir(out)) == [source.name for source in sources if source != sources[3]]


def test_a_folder_without_inputs_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert many_files.main(["model.onnx", str(tmp_path), str(tmp_path / "outputs")]) == 2
    assert "which holds no .npz file" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_what_is_lost_or_wrong_is_found(tmp_path: Path) -> None:
    sources, out = make_folders(tmp_path, 3)
    (out / sources[0].name).write_bytes(sources[0].read_bytes())
    arrays = {name: 1.5 * value for name, value in read_arrays(sources[1].read_bytes()).items()}
    (out / sources[1].name).write_bytes(write_arrays(arrays))
    lost, worst = find_worst(tmp_path / "inputs", out, sources)
    assert (lost, round(worst, 6)) == (1, 0.5)
