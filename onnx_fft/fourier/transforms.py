"""DFT and STFT in float64, as the standard defines them: the truth that every lowering is held against.

    X[f] = sum_t x[t] exp(-2 pi i f t / N)        x[t] = 1/N sum_f X[f] exp(2 pi i f t / N)

The sums are taken by NumPy's FFT, whose own error in float64 is far below what any lowering is allowed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


def dft(
    x: npt.ArrayLike, axis: int, dft_length: int | None = None, *, inverse: bool = False, onesided: bool = False
) -> Float64Array:
    """The operator DFT on `[..., length, ..., parts]`; `parts` is 1 for a real `x`, 2 for a complex one.

    The axis is cropped or continued by zeros to what is read. `onesided` keeps the bins `0 .. dft_length // 2`; with
    `inverse` as well, `x` holds those bins of a real signal `[..., dft_length, ..., 1]`, and the imaginary parts of bin
    0 and of bin `dft_length / 2`, which such a signal does not have, are ignored. Without a `dft_length` it is the
    length of the axis, or `2 * (length - 1)` for a real signal. ValueError for other parts or an axis out of range.
    """
    z, number = _to_complex(x), axis
    if not -z.ndim - 1 <= axis <= z.ndim or axis in (-1, z.ndim):
        raise ValueError(f"got axis {axis}, expected one of the {z.ndim} dimensions before the parts")
    number = axis if axis >= 0 else axis + z.ndim + 1
    length = z.shape[number]
    gives_real = inverse and onesided
    points = dft_length if dft_length is not None else 2 * (length - 1) if gives_real else length
    if points < 1:
        raise ValueError(f"got a dft_length of {points}, expected 1 or more")
    if gives_real:
        signal: Float64Array = np.fft.irfft(_resize(z, number, points // 2 + 1), points, axis=number)[..., None]
        return signal
    spectrum = (np.fft.ifft if inverse else np.fft.fft)(_resize(z, number, points), axis=number)
    return _to_parts(_resize(spectrum, number, points // 2 + 1) if onesided else spectrum)


def stft(
    signal: npt.ArrayLike, step: int, window: npt.ArrayLike | None, frame_length: int, *, onesided: bool = True
) -> Float64Array:
    """The operator STFT: `[batch, length, parts]` -> `[batch, frames, bins, 2]`.

    Frame `f` is the samples from `f * step` on, times the window `[frame_length]`. ValueError if none is whole.
    """
    z = _to_complex(signal)
    if step < 1 or not 1 <= frame_length <= z.shape[1]:
        raise ValueError(
            f"got step {step} and frames of {frame_length} for {z.shape[1]} samples, expected whole frames"
        )
    starts = np.arange((z.shape[1] - frame_length) // step + 1) * step
    frames = z[:, starts[:, None] + np.arange(frame_length)]
    if window is not None:
        frames = frames * np.asarray(window, np.float64)
    return dft(_to_parts(frames), 2, onesided=onesided)


def _to_complex(x: npt.ArrayLike) -> NDArray[np.complex128]:
    values = np.asarray(x, np.float64)
    if values.ndim < 2 or values.shape[-1] not in (1, 2):
        raise ValueError(f"got shape {values.shape}, expected [..., length, ..., 1 or 2]")
    imaginary = values[..., 1] if values.shape[-1] == 2 else np.zeros(values.shape[:-1])
    return values[..., 0] + 1j * imaginary


def _to_parts(z: NDArray[np.complex128]) -> Float64Array:
    return np.stack([z.real, z.imag], axis=-1)


def _resize(z: NDArray[np.complex128], axis: int, length: int) -> NDArray[np.complex128]:
    """Cropped, or continued by zeros, to `length` along `axis`."""
    cropped = z[(slice(None),) * axis + (slice(length),)]
    missing = [(0, length - cropped.shape[axis] if number == axis else 0) for number in range(z.ndim)]
    return np.pad(cropped, missing)
