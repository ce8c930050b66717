"""What one node of the native library takes, and ONNX Runtime's Conv in its place: asked of the library itself.

The node plans at run time, for the shape that it sees, and calls ONNX Runtime's Conv where that is expected to be
faster. So a convolution whose batch or lengths are open is judged at several sizes (`gains.predict_gain`).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from onnx_fft.cost.extents import know_extents, known_axes
from onnx_fft.cost.growth import ITEMSIZES
from onnx_fft.native.planning import (
    DftQuestion,
    Prediction,
    Question,
    Rates,
    TransposedQuestion,
    predict,
    predict_transposed,
)
from onnx_fft.sites.fourier import StftSpec
from onnx_fft.sites.site import FourierSpec
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec

THREADS = 2
"""Threads that seconds are predicted for; the library's predictions are of one core."""


def predict_fftconv(spec: ConvSpec | ConvTransposeSpec, rates: Rates) -> Prediction:
    """Of one core; every open extent is the longest assumed one, an open batch is one."""
    return _predict(ask_transposed(spec) if isinstance(spec, ConvTransposeSpec) else ask(spec), rates)


def node_seconds(spec: ConvSpec | ConvTransposeSpec, rates: Rates) -> float:
    """Of the node on `THREADS` threads: the library's way, or ONNX Runtime's operator if that is faster."""
    found = predict_fftconv(spec, rates)
    # ONNX Runtime has kernels on float32 alone that a node can call, and they do not take negative pads.
    has_conv = spec.dtype == "float32" and min(spec.pads_begin + spec.pads_end) >= 0
    return (min(found.seconds, found.kernel_seconds) if has_conv else found.seconds) / THREADS


def model_seconds(spec: ConvSpec | ConvTransposeSpec, rates: Rates) -> float:
    """Of ONNX Runtime's operator in a model, on `THREADS` threads."""
    return predict_fftconv(spec, rates).model_seconds / THREADS


def border_native_seconds(spec: ConvSpec, rates: Rates) -> float:
    """What the node costs neighbours whose blocked layout ends there, on `THREADS` threads."""
    return predict_fftconv(spec, rates).border_seconds / THREADS


@lru_cache(maxsize=4096)
def _predict(question: Question | TransposedQuestion, rates: Rates) -> Prediction:
    if isinstance(question, TransposedQuestion):
        return predict_transposed(question, rates)
    return predict(question, rates)


def ask(spec: ConvSpec) -> Question:
    """The question for the library; every open extent is the longest assumed one, an open batch is one."""
    axes = known_axes(spec)
    return Question(
        spec.group,
        spec.batch or 1,
        spec.in_channels,
        spec.out_channels,
        tuple(axis.extent or 1 for axis in axes),
        spec.kernel_shape,
        spec.strides,
        spec.dilations,
        tuple(axis.pad_begin for axis in axes),
        tuple(axis.pad_end for axis in axes),
        ITEMSIZES[spec.dtype],
        basis_length=spec.basis_length,
    )


def ask_transposed(spec: ConvTransposeSpec) -> TransposedQuestion:
    """The same of a ConvTranspose."""
    return TransposedQuestion(
        spec.batch or 1,
        spec.in_channels,
        spec.out_channels,
        spec.group,
        tuple(extent or 1 for extent in know_extents(spec).extents),
        spec.kernel_shape,
        spec.strides,
        spec.dilations,
        spec.pads_begin,
        spec.pads_end,
        spec.output_padding,
        ITEMSIZES[spec.dtype],
        basis_length=spec.basis_length,
    )


def ask_dft(spec: FourierSpec) -> DftQuestion:
    """What the library is asked of a DFT or STFT whose lengths are known."""
    size = ITEMSIZES[spec.dtype]
    if isinstance(spec, StftSpec):
        frames = (spec.batch or 1) * (spec.frames or 1)
        return DftQuestion(spec.frame_length, spec.parts, False, spec.onesided, frames, 1, spec.frame_length, size)
    lengths = [length or 1 for length in spec.shape]
    outer, inner = prod(lengths[: spec.axis]), prod(lengths[spec.axis + 1 : -1])
    points = spec.dft_length or 1
    return DftQuestion(points, lengths[-1], spec.inverse, spec.onesided, outer, inner, lengths[spec.axis], size)
