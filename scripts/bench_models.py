"""Real models on plain ONNX Runtime: the original against what `rewrite` makes of it with its defaults.

    python scripts/bench_models.py                               # every model, two threads
    python scripts/bench_models.py --select rivagan --markdown models.md --json models.json
    python scripts/bench_models.py --fix-shapes                  # tell the planner the input shapes as well

Peak memory is what a process of its own holds at most while it loads and runs the model, over what it held before.
The models are those of scripts/fetch_models.py, fetched where they are not in the cache.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from bench_tables import Table, describe_run, format_ratio, list_losses, make_parser, write_json, write_results
from fetch_models import fetch

from onnx_fft.bench import Benchmark, bench, find_feed
from onnx_fft.checks.compare import compare_outputs
from onnx_fft.checks.feeds import Feed
from onnx_fft.model.io import LoadedModel
from onnx_fft.report import Report
from onnx_fft.rewrite import rewrite
from onnx_fft.runtime import EngineError, open_runner, open_source
from onnx_fft.timing.stats import format_ms

TITLE = "Real models on plain ONNX Runtime"
SEED = 0
MIN_RATIO = 0.97
"""A model slower than that counts as a loss, not as noise."""
REFUSED = "does not load with its shapes fixed"
"""ONNX Runtime infers shapes in branches that never run as well, and refuses a model where one cannot take them."""


@dataclass(frozen=True, slots=True)
class Case:
    """A model of `fetch_models` at the input shapes it is used with."""

    name: str
    input_shapes: dict[str, tuple[int, ...]]


CASES: tuple[Case, ...] = (
    Case("rivagan_encoder", {"frame": (1, 3, 1, 256, 256), "data": (1, 32)}),
    Case("rivagan_decoder", {"frame": (1, 3, 1, 256, 256)}),
    Case("nmp", {"serving_default_input_2:0": (1, 43844, 1)}),
    Case("multistyle26", {"image": (1, 3, 256, 256)}),
    Case("ch_PP-OCRv4_det", {"x": (1, 3, 640, 640)}),
    Case("crepe_tiny", {"frames": (32, 1024)}),
    Case("silero_vad", {"input": (1, 576), "state": (2, 1, 128)}),
    Case("tumor_vgg16", {"input": (1, 240, 240, 3)}),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One model: the timing, what was replaced, and the worst relative L2 difference of an output."""

    case: Case
    benchmark: Benchmark
    report: Report
    relative_l2: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        decisions = [{"name": r.name, "lowering": r.lowering, "reason": r.reason} for r in self.report.rows]
        return {
            "model": self.case.name,
            "relative_l2": self.relative_l2,
            "convs": decisions,
            "benchmark": self.benchmark.to_dict(),
        }


def measure_model(case: Case, *, threads: int, budget_s: float, fix_shapes: bool) -> Measured:
    """Rewrite one model with the defaults, compare its outputs, time it; EngineError where it does not load then."""
    path = fetch(case.name)
    result = rewrite(path, input_shapes=case.input_shapes if fix_shapes else None)
    rewritten = LoadedModel(result.model, result.base_dir)
    sources = open_source(path), open_source(rewritten)
    feed = find_feed(*sources, inputs=None, input_shapes=case.input_shapes, seed=SEED)
    difference = _compare(rewritten, feed)
    measured = bench(path, rewritten, inputs=feed.arrays, threads=threads, seed=SEED, budget_s=budget_s)
    return Measured(case, measured, result.report, difference)


def _compare(rewritten: LoadedModel, feed: Feed) -> float:
    """The worst relative L2 difference from the original's outputs."""
    runner = open_runner(open_source(rewritten))
    if runner.note:  # ONNX Runtime refused it
        raise EngineError(runner.note)
    outputs = runner.run(feed.arrays)
    found = [c for name, value in feed.outputs.items() for c in compare_outputs(name, value, outputs[name])]
    return float(np.max([comparison.relative_l2 for comparison in found]))


def make_table(measured: Sequence[Measured], refused: Sequence[Case] = ()) -> Table:
    """One row a model, last those that do not load."""
    columns = (
        "model",
        "input",
        "Convs replaced",
        "original ms",
        "rewritten ms",
        "ratio",
        "load ms",
        "file MiB",
        "peak memory MiB",
        "difference",
    )
    rows: list[tuple[str, ...]] = []
    for m in measured:
        before, after = m.benchmark.original, m.benchmark.rewritten
        row = (
            m.case.name,
            _print_shapes(m.benchmark.input_shapes),
            f"{len(m.report.replaced)} of {len(m.report.rows)}",
            format_ms(before.run_s.median),
            format_ms(after.run_s.median),
            format_ratio(m.benchmark.ratio) if m.report.replaced else "left alone",
            f"{before.load_s * 1e3:.0f} -> {after.load_s * 1e3:.0f}",
            f"{before.file_bytes / 2**20:.1f} -> {after.file_bytes / 2**20:.1f}",
            " -> ".join("?" if t.peak_bytes is None else f"{t.peak_bytes / 2**20:.1f}" for t in (before, after)),
            f"{m.relative_l2:.0e}",
        )
        rows.append(row)
    blank = ("",) * (len(columns) - 3)
    rows += [(case.name, _print_shapes(case.input_shapes), REFUSED, *blank) for case in refused]
    return Table(columns, tuple(rows))


def _print_shapes(shapes: Mapping[str, Sequence[int]]) -> str:
    """`frame 1x3x256x256, data 1x32`."""
    return ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in shapes.items())


def summarize_rows(measured: Sequence[Measured]) -> list[str]:
    """Each model in a line, last the losses; a model left alone is its original, and shows the noise of this run."""
    changed = [m for m in measured if m.report.replaced]
    lines = [f"{m.case.name}: {m.benchmark.verdict}" for m in changed]
    same = [f"{m.case.name} {m.benchmark.ratio.value:.2f}x" for m in measured if not m.report.replaced]
    if same:
        lines.append(f"left alone, timed against itself: {', '.join(same)}")
    return [*lines, list_losses([(m.case.name, m.benchmark.ratio.value) for m in changed], MIN_RATIO)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser((__doc__ or "").split("\n")[0], budget_s=10.0)
    parser.add_argument("--fix-shapes", action="store_true", help="rewrite for the input shapes of the table only")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if re.search(options.select, case.name)]
    if not cases:
        print(f"error: {options.select!r} matches none of: {', '.join(c.name for c in CASES)}", file=sys.stderr)
        return 2
    measured, refused = [], []
    settings = {"threads": options.threads, "budget_s": options.budget, "fix_shapes": options.fix_shapes}
    for case in cases:
        print(f"{case.name} ...", file=sys.stderr)
        try:
            measured.append(measure_model(case, **settings))
        except EngineError as error:
            if not options.fix_shapes:
                raise
            print(f"{case.name} {REFUSED}: {error}", file=sys.stderr)
            refused.append(case)
    header = describe_run([m.benchmark.machine for m in measured], SEED)
    write_results(options, TITLE, header, make_table(measured, refused), summarize_rows(measured))
    names = [case.name for case in refused]
    write_json(options, {"header": header, "models": [m.to_dict() for m in measured], "refused": names})
    return 0


if __name__ == "__main__":
    sys.exit(main())
