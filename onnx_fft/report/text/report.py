"""A rewrite, or its dry run, as text: a table of the sites, what it comes to, and notes."""

from __future__ import annotations

from rich.text import Text

from onnx_fft.hints import Wording
from onnx_fft.report.numbers import format_milliseconds
from onnx_fft.report.sentences import explain_row, name_sites, summarize_report
from onnx_fft.report.text.tables import Drawing, make_lines, make_table
from onnx_fft.results import Report, Row
from onnx_fft.units import format_growth

FULL_COLUMNS = 120
"""In fewer columns the table leaves some out, so that names and reasons are not folded into shreds."""
NUMBERS = ("Conv ms", "own ms", "FFT ms", "pred.", "growth")

Cell = tuple[str, str]
"""Heading and text."""


def draw_report(report: Report, wording: Wording, columns: int = FULL_COLUMNS) -> list[Drawing]:
    """One row a site, the summary, what else changed, and the notes of a measured choice."""
    notes = () if report.measurement is None else report.measurement.notes
    lines = [summarize_report(report, wording), *report.changes, *(note.tell(wording) for note in notes)]
    return [*_draw_table(report, wording, columns), *make_lines(lines)]


def _draw_table(report: Report, wording: Wording, columns: int) -> list[Drawing]:
    if not report.rows:
        return []
    is_full = columns >= FULL_COLUMNS
    is_measured = any(row.measured_conv_s is not None for row in report.rows)
    kind = name_sites(row.op_type for row in report.rows)
    rows = [_list_cells(row, kind, is_measured, is_full, explain_row(row, wording)) for row in report.rows]
    caption = None if is_full else f"geometry and growth: in {FULL_COLUMNS} columns, or piped"
    headings = [heading for heading, _ in rows[0]]
    painted = ([_paint(cell, row) for cell in cells] for row, cells in zip(report.rows, rows, strict=True))
    return [make_table(headings, painted, numbers=NUMBERS, caption=caption)]


def _paint(cell: Cell, row: Row) -> Text:
    """What a site becomes, in a colour."""
    heading, text = cell
    return Text(text, style=("green" if row.lowering else "dim") if heading == "becomes" else "")


def _list_cells(row: Row, kind: str, is_measured: bool, is_full: bool, why: str) -> list[Cell]:
    """The cells of a row; predicted milliseconds beside measured ones, if there are any."""
    conv, fft = format_milliseconds(row.predicted_conv_s), format_milliseconds(row.predicted_s)
    before = "Conv ms" if kind == "convolution" else "own ms"
    times = [(before, conv), ("FFT ms", fft)]
    if is_measured:
        own, other = format_milliseconds(row.measured_conv_s), format_milliseconds(row.measured_s)
        times = [(before, own), ("pred.", conv), ("FFT ms", other), ("pred.", fft)]
        times = times if is_full else [cell for cell in times if cell[0] != "pred."]
    geometry = [("geometry", row.geometry or row.op_type)]
    growth = [("growth", format_growth(row.growth_bytes) if row.lowering else "")]
    cells = [(kind, row.name), *(geometry if is_full else ()), ("becomes", row.lowering or "-"), *times]
    return [*cells, *(growth if is_full else ()), ("why", why)]
