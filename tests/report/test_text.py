"""Results as text: every kind, on a terminal and piped, options in the words of the reader; and as files."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import onnx_fft
from onnx_fft.cli.hints import word_as_flag
from onnx_fft.doctor import Diagnosis
from onnx_fft.hints import Note, Option, Wording, word_in_python
from onnx_fft.report.files import write_report
from onnx_fft.report.text.drawing import describe, print_result, print_summary
from onnx_fft.results import Report
from tests.report.results import make_benchmark, make_report, make_row, make_validation

LIBRARY = "/a/rather/long/path/" * 8 + "libonnx_fft.so"
DIAGNOSIS = Diagnosis(
    version="0.1.0",
    python="3.11.7",
    platform="Linux",
    onnxruntime="1.32.0",
    providers=("CPUExecutionProvider",),
    library=LIBRARY,
    origin="compiled here, by GNU 12.2.0",
    isa="avx2",
    profile="/cache/machines/0123.txt",
    relative_l2=2e-7,
    problem="",
    cuda_problem="no GPU",
)
NOTE = Note("shapes were made up", ("pass yours as in ", Option("input_shapes", {"x": (1, 3, 8, 8)})))
LEFT = make_row("a", 1e-3, code="growth", reason="dft needs opset 17", hint=("set ", Option("opset", 17)))
RESULTS: dict[str, Any] = {
    "report": Report((*make_report(6).rows, LEFT), 13, max_growth_bytes=1 << 20),
    "validation": replace(make_validation(), notes=(NOTE,)),
    "benchmark": replace(make_benchmark(name="n" * 100), notes=(NOTE,)),
    "diagnosis": DIAGNOSIS,
}


def print_at(result: Any, columns: int, wording: Wording = word_in_python) -> list[str]:
    """The lines of a result in a terminal of this width."""
    console = Console(width=columns, file=io.StringIO())
    print_result(result, console, wording)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("kind", RESULTS)
def test_a_row_is_a_line_unless_the_terminal_is_narrow(kind: str) -> None:
    described = describe(RESULTS[kind]).splitlines()
    assert described == [line.rstrip() for line in print_at(RESULTS[kind], 10_000)]
    assert onnx_fft.describe(RESULTS[kind]).splitlines() == described
    narrow = print_at(RESULTS[kind], 70)
    tables = [line for line in narrow if not any(line.startswith(each[:70]) for each in described if len(each) > 70)]
    assert tables and all(len(line) <= 70 for line in tables)


@pytest.mark.parametrize(
    ("kind", "python", "flag"),
    [
        ("report", "dft needs opset 17; set opset=17", "dft needs opset 17; set --opset 17"),
        ("report", "at most: raise that with max_growth_bytes", "at most: raise that with --max-growth"),
        ("validation", "input_shapes={'x': (1, 3, 8, 8)}", "--input-shape x:1x3x8x8"),
        ("benchmark", "input_shapes={'x': (1, 3, 8, 8)}", "--input-shape x:1x3x8x8"),
    ],
)
def test_options_are_in_the_words_of_the_reader(kind: str, python: str, flag: str) -> None:
    in_python, on_terminal = describe(RESULTS[kind]), "\n".join(print_at(RESULTS[kind], 10_000, word_as_flag))
    assert python in in_python and "--" not in in_python.replace("--  Conv", "")
    assert flag in on_terminal and python not in on_terminal


def test_verdicts_are_the_last_line() -> None:
    for kind in ("validation", "benchmark"):
        assert describe(RESULTS[kind]).splitlines()[-1] == RESULTS[kind].verdict


def test_a_model_without_convolutions_has_a_summary_and_no_table() -> None:
    assert describe(Report((), 17)) == "0 of 0 operators replaced: none is predicted to gain, or none can be"


def test_a_summary_is_what_matters_beside_a_report() -> None:
    console = Console(width=10_000, file=io.StringIO())
    print_summary(make_validation(), console)
    assert isinstance(console.file, io.StringIO)
    probe, verdict = console.file.getvalue().splitlines()
    assert probe.startswith("probe (nan): one NaN: ") and verdict == "same: 2 feed(s)"


def test_what_is_not_a_result_is_refused() -> None:
    with pytest.raises(TypeError, match="got a dict; expected a Report"):
        describe({})


def test_a_name_is_printed_as_it_is() -> None:
    report = Report((make_row("[bold]a[/bold] :smile:", 1e-3),), 17)
    assert "[bold]a[/bold] :smile:" in describe(report)


def test_json_holds_all_parts(tmp_path: Path) -> None:
    path, report, validation, benchmark = tmp_path / "r.json", make_report(), make_validation(), make_benchmark()
    write_report(path, report, validation=validation, plan={"convs": []})
    assert json.loads(path.read_text()) == json.loads(
        json.dumps(report.to_dict() | {"validation": validation.to_dict()})
    )
    write_report(path, report)
    assert json.loads(path.read_text())["validation"] is None
    write_report(path, None, benchmark=benchmark)
    assert json.loads(path.read_text()) == json.loads(json.dumps(benchmark.to_dict()))
    assert json.loads(path.read_text())["notes"] == []


def test_hints_of_rows_are_in_the_json() -> None:
    assert [row["hint"] for row in RESULTS["report"].to_dict()["rows"]][-2:] == ["", "set opset=17"]
