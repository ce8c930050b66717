"""`validate`: the verdict on pairs made by hand, what calls it refuses, and what it says and leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_fft.checks.interface import compare_interfaces
from onnx_fft.checks.probes import Probe
from onnx_fft.checks.result import Validation
from onnx_fft.errors import InvalidModelError, UsageError
from onnx_fft.report import describe
from onnx_fft.report.text.validation import summarize_validation
from onnx_fft.validate import validate
from scripts.shared.conv_models import Array
from scripts.shared.paths import ROOT
from tests.checks.pairs import make_model, make_pair, text
from tests.marks import mark_slow
from tests.models import FLOAT, W1, conv, relu


def test_a_right_rewrite_passes_with_numbers() -> None:
    result = validate(*make_pair())
    assert result.ok, text(result)
    assert result.engine == "onnxruntime"
    assert len(result.feeds) == 3
    shapes = [comparison.shape for feed in result.feeds for comparison in feed.comparisons]
    assert len(set(shapes)) == 3
    assert all(0 < c.relative_l2 < 1e-5 for feed in result.feeds for c in feed.comparisons)
    [check] = result.convs
    assert check.name == "second"
    assert check.ok is True
    assert check.checked_outputs == check.all_outputs > 0
    assert 0 < check.relative_l2_original < 2e-6
    assert 0 < check.relative_l2_rewritten < 2e-6
    assert result.bisection is None
    assert "1 of 1 replaced operators held against float64" in result.verdict


def test_a_model_is_the_same_as_itself() -> None:
    model, _ = make_pair()
    result = validate(model, model)
    assert result.ok and not result.convs
    assert "0 of 0 replaced operators held against float64" in result.verdict


@pytest.mark.parametrize("wrong", [-2.0, 1.0, 0.01])
def test_a_wrong_weight_fails_and_is_found(wrong: float) -> None:
    result = validate(*make_pair(wrong=wrong))
    assert not result.ok
    assert result.convs[0].ok is False
    assert result.bisection is not None
    assert result.bisection.tensor == "c2"
    assert result.bisection.node == "second"
    assert result.bisection.sites == ("second",)
    assert "'y'" in result.verdict


def test_a_model_against_itself_and_nothing_replaced() -> None:
    original, _ = make_pair()
    result = validate(original, original)
    assert result.ok
    assert result.convs == ()
    assert all(c.max_abs_error == 0 for feed in result.feeds for c in feed.comparisons)


def test_a_saturated_output_is_compared_before_the_saturation() -> None:
    original, rewritten = make_pair(wrong=1.0, tail="Sigmoid")
    for model in (original, rewritten):
        model.graph.initializer.append(numpy_helper.from_array(np.array(-200, np.float32), "deep"))
        model.graph.node.insert(3, helper.make_node("Add", ["c2", "deep"], ["logit"]))
        model.graph.node[-1].input[0] = "logit"
    result = validate(original, rewritten)
    assert not result.ok
    assert "logit" in {c.output for feed in result.feeds for c in feed.comparisons}
    assert "before Sigmoid" in text(result)


def test_another_interface_is_a_failure() -> None:
    original, rewritten = make_pair()
    renamed = make_model(
        [*list(rewritten.graph.node)[:-1], relu("c2", "z")],
        {t.name: numpy_helper.to_array(t) for t in rewritten.graph.initializer},
        output="z",
    )
    for wrong in (renamed, make_model([relu("x", "y")], {}, dtype=TensorProto.FLOAT16)):
        result = validate(original, wrong)
        assert not result.ok
        assert result.verdict.startswith("different: the ")


@pytest.mark.parametrize(
    ("before", "after", "agree"),
    [
        ((FLOAT, ["n", 4, "h"]), (FLOAT, ["n", 4, "h"]), True),
        ((FLOAT, ["n", 4, "h"]), (FLOAT, [1, 4, 20]), True),
        ((FLOAT, None), (FLOAT, [1, 4]), True),
        ((FLOAT, [1, 4]), (FLOAT, [1, 5]), False),
        ((FLOAT, [1, 4]), (FLOAT, [1, 4, 1]), False),
        ((FLOAT, [1, 4]), (TensorProto.DOUBLE, [1, 4]), False),
    ],
)
@pytest.mark.parametrize("side", ["input", "output"])
def test_declared_types_and_lengths_must_agree(before: Any, after: Any, agree: bool, side: str) -> None:
    models = []
    for declared in (before, after):
        model = make_model([relu("x", "y")], {})
        name = "x" if side == "input" else "y"
        getattr(model.graph, side)[0].CopyFrom(helper.make_tensor_value_info(name, *declared))
        models.append(model)
    difference = compare_interfaces(*models)
    assert (difference == "") is agree
    assert agree or (f"the {side}s have" in difference and "instead of float [1, 4]" in difference)


def test_an_output_declared_with_another_length_is_a_failure() -> None:
    original, rewritten = make_pair()
    for model, channels in ((original, 4), (rewritten, 5)):
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, ["n", channels, "h", "w"]))
    result = validate(original, rewritten)
    assert not result.ok
    assert result.verdict == "different: the outputs have 'y' as float [n, 5, h, w] instead of float [n, 4, h, w]"


def test_a_rewritten_model_that_does_not_load_or_run_is_a_verdict() -> None:
    original, rewritten = make_pair()
    rewritten.graph.node[2].op_type = "NoSuchOperator"
    result = validate(original, rewritten)
    assert not result.ok
    assert "does not load" in result.verdict
    original, rewritten = make_pair()
    fixed = numpy_helper.from_array(np.array([1, 4, 64, 64], np.int64), "fixed")
    rewritten.graph.initializer.append(fixed)  # right at the first shape only
    rewritten.graph.node[-1].CopyFrom(helper.make_node("Reshape", ["r2", "fixed"], ["y"]))
    rewritten.graph.node.insert(3, relu("c2", "r2"))
    result = validate(original, rewritten)
    assert result.feeds[0].ok
    assert not result.ok
    assert "does not run" in result.verdict


def test_integer_outputs_from_floats_are_explained() -> None:
    original, rewritten = make_pair(wrong=-2.0)
    for model in (original, rewritten):
        model.graph.node[-1].CopyFrom(helper.make_node("ArgMax", ["c2"], ["y"], axis=1))
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    result = validate(original, rewritten)
    assert not result.ok
    assert "decision on floats" in result.verdict
    assert validate(original, original).ok


def test_an_operator_nobody_knows_is_a_clear_error() -> None:
    model = make_model([helper.make_node("Mystery", ["x"], ["y"], domain="nowhere")], {})
    with pytest.raises(InvalidModelError, match=r"got .*nowhere:Mystery.*expected.*custom_ops"):
        validate(model, model)


def test_wrong_calls_are_errors(tmp_path: Path) -> None:
    original, rewritten = make_pair()
    with pytest.raises(UsageError):
        validate(tmp_path / "missing.onnx", rewritten)
    (tmp_path / "text.onnx").write_text("this is no model")
    with pytest.raises(InvalidModelError):
        validate(original, tmp_path / "text.onnx")
    with pytest.raises(UsageError, match="without x"):
        validate(original, rewritten, inputs={})
    valid = make_model([conv("x", "y", "w", pads=0)], {"w": W1})
    with pytest.raises(InvalidModelError, match="does not run"):
        validate(valid, valid, inputs={"x": np.ones((1, 3, 2, 2), np.float32)})
    with pytest.raises(UsageError, match="expected nx3xhxw"):
        validate(original, rewritten, input_shapes={"x": (1, 4, 8, 8)})
    for wrong in ({"seed": -1}, {"atol": float("inf")}, {"rtol": float("nan")}, {"rtol": -1e-3}):
        with pytest.raises(UsageError, match="expected"):
            validate(original, rewritten, **wrong)


def test_given_inputs_are_used() -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 21, 34)).astype(np.float32)
    result = validate(*make_pair(), inputs={"x": x})
    assert result.ok
    assert [c.shape for feed in result.feeds for c in feed.comparisons] == [(1, 4, 21, 34)]


def as_matrix(w: Array, size: int) -> Array:
    """The 'same' correlation of a line of `size` samples with `w` (odd length), as a `[size, size]` right factor."""
    matrix = np.zeros((size, size), np.float32)
    for k, value in enumerate(w):
        matrix += value * np.eye(size, k=len(w) // 2 - k, dtype=np.float32)
    return matrix


def test_probes_measure_what_spreads() -> None:
    size, w = 64, np.array([1.0, 2.0, 3.0], np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="line", pads=[1, 1])
    original = make_model([node], {"w": w.reshape(1, 1, 3)}, x=(1, 1, size))
    dense = make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": as_matrix(w, size)}, x=(1, 1, size))
    result = validate(original, dense)
    assert result.ok, text(result)
    by_kind = {probe.kind: probe for probe in result.probes}
    assert set(by_kind) == {"outlier", "nan", "non-negative"}
    assert 0 < by_kind["nan"].before <= 3 / size
    assert by_kind["nan"].after == 1.0
    assert "100.0%" in by_kind["nan"].sentence
    assert by_kind["non-negative"].after >= 0
    assert by_kind["nan"].is_warning and not by_kind["non-negative"].is_warning
    (line,) = [line for line in describe(result).splitlines() if line.startswith("probe (nan)")]
    assert line.endswith("so this is expected; it matters only if inputs hold NaN or Inf")
    (line,) = [line for line in describe(result).splitlines() if line.startswith("probe (non-negative)")]
    assert "expected" not in line
    shift = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Sub", ["m", "tiny"], ["y"]),
    ]
    low = make_model(shift, {"w": as_matrix(w, size), "tiny": np.array(1e-6, np.float32)}, x=(1, 1, size))
    zeros = np.zeros((1, 1, size), np.float32)
    zeros[0, 0, 10:30] = 1
    shifted = validate(original, low, inputs={"x": zeros})
    assert shifted.ok, text(shifted)
    falls = next(probe for probe in shifted.probes if probe.kind == "non-negative")
    assert falls.after == pytest.approx(-1e-6)
    assert falls.is_warning
    assert "falls to" in falls.sentence


def test_the_summary_has_a_line_a_kind_of_probe() -> None:
    probes = [Probe("nan", name, f"NaN in {name}", 0.1, after) for name, after in (("a", 0.5), ("b", 1.0), ("c", 0.1))]
    drawn = summarize_validation(Validation(True, "same", 0, "onnxruntime", probes=tuple(probes)))
    lines = list(map(str, drawn))
    assert len(lines) == 2 and lines[1] == "same"
    assert lines[0].startswith("probe (nan): NaN in b") and lines[0].endswith("(1 more outputs likewise)")


@pytest.mark.parametrize(("error", "is_warning"), [(0.0, False), (9e-4, False), (2e-3, True)])
def test_an_outlier_is_a_warning_from_a_thousandth_of_the_rms_on(error: float, is_warning: bool) -> None:
    assert Probe("outlier", "y", "", before=1.0, after=error).is_warning == is_warning


def test_external_data_is_found_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    paths = []
    for name, model in zip(("a", "b"), make_pair(), strict=True):
        folder = tmp_path / name
        folder.mkdir()
        onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
        paths.append(folder / "m.onnx")
    before = sorted(tmp_path.rglob("*"))
    result = validate(*paths)
    assert result.ok, text(result)
    assert result.convs[0].ok is True
    assert sorted(tmp_path.rglob("*")) == before


def test_the_callers_models_are_not_changed() -> None:
    pair = make_pair(wrong=1.0)
    before = [model.SerializeToString() for model in pair]
    validate(*pair)
    assert [model.SerializeToString() for model in pair] == before


def test_the_result_is_json_and_tells_its_seed() -> None:
    for wrong in (0.0, 1.0):
        result = validate(*make_pair(wrong=wrong), seed=1234)
        again = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert again["seed"] == 1234
        assert again["ok"] is (wrong == 0)
        assert again["feeds"][0]["outputs"][0]["output"] == "y"
        lines = describe(result).splitlines()
        assert "1234" in lines[0]
        assert lines[-1] == result.verdict


@pytest.mark.slow
def test_the_script_returns_the_exit_code(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "validate.py"
    original, wrong = make_pair(wrong=1.0)
    onnx.save(original, tmp_path / "a.onnx")
    onnx.save(wrong, tmp_path / "b.onnx")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, script, *arguments], cwd=tmp_path, capture_output=True, text=True)

    same = call("a.onnx", "a.onnx", "--input-shape", "x:1x3x20x20")
    assert same.returncode == 0, same.stderr
    assert same.stdout.splitlines()[-1].startswith("same")
    different = call("a.onnx", "b.onnx", "--json", "--input-shape", "x:1x3x20x20")
    assert different.returncode == 3
    assert json.loads(different.stdout)["ok"] is False
    bad = call("a.onnx", "missing.onnx")
    assert bad.returncode == 2
    assert "expected" in bad.stderr


@pytest.mark.real_model
@pytest.mark.parametrize(
    "name", mark_slow(["rivagan_encoder", "silero_vad", "nmp", "ch_PP-OCRv4_det"], lambda name: name != "silero_vad")
)
def test_real_models_get_feeds_they_run_on(name: str, real_model: Callable[[str], Path]) -> None:
    path = real_model(name)
    result = validate(path, path)
    assert result.ok, text(result)
    assert len(result.feeds) >= 2
    assert all(c.compared for feed in result.feeds for c in feed.comparisons)
