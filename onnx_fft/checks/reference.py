"""What the original gives under every feed: given or random ones, sparse ones made of them, and probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np

from onnx_fft.checks.probes import make_probe_feeds
from onnx_fft.errors import InvalidModelError
from onnx_fft.hints import Note
from onnx_fft.inputs.feeds import Feed, load_feed, read_inputs
from onnx_fft.inputs.search import search_model
from onnx_fft.inputs.sparse import make_sparse, scale_feed
from onnx_fft.model.io import LoadedModel
from onnx_fft.options import Inputs
from onnx_fft.runtime.engines import EngineError, Runner, Value

Notes = tuple[Note, ...]

MAX_SPARSE_S = 10.0
"""No further sparse feed is begun after the original has run on them for so long; one is always made."""
SCALES = (2.0**-4, 2.0**-8, 2.0**-16)
"""What random values are multiplied by if they make an output overflow."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What the original gave: `feeds` hold its outputs, `probes` the inputs and outputs of each kind of probe.

    `sparse` are feeds made from one of `feeds`, see `inputs/sparse.py`.
    """

    engine: str
    feeds: list[Feed]
    sparse: list[Feed]
    probes: dict[str, tuple[dict[str, Value], dict[str, Value]]]
    notes: Notes


def run_original(
    runner: Runner,
    original: LoadedModel,
    rewritten: LoadedModel,
    inputs: Inputs,
    shapes: Mapping[str, Sequence[int]],
    seed: int,
) -> Reference:
    """Every feed with the original's outputs, and the probes of the first feed with theirs; `runner` has loaded it."""
    notes = [Note(f"the original was run by {runner.engine}, because {runner.note}")] if runner.note else []
    engine = runner.engine
    if inputs is None:
        found = search_model(original, runner, seed, shapes, other=rewritten)
        feeds = [_avoid_overflow(runner, feed) for feed in found]
    else:
        feeds = [_run_given(runner, load_feed(inputs, read_inputs(original.model)))]
    sparse, sparse_notes = _run_sparse(runner, max(feeds, key=lambda feed: feed.size), seed)
    notes += sparse_notes
    probes = {}
    for kind, arrays in make_probe_feeds(feeds[0].arrays, seed).items():
        try:
            probes[kind] = arrays, runner.run(arrays)
        except EngineError as error:
            notes.append(Note(f"probe {kind} left out: the original does not run on it ({error})"))
    return Reference(engine, feeds, sparse, probes, tuple(notes))


def _run_sparse(runner: Runner, base: Feed, seed: int) -> tuple[list[Feed], Notes]:
    """The sparse feeds made from `base` that the original runs on, with its outputs."""
    feeds: list[Feed] = []
    notes: list[Note] = []
    started = monotonic()
    for kind, arrays in make_sparse(base.arrays, seed):
        if feeds and monotonic() - started > MAX_SPARSE_S:
            notes.append(Note(f"left out, because the original takes long: a feed of {kind}"))
            continue
        try:
            feeds.append(Feed(f"{kind}, made of {base.label}", arrays, runner.run(arrays)))
        except EngineError as error:
            notes.append(Note(f"left out, because the original does not run on it: a feed of {kind} ({error})"))
    return feeds, tuple(notes)


def _run_given(runner: Runner, given: Feed) -> Feed:
    try:
        return replace(given, outputs=runner.run(given.arrays))
    except EngineError as error:
        raise InvalidModelError(
            f"got {given.label}, on which the original model does not run ({error})",
            "inputs it accepts",
            "check their shapes",
        ) from error


def _avoid_overflow(runner: Runner, feed: Feed) -> Feed:
    """The feed, or a smaller-scaled one on which more of what the original gives is finite."""
    best, most = feed, _count_strange(feed.outputs)
    for scale in SCALES if most else ():
        arrays = scale_feed(feed.arrays, scale)
        try:
            outputs = runner.run(arrays)
        except EngineError:
            continue
        if (strange := _count_strange(outputs)) < most:
            label = f"{feed.label}, scaled by {scale:.1e} because outputs overflow"
            best, most = replace(feed, label=label, arrays=arrays, outputs=outputs), strange
    return best


def _count_strange(outputs: Mapping[str, Value]) -> int:
    floats = (value for value in outputs.values() if isinstance(value, np.ndarray) and value.dtype.kind == "f")
    return sum(int((~np.isfinite(value)).sum()) for value in floats)
