"""A benchmark as a chart: both models' medians with quartile whiskers, and time by operator before and after.

Matplotlib comes with the extra `plot` and is imported only when a chart is drawn.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_fft.bench import Benchmark, OpTime
from onnx_fft.checks.compare import shorten
from onnx_fft.errors import UsageError
from onnx_fft.model.staging import write_bytes
from onnx_fft.report.numbers import format_ms, format_spread
from onnx_fft.report.sentences import describe_host

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
MAX_OP_TYPES = 8
BEFORE, AFTER, INK, QUIET = "#8d8678", "#17796b", "#22252a", "#62656b"
"""The colours of the HTML report on light paper."""
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": INK,
}
STYLE |= {"svg.hashsalt": "onnx-fft", "svg.fonttype": "none", "text.parse_math": False}


def check_plot(path: str | Path) -> None:
    """Raise UsageError if a chart cannot be written to `path`; call it before spending time on a benchmark."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(f"got plot file {str(path)!r}", f"a name that ends in {' or '.join(SUFFIXES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("matplotlib is not installed", hint="run pip install 'onnx-fft[plot]'")


def plot_benchmark(benchmark: Benchmark, path: str | Path, *, title: str = "") -> None:
    """Draw `benchmark` into a PNG or SVG file, by the suffix of `path`; raises UsageError or OutputError."""
    write_bytes(path, render_plot(benchmark, path, title=title))


def render_plot(benchmark: Benchmark, path: str | Path, *, title: str = "") -> bytes:
    """What the file is to hold; raises UsageError."""
    check_plot(path)
    import matplotlib as mpl

    data = io.BytesIO()
    kind = Path(path).suffix.lower()[1:]
    with mpl.rc_context(STYLE):
        figure = _draw(benchmark, title)
        figure.savefig(data, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return data.getvalue()


def _draw(benchmark: Benchmark, title: str) -> Figure:
    from matplotlib.figure import Figure

    rows = benchmark.rank_op_types(MAX_OP_TYPES)
    heights = [2.2, 0.6 + 0.75 * len(rows)] if rows else [2.2]
    figure = Figure(figsize=(8, 1.3 + 0.55 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    heading = f"{shorten(title)}: {benchmark.verdict}" if title else benchmark.verdict
    figure.suptitle(heading, x=0.01, ha="left", fontsize=11, wrap=True)
    _draw_runs(axes[0], benchmark)
    if rows:
        _draw_op_types(axes[1], rows)
    figure.supxlabel(describe_host(benchmark.host), x=0.01, ha="left", fontsize=7, color=QUIET, wrap=True)
    return figure


def _draw_runs(axes: Axes, benchmark: Benchmark) -> None:
    """Medians as bars, quartiles as whiskers."""
    for place, (timing, color) in enumerate(((benchmark.original, BEFORE), (benchmark.rewritten, AFTER))):
        run = timing.run_s
        reach = [[(run.median - run.low) * 1e3], [(run.high - run.median) * 1e3]]
        axes.barh(place, run.median * 1e3, 0.6, color=color, xerr=reach, error_kw={"ecolor": INK, "capsize": 4})
        axes.annotate(
            format_spread(run), (run.high * 1e3, place), (8, 0), textcoords="offset points", va="center", fontsize=9
        )
    _finish(axes, ["original", "rewritten"], "ms a run: median, whiskers at the quartiles")


def _draw_op_types(axes: Axes, rows: Sequence[OpTime]) -> None:
    for place, (_, before_s, after_s) in enumerate(rows):
        for offset, seconds, color in ((-0.19, before_s, BEFORE), (0.19, after_s, AFTER)):
            if seconds:
                axes.barh(place + offset, seconds * 1e3, 0.36, color=color)
                at = (seconds * 1e3, place + offset)
                axes.annotate(format_ms(seconds), at, (4, 0), textcoords="offset points", va="center", fontsize=8)
    _finish(axes, [shorten(name, 40) for name, _, _ in rows], "ms by operator, profiled: original above rewritten")


def _finish(axes: Axes, labels: list[str], caption: str) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.margins(x=0.25)
    axes.set_xlabel(caption, loc="left", fontsize=8)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
