"""Does the rewritten model compute what the original computes? Numbers, a verdict, and where it goes wrong.

The original, run by ONNX Runtime with all optimizations, is the reference for every output under every feed; in
addition each replaced Conv is held against a float64 oracle. A failure is a verdict, not an exception; exceptions are
for calls that cannot be answered (a missing file, inputs that do not fit, a model nothing here can run).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_fft.checks.bisection import Bisection, bisect
from onnx_fft.checks.compare import Comparison, compare_outputs
from onnx_fft.checks.convs import check_convs
from onnx_fft.checks.interface import compare_interfaces
from onnx_fft.checks.lookback import find_before_saturation, is_float_decision
from onnx_fft.checks.noise import excuse, is_numeric_failure, measure_noise
from onnx_fft.checks.probes import Probe, judge_probe, make_probe_feeds
from onnx_fft.checks.result import FeedResult, Validation, give_verdict
from onnx_fft.errors import InvalidModelError
from onnx_fft.hints import Note
from onnx_fft.inputs.feeds import Feed, Inputs, load_feed, read_inputs
from onnx_fft.inputs.search import search_model
from onnx_fft.model.io import LoadedModel, ModelSource, load_model
from onnx_fft.progress import Progress, no_progress
from onnx_fft.runtime.cuda import find_cuda_problem, is_for_cuda
from onnx_fft.runtime.engines import ORT, PIECES, REFERENCE, STAND_IN, WITHOUT_GPU, EngineError, Runner, Value
from onnx_fft.runtime.libraries import find_libraries, note_missing_library
from onnx_fft.runtime.opening import open_original, open_runner

Notes = tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class _Task:
    """One call of `validate`. `custom_ops` are `given_ops`, and our library if the rewritten model needs it.

    `extra` holds tensors that are compared beside the outputs, with the operator that flattens each.
    """

    original: LoadedModel
    rewritten: LoadedModel
    seed: int
    rtol: float | None
    atol: float
    given_ops: tuple[Path, ...]
    custom_ops: tuple[Path, ...]
    extra: dict[str, str]
    progress: Progress


@dataclass(frozen=True, slots=True)
class _Reference:
    """What the original gave: `feeds` hold its outputs, `probes` the inputs and outputs of each kind of probe."""

    engine: str
    feeds: list[Feed]
    probes: dict[str, tuple[dict[str, Value], dict[str, Value]]]
    notes: Notes


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
    of inputs that the model leaves open. `rtol` replaces the relative limits of the table, `atol` is allowed on top,
    for each element; with `rtol`, rounding noise is not an excuse. `custom_ops` are operator libraries for ONNX
    Runtime; ours is added if the rewritten model has nodes for it, and then that model is compared without it as well.

    Raises UsageError or InvalidModelError if the question cannot be answered.
    """
    before, after = load_model(original), load_model(rewritten)
    libraries = find_libraries((), custom_ops), find_libraries((after.model,), custom_ops)
    extra = find_before_saturation(before.model, after.model)
    task = _Task(before, after, seed, rtol, atol, *libraries, extra, progress or no_progress)
    if wrong := compare_interfaces(before.model, after.model):
        return Validation(False, f"different: {wrong}", seed, engine="")
    reference = _run_original(task, inputs, input_shapes or {})
    try:
        runner = _open_rewritten(task, reference.engine, task.custom_ops)
    except EngineError as error:
        verdict = f"different: the original runs and the rewritten model does not load; {error}"
        return Validation(False, verdict, seed, reference.engine, notes=reference.notes)
    return _judge(task, reference, runner)


def _judge(task: _Task, reference: _Reference, runner: Runner) -> Validation:
    """Every check of the rewritten model that `runner` has loaded."""
    feeds, engine = reference.feeds, reference.engine
    results = [_compare_feed(task, engine, runner, feed) for feed in feeds]
    probes, probe_notes = _judge_probes(task, reference, runner)
    by_whom, gpu_notes = _describe_gpu(task, runner)
    del runner  # one session at a time: the checks below open their own
    models, ops = (task.original, task.rewritten), task.custom_ops
    convs = check_convs(*models, feeds, seed=task.seed, custom_ops=ops, progress=task.progress)
    if all(conv.ok for conv in convs):  # one that was not checked may be what is wrong
        results = _excuse_noise(task, results, feeds)
    bisection = _bisect(task, results, feeds)
    without, library_notes = _compare_without_library(task, reference)
    results += without
    ok, verdict = give_verdict(results, convs)
    notes = (*reference.notes, *probe_notes, *gpu_notes, *library_notes)
    return Validation(ok, verdict + by_whom, task.seed, engine, tuple(results), convs, probes, bisection, notes)


def _run_original(task: _Task, inputs: Inputs, shapes: Mapping[str, Sequence[int]]) -> _Reference:
    """Every feed with the original's outputs, and the probes of the first feed with theirs."""
    task.progress("running the original model")
    runner = open_original(task.original, expose=list(task.extra), custom_ops=task.custom_ops)
    notes = [Note(f"the original was run by {runner.engine}, because {runner.note}")] if runner.note else []
    engine = runner.engine
    feeds = _make_feeds(task, runner, inputs, shapes)
    probes = {}
    for kind, arrays in make_probe_feeds(feeds[0].arrays, task.seed).items():
        try:
            probes[kind] = arrays, runner.run(arrays)
        except EngineError as error:
            notes.append(Note(f"probe {kind} left out: the original does not run on it ({error})"))
    return _Reference(engine, feeds, probes, tuple(notes))


def _make_feeds(task: _Task, runner: Runner, inputs: Inputs, shapes: Mapping[str, Sequence[int]]) -> list[Feed]:
    """The given inputs, or random ones of shapes that the original accepts, with its outputs."""
    if inputs is None:
        return search_model(task.original, runner.run, task.seed, shapes, other=task.rewritten)
    given = load_feed(inputs, read_inputs(task.original.model))
    try:
        return [replace(given, outputs=runner.run(given.arrays))]
    except EngineError as error:
        raise InvalidModelError(
            f"got {given.label}, on which the original model does not run ({error})",
            "inputs it accepts",
            "check their shapes",
        ) from error


def _open_rewritten(task: _Task, engine: str, custom_ops: Sequence[Path]) -> Runner:
    runner = open_runner(task.rewritten, expose=list(task.extra), custom_ops=custom_ops)
    _check_engine(task, engine, runner)
    return runner


def _check_engine(task: _Task, engine: str, runner: Runner) -> None:
    """Raise EngineError if ONNX Runtime does not run the rewritten model, but ran the original, or has a GPU."""
    has_gpu = is_for_cuda(task.rewritten.model) and not find_cuda_problem()
    if runner.engine == REFERENCE and (engine == ORT or has_gpu):
        raise EngineError(runner.note)


def _compare_feed(task: _Task, engine: str, runner: Runner, feed: Feed) -> FeedResult:
    task.progress(f"comparing on {feed.label}")
    try:
        outputs = runner.run(feed.arrays)
        _check_engine(task, engine, runner)  # again, because only a run shows who runs the pieces of a model
    except EngineError as error:
        return FeedResult(feed.label, error=f"the rewritten model does not run on it; {error}")
    comparisons: list[Comparison] = []
    for name, reference in feed.outputs.items():
        found = compare_outputs(name, reference, outputs[name], rtol=task.rtol, atol=task.atol)
        comparisons += [_explain(task, name, comparison) for comparison in found]
    return FeedResult(feed.label, tuple(comparisons))


def _explain(task: _Task, name: str, comparison: Comparison) -> Comparison:
    """With what the graph around the output says of the numbers."""
    sentence = comparison.sentence
    if name in task.extra:
        sentence += f"; the tensor before {task.extra[name]}, compared because that flattens differences"
    if comparison.mismatch_share and is_float_decision(task.original.model, name):
        sentence += "; they come from a decision on floats, and rounding can turn a near tie: judge whether it did"
    return replace(comparison, sentence=sentence)


def _judge_probes(task: _Task, reference: _Reference, runner: Runner) -> tuple[tuple[Probe, ...], Notes]:
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


def _excuse_noise(task: _Task, results: list[FeedResult], feeds: Sequence[Feed]) -> list[FeedResult]:
    """Pass outputs whose difference is no more than rounding makes of the original itself, and say so."""
    if task.rtol is not None:
        return results
    return [_excuse_feed(task, result, feed) for result, feed in zip(results, feeds, strict=True)]


def _excuse_feed(task: _Task, result: FeedResult, feed: Feed) -> FeedResult:
    if not any(is_numeric_failure(comparison) for comparison in result.comparisons):
        return result
    task.progress(f"measuring the original's rounding noise on {feed.label}")
    runner = open_runner(task.original, expose=list(task.extra), custom_ops=task.custom_ops)
    noise = measure_noise(runner, feed.arrays, feed.outputs, task.seed)
    return replace(result, comparisons=tuple(excuse(comparison, noise) for comparison in result.comparisons))


def _bisect(task: _Task, results: Sequence[FeedResult], feeds: Sequence[Feed]) -> Bisection | None:
    """Where the first feed with a difference goes wrong."""
    for result, feed in zip(results, feeds, strict=True):
        if not result.ok and not result.error:
            task.progress("bisecting")
            models = (task.original, task.rewritten)
            return bisect(*models, feed.arrays, rtol=task.rtol, atol=task.atol, custom_ops=task.custom_ops)
    return None


def _compare_without_library(task: _Task, reference: _Reference) -> tuple[list[FeedResult], Notes]:
    """The rewritten model without our native library: then its own functions compute."""
    if task.custom_ops == task.given_ops:
        return [], note_missing_library([task.rewritten.model])
    label = "without the native library"
    try:
        runner = _open_rewritten(task, reference.engine, task.given_ops)
    except EngineError as error:
        return [FeedResult(label, error=f"the rewritten model does not load; {error}")], ()
    results = [_compare_feed(task, reference.engine, runner, feed) for feed in reference.feeds]
    del runner
    results = _excuse_noise(task, results, reference.feeds)
    return [replace(result, label=f"{result.label}, {label}") for result in results], ()
