"""Models of a single Conv, and what to feed them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_fft.sites.spec import ConvSpec
from scripts.shared.layers import input_shape, weight_shape

Array = NDArray[Any]
TENSOR_TYPES = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


def draw_weights(spec: ConvSpec, seed: int = 0) -> tuple[Array, Array | None]:
    """A weight, and a bias if the spec has one, of the spec's dtype; outputs have a variance near 1."""
    rng = np.random.default_rng(seed)
    shape = weight_shape(spec)
    fan_in = max(1, int(np.prod(shape[1:])))
    weight = (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(spec.dtype)
    bias = rng.standard_normal(spec.out_channels).astype(spec.dtype) if spec.has_bias else None
    return weight, bias


def draw_input(spec: ConvSpec, seed: int = 1, batch: int = 1, extent: int = 32) -> Array:
    """An input `[batch, in_channels, *extents]` of the spec's dtype; `batch`, `extent` stand in for dynamic dims."""
    shape = input_shape(spec, batch, extent)
    return np.random.default_rng(seed).standard_normal(shape).astype(spec.dtype)


def build_conv_model(
    spec: ConvSpec,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    opset: int = 17,
    dynamic: Sequence[int] = (),
    ir_version: int = 8,
    **attributes: Any,
) -> ModelProto:
    """A model of one Conv "conv", `x -> y`, with the spec's geometry.

    Weights are drawn if none are given. Dims the spec leaves open, and the axes of the input in `dynamic` (0 is the
    batch), are symbolic. `attributes` override those of the Conv; one given as None is left out (`pads=None`,
    `auto_pad="SAME_UPPER"`).
    """
    if weight is None:
        weight, bias = draw_weights(spec)
    tensors = [numpy_helper.from_array(weight, "weight")]
    tensors += [] if bias is None else [numpy_helper.from_array(bias, "bias")]
    full: dict[str, Any] = {
        "kernel_shape": spec.kernel_shape,
        "strides": spec.strides,
        "dilations": spec.dilations,
        "pads": None if spec.auto_pad else (*spec.pads_begin, *spec.pads_end),
        "auto_pad": spec.auto_pad or None,
        "group": spec.group,
        **attributes,
    }
    given = {name: value for name, value in full.items() if value is not None}
    node = helper.make_node("Conv", ["x", *(tensor.name for tensor in tensors)], ["y"], name="conv", **given)
    return _make_single(spec, node, tensors, opset, dynamic, ir_version)


def _make_single(
    spec: ConvSpec, node: onnx.NodeProto, tensors: list[TensorProto], opset: int, dynamic: Sequence[int], ir: int
) -> ModelProto:
    """The checked model around the node."""
    dims = (spec.batch, spec.in_channels, *spec.extents)
    open_axes = {axis for axis, dim in enumerate(dims) if dim is None} | set(dynamic)
    symbols = ("batch", "channels", *(f"extent{axis}" for axis in range(spec.rank)))
    x_shape = [symbols[axis] if axis in open_axes else dim for axis, dim in enumerate(dims)]
    lengths = (spec.batch, spec.out_channels, *spec.output_extents)
    y_shape = [f"{symbols[axis]}_out" if axis in open_axes - {0, 1} else dim for axis, dim in enumerate(lengths)]
    y_shape[0] = x_shape[0]
    dtype = TENSOR_TYPES[spec.dtype]
    graph = helper.make_graph(
        [node],
        "single_conv",
        [helper.make_tensor_value_info("x", dtype, x_shape)],
        [helper.make_tensor_value_info("y", dtype, y_shape)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.checker.check_model(model, full_check=True)
    return model
