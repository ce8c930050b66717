"""float64 models, which ONNX Runtime does not load as they are: replaced whatever is gained, so that they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

import onnx_fft
from onnx_fft.checks.sparing import find_unrunnable
from onnx_fft.cost.choose import Decision, Request, choose, limit_growth
from onnx_fft.cost.conv import RUNNABLE_DTYPES
from onnx_fft.fourier.axis import Axis
from onnx_fft.hints import Option, tell
from onnx_fft.model.io import LoadedModel
from onnx_fft.report import describe
from onnx_fft.report.files import write_report
from onnx_fft.sites.spec import SUPPORTED_DTYPES
from scripts.shared.conv_models import build_conv_model, draw_input
from scripts.shared.running import open_session, run_reference, run_with_library
from tests.marks import mark_slow
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


READERS: dict[str, tuple[list[NodeProto], int]] = {
    "Sqrt of Abs": (
        [helper.make_node("Abs", ["c"], ["a"]), helper.make_node("Sqrt", ["a"], ["y"])],
        TensorProto.DOUBLE,
    ),
    "Sqrt": ([helper.make_node("Sqrt", ["c"], ["y"])], TensorProto.DOUBLE),
    "Log": ([helper.make_node("Log", ["c"], ["y"])], TensorProto.DOUBLE),
    "Reciprocal": ([helper.make_node("Reciprocal", ["c"], ["y"])], TensorProto.DOUBLE),
    "Ceil": ([helper.make_node("Ceil", ["c"], ["y"])], TensorProto.DOUBLE),
    "Greater": ([helper.make_node("Greater", ["c", "zero"], ["y"])], TensorProto.BOOL),
    "ArgMax": ([helper.make_node("ArgMax", ["c"], ["y"], axis=3)], TensorProto.INT64),
}
"""What turns on exact zeros behind a Conv from `x` to `c`, and what it makes."""


@pytest.mark.parametrize("reader", mark_slow(list(READERS), lambda name: name != "Greater"))
def test_before_what_turns_on_zeros_it_is_replaced_and_that_is_told(reader: str) -> None:
    """Leaving it would keep a model that nothing runs; what zeros become is in the warning, the hint and a note."""
    tail, kind = READERS[reader]
    weight = np.abs(np.random.default_rng(5).standard_normal((2, 1, 9, 9)))
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], "double", group=2, pads=[4] * 4), *tail]
    values = [info("x", TensorProto.DOUBLE, (1, 2, 24, 24))], [info("y", kind)]
    model = build_model(nodes, *values, {"w": weight, "zero": np.zeros(())})
    result = onnx_fft.rewrite(model)
    (row,) = result.report.rows
    assert row.lowering is not None
    assert "turns on exact zeros, and a transform makes +-1e-16" in row.warning
    assert "convert the model to float32" in tell(row.hint)
    assert result.validation is not None and result.validation.ok
    told = [note for note in result.validation.notes if note.text.startswith("told, not judged: output 'y' on ")]
    assert len(told) == 1 and Option("exclude") in told[0].hint


def test_only_what_follows_from_convs_that_do_not_run_is_spared() -> None:
    """What a float32 Conv is replaced in is judged, whatever else the model holds."""
    single, double = (np.ones((1, 1, 3, 3), dtype) for dtype in (np.float32, np.float64))
    nodes = [
        conv("x", "c1", "w1", name="single", pads=1),
        helper.make_node("Sqrt", ["c1"], ["y1"]),
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        conv("d", "c2", "w2", name="double", pads=1),
        helper.make_node("Sqrt", ["c2"], ["y2"]),
        helper.make_node("Cast", ["c1"], ["e"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["e", "c2"], ["y3"]),
        helper.make_node("Sqrt", ["d"], ["y4"]),
    ]
    kinds = {"y1": TensorProto.FLOAT} | dict.fromkeys(("y2", "y3", "y4"), TensorProto.DOUBLE)
    outputs = [info(name, kind) for name, kind in kinds.items()]
    model = build_model(nodes, [info("x", shape=(1, 1, 8, 8))], outputs, {"w1": single, "w2": double})
    both = onnx_fft.rewrite(model, select="all", validate=False).model
    assert find_unrunnable(LoadedModel(model), LoadedModel(both), ["c2"]) == {"y2"}
    alone = onnx_fft.rewrite(model, select="all", include=["double"], validate=False).model
    assert find_unrunnable(LoadedModel(model), LoadedModel(alone), ["c2"]) == {"y2", "y3", "c2"}
    assert not find_unrunnable(LoadedModel(model), LoadedModel(model), ["c2"])


@pytest.mark.slow
def test_given_inputs_are_judged() -> None:
    """A black border that is the caller's own is no feed to spare."""
    model = build_model(
        [conv("x", "c", "w", name="double", pads=4), helper.make_node("Log", ["c"], ["y"])],
        [info("x", TensorProto.DOUBLE, (1, 1, 24, 24))],
        [info("y", TensorProto.DOUBLE)],
        {"w": np.ones((1, 1, 9, 9))},
    )
    right = onnx_fft.rewrite(model, select="all", validate=False).model
    x = np.zeros((1, 1, 24, 24))
    x[..., 18:, 18:] = np.random.default_rng(6).random((6, 6))
    assert onnx_fft.validate(model, right).ok
    assert not onnx_fft.validate(model, right, inputs={"x": x}).ok


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
