"""Makes the small models of models/: seeded, deterministic, with kernels worth rewriting.

    python -m scripts.models.make            # writes models/*.onnx
    python -m scripts.models.make FOLDER     # writes into the folder

Weights are multiples of 1/64 from a seeded integer generator, so that the bytes do not depend on the floating-point
library of the machine; a test makes them again and compares.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from scripts.shared.paths import MODELS

SEED = 2026
OPSET = 17
IR_VERSION = 8
Shape = list[int | str]


class _Builder:
    """Collects nodes and constants of one graph; constants are drawn in the order in which they are asked for."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def draw(self, name: str, shape: tuple[int, ...], scale_bits: int) -> str:
        """A weight of the shape: whole numbers in [-64, 64] over `64 * 2**scale_bits`."""
        steps = self._rng.integers(-64, 65, size=shape, dtype=np.int64)
        return self.constant(name, steps / (64.0 * 2.0**scale_bits))

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """A float32 initializer, little-endian raw data on every machine."""
        raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
        self.constants.append(helper.make_tensor(name, TensorProto.FLOAT, values.shape, raw, raw=True))
        return name

    def add(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """One node with one output, named after it."""
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def add_norm(self, value: str, channels: int, output: str) -> str:
        """A BatchNormalization near the identity."""
        parts = [
            self.constant(f"{output}.scale", 1.0 + self._rng.integers(-8, 9, channels) / 64.0),
            self.constant(f"{output}.bias", self._rng.integers(-8, 9, channels) / 64.0),
            self.constant(f"{output}.mean", self._rng.integers(-8, 9, channels) / 64.0),
            self.constant(f"{output}.var", 1.0 + self._rng.integers(0, 33, channels) / 64.0),
        ]
        return self.add("BatchNormalization", [value, *parts], output, epsilon=2.0**-17)

    def build(self, name: str, doc: str, x_shape: Shape, y_shape: Shape) -> onnx.ModelProto:
        """The checked model from input "x" to output "y"."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, y_shape)],
            self.constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="scripts.models.make"
        )
        model.doc_string = doc
        helper.set_model_props(model, {"source": "scripts/models/make.py", "seed": str(SEED)})
        onnx.checker.check_model(model, full_check=True)
        return model


def make_large_kernel() -> onnx.ModelProto:
    """A block as in RepLKNet (Ding et al., 2022): 1x1, depthwise 31x31, 1x1, with norms, Relu and the residual sum."""
    make, channels = _Builder(SEED), 64
    wide = (channels, channels, 1, 1)
    make.add("Conv", ["x", make.draw("expand.weight", wide, 4)], "expand")
    value = make.add("Relu", [make.add_norm("expand", channels, "expand_norm")], "expand_relu")
    weight = make.draw("large.weight", (channels, 1, 31, 31), 5)
    value = make.add("Conv", [value, weight], "large", group=channels, pads=[15] * 4, kernel_shape=[31, 31])
    value = make.add("Relu", [make.add_norm(value, channels, "large_norm")], "large_relu")
    value = make.add("Conv", [value, make.draw("project.weight", wide, 4)], "project")
    make.add("Add", [make.add_norm(value, channels, "project_norm"), "x"], "y")
    shape: Shape = [1, channels, 56, 56]
    return make.build("large_kernel", (make_large_kernel.__doc__ or ""), shape, shape)


def make_long_filter() -> onnx.ModelProto:
    """A causal filter of 4096 taps for each of 16 channels; batch and length are dynamic."""
    make, channels, taps = _Builder(SEED + 1), 16, 4096
    weight = make.draw("taps", (channels, 1, taps), 6)
    bias = make.draw("offset", (channels,), 2)
    make.add("Conv", ["x", weight, bias], "y", group=channels, pads=[taps - 1, 0], kernel_shape=[taps])
    shape: Shape = ["batch", channels, "length"]
    return make.build("long_filter", (make_long_filter.__doc__ or ""), shape, shape)


def make_dense_11x11() -> onnx.ModelProto:
    """A dense 11x11 Conv that gains, before a 3x3 Conv that should be left alone; the batch is dynamic."""
    make, channels = _Builder(SEED + 2), 32
    first = [make.draw("wide.weight", (channels, channels, 11, 11), 6), make.draw("wide.bias", (channels,), 2)]
    value = make.add("Relu", [make.add("Conv", ["x", *first], "wide", auto_pad="SAME_UPPER")], "wide_relu")
    second = [make.draw("narrow.weight", (channels, channels, 3, 3), 4), make.draw("narrow.bias", (channels,), 2)]
    make.add("Conv", [value, *second], "y", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    shape: Shape = ["batch", channels, 112, 112]
    return make.build("dense_11x11", (make_dense_11x11.__doc__ or ""), shape, shape)


MODEL_MAKERS: dict[str, Callable[[], onnx.ModelProto]] = {
    "large_kernel": make_large_kernel,
    "long_filter": make_long_filter,
    "dense_11x11": make_dense_11x11,
}


def main() -> int:
    """Write every model into the folder given, by default models/."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else MODELS
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in MODEL_MAKERS.items():
        content = make().SerializeToString(deterministic=True)
        (folder / f"{name}.onnx").write_bytes(content)
        print(f"{folder / name}.onnx: {len(content) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
