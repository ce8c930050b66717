"""The page: templates, style sheet and script put together with what the sections show."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup

from onnx_fft.bench import Benchmark
from onnx_fft.checks.result import Validation
from onnx_fft.hints import Option, Wording, word_in_python
from onnx_fft.report.html.accuracy import show_accuracy, show_probes
from onnx_fft.report.html.convs import show_convs
from onnx_fft.report.html.headline import show_figures
from onnx_fft.report.html.origin import list_facts
from onnx_fft.report.html.timing import show_timing
from onnx_fft.results import Report

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_BREAK_AT_TAG = re.compile(r"\A\s+|(?<=[>}])\s*\n\s*|\s*\n\s*(?=[<{]|\Z)")
_BREAK = re.compile(r"\s*\n\s*")


def render_page(
    report: Report | None,
    *,
    validation: Validation | None = None,
    benchmark: Benchmark | None = None,
    plan: Mapping[str, Any] | None = None,
    model_name: str = "",
    wording: Wording = word_in_python,
) -> str:
    """A self-contained HTML page of whatever is given; a part that is None is left out.

    `report` None is for a benchmark alone. Names may hold anything. `wording` puts options into words.
    """
    script = _read("copy.js")
    return (
        open_templates()
        .get_template("page.html")
        .render(
            title=f"{model_name or 'model'} – onnx-fft report",
            heading=model_name or "Model",
            figures=show_figures(report, validation, benchmark),
            timing=None if benchmark is None else show_timing(benchmark),
            convs=None if report is None else show_convs(report, wording),
            accuracy=None if validation is None else show_accuracy(validation, wording),
            probes=None if validation is None or not validation.probes else show_probes(validation.probes),
            plan=None if plan is None else json.dumps(plan, indent=2, ensure_ascii=False),
            plan_option=wording(Option("plan", "plan.json")),
            origin=list_facts(report, validation, benchmark, wording),
            style=Markup(_read("style.css")),
            script=Markup(script),
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


class _JoinLines(Extension):
    """Takes line breaks out of templates: between tags they would show as gaps; inside a sentence they are spaces."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return _BREAK.sub(" ", _BREAK_AT_TAG.sub("", source))


@cache
def open_templates() -> Environment:
    """The templates; whatever is put into them is escaped unless it is Markup, and a value that is missing raises."""
    return Environment(
        autoescape=True,
        extensions=[_JoinLines],
        finalize=_replace_unprintable,
        loader=FunctionLoader(_read),
        undefined=StrictUndefined,
    )


def _replace_unprintable(value: object) -> object:
    """Text with U+FFFD for what HTML cannot hold: control characters and lone surrogates."""
    return _UNPRINTABLE.sub("\ufffd", value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _read(name: str) -> str:
    return files("onnx_fft.report.html").joinpath(name).read_text(encoding="utf-8")
