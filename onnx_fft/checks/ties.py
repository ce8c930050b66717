"""What the runs of the nudged original say of values that must be equal: which of them rounding decides."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from onnx_fft.checks.compare import Array

PATIENCE = 12
"""Runs in a row that explain nothing new before the rest counts as a difference: a near tie is turned by one in four
at the least, and 0.75^12 is 3%."""


def is_list(values: Array) -> bool:
    """Whether these are positions `[n]` or `[rank, n]`, each once and in order, as NonZero and Unique make them."""
    if values.dtype.kind not in "iu" or values.ndim not in (1, 2) or values.shape[-1] < 2:
        return False
    columns = [tuple(column) for column in values.reshape(-1, values.shape[-1]).T.tolist()]
    return all(a < b for a, b in pairwise(columns))


class Range:
    """Which values rounding decides alone: those that take three or more values, and move in every other run."""

    def __init__(self, reference: Array) -> None:
        """`reference` is what the original gives undisturbed."""
        self._reference, self._other = reference, reference.copy()
        self._is_many = np.zeros(reference.shape, np.bool_)
        self._moves = np.zeros(reference.shape, np.int16)
        self.draws = 0
        self.least_moved = reference.size
        is_number = reference.dtype.kind in "iuf"
        self._low = self._high = reference.astype(np.float64) if is_number else np.zeros(reference.shape)

    def find_undetermined(self, candidate: Array) -> Array:
        """Where `candidate` is no farther out than the runs are apart; nowhere before there were enough of them."""
        if self.draws < PATIENCE:
            return np.zeros(self._reference.shape, np.bool_)
        is_free = self._is_many & (2 * self._moves >= self.draws)
        if candidate.dtype.kind not in "iuf":
            return is_free
        width = self._high - self._low
        return is_free & (candidate >= self._low - width) & (candidate <= self._high + width)

    def holds(self, candidate: Array) -> bool:
        """Whether no number of `candidate` is beyond all that the runs gave anywhere."""
        return bool(self._low.min() <= candidate.min() and candidate.max() <= self._high.max())

    def learn(self, draw: Array) -> None:
        """Take in what one run gave."""
        moved = draw != self._reference
        self._is_many |= moved & (self._other != self._reference) & (draw != self._other)
        self._other = np.where(moved & (self._other == self._reference), draw, self._other)
        self._moves += moved
        self.draws += 1
        self.least_moved = min(self.least_moved, int(moved.sum()))
        if draw.dtype.kind in "iuf":
            self._low, self._high = np.minimum(self._low, draw), np.maximum(self._high, draw)


class Rows:
    """A list of positions as a set of rows: those that are gone, and those that are new."""

    def __init__(self, reference: Array, candidate: Array) -> None:
        """Both may have any length along the first axis along which they differ."""
        same = reference.shape == candidate.shape
        differing = [i for i, (a, b) in enumerate(zip(reference.shape, candidate.shape, strict=False)) if a != b]
        self._axis = reference.ndim - 1 if same or not differing else differing[0]
        self._reference = self._count(reference)
        after = self._count(candidate)
        self._gone, self._new = self._reference - after, after - self._reference

    @property
    def left(self) -> int:
        """How many rows no run has explained yet."""
        return len(self._gone) + len(self._new)

    def learn(self, draw: Array) -> None:
        """Take in what one run gave."""
        found = self._count(draw)
        for item in self._reference - found:
            self._gone.pop(item, None)
        for item in found - self._reference:
            self._new.pop(item, None)

    def _count(self, values: Array) -> Counter[Any]:
        rows = np.moveaxis(values, self._axis, 0) if values.ndim > self._axis else values
        return Counter(tuple(row.tolist()) for row in rows.reshape(len(rows), prod(rows.shape[1:])))
