"""The CUDA provider itself: whether it works, what is said if it does not, and the way to it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

import onnx_fft.measure.run
import onnx_fft.runtime.cuda
import onnx_fft.timing.launch
from onnx_fft import bench, rewrite
from onnx_fft.cost.choose import Request
from onnx_fft.doctor import examine
from onnx_fft.errors import CudaUnavailable
from onnx_fft.measure.run import open_cache
from onnx_fft.options import RewriteOptions
from onnx_fft.report import describe
from onnx_fft.report.sentences import describe_host
from onnx_fft.runtime.cuda import find_cuda_problem
from onnx_fft.timing.worker import make_run
from scripts.bench import layers as bench_layers
from scripts.shared.conv_models import Array, build_conv_model
from scripts.shared.layers import make_spec as make_layer
from tests.commands import list_files, run
from tests.gpu import no_gpu, rewrite_for_cuda
from tests.models import X, two_convs, write_two_convs


@no_gpu
def test_bench_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for lowering in ("rfft", "matmul"):
        onnx.save(rewrite_for_cuda(two_convs(), lowering).model, tmp_path / "out.onnx")
        assert run("bench", write_two_convs(tmp_path), tmp_path / "out.onnx", "--budget", "1s") == 7
        said = capsys.readouterr().err
        assert "got ONNX Runtime" in said and "expected ONNX Runtime's CUDAExecutionProvider" in said
        assert "install onnxruntime-gpu" in said
    with pytest.raises(CudaUnavailable):
        bench(two_convs(), rewrite_for_cuda(two_convs()).model)


@no_gpu
def test_measuring_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_two_convs(tmp_path)
    assert run("rewrite", path, tmp_path / "out.onnx", "--target", "cuda", "--select", "measure") == 7
    assert "to measure with; install onnxruntime-gpu" in capsys.readouterr().err
    assert list_files(tmp_path) == {"in.onnx"}


def test_doctor_reports_the_provider() -> None:
    found = examine()
    (line,) = (line for line in describe(found).splitlines() if line.startswith("CUDA"))
    assert found.to_dict()["cuda_problem"] == find_cuda_problem()
    assert (find_cuda_problem() in line) if find_cuda_problem() else ("was right" in line)


class FakeSession:
    """A CUDA provider that gives back what `respond` makes of the input."""

    respond: Any = None

    def __init__(self, *_: Any, providers: Any) -> None:
        assert providers[0][0] == "CUDAExecutionProvider"

    def run(self, _: Any, feeds: dict[str, Array]) -> list[Array]:
        return [FakeSession.respond(feeds["x"])]


def fail(_: Array) -> Array:
    raise RuntimeError("libcufft.so.12: cannot open shared object file")


@pytest.mark.parametrize(
    "respond, problem",
    [
        (lambda x: x, ""),
        (lambda x: 8 * x, "computes Rfft or Irfft wrongly"),
        (lambda x: np.pad(x, ((0, 0), (0, 1))), "computes Rfft or Irfft wrongly"),
        (fail, "does not compute an FFT (libcufft.so.12"),
    ],
    ids=["works", "unscaled", "another length", "no cuFFT"],
)
def test_a_provider_that_is_listed_has_to_compute(respond: Any, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", FakeSession)
    monkeypatch.setattr(FakeSession, "respond", respond)
    found = find_cuda_problem.__wrapped__()
    assert (problem in found) if problem else (found == "")


@pytest.mark.parametrize(
    "version, options", [("1.17.3", {}), ("1.18.0", {"use_tf32": "0"}), ("1.32.0", {"use_tf32": "0"})]
)
def test_float32_is_asked_for_in_full_where_that_can_be(
    version: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "__version__", version)
    assert onnx_fft.runtime.cuda.exact_providers() == [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


@no_gpu
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_layer_bench_names_what_is_missing(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_layers.main(["--target", "cuda", "--dtype", dtype]) == 2
    assert "expected ONNX Runtime's CUDAExecutionProvider to time layers on" in capsys.readouterr().err


def test_a_run_on_a_device_gives_its_outputs_there() -> None:
    """On the CPU as the device, which is bound the same way."""
    session = ort.InferenceSession(two_convs().SerializeToString(), providers=["CPUExecutionProvider"])
    bound = make_run(ort, session, {"x": X}, "cpu")
    assert bound() is None, "outputs stay on the device"
    plain = cast(list[Array], make_run(ort, session, {"x": X}, "")())[0]
    assert plain.shape == (2, 4, 13, 11)
    with pytest.raises(Exception, match="x"):
        make_run(ort, session, {"x": X[:, :2]}, "cpu")()


def test_a_run_with_text_is_not_bound_to_a_device() -> None:
    text = helper.make_tensor_value_info("t", onnx.TensorProto.STRING, [1])
    other = helper.make_tensor_value_info("u", onnx.TensorProto.STRING, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["t"], ["u"])], "g", [text], [other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = cast(list[Array], make_run(ort, session, {"t": np.array(["a"], object)}, "cpu")())[0]
    assert list(found) == ["a"]


@pytest.fixture
def cpu_for_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU provider in place of the CUDA provider, for a look at the way to it."""
    monkeypatch.setattr(onnx_fft.timing.launch, "PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(onnx_fft.timing.launch, "DEVICE", "cpu")
    monkeypatch.setattr(onnx_fft.timing.launch, "gpu_name", lambda: "some GPU")
    monkeypatch.setattr(sys.modules["onnx_fft.bench"], "check_cuda", lambda _: None)
    monkeypatch.setattr(onnx_fft.measure.run, "check_cuda", lambda _: None)


@pytest.mark.slow
@pytest.mark.usefixtures("cpu_for_gpu")
def test_bench_times_both_models_on_the_gpu() -> None:
    found = bench(two_convs(), rewrite_for_cuda(two_convs(), "matmul").model, budget_s=0.2, profile=True)
    assert (found.nodes, found.rank_op_types(8)) == ((), []), "profiles have the time that launching took"
    assert describe_host(found.host).startswith("some GPU; ")
    assert len(found.original.samples_s) == len(found.rewritten.samples_s) >= 7
    assert found.original.peak_bytes is None, "the memory of the CPU says nothing"


@pytest.mark.slow
@pytest.mark.usefixtures("cpu_for_gpu")
def test_measuring_times_what_is_not_hopeless_on_a_gpu() -> None:
    model = build_conv_model(make_layer((16, 16), (4096,), (8192,), group=16, pads="causal"))
    report = rewrite(model, target="cuda", lowering="matmul", select="measure", budget_s=10.0, use_cache=False).report
    assert report.measurement is not None
    assert report.measurement.contests == 1
    (row,) = report.rows
    assert row.measured_conv_s is not None and row.measured_s is not None
    assert report.measurement.host is not None
    assert report.measurement.host.gpu == "some GPU"


def test_the_cache_knows_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    environments = []
    for name in ("one", "another"):
        monkeypatch.setattr(onnx_fft.measure.run, "gpu_name", lambda name=name: name)
        cache = open_cache(RewriteOptions(), Request(target="cuda"))
        assert cache is not None
        environments.append(cache.environment)
    assert replace(environments[0], gpu="another") == environments[1] != environments[0]


def test_without_a_name_of_the_gpu_nothing_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_fft.measure.run, "gpu_name", lambda: "")
    assert open_cache(RewriteOptions(), Request(target="cuda")) is None
    assert open_cache(RewriteOptions(), Request()) is not None
    assert open_cache(RewriteOptions(use_cache=False), Request()) is None
