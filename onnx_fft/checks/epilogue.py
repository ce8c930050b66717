"""What follows a Conv inside the replaced nodes, in float64: written apart from the rewriter, which this judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnx import NodeProto, helper

from onnx_fft.fourier.oracle import Float64Array, Sample
from onnx_fft.runtime.engines import Value

_DEFAULTS: dict[str, dict[str, float]] = {
    "LeakyRelu": {"alpha": 0.01},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Swish": {"alpha": 1.0},
    "Clip": {"min": -np.inf, "max": np.inf},
}


def follow(
    node: NodeProto,
    made: Mapping[str, Float64Array],
    tensors: Mapping[str, Value],
    read: Callable[[str], Float64Array],
    sample: Sample,
) -> Float64Array:
    """What one node makes of `made`, tensors at the outputs of `sample`; `read` gives any other one there.

    ValueError for an operator that is unknown here.
    """
    if node.op_type in ("Add", "Sum", "Mul", "Div"):
        one, other = (made[name] if name in made else read(name) for name in node.input)
        return one * other if node.op_type == "Mul" else one / other if node.op_type == "Div" else one + other
    y = made[node.input[0]]
    if node.op_type == "PRelu":
        return np.where(y < 0, read(node.input[1]) * y, y)
    if node.op_type == "BatchNormalization":
        return _normalize(y, node, tensors, sample)
    return activate(y, node.op_type, _read_params(node, tensors))


def bound_gain(nodes: Sequence[NodeProto], tensors: Mapping[str, Value]) -> float:
    """How much larger the nodes behind a Conv may make an error of it."""
    gain = 1.0
    for node in nodes:
        if node.op_type == "BatchNormalization":
            factor, _, _, variance = (np.asarray(tensors[name], np.float64) for name in node.input[1:5])
            gain *= float(np.abs(factor / np.sqrt(variance + _read_epsilon(node))).max())
        elif node.op_type == "PRelu":
            gain *= max(1.0, float(np.abs(np.asarray(tensors[node.input[1]], np.float64)).max(initial=0.0)))
    return gain


def _read_epsilon(node: NodeProto) -> float:
    return next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)


def _normalize(y: Float64Array, node: NodeProto, tensors: Mapping[str, Value], sample: Sample) -> Float64Array:
    """A BatchNormalization of the sampled channels."""
    shape = (-1, *[1] * (y.ndim - 2))
    scale, shift, mean, variance = (
        np.asarray(tensors[name], np.float64)[sample.channels].reshape(shape) for name in node.input[1:5]
    )
    return (y - mean) / np.sqrt(variance + _read_epsilon(node)) * scale + shift


def _read_params(node: NodeProto, tensors: Mapping[str, Value]) -> list[float]:
    """Parameters of an activation node in the order of `activate`; ValueError for bounds that are not known."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    for key, name in zip(("min", "max"), node.input[1:], strict=False):
        if name and name not in tensors:
            raise ValueError(f"the bound {name!r} of {node.op_type} is not known")
        given |= {key: np.asarray(tensors[name]).item()} if name else {}
    return [float(given.get(key, value)) for key, value in _DEFAULTS.get(node.op_type, {}).items()]


def activate(y: Float64Array, name: str, params: Sequence[float]) -> Float64Array:
    """An activation in float64, with the parameters in the order of ONNX's attributes, as FusedConv has them, too."""
    if name == "Relu":
        return np.maximum(y, 0)
    if name == "LeakyRelu":
        return np.where(y < 0, params[0] * y, y)
    if name == "Clip":
        return np.clip(y, params[0], params[1])
    if name == "HardSigmoid":
        return np.clip(params[0] * y + params[1], 0, 1)
    if name == "HardSwish":
        return y * np.clip(y / 6 + 0.5, 0, 1)
    if name == "Tanh":
        return np.tanh(y)
    if name in ("Sigmoid", "Swish"):
        with np.errstate(over="ignore"):
            sigmoid = 1 / (1 + np.exp(-y * (params[0] if params else 1.0)))
        return sigmoid if name == "Sigmoid" else y * sigmoid
    raise ValueError(f"no oracle for the activation {name!r}")
