"""The measured choice for a whole model: feeds, shapes, contests, growth, taking back.

Interrupted, it leaves nothing but the timings in the cache, from which the next run goes on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any

from onnx import ModelProto

from onnx_fft._version import __version__
from onnx_fft.cost.choose import Decision, Request, leave_after_all, limit_growth, predict_original
from onnx_fft.cost.memory import limit_memory
from onnx_fft.errors import InvalidModelError, Refusal
from onnx_fft.hints import Note, Option
from onnx_fft.host import cpu_model
from onnx_fft.inputs.feeds import Feed, note_made_up
from onnx_fft.lowering import CUDA
from onnx_fft.lowering.base import Plan
from onnx_fft.measure.budget import Budget
from onnx_fft.measure.cache import Cache, Environment
from onnx_fft.measure.candidates import make_contest
from onnx_fft.measure.choice import Contest, choose_measured
from onnx_fft.measure.contests import Result, run_contests, time_contest_once
from onnx_fft.measure.models import ModelTimer
from onnx_fft.measure.shapes import find_feeds, find_shapes
from onnx_fft.measure.takeback import Outcome, Variant, take_back
from onnx_fft.model.io import LoadedModel
from onnx_fft.native import library_path
from onnx_fft.options import RewriteOptions
from onnx_fft.ort import ort_version
from onnx_fft.progress import Progress
from onnx_fft.runtime.cuda import check_cuda, gpu_name
from onnx_fft.runtime.engines import EngineError
from onnx_fft.sites.site import Site, Spec
from onnx_fft.timing.launch import Host
from onnx_fft.timing.stats import Ratio

LIBRARY_DIGITS = 16
"""Of the digest by which cached timings know the native library."""

NOT_LOADED = (Note("ONNX Runtime does not load the original, so that the whole model was not compared with it"),)

Build = Callable[[Mapping[str, Plan]], ModelProto]
"""The whole model with the sites of these names replaced."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """How the choice was made and how sure it is.

    `ratio` compares the original model with the one that was chosen, over all `feeds` together; None if no
    replacement came so far, or if ONNX Runtime does not load the original. `accepted` says whether that one is the
    result; otherwise nothing is replaced.
    `contests` counts distinct convolutions timed, `cached` those of them whose timings were known, `unmeasured` those
    that had to be judged by prediction.
    """

    budget_s: float
    spent_s: float
    contests: int = 0
    cached: int = 0
    unmeasured: int = 0
    ratio: Ratio | None = None
    accepted: bool = False
    feeds: dict[str, Ratio] = field(default_factory=dict)
    host: Host | None = None
    notes: tuple[Note, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {"notes": [note.tell() for note in self.notes]}


def measure_model(
    original: LoadedModel,
    loaded: LoadedModel,
    sites: Sequence[Site],
    predicted: Sequence[Decision],
    build: Build,
    request: Request,
    options: RewriteOptions,
    progress: Progress,
) -> tuple[list[Decision], Measurement]:
    """Decisions by measurement in place of those `predicted`, one for each of the `sites` of `loaded`.

    Only sites whose decision weighed options take part, and of those not the ones that ONNX Runtime has no Conv for: it
    does not load a model with one, and then only single Convs are timed. Otherwise `original` is what the result has to
    beat. Raises UsageError if no input is found, InvalidModelError if ONNX Runtime does not run the original model,
    NativeUnavailable if the native library is to be timed and is not there, CudaUnavailable if the CUDA provider is.
    """
    _check_target(request.target)
    lacking = {position for position, site in enumerate(sites) if _is_lacking(site, request)}
    asked = [position for position, decision in enumerate(predicted) if decision.options and position not in lacking]
    if not asked:
        return list(predicted), Measurement(options.budget_s, 0.0, notes=NOT_LOADED if lacking else ())
    progress("looking for inputs")
    feeds = find_feeds(loaded, options)
    cuda = request.target == CUDA
    contests = _find_contests(loaded, [sites[position] for position in asked], feeds, request, options)
    budget = Budget(options.budget_s)
    cache = open_cache(options, request)
    results = run_contests(
        Counter(contest for contest in contests.values() if contest.candidates),
        partial(time_contest_once, threads=options.threads, cuda=cuda),
        cache,
        budget,
        progress,
    )
    decisions = list(predicted)
    for position in asked:
        decisions[position] = _decide(predicted[position], contests.get(sites[position].name), results)
    decisions = limit_growth(decisions, request.max_growth_bytes)
    decisions = limit_memory([site.spec for site in sites], decisions, request)
    outcome, host = Outcome(frozenset()), None
    if not lacking:
        time_models = partial(ModelTimer, original, feeds=feeds, options=options, budget=budget, progress=progress)
        decisions, outcome, host = _judge_whole(sites, decisions, build, partial(time_models, cuda=cuda))
    measurement = Measurement(
        options.budget_s,
        budget.spent_s,
        len(results),
        sum(result.cached for result in results.values()),
        sum(result.timings is None for result in results.values()),
        outcome.ratio,
        bool(outcome.kept),
        dict(zip((feed.label for feed in feeds), outcome.cases, strict=False)),
        host,
        (*(NOT_LOADED if lacking else ()), *_make_notes(cache, outcome, feeds)),
    )
    return decisions, measurement


def _check_target(target: str) -> None:
    """Raise NativeUnavailable or CudaUnavailable if there is nothing here to measure `target` with."""
    if target == "native":
        library_path()
    if target == CUDA:
        check_cuda("to measure with")


def _is_lacking(site: Site, request: Request) -> bool:
    """Whether ONNX Runtime has no Conv for it."""
    return site.spec is not None and predict_original(site.spec, request) is None


def _find_contests(
    loaded: LoadedModel, sites: Sequence[Site], feeds: Sequence[Feed], request: Request, options: RewriteOptions
) -> dict[str, Contest]:
    """The contest of each site whose input shapes are known, by site name; equal ones are equal."""
    try:
        shapes = find_shapes(loaded, sites, feeds, options.custom_ops)
    except EngineError as error:
        raise InvalidModelError(
            f"got a model in which the inputs of operators cannot be recorded ({error})",
            "one that ONNX Runtime runs",
            ("fix its shapes by ", Option("input_shapes"), ", or use ", Option("select", "auto")),
        ) from error
    contests: dict[str, Contest] = {}
    for site in sites:
        if site.name in shapes:
            assert site.spec is not None
            contests[site.name] = make_contest(site.spec, site.opset, shapes[site.name], request, site.storage)
    return contests


def _decide(predicted: Decision, contest: Contest | None, results: Mapping[Contest, Result]) -> Decision:
    """By the timings; by the prediction if there are none, except if the convolution could not be run."""
    result = Result(None, "its input shapes are not known") if contest is None else results.get(contest)
    if result is None:  # no candidate was worth timing
        return predicted if predicted.plan is None else leave_after_all(predicted, _nothing_promising(predicted))
    if result.timings is not None and contest is not None:
        return choose_measured(contest, result.timings)
    if result.failed:
        return leave_after_all(predicted, Refusal("not-measured", f"it could not be timed: {result.reason}"))
    return replace(predicted, reason=f"{predicted.reason}; not measured: {result.reason}")


def _nothing_promising(predicted: Decision) -> Refusal:
    return Refusal("no-gain", f"{predicted.reason} for unknown shapes, but at no gain for those it really gets")


def _judge_whole(
    sites: Sequence[Site], decisions: Sequence[Decision], build: Build, make_timer: Callable[..., ModelTimer]
) -> tuple[list[Decision], Outcome, Host | None]:
    """The decisions that pay in the model; convolutions of one geometry and plan stand or fall together."""
    groups = _group(sites, decisions)
    if not groups:
        return list(decisions), Outcome(frozenset()), None

    def build_variant(variant: Variant) -> ModelProto:
        pairs = [(sites[position].name, decisions[position].plan) for label in variant for position in groups[label]]
        return build({name: plan for name, plan in pairs if plan is not None})

    timer = make_timer(build=build_variant)
    gains = {label: sum(decisions[position].saved_s for position in group) for label, group in groups.items()}
    outcome = take_back(gains, timer)
    result = list(decisions)
    for label, reason in outcome.taken_back.items():
        for position in groups[label]:
            result[position] = leave_after_all(decisions[position], Refusal("taken-back", reason))
    return result, outcome, timer.host


def _group(sites: Sequence[Site], decisions: Sequence[Decision]) -> dict[str, list[int]]:
    """Positions of the convolutions of one geometry and plan, by the name of the first."""
    groups: dict[tuple[Spec | None, Plan], list[int]] = {}
    for position, (site, decision) in enumerate(zip(sites, decisions, strict=True)):
        if decision.plan is not None:
            groups.setdefault((site.spec, decision.plan), []).append(position)
    return {sites[positions[0]].name: positions for positions in groups.values()}


def _make_notes(cache: Cache | None, outcome: Outcome, feeds: Sequence[Feed]) -> tuple[Note, ...]:
    """What a reader has to know beside the numbers."""
    notes = [] if cache is None else list(map(Note, cache.notes))
    notes += note_made_up(feeds)
    if outcome.untested:
        text = f"no time was left to ask for {len(outcome.untested)} of the replacements whether the model is faster "
        notes.append(Note(f"{text}without it"))
    return tuple(notes)


def open_cache(options: RewriteOptions, request: Request) -> Cache | None:
    """The timings of this machine; None if they are not wanted, or if its GPU has no name to know them by."""
    gpu = gpu_name() if request.target == CUDA else ""
    if not options.use_cache or (request.target == CUDA and not gpu):
        return None
    library = sha256(library_path().read_bytes()).hexdigest()[:LIBRARY_DIGITS] if request.target == "native" else ""
    return Cache(
        Environment(options.threads or 0, ort_version(), cpu_model(), os.cpu_count() or 1, __version__, library, gpu)
    )
