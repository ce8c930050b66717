"""Models with FFTConv nodes, with and without the library: validated, timed, measured, on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import onnx_fft
import onnx_fft.native
from onnx_fft import bench, rewrite, validate
from onnx_fft.cost.choose import Request
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.measure.cache import Cache
from onnx_fft.measure.candidates import make_contest
from onnx_fft.measure.single import make_feeds, make_models
from onnx_fft.report import describe
from onnx_fft.runtime.libraries import find_libraries
from scripts.shared.conv_models import Array, build_conv_model
from scripts.shared.layers import make_spec
from scripts.shared.running import executed_op_types, run_model, run_with_library
from tests.commands import run
from tests.models import W1, conv, make_model
from tests.native.rewritten import assert_close, forced
from tests.recorded import ENVIRONMENT

LARGE = make_spec((8, 8), (31, 31), (64, 64), group=8, has_bias=True)


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a compiler."""
    monkeypatch.setattr(onnx_fft.native, "find_problem", lambda: "got no library")


def test_the_library_runs_if_it_is_there_and_the_functions_elsewhere() -> None:
    rewritten = forced(build_conv_model(LARGE))
    assert executed_op_types(rewritten, {"x": draw(LARGE.in_channels)})["Conv"] == 1
    assert find_libraries([rewritten]) == (onnx_fft.native.library_path(),)
    assert find_libraries([rewritten], [onnx_fft.native.library_path()]) == (onnx_fft.native.library_path(),)
    assert find_libraries([build_conv_model(LARGE)]) == ()


def draw(channels: int) -> Array:
    return np.random.default_rng(5).standard_normal((1, channels, 64, 64)).astype(np.float32)


@pytest.mark.slow
def test_validation_judges_the_library_and_the_functions() -> None:
    original = build_conv_model(LARGE)
    rewritten = forced(original)
    validation = validate(original, rewritten)
    assert validation.ok, describe(validation)
    labels = [feed.label for feed in validation.feeds]
    assert [label.endswith("without the native library") for label in labels] == [False, True]
    (function,) = rewritten.functions
    function.node.append(helper.make_node("Neg", ["Y"], ["Z"]))
    function.output[0] = "Z"
    wrong = validate(original, rewritten)
    assert not wrong.ok
    assert [feed.ok for feed in wrong.feeds] == [True, False]
    assert "without the native library" in wrong.verdict


@pytest.mark.usefixtures("no_library")
def test_validation_without_the_library_says_so() -> None:
    original = build_conv_model(LARGE)
    validation = validate(original, forced(original))
    assert validation.ok, describe(validation)
    assert len(validation.feeds) == 1
    assert any("the native library did not run" in note.text for note in validation.notes)


@pytest.mark.slow
def test_the_command_line_says_if_the_library_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output, plan = (tmp_path / name for name in ("in.onnx", "out.onnx", "plan.json"))
    onnx.save(build_conv_model(LARGE), source)
    calls = (
        ("rewrite", source, output, "--target", "native", "--no-validate", "--save-plan", plan),
        ("rewrite", source, output, "--plan", plan, "--no-validate"),
        ("bench", source, output, "--budget", "0.1"),
    )
    for call in calls:
        assert run(*call) == 0
        assert "the native library did not run" not in "".join(capsys.readouterr())
    monkeypatch.setenv("ONNX_FFT_LIBRARY", str(tmp_path / "absent.so"))
    assert run(*calls[0]) == 6
    assert "absent.so, which is not a file" in capsys.readouterr().err
    for call in calls:
        forced = ("--select", "all") if call is calls[0] else ()
        assert run(*call, *forced) == 0
        said = "".join(capsys.readouterr())
        assert "the native library did not run" in said and "absent.so, which is not a file" in said


def test_a_fused_activation_is_compared_with_float64() -> None:
    nodes = [conv("x", "c", "w1", "b1", name="first"), helper.make_node("Clip", ["c", "low"], ["y"])]
    constants = {"w1": W1, "b1": np.ones(4, np.float32), "low": np.array(-0.25, np.float32)}
    original = make_model(nodes, constants)
    rewritten = forced(original)
    (check,) = validate(original, rewritten).convs
    assert check.ok, check.sentence
    next(attribute for attribute in rewritten.graph.node[0].attribute if attribute.name == "alpha").f = 0.0
    wrong = validate(original, rewritten)
    assert [check.ok for check in wrong.convs] == [False]


def test_bench_times_the_library() -> None:
    original = build_conv_model(LARGE)
    benchmark = bench(original, forced(original), budget_s=0.2, memory=False)
    assert "FFTConv" in benchmark.rewritten.seconds_by_op_type
    assert [(node.name, node.lowering) for node in benchmark.nodes if node.lowering] == [("conv", "fftconv")]


@pytest.mark.slow
def test_the_measured_choice_has_the_library_as_candidate() -> None:
    request = Request(select="measure", target="native")
    contest = make_contest(LARGE, 17, ((1, 8, 64, 64),), request)
    assert [candidate.plan for candidate in contest.candidates] == [ConvPlan("fftconv", ())]
    before, after = make_models(contest)
    feeds = make_feeds(LARGE, (1, 8, 64, 64))
    assert_close(run_with_library(after, feeds), run_model(before, feeds))
    result = rewrite(build_conv_model(LARGE), target="native", select="measure", budget_s=4, use_cache=False)
    (row,) = result.report.rows
    assert row.measured_s is not None


def test_measuring_needs_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONNX_FFT_LIBRARY", str(tmp_path / "absent.so"))
    with pytest.raises(onnx_fft.OnnxFftError, match=r"got ONNX_FFT_LIBRARY="):
        rewrite(build_conv_model(LARGE), target="native", select="measure", use_cache=False)


def test_timings_of_another_build_do_not_count() -> None:
    contest = make_contest(LARGE, 17, ((1, 8, 64, 64),), Request(select="measure", target="native"))
    caches = [Cache(replace(ENVIRONMENT, library=library), Path("cache")) for library in ("", "one", "other")]
    assert len({cache.path(contest) for cache in caches}) == 3


@pytest.mark.slow
def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output, plan = (tmp_path / name for name in ("in.onnx", "out.onnx", "plan.json"))
    onnx.save(build_conv_model(LARGE), source)
    assert run("rewrite", source, output, "--target", "native", "--save-plan", plan) == 0
    assert [node.op_type for node in onnx.load(output).graph.node] == ["FFTConv"]
    again = tmp_path / "again.onnx"
    assert run("rewrite", source, again, "--plan", plan) == 0
    assert again.read_bytes() == output.read_bytes()
    assert run("validate", source, output) == 0
    assert run("rewrite", source, again, "--lowering", "fftconv") == 2
    assert "set --target native to use it" in capsys.readouterr().err
    assert run("rewrite", source, again, "--plan", plan, "--target", "native") == 2


@pytest.mark.slow
def test_the_default_target_writes_standard_operators() -> None:
    choices: tuple[dict[str, Any], ...] = ({}, {"select": "all"}, {"lowering": "matmul"})
    for options in choices:
        rewritten = rewrite(build_conv_model(LARGE), validate=False, **options).model
        assert not rewritten.functions
        assert {node.domain for node in rewritten.graph.node} <= {""}
