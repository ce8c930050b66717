"""Spectra of constant weights: the one place where correlation's conjugate is taken.

Conv correlates, so its weight enters as the complex conjugate of its DFT. A whole axis (see `axis.py`) also puts its
padding here: output 0 must read input `-pad_begin`, so tap `k` stands at circular position `k - pad_begin`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_fft.fourier.axis import Axis, AxisPlan

Array = NDArray[np.float64]


def product_spectrum(weight: Array, axes: Sequence[Axis], plans: Sequence[AxisPlan]) -> Array:
    """The real factors that multiply a spectrum made by `basis.make_basis`.

    `weight` is `[..., *taps]`, one trailing dimension per axis; each becomes `spectrum_length(plan)` long. Axes
    nest: every factor of one axis is a real kernel along the next.
    """
    spectrum = weight
    for number, (axis, plan) in enumerate(zip(axes, plans, strict=True)):
        position = spectrum.ndim - len(axes) + number
        kernel = np.moveaxis(spectrum, position, -1)
        if kernel.size > axis.taps**2:  # more kernels than taps: cheaper to transform each tap once and add up
            factors = kernel @ _axis_factors(np.eye(axis.taps), axis, plan)
        else:
            factors = _axis_factors(kernel, axis, plan)
        spectrum = np.moveaxis(factors, -1, position)
    return spectrum


def complex_spectrum(weight: Array, axes: Sequence[Axis], plans: Sequence[AxisPlan]) -> NDArray[np.complex128]:
    """Conjugate DFT of `weight` `[..., *taps]` over its trailing axes, the last one a half-spectrum."""
    spectrum = weight
    for number, (axis, plan) in enumerate(zip(axes, plans, strict=True)):
        position = spectrum.ndim - len(axes) + number
        spectrum = np.moveaxis(_circular(np.moveaxis(spectrum, position, -1), axis, plan), -1, position)
    if not plans:
        return spectrum.astype(np.complex128)
    result = np.conj(np.fft.fftn(spectrum, axes=range(spectrum.ndim - len(axes), spectrum.ndim)))
    half: NDArray[np.complex128] = result[..., : plans[-1].dft_length // 2 + 1]
    return half


def _axis_factors(kernel: Array, axis: Axis, plan: AxisPlan) -> Array:
    """Gauss's factors `a, b - a, a + b` of every bin along the last dimension, in the order of the basis."""
    spectrum = np.conj(np.fft.fft(_circular(kernel, axis, plan)))
    if plan.columns > 1:
        f1 = np.arange(plan.rows // 2 + 1)
        bins = (f1[:, None] + plan.rows * np.arange(plan.columns)[None, :]).ravel()
    else:
        bins = np.arange(plan.dft_length // 2 + 1)
    a, b = spectrum[..., bins].real, spectrum[..., bins].imag
    factors: Array = np.stack([a, b - a, a + b], axis=-1).reshape(*kernel.shape[:-1], -1)
    if plan.columns > 1:
        return factors
    complex_bins = (bins > 0) & (2 * bins != plan.dft_length)
    keep = np.stack([np.ones_like(complex_bins), complex_bins, complex_bins], axis=1).ravel()
    return factors[..., keep]


def _circular(kernel: Array, axis: Axis, plan: AxisPlan) -> Array:
    """`[..., taps]` laid out on the circle of `dft_length` samples; taps that fall on one place add up."""
    dilation = 1 if axis.residues > 1 else axis.dilation
    shift = axis.pad_begin if plan.whole else 0
    places = (np.arange(axis.taps) * dilation - shift) % plan.dft_length
    circle = np.zeros((*kernel.shape[:-1], plan.dft_length))
    for tap, place in enumerate(places):
        circle[..., place] += kernel[..., tap]
    return circle
