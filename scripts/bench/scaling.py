"""How the time of a 3x3 Conv grows with its feature maps, channels and threads: ONNX Runtime's and the library's.

    python -m scripts.bench.scaling results.json chart.svg

The library's node is forced, also where `auto` leaves the Conv alone. Both take turns in one process. Needs matplotlib,
the extra `plot` of the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnx_fft.errors import NativeUnavailable
from onnx_fft.model.io import load_model
from onnx_fft.rewrite import rewrite
from onnx_fft.runtime.libraries import find_libraries
from onnx_fft.timing.launch import Host, time_models
from scripts.bench.plot import GAIN, LOSS, load_pyplot, print_small, save_figure
from scripts.shared.conv_models import build_conv_model, draw_input
from scripts.shared.layers import make_spec
from scripts.shared.runs import describe_run, describe_target, refuse

SIZES, CHANNELS = (14, 28, 56, 112, 224, 448), (8, 16, 32, 64, 128, 256, 512)
PANELS = {"size": "64 channels, N x N", "channels": "N channels, 56 x 56"}
THREADS = (1, 2)
BUDGET_S = 1.5
SEED = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One Conv on so many threads, by the panel it belongs to, its N, and medians in milliseconds."""

    panel: str
    n: int
    threads: int
    conv_ms: float
    native_ms: float


def measure(panel: str, n: int, threads: int, budget_s: float = BUDGET_S) -> tuple[Point, Host]:
    """Time one Conv beside the library's node."""
    channels, size = (64, n) if panel == "size" else (n, 56)
    spec = make_spec((channels, channels), (3, 3), (size, size))
    original = build_conv_model(spec)
    forced = rewrite(original, target="native", select="all", validate=False).model
    (conv, native), host = time_models(
        [load_model(original), load_model(forced)],
        {"x": draw_input(spec, SEED)},
        threads=threads,
        budget_s=budget_s,
        custom_ops=find_libraries([forced]),
        in_place=True,
    )
    return Point(panel, n, threads, 1e3 * conv.run_s.median, 1e3 * native.run_s.median), host


def draw(points: Sequence[Point], header: Sequence[str], path: Path) -> None:
    """Draw both panels into `path`, .svg or .png, with the first two lines of `header` below them."""
    pyplot = load_pyplot()
    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(8.0, 3.6), sharey=True)
    figure.subplots_adjust(0.08, 0.27, 0.98, 0.9, wspace=0.06)
    for axes, (panel, title) in zip(panels, PANELS.items(), strict=True):
        _draw_panel(axes, [point for point in points if point.panel == panel])
        axes.set_title(f"3x3, {title}", fontsize=9)
        axes.set_xlabel("N")
    panels[0].set_ylabel("ms a run")
    panels[0].legend(frameon=False, fontsize=8)
    print_small(figure, header, 0.02)
    save_figure(pyplot, figure, header, path)


def _draw_panel(axes: Any, points: Sequence[Point]) -> None:
    """A line for each operator and number of threads, on two logarithmic axes."""
    for threads in THREADS:
        own = sorted((point for point in points if point.threads == threads), key=lambda point: point.n)
        look = {"linestyle": "-" if threads > 1 else "--", "marker": "o", "markersize": 3, "linewidth": 1.3}
        numbers, words = [point.n for point in own], f"{threads} thread{'s' if threads > 1 else ''}"
        axes.plot(numbers, [point.conv_ms for point in own], color=LOSS, label=f"ONNX Runtime's Conv, {words}", **look)
        axes.plot(numbers, [point.native_ms for point in own], color=GAIN, label=f"FFTConv, {words}", **look)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({point.n for point in points})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.grid(color="#e6e6e6", linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all points, write and draw them; 2 if the library does not run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("json", type=Path, help="the measurements")
    parser.add_argument("chart", type=Path, help="the chart, .svg or .png")
    options = parser.parse_args(arguments)
    try:
        notes = describe_target("native")
    except NativeUnavailable as error:
        return refuse(str(error))
    cases = [("size", n) for n in SIZES] + [("channels", n) for n in CHANNELS]
    found = [measure(panel, n, threads) for panel, n in cases for threads in THREADS]
    points, header = [point for point, _ in found], [*describe_run([host for _, host in found], SEED), *notes]
    content = {"header": header, "points": [asdict(point) for point in points]}
    options.json.write_text(json.dumps(content, indent=1) + "\n")
    draw(points, header, options.chart)
    return 0


if __name__ == "__main__":
    sys.exit(main())
