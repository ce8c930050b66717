"""The network's speed over the kernel size as a chart: a line a lowering, marks for what `auto` does."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.article.results import AUTO, FORCED, LABELS, format_times
from scripts.bench.plot import FAINT, INK

INKS = {"dft": "#d1571f", "matmul": "#2a9d8f", "fftconv": "#1f6fb2"}
LABEL_SHIFTS = {"dft": -5, "matmul": 5, "fftconv": 0}
"""By how many points the last value is raised above its line's end, because two lines end close together."""
MARKS = {"auto": ("o", "matmul"), "auto_native": ("s", "fftconv")}
"""The shape of each mark, and the lowering whose colour it has."""


def read_series(kernels: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """The kernels, and the speed over the Convs at each."""
    return [row["kernel"] for row in kernels], [row["ways"][name]["ratio"]["value"] for row in kernels]


def draw_kernels(kernels: Sequence[Mapping[str, Any]], header: Sequence[str], path: Path) -> None:
    """Draw the chart into `path`, .svg or .png, with the first lines of `header` below it; needs matplotlib."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "onnx-fft", "font.size": 9, "font.family": "DejaVu Sans"})
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(8.0, 4.4))
    figure.subplots_adjust(0.08, 0.2, 0.98, 0.92)
    for name in FORCED:
        _draw_lowering(axes, name, *read_series(kernels, name))
    for name in AUTO:
        mark, lowering = MARKS[name]
        look = {"marker": mark, "s": 70, "facecolors": "none", "edgecolors": INKS[lowering], "linewidths": 1.6}
        replaced = [row for row in kernels if row["ways"][name]["replaced"]]
        axes.scatter(*read_series(replaced, name), label=LABELS[name][4:].replace("`", ""), zorder=4, **look)
    _scale(axes, kernels)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    title = "The article's network with larger kernels: times faster than with ONNX Runtime's Conv (below 1x is slower)"
    figure.text(0.012, 0.985, title, fontsize=10, va="top")
    small = "\n".join(textwrap.fill(line, 150) for line in header[:2])
    figure.text(0.012, 0.012, small, fontsize=6.5, color=FAINT, va="bottom", linespacing=1.3)
    metadata = {"Date": None, "Description": " ".join(header)} if path.suffix == ".svg" else None
    figure.savefig(path, dpi=200, metadata=metadata)
    pyplot.close(figure)


def _draw_lowering(axes: Any, name: str, kernels: Sequence[int], ratios: Sequence[float]) -> None:
    """A line with its last value at the end."""
    axes.plot(kernels, ratios, color=INKS[name], linewidth=1.8, marker=".", label=f"{name}, forced")
    place = {"textcoords": "offset points", "xytext": (8, LABEL_SHIFTS[name]), "va": "center"}
    axes.annotate(format_times(ratios[-1]), (kernels[-1], ratios[-1]), color=INKS[name], fontsize=8, **place)


def _scale(axes: Any, kernels: Sequence[Mapping[str, Any]]) -> None:
    """Log axes with round numbers, 1 marked."""
    sides = [row["kernel"] for row in kernels]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(sides[0] / 1.15, sides[-1] * 1.4)
    axes.set_xticks(sides, [f"{side}x{side}" for side in sides])
    axes.set_xticks([], minor=True)
    low, high = axes.get_ylim()
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.set_xlabel("kernel of all three Convs (log scale)", fontsize=8)
    axes.axhline(1.0, color=INK, linewidth=1.2)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.tick_params(length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
