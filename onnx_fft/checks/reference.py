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
from onnx_fft.inputs.sparse import KINDS, PATCHWORKS, make_non_negative, make_sparse, scale_feed
from onnx_fft.model.io import LoadedModel
from onnx_fft.options import Inputs
from onnx_fft.runtime.engines import EngineError, Runner, Value

Notes = tuple[Note, ...]

MAX_SPARSE_S = 20.0
"""What the original may run on sparse feeds, but for one of each kind or, if that takes longer, the two patchworks."""
MAX_PROBES_S = 10.0
"""If the original would run longer on the probes, they are left out."""
SCALES = (2.0**-4, 2.0**-8, 2.0**-16)
"""What random values are multiplied by if they make an output overflow."""
MOSTLY_NAN = 0.9
"""Of an output, the share of NaN that a Log or Sqrt of random values does not reach."""


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
    made = make_probe_feeds(feeds[0].arrays, seed)
    if len(made) * runner.longest_s > MAX_PROBES_S:
        notes.append(Note(f"{_say_why(runner)} the probes are left out: {', '.join(made)}"))
        made = {}
    for kind, arrays in made.items():
        try:
            probes[kind] = arrays, runner.run(arrays)
        except EngineError as error:
            notes.append(Note(f"probe {kind} left out: the original does not run on it ({error})"))
    return Reference(engine, feeds, sparse, probes, tuple(notes))


def _run_sparse(runner: Runner, base: Feed, seed: int) -> tuple[list[Feed], Notes]:
    """The sparse feeds made from `base` that the original runs on, with its outputs.

    If it takes too long on one feed of each kind, the kinds are put side by side in two, and only those feeds of one
    kind are made for which time is left.
    """
    feeds: list[Feed] = []
    notes: list[Note] = []
    left_out: list[str] = []
    is_slow = len(KINDS) * runner.longest_s > MAX_SPARSE_S
    wanted = {**PATCHWORKS, **KINDS} if is_slow else KINDS
    started = monotonic()
    for kind, arrays in make_sparse(base.arrays, seed, wanted):
        is_dear = is_slow and monotonic() - started + runner.longest_s > MAX_SPARSE_S
        if is_dear and kind not in PATCHWORKS and feeds:
            left_out.append(kind)
            continue
        try:
            feeds.append(Feed(f"{kind}, made of {base.label}", arrays, runner.run(arrays)))
        except EngineError as error:
            notes.append(Note(f"left out, because the original does not run on it: a feed of {kind} ({error})"))
    if left_out:
        kinds = f"{len(KINDS)} kinds of sparse feeds share {len(PATCHWORKS)}"
        notes.append(Note(f"{_say_why(runner)} the {kinds}; left out as feeds of their own: {', '.join(left_out)}"))
    return feeds, tuple(notes)


def _say_why(runner: Runner) -> str:
    return f"a run of the original takes {runner.longest_s:.1f} s, so"


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
    """The feed, or one of non-negative or smaller values on which more of what the original gives is finite.

    A Log or Sqrt makes NaN of negative values, however small they are.
    """
    if not _count_strange(feed.outputs):
        return feed
    label = f"{feed.label}, without signs because outputs are not finite"
    best = _take_better(runner, feed, replace(feed, label=label, arrays=make_non_negative(feed.arrays)))
    for scale in SCALES if _overflows(best.outputs) else ():
        label = f"{feed.label}, scaled by {scale:.1e} because outputs overflow"
        best = _take_better(runner, best, replace(feed, label=label, arrays=scale_feed(feed.arrays, scale)))
    return best


def _take_better(runner: Runner, feed: Feed, other: Feed) -> Feed:
    """`other` with its outputs if more of them is finite than of the feed's."""
    try:
        found = replace(other, outputs=runner.run(other.arrays))
    except EngineError:
        return feed
    return found if _count_strange(found.outputs) < _count_strange(feed.outputs) else feed


def _overflows(outputs: Mapping[str, Value]) -> bool:
    """Whether an output holds Inf, or next to nothing but NaN, as Inf less Inf makes."""
    floats = [value for value in outputs.values() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    return any(np.isinf(value).any() or np.isnan(value).mean() > MOSTLY_NAN for value in floats if value.size)


def _count_strange(outputs: Mapping[str, Value]) -> int:
    floats = (value for value in outputs.values() if isinstance(value, np.ndarray) and value.dtype.kind == "f")
    return sum(int((~np.isfinite(value)).sum()) for value in floats)
