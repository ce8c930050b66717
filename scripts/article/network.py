"""The article's network as an ONNX model: three one-filter Convs, each with ReLU and MaxPool, then two dense layers.

    image [batch, 1, 225, 225] -> 3 x (Conv, Relu, MaxPool) -> Flatten 676 -> Dense 640, Relu -> Dense 1, Sigmoid

With the article's valid 3x3 Convs the sides are 225 -> 223 -> 111 -> 109 -> 54 -> 52 -> 26, and 26 * 26 = 676. A valid
Conv by 63 would leave nothing for the third layer, so the networks with other kernels pad ("same"): 225 -> 112 -> 56 ->
28, and 784 into the dense layer, whatever the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from scripts.article.images import SIZE
from scripts.shared.paths import MODELS

Tensors = Mapping[str, npt.NDArray[np.float32]]
"""By name: `conv1.weight [1, 1, k, k]`, `conv1.bias [1]`, up to conv3; `hidden.weight [HIDDEN, features]` and its bias;
`logit.weight [1, HIDDEN]` and its bias."""

TRAINED = MODELS / "article_tumour.onnx"
"""The trained network, on which the results rest: training again on another machine gives slightly other weights."""
INPUT, LOGIT, OUTPUT = "image", "logit", "tumour"
CONVS, HIDDEN, KERNEL = 3, 640, 3
OPSET = 17
IR_VERSION = 8


def count_features(kernel: int, is_padded: bool) -> int:
    """How many numbers the last MaxPool gives."""
    side = SIZE
    for _ in range(CONVS):
        side = (side if is_padded else side - kernel + 1) // 2
    return side * side


def build_network(tensors: Tensors, *, is_padded: bool = False) -> onnx.ModelProto:
    """The checked model; `is_padded` makes the Convs "same" (odd kernels only), otherwise they are valid."""
    nodes: list[onnx.NodeProto] = []

    def add(op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def read_layer(name: str) -> list[str]:
        return [f"{name}.weight", f"{name}.bias"]

    kernel = tensors["conv1.weight"].shape[-1]
    pads = [kernel // 2 if is_padded else 0] * 4
    value = INPUT
    for name in (f"conv{number + 1}" for number in range(CONVS)):
        value = add("Conv", [value, *read_layer(name)], name, kernel_shape=[kernel, kernel], pads=pads)
        value = add("Relu", [value], f"{name}_relu")
        value = add("MaxPool", [value], f"{name}_pool", kernel_shape=[2, 2], strides=[2, 2])
    value = add("Flatten", [value], "flatten")
    value = add("Relu", [add("Gemm", [value, *read_layer("hidden")], "hidden", transB=1)], "hidden_relu")
    add("Sigmoid", [add("Gemm", [value, *read_layer("logit")], LOGIT, transB=1)], OUTPUT)
    return _wrap(nodes, tensors)


def _wrap(nodes: list[onnx.NodeProto], tensors: Tensors) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "article",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.asarray(tensor, np.float32), name) for name, tensor in tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="scripts.article.reproduce"
    )
    model.doc_string = "Three one-filter Convs and two dense layers: is there a bright blob in the image of a head?"
    onnx.checker.check_model(model, full_check=True)
    return model


def read_tensors(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.float32]]:
    """The weights of a network made by `build_network`."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def draw_tensors(kernel: int, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Untrained weights, for timing the network with padded `kernel` x `kernel` Convs.

    The mean of a Conv's weights keeps an image as bright as it is: with a mean of zero, ReLU might let nothing through.
    Those of the dense layers keep the size of what passes (He et al., 2015).
    """
    rng = np.random.default_rng((seed, kernel))
    tensors = {}
    for name in (f"conv{number + 1}" for number in range(CONVS)):
        tensors[f"{name}.weight"] = rng.uniform(-1, 3, (1, 1, kernel, kernel)) / kernel**2
        tensors[f"{name}.bias"] = np.zeros(1)
    for name, shape in (("hidden", (HIDDEN, count_features(kernel, is_padded=True))), ("logit", (1, HIDDEN))):
        tensors[f"{name}.weight"] = np.sqrt(2 / shape[1]) * rng.standard_normal(shape)
        tensors[f"{name}.bias"] = np.zeros(shape[0])
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
