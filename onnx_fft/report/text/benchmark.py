"""A benchmark as text: where and on what it ran, both models, where the time went, the verdict last."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_fft.bench import Benchmark, OpTime
from onnx_fft.hints import Wording
from onnx_fft.inputs.feeds import format_shape
from onnx_fft.report.numbers import format_bytes, format_ms, format_peak, format_spread
from onnx_fft.report.sentences import describe_host
from onnx_fft.report.text.tables import Drawing, make_lines, make_table
from onnx_fft.timing.nodes import NodeChange

MAX_OP_TYPES = 8
"""Rows of the table by operator type."""
MAX_NODES = 10
"""Rows of the table by node, replaced Convs first."""
MAX_NAME = 40
TIMES = ("original ms", "rewritten ms")


def draw_benchmark(benchmark: Benchmark, wording: Wording) -> list[Drawing]:
    """The whole result, verdict last."""
    shapes = ", ".join(f"{name}:{format_shape(shape)}" for name, shape in benchmark.input_shapes.items())
    lines = [describe_host(benchmark.host), f"{benchmark.feed}; seed {benchmark.seed}; inputs {shapes or 'none'}"]
    lines += [f"note: {note.tell(wording)}" for note in benchmark.notes]
    return [
        *make_lines(lines),
        _draw_models(benchmark),
        *_draw_op_types(benchmark.rank_op_types(MAX_OP_TYPES)),
        *_draw_nodes(benchmark.nodes),
        *make_lines([benchmark.verdict]),
    ]


def _draw_models(benchmark: Benchmark) -> Drawing:
    rows = [
        (
            label,
            format_spread(timing.run_s),
            f"{format_ms(timing.load_s)} ms",
            format_bytes(timing.file_bytes),
            format_peak(timing.peak_bytes),
            ", ".join(provider.removesuffix("ExecutionProvider") for provider in timing.providers),
        )
        for label, timing in (("original", benchmark.original), ("rewritten", benchmark.rewritten))
    ]
    numbers = ("run", "load", "file", "memory")
    return make_table(("model", *numbers, "providers"), rows, numbers=numbers)


def _draw_op_types(rows: Sequence[OpTime]) -> list[Drawing]:
    """Milliseconds a run by operator type, before and after; nothing without profiles."""
    cells = [(name, _format(first), _format(second)) for name, first, second in rows]
    return [make_table(("operator, profiled", *TIMES), cells, numbers=TIMES)] if cells else []


def _draw_nodes(nodes: Sequence[NodeChange]) -> list[Drawing]:
    """Milliseconds a run by node, before and after, replaced Convs first; nothing without profiles."""
    rows = [
        (_shorten(node.name), _describe_change(node), _format(node.original_s), _format(node.rewritten_s))
        for node in nodes[:MAX_NODES]
    ]
    if rest := nodes[MAX_NODES:]:
        original_s, rewritten_s = (
            sum(node.original_s or 0 for node in rest),
            sum(node.rewritten_s or 0 for node in rest),
        )
        rows.append((f"{len(rest)} more", "", _format(original_s), _format(rewritten_s)))
    return [make_table(("node, profiled", "what", *TIMES), rows, numbers=TIMES)] if rows else []


def _describe_change(node: NodeChange) -> str:
    """`Conv -> matmul, 12 nodes`."""
    return f"{node.op_type} -> {node.lowering}, {node.nodes} nodes" if node.lowering else node.op_type


def _shorten(name: str) -> str:
    """Of a long name the end, by which nodes differ."""
    return name if len(name) <= MAX_NAME else f"...{name[3 - MAX_NAME :]}"


def _format(seconds: float | None) -> str:
    return "-" if seconds is None else format_ms(seconds)
