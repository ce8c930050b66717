"""The result of a validation: what each feed, each Conv and each probe showed, and one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnx_fft.checks.bisection import Bisection
from onnx_fft.checks.compare import Comparison, shorten
from onnx_fft.checks.convcheck import ConvCheck
from onnx_fft.checks.probes import Probe
from onnx_fft.hints import Note, Option


@dataclass(frozen=True, slots=True)
class FeedResult:
    """One feed: how each output compares, or in `error` why the rewritten model did not run on it."""

    label: str
    comparisons: tuple[Comparison, ...] = ()
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether the rewritten model ran and every output passed."""
        return not self.error and all(comparison.ok for comparison in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        outputs = [comparison.to_dict() for comparison in self.comparisons]
        return {"label": self.label, "ok": self.ok, "error": self.error, "outputs": outputs}


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of `validate`. `verdict` is one sentence; `engine` ran the original, "" if neither model was run.

    `sparse` are the feeds of zeros, constants and the like that are made from one of `feeds`.
    """

    ok: bool
    verdict: str
    seed: int
    engine: str
    feeds: tuple[FeedResult, ...] = ()
    convs: tuple[ConvCheck, ...] = ()
    probes: tuple[Probe, ...] = ()
    bisection: Bisection | None = None
    notes: tuple[Note, ...] = ()
    sparse: tuple[FeedResult, ...] = ()

    @property
    def excused(self) -> int:
        """Values of all outputs that differ only because rounding turns them, in the original as well."""
        return count_excused((*self.feeds, *self.sparse))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; a number that was not computed is None."""
        result = {
            "ok": self.ok,
            "verdict": self.verdict,
            "seed": self.seed,
            "engine": self.engine,
            "feeds": [feed.to_dict() for feed in self.feeds],
            "sparse": [feed.to_dict() for feed in self.sparse],
            "excused": self.excused,
            "convs": [conv.to_dict() for conv in self.convs],
            "probes": [probe.to_dict() for probe in self.probes],
            "bisection": None if self.bisection is None else self.bisection.to_dict(),
            "notes": [note.tell() for note in self.notes],
        }
        plain = _to_json(result)
        assert isinstance(plain, dict)
        return plain


def give_verdict(
    results: Sequence[FeedResult], sparse: Sequence[FeedResult], convs: Sequence[ConvCheck]
) -> tuple[bool, str]:
    """Whether all passed and something was shown, and the sentence that says so or names the first failure."""
    if failure := next(filter(None, map(_describe_failure, (*results, *sparse))), ""):
        return False, f"different: {failure}"
    if wrong := next((conv for conv in convs if conv.ok is False), None):
        return False, f"different: {wrong.op_type} {shorten(wrong.name)}: {wrong.sentence}"
    if unseen := next((conv for conv in convs if conv.ok is None and not conv.covered), None):
        return (
            False,
            f"not shown: {unseen.op_type} {shorten(unseen.name)}: {unseen.sentence}; give real inputs that reach it",
        )
    comparisons = [comparison for result in results for comparison in result.comparisons]
    proven = [c for c in comparisons if c.compared and not c.rounding_noise_only]
    thin = [c for result in sparse for c in result.comparisons]
    checked = sum(conv.ok is True for conv in convs)
    if (not proven and not checked) or (comparisons and all(map(_is_blank, (*comparisons, *thin)))):
        return False, "not shown: no output held a value that says anything; give real inputs"
    worst = max((c.relative_l2 for c in proven if np.isfinite(c.relative_l2)), default=0.0)
    noisy = len(comparisons) - len(proven)
    tail = f"; {noisy} of {len(comparisons)} comparisons say nothing (empty or rounding noise)" if noisy else ""
    if excused := count_excused((*results, *sparse)):
        tail += f"; {excused} values excused that rounding turns in the original, too"
    sums = f"{len(results)} feed(s), {len(comparisons)} comparisons, worst relative L2 {worst:.1e}"
    sums += f"; {len(sparse)} sparse feed(s)" if sparse else ""
    return True, f"same: {sums}; {checked} of {len(convs)} replaced operators held against float64{tail}"


def count_excused(results: Sequence[FeedResult]) -> int:
    """Values that were excused, of all outputs under all feeds."""
    return sum(comparison.excused for result in results for comparison in result.comparisons)


def note_sparse(sparse: Sequence[FeedResult]) -> tuple[Note, ...]:
    """What to do if the models differ on a sparse feed."""
    if all(result.ok for result in sparse):
        return ()
    text = "a sum over zeros is exactly 0, and transforms make noise of it, or lose what is small beside a large value"
    hint = ("an operator behind turns on that: leave the replaced one alone by ", Option("select", "auto"))
    return (Note(text, (*hint, " or ", Option("exclude"))),)


def note_uncovered(results: Sequence[FeedResult]) -> tuple[Note, ...]:
    """Which outputs were not finite on any feed, so that nothing is known of them."""
    comparisons = [comparison for result in results for comparison in result.comparisons]
    seen = {c.output for c in comparisons if not _is_blank(c)}
    blank = dict.fromkeys(shorten(c.output) for c in comparisons if c.output not in seen)
    text = f"not compared, because no feed gives a finite value there: {', '.join(blank)}"
    return (Note(text, ("pass inputs as in ", Option("inputs", "feeds.npz"))),) if blank else ()


def _describe_failure(result: FeedResult) -> str:
    """The first failure under one feed, "" if there is none."""
    if result.error:
        return f"on {result.label}, {result.error}"
    failed = next((comparison for comparison in result.comparisons if not comparison.ok), None)
    return "" if failed is None else f"output {shorten(failed.output)!r} on {result.label}: {failed.sentence}"


def _is_blank(comparison: Comparison) -> bool:
    """Whether an output holds floats, and none that is finite."""
    return comparison.ok and not comparison.compared and "float" in comparison.dtype and 0 not in comparison.shape


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value
