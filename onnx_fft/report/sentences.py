"""Results in a sentence, for texts, pages and charts alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnx_fft.hints import Option, Wording, tell
from onnx_fft.measure.run import Measurement
from onnx_fft.report.numbers import format_milliseconds, plural
from onnx_fft.results import Report, Row
from onnx_fft.sites.dft import FOURIER
from onnx_fft.timing.launch import Host
from onnx_fft.timing.stats import describe_ratio
from onnx_fft.units import format_growth, format_size

BUSY_FROM = 0.15
"""Cores that other programs may keep busy without a word about it."""


def describe_host(host: Host) -> str:
    """Where, on what and when something was timed, and whether the machine was busy with something else."""
    threads = "its own choice of threads" if host.threads is None else f"{host.threads} thread(s)"
    text = f"{host.gpu}; " if host.gpu else ""
    text += f"{host.cpu}, {host.cores} logical cores, {host.system}; ONNX Runtime {host.onnxruntime}, {threads}, "
    text += f"all optimizations; {host.date}"
    if (host.busy_cores or 0.0) > BUSY_FROM:
        text += f"; other programs kept {host.busy_cores:.1f} cores busy: measure again on an idle machine"
    return text


def describe_measurement(measurement: Measurement) -> str:
    """The whole model's ratio, and what became of it."""
    if measurement.ratio is None:
        return "no replacement came as far as being timed against the original model"
    verdict = describe_ratio(measurement.ratio)
    return f"whole model {verdict}" if measurement.accepted else f"whole model {verdict}; the original is kept"


def explain_row(row: Row, wording: Wording) -> str:
    """Why an operator is replaced or left alone, and what changes that."""
    warning = f"warning: {row.warning}" if row.warning else ""
    along = f"takes along {', '.join(row.followers)}" if row.followers else ""
    return "; ".join(filter(None, (row.reason, along, tell(row.hint, wording), warning)))


def name_sites(op_types: Iterable[str]) -> str:
    """What the operators of a model that are listed are called together: convolutions, if there are no others."""
    types = set(op_types)
    return "convolution" if types and types.isdisjoint((*FOURIER, "MatMul")) else "operator"


def summarize_report(report: Report, wording: Wording) -> str:
    """How many are replaced, what that saves, what it adds to the file, and how sure a measured choice is."""
    kind = name_sites(row.op_type for row in report.rows)
    text = f"{len(report.replaced)} of {len(report.rows)} {kind}s replaced"
    if report.replaced:
        text += f", {_describe_gain(report)}, {format_growth(report.growth_bytes)}"
        if report.memory_bytes:
            text += f" in the file and {format_growth(report.memory_bytes)} in memory"
    else:
        how = "predicted" if report.measurement is None else "shown"
        text += f": none is {how} to gain, or none can be"
    if warned := sum(bool(row.warning) for row in report.replaced):
        text += f"; {plural(warned, 'warning')}, see why"
    if report.sorted_nodes:
        text += f"; nodes were out of order, {report.sorted_nodes} before what they read, and have been sorted"
    text += _describe_cap(report, "growth", report.max_growth_bytes, "the file may grow by", wording)
    text += _describe_cap(report, "memory", report.max_memory_bytes, "replacements may hold", wording)
    return text if report.measurement is None else f"{text}; {describe_measurement(report.measurement)}"


def _describe_cap(report: Report, code: str, cap: int | None, what: str, wording: Wording) -> str:
    """How many operators a cap costs, "" for none."""
    capped = sum(row.code == code for row in report.rows)
    if cap is None or not capped:
        return ""
    raise_it = tell(("raise that with ", Option(f"max_{code}_bytes")), wording)
    kind = " of memory" if code == "memory" else ""
    return f"; {capped} left alone because {what} {format_size(cap)}{kind} at most: {raise_it}"


def _describe_gain(report: Report) -> str:
    """`measured 9.00 -> 3.00 ms for these`; predicted, unless all replacements were measured."""
    known = [row for row in report.replaced if row.predicted_conv_s is not None]
    if not known:
        return "without which ONNX Runtime does not load the model"
    is_measured = all(row.is_measured for row in known)
    before, after = _sum_times(known, is_measured)
    how = "measured" if is_measured else "predicted"
    gpu = f" on {report.predicted_for}" if report.predicted_for and not is_measured else ""
    return f"{how} {format_milliseconds(before)} -> {format_milliseconds(after)} ms for these{gpu}"


def _sum_times(rows: Sequence[Row], is_measured: bool) -> tuple[float, float]:
    """Seconds of all originals, and of all that replaces them; what is not known counts as nothing."""
    pairs = [
        (row.measured_conv_s, row.measured_s) if is_measured else (row.predicted_conv_s, row.predicted_s)
        for row in rows
    ]
    return sum(before or 0.0 for before, _ in pairs), sum(after or 0.0 for _, after in pairs)
