"""The Fourier operators that are timed, and everything that computes them.

A contender is a function of a row and a number of threads that returns what to run, or None if it is not installed or
has no such form. To add one, add it to `CONTENDERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import log2, prod
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fft
from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import Array

Run = Callable[[], Array]
OPSET = 17  # the first with these operators: DFT has its axis as an attribute


@dataclass(frozen=True, slots=True)
class Row:
    """A onesided STFT of a real signal `shape = (batch, length)`, or such a DFT along `axis`."""

    name: str
    shape: tuple[int, ...]
    length: int
    """Of a frame, or of the DFT."""
    step: int = 0
    """From frame to frame; 0 for a DFT."""
    axis: int = 1

    def draw(self) -> Array:
        """The signal."""
        return np.random.default_rng(0).standard_normal(self.shape, dtype=np.float32)

    @property
    def window(self) -> Array:
        """Of an STFT."""
        return np.hanning(self.length + 1)[:-1].astype(np.float32)

    def frames(self, x: Array) -> Array:
        """The frames of an STFT, as a view."""
        windows: Array = np.lib.stride_tricks.sliding_window_view(x, self.length, axis=1)
        return windows[:, :: self.step]

    @property
    def lines(self) -> int:
        """Transforms of one run."""
        if self.step:
            return self.shape[0] * ((self.shape[1] - self.length) // self.step + 1)
        return prod(self.shape) // self.length

    @property
    def flops(self) -> float:
        """By the usual 2.5 N log2 N a real DFT."""
        return self.lines * 2.5 * self.length * log2(self.length)

    @property
    def moved_bytes(self) -> int:
        """The signal, and the bins."""
        return 4 * (prod(self.shape) + self.lines * (self.length // 2 + 1) * 2)

    def expect(self, x: Array) -> Array:
        """The complex result by NumPy in float64."""
        if self.step:
            return np.fft.rfft(self.frames(x.astype(np.float64)) * self.window, axis=-1)
        return np.fft.rfft(x.astype(np.float64), self.length, axis=self.axis)


ROWS = (
    Row("STFT 400/160, 160,000 samples", (1, 160_000), 400, 160),
    Row("STFT 512/160, 160,000 samples", (1, 160_000), 512, 160),
    Row("STFT 2048/512, 2 x 441,000", (2, 441_000), 2048, 512),
    Row("STFT 100/10, 32 x 1,000", (32, 1000), 100, 10),
    Row("DFT 192x64x64, last axis", (192, 64, 64), 64, axis=2),
    Row("DFT 192x64x64, the axis before", (192, 64, 64), 64, axis=1),
    Row("DFT 8 x 65,536", (8, 65_536), 65_536),
    Row("DFT 8 x 65,000", (8, 65_000), 65_000),
    Row("DFT 64 x 1,000", (64, 1000), 1000),
)


def make_model(row: Row, domain: str) -> ModelProto:
    """One node, ONNX's operator or ours; lengths and window are constants."""
    if row.step:
        constants = {"step": np.array(row.step), "window": row.window, "length": np.array(row.length)}
        node = helper.make_node("STFT", ["x", *constants], ["y"], domain=domain, onesided=1)
    else:
        constants = {"length": np.array(row.length)}
        attributes: dict[str, Any] = {"axis": row.axis, "inverse": 0, "onesided": 1}
        node = helper.make_node("DFT", ["x", *constants], ["y"], domain=domain, **attributes)
    return wrap_node(node, constants, (*row.shape, 1), domain)


def make_conv_model(row: Row) -> ModelProto:
    """An STFT as models without the operator have it: a strided Conv whose kernels are a windowed DFT basis."""
    turns = np.outer(np.arange(row.length // 2 + 1), np.arange(row.length)) / row.length
    basis = np.concatenate([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)]) * row.window
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[row.step])
    return wrap_node(node, {"w": basis[:, None].astype(np.float32)}, (row.shape[0], 1, row.shape[1]), "")


def wrap_node(node: Any, constants: dict[str, Array], shape: tuple[int, ...], domain: str) -> ModelProto:
    """A model of one node, from `x` to `y`."""
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    imports = [helper.make_opsetid("", OPSET), *([helper.make_opsetid(domain, 1)] if domain else [])]
    graph = helper.make_graph([node], "fourier", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def bind(model: ModelProto, x: Array, threads: int) -> Run:
    """A session on tensors that stay where they are, as between the nodes of a model."""
    options = onnx_fft.register(ort.SessionOptions())
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y: Array = session.run(None, {"x": x})[0]
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)  # keeps `x`, which an OrtValue would read but not keep
    binding.bind_ortvalue_output(session.get_outputs()[0].name, ort.OrtValue.ortvalue_from_numpy(y))

    def run() -> Array:
        session.run_with_iobinding(binding)
        return y  # which the binding writes to

    return run


def open_native(row: Row, threads: int) -> Run:
    """The library's operator."""
    return bind(make_model(row, OPERATOR_DOMAIN), row.draw()[..., None], threads)


def open_operator(row: Row, threads: int) -> Run:
    """ONNX Runtime's own."""
    return bind(make_model(row, ""), row.draw()[..., None], threads)


def open_standard(row: Row, threads: int) -> Run:
    """The operator rewritten for the standard target."""
    rewritten = onnx_fft.rewrite(make_model(row, ""), select="all", validate=False).model
    return bind(rewritten, row.draw()[..., None], threads)


def open_conv(row: Row, threads: int) -> Run | None:
    """An STFT as a Conv in ONNX Runtime."""
    return bind(make_conv_model(row), row.draw()[:, None], threads) if row.step else None


def open_scipy(row: Row, threads: int) -> Run | None:
    """scipy.fft.rfft, of an STFT on its windowed frames."""
    if not find_spec("scipy"):
        return None
    fft: Any = import_module("scipy.fft")
    x, window = row.draw(), row.window if row.step else None
    if window is not None:
        return lambda: fft.rfft(row.frames(x) * window, axis=-1, workers=threads)
    return lambda: fft.rfft(x, row.length, axis=row.axis, workers=threads)


def open_torch(row: Row, threads: int) -> Run | None:
    """torch.stft or torch.fft.rfft."""
    if not find_spec("torch"):
        return None
    torch: Any = import_module("torch")
    torch.set_num_threads(threads)
    x = torch.from_numpy(row.draw())
    if not row.step:
        return lambda: torch.fft.rfft(x, row.length, dim=row.axis).numpy()
    options = {"hop_length": row.step, "window": torch.from_numpy(row.window), "center": False, "return_complex": True}
    return lambda: torch.stft(x, row.length, **options).numpy().swapaxes(1, 2)


CONTENDERS: dict[str, Callable[[Row, int], Run | None]] = {
    "native": open_native,
    "ONNX Runtime's operator": open_operator,
    "its Conv": open_conv,
    "standard": open_standard,
    "SciPy": open_scipy,
    "PyTorch": open_torch,
}
"""By the column's title. All but the first are shown relative to the first."""


def as_complex(row: Row, result: Array) -> Array:
    """What a contender gives, as `Row.expect` has it."""
    if np.iscomplexobj(result):
        return result
    if result.shape[-1] == 2:
        return result[..., 0] + 1j * result[..., 1]
    real, imaginary = np.split(result.swapaxes(1, 2), 2, axis=-1)  # of the Conv
    return real + 1j * imaginary
