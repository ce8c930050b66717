"""Puts the tables of layers and of models into the README, from what the bench scripts wrote to scripts/results.

python scripts/readme_tables.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx_fft.report.numbers import format_ms
from scripts.bench.tables import LEFT_ALONE, Table
from scripts.shared.blocks import write_block

RESULTS = Path(__file__).resolve().parent / "results"


def make_layers_block(results: Path = RESULTS) -> list[str]:
    """Every layer that the native library ran, with the peers; plain ONNX Runtime where its run has the layer."""
    plain, native = (_read_layers(results / f"{name}.json") for name in ("layers", "layers_native"))
    peers = list(dict.fromkeys(peer for layer in native.values() for peer in layer["peers"]))
    rows = []
    for name, layer in native.items():
        error = f"{layer['variants']['fftconv']['relative_l2']:.0e} ({layer['conv_relative_l2']:.0e})"
        rows.append(
            (
                name,
                format_ms(layer["conv_s"]["median"]),
                _format_auto(plain[name]["variants"]["auto"]) if name in plain else "",
                _format_auto(layer["variants"]["auto"]),
                *(_format_peer(layer["peers"].get(peer)) for peer in peers),
                error,
            )
        )
    columns = ("layer", "Conv ms", "plain ORT", "native library", *peers, "error (Conv's)")
    return Table(columns, tuple(rows)).to_markdown()


def make_models_block(results: Path = RESULTS) -> list[str]:
    """Every model of both runs."""
    plain, native = _read_models(results / "models.md"), _read_models(results / "models_native.md")
    rows = []
    for name, model in plain.items():
        cells = [model["input"], model["original ms"]]
        peaks = [model["peak memory MiB"].split(" -> ")[0]]
        for run in (model, native[name]):
            replaced = "" if run["ratio"] == LEFT_ALONE else f" ({run['Convs replaced']})"
            cells.append(run["ratio"].split(" ")[0] + replaced if replaced else LEFT_ALONE)
            peaks.append("" if not replaced else run["peak memory MiB"].split(" -> ")[1])
        rows.append((name, *cells, " / ".join(f"{float(peak):.0f}" if peak else "-" for peak in peaks)))
    columns = ("model", "input", "original ms", "plain ORT (Convs)", "native library (Convs)", "peak memory MiB")
    return Table(columns, tuple(rows)).to_markdown()


def _read_models(path: Path) -> dict[str, dict[str, str]]:
    """The rows of the Markdown table in a file of bench_models.py, by model."""
    lines = [line.strip()[1:-1] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    columns, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def _read_layers(path: Path) -> dict[str, Any]:
    """The rows of a file of bench_layers.py, by layer."""
    return {row["layer"]: row for row in json.loads(path.read_text(encoding="utf-8"))["layers"]}


def _format_auto(variant: Mapping[str, Any]) -> str:
    return LEFT_ALONE if variant["ratio"] is None else f"**{variant['ratio']['value']:.2f}x**"


def _format_peer(peer: Mapping[str, Any] | None) -> str:
    if peer is None or peer["ratio"] is None:
        return "" if peer is None else str(peer["note"])
    ratio = peer["ratio"]["value"]
    return f"{ratio:.2f}x" if ratio >= 0.1 else f"{ratio:.1g}x"


def main() -> None:
    write_block("layers", make_layers_block())
    write_block("models", make_models_block())


if __name__ == "__main__":
    main()
