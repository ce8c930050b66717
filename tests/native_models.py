"""Models of one node of the native library, and what they have to compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, helper

from onnx_fft import InferenceSession
from onnx_fft.fourier.oracle import ConvGeometry, conv_direct
from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import TENSOR_TYPES, Array
from tests.models import build_model, info

RELATIVE_L2 = {"float16": 2e-3, "float32": 5e-7, "float64": 1e-14}
"""Against the float64 oracle on the very same inputs: one FFT and, of float16, the rounding of the result."""

ACTIVATIONS: dict[str, tuple[dict[str, float], Callable[[Array], Array]]] = {
    "": ({}, lambda y: y),
    "Relu": ({}, lambda y: np.maximum(y, 0)),
    "LeakyRelu": ({"alpha": 0.25}, lambda y: np.where(y < 0, 0.25 * y, y)),
    "Clip": ({"alpha": -0.5, "beta": 1.5}, lambda y: np.clip(y, -0.5, 1.5)),
    "HardSigmoid": ({"alpha": 0.25, "beta": 0.5}, lambda y: np.clip(0.25 * y + 0.5, 0, 1)),
    "HardSwish": ({}, lambda y: y * np.clip(y / 6 + 0.5, 0, 1)),
    "Sigmoid": ({}, lambda y: 1 / (1 + np.exp(-y))),
    "Swish": ({}, lambda y: y / (1 + np.exp(-y))),
    "Tanh": ({}, np.tanh),
}
"""Name in the op type: attributes, and the function; PRelu has an operand."""

EPSILON = 0.0009765625
"""Of a BatchNormalization: float32 holds it."""

NORM_OPERANDS = ("scale", "shift", "mean", "variance")


@dataclass(frozen=True)
class Conv:
    """One convolution: `x [1, 4, *extents]`, `w [6, 4 / group, *kernel]` unless said otherwise."""

    extents: tuple[int, ...] = (19, 23)
    kernel: tuple[int, ...] = (5, 4)
    group: int = 2
    channels: tuple[int, int] = (4, 6)
    batch: int = 2
    dtype: str = "float32"
    activation: str = ""
    adds: bool = False
    """A residual `z`, an input of the output's shape."""
    normalizes: bool = False
    bias: bool = True
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    """Attributes in place of the right ones; None leaves one out."""

    @property
    def geometry(self) -> ConvGeometry:
        rank = len(self.kernel)
        ones, pads = (1,) * rank, self.pads or (1,) * (2 * rank)
        return ConvGeometry(self.group, self.strides or ones, self.dilations or ones, pads[:rank], pads[rank:])

    def attributes(self) -> dict[str, Any]:
        geometry = self.geometry
        found = {
            "group": self.group,
            "kernel_shape": self.kernel,
            "strides": geometry.strides,
            "dilations": geometry.dilations,
            "pads": geometry.pads_begin + geometry.pads_end,
            **(ACTIVATIONS[self.activation][0] if self.activation in ACTIVATIONS else {}),
            **({"epsilon": EPSILON} if self.normalizes else {}),
            **self.extra,
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def op_type(self) -> str:
        norm = "BatchNormalization" if self.normalizes else ""
        return f"FFTConv{'Add' if self.adds else ''}{self.activation}{norm}"

    def node(self, inputs: Sequence[str] = ()) -> NodeProto:
        names = list(inputs) or ["x", "w", *(["b"] if self.bias else []), *self.operands]
        return helper.make_node(self.op_type, names, ["y"], name="conv", domain=OPERATOR_DOMAIN, **self.attributes())

    @property
    def operands(self) -> list[str]:
        """What the operator reads behind x, w and b."""
        slope = ["slope"] if self.activation == "PRelu" else []
        return [*(["z"] if self.adds else []), *slope, *(NORM_OPERANDS if self.normalizes else ())]

    def arrays(self, seed: int = 1) -> dict[str, Array]:
        """x, w and b, and what `operands` lists."""
        rng = np.random.default_rng(seed)
        cin, cout = self.channels
        shapes = {"x": (self.batch, cin, *self.extents), "w": (cout, cin // self.group, *self.kernel), "b": (cout,)}
        arrays = {name: rng.standard_normal(shape).astype(self.dtype) for name, shape in shapes.items()}
        outputs = self.geometry.output_extents(self.extents, self.kernel)
        each = {"z": (self.batch, cout, *outputs), "slope": (cout, *[1] * len(outputs))}
        for name in self.operands:
            arrays[name] = rng.standard_normal(each.get(name, (cout,))).astype(self.dtype)
        if self.normalizes:
            arrays["variance"] = np.abs(arrays["variance"]) + np.asarray(0.5, self.dtype)
        return arrays

    def expect(self, arrays: dict[str, Array]) -> Array:
        """In float64."""
        y, wide = self.sum(arrays), {name: array.astype(np.float64) for name, array in arrays.items()}
        if self.adds:
            y = y + wide["z"]
        y = np.where(y < 0, wide["slope"] * y, y) if self.activation == "PRelu" else ACTIVATIONS[self.activation][1](y)
        if self.normalizes:
            shape = (-1, *[1] * len(self.extents))
            scale, shift, mean, variance = (wide[name].reshape(shape) for name in NORM_OPERANDS)
            y = (y - mean) / np.sqrt(variance + EPSILON) * scale + shift
        return y

    def sum(self, arrays: dict[str, Array]) -> Array:
        """In float64, before what follows."""
        return conv_direct(arrays["x"], arrays["w"], arrays["b"] if self.bias else None, self.geometry)

    def size(self, arrays: dict[str, Array]) -> Array:
        """The root of the sum of every output's squared terms: as large as outputs of random signs are in the mean, and
        as their terms are where those cancel, so that an error can be judged by it even of a single output.
        """
        return np.sqrt(self.sum({name: np.square(arrays[name].astype(np.float64)) for name in "xwb"}))

    def lifted(self) -> Conv:
        """The same sums along one more axis in front, of which pads of -1 leave the middle one of three.

        ONNX Runtime's Conv does not crop, so that the library computes them itself, whatever would be faster.
        """
        geometry = self.geometry
        pads = (-1, *geometry.pads_begin, -1, *geometry.pads_end)
        strides, dilations = (1, *geometry.strides), (1, *geometry.dilations)
        extents, kernel = (3, *self.extents), (1, *self.kernel)
        return replace(self, extents=extents, kernel=kernel, strides=strides, dilations=dilations, pads=pads)


def make_model(
    nodes: Sequence[NodeProto], inputs: dict[str, tuple[str, Sequence[int | str]]], constants: dict[str, Array]
) -> ModelProto:
    """Inputs are given as dtype and shape; the output `y` is of the first input's dtype."""
    values = [info(name, TENSOR_TYPES[dtype], shape) for name, (dtype, shape) in inputs.items()]
    output = info("y", values[0].type.tensor_type.elem_type)
    return build_model(nodes, values, [output], constants, opset=15, domains=[OPERATOR_DOMAIN])


def conv_model(
    conv: Conv, arrays: dict[str, Array], *, fixed: bool = False, run_time: Sequence[str] = ()
) -> ModelProto:
    """`fixed`: the input's shape stands in the model; `run_time`: names of w and b that are inputs."""
    x = arrays["x"]
    open_shape = [f"x{axis}" for axis in range(x.ndim)]
    inputs: dict[str, Any] = {"x": (conv.dtype, x.shape if fixed else open_shape)}
    given = [*run_time, *(["z"] if conv.adds else [])]
    inputs |= {name: (conv.dtype, [f"{name}{axis}" for axis in range(arrays[name].ndim)]) for name in given}
    stored = ["w", *(["b"] if conv.bias else []), *conv.operands]
    constants = {name: arrays[name] for name in stored if name not in given}
    return make_model([conv.node()], inputs, constants)


def open_session(model: ModelProto, threads: int = 1) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # an error that a test expects is not printed
    return InferenceSession(model.SerializeToString(), options)


def assert_close(got: Array, expected: Array, dtype: str, before: Array | None = None) -> None:
    """`before`: the sum before the activation, by which an error of it is judged; none of them makes it larger."""
    assert got.shape == expected.shape
    assert got.dtype == dtype
    assert np.isfinite(got).all()
    assert np.linalg.norm(got - expected) <= RELATIVE_L2[dtype] * np.linalg.norm(expected if before is None else before)
