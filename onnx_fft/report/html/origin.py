"""How the page was made: on what machine, with what inputs, seeds and versions."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

from onnx_fft.bench import Benchmark
from onnx_fft.checks.result import Validation
from onnx_fft.hints import Wording
from onnx_fft.host import cpu_model
from onnx_fft.inputs.feeds import format_shape
from onnx_fft.report.sentences import describe_host
from onnx_fft.results import Report

PACKAGES = ("onnx-fft", "onnx", "onnxruntime", "numpy")

Fact = tuple[str, str]


def list_facts(
    report: Report | None, validation: Validation | None, benchmark: Benchmark | None, wording: Wording
) -> tuple[Fact, ...]:
    """Pairs of a term and what it is here."""
    facts = list(_list_hosts(report, benchmark, wording))
    if report is not None and report.predicted_for:
        facts.append(("Predicted for", report.predicted_for))
    if validation is not None and validation.engine:
        facts.append(("Original run by", validation.engine))
    seeds = sorted({part.seed for part in (validation, benchmark) if part is not None})
    facts += [("Seed", ", ".join(map(str, seeds)))] if seeds else []
    if report is not None:
        converted = f", converted from {report.converted_from}" if report.converted_from is not None else ""
        facts.append(("Opset", f"{report.opset}{converted}"))
        facts += [("Changed", change) for change in report.changes]
    facts.append(("Versions", ", ".join(_list_versions())))
    facts.append(("Made", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")))
    return tuple(facts)


def _list_hosts(report: Report | None, benchmark: Benchmark | None, wording: Wording) -> tuple[Fact, ...]:
    """The machine, and what it timed."""
    if benchmark is not None:
        shapes = (f"{name} {format_shape(shape)}" for name, shape in benchmark.input_shapes.items())
        timed = ("Timed on", describe_host(benchmark.host)), ("Inputs timed", ", ".join(shapes) or "none")
        return (*timed, *(("Note", note.tell(wording)) for note in benchmark.notes))
    if report is not None and report.measurement is not None and report.measurement.host is not None:
        return (("Timed on", describe_host(report.measurement.host)),)
    return (("Machine", f"{cpu_model()}, {platform.system()} {platform.machine()}"),)


def _list_versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:  # onnxruntime is also published under other names
            continue
    return found
