"""The nodes of a DFT done by factors: a MatMul for each stage (`fourier.factored`), and the factors between them.

Data is `[rows, ..., part, samples]` before, `[rows, bins, part]` after. What stands behind an axis is moved before it
first: ONNX Runtime's products with one matrix on the right are its fastest, and short runs its slowest everywhere.

*Multiplication by constants that are complex* takes no splitting: with the parts in exchanged order beside,

    (u, v) * (a, a) + (v, u) * (-b, b) = (u a - v b, v a + u b)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnx_fft.fourier.basis import mirror_weight
from onnx_fft.fourier.factored import (
    Stage,
    backward_matrix,
    forward_matrix,
    gather_half_spectrum,
    locate_bins,
    make_twiddles,
    scatter_digits,
)
from onnx_fft.fourier.plans import (
    Transform,
    chirp_spectrum,
    count_turned,
    is_chirped,
    list_back_stages,
    list_stages,
    make_chirp,
)
from onnx_fft.lowering.builder import NodeBuilder

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


def write_transform(
    b: NodeBuilder,
    x: gs.Tensor,
    transform: Transform,
    factors: tuple[int, ...],
    *,
    rows: int | None,
    scale: float = 1.0,
) -> gs.Tensor:
    """`[rows, read, parts]` -> `[rows, wanted, 2]`, or `[rows, wanted]` if it gives real values; in any dimensions.

    `rows` is None if it is open.
    """
    if is_chirped(transform, factors):
        return _write_chirped(b, _part_first(b, x, transform), transform, factors, scale)
    if len(factors) == 1 and not transform.gives_real:
        return _write_single(b, x, transform, factors, scale)
    turned = count_turned(transform, rows) if rows is not None else 0
    return (_write_real if transform.gives_real else _write_bins)(b, x, transform, factors, scale, turned)


def _write_single(
    b: NodeBuilder, x: gs.Tensor, transform: Transform, factors: tuple[int, ...], scale: float
) -> gs.Tensor:
    """One matrix, `[rows, read, parts]` -> `[rows, wanted, 2]`, and nothing moves."""
    matrix = forward_matrix(list_stages(transform, factors)[0], transform.sign, scale)
    by_sample = matrix.reshape(-1, transform.parts, transform.read).transpose(2, 1, 0).reshape(-1, len(matrix))
    return b.op("MatMul", b.reshape(x, -1, len(by_sample)), b.real(by_sample))


def _part_first(b: NodeBuilder, x: gs.Tensor, transform: Transform) -> gs.Tensor:
    """`[rows, read, parts]` -> `[rows, part, read]`."""
    return x if transform.parts == 1 else b.transpose(b.reshape(x, -1, transform.read, 2), 0, 2, 1)


def _write_bins(
    b: NodeBuilder, x: gs.Tensor, transform: Transform, factors: tuple[int, ...], scale: float, turned: int
) -> gs.Tensor:
    """`[rows, read, parts]` -> `[rows, wanted, part]`."""
    stages = list_stages(transform, factors)
    z = _pad_samples(b, _part_first(b, x, transform), stages[0], transform)
    y = _write_forward(b, z, stages, transform.sign, scale)
    return _take(b, y, prod(stage.bins for stage in stages), locate_bins(stages, transform.wanted), turned)


def _write_real(
    b: NodeBuilder, x: gs.Tensor, transform: Transform, factors: tuple[int, ...], scale: float, turned: int
) -> gs.Tensor:
    """Half a spectrum `[rows, read, part]` -> the real signal `[rows, wanted]`."""
    if len(factors) > 1:
        places, signs = gather_half_spectrum(factors)
        x = _take(b, x, transform.read, places, turned)
        x = b.op("Mul", b.reshape(x, -1, len(places), 2), b.real(signs))
    return _write_backward(b, x, list_stages(transform, factors), transform.sign, scale)


def _take(b: NodeBuilder, x: gs.Tensor, bins: int, places: NDArray[np.int64], turned: int) -> gs.Variable:
    """The bins at `places` of `[rows, bins, part]`.

    A Gather of single bins is slow. With `turned`, it is of so many rows' at once, which are turned side by side and
    back.
    """
    if not turned:
        return b.op("Gather", b.reshape(x, -1, bins, 2), b.integers(places), axis=1)
    beside = b.transpose(b.op("Reshape", x, b.vector(-1, turned, bins, 2)), 0, 2, 3, 1)
    return b.transpose(b.op("Gather", beside, b.integers(places), axis=1), 0, 3, 1, 2)


def _write_chirped(
    b: NodeBuilder, x: gs.Tensor, transform: Transform, factors: tuple[int, ...], scale: float
) -> gs.Tensor:
    """Bluestein's convolution, `[rows, part, read]` -> `[rows, wanted, part]`.

    Bins stay by their digits, the parts before the last one: `[rows, digits, part, digit]`.
    """
    forward, back = list_stages(transform, factors), list_back_stages(transform, factors)
    z = _pad_samples(b, _apply_chirp(b, x, transform), forward[0], transform)
    z = _write_forward(b, z, forward, -1, parts_first=True)
    spectrum = scatter_digits(chirp_spectrum(transform, prod(factors)), factors)
    z = _multiply(b, z, spectrum.reshape(-1, factors[-1]))
    y = _write_backward(b, z, back, 1, parts_first=True)
    made = back[0].samples * back[0].rest
    y = b.reshape(y, -1, 2, made)
    if made > transform.wanted:
        y = b.op("Slice", y, b.integers([0]), b.integers([transform.wanted]), b.integers([2]))
    chirp = make_chirp(transform.wanted, transform.length, transform.sign) * scale
    if transform.gives_real:
        y = b.op("Mul", y, b.real(np.stack([chirp.real, -chirp.imag])))
        return b.op("ReduceSum", y, b.integers([1]), keepdims=0)
    return b.transpose(b.reshape(_multiply(b, y, chirp[None]), -1, 2, transform.wanted), 0, 2, 1)


def _apply_chirp(b: NodeBuilder, x: gs.Tensor, transform: Transform) -> gs.Tensor:
    """`[rows, part, read]` times the chirp.

    Half a spectrum stands for all of it: bins that have a mirror image count twice, and of the two that have none only
    the real part counts.
    """
    chirp = make_chirp(transform.read, transform.length, transform.sign)
    if transform.parts == 1:
        return b.op("Mul", b.reshape(x, -1, 1, transform.read), b.real(np.stack([chirp.real, chirp.imag])))
    if not transform.gives_real:
        return _multiply(b, x, chirp[None])
    weight = mirror_weight(transform.length)
    imaginary = np.where(weight == 1, 0, weight)
    same = np.stack([chirp.real * weight, chirp.real * imaginary])
    crossed = np.stack([-chirp.imag * imaginary, chirp.imag * weight])
    return _combine(b, x, same[None], crossed[None])


def _write_forward(
    b: NodeBuilder,
    x: gs.Tensor,
    stages: Sequence[Stage],
    sign: int,
    scale: float = 1.0,
    *,
    parts_first: bool = False,
) -> gs.Tensor:
    """`[rows, part, samples]` -> `[rows, digits, part]`, the last digit after the part if asked for."""
    for stage in stages:
        is_last = not stage.has_twiddles
        matrix = forward_matrix(stage, sign, scale if is_last else 1.0)
        if is_last and parts_first:
            matrix = matrix.reshape(-1, 2, matrix.shape[1]).transpose(1, 0, 2).reshape(matrix.shape)
        x = _multiply_matrix(b, matrix, x, stage)
        if stage.has_twiddles:
            x = _multiply(b, x, make_twiddles(stage, sign))
    return x


def _write_backward(
    b: NodeBuilder,
    x: gs.Tensor,
    stages: Sequence[Stage],
    sign: int,
    scale: float = 1.0,
    *,
    parts_first: bool = False,
) -> gs.Tensor:
    """`[rows, digits, part]` -> `[rows, part, samples]`, the other way through `stages`."""
    for stage in reversed(stages):
        if stage.has_twiddles:
            x = _multiply(b, x, make_twiddles(stage, sign))
        matrix = backward_matrix(stage, sign, scale if stage is stages[0] else 1.0)
        if parts_first and not stage.has_twiddles:
            matrix = matrix.reshape(len(matrix), -1, 2).transpose(0, 2, 1).reshape(matrix.shape)
        x = _multiply_matrix(b, matrix, x, stage)
    return x


def _multiply_matrix(b: NodeBuilder, matrix: Array, x: gs.Tensor, stage: Stage) -> gs.Variable:
    """`[..., columns, rest]` -> `[..., rows, rest]`."""
    columns = matrix.shape[1]
    if stage.rest == 1:
        return b.op("MatMul", b.reshape(x, -1, columns), b.real(matrix.T))
    return b.op("MatMul", b.real(matrix), b.reshape(x, -1, columns, stage.rest))


def _multiply(b: NodeBuilder, x: gs.Tensor, factors: ComplexArray) -> gs.Variable:
    """`[rows, digits, part, rest]` times `factors` `[digits, rest]`."""
    same = np.stack([factors.real, factors.real], axis=1)
    return _combine(b, x, same, np.stack([-factors.imag, factors.imag], axis=1))


def _combine(b: NodeBuilder, x: gs.Tensor, same: Array, crossed: Array) -> gs.Variable:
    """Each part times `same`, and the other part times `crossed`; both `[digits, part, rest]`: long runs."""
    z = b.reshape(x, -1, *same.shape)
    exchanged = b.op("Gather", z, b.integers([1, 0]), axis=2)
    return b.op("Add", b.op("Mul", z, b.real(same)), b.op("Mul", exchanged, b.real(crossed)))


def _pad_samples(b: NodeBuilder, z: gs.Tensor, stage: Stage, transform: Transform) -> gs.Tensor:
    """`[rows, part, read]`, with zeros behind so that the first stage reads whole rows."""
    missing = stage.samples * stage.rest - transform.read
    if not missing:
        return z
    return b.pad(b.reshape(z, -1, stage.parts, transform.read), [0] * 3, [0, 0, missing])
