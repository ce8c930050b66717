"""Models of one `DFT` or `STFT` node of the native library, and what they have to compute, by NumPy in float64."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper
from onnx.helper import make_node

from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import TENSOR_TYPES, Array
from tests.models import build_model, info
from tests.native_models import open_session

INT64 = TensorProto.INT64


def dft_model(
    rank: int, axis: int, *, inverse: int = 0, onesided: int = 0, dtype: str = "float32", length: int | None = None
) -> ModelProto:
    """`y = DFT(x, n)` with open lengths; `n` is an input, or a constant if `length` is given."""
    node = make_node(
        "DFT", ["x", "n"], ["y"], "dft", domain=OPERATOR_DOMAIN, axis=axis, inverse=inverse, onesided=onesided
    )
    values = [info("x", TENSOR_TYPES[dtype], [f"d{i}" for i in range(rank)])]
    constants = {} if length is None else {"n": np.array(length)}
    values += [info("n", INT64, [])] if length is None else []
    return build_model([node], values, [info("y", TENSOR_TYPES[dtype])], constants, domains=[OPERATOR_DOMAIN])


def stft_model(*, onesided: int = 1, dtype: str = "float32") -> ModelProto:
    """`y = STFT(x, step, window, length)`, all of which are inputs."""
    node = make_node(
        "STFT", ["x", "step", "window", "length"], ["y"], "stft", domain=OPERATOR_DOMAIN, onesided=onesided
    )
    kind = TENSOR_TYPES[dtype]
    values = [info("x", kind, ["b", "l", "p"]), info("step", INT64, []), info("window", kind, ["w"])]
    values.append(helper.make_tensor_value_info("length", INT64, []))
    return build_model([node], values, [info("y", kind)], {}, domains=[OPERATOR_DOMAIN])


@cache
def dft_session(rank: int, axis: int, inverse: int, onesided: int, dtype: str, threads: int = 1) -> Any:
    return open_session(dft_model(rank, axis, inverse=inverse, onesided=onesided, dtype=dtype), threads)


@cache
def stft_session(onesided: int, dtype: str, threads: int = 1) -> Any:
    return open_session(stft_model(onesided=onesided, dtype=dtype), threads)


def run_dft(
    x: Array, axis: int, length: int, *, inverse: int = 0, onesided: int = 0, threads: int = 1, number: Any = None
) -> Array:
    """`number` is the tensor of the length, if it is not a scalar."""
    session = dft_session(x.ndim, axis, inverse, onesided, x.dtype.name, threads)
    y: Array = session.run(None, {"x": x, "n": np.array(length) if number is None else number})[0]
    return y


def run_stft(x: Array, step: int, window: Array, length: int, *, onesided: int = 1, threads: int = 1) -> Array:
    feeds = {"x": x, "step": np.array(step), "window": window, "length": np.array(length)}
    y: Array = stft_session(onesided, x.dtype.name, threads).run(None, feeds)[0]
    return y


def to_pairs(values: Array) -> Array:
    return np.stack([values.real, values.imag], axis=-1)


def to_complex(x: Array) -> Array:
    """From a last dimension of 1 or 2, in float64."""
    wide = x.astype(np.float64)
    return wide[..., 0] if x.shape[-1] == 1 else wide[..., 0] + 1j * wide[..., 1]


def expect_dft(x: Array, axis: int, length: int, *, inverse: int = 0, onesided: int = 0) -> Array:
    """By NumPy, whose irfft leaves out the imaginary parts that the standard ignores."""
    values = to_complex(x)
    if inverse and onesided:
        return np.fft.irfft(values, length, axis)[..., None]
    if inverse:
        return to_pairs(np.fft.ifft(values, length, axis))
    return to_pairs(np.fft.rfft(values, length, axis) if onesided else np.fft.fft(values, length, axis))


def expect_stft(x: Array, step: int, window: Array, *, onesided: int = 1) -> Array:
    values, length = to_complex(x), len(window)
    frames = np.lib.stride_tricks.sliding_window_view(values, length, axis=1)[:, ::step]
    windowed = frames * window.astype(np.float64)
    return to_pairs(np.fft.rfft(windowed) if onesided else np.fft.fft(windowed))


def draw_signal(shape: Sequence[int], dtype: str = "float32", seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
