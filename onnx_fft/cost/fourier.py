"""What a DFT or STFT does in a run, ONNX Runtime's own or the native library's, and the lengths both are judged at.

ONNX Runtime computes both on one thread: an FFT of radix 2 for powers of two, for other lengths Bluestein's algorithm,
which is three FFTs of the next power of two above twice the length. The native library's FFTs take any length
on all threads. Matrix products are counted in `matmul_fourier`.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, log2, prod

from onnx_fft.cost.counts import Counts, FourierCounts
from onnx_fft.sites.fourier import StftSpec
from onnx_fft.sites.site import FourierSpec

LARGEST_RADIX = 13
"""Of the native library; a length with a greater prime factor is a convolution with a chirp there."""

ASSUMED_LENGTHS = (256, 4096, 65536)
"""Lengths of an axis or a signal that the model leaves open, at which it is judged."""


def judge_at(spec: FourierSpec) -> list[FourierSpec]:
    """The site itself, or one for each assumed length if lengths are open; an open batch is one."""
    return list(dict.fromkeys(assume_length(spec, length) for length in ASSUMED_LENGTHS))


def assume_length(spec: FourierSpec, length: int) -> FourierSpec:
    """The site with `length` for the open axis that is transformed, and 1 for every other open one."""
    if isinstance(spec, StftSpec):
        samples = max(length, 2 * spec.frame_length) if spec.length is None else spec.length
        return replace(spec, batch=spec.batch or 1, length=samples)
    shape = tuple((length if axis == spec.axis else 1) if own is None else own for axis, own in enumerate(spec.shape))
    points = spec.dft_length or (2 * (length - 1) if spec.gives_real else length)
    return replace(spec, shape=shape, dft_length=points)


def know_lengths(spec: FourierSpec) -> FourierSpec:
    """The site with the longest assumed length for an open one."""
    return assume_length(spec, ASSUMED_LENGTHS[-1])


def count_rows(spec: FourierSpec) -> tuple[float, int]:
    """Transforms of a site whose lengths are known, and points of each."""
    if isinstance(spec, StftSpec):
        return float((spec.batch or 1) * (spec.frames or 1)), spec.frame_length
    others = [length or 1 for axis, length in enumerate(spec.shape[:-1]) if axis != spec.axis]
    return float(prod(others)), spec.dft_length or 1


def count_numbers(spec: FourierSpec) -> tuple[float, float]:
    """Numbers in the input and in the output of a site whose lengths are known."""
    rows, points = count_rows(spec)
    if isinstance(spec, StftSpec):
        return float((spec.batch or 1) * (spec.length or 1) * spec.parts), 2 * rows * spec.bins
    bins = points // 2 + 1 if spec.onesided and not spec.inverse else points
    return float(prod(length or 1 for length in spec.shape)), rows * bins * (1 if spec.gives_real else 2)


def count_original_fourier(spec: FourierSpec) -> Counts:
    """ONNX Runtime's own operator."""
    known = know_lengths(spec)
    lines, points = count_rows(known)
    is_power = points & (points - 1) == 0
    size = points if is_power else 1 << ceil(log2(2 * points - 1))
    butterflies = (1 if is_power else 3) * size * log2(size) / 2
    return Counts(
        fourier=FourierCounts(
            butterflies=lines * butterflies if is_power else 0,
            chirped_butterflies=0 if is_power else lines * butterflies,
            lines=lines,
            line_numbers=sum(count_numbers(known)),
            own_operators=1,
        )
    )


def count_fft(spec: FourierSpec) -> Counts:
    """The native library's operator."""
    known = know_lengths(spec)
    lines, length = count_rows(known)
    is_real = known.parts == 1 if isinstance(known, StftSpec) else not known.is_complex or known.gives_real
    points = length // 2 if is_real and length % 2 == 0 else length
    transforms = 1
    if _has_large_prime(points):
        points, transforms = 2 * points, 2
    flops = lines * transforms * 5 * points * log2(points + 1)
    return Counts(fourier=FourierCounts(fft_flops=flops, fft_numbers=sum(count_numbers(known)), fft_operators=1))


def _has_large_prime(points: int) -> bool:
    for factor in range(2, LARGEST_RADIX + 1):
        while points % factor == 0:
            points //= factor
    return points > 1
