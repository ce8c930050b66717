"""Which factors a DFT may be done by, and the lengths of Bluestein's convolution for a length with a large prime.

*Bluestein*: since `f t = (f^2 + t^2 - (f - t)^2) / 2`, a DFT of any length `N` is a convolution with a chirp

    X[f] = c[f] sum_t x[t] c[t] / c[f - t],      c[t] = exp(s pi i t^2 / N)

done by DFTs of a longer, smooth length `M`, at least as many as the samples read and the bins wanted, less one. A plan
whose factors multiply to the length itself is direct or factored; one whose factors multiply to more is Bluestein's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from onnx_fft.fourier.factored import Stage, plan_stages

MAX_DIRECT = 1024
"""Points up to which one matrix may do it all, 8 MiB of it."""

MAX_NARROW = 640
"""Values up to which one sum may take them one after the other, as a Conv may: error 5e-7 in float32 at 900, 4.5e-7
here. ONNX Runtime's products with a matrix on the right are sums of blocks, and 3e-7 off at any length."""

MAX_FACTOR = 256
"""Longest factor of a DFT that is factored."""

MAX_CHIRPED_FACTOR = 64
"""The same in Bluestein's convolution, whose errors are those of two DFTs: 4.4e-7 in float32 at 1,000,003 points, and
5.6e-7 with factors twice as long."""

MIN_TURNED_ROWS, MAX_TURNED_ROWS, MAX_TURNED_NUMBERS = 8, 64, 1 << 20
"""Bounds of `count_turned`: from a vector's numbers on, as long as turning all of them does not leave the caches."""

_MAX_FACTORS = 4
_STAGE_WORK = 40
"""What the factor between two stages costs, in multiplications a sample; measured on a 2-core AMD EPYC, 2026-11."""

_KEPT = 2
"""Plans kept of each number of factors."""


@dataclass(frozen=True, slots=True)
class Transform:
    """One DFT of `length` points: of how many values, from 0 on, it is, and how many are wanted.

    `parts` are those of the values, 1 if they are real. If it `gives_real`, half a spectrum goes in and a real signal
    comes out.
    """

    length: int
    read: int
    wanted: int
    parts: int
    sign: int = -1
    gives_real: bool = False

    @property
    def reach(self) -> int:
        """Points that Bluestein's convolution needs at least."""
        return self.read + self.wanted - 1


def list_factors(transform: Transform) -> list[tuple[int, ...]]:
    """Factors worth considering, one alone first, then the most promising of each number of factors.

    None for some lengths of many millions of points.
    """
    found: list[tuple[int, ...]] = [(transform.length,)] if transform.length <= MAX_DIRECT else []
    found += _best_factors(transform.length, MAX_FACTOR)
    if any(len(factors) > 1 for factors in found) or transform.length <= MAX_FACTOR:
        return found
    return found + _best_chirped_factors(transform.reach)


def check_factors(transform: Transform, factors: tuple[int, ...]) -> None:
    """Raise ValueError if `factors` would not compute `transform`."""
    if not factors or min(factors) < 1 or (len(factors) > 1 and min(factors) < 2):
        raise ValueError(f"got factors {factors}, expected one or more, each 2 or more")
    if prod(factors) != transform.length and prod(factors) < max(transform.reach, transform.length + 1):
        raise ValueError(
            f"got factors {factors}, expected a product of {transform.length}, or {transform.reach} or more"
        )


def is_chirped(transform: Transform, factors: tuple[int, ...]) -> bool:
    """Whether `factors` are those of Bluestein's convolution."""
    return prod(factors) != transform.length


def count_turned(transform: Transform, rows: int) -> int:
    """Rows whose bins are sorted side by side, in each group of `rows`: a divisor of them; 0 if none suits."""
    if rows * transform.length > MAX_TURNED_NUMBERS:
        return 0
    return max((count for count in range(MIN_TURNED_ROWS, MAX_TURNED_ROWS + 1) if rows % count == 0), default=0)


def list_stages(transform: Transform, factors: tuple[int, ...]) -> tuple[Stage, ...]:
    """The stages of the DFT itself; of Bluestein's forward DFT."""
    if is_chirped(transform, factors):
        return plan_stages(factors, samples=transform.read, bins=0, sorts=False)
    if transform.gives_real:
        return plan_stages(factors, samples=transform.wanted, bins=transform.read, parts=1, sorts=len(factors) == 1)
    return plan_stages(factors, samples=transform.read, bins=transform.wanted, parts=transform.parts)


def list_back_stages(transform: Transform, factors: tuple[int, ...]) -> tuple[Stage, ...]:
    """The stages of the inverse DFT in Bluestein's convolution."""
    return plan_stages(factors, samples=transform.wanted, bins=0, sorts=False)


def make_chirp(count: int, length: int, sign: int) -> NDArray[np.complex128]:
    """`c[t]` for `t` of `0 .. count - 1`; the squares are reduced as integers."""
    squares = np.arange(count) ** 2 % (2 * length)
    chirp: NDArray[np.complex128] = np.exp(sign * 1j * np.pi * squares / length)
    return chirp


def chirp_spectrum(transform: Transform, total: int) -> NDArray[np.complex128]:
    """The DFT of `1 / c` around 0, divided by its `total` points."""
    kernel = np.zeros(total, np.complex128)
    ahead = np.conj(make_chirp(max(transform.read, transform.wanted), transform.length, transform.sign))
    kernel[: transform.wanted] = ahead[: transform.wanted]
    kernel[total - transform.read + 1 :] = ahead[1 : transform.read][::-1]
    spectrum: NDArray[np.complex128] = np.fft.fft(kernel) / total
    return spectrum


def _best_factors(length: int, longest: int) -> list[tuple[int, ...]]:
    kept: list[tuple[int, ...]] = []
    for count in range(2, _MAX_FACTORS + 1):
        ranked = sorted(_factorizations(length, count, 2, longest), key=lambda factors: (sum(factors), factors))
        kept += [factors[::-1] for factors in ranked[:_KEPT]]
    return sorted(kept, key=_work)


@cache
def _best_chirped_factors(least: int) -> list[tuple[int, ...]]:
    """Those of the length of at least `least` that takes the least work, a sixteenth longer at most."""
    choices = [
        _best_factors(length, MAX_CHIRPED_FACTOR) for length in _smooth_lengths(least, least + max(16, least // 16))
    ]
    return min(filter(None, choices), key=lambda plans: prod(plans[0]) * _work(plans[0]), default=[])


def _factorizations(length: int, count: int, smallest: int, longest: int) -> Iterator[tuple[int, ...]]:
    """Non-decreasing factors."""
    if count == 1:
        if smallest <= length <= longest:
            yield (length,)
        return
    for factor in range(smallest, min(longest, round(length ** (1 / count)) + 1) + 1):
        if length % factor == 0:
            for others in _factorizations(length // factor, count - 1, factor, longest):
                yield (factor, *others)


def _work(factors: tuple[int, ...]) -> float:
    return sum(factors) + _STAGE_WORK * (len(factors) - 1)


def _smooth_lengths(least: int, end: int) -> list[int]:
    """Those in `least .. end - 1` without primes above 7."""
    found = [1]
    for prime in (2, 3, 5, 7):
        found = [power for length in found for power in _multiples(length, prime, end)]
    return sorted(length for length in found if length >= least)


def _multiples(length: int, prime: int, end: int) -> Iterator[int]:
    while length < end:
        yield length
        length *= prime
