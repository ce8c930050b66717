"""What is excused: a difference that the original shows of itself if rounding disturbs it.

The nudged original (`checks/noise.py`) is run a few times. A value of an integer, bool or string output is excused if
a run gave the same value there, or if the runs disagree among themselves about it; lists of positions, such as NonZero
makes, if each row that is new or gone was new or gone in a run; a float if it moved about as far. If every run moves a
good part of an output's indices on a sparse feed, which is full of ties, nothing can be judged by them there. All else
is a difference, however small its share: one pixel that is off by 40 grey levels is never a near tie.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnx_fft.checks.compare import Array, Comparison, allowed_error, compare_outputs, flatten_output, measure_rms
from onnx_fft.checks.ties import PATIENCE, Range, Rows, is_list
from onnx_fft.runtime.engines import EngineError, Value

NOISE_FACTOR = 8
"""A float error up to this many times the original's own movement is rounding. Measured 2026-11 on eight published
models with ORT 1.32: its own optimizations (ENABLE_ALL against DISABLE_ALL) make 1 to 4 times what a change of the
inputs in the last place makes."""
USUAL = 0.5
"""As far as this share of an output's values moves, all of them may be off: a decision that turns moves some values
far, and says nothing of their neighbours."""
STRAYS = 0.1
"""How many values may be as far off that did not move in any run, for each that did: ties that no run has turned."""
LEAST_DRAWS, MOST_DRAWS = 3, 32
MAX_S = 60.0
"""Seconds that the runs for all feeds may take; no further one is begun after that, but for `LEAST_DRAWS` a feed."""

Run = Callable[[int], dict[str, Value]]
"""The outputs of the nudged original, in the run of that number."""


def excuse_outputs(
    comparisons: Sequence[Comparison],
    reference: Mapping[str, Value],
    candidate: Mapping[str, Value],
    run: Run,
    max_s: float = MAX_S,
    *,
    sparse: bool = False,
) -> tuple[Comparison, ...]:
    """Pass those failed `comparisons` that the nudged original explains, with the number of values excused.

    A `sparse` feed is judged less strictly, because noise is much of what it gives; an ordinary one goes with it.
    """
    before, after = _flatten(reference), _flatten(candidate)
    judges = {c.output: _make_judge(c, reference, candidate, before, after, sparse) for c in comparisons if not c.ok}
    started, idle, draws = time.monotonic(), 0, 0
    while draws < MOST_DRAWS and idle < PATIENCE and (draws < LEAST_DRAWS or time.monotonic() - started < max_s):
        if draws >= LEAST_DRAWS and all(judge.left == 0 for judge in judges.values()):
            break
        try:
            moved = run(draws)
        except EngineError:
            idle, draws = idle + 1, draws + 1
            continue
        open_before = [judge.left for judge in judges.values()]
        leaves = _flatten(moved)
        for judge in judges.values():
            judge.learn(moved, leaves)
        idle = 0 if [judge.left for judge in judges.values()] != open_before else idle + 1
        draws += 1
    return tuple(c if c.ok else judges[c.output].conclude(c, draws) for c in comparisons)


class _Judge(ABC):
    """One output that failed. `left` counts what no run has explained yet, `total` what there is to explain."""

    total = 1

    @property
    @abstractmethod
    def left(self) -> int: ...

    @abstractmethod
    def learn(self, moved: Mapping[str, Value], leaves: Mapping[str, Array | None]) -> None:
        """Take in one run: its outputs, and their leaves."""

    def conclude(self, comparison: Comparison, draws: int) -> Comparison:
        """The comparison with what was found."""
        whose = f"{draws} runs of the original, disturbed by no more than rounding,"
        if self.left:
            found = f"{whose} explain {self.total - self.left} of {self.total} differences, not the rest"
            return replace(comparison, sentence=f"{comparison.sentence}; {found}")
        found = f"{whose} turn the same: near ties, excused"
        sentence = f"{self.total} of {max(comparison.compared, self.total)} values differ; {found}"
        return replace(comparison, ok=True, excused=self.total, sentence=sentence)


class _Decisions(_Judge):
    """Values that must be equal; `[n, ...]` of both sides, of one shape or of different ones."""

    def __init__(self, name: str, reference: Array, candidate: Array, sparse: bool) -> None:
        self._name, self._reference, self._candidate = name, reference, candidate
        self._may_be_noise = sparse and reference.dtype == np.int64
        self._is_open = reference != candidate if reference.shape == candidate.shape else None
        are_lists = self._is_open is None or (is_list(reference) and is_list(candidate))
        self._rows = Rows(reference, candidate) if are_lists else None
        self._range = Range(reference) if self._is_open is not None else None
        self.total = int(self._is_open.sum()) if self._is_open is not None else self._rows.left if self._rows else 1

    @property
    def is_noise(self) -> bool:
        """Whether these are indices of which every run moved at least a tenth, and half as many as differ."""
        if self._range is None or not self._may_be_noise or self._range.draws < LEAST_DRAWS:
            return False
        least = self._range.least_moved
        is_much = least * 10 >= self._reference.size and least * 2 >= self.total
        return is_much and self._range.holds(self._candidate)

    def conclude(self, comparison: Comparison, draws: int) -> Comparison:
        concluded = super().conclude(comparison, draws)
        is_most = self._is_open is not None and 2 * self.total > self._reference.size
        return replace(concluded, rounding_noise_only=concluded.ok and (is_most or self.is_noise))

    @property
    def left(self) -> int:
        by_rows = self.total if self._rows is None else self._rows.left
        if self._is_open is None:
            return by_rows
        if self.is_noise:
            return 0
        determined = self._is_open
        if self._range is not None:
            determined = determined & ~self._range.find_undetermined(self._candidate)
        return min(int(determined.sum()), by_rows)

    def learn(self, moved: Mapping[str, Value], leaves: Mapping[str, Array | None]) -> None:
        draw = leaves.get(self._name)
        if draw is None:
            return
        if self._is_open is not None and draw.shape == self._reference.shape:
            self._is_open &= draw != self._candidate
            assert self._range is not None
            self._range.learn(draw)
        if self._rows is not None:
            self._rows.learn(draw)


class _Floats(_Judge):
    """Floats of one shape: their values, and where they are not finite."""

    def __init__(self, comparison: Comparison, reference: Array, candidate: Array, sparse: bool) -> None:
        self._name, self._reference, self._usual = comparison.output, reference, 1.0 if sparse else USUAL
        self._strange = ~np.isfinite(reference) | ~np.isfinite(candidate)
        self._turned = self._strange & ~((reference == candidate) | (np.isnan(reference) & np.isnan(candidate)))
        self._error = self._distance(candidate)
        self._allowed = allowed_error(reference, atol=comparison.atol)
        self._is_wrong = self._error > self._allowed
        self._moved = np.zeros(reference.shape)
        self._norm = 0.0
        self.total = max(1, int(self._turned.sum() + self._is_wrong.sum()))
        self._l2_failed = not comparison.relative_l2 <= comparison.relative_l2_limit

    @property
    def left(self) -> int:
        usual = np.minimum(self._moved, np.quantile(self._moved, self._usual))
        beyond = self._count_beyond(measure_rms(usual))
        if beyond <= STRAYS * int((self._moved > self._allowed).sum()):
            beyond = self._count_beyond(measure_rms(self._moved))
        left = int(self._turned.sum()) + beyond
        too_much = self._l2_failed and float(np.linalg.norm(self._error)) > NOISE_FACTOR * self._norm
        return max(left, int(too_much))

    def learn(self, moved: Mapping[str, Value], leaves: Mapping[str, Array | None]) -> None:
        draw = leaves.get(self._name)
        if draw is None or draw.shape != self._reference.shape:
            return
        distance = self._distance(draw)
        self._moved = np.maximum(self._moved, distance)
        self._norm = max(self._norm, float(np.linalg.norm(distance)))
        self._turned &= np.isfinite(draw) == np.isfinite(self._reference)

    def conclude(self, comparison: Comparison, draws: int) -> Comparison:
        moves = f"the original itself moves by {self._moved.max():.1e}, norm {self._norm:.1e}, if rounding disturbs it"
        sentence = f"{comparison.sentence}; {moves}"
        if self.left:
            return replace(comparison, sentence=sentence)
        sentence += f"; within {NOISE_FACTOR} times that, so no more than rounding noise: this feed says little here"
        return replace(comparison, ok=True, rounding_noise_only=True, excused=self.total, sentence=sentence)

    def _count_beyond(self, usual: float) -> int:
        """Values that are farther off than they moved, or than `usual`, by more than `NOISE_FACTOR`."""
        return int((self._is_wrong & (self._error > NOISE_FACTOR * (self._moved + usual))).sum())

    def _distance(self, values: Array) -> Array:
        """From the reference, 0 where one of them is not finite."""
        with np.errstate(invalid="ignore", over="ignore"):
            distance = np.abs(values.astype(np.float64) - self._reference.astype(np.float64))
        return np.where(self._strange | ~np.isfinite(distance), 0.0, distance)


class _Whole(_Judge):
    """Anything else, such as sequences and floats of another length: explained by a run that gave all of it."""

    def __init__(self, name: str, candidate: Value) -> None:
        self._name, self._candidate, self._found = name, candidate, False

    @property
    def left(self) -> int:
        return 0 if self._found else 1

    def learn(self, moved: Mapping[str, Value], leaves: Mapping[str, Array | None]) -> None:
        value = moved[self._name] if self._name in moved else leaves.get(self._name)
        if value is not None and not self._found:
            self._found = all(found.ok for found in compare_outputs(self._name, value, self._candidate))

    def conclude(self, comparison: Comparison, draws: int) -> Comparison:
        if self.left:
            return super().conclude(comparison, draws)
        found = "a run of the original, disturbed by no more than rounding, gives the same: excused"
        return replace(comparison, ok=True, excused=1, sentence=f"{comparison.sentence}; {found}")


def _flatten(outputs: Mapping[str, Value]) -> dict[str, Array | None]:
    return {key: leaf for name, value in outputs.items() for key, leaf in flatten_output(name, value)}


def _make_judge(
    comparison: Comparison,
    reference: Mapping[str, Value],
    candidate: Mapping[str, Value],
    before: Mapping[str, Array | None],
    after: Mapping[str, Array | None],
    sparse: bool,
) -> _Judge:
    name = comparison.output
    old, new = before.get(name), after.get(name)
    if old is None or new is None or old.dtype != new.dtype or old.ndim != new.ndim:
        return _Whole(name, candidate.get(name, new))
    if old.dtype.kind == "f" and old.shape == new.shape:
        return _Floats(comparison, old, new, sparse)
    is_exact = old.dtype.kind not in "fc" or (old.ndim > 0 and np.array_equal(old, np.round(old)))
    return _Decisions(name, old, new, sparse) if is_exact else _Whole(name, new)
