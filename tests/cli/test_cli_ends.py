"""How a command ends early: no room on the disk, nobody who reads on, signals. No file is half there."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from onnx_fft.cli import BROKEN_PIPE
from tests.commands import list_files, run

COMMAND = [sys.executable, "-m", "onnx_fft.cli"]

# --- no room ------------------------------------------------------------------------------------------------------


def list_outputs(folder: Path) -> dict[str, Path]:
    """What one rewrite can be told to write, in the order it is put in place."""
    return {"output": folder / "out.onnx", "report": folder / "report.html", "plan": folder / "plan.json"}


def rewrite(model_path: Path) -> int:
    paths = list_outputs(model_path.parent)
    flags = ("--report", paths["report"], "--save-plan", paths["plan"], "--select", "all", "--no-validate")
    return run("rewrite", model_path, paths["output"], *flags)


def fail_at(monkeypatch: pytest.MonkeyPatch, function: str, call: int) -> None:
    """Have one call of a function of `os` find the disk full."""
    original, calls = getattr(os, function), []

    def fail(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == call:
            raise OSError(28, "No space left on device")
        return original(*arguments)

    monkeypatch.setattr(os, function, fail)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_model_report_and_plan_are_written_all_or_none(
    call: int, model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = b"here before"
    for path in list_outputs(model_path.parent).values():
        path.write_bytes(before)
    with monkeypatch.context() as patch:
        fail_at(patch, "fsync", call)
        assert rewrite(model_path) == 5
    said = capsys.readouterr().err
    assert "No space left" in said and "nothing changed" in said
    assert "1 of 1 convolutions replaced" in said, "what was decided is told all the same"
    assert {path.read_bytes() for path in list_outputs(model_path.parent).values()} == {before}
    assert rewrite(model_path) == 0
    assert list_files(model_path.parent) == {"in.onnx", "out.onnx", "report.html", "plan.json"}
    assert before not in {path.read_bytes() for path in list_outputs(model_path.parent).values()}


@pytest.mark.parametrize("call", [1, 2, 3])
def test_what_is_in_place_already_is_named(
    call: int, model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If not the writing but the last step fails, which takes no room."""
    paths = list(list_outputs(model_path.parent).values())
    fail_at(monkeypatch, "replace", call)
    assert rewrite(model_path) == 5
    said = capsys.readouterr().err
    assert f"while putting {str(paths[call - 1])!r} in place" in said
    assert ("nothing changed" in said) == (call == 1)
    for number, path in enumerate(paths):
        assert path.exists() == (number < call - 1)
        assert (f"{str(path)!r} was written before" in said) == (number == call - 2)
    assert not [name for name in list_files(model_path.parent) if name.startswith(".")]


@pytest.mark.slow
def test_a_chart_that_cannot_be_written_leaves_no_report(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    fail_at(monkeypatch, "fsync", 2)
    files = ("--report", model_path.with_name("r.json"), "--plot", model_path.with_name("c.svg"))
    assert run("bench", model_path, model_path, "--budget", "0.01", *files) == 5
    assert list_files(model_path.parent) == {"in.onnx"}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1_000, 20_000, 60_000])
def test_a_real_limit_on_file_sizes(limit: int, model_path: Path) -> None:
    paths = list_outputs(model_path.parent)
    paths["output"].write_bytes(b"here before")

    def set_limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    arguments = ["rewrite", model_path, paths["output"], "--save-plan", paths["plan"], "--report", paths["report"]]
    done = call([*arguments, "--lowering", "matmul"], preexec_fn=set_limit)
    assert (done.returncode, "File too large" in done.stderr) == (5, True), done.stderr
    assert paths["output"].read_bytes() == b"here before"
    assert list_files(model_path.parent) == {"in.onnx", "out.onnx"}


# --- nobody reads on ----------------------------------------------------------------------------------------------


def call(arguments: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([*COMMAND, *map(str, arguments)], text=True, timeout=100, check=False, **streams)


@pytest.fixture
def closed_pipe() -> int:
    """The end to write to of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_closed_output_ends_quietly(flags: list[str], model_path: Path, closed_pipe: int) -> None:
    done = call(["inspect", model_path, *flags], stdout=closed_pipe)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


@pytest.mark.slow
def test_a_rewrite_is_written_even_if_nobody_reads_what_it_says(model_path: Path, closed_pipe: int) -> None:
    arguments = ["rewrite", model_path, model_path.with_name("out.onnx"), "--select", "all"]
    assert call(arguments, stderr=closed_pipe).returncode == BROKEN_PIPE
    assert list_files(model_path.parent) == {"in.onnx", "out.onnx"}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_output_is_an_output_that_cannot_be_written(flags: list[str], model_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = call(["inspect", model_path, *flags], stdout=full)
    assert done.returncode == 5
    assert done.stderr.startswith("onnx-fft: got ") and "No space left" in done.stderr
    assert "Exception" not in done.stderr and "Traceback" not in done.stderr


# --- signals ------------------------------------------------------------------------------------------------------


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """As in a terminal: a shell's background jobs ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send_while_validating(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    def send(*_args: object, **_kwargs: object) -> None:
        try:
            os.kill(os.getpid(), numbers[0])
        finally:  # as if the user were impatient while temporary files go
            for number in numbers[1:]:
                os.kill(os.getpid(), number)
        time.sleep(10)  # a signal may reach another thread first
        raise AssertionError("went on")

    monkeypatch.setattr("onnx_fft.steps.validate", send)


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize(
    "numbers",
    [
        [signal.SIGTERM],
        [signal.SIGHUP],
        [signal.SIGINT],
        [signal.SIGINT, signal.SIGINT, signal.SIGTERM],
        [signal.SIGHUP, signal.SIGHUP],
    ],
)
def test_whatever_ends_a_command_leaves_nothing(
    numbers: list[int], model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onnx_fft.model.saving.MAX_MODEL_BYTES", 40_000)  # so that there are temporary files
    before = {number: signal.getsignal(number) for number in numbers}
    send_while_validating(monkeypatch, *numbers)
    assert run("rewrite", model_path, model_path.with_name("out.onnx"), "--select", "all") == 130
    assert "interrupted" in capsys.readouterr().err
    assert list_files(model_path.parent) == {"in.onnx"}
    assert {number: signal.getsignal(number) for number in numbers} == before


def test_a_signal_that_is_ignored_stays_so(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As SIGHUP is under nohup."""
    seen: list[Any] = []

    def watch(*_args: object, **_kwargs: object) -> None:
        seen.append(signal.getsignal(signal.SIGHUP))
        raise KeyboardInterrupt

    monkeypatch.setattr("onnx_fft.steps.validate", watch)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("rewrite", model_path, model_path.with_name("out.onnx"), "--select", "all") == 130
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [signal.SIG_IGN]


def test_a_timing_process_that_is_killed_is_told_and_leaves_nothing(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    killer, scratch = tmp_path / "killer.py", tmp_path / "scratch"
    killer.write_text("import os; os.kill(os.getpid(), 9)")
    scratch.mkdir()
    monkeypatch.setattr("onnx_fft.timing.launch.WORKER", killer)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert run("bench", model_path, model_path, "--budget", "0.01") == 2
    assert "ended with code -9" in capsys.readouterr().err
    assert list_files(scratch) == set()


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_names_of_full_length_of_no_encoding_and_of_two_lines(
    model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model_path.parent
    names = ["n" * 249 + ".json", os.fsdecode(b"\xff\xfe.json"), "two\nlines.json", "-.json"]
    for name in names:
        report, plan = folder / name, folder / f"p{name[1:]}"
        output = folder / f"{name[:-5]}.onnx"
        flags = ("--report", report, "--save-plan", plan, "--select", "all", "--no-validate")
        assert run("rewrite", model_path, output, *flags) == 0
        json.loads(report.read_text())
        assert run("inspect", output, "--report", report.with_suffix(".html")) == 0
        json.loads(plan.read_text())
        assert run("inspect", output) == 0
    for name in ("n" * 300, "n" * 252 + ".json"):
        for arguments in (["--report", folder / name], ["--save-plan", folder / name]):
            assert run("rewrite", model_path, folder / "o.onnx", *arguments) == 5
        assert run("rewrite", model_path, folder / name) == 5
        assert run("inspect", folder / name) == 2
        assert run("rewrite", model_path, folder / "o.onnx", "--plan", folder / name) == 2
    assert "Traceback" not in capsys.readouterr().err
