"""A benchmark on the page: both models' run times with quartiles, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx_fft.bench import Benchmark
from onnx_fft.report.html.bars import Bar, pair_bars
from onnx_fft.report.numbers import format_bytes, format_peak, format_time, plural
from onnx_fft.timing.launch import ModelTiming
from onnx_fft.timing.nodes import NodeChange
from onnx_fft.timing.stats import describe_verdict

MAX_OP_TYPES = 7
MAX_NODES = 25


@dataclass(frozen=True, slots=True)
class Run:
    """One model's run: median and quartiles in percent of the longest, and as text."""

    kind: str
    """A class of the style sheet: before, after, "after lost"."""
    label: str
    median: float
    low: float
    high: float
    time: str
    spread: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a profile, and what became of it."""

    name: str
    change: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """What the section shows; `op_types` and the nodes are empty without a profile of both models."""

    verdict: str
    runs: tuple[Run, Run]
    facts: tuple[tuple[str, str, str], ...]
    op_types: tuple[tuple[str, tuple[Bar, ...]], ...]
    replaced: tuple[Node, ...]
    others: tuple[Node, ...]
    others_summary: str


def show_timing(benchmark: Benchmark) -> Timing:
    """The section on measured times."""
    before, after, ratio = benchmark.original, benchmark.rewritten, benchmark.ratio
    longest = max(before.run_s.high, after.run_s.high)
    nodes = benchmark.nodes if before.nodes and after.nodes else ()
    longest_node = max((node.larger_s for node in nodes), default=0.0)
    others = sorted((node for node in nodes if not node.lowering), key=lambda node: -node.larger_s)
    slowest = f"The slowest {MAX_NODES} of {len(others)} other nodes"
    return Timing(
        verdict=f"{ratio.value:.2f}×: {describe_verdict(ratio)}",
        runs=(
            _show_run("original", "before", before, longest),
            _show_run("rewritten", "after lost" if ratio.is_loss else "after", after, longest),
        ),
        facts=_list_facts(before, after),
        op_types=_show_op_types(benchmark) if before.nodes and after.nodes else (),
        replaced=_show_nodes([node for node in nodes if node.lowering], longest_node),
        others=_show_nodes(others[:MAX_NODES], longest_node),
        others_summary=slowest if len(others) > MAX_NODES else plural(len(others), "other node"),
    )


def _show_run(label: str, kind: str, timing: ModelTiming, longest: float) -> Run:
    run = timing.run_s
    median, low, high = (100 * value / longest if longest else 0.0 for value in (run.median, run.low, run.high))
    spread = f"{format_time(run.low)} to {format_time(run.high)}"
    return Run(kind, label, median, low, high, format_time(run.median), spread)


def _list_facts(before: ModelTiming, after: ModelTiming) -> tuple[tuple[str, str, str], ...]:
    """What each model takes beside time: a heading, the original's and the rewritten model's."""
    return (
        ("Session load", format_time(before.load_s), format_time(after.load_s)),
        ("File", format_bytes(before.file_bytes), format_bytes(after.file_bytes)),
        ("Peak memory", format_peak(before.peak_bytes), format_peak(after.peak_bytes)),
        ("Rounds", str(len(before.samples_s)), str(len(after.samples_s))),
        ("Providers", ", ".join(before.providers), ", ".join(after.providers)),
    )


def _show_op_types(benchmark: Benchmark) -> tuple[tuple[str, tuple[Bar, ...]], ...]:
    rows = benchmark.rank_op_types(MAX_OP_TYPES)
    longest = max((max(first or 0.0, second or 0.0) for _, first, second in rows), default=0.0)
    return tuple(
        (name, pair_bars(first or None, second or None, longest, judged=False)) for name, first, second in rows
    )


def _show_nodes(nodes: Sequence[NodeChange], longest: float) -> tuple[Node, ...]:
    return tuple(
        Node(
            node.name,
            f"{node.op_type} → {node.lowering}, {plural(node.nodes, 'node')}" if node.lowering else node.op_type,
            pair_bars(node.original_s, node.rewritten_s, longest, judged=bool(node.lowering)),
        )
        for node in nodes
    )
