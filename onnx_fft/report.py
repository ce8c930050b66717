"""What was decided for every convolution and why, as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from onnx_fft.model.sites import ConvSite
from onnx_fft.model.spec import describe_spec
from onnx_fft.plan.choose import Decision


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
            "rows": list(map(asdict, self.rows)),
        }

    def summarize(self) -> str:
        """One line: how many are replaced, what that is predicted to save, what it adds to the file."""
        replaced = self.replaced
        if not replaced:
            return f"0 of {len(self.rows)} convolutions replaced: none is predicted to gain, or none can be"
        before = sum(row.predicted_conv_s or 0.0 for row in replaced)
        after = sum(row.predicted_s or 0.0 for row in replaced)
        return (
            f"{len(replaced)} of {len(self.rows)} convolutions replaced, predicted {_milliseconds(before)} -> "
            f"{_milliseconds(after)} ms for these, {self.growth_bytes / 2**20:+.1f} MiB"
        )

    def to_table(self) -> Table:
        """One line a convolution."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("convolution", overflow="fold")
        table.add_column("geometry", overflow="fold")
        table.add_column("becomes")
        for heading in ("Conv ms", "FFT ms", "MiB"):
            table.add_column(heading, justify="right")
        table.add_column("why", overflow="fold")
        for row in self.rows:
            table.add_row(
                Text(row.name),
                Text(row.geometry or row.op_type),
                Text(row.lowering or "-", style="green" if row.lowering else "dim"),
                _milliseconds(row.predicted_conv_s),
                _milliseconds(row.predicted_s),
                f"{row.growth_bytes / 2**20:+.1f}" if row.lowering else "",
                Text(row.reason),
            )
        return table


def make_report(
    sites: Sequence[ConvSite], decisions: Sequence[Decision], opset: int, converted_from: int | None = None
) -> Report:
    """The report on `decisions`, one for each of `sites`."""
    return Report(tuple(map(_make_row, sites, decisions)), opset, converted_from)


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
        growth_bytes=decision.growth_bytes,
        options=tuple(
            {"lowering": option.lowering, "predicted_s": option.seconds, "reason": option.reason}
            for option in decision.options
        ),
    )


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.2f}"
