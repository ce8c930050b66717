"""Is a convolution an STFT? Many models write theirs as a Conv with a stride, whose weight is a windowed DFT basis.

Row `r` of such a weight is `scale[r] * window[k] * cos(2 pi bin[r] k / length)`, or the same of `-sin`, with one window
for all rows. The native library knows it by its numbers, and computes such a node by an FFT of each frame: so the
weight has a part in what the node costs, which for all others the geometry alone tells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_fft.errors import NativeUnavailable
from onnx_fft.model.weights import ConvWeights
from onnx_fft.native.planning import find_basis_length
from onnx_fft.sites.spec import ConvSpec


def may_be_basis(spec: ConvSpec) -> bool:
    """Whether the geometry is that of an STFT: one input channel a group, and no axis but the signal's."""
    axes = zip(spec.kernel_shape, spec.extents, spec.pads_begin, spec.pads_end, strict=True)
    others = [axis for axis in axes if axis[0] == 1]
    return spec.is_depthwise and len(others) == spec.rank - 1 and all(axis == (1, 1, 0, 0) for axis in others)


def find_basis(spec: ConvSpec, weights: ConvWeights) -> int:
    """Points of the DFT whose windowed basis the weight is as the node gets it; 0 if it is none.

    Without the library nothing is known of it, and nothing needed.
    """
    with np.errstate(over="ignore"):
        rows = weights.weight.astype(spec.dtype).reshape(spec.out_channels, -1)
    try:
        return find_basis_length(rows)
    except NativeUnavailable:
        return 0


def make_basis(spec: ConvSpec) -> NDArray[np.float64]:
    """A weight that is such a basis, of the length that the spec says."""
    taps, length = max(spec.kernel_shape), spec.basis_length
    rows = np.arange(spec.out_channels)
    angles = 2 * np.pi / length * (rows[:, None] // 2 % (length // 2 + 1) * np.arange(taps) % length)
    basis: NDArray[np.float64] = np.where(rows[:, None] % 2, -np.sin(angles), np.cos(angles))
    return basis.reshape(spec.out_channels, 1, *spec.kernel_shape)
