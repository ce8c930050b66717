"""The sites on the page: a portrait of the model, those replaced with bars and reasons, those left alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx_fft.hints import Wording, tell
from onnx_fft.measure.run import Measurement
from onnx_fft.report.html.bars import Bar, is_slower, make_bar, pair_bars
from onnx_fft.report.numbers import format_growth, format_time, plural
from onnx_fft.report.sentences import describe_measurement, explain_row, name_sites
from onnx_fft.results import Report, Row

MIN_PORTRAIT = 8
"""A model with fewer convolutions has no portrait: the bars of the table say as much."""
MAX_OPEN_ROWS = 12
"""Rows of convolutions left alone that are shown without asking."""
COLUMN = 10
"""Width of a convolution in the portrait, in units of its drawing."""


@dataclass(frozen=True, slots=True)
class Conv:
    """One convolution in a table. `note` is about its bars; `lowering`, `growth` and `others` are "" if left alone."""

    name: str
    geometry: str
    bars: tuple[Bar, ...]
    note: str
    reason: str
    lowering: str = ""
    growth: str = ""
    others: str = ""


@dataclass(frozen=True, slots=True)
class Rect:
    """A bar of the portrait in a drawing 100 units high; `kind` is a class of the style sheet."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Column:
    """A convolution in the portrait, with the words for whoever points at it."""

    title: str
    rects: tuple[Rect, ...]


@dataclass(frozen=True, slots=True)
class Portrait:
    """One column a convolution in the model's order, its height the time."""

    columns: tuple[Column, ...]
    width: int
    label: str
    caption: str


@dataclass(frozen=True, slots=True)
class Convs:
    """What the section shows; `legend` is pairs of a class of the style sheet and its word.

    `kind` is what the operators are called.
    """

    kind: str
    introduction: str
    measurement: tuple[str, ...]
    legend: tuple[tuple[str, str], ...]
    portrait: Portrait | None
    replaced: tuple[Conv, ...]
    tally: tuple[str, ...]
    left: tuple[Conv, ...]
    left_summary: str
    is_left_open: bool


def show_convs(report: Report, wording: Wording) -> Convs:
    """The section on sites; `wording` puts options into words."""
    longest = max((seconds for row in report.rows for seconds in _list_times(row)), default=0.0)
    left = [row for row in report.rows if row.lowering is None]
    codes = Counter(row.code for row in left)
    kind = name_sites(row.op_type for row in report.rows)
    has_portrait = len(report.rows) >= MIN_PORTRAIT and longest
    among_measured = any(row.is_measured for row in report.rows)
    return Convs(
        kind=kind,
        introduction=_introduce(report),
        measurement=() if report.measurement is None else _describe(report.measurement, kind, wording),
        legend=_list_marks(report) if longest else (),
        portrait=_draw_portrait(report.rows, longest) if has_portrait else None,
        replaced=tuple(_show_replaced(row, longest, among_measured, wording) for row in report.replaced),
        tally=tuple(f"{count} {code.replace('-', ' ')}" for code, count in codes.most_common()),
        left=tuple(_show_left(row, longest, among_measured, wording) for row in left),
        left_summary=f"{plural(len(left), kind)} left alone, with reasons",
        is_left_open=len(left) <= MAX_OPEN_ROWS,
    )


def _introduce(report: Report) -> str:
    count, replaced = len(report.rows), len(report.replaced)
    if not count:
        return "The model holds no convolution, DFT or STFT."
    kind = name_sites(row.op_type for row in report.rows)
    source = "are those the cost model predicts"
    if any(row.is_measured for row in report.rows):
        source = f"were measured on this machine, each {kind} alone, unless they say otherwise"
    return f"{replaced} of {plural(count, kind)} replaced. Times {source}; all bars are to one scale."


def _describe(measurement: Measurement, kind: str, wording: Wording) -> tuple[str, ...]:
    """What was timed for how long, what it showed, and its notes."""
    timed = f"{plural(measurement.contests, f'distinct {kind}')} timed"
    known = f", {measurement.cached} of them known from before" if measurement.cached else ""
    left = f"; {measurement.unmeasured} judged by prediction" if measurement.unmeasured else ""
    spent = f"{measurement.spent_s:.0f} of {measurement.budget_s:.0f} s spent"
    notes = (note.tell(wording) for note in measurement.notes)
    return (_set_times(describe_measurement(measurement)), f"{timed}{known}{left}; {spent}.", *notes)


def _list_marks(report: Report) -> tuple[tuple[str, str], ...]:
    replaced, left = report.replaced, len(report.rows) - len(report.replaced)
    marks = [("before", "original"), ("after", "replaced")] if replaced else []
    marks += [("lost", "replaced at a loss")] if any(is_slower(*row.times_s) for row in replaced) else []
    return (*marks, *([("idle", "left alone")] if left else []))


def _draw_portrait(rows: Sequence[Row], longest: float) -> Portrait:
    kind = name_sites(row.op_type for row in rows)
    return Portrait(
        columns=tuple(_draw_column(row, position, longest) for position, row in enumerate(rows)),
        width=len(rows) * COLUMN,
        label=f"Time of {plural(len(rows), kind)} in the model's order; see the tables below",
        caption=f"The model from input to output; the tallest is {format_time(longest)}",
    )


def _draw_column(row: Row, position: int, longest: float) -> Column:
    after = "lost" if is_slower(*row.times_s) else "after"
    times = _list_times(row)
    kinds = ("before", after)[-len(times) :] if row.lowering else ("idle",)
    width = (COLUMN - 2) / len(kinds)
    rects = []
    for number, (seconds, kind) in enumerate(zip(times, kinds, strict=False)):
        height = max(1.0, 98 * seconds / longest)
        rects.append(Rect(position * COLUMN + 1 + number * width, 100 - height, width, height, kind))
    return Column(f"{row.name[:80]}: {' → '.join(map(format_time, times)) or 'time unknown'}", tuple(rects))


def _show_replaced(row: Row, longest: float, among_measured: bool, wording: Wording) -> Conv:
    others = [_describe_option(option, wording) for option in row.options if option["lowering"] != row.lowering]
    return Conv(
        name=row.name,
        geometry=row.geometry or row.op_type,
        bars=pair_bars(*row.times_s, longest),
        note=_note_times(row, among_measured),
        reason=_set_times(explain_row(row, wording)),
        lowering=row.lowering or "",
        growth=format_growth(row.growth_bytes),
        others="; ".join(others),
    )


def _show_left(row: Row, longest: float, among_measured: bool, wording: Wording) -> Conv:
    seconds, _ = row.times_s
    return Conv(
        name=row.name,
        geometry=row.geometry or row.op_type,
        bars=() if seconds is None else (make_bar(seconds, longest, "idle", "takes"),),
        note=_note_times(row, among_measured),
        reason=_set_times(explain_row(row, wording)),
    )


def _list_times(row: Row) -> list[float]:
    """The seconds that are known of a row, the original's first."""
    return [seconds for seconds in row.times_s if seconds is not None]


def _note_times(row: Row, among_measured: bool) -> str:
    """What was predicted, beside measured bars; that bars are predictions, if others are measured."""
    if not among_measured:
        return ""
    if not row.is_measured:
        return "predicted, not measured"
    predicted = [row.predicted_conv_s] + ([row.predicted_s] if row.lowering else [])
    return f"predicted {' → '.join(map(format_time, predicted))}"


def _describe_option(option: dict[str, Any], wording: Wording) -> str:
    """`dft 1.22 ms`, or why it does not apply and what changes that."""
    seconds = option.get("measured_s") or option["predicted_s"]
    if isinstance(seconds, float):
        return f"{option['lowering']} {format_time(seconds)}"
    return ", ".join(filter(None, (str(option["reason"]), tell(option.get("hint", ""), wording))))


def _set_times(reason: str) -> str:
    """A reason with the sign for times in place of the letter x."""
    return re.sub(r"(?<=\d)x(?=[ :;,]|$)", "×", reason)
