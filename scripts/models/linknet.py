"""The network of deepbet, a 3-D LinkNet that finds the brain in an MRI scan, as ONNX.

The `deepbet` package ships it as TorchScript. Weights come from its pickle, strides and pads from the calls of
`torch._convolution` in its code. What is put together how is written here:

    stem: Conv 7x7x7, stride 2 - MaxPool   4 x down: two residual blocks   4 x up: Conv, ConvTranspose, Conv, and the
    result of the way down added   head: ConvTranspose, Conv, ConvTranspose, Softmax

with InstanceNormalization and Relu behind each Conv.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import onnx

from scripts.models.checkpoint import Module, read_checkpoint, read_code
from scripts.models.graph import Graph

EPSILON = 1e-5
_CALL = re.compile(r"torch\._convolution\(\w+, weight, \w+, (.*)\)")


class _Network(Graph):
    """The layers of one TorchScript file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def convolve(self, x: str, layer: Module) -> str:
        """A Conv or ConvTranspose."""
        call = _CALL.search(read_code(self._path, layer.class_name))
        assert call is not None, layer.class_name
        stride, pads, dilation, is_transposed, output_padding, group = ast.literal_eval(f"({call[1]})")[:6]
        names = [self.constant(f"{len(self.nodes)}.{part}", getattr(layer, part)) for part in _parameters(layer)]
        attributes = {"strides": stride, "pads": pads * 2, "dilations": dilation, "group": group}
        if is_transposed:
            attributes["output_padding"] = output_padding
        return self.add("ConvTranspose" if is_transposed else "Conv", [x, *names], **attributes)

    def normalize(self, x: str, channels: int) -> str:
        """InstanceNormalization without parameters."""
        ones = self.constant(f"ones{channels}", np.ones(channels, np.float32))
        zeros = self.constant(f"zeros{channels}", np.zeros(channels, np.float32))
        return self.add("InstanceNormalization", [x, ones, zeros], epsilon=EPSILON)

    def run_sequence(self, x: str, sequence: Module) -> str:
        """The layers "0", "1", ... one after the other."""
        channels = 0
        for number in sorted((name for name in vars(sequence) if name.isdigit()), key=int):
            layer = getattr(sequence, number)
            kind = layer.class_name.rpartition(".")[2]
            if kind.startswith("Conv"):
                x = self.convolve(x, layer)
                channels = layer.weight.shape[1 if "Transpose" in kind else 0]
            elif kind == "InstanceNorm3d":
                x = self.normalize(x, channels)
            elif kind == "ReLU":
                x = self.add("Relu", [x])
            else:
                assert kind == "MaxPool3d", kind
                x = self.add("MaxPool", [x], kernel_shape=[3] * 3, strides=[2] * 3, pads=[1] * 6)
        return x

    def run_block(self, x: str, block: Module) -> str:
        """Two Convs, and what went in added."""
        y = self.run_sequence(x, block.double_conv)
        shortcut = self.run_sequence(x, block.downsample) if hasattr(block, "downsample") else x
        return self.add("Relu", [self.add("Add", [y, shortcut])])


def convert(path: Path) -> onnx.ModelProto:
    """`scan [1, 1, depth, height, width]`, multiples of 32 -> the probabilities `[1, 2, depth, height, width]`."""
    network, root = _Network(path), read_checkpoint(path)
    x = network.run_sequence("scan", root.init)
    levels = [x]
    for down in (root.down0, root.down1, root.down2, root.down3):
        x = network.run_block(network.run_block(x, down.block1), down.block2)
        levels.append(x)
    for number, up in enumerate((root.up0, root.up1, root.up2, root.up3)):
        for sequence in (up.conv1, up.tp_conv, up.conv2):
            x = network.run_sequence(x, sequence)
        x = network.add("Add", [x, levels[3 - number]])
    x = network.run_sequence(network.run_sequence(x, root.tp_conv1), root.conv)
    network.add("Softmax", [network.convolve(x, root.tp_conv2)], "probabilities", axis=1)
    extents = ["depth", "height", "width"]
    return network.build("deepbet", {"scan": [1, 1, *extents]}, {"probabilities": [1, 2, *extents]})


def _parameters(layer: Module) -> list[str]:
    return [part for part in ("weight", "bias") if getattr(layer, part, None) is not None]
