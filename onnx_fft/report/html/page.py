"""The page: headline, sections, plan and provenance, in one text without a link to anything outside it."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from onnx_fft.bench import Benchmark
from onnx_fft.checks.result import Validation
from onnx_fft.report.html.accuracy import render_accuracy, render_probes, worst_error
from onnx_fft.report.html.convs import render_convs
from onnx_fft.report.html.elements import (
    Markup,
    element,
    format_error,
    format_growth,
    format_time,
    join,
    name_of,
    plural,
)
from onnx_fft.report.html.timing import render_timing
from onnx_fft.results import Report
from onnx_fft.timing.launch import cpu_model
from onnx_fft.timing.stats import Ratio, describe_verdict, format_bytes

PACKAGES = ("onnx-fft", "onnx", "onnxruntime", "numpy")


def render_report(
    report: Report | None,
    *,
    validation: Validation | None = None,
    benchmark: Benchmark | None = None,
    plan: Mapping[str, Any] | None = None,
    model_name: str = "",
) -> str:
    """A self-contained HTML page of whatever is given; a part that is None is left out.

    `report` None is for a benchmark alone. Names may hold anything.
    """
    title = f"{model_name or 'model'} – onnx-fft report"
    script = Markup(_read("copy.js"))
    sections = [_render_headline(report, validation, benchmark, model_name)]
    if benchmark is not None:
        sections.append(render_timing(benchmark))
    if report is not None:
        sections.append(render_convs(report))
    if validation is not None:
        sections.append(render_accuracy(validation))
    if validation is not None and validation.probes:
        sections.append(render_probes(validation.probes))
    if plan is not None:
        sections.append(_render_plan(plan))
    body = element(
        "body",
        element("main", *sections),
        element("footer", _render_origin(report, validation, benchmark)),
        element("script", script),
    )
    return f"<!DOCTYPE html>\n{element('html', _render_head(title, script), body, lang='en')}\n"


def _render_head(title: str, script: str) -> Markup:
    """The policy forbids whatever is not in the page: no network, and no script but ours."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", Markup(_read("style.css"))),
    )


def _render_headline(
    report: Report | None,
    validation: Validation | None,
    benchmark: Benchmark | None,
    model_name: str,
) -> Markup:
    figures = [_show_speed(report, benchmark)]
    if report is not None:
        figures.append(_show_error(report, validation))
    figures.append(_show_size(report, benchmark))
    return element(
        "header",
        element("p", "onnx-fft report", class_="kicker"),
        element("h1", name_of(model_name or "Model")),
        element("dl", *figures, class_="figures"),
    )


def _figure(term: str, value: str, note: str, kind: str = "") -> Markup:
    return element(
        "div",
        element("dt", term),
        element("dd", value, class_=f"value {kind}".strip()),
        element("dd", note, class_="note"),
    )


def _show_speed(report: Report | None, benchmark: Benchmark | None) -> Markup:
    if benchmark is not None:
        return _show_ratio(benchmark.ratio)
    if report is None or not report.replaced:
        return _figure("Speed", "1×", "nothing is replaced: the model runs as before")
    if report.measurement is not None and report.measurement.ratio is not None:
        return _show_ratio(report.measurement.ratio)
    known = [(row, row.predicted_conv_s) for row in report.rows if row.predicted_conv_s is not None]
    before = sum(seconds for _, seconds in known)
    after = sum(seconds if row.predicted_s is None or not row.lowering else row.predicted_s for row, seconds in known)
    note = f"for the convolutions together, {format_time(before)} → {format_time(after)}; not measured"
    ratio = before / after if after else 1.0
    return _figure("Predicted speed", f"{ratio:.2f}×", note, "good" if ratio > 1 else "bad" if ratio < 1 else "")


def _show_ratio(ratio: Ratio) -> Markup:
    kind = "good" if ratio.is_gain else "bad" if ratio.is_loss else ""
    return _figure("Measured speed", f"{ratio.value:.2f}×", describe_verdict(ratio), kind)


def _show_error(report: Report, validation: Validation | None) -> Markup:
    if validation is None:
        note = "the two models were not run" if report.replaced else "nothing is replaced"
        return _figure("Worst error", "–" if report.replaced else "0", note)
    checked = plural(sum(conv.ok is True for conv in validation.convs), "convolution")
    note = f"relative L2 of an output; {checked} held against float64"
    if not validation.ok:
        return _figure(
            "Worst error", format_error(worst_error(validation)), "the models do not compute the same", "bad"
        )
    return _figure("Worst error", format_error(worst_error(validation)), note)


def _show_size(report: Report | None, benchmark: Benchmark | None) -> Markup:
    growth, original_bytes = (0, None) if report is None else (report.growth_bytes, report.original_bytes)
    if benchmark is not None:
        original_bytes = benchmark.original.file_bytes
        growth = benchmark.rewritten.file_bytes - original_bytes
    if original_bytes is None:
        return _figure("File size", format_growth(growth), "added by the replacements")
    note = f"{format_bytes(original_bytes)} → {format_bytes(original_bytes + growth)}"
    return _figure("File size", format_growth(growth), note if growth else format_bytes(original_bytes))


def _render_plan(plan: Mapping[str, Any]) -> Markup:
    text = json.dumps(plan, indent=2, ensure_ascii=False)
    lead = "What was decided, to keep, edit and replay: save it as plan.json and pass "
    button = element("button", "Copy the plan", type="button", data_copies="plan-text", hidden=True)
    shown = element("pre", text, id="plan-text", tabindex=0, aria_label="The plan as JSON")
    return element(
        "section",
        element("h2", "Plan", id="plan"),
        element("p", lead, element("code", "--plan plan.json"), "."),
        button,
        element("details", element("summary", "Show the plan"), shown, class_="fold"),
        aria_labelledby="plan",
    )


def _render_origin(report: Report | None, validation: Validation | None, benchmark: Benchmark | None) -> Markup:
    facts: list[tuple[str, str]] = []
    if benchmark is not None:
        shapes = (f"{name} {'x'.join(map(str, s)) or 'scalar'}" for name, s in benchmark.input_shapes.items())
        facts += [("Timed on", benchmark.machine.describe()), ("Inputs timed", ", ".join(shapes) or "none")]
        facts += [("Made up", benchmark.made_up)] if benchmark.made_up else []
        facts += [("Library", benchmark.missing)] if benchmark.missing else []
    elif report is not None and report.measurement is not None and report.measurement.machine is not None:
        facts.append(("Timed on", report.measurement.machine.describe()))
    else:
        facts.append(("Machine", f"{cpu_model()}, {platform.system()} {platform.machine()}"))
    if report is not None and report.predicted_for:
        facts.append(("Predicted for", report.predicted_for))
    if validation is not None and validation.engine:
        facts.append(("Original run by", validation.engine))
    seeds = sorted({part.seed for part in (validation, benchmark) if part is not None})
    facts += [("Seed", ", ".join(map(str, seeds)))] if seeds else []
    if report is not None:
        converted = f", converted from {report.converted_from}" if report.converted_from is not None else ""
        facts.append(("Opset", f"{report.opset}{converted}"))
    facts.append(("Versions", ", ".join(_list_versions())))
    facts.append(("Made", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")))
    items = [join((element("dt", term), element("dd", value))) for term, value in facts]
    return join((element("h2", "How this was made"), element("dl", *items, class_="origin")))


def _list_versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:  # onnxruntime is also published under other names
            continue
    return found


def _read(name: str) -> str:
    return files("onnx_fft.report.html").joinpath(name).read_text(encoding="utf-8")
