"""Whether rounding explains an output that failed: by float64 if that can be had, else by what the original shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from time import monotonic

import numpy as np

from onnx_fft.checks.compare import Comparison
from onnx_fft.checks.excuses import MAX_S, excuse_outputs
from onnx_fft.checks.noise import disturb_model, nudge
from onnx_fft.checks.result import FeedResult
from onnx_fft.checks.truth import judge_by_truth, run_in_float64
from onnx_fft.inputs.feeds import Feed
from onnx_fft.model.io import LoadedModel
from onnx_fft.progress import Progress
from onnx_fft.runtime.engines import EngineError, Runner, Value
from onnx_fft.runtime.opening import open_runner

MAX_FLOAT64_S = 30.0
"""Seconds that float64 runs for all feeds may take; no further one is begun after that. One cannot be interrupted."""


class Rounding:
    """Judges what failed, feed after feed; the nudged original is opened once, if it is needed at all."""

    def __init__(
        self,
        original: LoadedModel,
        rewritten: LoadedModel,
        extra: Sequence[str],
        custom_ops: Sequence[Path],
        seed: int,
        progress: Progress,
    ) -> None:
        """`extra` are tensors that are compared beside the outputs, `custom_ops` what the original needs to run."""
        self._original, self._rewritten, self._extra = original, rewritten, list(extra)
        self._custom_ops, self._seed, self._progress = custom_ops, seed, progress
        self._left_s, self._float64_s = MAX_S, MAX_FLOAT64_S

    def judge(
        self, result: FeedResult, outputs: Mapping[str, Value], feed: Feed, *, sparse: bool = False
    ) -> FeedResult:
        """The result with those comparisons passed that rounding explains; `outputs` are the rewritten model's."""
        if result.error or result.ok:
            return result
        comparisons = self._ask_float64(result.comparisons, outputs, feed)
        if not all(comparison.ok for comparison in comparisons):
            self._progress(f"measuring the original's rounding noise on {feed.label}")
            started = monotonic()
            found = comparisons, feed.outputs, outputs, lambda draw: self._run_nudged(feed, draw)
            comparisons = excuse_outputs(*found, self._left_s, sparse=sparse)
            self._left_s -= monotonic() - started
        return replace(result, comparisons=comparisons)

    def _ask_float64(
        self, comparisons: Sequence[Comparison], outputs: Mapping[str, Value], feed: Feed
    ) -> tuple[Comparison, ...]:
        names = [c.output for c in comparisons if is_numeric_failure(c) and c.output in feed.outputs]
        if not names or self._float64_s <= 0:
            return tuple(comparisons)
        self._progress(f"running the original in float64 on {feed.label}")
        started = monotonic()
        try:
            truth = run_in_float64(self._original, feed, names)
        except EngineError:
            return tuple(comparisons)
        finally:
            self._float64_s -= monotonic() - started
        return tuple(
            judge_by_truth(c, feed.outputs[c.output], outputs[c.output], truth[c.output]) if c.output in truth else c
            for c in comparisons
        )

    def _run_nudged(self, feed: Feed, draw: int) -> dict[str, Value]:
        return self._nudged.run(nudge(feed.arrays, np.random.default_rng([self._seed, draw])))

    @cached_property
    def _nudged(self) -> Runner:
        try:
            disturbed = disturb_model(self._original, self._rewritten, self._seed)
            return open_runner(disturbed, expose=self._extra, custom_ops=self._custom_ops)
        except EngineError:  # then its inputs alone are disturbed
            return open_runner(self._original, expose=self._extra, custom_ops=self._custom_ops)


def is_numeric_failure(comparison: Comparison) -> bool:
    """Whether floats were compared and found too far apart, as against a wrong shape, dtype or NaN."""
    return not comparison.ok and bool(np.isfinite(comparison.max_abs_error))
