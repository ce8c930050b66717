"""Timing the options of every distinct site, the most promising first, within its share of the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from onnx import ModelProto

from onnx_fft.measure.budget import CONV_SHARE, Budget
from onnx_fft.measure.cache import Cache
from onnx_fft.measure.choice import Contest, Timings, align_rounds, is_settled
from onnx_fft.measure.single import make_feeds, make_models
from onnx_fft.measure.single_fourier import make_fourier_models, make_random_feeds
from onnx_fft.measure.single_matmul import make_matmul_models
from onnx_fft.measure.single_transposed import make_transposed_models
from onnx_fft.model.io import LoadedModel
from onnx_fft.progress import Progress
from onnx_fft.runtime.engines import EngineError
from onnx_fft.runtime.libraries import find_libraries
from onnx_fft.sites.fourier import MatMulSpec
from onnx_fft.sites.site import describe_site
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec
from onnx_fft.timing.launch import time_models

TimeContest = Callable[[Contest, float], Timings]
"""Times the options of a contest once, for about so many seconds; may raise EngineError."""

SLICE_S = 1.0
"""Longest stretch of timing, after which it is asked whether the ranking is settled."""
MAX_ROUNDS = 100
FIRST_SLICE_RUNS = 10
"""Runs of each option that the shortest stretch takes, warm-up included."""
START_S = 1.0
"""What starting a stretch takes: a process, its sessions."""
BUILD_S_BYTE = 0.1e-6
"""What computing a byte of a candidate's spectrum takes, before its first stretch."""


@dataclass(frozen=True, slots=True)
class Result:
    """What is known of one contest: `timings`, or the reason why there are none."""

    timings: Timings | None
    reason: str = ""
    failed: bool = False
    """ONNX Runtime did not run it."""
    cached: bool = False


def run_contests(
    counts: Mapping[Contest, int], time_contest: TimeContest, cache: Cache | None, budget: Budget, progress: Progress
) -> dict[Contest, Result]:
    """A result for each contest; `counts` says how many sites of the model it stands for.

    The first to run are those predicted to save most. Each gets an equal part of what time is left. One that
    would take longer than that is not begun. Every result is cached at once, so that an interrupted run is not lost.
    """
    results: dict[Contest, Result] = {}
    order = sorted(counts, key=lambda contest: -counts[contest] * contest.predicted_saving_s)
    for number, contest in enumerate(order):
        what = f"timing {describe_site(contest.spec)} ({number + 1} of {len(order)})"
        progress(f"{budget.describe()}: {what}", budget.share)
        share_s = max(0.0, budget.left_s(CONV_SHARE)) / (len(order) - number)
        results[contest] = _run_contest(contest, time_contest, cache, budget, share_s)
    return results


def time_contest_once(contest: Contest, budget_s: float, threads: int | None, cuda: bool) -> Timings:
    """The options in ONNX Runtime, shape by shape, in turn; with `cuda` on its CUDA provider."""
    sources = [LoadedModel(model) for model in _models(contest)]
    libraries = find_libraries(_models(contest))
    cases = []
    for shape in contest.shapes:
        spec = contest.spec
        feeds = make_feeds(spec, shape) if isinstance(spec, ConvSpec) else make_random_feeds(spec, shape)
        slice_s = budget_s / len(contest.shapes)
        models, _ = time_models(
            sources, feeds, threads=threads, budget_s=slice_s, custom_ops=libraries, cuda=cuda, in_place=True
        )
        cases.append([model.samples_s for model in models])
    return align_rounds(cases)


def _run_contest(
    contest: Contest, time_contest: TimeContest, cache: Cache | None, budget: Budget, share_s: float
) -> Result:
    known = None if cache is None else cache.read(contest)
    if known is not None and (is_settled(known[0]) or known[1] >= share_s / 2):
        return Result(known[0], cached=True)
    started_s = budget.spent_s
    if _predict_slice_s(contest) > budget.left_s(CONV_SHARE):
        return Result(None, f"the {budget.total_s:g} s to measure in were spent")
    slice_s = min(SLICE_S, share_s / 2)
    try:
        timings = time_contest(contest, slice_s)
        while not is_settled(timings) and timings.rounds < MAX_ROUNDS and budget.spent_s - started_s < share_s:
            timings = timings.join(time_contest(contest, slice_s))
    except EngineError as error:
        return Result(None, str(error), failed=True)
    if cache is not None:
        cache.write(contest, timings, budget.spent_s - started_s)
    return Result(timings)


def _predict_slice_s(contest: Contest) -> float:
    """Seconds the shortest stretch of timing takes, roughly."""
    run_s = contest.conv_s + sum(candidate.predicted_s for candidate in contest.candidates)
    build_s = BUILD_S_BYTE * sum(max(0, candidate.growth_bytes) for candidate in contest.candidates)
    return build_s + len(contest.shapes) * (START_S + FIRST_SLICE_RUNS * run_s)


@lru_cache(maxsize=1)
def _models(contest: Contest) -> list[ModelProto]:
    """Of the contest at hand, between its stretches."""
    if isinstance(contest.spec, ConvTransposeSpec):
        return make_transposed_models(contest)
    if isinstance(contest.spec, MatMulSpec):
        return make_matmul_models(contest)
    return make_models(contest) if isinstance(contest.spec, ConvSpec) else make_fourier_models(contest)
