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

from onnx_fft.errors import InvalidModelError
from onnx_fft.hints import Note
from onnx_fft.inputs.feeds import Feed, load_feed, note_made_up, read_inputs
from onnx_fft.inputs.search import search_model
from onnx_fft.model.io import LoadedModel, ModelSource, load_model
from onnx_fft.options import Inputs, check_seed, check_threads
from onnx_fft.progress import Progress, no_progress
from onnx_fft.runtime.cuda import check_cuda, is_for_cuda
from onnx_fft.runtime.engines import EngineError
from onnx_fft.runtime.libraries import find_libraries, note_missing_library
from onnx_fft.runtime.opening import open_original
from onnx_fft.timing.launch import Host, ModelTiming, time_models
from onnx_fft.timing.nodes import NodeChange, compare_nodes
from onnx_fft.timing.stats import Ratio, compare, describe_ratio

BENCH_BUDGET_S = 10.0
"""Seconds of measured runs, unless the caller says otherwise."""

OpTime = tuple[str, float | None, float | None]
"""An operator type and its seconds in a run of the original and of the rewritten model; None: it did not run there."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Two models timed against each other. `ratio` is original over rewritten: above 1 is faster, below is slower.

    `input_shapes` are those of what both were fed, `feed` says how to make it again. `nodes` says where the time went,
    replaced Convs first, each against all nodes that took its place. `notes` are about made-up shapes and about a
    native library that did not take part.
    """

    original: ModelTiming
    rewritten: ModelTiming
    ratio: Ratio
    host: Host
    input_shapes: dict[str, tuple[int, ...]]
    feed: str
    seed: int
    nodes: tuple[NodeChange, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def verdict(self) -> str:
        """One sentence: the ratio, and whether it is a gain, a loss, or neither is shown."""
        return describe_ratio(self.ratio)

    def rank_op_types(self, count: int) -> list[OpTime]:
        """The `count` operator types that took longest, profiled, and the rest in one more row; [] without profiles."""
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
            "host": asdict(self.host),
            "input_shapes": {name: list(shape) for name, shape in self.input_shapes.items()},
            "feed": self.feed,
            "notes": [note.tell() for note in self.notes],
            "seed": self.seed,
            "nodes": [node.to_dict() for node in self.nodes],
        }


def bench(
    original: ModelSource,
    rewritten: ModelSource,
    *,
    inputs: Inputs = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    threads: int | None = None,
    seed: int = 0,
    budget_s: float = BENCH_BUDGET_S,
    profile: bool = True,
    memory: bool = True,
    custom_ops: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Benchmark:
    """Time `original` against `rewritten` in ONNX Runtime for about `budget_s` seconds of measured runs.

    Inputs are given or made as for `validate`; if a model accepts several shapes, the first that works is taken, so
    pass `input_shapes` for one that matters. `threads` None leaves their number to ONNX Runtime. `profile` adds a few
    runs for the tables of time by operator type and by node, `memory` one process for each model for its peak memory.
    `custom_ops` are operator libraries for ONNX Runtime; ours is added if a model has nodes for it.

    If a model was written for the CUDA provider, that provider runs both: without `profile`, because ONNX Runtime's
    times of nodes are then those of launching kernels, not the kernels' own; and without `memory`, which would be the
    CPU's.

    Raises UsageError for a wrong call, InvalidModelError if ONNX Runtime does not run one of the models, and
    CudaUnavailable if one needs the CUDA provider and that does not work.
    """
    progress = progress or no_progress
    check_threads(threads)
    check_seed(seed)
    sources = (load_model(original), load_model(rewritten))
    custom_ops = find_libraries((source.model for source in sources), custom_ops)
    if cuda := any(is_for_cuda(source.model) for source in sources):
        check_cuda("to time a model that was written for it")
    progress("looking for an input")
    feed = find_feed(*sources, inputs=inputs, input_shapes=input_shapes or {}, seed=seed, custom_ops=custom_ops)
    progress(f"timing both models on {feed.label}")
    try:
        (before, after), host = time_models(
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
            f"got models that cannot be timed on {feed.label} ({error})",
            "two that ONNX Runtime runs on the same inputs",
            "validate them to see where they differ",
        ) from error
    shapes = {name: tuple(np.shape(value)) for name, value in feed.arrays.items()}
    ratio = compare(before.samples_s, after.samples_s)
    nodes = compare_nodes(*sources, before.nodes, after.nodes)
    notes = (*note_made_up([feed]), *note_missing_library(source.model for source in sources))
    return Benchmark(before, after, ratio, host, shapes, feed.label, seed, nodes, notes)


def find_feed(
    original: LoadedModel,
    rewritten: LoadedModel,
    *,
    inputs: Inputs,
    input_shapes: Mapping[str, Sequence[int]],
    seed: int,
    custom_ops: Sequence[str | Path] = (),
) -> Feed:
    """The given inputs, checked, or the first random ones that the original model runs on."""
    if inputs is not None:
        return load_feed(inputs, read_inputs(original.model))
    runner = open_original(original, custom_ops=custom_ops)
    return search_model(original, runner, seed, input_shapes, other=rewritten, vary=False)[0]
