"""The real CUDA provider: its FFT operators, the fragments of both lowerings, whole models, timing. Needs a GPU.

    pytest -m gpu

Every test here is skipped, with the reason, if ONNX Runtime's CUDA provider does not compute an FFT.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from onnx import ModelProto

from onnx_fft import bench, rewrite, validate
from onnx_fft.lowering import list_lowerings
from onnx_fft.lowering.base import Lowering
from onnx_fft.report import describe
from onnx_fft.runtime.contrib import Evaluator
from onnx_fft.runtime.cuda import PROVIDER, exact_providers, find_cuda_problem
from onnx_fft.runtime.profile import run_profiled
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.conv_models import Array, build_conv_model
from scripts.shared.layers import make_spec
from tests.gpu import LIMITS, contrib_node, fft_node, rewrite_for_cuda
from tests.lowered import SPECS, Lowered, assert_right, feed_shape, lower
from tests.models import function_model, if_model, make_open_model, two_convs
from tests.strategies import Trial, trials

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(find_cuda_problem()), reason=f"got {find_cuda_problem()}")]

LOWERINGS = list_lowerings("cuda")


def run_on_gpu(model: ModelProto, feeds: dict[str, Array]) -> tuple[list[Array], Counter[tuple[str, str]]]:
    """The outputs, and how often each operator ran on each provider."""
    outputs, nodes = run_profiled(
        lambda options: ort.InferenceSession(model.SerializeToString(), options, providers=exact_providers()), feeds
    )
    return outputs, Counter((node.op_type, node.provider) for node in nodes)


def fft_model(op_type: str, x: Array, axes: int = 1) -> ModelProto:
    return make_open_model([fft_node(op_type, "x", "y", axes)], {"x": x}, ["y"])


@pytest.fixture(autouse=True)
def _in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles are written to the folder that a test runs in."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_transforms_are_what_numpy_takes_them_for(axes: int, dtype: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 8, 16, 32)).astype(dtype)
    half = run_on_gpu(fft_model("Rfft", x, axes), {"x": x})[0][0]
    (expected,) = cast(list[Array], Evaluator(fft_model("Rfft", x, axes)).run(None, {"x": x}))
    np.testing.assert_allclose(half, expected, rtol=0, atol=LIMITS[dtype] * np.abs(expected).max())
    back = run_on_gpu(fft_model("Irfft", half, axes), {"x": half})[0][0]
    np.testing.assert_allclose(back, x, rtol=0, atol=LIMITS[dtype] * np.abs(x).max())


def test_the_last_of_many_samples_are_divided_as_well() -> None:
    """More than 2^24 samples, a multiple of 128: see `lowering/rfft.py`."""
    rows = (1 << 17) + 3
    x = np.zeros((rows, 65, 2), np.float32)
    x[:, 0, 0] = 128
    (y,), _ = run_on_gpu(fft_model("Irfft", x), {"x": x})
    assert y.shape == (rows, 128)
    np.testing.assert_allclose(y, 1, rtol=1e-5)


def test_complex_mul_broadcasts_leading_dimensions(rng: np.random.Generator) -> None:
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 600, 2), (600, 2)))
    model = make_open_model([contrib_node("ComplexMul", ["a", "b"], "y")], {"a": a, "b": b}, ["y"])
    (y,), _ = run_on_gpu(model, {"a": a, "b": b})
    (expected,) = cast(list[Array], Evaluator(model).run(None, {"a": a, "b": b}))
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
    found = validate(model, rewrite_for_cuda(model, lowering).model)
    assert found.ok, describe(found)
    assert found.verdict.endswith("the CUDA provider took part")


def test_models_are_timed_on_the_gpu() -> None:
    model = two_convs()
    found = bench(model, rewrite_for_cuda(model).model, budget_s=1.0)
    assert found.original.providers[0] == found.rewritten.providers[0] == PROVIDER
    assert found.host.gpu


def test_a_measured_choice_is_made_on_the_gpu() -> None:
    """A causal filter of 4096 taps a channel, for which cuDNN has no good kernel."""
    model = build_conv_model(make_spec((64, 64), (4096,), (8192,), group=64, pads="causal"))
    report = rewrite(model, target="cuda", select="measure", budget_s=5.0, use_cache=False).report
    assert report.measurement is not None
    assert report.measurement.contests == 1
    assert report.measurement.host is not None
    assert report.measurement.host.gpu


def test_two_threads_with_a_session_each(rng: np.random.Generator) -> None:
    """One session for both may not do, see `lowering/rfft.py`."""
    spec = make_spec((4, 4), (31,), (4000,))
    lowered = lower(LOWERINGS[0], spec, LOWERINGS[0].candidates(spec)[0], 17)
    every = [[lowered.make_feeds(feed_shape(spec), rng) for _ in range(50)] for _ in range(2)]

    def run_all(feeds: list[dict[str, Array]]) -> list[Array]:
        session = ort.InferenceSession(lowered.model.SerializeToString(), providers=exact_providers())
        return [session.run(None, each)[0] for each in feeds]

    with ThreadPoolExecutor(2) as pool:
        for feeds, outputs in zip(every, pool.map(run_all, every), strict=True):
            for each, y in zip(feeds, outputs, strict=True):
                assert_right(lowered, each, y)
