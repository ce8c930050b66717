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
from onnx_fft.hints import Note


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


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of `validate`. `verdict` is one sentence; `engine` ran the original, "" if neither model was run."""

    ok: bool
    verdict: str
    seed: int
    engine: str
    feeds: tuple[FeedResult, ...] = ()
    convs: tuple[ConvCheck, ...] = ()
    probes: tuple[Probe, ...] = ()
    bisection: Bisection | None = None
    notes: tuple[Note, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; a number that was not computed is None."""
        feeds = [
            {"label": f.label, "ok": f.ok, "error": f.error, "outputs": [c.to_dict() for c in f.comparisons]}
            for f in self.feeds
        ]
        result = {
            "ok": self.ok,
            "verdict": self.verdict,
            "seed": self.seed,
            "engine": self.engine,
            "feeds": feeds,
            "convs": [conv.to_dict() for conv in self.convs],
            "probes": [probe.to_dict() for probe in self.probes],
            "bisection": None if self.bisection is None else self.bisection.to_dict(),
            "notes": [note.tell() for note in self.notes],
        }
        plain = _to_json(result)
        assert isinstance(plain, dict)
        return plain


def give_verdict(results: Sequence[FeedResult], convs: Sequence[ConvCheck]) -> tuple[bool, str]:
    """Whether all passed and something was shown, and the sentence that says so or names the first failure."""
    for result in results:
        if result.error:
            return False, f"different: on {result.label}, {result.error}"
        for comparison in result.comparisons:
            if not comparison.ok:
                return (
                    False,
                    f"different: output {shorten(comparison.output)!r} on {result.label}: {comparison.sentence}",
                )
    if wrong := next((conv for conv in convs if conv.ok is False), None):
        return False, f"different: Conv {shorten(wrong.name)}: {wrong.sentence}"
    if unseen := next((conv for conv in convs if conv.ok is None and not conv.covered), None):
        return False, f"not shown: Conv {shorten(unseen.name)}: {unseen.sentence}; give real inputs that reach it"
    comparisons = [comparison for result in results for comparison in result.comparisons]
    proven = [c for c in comparisons if c.compared and not c.rounding_noise_only]
    checked = sum(conv.ok is True for conv in convs)
    if not proven and not checked:
        return False, "not shown: no output held a value that says anything; give real inputs"
    worst = max((c.relative_l2 for c in proven if np.isfinite(c.relative_l2)), default=0.0)
    noisy = len(comparisons) - len(proven)
    tail = f"; {noisy} of {len(comparisons)} comparisons say nothing (empty or rounding noise)" if noisy else ""
    sums = f"{len(results)} feed(s), {len(comparisons)} comparisons, worst relative L2 {worst:.1e}"
    return True, f"same: {sums}; {checked} of {len(convs)} replaced Convs held against float64{tail}"


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value
