"""DFTs as real matrices, so that a convolution along one axis is three matrix products.

A correlation is `y = C (A x * B w)`: `A` transforms the input, `B` the weight, `*` is elementwise, `C` transforms back.
Here `A` and `C` are real, so that nothing downstream handles complex numbers.

*One frequency.* Let `X = u + iv` be the input's DFT bin and `conj(W) = a + ib` the weight's (conjugate, because Conv
correlates). Gauss computes their product with three real multiplications instead of four:

    m1 = (u + v) a      m2 = u (b - a)      m3 = v (a + b)      Re Y = m1 - m3      Im Y = m1 + m2

so `A` has the rows `u + v, u, v`, the weight becomes `a, b - a, a + b`, and `C` takes `m1, m2, m3`.
A bin that is its own mirror image (0, and T/2 for even T) is real and takes one multiplication.
A real signal needs only the bins `0 .. T//2`; the others are their conjugates, so `C` counts them twice.

*Long axes* (`columns > 1`), after Cooley and Tukey: with `t = t1 * T2 + t2` and `f = f1 + T1 * f2`,

    X[f] = sum_t2 exp(-2 pi i t2 (f1 / T + f2 / T2)) * [ sum_t1 exp(-2 pi i f1 t1 / T1) x[t1, t2] ]

The inner sum is one `T1`-point DFT matrix for all `t2`; a real input gives `f1` and `T1 - f1` conjugate results, so
`F1 = T1//2 + 1` values of `f1` suffice. The outer sum is, for each `f1`, a matrix of `T2` rows with the twiddle factor
`exp(-2 pi i f1 t2 / T)` already in it: a batch of `F1` constant matrices, `3 * T * T2` numbers in all.
O(T (T1 + T2)) multiplications instead of O(T^2), and still nothing but matrix products.
(The order of frequencies does not matter as long as the weight's spectrum has the same.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_fft.fourier.axis import Axis, AxisPlan

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AxisBasis:
    """The transforms of one axis: each step is `[batch, rows_out, rows_in]`, applied from the left.

    A step sees its axis as `[batch, rows_in, rest]`, where the batch is what the previous step has finished.
    """

    forward: tuple[Array, ...]
    inverse: tuple[Array, ...]


def spectrum_length(plan: AxisPlan) -> int:
    """Real multiplications one tile takes along this axis: the length of its spectrum."""
    if plan.columns > 1:
        return (plan.rows // 2 + 1) * plan.columns * 3
    real_bins = 2 - plan.dft_length % 2
    return real_bins + 3 * (plan.dft_length // 2 + 1 - real_bins)


def make_basis(axis: Axis, plan: AxisPlan) -> AxisBasis:
    """The forward and inverse transform matrices of `axis` under `plan`, in float64."""
    return _factored_basis(axis, plan) if plan.columns > 1 else _direct_basis(axis, plan)


def _direct_basis(axis: Axis, plan: AxisPlan) -> AxisBasis:
    length = plan.dft_length
    frequencies = np.arange(length // 2 + 1)
    inputs = np.arange(plan.input_length(axis))
    outputs = np.arange(plan.output_length(axis)) * axis.stride
    forward = np.exp(_turns(-np.outer(frequencies, inputs), length))
    inverse = np.exp(_turns(np.outer(outputs, frequencies), length)) * mirror_weight(length) / length

    complex_bins = (frequencies > 0) & (2 * frequencies != length)
    keep = np.stack([np.ones_like(complex_bins), complex_bins, complex_bins], axis=1).ravel()
    rows = np.stack([forward.real + forward.imag, forward.real, forward.imag], axis=1)
    columns = np.stack([inverse.real - inverse.imag, -inverse.imag, -inverse.real], axis=2)
    forward_matrix = rows.reshape(-1, len(inputs))[keep]
    inverse_matrix = columns.reshape(len(outputs), -1)[:, keep]
    return AxisBasis((forward_matrix[None],), (inverse_matrix[None],))


def _factored_basis(axis: Axis, plan: AxisPlan) -> AxisBasis:
    length, rows, columns = plan.dft_length, plan.rows, plan.columns
    f1 = np.arange(rows // 2 + 1)
    f2, t2 = np.arange(columns), np.arange(columns)
    rows_in = plan.input_length(axis) // columns
    rows_out = plan.output_length(axis) * axis.stride // columns

    first = np.exp(_turns(-np.outer(f1, np.arange(rows_in)), rows))
    first_real = np.stack([first.real, first.imag], axis=1).reshape(1, 2 * len(f1), rows_in)
    # f1 / T + f2 / T2 = (f1 + T1 * f2) / T, kept as integers modulo T for accuracy
    frequency = f1[:, None] + rows * f2[None, :]
    outer = np.exp(_turns(-(frequency[:, :, None] * t2), length))
    u = np.concatenate([outer.real, -outer.imag], axis=2)
    v = np.concatenate([outer.imag, outer.real], axis=2)
    second = np.stack([u + v, u, v], axis=2).reshape(len(f1), 3 * columns, 2 * columns)

    back = np.conj(outer).transpose(0, 2, 1)[:, :: axis.stride, :]
    real = np.stack([back.real - back.imag, -back.imag, -back.real], axis=3)
    imaginary = np.stack([back.real + back.imag, back.real, -back.imag], axis=3)
    second_back = np.stack([real, imaginary], axis=1).reshape(len(f1), -1, 3 * columns)
    first_back = np.exp(_turns(np.outer(np.arange(rows_out), f1), rows)) * mirror_weight(rows) / length
    first_back_real = np.stack([first_back.real, -first_back.imag], axis=2).reshape(1, rows_out, 2 * len(f1))
    return AxisBasis((first_real, second), (second_back, first_back_real))


def _turns(numerator: NDArray[np.int64], denominator: int) -> NDArray[np.complex128]:
    """`2 pi i * numerator / denominator`, the integer reduced first so that large angles lose nothing."""
    return (2j * np.pi * (numerator % denominator) / denominator).astype(np.complex128)


def mirror_weight(length: int) -> Array:
    """How often each bin of the half-spectrum stands in the full one: once for 0 and `length / 2`, else twice."""
    weight = np.full(length // 2 + 1, 2.0)
    weight[0] = 1.0
    if length % 2 == 0:
        weight[-1] = 1.0
    return weight
