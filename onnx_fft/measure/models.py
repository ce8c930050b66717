"""Timing whole models: the original, and it with some of the replacements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import ModelProto

from onnx_fft.errors import InvalidModelError
from onnx_fft.hints import Option
from onnx_fft.inputs.feeds import Feed
from onnx_fft.measure.budget import Budget
from onnx_fft.measure.choice import Timings, align_rounds
from onnx_fft.measure.takeback import Variant
from onnx_fft.model.io import LoadedModel
from onnx_fft.options import RewriteOptions
from onnx_fft.progress import Progress
from onnx_fft.runtime.engines import EngineError
from onnx_fft.runtime.libraries import find_libraries
from onnx_fft.timing.launch import Host, time_models

SLICE_S = 2.0
"""Longest stretch of timing, unless the fewest rounds take longer."""


class ModelTimer:
    """The `takeback.Timer` that runs ONNX Runtime. `host` is None until something was timed."""

    def __init__(
        self,
        original: LoadedModel,
        build: Callable[[Variant], ModelProto],
        feeds: Sequence[Feed],
        options: RewriteOptions,
        budget: Budget,
        progress: Progress,
        cuda: bool,
    ) -> None:
        """`build` makes the model with the replacements of a variant, whose external data lies where the original's is.

        Every variant runs on every one of `feeds`, with the threads and operator libraries of `options`, and, with
        `cuda`, on the CUDA provider.
        """
        self.host: Host | None = None
        self._original, self._build, self._feeds, self._options = original, build, feeds, options
        self._budget, self._progress, self._cuda = budget, progress, cuda
        self._models: dict[Variant, LoadedModel] = {}
        self._last_s = 0.0

    def has_time(self, comparisons: int) -> bool:
        """Whether so many calls of `time` that take as long as the last one fit into the budget."""
        return self._budget.left_s() > comparisons * self._last_s

    def time(self, variants: Sequence[Variant]) -> Timings:
        """Seconds of each variant on each feed in each round; InvalidModelError if one does not run."""
        self._progress(f"{self._budget.describe()}: timing the whole model", self._budget.share)
        started_s = self._budget.spent_s
        self._models = {variant: self._open(variant) for variant in variants}  # and the ones before are let go
        slice_s = max(0.0, min(SLICE_S, self._budget.left_s() / 4)) / len(self._feeds)
        cases = [self._time_feed(feed, slice_s) for feed in self._feeds]
        self._last_s = self._budget.spent_s - started_s
        return align_rounds(cases)

    def _time_feed(self, feed: Feed, slice_s: float) -> list[tuple[float, ...]]:
        try:
            sources = list(self._models.values())
            models, self.host = time_models(
                sources,
                feed.arrays,
                threads=self._options.threads,
                budget_s=slice_s,
                custom_ops=find_libraries((source.model for source in sources), self._options.custom_ops),
                cuda=self._cuda,
            )
        except EngineError as error:
            raise InvalidModelError(
                f"got a model that cannot be timed on {feed.label} ({error})",
                "one that ONNX Runtime runs",
                ("use ", Option("select", "auto"), ", which measures nothing"),
            ) from error
        return [model.samples_s for model in models]

    def _open(self, variant: Variant) -> LoadedModel:
        if not variant:
            return self._original
        return self._models.get(variant) or LoadedModel(self._build(variant), self._original.base_dir)
