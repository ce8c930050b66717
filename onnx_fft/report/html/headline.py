"""The figures under the page's title: speed, worst error, file size."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_fft.bench import Benchmark
from onnx_fft.checks.result import Validation
from onnx_fft.report.html.accuracy import find_worst_error
from onnx_fft.report.numbers import format_bytes, format_error, format_growth, format_time, plural
from onnx_fft.report.sentences import name_sites
from onnx_fft.results import Report
from onnx_fft.timing.stats import Ratio, describe_verdict


@dataclass(frozen=True, slots=True)
class Figure:
    """One large number, what it is, and a line about it; `kind` is a class of the style sheet: good, bad or "" ."""

    term: str
    value: str
    note: str
    kind: str = ""


def show_figures(
    report: Report | None, validation: Validation | None, benchmark: Benchmark | None
) -> tuple[Figure, ...]:
    """The figures of whatever is given."""
    error = () if report is None else (_show_error(report, validation),)
    return (_show_speed(report, benchmark), *error, _show_size(report, benchmark))


def _show_speed(report: Report | None, benchmark: Benchmark | None) -> Figure:
    if benchmark is not None:
        return _show_ratio(benchmark.ratio)
    if report is None or not report.replaced:
        return Figure("Speed", "1×", "nothing is replaced: the model runs as before")
    if report.measurement is not None and report.measurement.ratio is not None:
        return _show_ratio(report.measurement.ratio)
    if any(row.predicted_conv_s is None for row in report.replaced):
        return Figure("Speed", "–", "ONNX Runtime does not load the original")
    known = [(row, row.predicted_conv_s) for row in report.rows if row.predicted_conv_s is not None]
    before = sum(seconds for _, seconds in known)
    after = sum(seconds if row.predicted_s is None or not row.lowering else row.predicted_s for row, seconds in known)
    kind = name_sites(row.op_type for row in report.rows)
    note = f"for the {kind}s together, {format_time(before)} → {format_time(after)}; not measured"
    ratio = before / after if after else 1.0
    return Figure("Predicted speed", f"{ratio:.2f}×", note, "good" if ratio > 1 else "bad" if ratio < 1 else "")


def _show_ratio(ratio: Ratio) -> Figure:
    kind = "good" if ratio.is_gain else "bad" if ratio.is_loss else ""
    return Figure("Measured speed", f"{ratio.value:.2f}×", describe_verdict(ratio), kind)


def _show_error(report: Report, validation: Validation | None) -> Figure:
    if validation is None:
        note = "the two models were not run" if report.replaced else "nothing is replaced"
        return Figure("Worst error", "–" if report.replaced else "0", note)
    worst = format_error(find_worst_error(validation))
    if not validation.ok:
        return Figure("Worst error", worst, "the models do not compute the same", "bad")
    checked = plural(sum(c.ok is True for c in validation.convs), name_sites(c.op_type for c in validation.convs))
    return Figure("Worst error", worst, f"relative L2 of an output; {checked} held against float64")


def _show_size(report: Report | None, benchmark: Benchmark | None) -> Figure:
    growth, original_bytes = (0, None) if report is None else (report.growth_bytes, report.original_bytes)
    if benchmark is not None:
        original_bytes = benchmark.original.file_bytes
        growth = benchmark.rewritten.file_bytes - original_bytes
    if original_bytes is None:
        return Figure("File size", format_growth(growth), "added by the replacements")
    note = f"{format_bytes(original_bytes)} → {format_bytes(original_bytes + growth)}"
    return Figure("File size", format_growth(growth), note if growth else format_bytes(original_bytes))
