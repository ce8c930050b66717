"""The ConvTransposes that are timed beside DFT and STFT, and what computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import log2, prod
from typing import Any

import numpy as np
from onnx import ModelProto, helper

import onnx_fft
from onnx_fft.fourier.oracle import TransposedGeometry, conv_transpose_direct
from onnx_fft.lowering.fftconv_transpose import OP_TYPE
from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.bench.fourier_rows import Run, bind, wrap_node
from scripts.shared.conv_models import Array


@dataclass(frozen=True, slots=True)
class TransposedRow:
    """A ConvTranspose on `shape = (batch, in_channels, *extents)`; one stride and padding for all axes."""

    name: str
    shape: tuple[int, ...]
    out_channels: int
    kernel: tuple[int, ...]
    stride: int = 1
    pad: int = 0
    is_inverse: bool = False
    """Whether the weight is that of an inverse STFT: real rows, then imaginary ones, under a window."""

    def draw(self) -> Array:
        """The input."""
        return np.random.default_rng(0).standard_normal(self.shape, dtype=np.float32)

    @property
    def weight(self) -> Array:
        """`[in_channels, out_channels, *kernel]`."""
        shape = (self.shape[1], self.out_channels, *self.kernel)
        if not self.is_inverse:
            return np.random.default_rng(1).standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[0]))
        (length,) = self.kernel
        turns = np.outer(np.arange(length // 2 + 1), np.arange(length)) % length / length
        rows = np.concatenate([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)]) / length
        return (rows * np.hanning(length + 1)[:-1]).astype(np.float32).reshape(shape)

    @property
    def outputs(self) -> int:
        """Elements of the output."""
        batch, _, *extents = self.shape
        sizes = zip(extents, self.kernel, strict=True)
        return batch * self.out_channels * prod((n - 1) * self.stride + k - 2 * self.pad for n, k in sizes)

    @property
    def flops(self) -> float:
        """The least: products of spectra take 4 an output and input channel, an inverse FFT 2.5 N log2 N a frame."""
        batch, channels, *extents = self.shape
        if self.is_inverse:
            return 2.5 * self.kernel[0] * log2(self.kernel[0]) * batch * prod(extents)
        return 4.0 * channels * self.outputs

    @property
    def moved_bytes(self) -> float:
        """Input and output, float32."""
        return 4.0 * (prod(self.shape) + self.outputs)

    def expect(self, x: Array) -> Array:
        """The result by its definition in float64."""
        rank = len(self.kernel)
        ones, pads = (1,) * rank, (self.pad,) * rank
        return conv_transpose_direct(
            x, self.weight, None, TransposedGeometry(1, (self.stride,) * rank, ones, pads, pads, (0,) * rank)
        )


TRANSPOSED_ROWS = (
    TransposedRow("inverse STFT, 1026->1, k 1024, stride 256", (1, 1026, 1723), 1, (1024,), 256, is_inverse=True),
    TransposedRow("ConvTranspose 64->64, k 512, stride 8, 4,000", (1, 64, 4000), 64, (512,), 8),
    TransposedRow("ConvTranspose 32->32, k 31x31, 64x64", (1, 32, 64, 64), 32, (31, 31), pad=15),
    TransposedRow("ConvTranspose 16->16, k 3x3x3, stride 2, 64^3", (1, 16, 64, 64, 64), 16, (3, 3, 3), 2, 1),
)


def open_native(row: TransposedRow, threads: int) -> Run:
    """The library's operator."""
    return bind(make_model(row, OP_TYPE, OPERATOR_DOMAIN), row.draw(), threads)


def open_operator(row: TransposedRow, threads: int) -> Run:
    """ONNX Runtime's own."""
    return bind(make_model(row, "ConvTranspose", ""), row.draw(), threads)


def open_standard(row: TransposedRow, threads: int) -> Run:
    """The operator rewritten for the standard target."""
    rewritten = onnx_fft.rewrite(make_model(row, "ConvTranspose", ""), select="all", validate=False).model
    return bind(rewritten, row.draw(), threads)


def make_model(row: TransposedRow, op_type: str, domain: str) -> ModelProto:
    """The row as one node, ONNX Runtime's operator or the library's."""
    rank = len(row.kernel)
    attributes: dict[str, Any] = {
        "group": 1,
        "kernel_shape": row.kernel,
        "strides": [row.stride] * rank,
        "dilations": [1] * rank,
        "pads": [row.pad] * 2 * rank,
        "output_padding": [0] * rank,
    }
    node = helper.make_node(op_type, ["x", "w", "b"], ["y"], domain=domain, **attributes)
    constants = {"w": row.weight, "b": np.zeros(row.out_channels, np.float32)}
    return wrap_node(node, constants, row.shape, domain)


def open_torch(row: TransposedRow, threads: int) -> Run | None:
    """torch.nn.functional.conv_transpose1d, 2d or 3d."""
    if not find_spec("torch"):
        return None
    torch: Any = import_module("torch")
    torch.set_num_threads(threads)
    x, weight = torch.from_numpy(row.draw()), torch.from_numpy(row.weight)
    function = getattr(torch.nn.functional, f"conv_transpose{len(row.kernel)}d")
    return lambda: function(x, weight, stride=row.stride, padding=row.pad).numpy()


TRANSPOSED_CONTENDERS: dict[str, Callable[[TransposedRow, int], Run | None]] = {
    "native": open_native,
    "ONNX Runtime's operator": open_operator,
    "standard": open_standard,
    "PyTorch": open_torch,
}
"""By the column's title, as `CONTENDERS`."""
