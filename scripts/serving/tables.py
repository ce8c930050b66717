"""The tables of the page, made from the results alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onnx_fft.report.numbers import format_ms
from scripts.shared.tables import Table

PAGE = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).with_name("results")
RUNTIMES = {"c": "ONNX Runtime {}, its C library", "node": "onnxruntime-node {}", "http": "HTTP: {}"}


def render(results: Path) -> dict[str, list[str]]:
    """The lines of each block by its name."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    blocks = {"loads": _render_loads({key: found[key] for key in RUNTIMES if key in found})}
    return blocks | ({"cluster": _render_cluster(found["cluster"])} if "cluster" in found else {})


def _render_loads(found: dict[str, Any]) -> list[str]:
    rows, notes = [], []
    for key, part in found.items():
        runtime = RUNTIMES[key].format(part["version"])
        original = part["rows"][0]
        for row in part["rows"]:
            gain = row["requests_per_s"] / original["requests_per_s"]
            rows.append(
                (
                    runtime if row is original else "",
                    row["model"],
                    f"{row['requests_per_s']:.1f}" + ("" if row is original else f" ({gain:.2f}x)"),
                    format_ms(row["median_s"]),
                    format_ms(row["p99_s"]),
                    f"{row['held_bytes'] / 2**20:.0f}",
                    f"{row['growth_bytes'] / 2**20:+.1f}",
                )
            )
        notes.append(f"{runtime}: {describe_part(part)}.")
    columns = ("runtime", "model", "requests/s", "median ms", "p99 ms", "memory MiB", "growth MiB")
    worst = max(row["relative_l2"] for part in found.values() for row in part["rows"])
    total = sum(row["requests"] for part in found.values() for row in part["rows"])
    return [
        *Table(columns, tuple(rows)).to_markdown(),
        "",
        f"{total:,} requests, none failed; each client's answers were the same bit for bit, and at most {worst:.0e} "
        "(relative L2) from the original's.",
        "",
        *(f"- {note}" for note in notes),
    ]


def _render_cluster(part: dict[str, Any]) -> list[str]:
    ways = list(dict.fromkeys(row["way"] for row in part["rows"]))
    models = list(dict.fromkeys(row["model"] for row in part["rows"]))
    speed = {(row["model"], row["way"]): row["files_per_s"] for row in part["rows"]}
    rows = [(model, *(f"{speed[model, way]:.1f}" for way in ways)) for model in models]
    worst = max(row["relative_l2"] for row in part["rows"])
    return [
        *Table(("files a second", *ways), tuple(rows)).to_markdown(),
        "",
        f"{part['files']} files, {part['rounds']} times in turn with the others; {part['workers']} workers of a thread "
        "each, one process with a thread a core. "
        f"No file was lost, all came in order, at most {worst:.0e} (relative L2) from the original's. "
        f"{describe_part(part)}.",
    ]


def describe_part(part: dict[str, Any]) -> str:
    """On what, where and when."""
    load = "load average {} before and {} after".format(*part["load_before_and_after"])
    return f"{part['model']}, {part['cpu']}, {load}, {part['date']}"
