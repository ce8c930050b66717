"""Folding a BatchNormalization into the convolution before it.

With `gain = scale / sqrt(variance + epsilon)`, one value per output channel, and `*` the convolution,

    scale * ((w * x + b) - mean) / sqrt(variance + epsilon) + shift = (gain w) * x + gain (b - mean) + shift.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnx_fft.model.scopes import DEFAULT_DOMAINS, Refused, Scope, read_attributes
from onnx_fft.model.weights import TensorType, resolve_type

INFERENCE_ONLY_OPSET = 7
"""Before it, `is_test` chose between training and inference; between it and 14, more outputs meant training."""


def is_foldable(node: NodeProto, scope: Scope, output: str, channels: int) -> bool:
    """Whether `node` normalizes the convolution result `output` by constants, in inference mode."""
    if node.op_type != "BatchNormalization" or node.domain not in DEFAULT_DOMAINS or len(node.input) != 5:
        return False
    try:
        attributes = read_attributes(node)
    except Refused:
        return False
    infers = attributes.get("training_mode", 0) == 0 and len([name for name in node.output if name]) == 1
    if scope.opset < INFERENCE_ONLY_OPSET:
        infers = infers and attributes.get("is_test", 0) == 1
    per_channel = attributes.get("spatial", 1) == 1
    return infers and per_channel and node.input[0] == output and _are_per_channel(node.input[1:], scope, channels)


def fold_batch_norm(
    weight: NDArray[np.float64],
    bias: NDArray[np.float64] | None,
    parameters: Sequence[NDArray[np.float64]],
    epsilon: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and bias of the one convolution that does both; `parameters` are scale, shift, mean and variance."""
    scale, shift, mean, variance = parameters
    with np.errstate(all="ignore"):  # a variance may be negative: then the convolution is left alone, see `values`
        gain = scale / np.sqrt(variance + epsilon)
        centred = -mean if bias is None else bias - mean
        return weight * gain.reshape(-1, *[1] * (weight.ndim - 1)), gain * centred + shift


def _are_per_channel(names: Sequence[str], scope: Scope, channels: int) -> bool:
    types = [resolve_type(name, scope) for name in names]
    return all(isinstance(found, TensorType) and found.shape == (channels,) for found in types)
