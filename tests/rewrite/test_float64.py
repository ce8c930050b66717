"""float64 models, which ONNX Runtime does not load as they are: replaced whatever is gained, so that they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

import onnx_fft
from onnx_fft.cost.choose import Decision, Request, choose, limit_growth
from onnx_fft.cost.conv import RUNNABLE_DTYPES
from onnx_fft.fourier.axis import Axis
from onnx_fft.report import describe
from onnx_fft.report.files import write_report
from onnx_fft.sites.spec import SUPPORTED_DTYPES
from scripts.shared.conv_models import build_conv_model, draw_input
from scripts.shared.running import open_session, run_reference, run_with_library
from tests.models import build_model, conv, info
from tests.strategies import make_spec

SPEC = make_spec([Axis(3, pad_begin=1, pad_end=1, extent=20)] * 2, (4, 4, 1), dtype="float64", has_bias=True)
"""Too small to gain anything."""

by_target = pytest.mark.parametrize("target", ["standard", "native"])


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", SUPPORTED_DTYPES)
def test_what_onnx_runtime_loads(dtype: str, rank: int) -> None:
    model = build_conv_model(make_spec([Axis(3, extent=8)] * rank, (2, 2, 1), dtype=dtype))
    if dtype in RUNNABLE_DTYPES:
        open_session(model)
    else:
        with pytest.raises(Exception, match="Could not find an implementation for Conv"):
            open_session(model)


@by_target
@pytest.mark.parametrize("select", ["auto", "measure", "all"])
def test_a_conv_that_does_not_load_is_replaced(target: str, select: str, native_library: Path) -> None:
    model, feeds = build_conv_model(SPEC), {"x": draw_input(SPEC)}
    rewritten = onnx_fft.rewrite(model, target=target, select=select)
    (row,) = rewritten.report.rows
    assert row.lowering is not None
    assert row.reason == "the original does not load in ONNX Runtime, which has no float64 Conv on CPUs; this does"
    assert row.predicted_conv_s is None
    assert rewritten.validation is not None and rewritten.validation.ok
    assert [check.ok for check in rewritten.validation.convs] == [True]
    (y,) = run_with_library(rewritten.model, feeds)
    (truth,) = run_reference(model, feeds)
    np.testing.assert_allclose(y, truth, atol=1e-13, rtol=0)


def test_results_do_not_compare_with_what_does_not_run(tmp_path: Path) -> None:
    rewritten = onnx_fft.rewrite(build_conv_model(SPEC), select="measure")
    text = describe(rewritten.report)
    assert "1 of 1 convolutions replaced, without which ONNX Runtime does not load the model" in text
    assert "so that the whole model was not compared with it" in text
    page = tmp_path / "page.html"
    write_report(page, rewritten.report, validation=rewritten.validation)
    assert "ONNX Runtime does not load the original" in page.read_text(encoding="utf-8")


def test_a_plan_says_the_same_of_it() -> None:
    model = build_conv_model(SPEC)
    rewritten = onnx_fft.rewrite(model)
    (replayed,) = onnx_fft.rewrite(model, plan=rewritten.plan).report.rows
    assert (replayed.lowering, replayed.predicted_conv_s) == ("matmul", None)


def test_on_gpus_a_gain_is_asked_for() -> None:
    decision = choose(SPEC, 17, Request(target="cuda"))
    assert decision.plan is None
    assert decision.refusal is not None and decision.refusal.code == "no-gain"
    assert decision.conv_seconds is not None


def test_the_file_grows_first_by_what_makes_the_model_run() -> None:
    needed = choose(SPEC, 17, Request())
    assert needed.plan is not None
    paying = Decision(needed.plan, None, conv_seconds=9.0, seconds=1.0, growth_bytes=needed.growth_bytes)
    kept = limit_growth([paying, needed], needed.growth_bytes)
    assert [decision.plan is not None for decision in kept] == [False, True]


def mixed_model() -> ModelProto:
    """A float32 Conv that may gain, and a float64 one behind it."""
    rng = np.random.default_rng(4)
    constants: dict[str, Any] = {"w1": rng.standard_normal((8, 8, 17, 17)).astype(np.float32)}
    constants["w2"] = rng.standard_normal((4, 8, 3, 3))
    nodes = [
        conv("x", "c", name="float32", pads=8),
        helper.make_node("Cast", ["c"], ["d"], to=TensorProto.DOUBLE),
        conv("d", "y", "w2", name="float64", pads=1),
    ]
    y = info("y", TensorProto.DOUBLE, (1, 4, 80, 80))
    return build_model(nodes, [info("x", shape=(1, 8, 80, 80))], [y], constants)


@pytest.mark.slow
def test_beside_it_others_are_measured() -> None:
    report = onnx_fft.rewrite(mixed_model(), select="measure", budget_s=10, use_cache=False).report
    single, double = report.rows
    assert double.lowering == "matmul"
    assert not double.is_measured
    assert single.is_measured
    assert report.measurement is not None and report.measurement.ratio is None
    assert "no float64" in double.reason and "does not load the original" in describe(report)
