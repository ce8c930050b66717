"""Does the rewritten model compute what the original computes? Numbers, a verdict, and where it goes wrong.

The original, run by ONNX Runtime with all optimizations, is the reference for every output under every feed; in
addition each replaced Conv is held against a float64 oracle. A failure is a verdict, not an exception; exceptions are
for calls that cannot be answered (a missing file, inputs that do not fit, a model nothing here can run).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onnx_fft.checks.bisection import Bisection, bisect
from onnx_fft.checks.compare import Comparison, compare_outputs, ordinary_rounding
from onnx_fft.checks.convs import check_convs
from onnx_fft.checks.draws import find_reached, fix_draws
from onnx_fft.checks.interface import compare_interfaces
from onnx_fft.checks.lookback import find_before_saturation, is_float_decision
from onnx_fft.checks.probes import Probe, find_worst_zeros, judge_probe
from onnx_fft.checks.reference import Notes, Reference, run_original
from onnx_fft.checks.result import FeedResult, Validation, give_verdict, note_sparse, note_uncovered
from onnx_fft.checks.rounding import Rounding
from onnx_fft.checks.sparing import find_unrunnable, note_told, spare_numbers, spare_unrunnable
from onnx_fft.errors import UsageError
from onnx_fft.hints import Note
from onnx_fft.inputs.feeds import Feed
from onnx_fft.inputs.sparse import BRIGHT
from onnx_fft.model.io import LoadedModel, ModelSource, load_model
from onnx_fft.options import Inputs, check_seed
from onnx_fft.progress import Progress, no_progress
from onnx_fft.runtime.cuda import find_cuda_problem, is_for_cuda
from onnx_fft.runtime.engines import ORT, PIECES, REFERENCE, STAND_IN, WITHOUT_GPU, EngineError, Runner, Value
from onnx_fft.runtime.libraries import find_libraries, note_missing_library
from onnx_fft.runtime.opening import open_original, open_runner

Compared = tuple[FeedResult, dict[str, Value]]
"""How a feed compares, and what the rewritten model returned, {} if it did not run."""


@dataclass(frozen=True, slots=True)
class _Task:
    """One call of `validate`. `custom_ops` are `given_ops`, and our library if the rewritten model needs it.

    `extra` holds tensors that are compared beside the outputs, with the operator that flattens each; `drawn` the
    outputs that depend on numbers drawn at random, which cannot be compared.
    """

    original: LoadedModel
    rewritten: LoadedModel
    seed: int
    rtol: float | None
    atol: float
    given_ops: tuple[Path, ...]
    custom_ops: tuple[Path, ...]
    extra: dict[str, str]
    drawn: frozenset[str]
    progress: Progress


def validate(
    original: ModelSource,
    rewritten: ModelSource,
    *,
    inputs: Inputs = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    rtol: float | None = None,
    atol: float = 0.0,
    custom_ops: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Validation:
    """Compare two models; a LoadedModel says where a model object has its external data.

    Give `inputs` (an .npz path or a dict by input name), or let `seed` make random ones; `input_shapes` fixes the shape
    of inputs that the model leaves open. Sparse feeds of the same shapes are compared as well: zeros, a constant, an
    offset, a black border, a few bright samples, and the last two at the scale of pixels, on which NaN and decisions
    count and numbers do not. On these, what follows from Convs that ONNX Runtime cannot run at all is told, and fails
    nothing. Random operators give the same numbers in both models.

    If a run of the original takes seconds, all kinds of sparse feeds share two, and the probes are left out; of many
    Convs, each is held against the oracle at a part of its outputs. The notes and each Conv's sentence say so.

    `rtol` replaces the relative limits of the table, `atol` is allowed on top, for each element; with `rtol`, rounding
    noise is not an excuse, except on sparse feeds. `custom_ops` are operator libraries for ONNX Runtime; ours is added
    if the rewritten model has nodes for it, and then that model is compared without it as well.

    Raises UsageError or InvalidModelError if the question cannot be answered.
    """
    check_seed(seed)
    _check_tolerances(rtol=rtol, atol=atol)
    (before, drawn, notes), (after, *_) = (_fix_draws(load_model(source)) for source in (original, rewritten))
    libraries = find_libraries((), custom_ops), find_libraries((after.model,), custom_ops)
    extra = find_before_saturation(before.model, after.model)
    task = _Task(before, after, seed, rtol, atol, *libraries, extra, drawn, progress or no_progress)
    if wrong := compare_interfaces(before.model, after.model):
        return Validation(False, f"different: {wrong}", seed, engine="")
    task.progress("running the original model")
    runner = open_original(before, expose=list(extra), custom_ops=task.custom_ops)
    reference = run_original(runner, before, after, inputs, input_shapes or {}, seed)
    reference = replace(reference, notes=(*notes, *reference.notes))
    del runner  # one session at a time
    try:
        runner = _open_rewritten(task, reference.engine, task.custom_ops)
    except EngineError as error:
        verdict = f"different: the original runs and the rewritten model does not load; {error}"
        return Validation(False, verdict, seed, reference.engine, notes=reference.notes)
    return _judge(task, reference, runner)


def _check_tolerances(**given: float | None) -> None:
    """An infinite tolerance passes anything, and one that is NaN nothing."""
    for name, value in given.items():
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"got {name} {value}", "a finite number, 0 or more", "correct it")


def _fix_draws(source: LoadedModel) -> tuple[LoadedModel, frozenset[str], Notes]:
    """The model with fixed numbers in place of drawn ones, the outputs that still depend on some, and what to say."""
    fixed, left = fix_draws(source)
    notes = []
    if fixed:
        names = ", ".join(fixed)
        notes.append(Note(f"both models got the same numbers from {names} here; as files they draw as before"))
    if reached := find_reached(source.model, left):
        notes.append(
            Note(f"not compared, because they depend on numbers drawn at random: {', '.join(sorted(reached))}")
        )
    return replace(source, path=None) if fixed else source, frozenset(reached), tuple(notes)


def _judge(task: _Task, reference: Reference, runner: Runner) -> Validation:
    """Every check of the rewritten model that `runner` has loaded."""
    feeds, sparse, engine = reference.feeds, reference.sparse, reference.engine
    compared = [_compare_feed(task, engine, runner, feed) for feed in feeds]
    thin_compared, thin_notes = _compare_sparse(task, reference, runner)
    compared += thin_compared
    probes, probe_notes = _judge_probes(task, reference, runner)
    thin_runs = zip(sparse, thin_compared, strict=True)
    zeros = find_worst_zeros([(feed.label, feed.outputs, outputs) for feed, (_, outputs) in thin_runs])
    by_whom, gpu_notes = _describe_gpu(task, runner)
    del runner  # one session at a time: the checks below open their own
    models, ops = (task.original, task.rewritten), task.custom_ops
    convs = check_convs(*models, feeds, seed=task.seed, drawn=task.drawn, custom_ops=ops, progress=task.progress)
    results = [result for result, _ in compared]
    if all(conv.ok for conv in convs):  # one that was not checked may be what is wrong
        results = _excuse_noise(task, compared, (*feeds, *sparse), sparse=len(sparse))
    bisection = _bisect(task, results, (*feeds, *sparse))
    without, library_notes = _compare_without_library(task, reference)
    dense, thin = [*results[: len(feeds)], *without], results[len(feeds) :]
    ok, verdict = give_verdict(dense, thin, convs)
    notes = (*reference.notes, *probe_notes, *gpu_notes, *library_notes)
    notes = (*notes, *thin_notes, *note_sparse(thin), *note_uncovered(results))
    found = (tuple(dense), convs, (*probes, *zeros), bisection, notes, tuple(thin))
    return Validation(ok, verdict + by_whom, task.seed, engine, *found)


def _open_rewritten(task: _Task, engine: str, custom_ops: Sequence[Path]) -> Runner:
    runner = open_runner(task.rewritten, expose=list(task.extra), custom_ops=custom_ops)
    _check_engine(task, engine, runner)
    return runner


def _check_engine(task: _Task, engine: str, runner: Runner) -> None:
    """Raise EngineError if ONNX Runtime does not run the rewritten model, but ran the original, or has a GPU."""
    has_gpu = is_for_cuda(task.rewritten.model) and not find_cuda_problem()
    if runner.engine == REFERENCE and (engine == ORT or has_gpu):
        raise EngineError(runner.note)


def _compare_feed(
    task: _Task, engine: str, runner: Runner, feed: Feed, *, ordinary: Mapping[str, Value] | None = None
) -> Compared:
    """`ordinary` are outputs of ordinary size, beside which a sparse feed's may be next to nothing."""
    task.progress(f"comparing on {feed.label}")
    try:
        outputs = runner.run(feed.arrays)
        _check_engine(task, engine, runner)  # again, because only a run shows who runs the pieces of a model
    except EngineError as error:
        return FeedResult(feed.label, error=f"the rewritten model does not run on it; {error}"), {}
    comparisons: list[Comparison] = []
    for name, reference in feed.outputs.items():
        if name in task.drawn:
            continue
        atol = task.atol
        if ordinary is not None and isinstance(ordinary[name], np.ndarray) and ordinary[name].dtype.kind == "f":
            atol += ordinary_rounding(ordinary[name], task.rtol)
        found = compare_outputs(name, reference, outputs[name], rtol=task.rtol, atol=atol)
        comparisons += [_explain(task, name, comparison) for comparison in found]
    if feed.label.startswith(BRIGHT):
        comparisons = list(map(spare_numbers, comparisons))
    return FeedResult(feed.label, tuple(comparisons)), outputs


def _compare_sparse(task: _Task, reference: Reference, runner: Runner) -> tuple[list[Compared], Notes]:
    """The sparse feeds, and what is told of them because nothing ran the original before."""
    ordinary = max(reference.feeds, key=lambda feed: feed.size).outputs
    compared = [_compare_feed(task, reference.engine, runner, feed, ordinary=ordinary) for feed in reference.sparse]
    if reference.engine == ORT or is_for_cuda(task.rewritten.model):
        return compared, ()
    outputs = find_unrunnable(task.original, task.rewritten, task.extra)
    notes = note_told([result for result, _ in compared], outputs)
    return [(spare_unrunnable(result, outputs), made) for result, made in compared], notes


def _explain(task: _Task, name: str, comparison: Comparison) -> Comparison:
    """With what the graph around the output says of the numbers."""
    sentence = comparison.sentence
    if name in task.extra:
        sentence += f"; the tensor before {task.extra[name]}, compared because that flattens differences"
    if comparison.mismatch_share and is_float_decision(task.original.model, name):
        sentence += "; they come from a decision on floats, and rounding can turn a near tie: judge whether it did"
    return replace(comparison, sentence=sentence)


def _judge_probes(task: _Task, reference: Reference, runner: Runner) -> tuple[tuple[Probe, ...], Notes]:
    probes: list[Probe] = []
    notes: list[Note] = []
    names = task.original.output_names
    for kind, (arrays, before) in reference.probes.items():
        try:
            after = runner.run(arrays)
        except EngineError as error:
            notes.append(Note(f"probe {kind}: the rewritten model does not run on it, the original does ({error})"))
            continue
        probes += judge_probe(kind, {name: before[name] for name in names}, after, reference.feeds[0].outputs)
    return tuple(probes), tuple(notes)


def _describe_gpu(task: _Task, runner: Runner) -> tuple[str, Notes]:
    """What the verdict has to say of a model for the CUDA provider: that it took part, or who computed instead."""
    if runner.is_on_gpu:
        note = Note("the CUDA provider ran what it has kernels for of the rewritten model, without TF32")
        return "; the CUDA provider took part", (note,)
    if not is_for_cuda(task.rewritten.model):
        return "", ()
    why = find_cuda_problem() or runner.note
    who = f"; {STAND_IN}" if runner.engine == PIECES else ""
    note = Note(f"no GPU took part ({why}), so what one computes was not checked{who}")
    return f"; no GPU took part: {WITHOUT_GPU[runner.engine]}", (note,)


def _excuse_noise(
    task: _Task, compared: Sequence[Compared], feeds: Sequence[Feed], *, sparse: int = 0
) -> list[FeedResult]:
    """Pass outputs whose difference is no more than rounding makes of the original itself, and say so.

    A given `rtol` rules that out, but not for the last `sparse` feeds, which nobody asked for.
    """
    ordinary = len(feeds) - sparse
    strict = 0 if task.rtol is None else ordinary
    extra, ops = list(task.extra), task.custom_ops
    rounding = Rounding(task.original, task.rewritten, extra, ops, task.seed, task.progress)
    results = [result for result, _ in compared[:strict]]
    for place, feed in enumerate(feeds[strict:], strict):
        results.append(rounding.judge(*compared[place], feed, sparse=place >= ordinary))
    return results


def _bisect(task: _Task, results: Sequence[FeedResult], feeds: Sequence[Feed]) -> Bisection | None:
    """Where the first feed with a difference goes wrong."""
    for result, feed in zip(results, feeds, strict=True):
        if not result.ok and not result.error:
            task.progress("bisecting")
            models = (task.original, task.rewritten)
            return bisect(*models, feed.arrays, rtol=task.rtol, atol=task.atol, custom_ops=task.custom_ops)
    return None


def _compare_without_library(task: _Task, reference: Reference) -> tuple[list[FeedResult], Notes]:
    """The rewritten model without our native library: then its own functions compute."""
    if task.custom_ops == task.given_ops:
        return [], note_missing_library([task.rewritten.model])
    label = "without the native library"
    try:
        runner = _open_rewritten(task, reference.engine, task.given_ops)
    except EngineError as error:
        return [FeedResult(label, error=f"the rewritten model does not load; {error}")], ()
    compared = [_compare_feed(task, reference.engine, runner, feed) for feed in reference.feeds]
    del runner
    results = _excuse_noise(task, compared, reference.feeds)
    return [replace(result, label=f"{result.label}, {label}") for result in results], ()
