"""ONNX Runtime's FFT operators in NumPy: only its CUDA provider has kernels for them, and that may be absent.

Written from the operators' documentation (ContribOperators.md) and, if that is silent, from what the kernels do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from onnx_fft.model.scopes import MICROSOFT_DOMAIN
from onnx_fft.runtime.conv_transpose import ConvTranspose

Array = NDArray[Any]

COMPLEX_MUL_DTYPES = ("float16", "float32")


class Rfft(OpRun):
    """`[..., *T]` -> `[..., *T[:-1], T[-1] // 2 + 1, 2]`: the DFT of the last `signal_ndim` dimensions, unscaled."""

    op_domain = MICROSOFT_DOMAIN

    def _run(self, x: Array, signal_ndim: int = 1, **flags: int) -> tuple[Array]:
        _check_transform(x, flags)
        spectrum = np.fft.rfftn(_widen(x), axes=tuple(range(-(signal_ndim or 1), 0)))
        return (np.stack([spectrum.real, spectrum.imag], axis=-1).astype(x.dtype),)


class Irfft(OpRun):
    """`[..., *bins, 2]` -> `[..., *bins[:-1], 2 (bins[-1] - 1)]`, divided by the number of samples of a signal."""

    op_domain = MICROSOFT_DOMAIN

    def _run(self, x: Array, signal_ndim: int = 1, **flags: int) -> tuple[Array]:
        _check_transform(x, flags)
        wide = _widen(x)
        signal = np.fft.irfftn(wide[..., 0] + 1j * wide[..., 1], axes=tuple(range(-(signal_ndim or 1), 0)))
        return (signal.astype(x.dtype),)


class ComplexMul(OpRun):
    """The product of complex numbers `[..., 2]`; the second operand broadcasts along leading dimensions only.

    For operands that broadcast along others, the kernel gives something else, so that is an error here. So are the
    types that there is no kernel for.
    """

    op_domain = MICROSOFT_DOMAIN

    def _run(self, a: Array, b: Array) -> tuple[Array]:
        if a.shape[a.ndim - b.ndim :] != b.shape or b.shape[-1] != 2:
            raise ValueError(f"got shapes {list(a.shape)} and {list(b.shape)}; expected the second to end the first")
        if a.dtype not in COMPLEX_MUL_DTYPES or b.dtype != a.dtype:
            raise ValueError(f"got {a.dtype} and {b.dtype}; expected {' or '.join(COMPLEX_MUL_DTYPES)} for both")
        left, right = (_widen(each) for each in (a, b))
        product = (left[..., 0] + 1j * left[..., 1]) * (right[..., 0] + 1j * right[..., 1])
        return (np.stack([product.real, product.imag], axis=-1).astype(a.dtype),)


OPERATORS: tuple[type[OpRun], ...] = (Rfft, Irfft, ComplexMul)
NAMES = tuple(operator.__name__ for operator in OPERATORS)


class Evaluator(ReferenceEvaluator):
    """ONNX's evaluator with these operators and a ConvTranspose that runs.

    They are in the model's functions too, to which it does not pass `new_ops` on.
    """

    def __init__(self, proto: Any, **options: Any) -> None:
        """As for `ReferenceEvaluator`."""
        super().__init__(proto, **{**options, "new_ops": [*OPERATORS, ConvTranspose]})


def is_cuda_only(domain: str, op_type: str) -> bool:
    """Whether only ONNX Runtime's CUDA provider has a kernel for the operator."""
    return domain == MICROSOFT_DOMAIN and op_type in NAMES


def _widen(x: Array) -> Array:
    """float16 as float32."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def _check_transform(x: Array, flags: dict[str, int]) -> None:
    if x.size == 0:
        raise ValueError(f"got shape {list(x.shape)}; expected a signal: cuFFT makes no plan for none")
    if flags.get("normalized") or flags.get("onesided", 1) != 1:
        raise ValueError(f"got {flags}; expected normalized=0 and onesided=1, which are all there are kernels for")
