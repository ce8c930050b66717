"""The oracles of DFT and STFT against sums by definition and the standard's own cases."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from onnx_fft.fourier.transforms import dft, stft
from onnx_fft.sites.fourier import DftSpec
from scripts.shared.standard_cases import Case, fourier_cases
from tests.fourier_models import case_spec, dft_truth, stft_truth

Array = NDArray[np.float64]


def sum_up(z: NDArray[np.complex128], points: int, sign: int) -> NDArray[np.complex128]:
    """The definition, along the last dimension, extended or cropped."""
    total = np.zeros((*z.shape[:-1], points), np.complex128)
    for f in range(points):
        for t in range(min(points, z.shape[-1])):
            total[..., f] += z[..., t] * np.exp(sign * 2j * np.pi * f * t / points)
    return total


def draw(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def as_complex(x: Array) -> NDArray[np.complex128]:
    return np.asarray(x[..., 0] + 1j * (x[..., 1] if x.shape[-1] == 2 else 0), np.complex128)


@pytest.mark.parametrize("points", [None, 1, 5, 6, 7, 11])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("inverse", [False, True])
def test_dft_is_the_sum_by_definition(points: int | None, parts: int, inverse: bool) -> None:
    x = draw(3, 7, 2, parts)
    y = as_complex(dft(x, 1, points, inverse=inverse))
    length = points or 7
    truth = sum_up(np.moveaxis(as_complex(x), 1, -1), length, 1 if inverse else -1) / (length if inverse else 1)
    np.testing.assert_allclose(np.moveaxis(y, 1, -1), truth, atol=1e-12)
    half = as_complex(dft(x, -3, points, inverse=False, onesided=True))
    whole = as_complex(dft(x, 1, points))
    np.testing.assert_array_equal(half, whole[:, : length // 2 + 1])


@pytest.mark.parametrize("points", [None, 1, 2, 5, 8, 9])
def test_the_real_inverse_reads_half_a_spectrum(points: int | None) -> None:
    x = draw(2, 5, 3, 2)
    y = dft(x, 1, points, inverse=True, onesided=True)
    length = points or 8
    half = np.zeros((2, length // 2 + 1, 3), np.complex128)
    read = min(5, length // 2 + 1)
    half[:, :read] = as_complex(x)[:, :read]
    half[:, 0].imag = 0
    if length % 2 == 0:
        half[:, -1].imag = 0
    mirrored = np.conj(half[:, 1 : (length + 1) // 2][:, ::-1])
    truth = sum_up(np.moveaxis(np.concatenate([half, mirrored], axis=1), 1, -1), length, 1) / length
    np.testing.assert_allclose(np.moveaxis(y[..., 0], 1, -1), truth.real, atol=1e-12)
    assert np.abs(truth.imag).max() < 1e-12


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("onesided", [False, True])
def test_stft_transforms_windowed_frames(parts: int, onesided: bool) -> None:
    signal, window = draw(2, 23, parts), draw(6)
    y = as_complex(stft(signal, 4, window, 6, onesided=onesided))
    assert y.shape == (2, 5, 4 if onesided else 6)
    for frame in range(5):
        part = as_complex(signal)[:, frame * 4 : frame * 4 + 6] * window
        np.testing.assert_allclose(y[:, frame], sum_up(part, 6, -1)[:, : y.shape[2]], atol=1e-12)


def test_what_is_not_defined_is_refused() -> None:
    x = draw(2, 5, 1)
    for axis, points in ((2, None), (-1, None), (1, 0)):
        with pytest.raises(ValueError, match="got"):
            dft(x, axis, points)
    with pytest.raises(ValueError, match="got shape"):
        dft(x[..., 0], 0)
    for step, length in ((0, 3), (1, 6), (1, 0)):
        with pytest.raises(ValueError, match="got step"):
            stft(x, step, None, length)


@pytest.mark.parametrize("case", fourier_cases(), ids=lambda case: case.name)
def test_the_standards_own_cases(case: Case) -> None:
    spec, signal, window = case_spec(case)
    y = dft_truth(spec, signal) if isinstance(spec, DftSpec) else stft_truth(spec, signal, window)
    assert y.shape == case.expected[0].shape
    np.testing.assert_allclose(y, case.expected[0], rtol=1e-3, atol=1e-5)


def test_the_standard_has_cases() -> None:
    assert len(fourier_cases()) >= 8
