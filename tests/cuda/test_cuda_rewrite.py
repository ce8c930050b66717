"""--target cuda on whole models: imports, bodies, functions, external data, what is left, validation, errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data

import onnx_fft.runtime.opening
from onnx_fft import describe, rewrite, validate
from onnx_fft.cost.machines import machines_for
from onnx_fft.lowering.columns import weight_spectrum
from onnx_fft.model.scopes import MICROSOFT_DOMAIN
from onnx_fft.provenance import TARGET_KEY
from onnx_fft.runtime.cuda import find_cuda_problem, is_for_cuda, needs_cuda
from scripts.shared.running import list_op_types
from tests.commands import list_files, run
from tests.comparing import assert_only_convs_replaced
from tests.gpu import no_gpu, rewrite_for_cuda
from tests.lowered import executed_ops
from tests.marks import since_onnxruntime
from tests.models import W1, W2, X, conv, function_model, if_model, make_model, two_convs, write_two_convs


def imports(model: ModelProto) -> dict[str, int]:
    return {entry.domain: entry.version for entry in model.opset_import}


def without_contrib(model: ModelProto) -> ModelProto:
    """The model without an import of ONNX Runtime's operators, as most are."""
    kept = [entry for entry in model.opset_import if entry.domain != MICROSOFT_DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def test_the_import_is_added_and_nothing_else_changes() -> None:
    model = without_contrib(two_convs())
    model.metadata_props.add(key="classes", value="cat,dog")
    model.doc_string = "a model"
    rewritten = rewrite_for_cuda(model).model
    assert imports(rewritten) == {"": 17, MICROSOFT_DOMAIN: 1}
    del rewritten.opset_import[1:]
    assert_only_convs_replaced(model, rewritten)
    onnx.checker.check_model(rewrite_for_cuda(model).model, full_check=True)


def test_standard_operators_need_no_import() -> None:
    model = without_contrib(two_convs())
    assert imports(rewrite_for_cuda(model, "matmul").model) == {"": 17}


def test_nodes_say_what_they_are_for() -> None:
    for lowering in ("rfft", "matmul"):
        rewritten = rewrite_for_cuda(two_convs(), lowering).model
        marks = [{entry.key: entry.value for entry in node.metadata_props} for node in rewritten.graph.node]
        assert {mark.get(TARGET_KEY) for mark in marks if mark} == {"cuda"}
        assert is_for_cuda(rewritten)
        assert needs_cuda(rewritten) is (lowering == "rfft")
    assert not is_for_cuda(rewrite(two_convs(), select="all").model)


@pytest.mark.slow
@pytest.mark.parametrize("make", [two_convs, if_model, function_model], ids=lambda make: make.__name__)
@pytest.mark.parametrize("lowering", ["rfft", "matmul", "auto"])
def test_graphs_bodies_and_functions_compute_the_same(make: Any, lowering: str) -> None:
    model = without_contrib(make())
    rewritten = rewrite_for_cuda(model, lowering)
    assert len(rewritten.report.replaced) == len(rewritten.report.rows) > 0
    onnx.checker.check_model(rewritten.model, full_check=True)
    for function in rewritten.model.functions:
        assert MICROSOFT_DOMAIN in {entry.domain for entry in function.opset_import} or lowering == "matmul"
    found = validate(model, rewritten.model)
    assert found.ok, describe(found)
    assert all(check.ok for check in found.convs)


def test_the_verdict_says_who_computed() -> None:
    model = two_convs()
    found = validate(model, rewrite_for_cuda(model).model)
    assert found.ok
    if find_cuda_problem():
        assert found.verdict.endswith("; no GPU took part: NumPy stood in for cuFFT")
        (note,) = (note.text for note in found.notes if note.text.startswith("no GPU took part (ONNX Runtime"))
        assert "NumPy computed Rfft, Irfft and ComplexMul" in note
    else:
        assert found.verdict.endswith("the CUDA provider took part")
    standard = validate(model, rewrite_for_cuda(model, "matmul").model)
    who = "no GPU took part: ONNX Runtime computed on the CPU" if find_cuda_problem() else "the CUDA provider took part"
    assert standard.verdict.endswith(who)
    plain = rewrite(model, lowering="matmul", select="all")
    assert "GPU" not in validate(model, plain.model).verdict
    assert plain.report.predicted_for == ""


def two_float64_convs() -> ModelProto:
    """For ONNX's evaluator: ONNX Runtime has no Conv for float64 on the CPU."""
    nodes = [conv("x", "c1", name="first"), conv("c1", "y", "w2", name="second", pads=1)]
    return make_model(nodes, {"w1": W1.astype(np.float64), "w2": W2.astype(np.float64)}, dtype=TensorProto.DOUBLE)


@no_gpu
@pytest.mark.parametrize("lowering", ["rfft", "matmul"])
def test_the_verdict_says_that_the_evaluator_computed(lowering: str) -> None:
    model = two_float64_convs()
    found = validate(model, rewrite_for_cuda(model, lowering, include=["first"]).model)
    assert found.ok
    assert found.verdict.endswith("; no GPU took part: ONNX's evaluator computed")
    assert any(note.text.startswith("no GPU took part (ONNX Runtime") for note in found.notes)


@pytest.mark.parametrize("make", [two_convs, two_float64_convs], ids=lambda make: make.__name__)
def test_what_a_gpu_refuses_is_not_made_up_for(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a CUDA provider that works, a model that does not load there is wrong, whoever ran the original."""
    rewritten = rewrite_for_cuda(make()).model
    for module in (onnx_fft.runtime.opening, sys.modules["onnx_fft.validate"]):
        monkeypatch.setattr(module, "find_cuda_problem", lambda: "")
    monkeypatch.setattr(onnx_fft.runtime.opening, "exact_providers", lambda: ["CPUExecutionProvider"])
    found = validate(make(), rewritten)
    assert not found.ok
    assert "does not load" in found.verdict and "Rfft" in found.verdict


def test_a_wrong_spectrum_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_fft.lowering.rfft.weight_spectrum", lambda *args: np.conj(weight_spectrum(*args)))
    found = validate(two_convs(), rewrite_for_cuda(two_convs()).model)
    assert not found.ok
    assert found.bisection is not None and found.bisection.sites == ("first",)


def test_a_transform_left_out_is_found() -> None:
    """NumPy's part must not make up for what the model lacks."""
    rewritten = rewrite_for_cuda(two_convs()).model
    (first, *_) = (node for node in rewritten.graph.node if node.op_type == "Irfft")
    first.attribute[0].i = 1
    assert first.attribute[0].name == "signal_ndim"
    assert not validate(two_convs(), rewritten).ok


@no_gpu
def test_the_transforms_run() -> None:
    ran = executed_ops(rewrite_for_cuda(two_convs()).model, {"x": X})
    assert (ran["Rfft"], ran["Irfft"], ran["Conv"]) == (2, 2, 0)


def depthwise(dtype: str, multiplier: int) -> ModelProto:
    weight = np.random.default_rng(1).standard_normal((3 * multiplier, 1, 5, 5)).astype(dtype)
    tensor = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [conv("x", "y", "w", group=3)]
    return make_model(nodes, {"w": weight}, y=(2, 3 * multiplier, 13, 11), dtype=tensor)


@pytest.mark.parametrize(
    "dtype, multiplier, has_one",
    [("float32", 1, True), ("float16", 1, True), ("float64", 1, False), ("float32", 2, False)],
)
def test_complex_mul_is_used_where_it_has_a_kernel_and_broadcasts_rightly(
    dtype: str, multiplier: int, has_one: bool
) -> None:
    ops = list_op_types(rewrite_for_cuda(depthwise(dtype, multiplier)).model)
    assert (ops["ComplexMul"] == 1, ops["Mul"] == 4) == (has_one, not has_one)


def test_what_is_left_has_a_reason() -> None:
    nodes = [conv("x", "c", name="first"), conv("c", "y", "one", name="pointwise", pads=0)]
    model = make_model(nodes, {"w1": W1, "one": np.ones((4, 4, 1, 1), np.float32)})
    first, second = rewrite_for_cuda(model).report.rows
    assert (first.lowering, second.lowering, second.code) == ("rfft", None, "no-lowering")
    assert "one tap along every axis" in second.reason
    assert [row.lowering for row in rewrite_for_cuda(model, "auto").report.rows] == ["rfft", "matmul"]


def test_an_old_model_is_converted_for_rfft_and_not_for_the_other() -> None:
    nodes = [conv("x", "y")]
    model = make_model(nodes, {"w1": W1}, opset=11)
    assert (rewrite_for_cuda(model).report.opset, rewrite_for_cuda(model).report.converted_from) == (13, 11)
    auto = rewrite_for_cuda(model, "auto")
    assert auto.report.opset == 11
    assert [row.lowering for row in auto.report.rows] == ["matmul"]


def test_a_plan_is_replayed_for_its_target() -> None:
    model = two_convs()
    first = rewrite_for_cuda(model)
    again = rewrite(model, plan=first.plan)
    assert again.model == first.model
    assert again.plan["target"] == "cuda"
    assert [row.predicted_s for row in again.report.rows] == [row.predicted_s for row in first.report.rows]


@pytest.mark.slow
def test_the_command_line_writes_validated_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_two_convs(tmp_path)
    out, report = tmp_path / "out.onnx", tmp_path / "report.json"
    assert run("rewrite", path, out, "--target", "cuda", "--select", "all", "--report", report) == 0
    said = capsys.readouterr().err
    assert "2 of 2 convolutions replaced" in said
    gpu = machines_for("cuda")[0].name
    assert f" ms for these on {gpu}, " in said
    assert json.loads(report.read_text())["predicted_for"] == gpu
    assert ("no GPU took part" in said) is bool(find_cuda_problem())
    validation = json.loads(report.read_text())["validation"]
    assert validation["ok"] and len(validation["convs"]) == 2
    assert needs_cuda(onnx.load(out))
    assert run("validate", path, out) == 0


@pytest.mark.slow
def test_a_wrong_model_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onnx_fft.lowering.rfft.weight_spectrum", lambda *args: 1.01 * weight_spectrum(*args))
    path = write_two_convs(tmp_path)
    assert run("rewrite", path, tmp_path / "out.onnx", "--target", "cuda", "--lowering", "rfft") == 3
    assert "was not written" in capsys.readouterr().err
    assert list_files(tmp_path) == {"in.onnx"}


def test_auto_leaves_small_convs_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rewrite", write_two_convs(tmp_path), tmp_path / "out.onnx", "--target", "cuda") == 0
    assert "0 of 2 convolutions replaced" in capsys.readouterr().err
    assert (tmp_path / "out.onnx").read_bytes() == onnx.load(tmp_path / "in.onnx").SerializeToString()


def test_a_lowering_of_another_target_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_two_convs(tmp_path)
    assert run("rewrite", path, tmp_path / "out.onnx", "--target", "cuda", "--lowering", "dft") == 2
    assert "expected one of auto, rfft, matmul; set --target standard" in capsys.readouterr().err
    assert run("rewrite", path, tmp_path / "out.onnx", "--lowering", "rfft") == 2
    assert "set --target cuda" in capsys.readouterr().err


@pytest.mark.slow
@since_onnxruntime(18, "does not find external data of a model given as bytes")
def test_external_data_stays_what_it_was(tmp_path: Path) -> None:
    model = two_convs()
    convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    onnx.save(model, tmp_path / "in.onnx")
    before = [(tmp_path / name).read_bytes() for name in ("in.onnx", "w.bin")]
    arguments = ("--target", "cuda", "--lowering", "rfft", "--include", "second")
    assert run("rewrite", tmp_path / "in.onnx", tmp_path / "out.onnx", *arguments) == 0
    assert [(tmp_path / name).read_bytes() for name in ("in.onnx", "w.bin")] == before
    assert run("validate", tmp_path / "in.onnx", tmp_path / "out.onnx") == 0
    ops = list_op_types(onnx.load(tmp_path / "out.onnx", load_external_data=False))
    assert (ops["Conv"], ops["Rfft"]) == (1, 1)


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.slow
@pytest.mark.parametrize("name, replaced, convs", [("silero_vad", 10, 12), ("crepe_tiny", 6, 6)])
def test_published_models(name: str, replaced: int, convs: int, real_model: Callable[[str], Path]) -> None:
    """The first has its convolutions in nested bodies, the second works along one axis of images."""
    path = real_model(name)
    rewritten = rewrite_for_cuda(path, max_growth_bytes=1 << 30)
    assert (len(rewritten.report.replaced), len(rewritten.report.rows)) == (replaced, convs)
    found = validate(path, rewritten.model)
    assert found.ok, describe(found)
