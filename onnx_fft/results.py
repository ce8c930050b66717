"""What was decided for every convolution and why, as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from onnx_fft.cost.choose import Decision
from onnx_fft.measure.run import Measurement
from onnx_fft.sites.conv import ConvSite
from onnx_fft.sites.spec import describe_spec
from onnx_fft.units import format_growth, format_size

if TYPE_CHECKING:
    from rich.table import Table

FULL_COLUMNS = 120
"""Narrower than this, the table leaves columns out, so that names and reasons are not folded into shreds."""
NUMBERS = ("Conv ms", "FFT ms", "pred.", "growth")
"""Headings of columns that are aligned on the right and never folded."""


@dataclass(frozen=True, slots=True)
class Row:
    """One convolution: its geometry in words, and the lowering that replaces it, None where it is left alone."""

    name: str
    op_type: str
    geometry: str
    lowering: str | None
    code: str
    """Why it is left alone, as a stable word; "" where it is replaced."""
    reason: str
    predicted_conv_s: float | None = None
    predicted_s: float | None = None
    measured_conv_s: float | None = None
    measured_s: float | None = None
    """Of the replacement, or, where none pays, of the fastest that was tried."""
    growth_bytes: int = 0
    options: tuple[dict[str, Any], ...] = ()
    """Every lowering considered, with its predicted seconds or the reason why it does not apply."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a rewrite or of its dry run."""

    rows: tuple[Row, ...]
    opset: int
    converted_from: int | None = None
    """The opset the model had, where it was converted."""
    measurement: Measurement | None = None
    """How the choice was measured, where it was."""
    max_growth_bytes: int | None = None
    """What the file might grow by; None where a plan decided."""
    original_bytes: int | None = None
    """Size of the model before, its external data included."""
    predicted_for: str = ""
    """The GPU that times are predicted for, "" for the CPU that the planner was calibrated on."""

    @property
    def replaced(self) -> tuple[Row, ...]:
        """The convolutions that are replaced."""
        return tuple(row for row in self.rows if row.lowering is not None)

    @property
    def growth_bytes(self) -> int:
        """Bytes all replacements add to the file."""
        return sum(row.growth_bytes for row in self.replaced)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        summary = {"convs": len(self.rows), "replaced": len(self.replaced), "growth_bytes": self.growth_bytes}
        return {
            **summary,
            "max_growth_bytes": self.max_growth_bytes,
            "original_bytes": self.original_bytes,
            "opset": self.opset,
            "converted_from": self.converted_from,
            "predicted_for": self.predicted_for,
            "measurement": None if self.measurement is None else self.measurement.to_dict(),
            "rows": list(map(asdict, self.rows)),
        }

    def summarize(self) -> str:
        """How many are replaced, what that saves, what it adds to the file, and how sure a measured choice is."""
        replaced = self.replaced
        text = f"{len(replaced)} of {len(self.rows)} convolutions replaced"
        if not replaced:
            how = "predicted" if self.measurement is None else "shown"
            text += f": none is {how} to gain, or none can be"
        else:
            is_measured = all(row.measured_s is not None for row in replaced)
            pairs = [
                (row.measured_conv_s, row.measured_s) if is_measured else (row.predicted_conv_s, row.predicted_s)
                for row in replaced
            ]
            before, after = (
                _milliseconds(sum(value or 0.0 for value in values)) for values in zip(*pairs, strict=True)
            )
            where = f" on {self.predicted_for}" if self.predicted_for and not is_measured else ""
            text += f", {'measured' if is_measured else 'predicted'} {before} -> {after} ms for these{where}, "
            text += format_growth(self.growth_bytes)
        if self.max_growth_bytes is not None and (capped := sum(row.code == "growth" for row in self.rows)):
            cap = format_size(self.max_growth_bytes)
            text += f"; {capped} left alone because the file may grow by {cap} at most: raise that with --max-growth"
        return text if self.measurement is None else f"{text}; {self.measurement.describe()}"

    def to_table(self, columns: int = FULL_COLUMNS) -> Table:
        """One row a convolution, with what matters less left out where it has fewer than `FULL_COLUMNS`."""
        from rich.table import Table
        from rich.text import Text

        is_full = columns >= FULL_COLUMNS
        caption = None if is_full else f"geometry and growth: in {FULL_COLUMNS} columns, or piped"
        table = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
        is_measured = any(row.measured_conv_s is not None for row in self.rows)
        for heading, _ in _list_cells(self.rows[0], is_measured, is_full) if self.rows else ():
            is_number = heading in NUMBERS
            table.add_column(heading, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
        for row in self.rows:
            style = {"becomes": "green" if row.lowering else "dim"}
            cells = _list_cells(row, is_measured, is_full)
            table.add_row(*(Text(text, style=style.get(heading, "")) for heading, text in cells))
        return table


def make_report(
    sites: Sequence[ConvSite],
    decisions: Sequence[Decision],
    opset: int,
    converted_from: int | None = None,
    measurement: Measurement | None = None,
    max_growth_bytes: int | None = None,
    original_bytes: int | None = None,
    predicted_for: str = "",
) -> Report:
    """The report on `decisions`, one for each of `sites`."""
    rows = tuple(map(_make_row, sites, decisions))
    return Report(rows, opset, converted_from, measurement, max_growth_bytes, original_bytes, predicted_for)


def _make_row(site: ConvSite, decision: Decision) -> Row:
    return Row(
        name=site.name,
        op_type=site.op_type,
        geometry="" if site.spec is None else describe_spec(site.spec),
        lowering=None if decision.plan is None else decision.plan.lowering,
        code="" if decision.refusal is None else decision.refusal.code,
        reason=decision.reason,
        predicted_conv_s=decision.conv_seconds,
        predicted_s=decision.seconds,
        measured_conv_s=decision.measured_conv_s,
        measured_s=decision.measured_s,
        growth_bytes=decision.growth_bytes,
        options=tuple(
            {
                "lowering": option.lowering,
                "predicted_s": option.seconds,
                "measured_s": option.measured_s,
                "reason": option.reason,
            }
            for option in decision.options
        ),
    )


def _list_cells(row: Row, is_measured: bool, is_full: bool) -> list[tuple[str, str]]:
    """Heading and text of each cell; predicted milliseconds beside measured ones where there are any."""
    conv, fft = _milliseconds(row.predicted_conv_s), _milliseconds(row.predicted_s)
    times = [("Conv ms", conv), ("FFT ms", fft)]
    if is_measured:
        own, other = _milliseconds(row.measured_conv_s), _milliseconds(row.measured_s)
        times = [("Conv ms", own), ("pred.", conv), ("FFT ms", other), ("pred.", fft)]
        times = times if is_full else [cell for cell in times if cell[0] != "pred."]
    geometry = [("geometry", row.geometry or row.op_type)]
    growth = [("growth", format_growth(row.growth_bytes) if row.lowering else "")]
    cells = [("convolution", row.name), *(geometry if is_full else ()), ("becomes", row.lowering or "-"), *times]
    return [*cells, *(growth if is_full else ()), ("why", row.reason)]


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.2f}"
