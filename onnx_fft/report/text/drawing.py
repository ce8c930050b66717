"""Any result as lines and tables, and printing them."""

from __future__ import annotations

import io
from functools import singledispatch

from rich.console import Console
from rich.text import Text

from onnx_fft.bench import Benchmark
from onnx_fft.checks.result import Validation
from onnx_fft.doctor import Diagnosis
from onnx_fft.hints import Wording, word_in_python
from onnx_fft.report.text.benchmark import draw_benchmark
from onnx_fft.report.text.diagnosis import draw_diagnosis
from onnx_fft.report.text.report import draw_report
from onnx_fft.report.text.tables import Drawing
from onnx_fft.report.text.validation import draw_validation, summarize_validation
from onnx_fft.results import Report

PIPED_COLUMNS = 10_000
"""The width of what is not a terminal: nothing is folded there, so that a row is a line."""


@singledispatch
def draw(result: object, wording: Wording, columns: int) -> list[Drawing]:
    """What to print of a result in so many columns; `wording` puts options into words."""
    raise TypeError(f"got a {type(result).__name__}; expected a Report, Validation, Benchmark or Diagnosis")


@draw.register
def _(result: Report, wording: Wording, columns: int) -> list[Drawing]:
    return draw_report(result, wording, columns)


@draw.register
def _(result: Validation, wording: Wording, columns: int) -> list[Drawing]:
    return draw_validation(result, wording)


@draw.register
def _(result: Benchmark, wording: Wording, columns: int) -> list[Drawing]:
    return draw_benchmark(result, wording)


@draw.register
def _(result: Diagnosis, wording: Wording, columns: int) -> list[Drawing]:
    return draw_diagnosis(result)


def describe(result: object, wording: Wording = word_in_python) -> str:
    """A Report, Validation, Benchmark or Diagnosis as plain text, a row of a table on one line."""
    console = Console(
        file=io.StringIO(), width=PIPED_COLUMNS, color_system=None, force_terminal=False, force_jupyter=False
    )
    print_result(result, console, wording)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def print_result(result: object, console: Console, wording: Wording = word_in_python) -> None:
    """Print a Report, Validation, Benchmark or Diagnosis; tables fit the width of the console."""
    _print(draw(result, wording, console.width), console)


def print_summary(validation: Validation, console: Console, wording: Wording = word_in_python) -> None:
    """Print what the probes found and the verdict: what matters of a validation beside a report."""
    _print(summarize_validation(validation, wording), console)


def _print(drawings: list[Drawing], console: Console) -> None:
    for drawing in drawings:
        console.print(drawing, soft_wrap=isinstance(drawing, Text), highlight=False)
