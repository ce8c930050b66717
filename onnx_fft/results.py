"""What was decided for every convolution and why: data, for `report` to draw and for programs as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from onnx_fft.cost.choose import Decision
from onnx_fft.hints import Hint, tell
from onnx_fft.measure.run import Measurement
from onnx_fft.sites.site import Site, describe_site


@dataclass(frozen=True, slots=True)
class Row:
    """One convolution: its geometry in words, and the lowering that replaces it, None if it is left alone."""

    name: str
    op_type: str
    geometry: str
    lowering: str | None
    code: str
    """Why it is left alone, as a stable word; "" if it is replaced."""
    reason: str
    predicted_conv_s: float | None = None
    predicted_s: float | None = None
    measured_conv_s: float | None = None
    measured_s: float | None = None
    """Of the replacement, or, if none pays, of the fastest that was tried."""
    growth_bytes: int = 0
    memory_bytes: int = 0
    """What the replacement holds in memory from run to run, beside what is in the file."""
    run_bytes: int = 0
    """What it takes in a run beside that and the tensors; replacements share it."""
    options: tuple[dict[str, Any], ...] = ()
    """Every lowering considered: its predicted seconds, or why it does not apply, and a hint at what changes that."""
    hint: Hint = ""
    """What would change the decision, "" if nothing is known to."""
    warning: str = ""
    """What may go wrong with the replacement, "" for nothing known."""
    followers: tuple[str, ...] = ()
    """The operators behind it that the replacement computes along."""

    @property
    def is_measured(self) -> bool:
        """Whether all times of interest are measured: the Conv's and, if it is replaced, its replacement's."""
        return self.measured_conv_s is not None and (self.lowering is None or self.measured_s is not None)

    @property
    def times_s(self) -> tuple[float | None, float | None]:
        """Seconds of the Conv and, if it is replaced, of its replacement: both measured, or else both predicted."""
        before, after = self.predicted_conv_s, self.predicted_s
        if self.is_measured:
            before, after = self.measured_conv_s, self.measured_s
        return before, after if self.lowering else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        options = [option | {"hint": tell(option.get("hint", ""))} for option in self.options]
        return asdict(self) | {"hint": tell(self.hint), "options": options}


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a rewrite or of its dry run."""

    rows: tuple[Row, ...]
    opset: int
    converted_from: int | None = None
    """The opset the model had, if it was converted."""
    measurement: Measurement | None = None
    """How the choice was measured, if it was."""
    max_growth_bytes: int | None = None
    """What the file might grow by; None if a plan decided."""
    max_memory_bytes: int | None = None
    """What the replacements might hold in memory; None if a plan decided."""
    original_bytes: int | None = None
    """Size of the model before, its external data included."""
    changes: tuple[str, ...] = ()
    """What else was changed in the model, in sentences."""
    predicted_for: str = ""
    """The GPU that times are predicted for, "" for the CPU that the planner was calibrated on."""
    sorted_nodes: int = 0
    """Nodes that read what a later node made, before the model was sorted; 0 if it was left as it is."""
    grown_bytes: int | None = field(default=None, compare=False)
    """What the file grew by, once it is rewritten."""

    @property
    def replaced(self) -> tuple[Row, ...]:
        """The convolutions that are replaced."""
        return tuple(row for row in self.rows if row.lowering is not None)

    @property
    def growth_bytes(self) -> int:
        """Bytes the file grows by: counted once it is rewritten, before then predicted.

        A prediction leaves out the text of the new nodes, and counts constants that replacements share for each.
        """
        return sum(row.growth_bytes for row in self.replaced) if self.grown_bytes is None else self.grown_bytes

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that the replacements take beside the model and its tensors, in a run, as predicted."""
        run_bytes = max((row.run_bytes for row in self.replaced), default=0)
        return sum(row.memory_bytes for row in self.replaced) + run_bytes

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        summary = {
            "convs": len(self.rows),
            "replaced": len(self.replaced),
            "growth_bytes": self.growth_bytes,
            "memory_bytes": self.memory_bytes,
        }
        return {
            **summary,
            "max_growth_bytes": self.max_growth_bytes,
            "max_memory_bytes": self.max_memory_bytes,
            "original_bytes": self.original_bytes,
            "opset": self.opset,
            "converted_from": self.converted_from,
            "changes": list(self.changes),
            "predicted_for": self.predicted_for,
            "sorted_nodes": self.sorted_nodes,
            "measurement": None if self.measurement is None else self.measurement.to_dict(),
            "rows": [row.to_dict() for row in self.rows],
        }


def make_report(
    sites: Sequence[Site],
    decisions: Sequence[Decision],
    opset: int,
    converted_from: int | None = None,
    measurement: Measurement | None = None,
    max_growth_bytes: int | None = None,
    max_memory_bytes: int | None = None,
    original_bytes: int | None = None,
    predicted_for: str = "",
    changes: Sequence[str] = (),
    sorted_nodes: int = 0,
) -> Report:
    """The report on `decisions`, one for each of `sites`."""
    rows = tuple(map(_make_row, sites, decisions))
    return Report(
        rows,
        opset,
        converted_from,
        measurement,
        max_growth_bytes,
        max_memory_bytes,
        original_bytes,
        tuple(changes),
        predicted_for,
        sorted_nodes,
    )


def _make_row(site: Site, decision: Decision) -> Row:
    return Row(
        name=site.name,
        op_type=site.op_type,
        geometry="" if site.spec is None else describe_site(site.spec),
        lowering=None if decision.plan is None else decision.plan.lowering,
        code="" if decision.refusal is None else decision.refusal.code,
        reason=decision.reason,
        hint=decision.hint,
        warning=decision.warning,
        followers=() if decision.plan is None else tuple(node.op_type for node in site.followers),
        predicted_conv_s=decision.conv_seconds,
        predicted_s=decision.seconds,
        measured_conv_s=decision.measured_conv_s,
        measured_s=decision.measured_s,
        growth_bytes=decision.growth_bytes,
        memory_bytes=decision.memory_bytes,
        run_bytes=decision.run_bytes,
        options=tuple(
            {
                "lowering": option.lowering,
                "predicted_s": option.seconds,
                "measured_s": option.measured_s,
                "reason": option.reason,
                "hint": option.hint,
            }
            for option in decision.options
        ),
    )
