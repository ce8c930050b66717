"""Results written to a file: a page for the browser, or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx_fft.bench import Benchmark
from onnx_fft.checks.result import Validation
from onnx_fft.hints import Wording, word_in_python
from onnx_fft.model.staging import write_text
from onnx_fft.results import Report

PAGE_SUFFIXES = (".html", ".htm")


def write_report(path: str | Path, report: Report | None, **parts: Any) -> None:
    """Write what `render_report` makes of the same arguments. Raises OutputError."""
    write_text(Path(path), render_report(path, report, **parts))


def render_report(
    path: str | Path,
    report: Report | None,
    *,
    validation: Validation | None = None,
    benchmark: Benchmark | None = None,
    plan: Mapping[str, Any] | None = None,
    model_name: str = "",
    wording: Wording = word_in_python,
) -> str:
    """A page if the name ends in .html or .htm, else JSON; arguments as for `html.page.render_page`.

    The JSON is that of `report`, with that of `validation` in it, or that of `benchmark` alone. The page also shows the
    plan.
    """
    if Path(path).suffix.lower() in PAGE_SUFFIXES:
        from onnx_fft.report.html.page import render_page

        text = render_page(
            report, validation=validation, benchmark=benchmark, plan=plan, model_name=model_name, wording=wording
        )
    else:
        text = json.dumps(_collect(report, validation, benchmark), indent=2)
    return f"{text}\n"


def _collect(report: Report | None, validation: Validation | None, benchmark: Benchmark | None) -> dict[str, Any]:
    """What is given as JSON types."""
    data = {} if benchmark is None else benchmark.to_dict()
    if report is not None:
        data |= report.to_dict() | {"validation": None if validation is None else validation.to_dict()}
    return data
