"""What the layer bench found: the table in Markdown, and in words what `auto` gains, loses and misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onnx import ModelProto

from onnx_fft.report.numbers import format_ms
from onnx_fft.timing.stats import Ratio, Spread
from scripts.bench.sides import PeerResult, list_leads
from scripts.shared.layers import Layer
from scripts.shared.tables import LEFT_ALONE, Table, format_ratio, list_losses

MIN_AUTO_RATIO = 0.97
"""`auto` is held to this on every row: it may leave a Conv alone, never make it slower."""

MAX_NATIVE_L2 = 5e-7
"""The relative L2 error that the native library is held to on every row."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to compute a layer. `ratio` is None if the Conv was left alone: there is nothing to time."""

    name: str
    model: ModelProto
    lowering: str | None
    reason: str
    ratio: Ratio | None = None
    run_s: Spread | None = None
    growth_bytes: int = 0
    relative_l2: float = 0.0

    @property
    def ratio_or_one(self) -> float:
        """The ratio; 1 for a model that was left alone."""
        return 1.0 if self.ratio is None else self.ratio.value


@dataclass(frozen=True, slots=True)
class Measured:
    """One layer: ONNX Runtime's own Conv, the variants by name ("auto" among them), and peers by name, if asked for.

    `least_s` is the least time that the machine's limits allow the native library; None if that was not asked for.
    """

    layer: Layer
    conv_s: Spread
    conv_relative_l2: float
    variants: dict[str, Variant]
    peers: dict[str, PeerResult] = field(default_factory=dict)
    least_s: float | None = None

    @property
    def promise_kept(self) -> bool | None:
        """Whether `auto` is as fast as promised; None if nothing is promised."""
        least, auto = self.layer.at_least, self.variants["auto"]
        if least is None:
            return None
        return auto.ratio_or_one >= least or (self.layer.may_be_left and auto.lowering is None)

    @property
    def limit_share(self) -> float | None:
        """The share of the machine's limit that the native library reaches; None if it was not timed."""
        native = self.variants.get("fftconv")
        if self.least_s is None or native is None or native.run_s is None:
            return None
        return self.least_s / native.run_s.median

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        variants = {}
        for name, v in self.variants.items():
            variants[name] = {
                "lowering": v.lowering,
                "reason": v.reason,
                "ratio": None if v.ratio is None else v.ratio.to_dict(),
                "run_s": None if v.run_s is None else v.run_s.to_dict(),
                "growth_bytes": v.growth_bytes,
                "relative_l2": v.relative_l2,
            }
        return {
            "layer": self.layer.name,
            "at_least": self.layer.at_least,
            "promise_kept": self.promise_kept,
            "conv_s": self.conv_s.to_dict(),
            "conv_relative_l2": self.conv_relative_l2,
            "least_s": self.least_s,
            "limit_share": self.limit_share,
            "variants": variants,
            "peers": {name: result.to_dict() for name, result in self.peers.items()},
        }


def make_table(measured: Sequence[Measured], lowerings: Sequence[str]) -> Table:
    """One row a layer."""
    columns = ["layer", "Conv ms", "Conv error"]
    for name in lowerings:
        columns += [f"{name} ms", f"{name} ratio", f"{name} error", f"{name} MiB"]
    limited = any(m.least_s is not None for m in measured)
    peers = list(dict.fromkeys(name for m in measured for name in m.peers))
    rows = []
    for m in measured:
        row = [m.layer.name, format_ms(m.conv_s.median), f"{m.conv_relative_l2:.0e}"]
        for name in lowerings:
            row += _format_variant(m.variants[name])
        if limited:
            row.append("-" if m.limit_share is None else f"{m.limit_share:.0%}")
        least, kept = m.layer.at_least, m.promise_kept
        promise = "" if least is None else f"{least:g}x: {'met' if kept else 'MISSED'}"
        cells = (m.peers[name].format() if name in m.peers else "" for name in peers)
        rows.append((*row, _format_auto(m.variants["auto"]), promise, *cells))
    columns += ["limit"] if limited else []
    return Table((*columns, "auto", "promised of auto", *peers), tuple(rows))


def _format_variant(v: Variant) -> list[str]:
    if v.ratio is None or v.run_s is None:
        return ["-", "refused", "-", "-"]
    growth = f"{v.growth_bytes / 2**20:+.1f}"
    return [format_ms(v.run_s.median), format_ratio(v.ratio), f"{v.relative_l2:.0e}", growth]


def _format_auto(v: Variant) -> str:
    return LEFT_ALONE if v.ratio is None else f"{v.lowering} {format_ratio(v.ratio)}"


def summarize_rows(measured: Sequence[Measured]) -> list[str]:
    """In words: promises kept and missed, gains that auto does not take, peers ahead of it, and last auto's losses."""
    lines = []
    promised = [m for m in measured if m.promise_kept is not None]
    for m in (m for m in promised if not m.promise_kept):
        lines.append(
            f"missed: {m.layer.name}, {m.variants['auto'].ratio_or_one:.2f}x of {m.layer.at_least:g}x promised"
        )
    lines.append(f"promises met: {sum(m.promise_kept is True for m in promised)} of {len(promised)}")
    for m in measured:
        best = max(m.variants.values(), key=lambda v: v.ratio_or_one)
        if m.variants["auto"].lowering is None and best.ratio_or_one > 1 / MIN_AUTO_RATIO:
            lines.append(f"not taken by auto: {m.layer.name}, {best.name} is {best.ratio_or_one:.2f}x")
    lines += _list_errors(measured)
    lines += list_leads([(m.layer.name, m.variants["auto"].ratio_or_one, m.peers) for m in measured])
    return [*lines, list_losses([(m.layer.name, m.variants["auto"].ratio_or_one) for m in measured], MIN_AUTO_RATIO)]


def _list_errors(measured: Sequence[Measured]) -> list[str]:
    """The rows on which the native library is less accurate than it is held to; nothing if it was not timed."""
    timed = [(m, m.variants["fftconv"]) for m in measured if "fftconv" in m.variants]
    above = [f"{m.layer.name} ({v.relative_l2:.1e})" for m, v in timed if not v.relative_l2 <= MAX_NATIVE_L2]
    count = f"error above {MAX_NATIVE_L2:.0e} on {len(above)} of {len(timed)}"
    return [f"{count}: {', '.join(above) or 'none'}"] if timed else []
