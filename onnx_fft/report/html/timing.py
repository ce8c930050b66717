"""A benchmark on the page: both models' run times with quartiles, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_fft.bench import Benchmark
from onnx_fft.report.html.elements import (
    Markup,
    element,
    folded,
    format_time,
    join,
    name_of,
    pair_of_bars,
    plural,
    render_legend,
    table,
)
from onnx_fft.timing.launch import ModelTiming
from onnx_fft.timing.nodes import NodeChange
from onnx_fft.timing.stats import describe_verdict, format_bytes, format_peak

MAX_OP_TYPES = 7
MAX_NODES = 25


def render_timing(benchmark: Benchmark) -> Markup:
    """The section on measured times."""
    pair = (("original", "before", benchmark.original), ("rewritten", "after", benchmark.rewritten))
    longest = max(timing.run_s.high for _, _, timing in pair)
    ratio = benchmark.ratio
    parts = [
        element("h2", "Measured time", id="timing"),
        element("p", f"{ratio.value:.2f}×: {describe_verdict(ratio)}", class_="lead"),
        element(
            "div",
            *(_render_run(*model, longest, lost=model[1] == "after" and ratio.is_loss) for model in pair),
            class_="runs",
        ),
        element(
            "p",
            "One run of each model: the median, with whiskers at the quartiles. Both ran in turn in one process on one "
            "thread pool.",
            class_="quiet",
        ),
        _render_facts(pair[0][2], pair[1][2]),
    ]
    if benchmark.original.nodes and benchmark.rewritten.nodes:
        note = "From a profile of a few runs. Profiling itself takes time: compare shares rather than sums."
        parts += [
            element("h3", "Where the time went"),
            element("p", note, class_="quiet"),
            render_legend((("before", "original"), ("after", "rewritten"))),
            _render_op_types(benchmark),
            *_render_nodes(benchmark.nodes),
        ]
    return element("section", *parts, aria_labelledby="timing")


def _render_run(label: str, kind: str, timing: ModelTiming, longest: float, *, lost: bool) -> Markup:
    run = timing.run_s
    shares = [100 * value / longest if longest else 0.0 for value in (run.median, run.low, run.high)]
    line = "--share:{:.2f}%;--low:{:.2f}%;--high:{:.2f}%".format(*shares)
    return element(
        "div",
        element("span", label, class_="label"),
        element("span", element("i"), element("u"), class_="track", style=line, aria_hidden="true"),
        element("b", format_time(run.median)),
        element("span", f"{format_time(run.low)} to {format_time(run.high)}", class_="spread"),
        class_=f"run {kind} lost" if lost else f"run {kind}",
    )


def _render_facts(before: ModelTiming, after: ModelTiming) -> Markup:
    rows = [
        ("Session load", format_time(before.load_s), format_time(after.load_s)),
        ("File", format_bytes(before.file_bytes), format_bytes(after.file_bytes)),
        ("Peak memory", format_peak(before.peak_bytes), format_peak(after.peak_bytes)),
        ("Rounds", str(len(before.samples_s)), str(len(after.samples_s))),
        ("Providers", ", ".join(before.providers), ", ".join(after.providers)),
    ]
    return table("The two models", ("", "Original", "Rewritten"), rows, "facts")


def _render_op_types(benchmark: Benchmark) -> Markup:
    rows = benchmark.rank_op_types(MAX_OP_TYPES)
    longest = max((max(first or 0.0, second or 0.0) for _, first, second in rows), default=0.0)
    cells = [(name, pair_of_bars(first or None, second or None, longest, judged=False)) for name, first, second in rows]
    return table("Time by operator, original above rewritten", ("Operator", "Time in a run"), cells, "operators")


def _render_nodes(nodes: Sequence[NodeChange]) -> list[Markup]:
    """Each replaced Conv against all nodes that took its place, and behind a line the slowest of the other nodes."""
    longest = max((node.larger_s for node in nodes), default=0.0)
    replaced = [node for node in nodes if node.lowering]
    others = sorted((node for node in nodes if not node.lowering), key=lambda node: -node.larger_s)
    parts = []
    if replaced:
        parts.append(element("h3", "Replaced convolutions, against all that took their place"))
        parts.append(_list_nodes("Replaced convolutions", replaced, longest))
    if others:
        shown = _list_nodes("Other nodes", others[:MAX_NODES], longest)
        more = f"The slowest {MAX_NODES} of {len(others)} other nodes"
        parts.append(
            folded(more if len(others) > MAX_NODES else plural(len(others), "other node"), shown, is_open=False)
        )
    return parts


def _list_nodes(caption: str, nodes: Sequence[NodeChange], longest: float) -> Markup:
    rows = [
        (
            join((name_of(node.name), element("span", _describe_change(node), class_="geometry"))),
            pair_of_bars(node.original_s, node.rewritten_s, longest, judged=bool(node.lowering)),
        )
        for node in nodes
    ]
    return table(caption, ("Node", "Time in a run"), rows, "operators")


def _describe_change(node: NodeChange) -> str:
    return f"{node.op_type} → {node.lowering}, {plural(node.nodes, 'node')}" if node.lowering else node.op_type
