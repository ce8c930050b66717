"""What a MatMul of frames with a windowed DFT basis takes, as ONNX Runtime's own and by the native library.

The library counts its own work, as that of the Conv which computes the same: one tap, and the samples of a frame for
channels; or, of frames that are rows, one frame of a signal each. ONNX Runtime's MatMul is faster than its Conv of that
kind, because it lays out a constant second operand once.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from onnx_fft.cost.growth import ITEMSIZES
from onnx_fft.cost.native import THREADS, predict_fftconv
from onnx_fft.native.planning import Rates, unit_names
from onnx_fft.sites.fourier import MatMulSpec
from onnx_fft.sites.matmul import MOST_ASSUMED_FRAMES
from onnx_fft.sites.spec import ConvSpec

ASSUMED_FRAMES = (1, 64, MOST_ASSUMED_FRAMES)
"""How many there are if the model leaves that open; one is that of a stream."""

PLAIN = 0.55
"""Of the rate of a Conv's product, for a MatMul, whose constant operand is laid out once: about what an FMA takes at
least, on the machines whose rates are shipped. `python -m scripts.bench.calibrate_frames judge` says how far that is
from what ONNX Runtime takes; of columns, where the constant comes first and is laid out in every run, farther."""
WEIGHT_READS = 0.25
"""Of the rate of bytes that pass through memory, for a weight, which caches hold: it bounds the product of a frame."""
OWN_CALL_S = 4e-6
"""What any MatMul takes, on one core."""


def judge_frames(spec: MatMulSpec) -> list[MatMulSpec]:
    """The site itself, or one for each assumed length of the last open axis; other open ones are 1."""
    return list(dict.fromkeys(_assume_frames(spec, frames) for frames in ASSUMED_FRAMES))


def as_pointwise(spec: MatMulSpec) -> ConvSpec:
    """The Conv that computes the same; of as many frames as are assumed most if their number is open."""
    lengths = [length or 1 for length in judge_frames(spec)[-1].shape]
    signals = prod(lengths[:-2]) if spec.in_columns else 1
    frames = prod(lengths) // (signals * spec.taps)
    ones, none = (1,), (0,)
    length = spec.basis_length
    return ConvSpec(
        signals, spec.taps, spec.rows, 1, (frames,), ones, ones, ones, none, none, spec.dtype, basis_length=length
    )


def matmul_seconds(spec: MatMulSpec, rates: Rates) -> float:
    """Of ONNX Runtime's MatMul, on `THREADS` threads."""
    rate = dict(zip(unit_names(), rates, strict=True))
    weights, itemsize = spec.taps * spec.rows, ITEMSIZES[spec.dtype]
    conv = as_pointwise(spec)
    frames = (conv.batch or 1) * prod(length or 1 for length in conv.extents)
    product = PLAIN * rate["gemm_flops"] * 2 * frames * weights * (2 if spec.dtype == "float64" else 1)
    return (product + WEIGHT_READS * rate["bytes"] * itemsize * weights + OWN_CALL_S) / THREADS


def fftmatmul_seconds(spec: MatMulSpec, rates: Rates) -> float:
    """Of the library's node, on `THREADS` threads."""
    conv = as_pointwise(spec)
    return predict_fftconv(conv if spec.in_columns else _separate(conv), rates).seconds / THREADS


def _separate(conv: ConvSpec) -> ConvSpec:
    """The Conv over frames that are rows, each a signal of its own: so the library reads them, and writes spectra."""
    taps = (conv.in_channels,)
    return replace(conv, batch=conv.extents[0], in_channels=1, extents=taps, kernel_shape=taps)


def _assume_frames(spec: MatMulSpec, frames: int) -> MatMulSpec:
    opens = [axis for axis, length in enumerate(spec.shape) if length is None]
    shape = tuple(
        (frames if axis == opens[-1] else 1) if length is None else length for axis, length in enumerate(spec.shape)
    )
    return replace(spec, shape=shape)
