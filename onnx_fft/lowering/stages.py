"""The nodes of a DFT done by factors: a MatMul for each stage (`fourier.factored`), and the factors between them.

Data is `[outer, ..., part, samples, inner]` before, `[outer, bins, part, inner]` after; `outer` is whatever stands
before the axis, `inner` what stands behind it. If `inner` is 1, the matrix of the last stage stands on the right.

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
from onnx_fft.lowering.builder import Dim, NodeBuilder

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


def write_transform(
    b: NodeBuilder,
    x: gs.Tensor,
    transform: Transform,
    factors: tuple[int, ...],
    inner: Dim,
    *,
    outer: int | None,
    scale: float = 1.0,
) -> gs.Tensor:
    """`[outer, read, inner, parts]` -> `[outer, wanted, inner, 2]`, or `[..., 1]` if it gives real values.

    `outer` is None if it is open.
    """
    if len(factors) == 1 and not transform.gives_real and not is_chirped(transform, factors):
        return (_write_last if _is_one(inner) else _write_inside)(b, x, transform, factors, inner, scale)
    z = _enter(b, x, transform, inner, bins_first=transform.gives_real and not is_chirped(transform, factors))
    if is_chirped(transform, factors):
        y = _write_chirped(b, z, transform, factors, inner, scale)
    else:
        rows = count_turned(transform, outer) if _is_one(inner) and outer is not None else 0
        y = (_write_real if transform.gives_real else _write_bins)(b, z, transform, factors, inner, scale, rows)
    parts = 1 if transform.gives_real else 2
    y = b.reshape(y, -1, transform.wanted, parts, inner)
    return y if parts == 1 or _is_one(inner) else b.transpose(y, 0, 1, 3, 2)


def _write_last(
    b: NodeBuilder, x: gs.Tensor, transform: Transform, factors: tuple[int, ...], _inner: Dim, scale: float
) -> gs.Tensor:
    """One matrix on the right: `[outer, read, parts]` -> `[outer, wanted, 2]`, and nothing moves."""
    matrix = forward_matrix(list_stages(transform, factors)[0], transform.sign, scale)
    by_sample = matrix.reshape(-1, transform.parts, transform.read).transpose(2, 1, 0).reshape(-1, len(matrix))
    return b.op("MatMul", b.reshape(x, -1, len(by_sample)), b.real(by_sample))


def _write_inside(
    b: NodeBuilder, x: gs.Tensor, transform: Transform, factors: tuple[int, ...], inner: Dim, scale: float
) -> gs.Tensor:
    """One matrix on the left for each part, `[outer, read, inner, parts]` -> `[outer, wanted, inner, 2]`.

    Concat puts the parts beside each other on all threads, as Transpose does not.
    """
    matrix = forward_matrix(list_stages(transform, factors)[0], transform.sign, scale)
    z = b.reshape(_enter(b, x, transform, inner, bins_first=False), -1, matrix.shape[1], inner)
    products = (b.op("MatMul", b.real(matrix[part::2]), z) for part in range(2))
    return b.op("Concat", *(b.reshape(y, -1, transform.wanted, inner, 1) for y in products), axis=3)


def _enter(b: NodeBuilder, x: gs.Tensor, transform: Transform, inner: Dim, *, bins_first: bool) -> gs.Tensor:
    """`[outer, read, inner, parts]` -> `[outer, part, read, inner]`, or `[outer, read, part, inner]` (`bins_first`)."""
    if transform.parts == 1 or (bins_first and _is_one(inner)):
        return x
    z = b.reshape(x, -1, transform.read, inner, 2)
    return b.transpose(z, 0, 1, 3, 2) if bins_first else b.transpose(z, 0, 3, 1, 2)


def _write_bins(
    b: NodeBuilder, x: gs.Tensor, transform: Transform, factors: tuple[int, ...], inner: Dim, scale: float, rows: int
) -> gs.Tensor:
    """`[outer, part, read, inner]` -> `[outer, wanted, part, inner]`."""
    stages = list_stages(transform, factors)
    z = _pad_samples(b, x, stages[0], transform, inner)
    y = _write_forward(b, z, stages, transform.sign, inner, scale)
    return _take(b, y, prod(stage.bins for stage in stages), locate_bins(stages, transform.wanted), inner, rows)


def _write_real(
    b: NodeBuilder, x: gs.Tensor, transform: Transform, factors: tuple[int, ...], inner: Dim, scale: float, rows: int
) -> gs.Tensor:
    """Half a spectrum `[outer, read, part, inner]` -> the real signal `[outer, wanted, inner]`."""
    if len(factors) > 1:
        places, signs = gather_half_spectrum(factors)
        x = _take(b, x, transform.read, places, inner, rows)
        x = b.op("Mul", b.reshape(x, -1, len(places), 2, inner), b.real(signs[..., None]))
    return _write_backward(b, x, list_stages(transform, factors), transform.sign, inner, scale)


def _take(b: NodeBuilder, x: gs.Tensor, bins: int, places: NDArray[np.int64], inner: Dim, rows: int) -> gs.Variable:
    """The bins at `places` of `[outer, bins, part, inner]`.

    A Gather of single bins is slow. With `rows`, it is of so many at once, which are turned side by side and back.
    """
    if not rows:
        return b.op("Gather", b.reshape(x, -1, bins, 2, inner), b.integers(places), axis=1)
    turned = b.transpose(b.op("Reshape", x, b.vector(-1, rows, bins, 2)), 0, 2, 3, 1)
    return b.transpose(b.op("Gather", turned, b.integers(places), axis=1), 0, 3, 1, 2)


def _write_chirped(
    b: NodeBuilder, x: gs.Tensor, transform: Transform, factors: tuple[int, ...], inner: Dim, scale: float
) -> gs.Tensor:
    """Bluestein's convolution, `[outer, part, read, inner]` -> `[outer, wanted, part, inner]`.

    Bins stay by their digits, the parts before the last one: `[outer, digits, part, digit, inner]`.
    """
    forward, back = list_stages(transform, factors), list_back_stages(transform, factors)
    z = _pad_samples(b, _apply_chirp(b, x, transform, inner), forward[0], transform, inner)
    z = _write_forward(b, z, forward, -1, inner, parts_first=True)
    spectrum = scatter_digits(chirp_spectrum(transform, prod(factors)), factors)
    z = _multiply(b, z, spectrum.reshape(-1, factors[-1]), inner)
    y = _write_backward(b, z, back, 1, inner, parts_first=True)
    made = back[0].samples * back[0].rest
    y = b.reshape(y, -1, 2, made, inner)
    if made > transform.wanted:
        y = b.op("Slice", y, b.integers([0]), b.integers([transform.wanted]), b.integers([2]))
    chirp = make_chirp(transform.wanted, transform.length, transform.sign) * scale
    if transform.gives_real:
        y = b.op("Mul", y, b.real(np.stack([chirp.real, -chirp.imag])[..., None]))
        return b.op("ReduceSum", y, b.integers([1]), keepdims=0)
    y = b.reshape(_multiply(b, y, chirp[None], inner), -1, 2, transform.wanted, inner)
    return b.transpose(y, 0, 2, 1, 3)


def _apply_chirp(b: NodeBuilder, x: gs.Tensor, transform: Transform, inner: Dim) -> gs.Tensor:
    """`[outer, part, read, inner]` times the chirp.

    Half a spectrum stands for all of it: bins that have a mirror image count twice, and of the two that have none only
    the real part counts.
    """
    chirp = make_chirp(transform.read, transform.length, transform.sign)
    if transform.parts == 1:
        z = b.reshape(x, -1, 1, transform.read, inner)
        return b.op("Mul", z, b.real(np.stack([chirp.real, chirp.imag])[..., None]))
    if not transform.gives_real:
        return _multiply(b, x, chirp[None], inner)
    weight = mirror_weight(transform.length)
    imaginary = np.where(weight == 1, 0, weight)
    same = np.stack([chirp.real * weight, chirp.real * imaginary])
    crossed = np.stack([-chirp.imag * imaginary, chirp.imag * weight])
    return _combine(b, x, same[None], crossed[None], inner)


def _write_forward(
    b: NodeBuilder,
    x: gs.Tensor,
    stages: Sequence[Stage],
    sign: int,
    inner: Dim,
    scale: float = 1.0,
    *,
    parts_first: bool = False,
) -> gs.Tensor:
    """`[outer, part, samples, inner]` -> `[outer, digits, part, inner]`, the last digit after the part if asked for."""
    for stage in stages:
        is_last = not stage.has_twiddles
        matrix = forward_matrix(stage, sign, scale if is_last else 1.0)
        if is_last and parts_first:
            matrix = matrix.reshape(-1, 2, matrix.shape[1]).transpose(1, 0, 2).reshape(matrix.shape)
        x = _multiply_matrix(b, matrix, x, stage, inner)
        if stage.has_twiddles:
            x = _multiply(b, x, make_twiddles(stage, sign), inner)
    return x


def _write_backward(
    b: NodeBuilder,
    x: gs.Tensor,
    stages: Sequence[Stage],
    sign: int,
    inner: Dim,
    scale: float = 1.0,
    *,
    parts_first: bool = False,
) -> gs.Tensor:
    """`[outer, digits, part, inner]` -> `[outer, part, samples, inner]`, the other way through `stages`."""
    for stage in reversed(stages):
        if stage.has_twiddles:
            x = _multiply(b, x, make_twiddles(stage, sign), inner)
        matrix = backward_matrix(stage, sign, scale if stage is stages[0] else 1.0)
        if parts_first and not stage.has_twiddles:
            matrix = matrix.reshape(len(matrix), -1, 2).transpose(0, 2, 1).reshape(matrix.shape)
        x = _multiply_matrix(b, matrix, x, stage, inner)
    return x


def _multiply_matrix(b: NodeBuilder, matrix: Array, x: gs.Tensor, stage: Stage, inner: Dim) -> gs.Variable:
    """`[..., columns, rest, inner]` -> `[..., rows, rest, inner]`, the last two dimensions as one."""
    columns = matrix.shape[1]
    if stage.rest == 1 and _is_one(inner):
        return b.op("MatMul", b.reshape(x, -1, columns), b.real(matrix.T))
    return b.op("MatMul", b.real(matrix), b.reshape(x, -1, columns, _times(b, stage.rest, inner)))


def _multiply(b: NodeBuilder, x: gs.Tensor, factors: ComplexArray, inner: Dim) -> gs.Variable:
    """`[outer, digits, part, rest, inner]` times `factors` `[digits, rest]`."""
    crossed = np.stack([-factors.imag, factors.imag], axis=1)
    return _combine(b, x, factors.real[:, None], crossed, inner)


def _combine(b: NodeBuilder, x: gs.Tensor, same: Array, crossed: Array, inner: Dim) -> gs.Variable:
    """Each part times `same`, and the other part times `crossed`; both `[digits, part, rest]`."""
    digits, _, rest = crossed.shape
    z = b.reshape(x, -1, digits, 2, rest, inner)
    exchanged = b.op("Gather", z, b.integers([1, 0]), axis=2)
    return b.op("Add", b.op("Mul", z, b.real(same[..., None])), b.op("Mul", exchanged, b.real(crossed[..., None])))


def _pad_samples(b: NodeBuilder, z: gs.Tensor, stage: Stage, transform: Transform, inner: Dim) -> gs.Tensor:
    """`[outer, part, read, inner]`, with zeros behind so that the first stage reads whole rows."""
    missing = stage.samples * stage.rest - transform.read
    if not missing:
        return z
    return b.pad(b.reshape(z, -1, stage.parts, transform.read, inner), [0] * 4, [0, 0, missing, 0])


def _times(b: NodeBuilder, length: int, inner: Dim) -> Dim:
    product = b.multiply(length, inner)
    assert not isinstance(product, gs.Constant)
    return product


def _is_one(inner: Dim) -> bool:
    """Whether nothing stands behind the axis, for sure."""
    return isinstance(inner, int) and inner == 1
