"""The layer table on plain ONNX Runtime: its own Conv against each lowering and against what `auto` does.

    python scripts/bench_layers.py                                   # every layer, matmul and auto, two threads
    python scripts/bench_layers.py --select 'dw|FIR' --lowering dft  # some layers, dft as well
    python scripts/bench_layers.py --markdown layers.md --json layers.json

Errors are relative L2 against a float64 oracle, on a seeded sample of the outputs where the whole would take too long.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_tables import Table, describe_run, format_ratio, make_parser, write_json, write_results
from corpus import Array, build_conv_model, draw_input, draw_weights
from layers import FIELD, LAYERS, TRAPS, Layer
from onnx import ModelProto

from onnx_fft.fourier.oracle import ConvGeometry, Sample, conv_direct, conv_direct_at, sample_conv
from onnx_fft.lowering import LOWERINGS
from onnx_fft.model.spec import ConvSpec
from onnx_fft.rewrite import rewrite
from onnx_fft.runtime import open_runner, open_source
from onnx_fft.timing.launch import Machine, time_models
from onnx_fft.timing.stats import Ratio, Spread, compare, format_ms

TITLE = "Layers on plain ONNX Runtime"
SEED = 0
OPSET = 17
ORACLE_BUDGET = 2e8
"""Multiply-adds the oracle may cost a layer: a second or two in NumPy."""
MIN_AUTO_RATIO = 0.97
"""`auto` is held to this on every row: it may leave a Conv alone, never make it slower."""
UNLIMITED_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to compute a layer. `ratio` is None where the model is the original's own: nothing to time."""

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
    """One layer: ONNX Runtime's own Conv, and the variants by name ("auto" among them)."""

    layer: Layer
    conv_s: Spread
    conv_relative_l2: float
    variants: dict[str, Variant]

    @property
    def promise_kept(self) -> bool | None:
        """Whether `auto` is as fast as promised; None where nothing is promised."""
        least = self.layer.at_least
        return None if least is None else self.variants["auto"].ratio_or_one >= least

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
            "variants": variants,
        }


def measure_layer(layer: Layer, lowerings: Sequence[str], *, threads: int, budget_s: float) -> tuple[Measured, Machine]:
    """Time and check one layer; `lowerings` beside "auto"."""
    weight, bias = draw_weights(layer.spec, SEED)
    original = build_conv_model(layer.spec, weight, bias, opset=OPSET)
    x = draw_input(layer.spec, SEED + 1)
    variants = _make_variants(original, lowerings)
    changed = _drop_equal(variants)
    judge = _make_judge(layer.spec, x, weight, bias)
    errors = [judge(model) for model in (original, *(v.model for v in changed))]
    sources = [open_source(model) for model in (original, *(v.model for v in changed))]
    timings, machine = time_models(sources, {"x": x}, threads=threads, budget_s=budget_s)
    conv, *others = timings
    found: dict[bytes, Variant] = {}
    for variant, timing, error in zip(changed, others, errors[1:], strict=True):
        found[_content(variant.model)] = Variant(
            variant.name,
            variant.model,
            variant.lowering,
            variant.reason,
            compare(conv.samples_s, timing.samples_s),
            timing.run_s,
            timing.file_bytes - conv.file_bytes,
            error,
        )
    measured = {v.name: found.get(_content(v.model), v) if v.lowering else v for v in variants}
    return Measured(layer, conv.run_s, errors[0], measured), machine


def _make_variants(original: ModelProto, lowerings: Sequence[str]) -> list[Variant]:
    """The model under each of `lowerings`, used wherever it applies, and under auto with its defaults."""
    variants = []
    for name in (*lowerings, "auto"):
        forced = {} if name == "auto" else {"lowering": name, "max_growth_bytes": UNLIMITED_BYTES}
        result = rewrite(original, **forced)  # type: ignore[arg-type]
        (row,) = result.report.rows
        variants.append(Variant(name, result.model, row.lowering, row.reason))
    return variants


def _drop_equal(variants: Sequence[Variant]) -> list[Variant]:
    """The variants that replace the Conv, equal models once."""
    return list({_content(v.model): v for v in reversed(variants) if v.lowering}.values())


def _content(model: ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _make_judge(spec: ConvSpec, x: Array, weight: Array, bias: Array | None) -> Callable[[ModelProto], float]:
    """A function that gives a model's relative L2 error against float64."""
    geometry = ConvGeometry(spec.group, spec.strides, spec.dilations, spec.pads_begin, spec.pads_end)
    sample: Sample | None = sample_conv(x.shape, weight.shape, geometry, ORACLE_BUDGET, SEED)
    if sample is None:
        truth = conv_direct(x, weight, bias, geometry)
    else:
        truth = conv_direct_at(x, weight, bias, geometry, sample)

    def judge(model: ModelProto) -> float:
        output = open_runner(open_source(model)).run({"x": x})["y"]
        taken = np.asarray(output if sample is None else sample.take(output), np.float64)
        return float(np.linalg.norm(taken - truth) / np.linalg.norm(truth))

    return judge


def make_table(measured: Sequence[Measured], lowerings: Sequence[str]) -> Table:
    """One row a layer."""
    columns = ["layer", "Conv ms", "Conv error"]
    for name in lowerings:
        columns += [f"{name} ms", f"{name} ratio", f"{name} error", f"{name} MiB"]
    rows = []
    for m in measured:
        row = [m.layer.name, format_ms(m.conv_s.median), f"{m.conv_relative_l2:.0e}"]
        for name in lowerings:
            row += _format_variant(m.variants[name])
        least, kept = m.layer.at_least, m.promise_kept
        promise = "" if least is None else f"{least:g}x: {'met' if kept else 'MISSED'}"
        rows.append((*row, _format_auto(m.variants["auto"]), promise))
    return Table((*columns, "auto", "promised of auto"), tuple(rows))


def _format_variant(v: Variant) -> list[str]:
    if v.ratio is None or v.run_s is None:
        return ["-", "refused", "-", "-"]
    growth = f"{v.growth_bytes / 2**20:+.1f}"
    return [format_ms(v.run_s.median), format_ratio(v.ratio), f"{v.relative_l2:.0e}", growth]


def _format_auto(v: Variant) -> str:
    return "left alone" if v.ratio is None else f"{v.lowering} {format_ratio(v.ratio)}"


def summarize_rows(measured: Sequence[Measured]) -> list[str]:
    """In words: promises kept and missed, rows where auto loses, and gains it left lying."""
    lines = []
    promised = [m for m in measured if m.promise_kept is not None]
    for m in (m for m in promised if not m.promise_kept):
        lines.append(
            f"missed: {m.layer.name}, {m.variants['auto'].ratio_or_one:.2f}x of {m.layer.at_least:g}x promised"
        )
    lines.append(f"promises met: {sum(m.promise_kept is True for m in promised)} of {len(promised)}")
    losses = [m for m in measured if m.variants["auto"].ratio_or_one < MIN_AUTO_RATIO]
    names = ", ".join(f"{m.layer.name} ({m.variants['auto'].ratio_or_one:.2f}x)" for m in losses)
    lines.append(
        f"auto slower than {MIN_AUTO_RATIO}x on {len(losses)} of {len(measured)} rows{': ' if names else ''}{names}"
    )
    for m in measured:
        best = max(m.variants.values(), key=lambda v: v.ratio_or_one)
        if m.variants["auto"].lowering is None and best.ratio_or_one > 1 / MIN_AUTO_RATIO:
            lines.append(f"left lying by auto: {m.layer.name}, {best.name} is {best.ratio_or_one:.2f}x")
    return lines


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [lowering.name for lowering in LOWERINGS]
    parser = make_parser((__doc__ or "").split("\n")[0], budget_s=3.0)
    parser.add_argument(
        "--lowering", action="append", choices=names, help="beside auto, again for more (default: matmul)"
    )
    parser.add_argument(
        "--traps", action="store_true", help="also the layers that only look like gains, and field layers"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    lowerings = list(dict.fromkeys(options.lowering or ["matmul"]))
    layers = [*LAYERS, *((*TRAPS, *FIELD) if options.traps else ())]
    selected = [layer for layer in layers if re.search(options.select, layer.name)]
    if not selected:
        print(
            f"error: {options.select!r} matches none of: {', '.join(layer.name for layer in layers)}", file=sys.stderr
        )
        return 2
    measured, machines = [], []
    for layer in selected:
        print(f"{layer.name} ...", file=sys.stderr)
        row, machine = measure_layer(layer, lowerings, threads=options.threads, budget_s=options.budget)
        measured.append(row)
        machines.append(machine)
    header = describe_run(machines, SEED)
    write_results(options, TITLE, header, make_table(measured, lowerings), summarize_rows(measured))
    write_json(
        options, {"machines": list(map(asdict, machines)), "header": header, "layers": [m.to_dict() for m in measured]}
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
