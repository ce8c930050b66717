"""What a DFT or STFT costs: ONNX Runtime's own operator and the native library's, and the lengths both are judged at.

ONNX Runtime computes both on one thread: an FFT of radix 2 for powers of two, for other lengths Bluestein's algorithm,
which is three FFTs of the next power of two above twice the length. The native library's FFTs take any length
on all threads. Matrix products are counted in `matmul_fourier`.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, log2, prod

from onnx_fft.sites.fourier import StftSpec
from onnx_fft.sites.site import FourierSpec

BUTTERFLY_S, ROW_S, START_S = 5e-9, 60e-9, 3e-6
"""Of ONNX Runtime's operators: seconds a radix-2 butterfly, a row or frame, and a run. Of 48 cases from 4 to 65,536
points none is predicted at more than 1.2 times, and a few at half, of what it takes (2-core AMD EPYC, AVX2, ONNX
Runtime 1.32, 2026-11): an error goes the original's way."""

NATIVE_FLOP_S, NATIVE_BYTE_S, NATIVE_START_S = 0.04e-9, 0.1e-9, 3e-6
"""Of the native library's operators, on two threads: seconds a flop of an FFT, a byte read or written, and a run. Of 15
cases none takes longer than predicted, and most half of it (2-core AMD EPYC, AVX2, 2026-11): what they are held against
takes ten to two hundred times as long."""

MATMUL_SLACK, MATMUL_INNER_SLACK = 2.5, 6.0
"""What matrix products take over what is counted of them, nearly at worst: of rows, and of an axis with others behind
it, whose real and imaginary parts are put side by side for every stage."""

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


def original_fourier_seconds(spec: FourierSpec) -> float:
    """ONNX Runtime's own operator."""
    rows, points = count_rows(know_lengths(spec))
    is_power = points & (points - 1) == 0
    size = points if is_power else 1 << ceil(log2(2 * points - 1))
    butterflies = (1 if is_power else 3) * size * log2(size) / 2
    return START_S + rows * (ROW_S + butterflies * BUTTERFLY_S)


def matmul_slack(spec: FourierSpec) -> float:
    """What the counted time of matrix products is multiplied by."""
    is_inner = not isinstance(spec, StftSpec) and prod(length or 2 for length in spec.shape[spec.axis + 1 : -1]) > 1
    return MATMUL_INNER_SLACK if is_inner else MATMUL_SLACK


def native_fourier_seconds(spec: FourierSpec) -> float:
    """The native library's operator."""
    known = know_lengths(spec)
    rows, points = count_rows(known)
    flops = rows * 5 * points * log2(points + 1)
    return NATIVE_START_S + flops * NATIVE_FLOP_S + 4 * sum(count_numbers(known)) * NATIVE_BYTE_S
