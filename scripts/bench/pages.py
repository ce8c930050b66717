"""Puts the tables of layers and of models into their pages, from what the benches wrote to scripts/bench/results.

python -m scripts.bench.pages   # "layers" and "models" in scripts/bench/README.md, "models" in README.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx_fft.report.numbers import format_ms
from scripts.bench.model_peers import MODEL_PEERS
from scripts.shared.blocks import write_block
from scripts.shared.paths import ROOT
from scripts.shared.tables import LEFT_ALONE, Table, read_table

PAGE = Path(__file__).with_name("README.md")
FRONT_PAGE = ROOT / "README.md"
RESULTS = Path(__file__).with_name("results")
AVX2 = "avx2"
"""The folder there of runs of the native library on a processor without AVX-512."""
ON_FRONT_PAGE = (
    *("rivagan_decoder", "nmp", "whisper80", "ch_PP-OCRv4_det", "crepe_tiny", "tumor_vgg16", "realesr_x2"),
    *("dnsmos_sig", "dncnn", "hifigan", "resnet50", "mobilenet_v2"),
)
"""What models there are in short: images, audio, and those that gain nothing."""


def make_layers_block(results: Path = RESULTS) -> list[str]:
    """Every layer that the native library ran, beside the peers, and beside standard operators if these ran it too."""
    standard, native, narrow = (
        _read_layers(results, "layers"),
        _read_layers(results, "layers_native", "layers_ordinary"),
        _read_layers(results / AVX2, "layers_native", "layers_ordinary"),
    )
    peers = list(dict.fromkeys(peer for layer in native.values() for peer in layer["peers"]))
    rows = []
    for name, layer in native.items():
        error = f"{layer['variants']['fftconv']['relative_l2']:.0e} ({layer['conv_relative_l2']:.0e})"
        rows.append(
            (
                name,
                format_ms(layer["conv_s"]["median"]),
                _format_auto(standard[name]["variants"]["auto"]) if name in standard else "",
                _format_auto(layer["variants"]["auto"]),
                _format_auto(narrow[name]["variants"]["auto"]) if name in narrow else "",
                *(_format_peer(layer["peers"].get(peer)) for peer in peers),
                error,
            )
        )
    return Table(
        ("layer", "Conv ms", "standard", "native", "with AVX2", *peers, "error (Conv's)"), tuple(rows)
    ).to_markdown()


def make_models_block(results: Path = RESULTS) -> list[str]:
    """Every model that the native library ran; peaks are the original's, `standard` and `native`.

    The cells of `standard` and of the peers are empty for a model that they did not run.
    """
    files = ("models.md", "models_native.md", f"{AVX2}/models_native.md")
    standard, native, narrow = (read_table((results / name).read_text("utf-8")) for name in files)
    timed, rows = _read_peers(results / "models_peers.md"), []
    peers = list(dict.fromkeys(peer for row in timed.values() for peer in row))
    for name, model in native.items():
        cells = (timed.get(name, {}).get(peer, "") for peer in peers)
        runs = (standard.get(name), model)
        peaks = [model["peak memory MiB"].split(" -> ")[0], *(_read_peak(run) for run in runs)]
        memory = " / ".join(f"{float(peak):.0f}" if peak else "-" for peak in peaks)
        ratios = (_format_run(run) for run in (*runs, narrow.get(name)))
        rows.append((name, model["input"], model["original ms"], *ratios, *cells, memory))
    columns = ("model", "input", "original ms", "standard", "native", "with AVX2", *peers, "peak memory MiB")
    return Table(columns, tuple(rows)).to_markdown()


def make_front_block(results: Path = RESULTS) -> list[str]:
    """A part of the models of the native library's run."""
    files = ("models_native.md", f"{AVX2}/models_native.md")
    models, narrow = (read_table((results / name).read_text("utf-8")) for name in files)
    rows = []
    for name in ON_FRONT_PAGE:
        model = models[name]
        peaks = " / ".join(f"{float(peak):.0f}" for peak in model["peak memory MiB"].split(" -> "))
        runs = (_format_run(model), _format_run(narrow.get(name)))
        rows.append((name, model["input"], model["original ms"], *runs, peaks))
    return Table(("model", "input", "original ms", "native", "with AVX2", "peak memory MiB"), tuple(rows)).to_markdown()


def _read_peers(path: Path) -> dict[str, dict[str, str]]:
    """By model, each peer's ratio, or why it has none; {} if no peer was timed."""
    table = read_table(path.read_text("utf-8")) if path.is_file() else {}
    names = [peer.name for peer in MODEL_PEERS]
    return {model: {name: row[name].split(",")[0] for name in names} for model, row in table.items()}


def _read_peak(run: Mapping[str, str] | None) -> str:
    """The rewritten model's peak; "" for a model that was left alone, or not run."""
    return "" if run is None or run["ratio"] == LEFT_ALONE else run["peak memory MiB"].split(" -> ")[1]


def _format_run(run: Mapping[str, str] | None) -> str:
    """`2.00x (2 of 4)`."""
    if run is None:
        return ""
    return LEFT_ALONE if run["ratio"] == LEFT_ALONE else f"{run['ratio'].split(' ')[0]} ({run['replaced']})"


def _read_layers(folder: Path, *names: str) -> dict[str, Any]:
    """The rows of files that `scripts.bench.layers --json` wrote, by layer."""
    contents = [json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in names]
    return {row["layer"]: row for content in contents for row in content["layers"]}


def _format_auto(variant: Mapping[str, Any]) -> str:
    return LEFT_ALONE if variant["ratio"] is None else f"**{variant['ratio']['value']:.2f}x**"


def _format_peer(peer: Mapping[str, Any] | None) -> str:
    """The ratio, `-` if the peer cannot run the layer, "" if it was not asked."""
    if peer is None or peer["note"] == "not installed":
        return ""
    if peer["ratio"] is None:
        return str(peer["note"]) if peer["note"].startswith(("wrong", "over")) else "-"
    ratio = peer["ratio"]["value"]
    return f"{ratio:.2f}x" if ratio >= 0.1 else f"{ratio:.1g}x"


def main() -> None:
    """Write all blocks."""
    write_block(PAGE, "layers", make_layers_block())
    write_block(PAGE, "models", make_models_block())
    write_block(FRONT_PAGE, "models", make_front_block())


if __name__ == "__main__":
    main()
