"""How fast is the rewritten model? Both models in one process on one thread pool, in turn; medians, spread, ratio.

Peak memory is that of one more process for each model (`timing.launch` says why), apart from the times.

Whether the two compute the same is `validate`'s question. A loss is printed as a loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnx_fft.errors import InvalidModelError, UsageError
from onnx_fft.inputs.feeds import Feed, describe_made_up, find_selectors, fix_shapes, load_feed, read_inputs
from onnx_fft.inputs.search import search
from onnx_fft.model.io import LoadedModel, ModelSource, load_model
from onnx_fft.progress import Progress, no_progress
from onnx_fft.runtime.cuda import check_cuda, is_for_cuda
from onnx_fft.runtime.engines import EngineError, Value
from onnx_fft.runtime.libraries import describe_missing_library, find_libraries
from onnx_fft.runtime.opening import open_original
from onnx_fft.timing.launch import Machine, ModelTiming, time_models
from onnx_fft.timing.nodes import NodeChange, compare_nodes
from onnx_fft.timing.stats import (
    Ratio,
    compare,
    describe_ratio,
    describe_seconds,
    format_bytes,
    format_ms,
    format_peak,
)

MAX_OP_TYPES = 8
"""Rows of the table by operator type that are printed."""
MAX_NODES = 10
"""Rows of the table by node that are printed, replaced Convs first."""
MAX_NAME = 40

OpTime = tuple[str, float | None, float | None]
"""An operator type and its seconds in a run of the original and of the rewritten model; None: it did not run there."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Two models timed against each other. `ratio` is original over rewritten: above 1 is faster, below is slower.

    `input_shapes` holds what both were fed, `feed` says how to make it again. `nodes` is where the time went, replaced
    Convs first, each against all nodes that took its place.
    """

    original: ModelTiming
    rewritten: ModelTiming
    ratio: Ratio
    machine: Machine
    input_shapes: dict[str, tuple[int, ...]]
    feed: str
    seed: int
    nodes: tuple[NodeChange, ...] = ()
    made_up: str = ""
    """Which input shapes had to be made up, and how to give others; "" for none."""
    missing: str = ""
    """That the native library did not take part, and why; "" where it did, or was not wanted."""

    @property
    def verdict(self) -> str:
        """One sentence: the ratio, and in words whether it is a gain, a loss or not to tell."""
        return describe_ratio(self.ratio)

    def rank_op_types(self, count: int) -> list[OpTime]:
        """The `count` operator types that took longest, profiled, and in one more row the rest; [] without profiles."""
        before, after = self.original.seconds_by_op_type, self.rewritten.seconds_by_op_type
        names = sorted(before.keys() | after.keys(), key=lambda name: -max(before.get(name, 0), after.get(name, 0)))
        rows: list[OpTime] = [(name, before.get(name), after.get(name)) for name in names[:count]]
        if rest := names[count:]:
            first, second = (sum(times.get(name, 0.0) for name in rest) for times in (before, after))
            rows.append((f"{len(rest)} more", first, second))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, every sample included."""
        return {
            "verdict": self.verdict,
            "ratio": self.ratio.to_dict(),
            "original": self.original.to_dict(),
            "rewritten": self.rewritten.to_dict(),
            "machine": asdict(self.machine),
            "input_shapes": {name: list(shape) for name, shape in self.input_shapes.items()},
            "feed": self.feed,
            "made_up": self.made_up,
            "missing": self.missing,
            "seed": self.seed,
            "nodes": [node.to_dict() for node in self.nodes],
        }

    def describe(self) -> list[str]:
        """The whole result as lines of text, verdict last."""
        shapes = ", ".join(f"{name}:{'x'.join(map(str, s)) or 'scalar'}" for name, s in self.input_shapes.items())
        lines = [self.machine.describe(), f"{self.feed}; seed {self.seed}; inputs {shapes or 'none'}"]
        lines += [f"note: {note}" for note in (self.made_up, self.missing) if note]
        for label, timing in (("original", self.original), ("rewritten", self.rewritten)):
            lines.append(
                f"{label:9}  run {describe_seconds(timing.run_s)}  load {format_ms(timing.load_s)} ms  "
                f"file {format_bytes(timing.file_bytes)}  memory {format_peak(timing.peak_bytes)}  "
                f"{', '.join(timing.providers)}"
            )
        tables = [*_describe_op_types(self.rank_op_types(MAX_OP_TYPES)), *_describe_nodes(self.nodes)]
        return [*lines, *tables, self.verdict]


def bench(
    original: ModelSource,
    rewritten: ModelSource,
    *,
    inputs: str | Path | Mapping[str, Value] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    threads: int | None = None,
    seed: int = 0,
    budget_s: float = 10.0,
    profile: bool = True,
    memory: bool = True,
    custom_ops: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Benchmark:
    """Time `original` against `rewritten` in ONNX Runtime for about `budget_s` seconds of measured runs.

    Feeds are given or made as for `validate`; of a model that accepts several shapes, the first that works is taken, so
    pass `input_shapes` for one that matters. `threads` None leaves their number to ONNX Runtime. `profile` adds a few
    runs for the tables of time by operator type and by node, `memory` a process a model for its peak memory.
    `custom_ops` are operator libraries for ONNX Runtime; our own is used where a model has nodes for it. Where a model
    was written for the CUDA provider, that runs both: without `profile`, since ONNX Runtime's times of nodes are those
    of launching kernels, not the kernels' own; and without `memory`, which would be the CPU's.

    Raises UsageError for a bad call, InvalidModelError where ONNX Runtime does not run one of the models, and
    CudaUnavailable where one wants the CUDA provider and that does not work.
    """
    progress = progress or no_progress
    if threads is not None and threads < 1:
        raise UsageError(f"got {threads} threads; expected 1 or more; leave it out to let ONNX Runtime choose")
    sources = (load_model(original), load_model(rewritten))
    custom_ops = find_libraries((source.model for source in sources), custom_ops)
    if cuda := any(is_for_cuda(source.model) for source in sources):
        check_cuda("to time a model that was written for it")
    progress("looking for an input")
    feed = find_feed(*sources, inputs=inputs, input_shapes=input_shapes or {}, seed=seed, custom_ops=custom_ops)
    progress(f"timing both models on {feed.label}")
    try:
        (before, after), machine = time_models(
            sources,
            feed.arrays,
            threads=threads,
            budget_s=budget_s,
            profile=profile and not cuda,
            memory=memory and not cuda,
            custom_ops=custom_ops,
            cuda=cuda,
        )
    except EngineError as error:
        raise InvalidModelError(
            f"got models that cannot be timed on {feed.label} ({error}); expected two that ONNX Runtime runs on the "
            "same inputs; see what validate says"
        ) from error
    shapes = {name: tuple(np.shape(value)) for name, value in feed.arrays.items()}
    ratio = compare(before.samples_s, after.samples_s)
    nodes = compare_nodes(*sources, before.nodes, after.nodes)
    notes = describe_made_up([feed]), describe_missing_library(source.model for source in sources)
    return Benchmark(before, after, ratio, machine, shapes, feed.label, seed, nodes, *notes)


def find_feed(
    original: LoadedModel,
    rewritten: LoadedModel,
    *,
    inputs: str | Path | Mapping[str, Value] | None,
    input_shapes: Mapping[str, Sequence[int]],
    seed: int,
    custom_ops: Sequence[str | Path] = (),
) -> Feed:
    """The given inputs, checked, or the first random ones that the original model runs on."""
    infos = read_inputs(original.model)
    if inputs is not None:
        return load_feed(inputs, infos)
    infos = fix_shapes(infos, input_shapes, read_inputs(rewritten.model))
    runner = open_original(original, custom_ops=custom_ops)
    return search(infos, runner.run, seed, find_selectors(original.model, infos), vary=False)[0]


def _describe_op_types(rows: Sequence[OpTime]) -> list[str]:
    """Milliseconds a run by operator type, before and after; nothing without profiles."""
    if not rows:
        return []
    head = f"{'ms by operator (profiled)':28}{'original':>10}{'rewritten':>11}"
    return [head, *(f"  {name:26}{_describe_pair(first, second)}" for name, first, second in rows)]


def _describe_nodes(nodes: Sequence[NodeChange]) -> list[str]:
    """Milliseconds a run by node, before and after, replaced Convs first; nothing without profiles."""
    if not nodes:
        return []
    head = f"{'ms by node (profiled)':70}{'original':>10}{'rewritten':>11}"
    rows = [(_describe_place(node), node.original_s, node.rewritten_s) for node in nodes[:MAX_NODES]]
    if rest := nodes[MAX_NODES:]:
        sums = (sum(node.original_s or 0 for node in rest), sum(node.rewritten_s or 0 for node in rest))
        rows.append((f"{len(rest)} more", *sums))
    return [head, *(f"  {text:68}{_describe_pair(first, second)}" for text, first, second in rows)]


def _describe_pair(original_s: float | None, rewritten_s: float | None) -> str:
    cells = ("-" if seconds is None else format_ms(seconds) for seconds in (original_s, rewritten_s))
    return " ".join(f"{cell:>10}" for cell in cells)


def _describe_place(node: NodeChange) -> str:
    """`conv1  Conv -> matmul, 12 nodes`; of a long name the end, which tells nodes apart."""
    name = node.name if len(node.name) <= MAX_NAME else f"...{node.name[3 - MAX_NAME :]}"
    what = f"{node.op_type} -> {node.lowering}, {node.nodes} nodes" if node.lowering else node.op_type
    return f"{name:{MAX_NAME}}  {what}"
