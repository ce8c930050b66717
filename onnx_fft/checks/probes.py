"""Four probes: what an FFT does to an outlier, to a NaN, to data that is never negative, and to exact zeros.

A direct sum keeps each disturbance within the kernel's footprint; an FFT spreads it over its tile. None of these fails
a validation: they are numbers for the user to judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from onnx_fft.checks.compare import Array, measure_rms, shorten
from onnx_fft.runtime.engines import Value

OUTLIER = 1e6
NOTABLE_OUTLIER = 1e-3
"""Error an outlier may spread, in units of the output's RMS, before it is called a warning."""
OUTLIER_FLOAT16 = 1e4
"""The largest float16 is 65504."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe on one output: `before` and `after` are the original's and the rewritten model's number."""

    kind: str
    output: str
    sentence: str
    before: float
    after: float

    @property
    def is_warning(self) -> bool:
        """Whether the two models differ here by more than rounding."""
        if self.kind == "outlier":
            return self.after > NOTABLE_OUTLIER * self.before
        if self.kind == "zeros":
            return self.after < self.before
        return self.after > self.before if self.kind == "nan" else self.after < 0 <= self.before

    @property
    def spread(self) -> float:
        """How far the two models differ, to compare probes of one kind."""
        return self.after / self.before if self.kind == "outlier" and self.before else abs(self.after - self.before)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def make_probe_feeds(feed: Mapping[str, Value], seed: int) -> dict[str, dict[str, Value]]:
    """The feeds `outlier`, `nan` and `non-negative`, made from an ordinary one; none if no input is float.

    The first two change one element, drawn from `seed`, of the largest float input; the third takes absolute values.
    """
    floats = {k: v for k, v in feed.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f" and v.size}
    if not floats:
        return {}
    name = max(floats, key=lambda key: floats[key].size)
    position = int(np.random.default_rng(seed).integers(floats[name].size))
    feeds: dict[str, dict[str, Value]] = {}
    outlier = OUTLIER_FLOAT16 if floats[name].dtype == np.float16 else OUTLIER
    for kind, value in (("outlier", outlier), ("nan", np.nan)):
        changed = floats[name].copy()
        changed.reshape(-1)[position] = value
        feeds[kind] = {**feed, name: changed}
    feeds["non-negative"] = {**feed, **{k: np.abs(v) for k, v in floats.items()}}
    return feeds


def judge_probe(
    kind: str, before: Mapping[str, Value], after: Mapping[str, Value], ordinary: Mapping[str, Value]
) -> list[Probe]:
    """One probe for each float output; `ordinary` holds the original's outputs under the unchanged feed."""
    probes = []
    for name, reference in before.items():
        candidate: Any = after.get(name)
        if not _is_float(reference) or not _is_float(candidate) or reference.shape != candidate.shape:
            continue
        judge = {"outlier": _judge_outlier, "nan": _judge_nan, "non-negative": _judge_sign}[kind]
        probes.append(judge(name, reference, candidate, ordinary[name]))
    return probes


def find_worst_zeros(feeds: Sequence[tuple[str, Mapping[str, Value], Mapping[str, Value]]]) -> list[Probe]:
    """For each output the sparse feed on which most of the original's exact zeros become other values, if any do.

    `feeds` hold a label, what the original returned and what the rewritten model did.
    """
    worst: dict[str, Probe] = {}
    for label, before, after in feeds:
        for name, reference in before.items():
            candidate: Any = after.get(name)
            if not _is_float(reference) or not _is_float(candidate) or reference.shape != candidate.shape:
                continue
            zeros = reference == 0
            moved = np.abs(candidate[zeros & (candidate != 0) & np.isfinite(candidate)])
            if not moved.size or (name in worst and worst[name].spread >= moved.size):
                continue
            count = int(zeros.sum())
            what = f"{moved.size} of {count} exact zeros of {shorten(name)!r}"
            sentence = f"{what} become up to {moved.max():.1e} on {label}"
            worst[name] = Probe("zeros", name, sentence, count, count - moved.size)
    return list(worst.values())


def _judge_outlier(name: str, reference: Array, candidate: Array, ordinary: Array) -> Probe:
    """The error at outputs of ordinary size, which the outlier did not reach in the original."""
    rms = measure_rms(np.asarray(ordinary))
    both = np.isfinite(reference) & np.isfinite(candidate)
    own, new = reference[both].astype(np.float64), candidate[both].astype(np.float64)
    quiet = np.abs(new - own)[np.abs(own) <= 10 * rms]
    largest = float(quiet.max()) if quiet.size else 0.0
    reach = f"by up to {largest:.1e} where values stay ordinary (RMS {rms:.1e})"
    sentence = f"one huge input value moves {shorten(name)!r} {reach}"
    return Probe("outlier", name, sentence, rms, largest)


def _judge_nan(name: str, reference: Array, candidate: Array, _: Array) -> Probe:
    before, after = (float(np.mean(~np.isfinite(values))) for values in (reference, candidate))
    sentence = f"one NaN in the input makes {after:.1%} of {shorten(name)!r} NaN or Inf; it was {before:.1%} before"
    return Probe("nan", name, sentence, before, after)


def _judge_sign(name: str, reference: Array, candidate: Array, _: Array) -> Probe:
    kept = candidate[(reference >= 0) & np.isfinite(candidate)]
    before = reference[reference >= 0]
    smallest = float(kept.min()) if kept.size else 0.0
    if not before.size:
        sentence = f"{shorten(name)!r} is never non-negative under non-negative inputs: nothing to compare"
    elif smallest < 0:
        sentence = f"{shorten(name)!r} falls to {smallest:.1e} where the original stays at 0 or above"
    else:
        sentence = f"{shorten(name)!r} stays non-negative wherever the original is"
    return Probe("non-negative", name, sentence, float(before.min()) if before.size else 0.0, smallest)


def _is_float(value: Value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size > 0
