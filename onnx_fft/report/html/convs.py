"""The convolutions on the page: a portrait of the model, those replaced with bars and reasons, those left alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from onnx_fft.measure.run import Measurement
from onnx_fft.report.html.elements import (
    Markup,
    bar,
    chip,
    element,
    escape,
    folded,
    format_growth,
    format_time,
    is_slower,
    join,
    name_of,
    pair_of_bars,
    plural,
    render_legend,
    table,
)
from onnx_fft.results import Report, Row

MIN_PORTRAIT = 8
"""Convolutions from which on a portrait says more than the bars of the table."""
MAX_OPEN_ROWS = 12
"""Rows of convolutions left alone that are shown without asking."""
COLUMN = 10
"""Width of a convolution in the portrait, in units of its drawing."""


def render_convs(report: Report) -> Markup:
    """The section on convolutions."""
    longest = max((seconds for row in report.rows for seconds in _times(row)), default=0.0)
    left = [row for row in report.rows if row.lowering is None]
    measured = any(map(is_measured, report.rows))
    parts = [element("h2", "Convolutions", id="convolutions"), element("p", _introduce(report), class_="lead")]
    if report.measurement is not None:
        parts += [element("p", text, class_="quiet") for text in _describe_measurement(report.measurement)]
    if longest:
        marks = [("before", "original"), ("after", "replaced")] if report.replaced else []
        marks += [("lost", "replaced at a loss")] if any(is_slower(*row_times(row)) for row in report.replaced) else []
        parts.append(render_legend(marks + ([("idle", "left alone")] if left else [])))
    if len(report.rows) >= MIN_PORTRAIT and longest:
        parts.append(_render_portrait(report.rows, longest))
    if report.replaced:
        rows = [_replaced_cells(row, longest, measured) for row in report.replaced]
        parts += [
            element("h3", "Replaced"),
            table("Replaced convolutions", ("Convolution", "Time", "Decision"), rows, "convs"),
        ]
    if left:
        parts += [element("h3", "Left alone"), _render_left(left, longest, measured)]
    return element("section", *parts, aria_labelledby="convolutions")


def _introduce(report: Report) -> str:
    count, replaced = len(report.rows), len(report.replaced)
    if not count:
        return "The model holds no convolution."
    source = "are those the cost model predicts"
    if any(is_measured(row) for row in report.rows):
        source = "were measured on this machine, each convolution alone, where they do not say otherwise"
    return f"{replaced} of {plural(count, 'convolution')} replaced. Times {source}; all bars are to one scale."


def _describe_measurement(measurement: Measurement) -> list[str]:
    """What was timed for how long, what it showed, and its notes."""
    timed = f"{plural(measurement.contests, 'distinct convolution')} timed"
    known = f", {measurement.cached} of them known from before" if measurement.cached else ""
    left = f"; {measurement.unmeasured} judged by prediction" if measurement.unmeasured else ""
    spent = f"{measurement.spent_s:.0f} of {measurement.budget_s:.0f} s spent"
    return [_set_times(measurement.describe()), f"{timed}{known}{left}; {spent}.", *measurement.notes]


def is_measured(row: Row) -> bool:
    """Whether the times to show for a row are measured ones."""
    return row.measured_conv_s is not None and (row.lowering is None or row.measured_s is not None)


def row_times(row: Row) -> tuple[float | None, float | None]:
    """Seconds of the Conv and, where it is replaced, of what replaces it: both measured, or both predicted."""
    before, after = (
        (row.measured_conv_s, row.measured_s) if is_measured(row) else (row.predicted_conv_s, row.predicted_s)
    )
    return before, after if row.lowering else None


def _render_portrait(rows: Sequence[Row], longest: float) -> Markup:
    """One column a convolution in the model's order, its height the time."""
    columns = []
    for position, row in enumerate(rows):
        after = "lost" if is_slower(*row_times(row)) else "after"
        times, kinds = _times(row), ("before", after) if row.lowering else ("idle",)
        width = (COLUMN - 2) / len(kinds)
        bars = [
            _render_column(position * COLUMN + 1 + i * width, width, seconds / longest, kind)
            for i, (seconds, kind) in enumerate(zip(times, kinds, strict=False))
        ]
        words = f"{row.name[:80]}: {' → '.join(map(format_time, times)) or 'time unknown'}"
        columns.append(element("g", element("title", words), *bars))
    drawing = element(
        "svg",
        *columns,
        viewBox=f"0 0 {len(rows) * COLUMN} 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"Time of {plural(len(rows), 'convolution')} in the model's order; see the tables below",
    )
    caption = element("figcaption", f"The model from input to output; the tallest is {format_time(longest)}")
    return element("figure", drawing, caption, class_="portrait")


def _render_column(x: float, width: float, share: float, kind: str) -> Markup:
    height = max(1.0, 98 * share)
    return element("rect", x=f"{x:g}", y=f"{100 - height:.2f}", width=f"{width:g}", height=f"{height:.2f}", class_=kind)


def _replaced_cells(row: Row, longest: float, among_measured: bool) -> tuple[Markup, Markup, Markup]:
    words = [
        element("p", "Becomes ", chip(row.lowering or "", "good"), f" {format_growth(row.growth_bytes)}"),
        element("p", _set_times(row.reason)),
    ]
    others = [_describe_option(option) for option in row.options if option["lowering"] != row.lowering]
    if others:
        words.append(element("p", "Also considered: " + "; ".join(others) + ".", class_="quiet"))
    return (
        _title_cell(row),
        join((pair_of_bars(*row_times(row), longest), _note_times(row, among_measured))),
        join(words),
    )


def _render_left(rows: Sequence[Row], longest: float, among_measured: bool) -> Markup:
    codes = Counter(row.code for row in rows)
    tally = element(
        "p",
        *(join((chip(f"{count} {code.replace('-', ' ')}"), " ")) for code, count in codes.most_common()),
        class_="tally",
    )
    cells = [
        (
            _title_cell(row),
            _left_time(row, longest, among_measured),
            element("p", _set_times(row.reason)),
        )
        for row in rows
    ]
    listed = table("Convolutions left alone", ("Convolution", "Time", "Reason"), cells, "convs left")
    summary = f"{plural(len(rows), 'convolution')} left alone, with reasons"
    return join((tally, folded(summary, listed, is_open=len(rows) <= MAX_OPEN_ROWS)))


def _title_cell(row: Row) -> Markup:
    return join((name_of(row.name), element("span", row.geometry or row.op_type, class_="geometry")))


def _times(row: Row) -> list[float]:
    """As `row_times`, without what is unknown."""
    return [seconds for seconds in row_times(row) if seconds is not None]


def _left_time(row: Row, longest: float, among_measured: bool) -> Markup:
    seconds, _ = row_times(row)
    return (
        escape("–")
        if seconds is None
        else join((bar(seconds, longest, "idle", "takes"), _note_times(row, among_measured)))
    )


def _note_times(row: Row, among_measured: bool) -> Markup:
    """What was predicted, beside measured bars; a word that bars are predictions, where others are measured."""
    if not among_measured:
        return Markup()
    if not is_measured(row):
        return element("span", "predicted, not measured", class_="geometry")
    predicted = [row.predicted_conv_s] + ([row.predicted_s] if row.lowering else [])
    return element("span", f"predicted {' → '.join(map(format_time, predicted))}", class_="geometry")


def _describe_option(option: dict[str, object]) -> str:
    """`dft 1.22 ms`, or why it does not apply."""
    seconds = option.get("measured_s") or option["predicted_s"]
    return f"{option['lowering']} {format_time(seconds)}" if isinstance(seconds, float) else str(option["reason"])


def _set_times(reason: str) -> str:
    """A reason with the sign for times in place of the letter x."""
    return re.sub(r"(?<=\d)x(?=[ :;,]|$)", "×", reason)
