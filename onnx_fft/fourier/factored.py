"""A long DFT as several short ones, each a product with a small real matrix, and factors between them.

*Forward*, after Cooley and Tukey. With `T = T1 * R`, samples `t = t1 * R + r` and bins `f = f1 + T1 * h`,

    X[f1 + T1 * h] = sum_r exp(s 2 pi i h r / R) * exp(s 2 pi i f1 r / T) * [ sum_t1 exp(s 2 pi i f1 t1 / T1) x[t1, r] ]

where `s` is -1, or 1 for the inverse. The inner sum is one matrix for all `r`, the factor after it a *twiddle*, and the
outer sum is, for each `f1`, a DFT of length `R`, done the same way. Each such step is a `Stage`. Bins come out with
their digits in turn, `[f1, f2, ...]` for `f = f1 + T1 * (f2 + T2 * ...)`; `locate_bins` says where each is.

*Backward* is the same in reverse: bins by their digits go in, samples in their order come out.

*Real and imaginary parts* stand beside a digit, so that a complex matrix is a real one and nothing moves in between:

    forward     [batch, (part, t), rest] -> [batch, (f, part), rest]        the next stage splits rest into (t, rest)
    backward    [batch, (f, part), rest] -> [batch, (part, t), rest]        the next stage splits batch into (batch, f)

*A real signal* has conjugate bins `f` and `T - f`. So `f1` of the first stage needs `0 .. T1 // 2` only. A bin whose
`f1` is larger is the conjugate of one that was computed, with the last digit counted from its other end; the last
stage of the way forward makes those conjugates as well (`mirrored`). On the way back their contributions are
conjugate, so that real parts counted twice are the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from onnx_fft.fourier.axis import ceil_divide
from onnx_fft.fourier.basis import mirror_weight

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stage:
    """One factor of a DFT: sizes only, see the module's docstring. Everything is counted for one whole transform."""

    length: int
    """`T1`."""
    batch: int
    """Digits of earlier factors, together."""
    rest: int
    """`R`, samples that later factors transform."""
    samples: int
    """Values of `t1` that are read, or wanted back; the others are zeros, or dropped."""
    digits: int
    """Values of `f1` that are kept, or given."""
    parts: int = 2
    """Of the samples: 1 if they are real."""
    mirrored: bool = False
    """Whether conjugates are made as well, of the last `digits` values, from the last to the first."""

    @property
    def matrix_size(self) -> int:
        """Numbers of the matrix."""
        return self.parts * self.samples * self.bins * 2

    @property
    def bins(self) -> int:
        """Complex numbers on the side of the bins, for each of `batch * rest`."""
        return self.digits * (2 if self.mirrored else 1)

    @property
    def has_twiddles(self) -> bool:
        """Whether a factor stands between this stage and that of the rest."""
        return self.rest > 1


def plan_stages(
    lengths: Sequence[int], *, samples: int, bins: int, parts: int = 2, sorts: bool = True
) -> tuple[Stage, ...]:
    """The stages of a DFT of `prod(lengths)` points, first factor first.

    `samples` and `bins` are how many of either are wanted, from 0 on. Signals of one part are halved as above, if there
    is more than one factor. Without `sorts`, bins are used by their digits and all of them are kept.
    """
    total = prod(lengths)
    halved = parts == 1 and len(lengths) > 1
    stages = []
    batch, rest = 1, total
    for number, length in enumerate(lengths):
        rest //= length
        is_first, is_last = number == 0, number == len(lengths) - 1
        read = ceil_divide(samples, rest) if is_first else length
        digits = length // 2 + 1 if is_first and halved else length
        if is_last and sorts:
            digits = (bins - 1) // (total // length) + 1
        mirrored = is_last and halved and sorts
        stages.append(Stage(length, batch, rest, read, digits, parts if is_first else 2, mirrored))
        batch *= digits
    return tuple(stages)


def forward_matrix(stage: Stage, sign: int, scale: float = 1.0) -> Array:
    """`[(f, part), (part, t)]`; `sign` is that of the exponent."""
    numbers = np.arange(stage.digits)
    if stage.mirrored:
        numbers = np.concatenate([numbers, stage.length - 1 - numbers])
    real = _to_real(_roots(np.outer(numbers, np.arange(stage.samples)), stage.length, sign) * scale)[..., : stage.parts]
    if stage.mirrored:
        real[stage.digits :, 1] *= -1
    return real.transpose(0, 1, 3, 2).reshape(2 * stage.bins, stage.parts * stage.samples)


def backward_matrix(stage: Stage, sign: int, scale: float = 1.0) -> Array:
    """`[(part, t), (f, part)]`; if the samples are real, bins are those of half a spectrum."""
    roots = _roots(np.outer(np.arange(stage.samples), np.arange(stage.digits)), stage.length, sign) * scale
    if stage.parts == 1:
        roots *= mirror_weight(stage.length)[: stage.digits]
    real = _to_real(roots)[:, : stage.parts]
    return real.transpose(1, 0, 2, 3).reshape(stage.parts * stage.samples, 2 * stage.digits)


def make_twiddles(stage: Stage, sign: int) -> ComplexArray:
    """`[f1, r]`, between the stage and that of its rest."""
    return _roots(np.outer(np.arange(stage.digits), np.arange(stage.rest)), stage.length * stage.rest, sign)


def locate_bins(stages: Sequence[Stage], bins: int) -> IndexArray:
    """Where the bins `0 .. bins - 1` are in what the last stage yields, digit by digit."""
    wanted = np.arange(bins)
    first, last = stages[0], stages[-1]
    is_mirrored = last.mirrored & (wanted % first.length >= first.digits)
    left = np.where(is_mirrored, first.length * first.rest - wanted, wanted)
    place = np.zeros(bins, np.int64)
    for stage in stages:
        digit = left % stage.length
        if stage is last:
            digit = np.where(is_mirrored, stage.digits + stage.length - 1 - digit, digit)
        place = place * stage.bins + digit
        left = left // stage.length
    return place


def gather_half_spectrum(lengths: Sequence[int]) -> tuple[IndexArray, Array]:
    """How bins by their digits, with half of the first one's values, are made of the half-spectrum of a real signal.

    Returns the bin to take for each, and `[places, 2]` to multiply it by: 1, -1 on the imaginary part of a conjugate,
    0 on an imaginary part that a real signal does not have.
    """
    total = prod(lengths)
    frequency = np.arange(lengths[0] // 2 + 1)
    stride = lengths[0]
    for length in lengths[1:]:
        frequency = (frequency[:, None] + stride * np.arange(length)).ravel()
        stride *= length
    is_mirrored = 2 * frequency > total
    signs = np.stack([np.ones(len(frequency)), np.where(is_mirrored, -1.0, 1.0)], axis=1)
    signs[(frequency == 0) | (2 * frequency == total), 1] = 0.0
    return np.where(is_mirrored, total - frequency, frequency), signs


def scatter_digits(spectrum: ComplexArray, lengths: Sequence[int]) -> ComplexArray:
    """A spectrum `[prod(lengths)]` in the order of the digits."""
    return spectrum.reshape(tuple(lengths)[::-1]).transpose().ravel()


def _to_real(matrix: ComplexArray) -> Array:
    """`[out, in]` -> `[out, part of out, in, part of in]`: multiplication by `a + ib` is `[[a, -b], [b, a]]`."""
    a, b = matrix.real, matrix.imag
    return np.stack([np.stack([a, -b], axis=-1), np.stack([b, a], axis=-1)], axis=1)


def _roots(numerator: IndexArray, denominator: int, sign: int) -> ComplexArray:
    """`exp(sign * 2 pi i * numerator / denominator)`, the integer reduced first so that large angles lose nothing.

    Quarters of a turn are exact: then bins 0 and N/2 of a real signal have no imaginary part in a single product.
    """
    turns = numerator % denominator
    roots: ComplexArray = np.exp(sign * 2j * np.pi * turns / denominator)
    quarters, rest = np.divmod(4 * turns, denominator)
    roots = np.where(rest == 0, np.array([1, sign * 1j, -1, -sign * 1j])[quarters], roots)
    return roots
