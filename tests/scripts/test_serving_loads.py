"""Serving under load: the service, the clients on each runtime, and what counts as a fault."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import numpy as np
import onnx
import pytest

import onnx_fft
from scripts.conformance.speed import compare_outputs
from scripts.native.soak import MOST_GROWTH_BYTES
from scripts.serving import measure, service
from scripts.serving.arrays import read_arrays, write_arrays
from scripts.serving.loads import Ask, Job, Load, LoadError, load_in_turn, serve_c, serve_http, serve_node
from scripts.serving.paths import MODULES
from scripts.serving.sessions import open_session
from scripts.serving.tables import PAGE, RESULTS, render
from scripts.shared.blocks import read_block
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model
from tests.marks import since_onnxruntime
from tests.models import X, two_convs

pytestmark = pytest.mark.usefixtures("native_library")
CLIENTS, REQUESTS, ROUNDS = 4, 120, 2


def write_pickled() -> bytes:
    """An .npz file that only pickle can read."""
    file = io.BytesIO()
    np.savez(file, x=np.array([{}]))
    return file.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rewritten model from `x` to `y`."""
    path = tmp_path_factory.mktemp("model") / "native.onnx"
    onnx_fft.rewrite(two_convs(), target="native", select="all").save(path)
    return path


def post(model: Path, content: bytes) -> httpx2.Response:
    """The service's answer."""

    async def ask() -> httpx2.Response:
        transport = httpx2.ASGITransport(service.build_app(open_session(model, threads=1), 2))
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post("/run", content=content)

    return anyio.run(ask)


def test_the_service_answers_as_the_original(model: Path) -> None:
    answer = post(model, write_arrays({"x": X}))
    assert answer.status_code == 200
    (expected,) = run_model(two_convs(), {"x": X})
    np.testing.assert_allclose(read_arrays(answer.content)["y"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "got 0 bytes that are not an .npz file"),
        (b"not zipped", "got 10 bytes that are not an .npz file"),
        (write_arrays({"x": X[:, :2]}), "invalid dimensions for input: x"),
        (write_arrays({"x": X.astype(np.float64)}), "Unexpected input data type"),
        (write_arrays({"z": X}), "Required inputs"),
        (write_pickled(), "not an .npz file .*allow_pickle=False"),
    ],
    ids=["nothing", "text", "shape", "dtype", "name", "pickled"],
)
def test_what_the_model_does_not_take_is_said(model: Path, content: bytes, said: str) -> None:
    answer = post(model, content)
    assert answer.status_code == 400
    assert re.search(said, answer.text), answer.text


def test_a_model_that_cannot_be_served(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNX_FFT_LIBRARY", "gone.so")
    assert service.main(["model.onnx"]) == 6
    assert "got ONNX_FFT_LIBRARY=gone.so, which is not a file" in capsys.readouterr().err


def make_job(model: Path, folder: Path) -> tuple[Job, Path]:
    """A job with an input for each client, and the file of what the original gives for them."""
    inputs = np.random.default_rng(3).standard_normal((CLIENTS, *X.shape), np.float32)
    inputs.tofile(folder / "inputs.bin")
    np.concatenate([run_model(two_convs(), {"x": x})[0] for x in inputs]).tofile(folder / "expected.bin")
    job = Job(model, "x", X.shape, folder / "inputs.bin", folder / "outputs.bin", CLIENTS)
    return job, folder / "expected.bin"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measure.build_program(tmp_path_factory.mktemp("program"))


def _serve_node(job: Job, _: Path) -> AbstractContextManager[Ask]:
    if not MODULES.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {MODULES}; scripts/conformance/run.sh sets it up")
    return serve_node(job, MODULES)


@pytest.mark.slow
@pytest.mark.parametrize("serve", [serve_c, _serve_node, lambda job, _: serve_http(job)], ids=["c", "node", "http"])
def test_all_clients_get_their_own_answers(
    serve: Callable[[Job, Path], AbstractContextManager[Ask]], program: Path, model: Path, tmp_path: Path
) -> None:
    job, expected = make_job(model, tmp_path)
    with serve(job, program) as ask:
        (load,) = load_in_turn([ask], REQUESTS, ROUNDS)
    assert len(load.seconds) == REQUESTS and load.wall_s > 0
    assert (load.failed, load.different) == (0, 0)
    assert len(load.held_bytes) == REQUESTS // 10 and min(load.held_bytes) > 1 << 20
    assert compare_outputs(expected, job.outputs) < 1e-5


@pytest.mark.slow
def test_a_server_that_does_not_start_is_an_error(tmp_path: Path, program: Path) -> None:
    (tmp_path / "gone.onnx").write_bytes(b"no model")
    job, _ = make_job(tmp_path / "gone.onnx", tmp_path)
    for serve in (serve_http, lambda job: serve_c(job, program)):
        with pytest.raises(LoadError, match=r"gone\.onnx"), serve(job) as ask:
            ask(CLIENTS)


def test_all_servers_meet_the_same_moods_of_the_machine() -> None:
    order: list[str] = []

    def make_server(name: str) -> Ask:
        def ask(requests: int) -> Load:
            order.append(name)
            return Load("1", 1.0, seconds=[0.1] * requests)

        return ask

    loads = load_in_turn([make_server("a"), make_server("b")], 12, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [(len(load.seconds), load.wall_s) for load in loads] == [(12, 3.0)] * 2


def describe(held: list[int], relative_l2: float = 1e-7, **load: Any) -> dict[str, Any]:
    return measure.describe_load("m", Load("1", 2.0, seconds=[0.5] * 99 + [1.0], held_bytes=held, **load), relative_l2)


def test_a_row_says_what_was_seen() -> None:
    row = describe([100, 101, 102, 102, 102, 102, 102, 103])
    assert (row["requests"], row["requests_per_s"], row["median_s"]) == (100, 50.0, 0.5)
    assert 0.5 <= row["p99_s"] < 1.0
    assert (row["held_bytes"], row["growth_bytes"]) == (103, 0)
    assert measure.find_faults(row) == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (describe([1] * 8, failed=1), "1 requests failed"),
        (describe([1] * 8, different=2), "2 requests differ"),
        (describe([1] * 8, 1e-3), "1e-03 from the original's"),
        (describe([1] * 8, float("nan")), "nan from the original's"),
        (describe([1] * 6 + [2 + MOST_GROWTH_BYTES] * 2), "memory grew by"),
    ],
    ids=["failed", "different", "wrong", "nan", "leak"],
)
def test_faults_are_found(row: dict[str, Any], said: str) -> None:
    (fault,) = measure.find_faults(row)
    assert said in fault


def test_a_file_without_functions_computes_the_same(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "native.onnx"
    copy.write_bytes(model.read_bytes())
    inlined = onnx.load(measure.inline(copy))
    assert not inlined.functions
    np.testing.assert_allclose(
        run_model(inlined, {"x": X})[0], run_model(two_convs(), {"x": X})[0], rtol=1e-6, atol=1e-6
    )


def test_the_page_shows_what_was_measured() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in render(RESULTS).items():
        assert read_block(text, name) == lines
    results = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    for name in results.keys() - {"cluster"}:
        assert (results[name]["clients"], results[name]["requests"]) == (8, 1000)
        assert [fault for row in results[name]["rows"] for fault in measure.find_faults(row)] == []


@since_onnxruntime(19, "has no C library in its package")
def test_a_program_that_cannot_be_built_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "/no/compiler")
    with pytest.raises(LoadError, match="no/compiler"):
        measure.build_program(tmp_path)


def test_arrays_come_through_as_they_were(rng: np.random.Generator) -> None:
    arrays: dict[str, Array] = {"file": rng.standard_normal((2, 3)), "a/b": np.arange(3), "scalar": np.array(1.5)}
    arrived = read_arrays(write_arrays(arrays))
    assert list(arrived) == list(arrays)
    for name, value in arrived.items():
        np.testing.assert_array_equal(value, arrays[name])
        assert value.dtype == arrays[name].dtype
