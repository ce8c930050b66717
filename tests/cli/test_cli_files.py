"""What the command line leaves on the disk where something goes wrong: exit codes 3, 4 and 5, and interrupts."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_fft.model.io import LoadedModel
from onnx_fft.model.saving import save_model
from onnx_fft.model.splice import splice
from onnx_fft.validate import validate
from scripts.shared.conv_models import build_conv_model
from scripts.shared.running import list_op_types
from tests.commands import SPEC, list_files, run

# --- code 3: wrong results ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, 1.01, -1.0, float("nan")])
def test_a_wrong_lowering_is_caught_and_nothing_is_written(
    factor: float, model_path: Path, break_matmul: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    break_matmul(factor)
    folder = model_path.parent
    output, report, plan = (folder / name for name in ("out.onnx", "report.json", "plan.json"))
    arguments = ("--lowering", "matmul", "--report", report, "--save-plan", plan)
    assert run("rewrite", model_path, output, *arguments) == 3
    said = capsys.readouterr().err
    assert "different: " in said
    assert "was not written" in said
    assert list_files(folder) == {"in.onnx", "report.json"}
    assert json.loads(report.read_text())["validation"]["ok"] is False
    output.write_bytes(b"here before")
    assert run("rewrite", model_path, output, "--lowering", "matmul") == 3
    assert output.read_bytes() == b"here before"
    assert run("rewrite", model_path, output, "--lowering", "dft") == 0


@pytest.mark.parametrize("original_passes", [True, False])
def test_what_the_checker_newly_refuses_is_not_written(
    original_passes: bool, model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime runs it all the same."""
    model = onnx.load(model_path)
    if not original_passes:
        model.graph.doc_string = "refused"
        onnx.save(model, model_path)

    def splice_wrong(scope: Any, *replacement: Any) -> None:
        splice(scope, *replacement)
        scope.body.doc_string = "refused"

    def refuse(source: onnx.ModelProto | str, **_options: object) -> None:
        model = source if isinstance(source, onnx.ModelProto) else onnx.load(source)
        if model.graph.doc_string:
            raise onnx.checker.ValidationError("not like this")

    monkeypatch.setattr("onnx_fft.model.io.check_model", refuse)
    monkeypatch.setattr("onnx_fft.replacement.splice", splice_wrong)
    code = run("rewrite", model_path, model_path.with_name("out.onnx"), "--select", "all")
    assert code == (3 if original_passes else 0)
    assert ("not like this" in capsys.readouterr().err) == original_passes
    assert ("out.onnx" in list_files(model_path.parent)) != original_passes


def test_validate_fails_on_another_model(
    model_path: Path, break_matmul: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    output = model_path.with_name("out.onnx")
    break_matmul(1.001)
    assert run("rewrite", model_path, output, "--lowering", "matmul", "--no-validate") == 0
    capsys.readouterr()
    assert run("validate", model_path, output) == 3
    said = capsys.readouterr()
    assert said.out.count("different: ") == 1 and said.err == "", "said once, where the result is"
    assert run("validate", model_path, output, "--json") == 3
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert run("validate", model_path, output, "--rtol", "0.5") == 3  # the Conv by itself is still wrong


# --- codes 4 and 5 ------------------------------------------------------------------------------------------------


def test_an_opset_that_cannot_be_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_conv_model(SPEC, opset=12)
    mode = "tf_half_pixel_for_nn"
    node = helper.make_node("Resize", ["a", "b", "b"], ["c"], coordinate_transformation_mode=mode)
    model.functions.append(helper.make_function("f", "F", ["a", "b"], ["c"], [node], [helper.make_opsetid("", 12)]))
    model.opset_import.append(helper.make_opsetid("f", 1))
    path = tmp_path / "in.onnx"
    onnx.save(model, path)
    assert run("rewrite", path, tmp_path / "out.onnx", "--lowering", "dft") == 4
    assert "matmul" in capsys.readouterr().err
    assert run("rewrite", path, tmp_path / "out.onnx", "--opset", "11") == 4
    assert list_files(tmp_path) == {"in.onnx"}


def test_an_output_that_cannot_be_written(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model_path.parent
    existing = folder / "folder.onnx"
    existing.mkdir()
    for output in (existing, folder / "missing" / "out.onnx", model_path / "out.onnx"):
        assert run("rewrite", model_path, output, "--select", "all") == 5
        assert "got output path" in capsys.readouterr().err.replace("\n", " ")
    for flag in ("--report", "--save-plan"):
        assert run("rewrite", model_path, folder / "out.onnx", flag, folder / "missing" / "file.json") == 5
    assert list_files(folder) == {"in.onnx", "folder.onnx"}
    assert list_files(existing) == set()


def test_no_file_of_the_command_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output, plan = tmp_path / "in.onnx", tmp_path / "out.onnx", tmp_path / "plan.json"
    onnx.save(build_conv_model(SPEC), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert run("rewrite", path, output, "--select", "all", "--no-validate", "--save-plan", plan) == 0
    linked = tmp_path / "linked.json"
    linked.symlink_to("in.onnx")
    before = {name: (tmp_path / name).read_bytes() for name in list_files(tmp_path)}
    for flags in (
        ["--report", path],
        ["--save-plan", linked],
        ["--report", output],
        ["--save-plan", tmp_path / "w.bin"],
        ["--report", plan, "--save-plan", plan],
        ["--report", tmp_path / "new.json", "--save-plan", tmp_path / "." / "new.json"],
        ["--plan", plan, "--report", plan],
    ):
        capsys.readouterr()
        assert run("rewrite", path, output, *flags) == 2, flags
        assert "got " in capsys.readouterr().err
    for arguments in (
        ["inspect", path, "--report", path],
        ["rewrite", path, plan, "--plan", plan],
        ["rewrite", path, tmp_path / "w.bin", "--select", "all"],  # though the output would not need it
        ["bench", path, output, "--report", output],
        ["bench", path, output, "--plot", tmp_path / "c.svg", "--report", tmp_path / "c.svg"],
    ):
        assert run(*arguments) == 2, arguments
    assert {name: (tmp_path / name).read_bytes() for name in list_files(tmp_path)} == before


def test_paths_are_checked_before_the_work(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("began to work")

    for name in ("rewrite", "dry_run", "bench"):
        monkeypatch.setattr(f"onnx_fft.cli.verbs.{name}", work)
    missing, output = model_path.parent / "missing", model_path.with_name("out.onnx")
    for arguments in (
        ["rewrite", model_path, missing / "out.onnx"],
        ["rewrite", model_path, output, "--report", missing / "r.json"],
        ["rewrite", model_path, output, "--save-plan", model_path.parent],
        ["inspect", model_path, "--report", missing / "r.html"],
        ["bench", model_path, model_path, "--report", missing / "r.html"],
    ):
        assert run(*arguments) == 5
        assert "got output path" in capsys.readouterr().err


def test_the_model_is_written_before_plan_and_report(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_path.parent

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    files = ("--save-plan", folder / "plan.json", "--report", folder / "report.html")
    assert run("rewrite", model_path, folder / "out.onnx", "--select", "all", "--no-validate", *files) == 5
    assert list_files(folder) == {"in.onnx"}


def test_a_model_of_more_than_one_message_is_validated(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is validated as a file with its constants beside it, because ONNX Runtime takes no larger message."""
    monkeypatch.setattr("onnx_fft.model.saving.MAX_MODEL_BYTES", 40_000)
    seen: list[object] = []

    def watch(original: object, rewritten: object, **options: Any) -> Any:
        seen.append(rewritten)
        return validate(original, rewritten, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("onnx_fft.steps.validate", watch)
    assert run("rewrite", model_path, model_path.with_name("out.onnx"), "--select", "all") == 0
    assert "same: " in capsys.readouterr().err
    assert isinstance(seen[0], LoadedModel) and seen[0].path is not None, "a file, not a message"
    names = sorted(list_files(model_path.parent))
    assert [names[0], names[1]] == ["in.onnx", "out.onnx"]
    assert re.fullmatch(r"out\.onnx\.[0-9a-f]{16}\.data", names[2])


def test_a_wrong_model_leaves_no_data_behind(tmp_path: Path, break_matmul: Callable[[float], None]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    model = build_conv_model(SPEC)
    onnx.save(model, tmp_path / "in" / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    break_matmul(1.5)
    assert run("rewrite", tmp_path / "in" / "m.onnx", tmp_path / "out" / "m.onnx", "--lowering", "matmul") == 3
    assert list_files(tmp_path / "out") == set()


def test_a_full_disk_leaves_what_was_there(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = model_path.with_name("out.onnx")
    output.write_bytes(b"here before")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    assert run("rewrite", model_path, output, "--select", "all", "--no-validate") == 5
    assert "No space left" in capsys.readouterr().err
    assert output.read_bytes() == b"here before"
    assert list_files(model_path.parent) == {"in.onnx", "out.onnx"}


def test_an_interrupt_writes_nothing(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnx_fft.steps.validate", interrupt)
    assert run("rewrite", model_path, model_path.with_name("out.onnx"), "--select", "all") == 130
    assert "interrupted" in capsys.readouterr().err
    assert list_files(model_path.parent) == {"in.onnx"}


def test_external_data_goes_along(tmp_path: Path) -> None:
    folder, target = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    target.mkdir()
    model = build_conv_model(SPEC)
    model.graph.node.append(helper.make_node("Add", ["x", "kept"], ["sum"]))
    model.graph.output.append(helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, (1, 6, 30, 30)))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((6, 30, 30), np.float32), "kept"))
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    assert run("rewrite", folder / "m.onnx", target / "m.onnx", "--select", "all") == 0
    assert list_files(target) == {"m.onnx", "m.bin"}
    assert run("validate", folder / "m.onnx", target / "m.onnx") == 0
    loaded = onnx.load(target / "m.onnx")
    save_model(loaded, tmp_path / "whole.onnx")
    assert "Conv" not in list_op_types(loaded)


@pytest.mark.parametrize("is_input", [True, False])
def test_a_name_that_no_file_can_have(is_input: bool, model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = model_path.with_name("a" * 300)
    for command in (
        ["inspect", long] if is_input else ["inspect", model_path, "--report", long],
        ["rewrite", long, model_path.with_name("o.onnx")] if is_input else ["rewrite", model_path, long],
    ):
        assert run(*command) == (2 if is_input else 5)
        assert "cannot be a file (File name too long)" in capsys.readouterr().err
    assert list_files(model_path.parent) == {"in.onnx"}


def test_termination_ends_as_an_interrupt_does(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With temporary files gone; and what a program around it does about SIGTERM is as before."""
    before = signal.getsignal(signal.SIGTERM)

    def terminate(_descriptor: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("os.fsync", terminate)
    assert run("rewrite", model_path, model_path.with_name("o.onnx"), "--select", "all", "--no-validate") == 130
    assert list_files(model_path.parent) == {"in.onnx"}
    assert signal.getsignal(signal.SIGTERM) is before
