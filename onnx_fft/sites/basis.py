"""Is a convolution an STFT? Many models write theirs as a Conv with a stride, whose weight is a windowed DFT basis.

Row `r` of such a weight is `scale[r] * window[k] * cos(2 pi bin[r] k / length)`, or the same of `-sin`, with one window
for all rows. The native library knows it by its numbers, and computes such a node by an FFT of each frame: so the
weight has a part in what the node costs, which for all others the geometry alone tells. An inverse STFT is written as
a ConvTranspose, with such rows as its input channels; an STFT of frames that are cut already as a MatMul, with such
rows as the rows of its first operand, or the columns of its second.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnx_fft.errors import NativeUnavailable
from onnx_fft.model.weights import ConvWeights
from onnx_fft.native.planning import find_basis_length
from onnx_fft.sites.fourier import MatMulSpec
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec

LEAST_TAPS, LONGEST_BASIS = 32, 1 << 13
"""Of a basis that is looked for: the fewest taps, and the most points of its DFT."""
SAMPLED_ROWS = 64
"""Of the weight of a 1x1 Conv or a MatMul, by which all but those that are a basis drop out: models have many."""


def may_be_basis(spec: ConvSpec) -> bool:
    """Whether the geometry is that of an STFT: one input channel a group, and no axis but the signal's.

    Or, of frames that are cut already, `[batch, taps, frames]`, one tap, and no stride and no pads.
    """
    if is_pointwise(spec):
        is_plain = set(spec.strides) == {1} and not any((*spec.pads_begin, *spec.pads_end))
        return spec.group == 1 and spec.in_channels >= LEAST_TAPS and is_plain
    axes = zip(spec.kernel_shape, spec.extents, spec.pads_begin, spec.pads_end, strict=True)
    others = [axis for axis in axes if axis[0] == 1]
    return spec.is_depthwise and len(others) == spec.rank - 1 and all(axis == (1, 1, 0, 0) for axis in others)


def is_pointwise(spec: ConvSpec) -> bool:
    """Whether the kernel has one tap."""
    return set(spec.kernel_shape) == {1}


def is_no_basis(spec: ConvSpec, weight: NDArray[np.generic]) -> bool:
    """Whether a sample of the rows shows that the weight of a 1x1 Conv is no basis, which of most it does at once."""
    step = max(1, spec.out_channels // SAMPLED_ROWS)
    rows = weight.reshape(spec.out_channels, -1)[: step * SAMPLED_ROWS : step]
    return find_basis(replace(spec, out_channels=len(rows)), ConvWeights(rows.astype(np.float64))) == 0


def find_row_basis(rows: NDArray[np.generic], dtype: str) -> int:
    """The same as `find_basis` of a MatMul's weight, as `[rows, taps]`."""
    step = max(1, len(rows) // SAMPLED_ROWS)
    sample = rows[: step * SAMPLED_ROWS : step]
    if not _find_length(sample.astype(np.float64), dtype):
        return 0
    return _find_length(rows.astype(np.float64), dtype)


def find_basis(spec: ConvSpec, weights: ConvWeights) -> int:
    """Points of the DFT whose windowed basis the weight is as the node gets it; 0 if it is none.

    Without the library nothing is known of it, and nothing needed.
    """
    return _find_length(weights.weight, spec.dtype)


def _find_length(weight: NDArray[np.float64], dtype: str) -> int:
    with np.errstate(over="ignore"):
        rows = weight.astype(dtype).reshape(len(weight), -1)
    try:
        return find_basis_length(rows)
    except NativeUnavailable:
        return 0


def may_be_inverse(spec: ConvTransposeSpec) -> bool:
    """Whether the geometry is that of an inverse STFT: one output channel a group, and no axis but the signal's.

    Only then does the library add up frames: it goes by the same conditions.
    """
    rows = (spec.kernel_shape, spec.extents, spec.output_extents, spec.pads_begin, spec.dilations)
    axes = list(zip(*rows, strict=True))
    others = [axis[:4] for axis in axes if axis[0] == 1]
    is_dense = all(axis[4] == 1 for axis in axes if axis[0] > 1)
    has_one_axis = len(others) == spec.rank - 1 and all(axis == (1, 1, 1, 0) for axis in others)
    return spec.out_channels == spec.group and has_one_axis and is_dense


def find_inverse(spec: ConvTransposeSpec, weights: ConvWeights) -> int:
    """Points of the DFT whose inverse, windowed, the weight of a ConvTranspose is; see `find_basis`."""
    return _find_length(weights.weight, spec.dtype)


def make_inverse(spec: ConvTransposeSpec) -> NDArray[np.float64]:
    """A weight that is such a basis, of the length that the spec says."""
    return _make_rows(spec.in_channels, max(spec.kernel_shape), spec.basis_length).reshape(spec.weight_shape)


def make_basis(spec: ConvSpec) -> NDArray[np.float64]:
    """A weight that is such a basis, of the length that the spec says."""
    taps = spec.in_channels // spec.group * max(spec.kernel_shape)
    return _make_rows(spec.out_channels, taps, spec.basis_length).reshape(spec.out_channels, -1, *spec.kernel_shape)


def make_operand(spec: MatMulSpec) -> NDArray[np.float64]:
    """A weight of a MatMul that holds such a basis, of the length that the spec says."""
    rows = _make_rows(spec.rows, spec.taps, spec.basis_length)
    return rows if spec.in_columns else np.ascontiguousarray(rows.T)


def _make_rows(count: int, taps: int, length: int) -> NDArray[np.float64]:
    rows = np.arange(count)[:, None]
    angles = 2 * np.pi / length * (rows // 2 % (length // 2 + 1) * np.arange(taps) % length)
    basis: NDArray[np.float64] = np.where(rows % 2, -np.sin(angles), np.cos(angles))
    return basis
