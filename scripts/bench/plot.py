"""The layer table as a chart: a bar a layer, how many times faster than ONNX Runtime's Conv, losses to the left of 1.

    python -m scripts.bench.plot layers.json layers.svg   # draws what `scripts.bench.layers --json` wrote

A full bar is what `auto` does. If it leaves the Conv alone, an empty bar shows what the best lowering would have done.
Dots are other libraries, if they were measured. Needs matplotlib, the extra `plot` of the package.
"""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GAIN, LOSS, INK, FAINT = "#1f6fb2", "#d1571f", "#222222", "#8a8a8a"
PEER_MARKS = ("o", "s", "D", "^", "v", "P", "X")
PEER_INKS = ("#7b5ea7", "#2a9d8f", "#b8860b", "#c2497d", "#555555", "#6b8e23", "#d98c00")
LEAST_X = 0.05
"""The least value of the axis; what is slower is drawn at its edge."""
WIDTH, ROW_HEIGHT = 8.0, 0.30
CHARACTER, RIGHT, TOP, BOTTOM = 0.076, 1.45, 0.35, 1.15
"""The figure, its rows, a character of a name, and margins, in inches; 8 are 800 pixels at 100 dots an inch."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One layer: the ratio drawn, its interval, whether auto does it, the label at its end, and peers by name."""

    name: str
    ratio: float
    low: float
    high: float
    is_done: bool
    label: str
    peers: dict[str, float] = field(default_factory=dict)


def make_bars(layers: Sequence[dict[str, Any]]) -> list[Bar]:
    """Bars of `Measured.to_dict()` rows: what auto replaces first, the fastest first among each."""
    bars = [_make_bar(layer) for layer in layers]
    return sorted(bars, key=lambda bar: (not bar.is_done, -bar.ratio))


def _make_bar(layer: dict[str, Any]) -> Bar:
    peers = {name: peer["ratio"]["value"] for name, peer in layer.get("peers", {}).items() if peer["ratio"]}
    auto = layer["variants"]["auto"]
    if auto["ratio"]:
        ratio = auto["ratio"]
        return Bar(layer["layer"], ratio["value"], ratio["low"], ratio["high"], True, _format(ratio["value"]), peers)
    forced = [variant["ratio"] for variant in layer["variants"].values() if variant["ratio"]]
    if not forced:
        return Bar(layer["layer"], 1.0, 1.0, 1.0, False, "left alone", peers)
    ratio = max(forced, key=lambda ratio: float(ratio["value"]))
    label = f"left alone ({_format(ratio['value'])})"
    return Bar(layer["layer"], ratio["value"], ratio["low"], ratio["high"], False, label, peers)


def _format(ratio: float) -> str:
    return f"{ratio:.0f}x" if ratio >= 9.95 else f"{ratio:.1f}x" if ratio >= 1.995 else f"{ratio:.2f}x"


def draw_layers(layers: Sequence[dict[str, Any]], header: Sequence[str], path: Path) -> None:
    """Draw the chart into `path`, .svg or .png, with the first two lines of `header` below it."""
    pyplot, bars = load_pyplot(), make_bars(layers)
    height = ROW_HEIGHT * len(bars) + TOP + BOTTOM
    figure, axes = pyplot.subplots(figsize=(WIDTH, height))
    left = 0.3 + CHARACTER * max(len(bar.name) for bar in bars)
    figure.subplots_adjust(left / WIDTH, BOTTOM / height, 1 - RIGHT / WIDTH, 1 - TOP / height)
    _scale(axes, bars)
    for row, bar in enumerate(bars):
        _draw_bar(axes, row, bar)
    _draw_peers(axes, bars)
    _explain(figure, axes, header)
    save_figure(pyplot, figure, header, path)


def load_pyplot() -> Any:
    """Matplotlib's pyplot, without a window, and the same SVG for the same chart."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "onnx-fft", "font.size": 9, "font.family": "DejaVu Sans"})
    return importlib.import_module("matplotlib.pyplot")


def save_figure(pyplot: Any, figure: Any, header: Sequence[str], path: Path) -> None:
    """Write the chart, an SVG with `header` as its description, and close it."""
    metadata = {"Date": None, "Description": " ".join(header)} if path.suffix == ".svg" else None
    figure.savefig(path, dpi=200, metadata=metadata)
    pyplot.close(figure)


def print_small(figure: Any, header: Sequence[str], y: float) -> None:
    """The first two lines of `header` in small print, from the height `y` up."""
    small = "\n".join(textwrap.fill(line, 150) for line in header[:2])
    figure.text(0.012, y, small, fontsize=6.5, color=FAINT, va="bottom", linespacing=1.3)


def _scale(axes: Any, bars: Sequence[Bar]) -> None:
    """A log axis with round numbers on it, 1 marked, one row a layer from the top."""
    values = [value for bar in bars for value in (bar.ratio, *bar.peers.values())]
    left = max(LEAST_X, min(0.5, *values) / 1.25)
    right = max(4.0, *values) * 1.25
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if left <= tick <= right]
    beyond = "\N{LESS-THAN OR EQUAL TO}" if min(values) < left else ""
    axes.set_xticks(ticks, [f"{beyond if tick == left else ''}{tick:g}x" for tick in ticks], fontsize=8)
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.tick_params(length=0, pad=8)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.axvline(1.0, color=INK, linewidth=1.2)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_bar(axes: Any, row: int, bar: Bar) -> None:
    """A bar from 1 to the ratio, with its 95% interval, and the ratio in the margin, clear of the marks."""
    left, right = axes.get_xlim()
    end = max(bar.ratio, left)
    ink = GAIN if bar.ratio >= 1 else LOSS
    look = {"color": ink} if bar.is_done else {"facecolor": "none", "edgecolor": ink, "linestyle": (0, (2, 1.5))}
    axes.barh(row, end - 1.0, left=1.0, height=0.62, linewidth=1.1, **look)
    if bar.low < bar.high:
        axes.plot([max(bar.low, left), bar.high], [row, row], color=INK, linewidth=1.0, alpha=0.7)
    axes.annotate(
        bar.label,
        (right, row),
        (8, 0),
        textcoords="offset points",
        va="center",
        color=ink if bar.is_done else FAINT,
        fontweight="bold" if bar.is_done else "normal",
    )


def _draw_peers(axes: Any, bars: Sequence[Bar]) -> None:
    """A mark for each peer and row, each peer a little lower than the last, at the edge if it is beyond the axis."""
    left, _ = axes.get_xlim()
    names = list(dict.fromkeys(name for bar in bars for name in bar.peers))
    for index, (name, mark, ink) in enumerate(zip(names, PEER_MARKS, PEER_INKS, strict=False)):
        shift = 0.16 * (index - (len(names) - 1) / 2)
        points = [(max(bar.peers[name], left), row + shift) for row, bar in enumerate(bars) if name in bar.peers]
        axes.scatter(
            *zip(*points, strict=True),
            marker=mark,
            s=20,
            color=ink,
            edgecolors="white",
            linewidths=0.5,
            label=name,
            zorder=5,
            clip_on=False,
        )


def _explain(figure: Any, axes: Any, header: Sequence[str]) -> None:
    """Title, legend, and in small print the machine and the versions."""
    lines: Any = importlib.import_module("matplotlib.patches")
    keys = [
        lines.Patch(color=GAIN, label="onnx-fft: faster"),
        lines.Patch(color=LOSS, label="onnx-fft: slower"),
        lines.Patch(facecolor="none", edgecolor=FAINT, linestyle=(0, (2, 1.5)), label="left alone: what it would be"),
    ]
    marks, _ = axes.get_legend_handles_labels()
    _, height = figure.get_size_inches()
    place = {"loc": "upper left", "bbox_to_anchor": (0.0, (BOTTOM - 0.3) / height)}
    figure.legend(handles=[*keys, *marks], ncols=4, frameon=False, fontsize=8, **place)
    title = "How many times faster than ONNX Runtime's Conv (log scale; left of 1x is slower)"
    figure.text(0.012, 1 - 0.1 / height, title, fontsize=10, va="top")
    print_small(figure, header, 0.06 / height)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m scripts.bench.plot layers.json layers.svg|png")
    content = json.loads(Path(sys.argv[1]).read_text())
    draw_layers(content["layers"], content["header"], Path(sys.argv[2]))
