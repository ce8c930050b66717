"""Speed in the browser: what `auto` makes of a model against the model itself, on one thread of WebAssembly."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnx_fft.host import cpu_model
from onnx_fft.report.numbers import format_ms
from onnx_fft.rewrite import rewrite
from onnx_fft.timing.stats import Ratio, compare, summarize
from scripts.conformance.browser import BrowserError, run_page
from scripts.conformance.cases import REAL_MODEL, SEED, write_feeds
from scripts.models.fetch import fetch
from scripts.shared.paths import MODELS
from scripts.shared.tables import format_ratio, format_shapes

BUDGET_S, MIN_RUNS = 20.0, 7
LIMIT_S = 900.0
MAX_RELATIVE_L2 = 1e-5
"""Between the outputs of the two models; the time of a wrong one means nothing."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A model of the speed table at the input shapes it is run with; no `path` for one of `scripts.models.fetch`."""

    name: str
    shapes: dict[str, tuple[int, ...]]
    path: Path | None = None


PAIRS: tuple[Pair, ...] = (
    Pair("large_kernel", {"x": (1, 64, 56, 56)}, MODELS / "large_kernel.onnx"),
    Pair("dense_11x11", {"x": (1, 32, 112, 112)}, MODELS / "dense_11x11.onnx"),
    Pair("long_filter", {"x": (1, 16, 8192)}, MODELS / "long_filter.onnx"),
    Pair(REAL_MODEL, {"frame": (1, 3, 1, 128, 128), "data": (1, 32)}),
)


def time_pairs(dist: Path, folder: Path) -> dict[str, Any]:
    """Times of every pair and the machine's load, as plain JSON types. Makes the folder. Raises BrowserError."""
    folder.mkdir()
    pairs, replaced = [], {}
    for pair in PAIRS:
        written, replaced[pair.name] = _write_pair(pair, folder)
        pairs.append(written)
    (folder / "speed.json").write_text(json.dumps({"pairs": pairs, "budget_s": BUDGET_S, "min_runs": MIN_RUNS}))
    before = os.getloadavg()[0]
    run_page(dist, folder, folder, query="?time", timeout_s=LIMIT_S)
    version, *lines = (json.loads(line) for line in (folder / "speed.jsonl").read_text().splitlines())
    rows = []
    for pair, written, line in zip(PAIRS, pairs, lines, strict=True):
        difference = compare_outputs(*(folder / f"{written[side]}.bin" for side in ("original", "rewritten")))
        if not difference <= MAX_RELATIVE_L2:
            raise BrowserError(f"{pair.name}: the outputs differ by {difference:.0e}, allowed {MAX_RELATIVE_L2:.0e}")
        times = {side: line[side] for side in ("original_s", "rewritten_s")}
        rows.append(
            {
                "model": pair.name,
                "shapes": pair.shapes,
                "replaced": replaced[pair.name],
                "relative_l2": difference,
                **{side: summarize(samples).to_dict() for side, samples in times.items()},
                "ratio": compare(*times.values()).to_dict(),
            }
        )
    load = [round(value, 1) for value in (before, os.getloadavg()[0])]
    return {
        "version": version["version"],
        "cpu": f"{cpu_model()}, {os.cpu_count() or 1} logical cores",
        "date": date.today().isoformat(),
        "load_before_and_after": load,
        "rows": rows,
    }


def compare_outputs(original: Path, rewritten: Path) -> float:
    """The relative L2 difference of two raw float32 tensors; infinity for other sizes or what is not a number."""
    before, after = (np.fromfile(path, np.float32).astype(np.float64) for path in (original, rewritten))
    if before.shape != after.shape or before.size == 0:
        return float("inf")
    difference = float(np.linalg.norm(after - before) / np.linalg.norm(before))
    return difference if np.isfinite(difference) else float("inf")


def _write_pair(pair: Pair, folder: Path) -> tuple[dict[str, Any], str]:
    """Write the files of a pair; returns its entry of speed.json, and how many of its Convs `auto` replaced."""
    path = pair.path or fetch(pair.name)
    rewritten = rewrite(path, validate=False)  # the outputs of both are compared when they have run
    models = {"original": onnx.load(path), "rewritten": rewritten.model}
    for side, model in models.items():
        (folder / f"{pair.name}.speed.{side}.onnx").write_bytes(model.SerializeToString())
    rng = np.random.default_rng(SEED)
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in pair.shapes.items()}
    tensors = [asdict(tensor) for tensor in write_feeds(folder, f"{pair.name}.speed", feeds)]
    files = {side: f"{pair.name}.speed.{side}.onnx" for side in models}
    replaced = f"{len(rewritten.report.replaced)} of {len(rewritten.report.rows)}"
    return {"name": pair.name, "feeds": tensors, **files}, replaced


def describe_row(row: dict[str, Any]) -> tuple[str, ...]:
    """Cells: model, input, Convs replaced, both times, ratio with its interval."""
    times = (format_ms(row[side]["median"]) for side in ("original_s", "rewritten_s"))
    ratio = format_ratio(Ratio(**row["ratio"]))
    return (row["model"], format_shapes(row["shapes"]), row["replaced"], *times, ratio)
