"""Does the rewritten model compute what the original computes? Numbers, a verdict, and where it goes wrong.

The original, run by ONNX Runtime with all optimizations, is the reference for every output under every feed; in
addition each replaced Conv is held against a float64 oracle. A failure is a verdict, not an exception; exceptions are
for calls that cannot be answered (a missing file, inputs that do not fit, a model nothing here can run).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from onnx_fft.inputs.feeds import Feed, find_selectors, fix_shapes, load_feed, read_inputs
from onnx_fft.inputs.search import search
from onnx_fft.model.io import LoadedModel, ModelSource, load_model
from onnx_fft.progress import Progress, no_progress
from onnx_fft.runtime.cuda import find_cuda_problem, is_for_cuda
from onnx_fft.runtime.engines import ORT, PIECES, REFERENCE, STAND_IN, WITHOUT_GPU, EngineError, Runner, Value
from onnx_fft.runtime.libraries import describe_missing_library, find_libraries
from onnx_fft.runtime.opening import open_original, open_runner

Inputs = str | Path | Mapping[str, Value] | None


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
    of inputs that the model leaves open. `rtol` replaces the relative limits of the table, `atol` is allowed
    on top, per element; with `rtol`, rounding noise is no excuse. `custom_ops` are operator libraries for ONNX Runtime;
    our own is used where the rewritten model has nodes for it, and then that model is compared without it as well.

    Raises UsageError or InvalidModelError where the question cannot be answered.
    """
    return _Validator(
        load_model(original), load_model(rewritten), seed, rtol, atol, tuple(custom_ops), progress or no_progress
    ).validate(inputs, input_shapes or {})


class _Validator:
    """One call of `validate`: the steps, and what each of them needs."""

    def __init__(
        self,
        original: LoadedModel,
        rewritten: LoadedModel,
        seed: int,
        rtol: float | None,
        atol: float,
        custom_ops: tuple[str | Path, ...],
        progress: Progress,
    ) -> None:
        self.original, self.rewritten, self.seed = original, rewritten, seed
        self.rtol, self.atol, self.progress = rtol, atol, progress
        self.given_ops = custom_ops
        self.custom_ops = find_libraries((rewritten.model,), custom_ops)
        self.engine = ""
        self.notes: list[str] = []
        self.extra = find_before_saturation(original.model, rewritten.model)

    def validate(self, inputs: Inputs, shapes: Mapping[str, Sequence[int]]) -> Validation:
        if wrong := compare_interfaces(self.original.model, self.rewritten.model):
            return Validation(False, f"different: {wrong}", self.seed, engine="")
        feeds, probe_feeds, probe_before = self._run_original(inputs, shapes)
        try:
            runner = open_runner(self.rewritten, expose=list(self.extra), custom_ops=self.custom_ops)
            self._check_engine(runner)
        except EngineError as error:
            verdict = f"different: the original runs and the rewritten model does not load; {error}"
            return Validation(False, verdict, self.seed, self.engine, notes=tuple(self.notes))
        results = [self._compare_feed(runner, feed) for feed in feeds]
        probes = self._judge_probes(runner, feeds[0], probe_feeds, probe_before)
        by_whom = self._note_gpu(runner)
        del runner  # one session at a time: the checks below open their own
        models, ops = (self.original, self.rewritten), self.custom_ops
        convs = check_convs(*models, feeds, seed=self.seed, custom_ops=ops, progress=self.progress)
        if self.rtol is None and all(conv.ok for conv in convs):  # one that nobody checked may be what is wrong
            results = [self._excuse_noise(result, feed) for result, feed in zip(results, feeds, strict=True)]
        bisection = self._bisect(results, feeds)
        results += self._compare_functions(feeds)
        ok, verdict = give_verdict(results, convs)
        return Validation(
            ok, verdict + by_whom, self.seed, self.engine, tuple(results), convs, probes, bisection, tuple(self.notes)
        )

    def _run_original(
        self, inputs: Inputs, shapes: Mapping[str, Sequence[int]]
    ) -> tuple[list[Feed], dict[str, dict[str, Value]], dict[str, dict[str, Value]]]:
        """Every feed with the original's outputs, the probes' feeds, and the original's outputs under those."""
        self.progress("running the original model")
        runner = self._open_original()
        infos = read_inputs(self.original.model)
        if inputs is not None:
            given = load_feed(inputs, infos)
            try:
                feeds = [replace(given, outputs=runner.run(given.arrays))]
            except EngineError as error:
                raise InvalidModelError(
                    f"got {given.label}, on which the original model does not run ({error}); "
                    "expected inputs it accepts; check their shapes"
                ) from error
        else:
            infos = fix_shapes(infos, shapes, read_inputs(self.rewritten.model))
            feeds = search(infos, runner.run, self.seed, find_selectors(self.original.model, infos))
        probe_feeds = make_probe_feeds(feeds[0].arrays, self.seed)
        before = {}
        for kind, arrays in probe_feeds.items():
            try:
                before[kind] = runner.run(arrays)
            except EngineError as error:
                self.notes.append(f"probe {kind} left out: the original does not run on it ({error})")
        return feeds, probe_feeds, before

    def _compare_functions(self, feeds: Sequence[Feed]) -> list[FeedResult]:
        """The rewritten model without our native library: its own functions compute then."""
        if self.custom_ops == self.given_ops:
            if note := describe_missing_library([self.rewritten.model]):
                self.notes.append(note)
            return []
        label = "without the native library"
        try:
            runner = open_runner(self.rewritten, expose=list(self.extra), custom_ops=self.given_ops)
            self._check_engine(runner)
        except EngineError as error:
            return [FeedResult(label, error=f"the rewritten model does not load; {error}")]
        results = [self._compare_feed(runner, feed) for feed in feeds]
        del runner
        if self.rtol is None:
            results = [self._excuse_noise(result, feed) for result, feed in zip(results, feeds, strict=True)]
        return [replace(result, label=f"{result.label}, {label}") for result in results]

    def _open_original(self) -> Runner:
        runner = open_original(self.original, expose=list(self.extra), custom_ops=self.custom_ops)
        self.engine = runner.engine
        if runner.note:
            self.notes.append(f"the original was run by {runner.engine}, because {runner.note}")
        return runner

    def _check_engine(self, runner: Runner) -> None:
        """Raise EngineError where ONNX Runtime, having run the original or having a GPU, does not run the other."""
        has_gpu = is_for_cuda(self.rewritten.model) and not find_cuda_problem()
        if runner.engine == REFERENCE and (self.engine == ORT or has_gpu):
            raise EngineError(runner.note)

    def _note_gpu(self, runner: Runner) -> str:
        """What the verdict has to say of a model for the CUDA provider: that it took part, or who computed instead."""
        if runner.is_on_gpu:
            self.notes.append("the CUDA provider ran what it has kernels for of the rewritten model, without TF32")
            return "; the CUDA provider took part"
        if not is_for_cuda(self.rewritten.model):
            return ""
        why = find_cuda_problem() or runner.note
        who = f"; {STAND_IN}" if runner.engine == PIECES else ""
        self.notes.append(f"no GPU took part ({why}), so what one computes was not checked{who}")
        return f"; no GPU took part: {WITHOUT_GPU[runner.engine]}"

    def _compare_feed(self, runner: Runner, feed: Feed) -> FeedResult:
        self.progress(f"comparing on {feed.label}")
        try:
            outputs = runner.run(feed.arrays)
            self._check_engine(runner)
        except EngineError as error:
            return FeedResult(feed.label, error=f"the rewritten model does not run on it; {error}")
        comparisons: list[Comparison] = []
        for name, reference in feed.outputs.items():
            found = compare_outputs(name, reference, outputs[name], rtol=self.rtol, atol=self.atol)
            comparisons += [self._explain(name, comparison) for comparison in found]
        return FeedResult(feed.label, tuple(comparisons))

    def _explain(self, name: str, comparison: Comparison) -> Comparison:
        sentence = comparison.sentence
        if name in self.extra:
            sentence += f"; the tensor before {self.extra[name]}, compared because that flattens differences"
        if comparison.mismatch_share and is_float_decision(self.original.model, name):
            sentence += (
                "; they come from a decision on floats, where rounding can turn a near tie: judge whether it did"
            )
        return replace(comparison, sentence=sentence)

    def _judge_probes(
        self,
        runner: Runner,
        feed: Feed,
        probe_feeds: Mapping[str, Mapping[str, Value]],
        before: Mapping[str, Mapping[str, Value]],
    ) -> tuple[Probe, ...]:
        probes: list[Probe] = []
        names = self.original.output_names
        for kind, reference in before.items():
            try:
                after = runner.run(probe_feeds[kind])
            except EngineError as error:
                self.notes.append(f"probe {kind}: the rewritten model does not run on it, the original does ({error})")
                continue
            probes += judge_probe(kind, {name: reference[name] for name in names}, after, feed.outputs)
        return tuple(probes)

    def _excuse_noise(self, result: FeedResult, feed: Feed) -> FeedResult:
        """Pass an output whose difference is no more than rounding makes of the original itself, and say so."""
        if not any(is_numeric_failure(comparison) for comparison in result.comparisons):
            return result
        self.progress(f"measuring the original's rounding noise on {feed.label}")
        runner = open_runner(self.original, expose=list(self.extra), custom_ops=self.custom_ops)
        noise = measure_noise(runner, feed.arrays, feed.outputs, self.seed)
        return replace(result, comparisons=tuple(excuse(comparison, noise) for comparison in result.comparisons))

    def _bisect(self, results: Sequence[FeedResult], feeds: Sequence[Feed]) -> Bisection | None:
        for result, feed in zip(results, feeds, strict=True):
            if not result.ok and not result.error:
                self.progress("bisecting")
                models = (self.original, self.rewritten)
                return bisect(*models, feed.arrays, rtol=self.rtol, atol=self.atol, custom_ops=self.custom_ops)
        return None
