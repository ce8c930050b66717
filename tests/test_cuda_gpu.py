"""The real CUDA provider: its FFT operators, the fragments of both lowerings, whole models, timing. Needs a GPU.

    pytest -m gpu

Every test here is skipped, with the reason, where ONNX Runtime's CUDA provider does not compute an FFT.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from corpus import Array, build_conv_model
from hypothesis import given, settings
from lowered import Lowered, assert_right, lower
from onnx import ModelProto, TensorProto, helper
from small_models import function_model, if_model, two_convs
from strategies import Trial, trials
from test_lowering import SPECS, feed_shape

from onnx_fft import bench, rewrite, validate
from onnx_fft.contrib import Evaluator
from onnx_fft.cuda import PROVIDER, exact_providers, find_cuda_problem
from onnx_fft.lowering import TARGETS
from onnx_fft.lowering.base import Lowering
from onnx_fft.model.scopes import MICROSOFT_DOMAIN
from onnx_fft.model.spec import ConvSpec

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(find_cuda_problem()), reason=f"got {find_cuda_problem()}")]

LOWERINGS = TARGETS["cuda"]


def run_on_gpu(model: ModelProto, feeds: dict[str, Array]) -> tuple[list[Array], Counter[tuple[str, str]]]:
    """The outputs, and how often each operator ran on each provider."""
    options = ort.SessionOptions()
    options.enable_profiling = True
    session = ort.InferenceSession(model.SerializeToString(), options, providers=exact_providers())
    outputs = session.run(None, feeds)
    path = Path(session.end_profiling())
    events = json.loads(path.read_text())
    path.unlink()
    nodes = [event["args"] for event in events if event.get("cat") == "Node" and "op_name" in event.get("args", {})]
    return outputs, Counter((node["op_name"], node.get("provider", "")) for node in nodes)


def fft_model(op_type: str, shape: tuple[int, ...], axes: int, dtype: int = TensorProto.FLOAT) -> ModelProto:
    node = helper.make_node(op_type, ["x"], ["y"], domain=MICROSOFT_DOMAIN, signal_ndim=axes, normalized=0, onesided=1)
    x, y = helper.make_tensor_value_info("x", dtype, shape), helper.make_tensor_value_info("y", dtype, None)
    imports = [helper.make_opsetid("", 13), helper.make_opsetid(MICROSOFT_DOMAIN, 1)]
    return helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=imports, ir_version=8)


@pytest.fixture(autouse=True)
def _in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles are written where a test runs."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_transforms_are_what_numpy_takes_them_for(axes: int, dtype: str, rng: np.random.Generator) -> None:
    tensor = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x = rng.standard_normal((3, 8, 16, 32)).astype(dtype)
    half = run_on_gpu(fft_model("Rfft", x.shape, axes, tensor), {"x": x})[0][0]
    (expected,) = Evaluator(fft_model("Rfft", x.shape, axes, tensor)).run(None, {"x": x})
    np.testing.assert_allclose(half, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    back = run_on_gpu(fft_model("Irfft", half.shape, axes, tensor), {"x": half})[0][0]
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-5)


def test_the_last_of_many_samples_are_divided_as_well() -> None:
    """More than 2^24 samples, a multiple of 128: see `lowering/rfft.py`."""
    rows = (1 << 17) + 3
    x = np.zeros((rows, 65, 2), np.float32)
    x[:, 0, 0] = 128
    (y,), _ = run_on_gpu(fft_model("Irfft", x.shape, 1), {"x": x})
    assert y.shape == (rows, 128)
    np.testing.assert_allclose(y, 1, rtol=1e-5)


def test_complex_mul_broadcasts_leading_dimensions(rng: np.random.Generator) -> None:
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 600, 2), (600, 2)))
    node = helper.make_node("ComplexMul", ["a", "b"], ["y"], domain=MICROSOFT_DOMAIN)
    values = [helper.make_tensor_value_info(name, 1, x.shape) for name, x in (("a", a), ("b", b))]
    graph = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("y", 1, a.shape)])
    imports = [helper.make_opsetid("", 13), helper.make_opsetid(MICROSOFT_DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    (y,), _ = run_on_gpu(model, {"a": a, "b": b})
    (expected,) = Evaluator(model).run(None, {"a": a, "b": b})
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def lower_on_gpu(lowering: Lowering, spec: ConvSpec) -> Lowered:
    return lower(lowering, spec, lowering.candidates(spec)[0], 17)


@pytest.mark.parametrize("lowering", LOWERINGS, ids=lambda lowering: lowering.name)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_fragments_run_on_the_gpu_and_are_exact(lowering: Lowering, spec: ConvSpec, rng: np.random.Generator) -> None:
    lowered = lower_on_gpu(lowering, spec)
    feeds = lowered.make_feeds(feed_shape(spec), rng)
    (y,), ran = run_on_gpu(lowered.model, feeds)
    assert_right(lowered, feeds, y)
    needed = {"rfft": {"Rfft", "Irfft"}, "matmul": {"MatMul"}}[lowering.name]
    assert needed <= {op_type for op_type, provider in ran if provider == PROVIDER}, ran


@settings(max_examples=200)
@given(trials())
def test_any_convolution_is_exact(trial: Trial) -> None:
    if trial.find_lowering() not in LOWERINGS or trial.spec.activation is not None:
        return
    lowered = lower(trial.find_lowering(), trial.spec, trial.plan, trial.opset, seed=trial.seed)
    session = ort.InferenceSession(lowered.model.SerializeToString(), providers=exact_providers())
    rng = np.random.default_rng(trial.seed)
    for shape in trial.shapes:
        feeds = lowered.make_feeds(shape, rng)
        assert_right(lowered, feeds, session.run(None, feeds)[0])


@pytest.mark.parametrize("make", [two_convs, if_model, function_model], ids=lambda make: make.__name__)
@pytest.mark.parametrize("lowering", [lowering.name for lowering in LOWERINGS])
def test_whole_models_validate_on_the_gpu(make: Any, lowering: str) -> None:
    model = make()
    found = validate(model, rewrite(model, target="cuda", lowering=lowering, select="all").model)
    assert found.ok, found.describe()
    assert found.verdict.endswith("the CUDA provider took part")


def test_models_are_timed_on_the_gpu() -> None:
    model = two_convs()
    found = bench(model, rewrite(model, target="cuda", select="all").model, budget_s=1.0)
    assert found.original.providers[0] == found.rewritten.providers[0] == PROVIDER
    assert found.machine.gpu


def test_a_measured_choice_is_made_on_the_gpu() -> None:
    model = build_conv_model(SPECS["dense"])
    report = rewrite(model, target="cuda", select="measure", budget_s=5.0, use_cache=False).report
    assert report.measurement is not None
    assert report.measurement.contests >= 0
