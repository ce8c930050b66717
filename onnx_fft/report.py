"""What was decided for every convolution and why, as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from onnx_fft.measure.run import Measurement
from onnx_fft.model.sites import ConvSite
from onnx_fft.model.spec import describe_spec
from onnx_fft.plan.choose import Decision

if TYPE_CHECKING:
    from rich.table import Table


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
            "opset": self.opset,
            "converted_from": self.converted_from,
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
            text += f", {'measured' if is_measured else 'predicted'} {before} -> {after} ms for these, "
            text += f"{self.growth_bytes / 2**20:+.1f} MiB"
        return text if self.measurement is None else f"{text}; {self.measurement.describe()}"

    def to_table(self) -> Table:
        """One line a convolution."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("convolution", overflow="fold")
        table.add_column("geometry", overflow="fold")
        table.add_column("becomes")
        is_measured = any(row.measured_conv_s is not None for row in self.rows)
        for heading in (*_time_headings(is_measured), "MiB"):
            table.add_column(heading, justify="right")
        table.add_column("why", overflow="fold")
        for row in self.rows:
            table.add_row(
                Text(row.name),
                Text(row.geometry or row.op_type),
                Text(row.lowering or "-", style="green" if row.lowering else "dim"),
                *_time_cells(row, is_measured),
                f"{row.growth_bytes / 2**20:+.1f}" if row.lowering else "",
                Text(row.reason),
            )
        return table


def make_report(
    sites: Sequence[ConvSite],
    decisions: Sequence[Decision],
    opset: int,
    converted_from: int | None = None,
    measurement: Measurement | None = None,
) -> Report:
    """The report on `decisions`, one for each of `sites`."""
    return Report(tuple(map(_make_row, sites, decisions)), opset, converted_from, measurement)


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


def _time_headings(is_measured: bool) -> tuple[str, ...]:
    """Predicted milliseconds, beside measured ones where there are any."""
    return ("Conv ms", "pred.", "FFT ms", "pred.") if is_measured else ("Conv ms", "FFT ms")


def _time_cells(row: Row, is_measured: bool) -> tuple[str, ...]:
    """What stands below `_time_headings`."""
    conv, fft = _milliseconds(row.predicted_conv_s), _milliseconds(row.predicted_s)
    if not is_measured:
        return conv, fft
    return _milliseconds(row.measured_conv_s), conv, _milliseconds(row.measured_s), fft


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.2f}"
