"""Real-ESRGAN's network for video (Wang et al., 2021), from ncnn's format, as ONNX.

`.param` is text, a layer a line: type, name, counts of inputs and outputs, their names, and parameters `key=value`.
`.bin` holds the numbers in the order of the layers: each weight begins with a flag of four bytes that says how it is
stored, biases and slopes are bare float32. Only what this network has is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from scripts.models.graph import Graph

MAGIC = "7767517"
STORED_AS_FLOAT16, STORED_AS_FLOAT32 = 0x01306B47, 0
RESIZINGS: dict[int, dict[str, Any]] = {
    1: {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
    3: {"mode": "cubic", "cubic_coeff_a": -0.75},
}

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layer:
    """A line of `.param`; `parameters` are the text behind `key=`."""

    kind: str
    inputs: list[str]
    output: str
    parameters: dict[int, str]

    def whole(self, key: int, default: int = 0) -> int:
        """A parameter as a whole number."""
        return int(self.parameters.get(key, default))


class _Numbers:
    """The content of `.bin`, read from front to back."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def read_floats(self, count: int) -> Array:
        """Bare float32."""
        return self._read(np.dtype("<f4"), count)

    def read_weight(self, count: int) -> Array:
        """Numbers behind a flag; float16 ends on a multiple of four bytes."""
        flag = int(self._read(np.dtype("<u4"), 1)[0])
        if flag == STORED_AS_FLOAT32:
            return self.read_floats(count)
        if flag != STORED_AS_FLOAT16:
            raise ValueError(f"got weights stored as {flag:#x}; expected float16 or float32")
        halves = self._read(np.dtype("<f2"), count)
        self._at += -self._at % 4
        return halves

    def check_end(self) -> None:
        """Raise ValueError if something is left."""
        if self._at != len(self._content):
            raise ValueError(f"got {len(self._content)} bytes of weights; expected {self._at}")

    def _read(self, dtype: np.dtype[np.generic], count: int) -> Array:
        values = np.frombuffer(self._content, dtype, count, self._at)
        self._at += values.nbytes
        return values.astype(np.uint32 if dtype.kind == "u" else np.float32)


def read_layers(text: str) -> list[Layer]:
    """The layers of `.param`, with the copies that `Split` makes under the name of what is copied."""
    magic, _counts, *lines = text.splitlines()
    if magic != MAGIC:
        raise ValueError(f"got {magic!r} in the first line; expected {MAGIC}")
    layers: list[Layer] = []
    copies: dict[str, str] = {}
    for line in lines:
        kind, _name, input_count, output_count, *rest = line.split()
        names, settings = rest[: int(input_count) + int(output_count)], rest[int(input_count) + int(output_count) :]
        inputs = [copies.get(name, name) for name in names[: int(input_count)]]
        outputs = names[int(input_count) :]
        if kind == "Split":
            copies |= dict.fromkeys(outputs, inputs[0])
            continue
        parameters = {int(key): value for key, value in (setting.split("=") for setting in settings)}
        layers.append(Layer(kind, inputs, outputs[0], parameters))
    return layers


def convert(param: Path) -> onnx.ModelProto:
    """`data [1, 3, height, width]`, from 0 to 1 -> `output`, the image enlarged; weights are in the `.bin` beside."""
    layers, numbers = read_layers(param.read_text("utf-8")), _Numbers(param.with_suffix(".bin").read_bytes())
    graph = Graph()
    channels = 3
    for layer in layers:
        if layer.kind == "Convolution":
            _add_conv(graph, layer, channels, numbers)
            channels = layer.whole(0)
        elif layer.kind == "PReLU":
            slopes = numbers.read_floats(layer.whole(0)).reshape(-1, 1, 1)
            graph.add("PRelu", [*layer.inputs, graph.constant(f"{layer.output}.slope", slopes)], layer.output)
        elif layer.kind == "PixelShuffle":
            graph.add("DepthToSpace", layer.inputs, layer.output, blocksize=layer.whole(0), mode="CRD")
        elif layer.kind == "Interp":
            _add_resize(graph, layer)
        elif layer.kind == "BinaryOp" and layer.whole(0) == 0:
            graph.add("Add", layer.inputs, layer.output)
        elif layer.kind != "Input":
            raise ValueError(f"got a layer {layer.kind}; expected one that Real-ESRGAN's network for video has")
    numbers.check_end()
    (source,) = (layer.output for layer in layers if layer.kind == "Input")
    return graph.build(
        param.stem, {source: [1, 3, "height", "width"]}, {layers[-1].output: [1, 3, "out_height", "out_width"]}
    )


def _add_conv(graph: Graph, layer: Layer, in_channels: int, numbers: _Numbers) -> None:
    out_channels, kernel, pad = layer.whole(0), layer.whole(1), layer.whole(4)
    weight = numbers.read_weight(layer.whole(6)).reshape(out_channels, in_channels, kernel, kernel)
    names = [graph.constant(f"{layer.output}.weight", weight)]
    if layer.whole(5):
        names.append(graph.constant(f"{layer.output}.bias", numbers.read_floats(out_channels)))
    graph.add("Conv", [*layer.inputs, *names], layer.output, kernel_shape=[kernel] * 2, pads=[pad] * 4)


def _add_resize(graph: Graph, layer: Layer) -> None:
    scales = [1.0, 1.0, float(layer.parameters[1]), float(layer.parameters[2])]
    name = graph.constant(f"{layer.output}.scales", np.array(scales, np.float32))
    settings = RESIZINGS[layer.whole(0)]
    graph.add("Resize", [*layer.inputs, "", name], layer.output, **settings)
