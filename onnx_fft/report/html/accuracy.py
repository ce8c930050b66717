"""What was checked, on the page: each replaced convolution against float64, the outputs, the probes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from onnx_fft.checks.convcheck import ConvCheck
from onnx_fft.checks.probes import Probe
from onnx_fft.checks.result import Validation
from onnx_fft.report.html.elements import (
    Markup,
    chip,
    element,
    folded,
    format_error,
    hidden,
    join,
    name_of,
    plural,
    render_legend,
    table,
)

MAX_OPEN_ROWS = 8
"""Rows of outputs that are shown without asking."""
PROBES = {
    "outlier": (
        "One huge value",
        "One input element is set to a huge value. A transform spreads its rounding error over a whole tile, where a "
        "plain sum keeps it to the outputs that the value reaches.",
    ),
    "nan": (
        "One NaN",
        "One input element is set to NaN. In a transform it reaches every output of its tile, in a plain sum those "
        "under the kernel only.",
    ),
    "non-negative": (
        "Signs",
        "The input is made non-negative. Where the original's output is too, rounding may leave values just below "
        "zero, which matters to a square root or a logarithm that follows.",
    ),
}
"""Heading and explanation of each kind of probe."""


def render_accuracy(validation: Validation) -> Markup:
    """The section on the comparison of the two models."""
    words = validation.verdict.removeprefix("same: ").removeprefix("different: ")
    verdict = element("p", _mark(validation.ok), " ", words, class_="lead")
    parts = [element("h2", "Accuracy", id="accuracy"), verdict]
    if validation.bisection is not None:
        parts.append(element("p", element("strong", "Where they part: "), validation.bisection.sentence))
    if validation.convs:
        parts += [
            element("h3", "Each convolution against float64"),
            element(
                "p",
                "Relative L2 error on what the convolution is given in the model, of the replacement and of ONNX "
                "Runtime's own Conv, against a sum in float64. The scale is logarithmic; left is better.",
                class_="quiet",
            ),
            _render_convs(validation.convs),
        ]
    if any(feed.comparisons or feed.error for feed in validation.feeds):
        parts += [element("h3", "Outputs of the model"), _render_outputs(validation)]
    parts += [element("p", f"Note: {note}", class_="quiet") for note in validation.notes]
    return element("section", *parts, aria_labelledby="accuracy")


def render_probes(probes: Sequence[Probe]) -> Markup:
    """The section on hostile inputs."""
    parts = [element("h2", "Probes", id="probes")]
    warnings = sum(probe.is_warning for probe in probes)
    lead = f"{warnings} of {plural(len(probes), 'probe')} found the two models to differ by more than rounding."
    none = "Hostile inputs, on which a transform behaves unlike a plain sum, made no difference here."
    parts.append(element("p", lead if warnings else none, class_="lead"))
    order = {kind: position for position, kind in enumerate(PROBES)}
    ranked = sorted(probes, key=lambda probe: (order.get(probe.kind, len(order)), not probe.is_warning))
    for kind, group in groupby(ranked, key=lambda probe: probe.kind):
        heading, explanation = PROBES.get(kind, (kind, ""))
        items = [element("li", _probe_mark(probe), " ", probe.sentence) for probe in group]
        shown = [element("ul", *items[:MAX_OPEN_ROWS], class_="findings")]
        if rest := items[MAX_OPEN_ROWS:]:
            shown.append(folded(f"{len(rest)} more", element("ul", *rest, class_="findings"), is_open=False))
        parts += [element("h3", heading), element("p", explanation, class_="quiet"), *shown]
    return element("section", *parts, aria_labelledby="probes")


def worst_error(validation: Validation) -> float:
    """The largest relative L2 error of an output whose values say something; NaN where there is none."""
    comparisons = [comparison for feed in validation.feeds for comparison in feed.comparisons]
    errors = [c.relative_l2 for c in comparisons if c.compared and not c.rounding_noise_only]
    return max((error for error in errors if not math.isnan(error)), default=float("nan"))


def _render_convs(checks: Sequence[ConvCheck]) -> Markup:
    values = [v for c in checks for v in (c.relative_l2_rewritten, c.relative_l2_original, c.limit)]
    logs = [math.log10(value) for value in values if 0 < value < math.inf]
    low, high = (math.floor(min(logs)), math.ceil(max(logs) + 0.01)) if logs else (-8, -5)
    rows = [
        (
            name_of(check.name),
            element(
                "div",
                _mark(check.ok),
                _place_dots(check, low, high) if check.all_outputs else check.sentence,
                class_="error",
            ),
            format_error(check.relative_l2_rewritten),
            format_error(check.relative_l2_original),
            format_error(check.limit),
            _count_outputs(check),
        )
        for check in checks
    ]
    words = ("ONNX Runtime's own Conv", "replacement", "limit")
    scale = f"scale {format_error(10.0**low)} to {format_error(10.0**high)}"
    legend = render_legend((*zip(("dot before", "dot after", "tick"), words, strict=True), ("", scale)))
    headings = ("Convolution", "Error", "Replacement", "Own Conv", "Limit", "Outputs checked")
    return join((legend, table("Errors against float64", headings, rows, "checks", numbers=(2, 3, 4, 5))))


def _place_dots(check: ConvCheck, low: int, high: int) -> Markup:
    """The three numbers of a check on the logarithmic scale from 10^low to 10^high."""
    marks = (
        ("tick", check.limit),
        ("dot before", check.relative_l2_original),
        ("dot after", check.relative_l2_rewritten),
    )
    shown = [(kind, min(max(value, 10.0**low), 10.0**high)) for kind, value in marks if not math.isnan(value)]
    places = [(kind, 100 * (math.log10(value) - low) / (high - low)) for kind, value in shown]
    dots = [element("i", class_=kind, style=f"--at:{place:.2f}%") for kind, place in places]
    return element("span", *dots, class_="scale", aria_hidden="true")


def _count_outputs(check: ConvCheck) -> str:
    if not check.all_outputs:
        return "–"
    if check.checked_outputs == check.all_outputs:
        return f"all {check.all_outputs:,}"
    return f"{check.checked_outputs:,} of {check.all_outputs:,}"


def _render_outputs(validation: Validation) -> Markup:
    rows: list[tuple[str, ...]] = []
    for feed in validation.feeds:
        label = element("span", feed.label, class_="geometry")
        if feed.error:
            rows.append((label, join((_mark(False), " ", feed.error)), "–", "–", "–"))
        for c in feed.comparisons:
            said = join((_mark(c.ok), "" if c.ok and not math.isnan(c.relative_l2) else f" {c.sentence}"))
            numbers = map(format_error, (c.relative_l2, c.relative_l2_limit, c.max_abs_error))
            rows.append((join((name_of(c.output), label)), said, *numbers))
    headings = ("Output", "Result", "Relative L2", "Limit", "Largest error")
    shown = table("Outputs compared", headings, rows, "outputs", numbers=(2, 3, 4))
    if len(rows) <= MAX_OPEN_ROWS and validation.ok:
        return shown
    return folded(f"{plural(len(rows), 'comparison')}", shown, is_open=not validation.ok)


def _mark(ok: bool | None) -> Markup:
    return {True: chip("same", "good"), False: chip("different", "bad"), None: chip("not checked", "note")}[ok]


def _probe_mark(probe: Probe) -> Markup:
    if probe.is_warning:
        return chip("differs", "note")
    return join((element("span", "✓", class_="tickmark", aria_hidden="true"), hidden("no difference:")))
