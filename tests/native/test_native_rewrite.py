"""`--target native` on whole models: bodies, functions, old IR versions, and what runs a model with FFTConv nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import onnx_fft
import onnx_fft.native
from onnx_fft import bench, inspect, rewrite, validate
from onnx_fft.cost.choose import Request
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.lowering.fftconv import DOMAIN
from onnx_fft.measure.cache import Cache
from onnx_fft.measure.candidates import make_contest
from onnx_fft.measure.single import make_feeds, make_models
from onnx_fft.model.scopes import walk_nodes
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.report import describe
from onnx_fft.runtime.libraries import find_libraries
from scripts.shared.corpus import Array, build_conv_model, executed_op_types, open_session, run_model
from scripts.shared.layers import make_spec
from tests.commands import run
from tests.native.test_fftconv_lowering import assert_close, forced, native_nodes, run_library
from tests.native.test_rewrite import decorated_model
from tests.native.test_rewrite_kinds import BODIES
from tests.recorded import ENVIRONMENT
from tests.small_models import W1, W2, X, assert_same, conv, dump, make_model, two_convs, without

LARGE = make_spec((8, 8), (31, 31), (64, 64), group=8, has_bias=True)

ORT, ONNX = (tuple(map(int, module.__version__.split(".")[:2])) for module in (onnxruntime, onnx))


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a compiler."""
    monkeypatch.setattr(onnx_fft.native, "find_problem", lambda: "got no library")


# --- where convolutions stand -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_and_functions(kind: str) -> None:
    make, feeds, convs = BODIES[kind]
    model = make()
    rewritten = forced(model)
    assert sum(node.domain == DOMAIN for node in walk_nodes(rewritten)) == convs
    assert [function.name for function in rewritten.functions][:1] == ["FFTConv"]
    evaluators = [ReferenceEvaluator(model), ReferenceEvaluator(rewritten)]
    for feed in feeds:
        inputs = {"x": X, **feed}
        assert_same(model, rewritten, inputs, rtol=0)
        assert_close(run_library(rewritten, inputs), run_model(model, inputs))
        if kind != "scan" or ONNX > (1, 16):  # 1.16 does not let the body of a Scan see the original's names either
            before, after = (evaluator.run(None, inputs) for evaluator in evaluators)
            assert_close(after, before)


def test_the_rest_of_the_file_is_kept() -> None:
    model = decorated_model()
    before = dump(model)
    rewritten = forced(model)
    assert dump(model) == before
    rest = ModelProto()
    rest.CopyFrom(rewritten)
    own = [function for function in rest.functions if function.domain == DOMAIN]
    assert [function.name for function in own] == ["FFTConv"]
    rest.functions.remove(own[0])
    imports = [entry for entry in rest.opset_import if entry.domain == DOMAIN]
    assert [entry.version for entry in imports] == [1]
    rest.opset_import.remove(imports[0])
    kept = without(model, [node for node in model.graph.node if node.op_type == "Conv"], set())
    zeros = {tensor.name for tensor in rest.graph.initializer} - {t.name for t in model.graph.initializer}
    assert len(zeros) == 1
    assert without(rest, native_nodes(rest), zeros) == kept
    assert_same(model, rewritten, rtol=0)


def test_weights_and_bias_that_other_nodes_read_or_compute() -> None:
    half = numpy_helper.from_array(W1.astype(np.float16), "half")
    nodes = [
        helper.make_node("Cast", ["half"], ["w"], to=1),
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0, 2, 3], keepdims=0),
        helper.make_node("Concat", ["m", "one"], ["bias"], axis=0),
        conv("x", "y", "w", "bias"),
    ]
    model = make_model(nodes, {"one": np.ones(1, np.float32)})
    model.graph.initializer.append(half)
    rewritten = forced(model)
    (node,) = native_nodes(rewritten)
    assert node.input[2] == "bias"
    assert {tensor.name for tensor in rewritten.graph.initializer} == {node.input[1], "one"}
    assert_same(model, rewritten, rtol=1e-6)
    assert_close(run_library(rewritten, {"x": X}), run_model(model, {"x": X}))


def test_two_steps_give_what_one_does() -> None:
    model = two_convs()
    first = rewrite(model, target="native", select="all", include=["first"]).model
    both = rewrite(first, target="native", select="all", include=["second"]).model
    assert [function.name for function in both.functions] == ["FFTConv", "FFTConvRelu"]
    assert [node.op_type for node in both.graph.node] == ["FFTConvRelu", "FFTConv"]
    assert_same(model, both, rtol=0)
    mixed = rewrite(first, lowering="matmul").model
    assert_same(model, mixed)
    assert_close(run_library(mixed, {"x": X}), run_model(model, {"x": X}))


def test_the_functions_are_not_listed_as_convolutions() -> None:
    rewritten = forced(two_convs())
    assert OPERATOR_DOMAIN == DOMAIN
    assert inspect(rewritten).rows == ()


def test_a_function_of_that_name_which_is_not_ours_is_an_error() -> None:
    model = two_convs()
    other = helper.make_node("Abs", ["X"], ["Y"])
    model.functions.append(
        helper.make_function(DOMAIN, "FFTConv", ["X"], ["Y"], [other], [helper.make_opsetid("", 17)], [])
    )
    with pytest.raises(onnx_fft.OnnxFftError, match=r"got a model with another function onnx_fft::FFTConv"):
        rewrite(model, target="native", select="all")


# --- IR versions --------------------------------------------------------------------------------------------------


def old_model(ir_version: int) -> ModelProto:
    """Two Convs, and weights that are folded at load as long as nobody may override what they are made of."""
    nodes = [
        helper.make_node("Add", ["w1", "w1"], ["twice"]),
        conv("x", "c", "twice", name="first"),
        conv("c", "d", "w2", pads=1, name="second"),
        helper.make_node("Add", ["d", "b1"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    constants = {"w1": W1, "w2": W2, "b1": np.ones((4, 1, 1), np.float32)}
    return make_model(nodes, constants, opset=8, ir_version=ir_version)


def test_initializers_of_ir_3_stay_constants() -> None:
    model = old_model(3)
    assert len(model.graph.input) == 4
    for options in ({"include": ["first"]}, {"include": ["second"]}, {}):
        rewritten = forced(model, **options)
        assert rewritten.ir_version == 8
        assert [value.name for value in rewritten.graph.input] == ["x"]
        before, after = open_session(model), open_session(rewritten)
        assert [value.name for value in after.get_inputs()] == [value.name for value in before.get_inputs()]
        assert after.get_overridable_initializers() == before.get_overridable_initializers() == []
        assert executed_op_types(rewritten, {"x": X}) == executed_op_types(model, {"x": X})
        assert_same(model, rewritten, rtol=0)
        assert_close(run_library(rewritten, {"x": X}), run_model(model, {"x": X}))
        validation = validate(model, rewritten)
        assert validation.ok, describe(validation)


def test_several_lowerings_on_ir_3() -> None:
    """One target after the other, since a plan has the lowerings of one only."""
    model = old_model(3)
    steps: list[dict[str, Any]] = [
        {"target": "native", "include": ["first"]},
        {"target": "standard", "include": ["second"]},
    ]
    for order in (steps, steps[::-1]):
        rewritten = model
        for options in order:
            rewritten = rewrite(rewritten, select="all", **options).model
        onnx.checker.check_model(rewritten, full_check=True)
        assert len(native_nodes(rewritten)) == 1
        assert "Conv" not in {node.op_type for node in rewritten.graph.node}
        assert [value.name for value in rewritten.graph.input] == ["x"]
        assert_same(model, rewritten)


NEWER_IR = pytest.param(10, marks=pytest.mark.skipif(ORT < (1, 18), reason="ONNX Runtime 1.17 reads IR 9 at most"))


@pytest.mark.parametrize("ir_version", [4, 7, NEWER_IR])
def test_what_a_caller_may_override_stays_so(ir_version: int) -> None:
    model = old_model(ir_version)
    model.graph.input.append(helper.make_tensor_value_info("b1", 1, (4, 1, 1)))
    rewritten = forced(model)
    assert rewritten.ir_version == max(8, ir_version)
    assert rewritten.graph.input == model.graph.input
    feeds = {"x": X, "b1": np.full((4, 1, 1), 3, np.float32)}
    assert_same(model, rewritten, feeds, rtol=0)


# --- running a rewritten model ------------------------------------------------------------------------------------


def test_the_library_runs_where_it_is_and_the_functions_elsewhere() -> None:
    rewritten = forced(build_conv_model(LARGE))
    assert executed_op_types(rewritten, {"x": draw(LARGE.in_channels)})["Conv"] == 1
    assert find_libraries([rewritten]) == (onnx_fft.native.library_path(),)
    assert find_libraries([rewritten], [onnx_fft.native.library_path()]) == (onnx_fft.native.library_path(),)
    assert find_libraries([build_conv_model(LARGE)]) == ()


def draw(channels: int) -> Array:
    return np.random.default_rng(5).standard_normal((1, channels, 64, 64)).astype(np.float32)


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


def test_the_command_line_tells_where_the_library_is_missing(
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
    for call in calls:
        assert run(*call) == 0
        said = "".join(capsys.readouterr())
        assert "the native library did not run" in said and "absent.so, which is no file" in said


def test_an_absorbed_activation_is_held_against_float64() -> None:
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


def test_the_measured_choice_has_the_library_as_candidate() -> None:
    request = Request(select="measure", target="native")
    contest = make_contest(LARGE, 17, ((1, 8, 64, 64),), request)
    assert [candidate.plan for candidate in contest.candidates] == [ConvPlan("fftconv", ())]
    before, after = make_models(contest)
    feeds = make_feeds(LARGE, (1, 8, 64, 64))
    assert_close(run_library(after, feeds), run_model(before, feeds))
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
    assert "pass --target native" in capsys.readouterr().err
    assert run("rewrite", source, again, "--plan", plan, "--target", "native") == 2


def test_the_default_target_writes_standard_operators() -> None:
    options: dict[str, Any]
    for options in ({}, {"select": "all"}, {"lowering": "matmul"}):
        rewritten = rewrite(build_conv_model(LARGE), **options).model
        assert not rewritten.functions
        assert {node.domain for node in rewritten.graph.node} <= {""}
