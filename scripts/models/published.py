"""Networks of the literature, built from their published layer tables with seeded weights: for timing.

Untrained, they compute nothing useful, but every layer has the shape and the neighbours that it has in the field. As
exporters do, BatchNormalizations are folded into the Convs before them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import onnx

from scripts.models.graph import Graph, Shape

SEED = 2026


class _Network(Graph):
    """A graph of layers with random weights; `gain` scales those of a layer, 1 keeps the size of what passes."""

    def __init__(self) -> None:
        super().__init__()
        self._rng = np.random.default_rng(SEED)

    def draw(self, shape: Sequence[int], fan_in: int, gain: float) -> str:
        """A weight of standard deviation `gain * sqrt(2 / fan_in)` (He et al., 2015)."""
        values = gain * np.sqrt(2 / fan_in) * self._rng.standard_normal(shape)
        return self.constant(f"weight{len(self.constants)}", values.astype(np.float32))

    def convolve(
        self,
        x: str,
        channels: tuple[int, int],
        kernel: Sequence[int],
        *,
        stride: int = 1,
        dilation: int = 1,
        group: int = 1,
        gain: float = 1.0,
        output: str = "",
    ) -> str:
        """A Conv from and to so many channels, padded so that stride 1 keeps the size, with a bias."""
        inner, rank = channels[0] // group, len(kernel)
        weight = self.draw((channels[1], inner, *kernel), inner * int(np.prod(kernel)), gain)
        bias = self.draw((channels[1],), 200, 1.0)
        pads = [dilation * (length // 2) for length in kernel] * 2
        steps, gaps = [stride] * rank, [dilation] * rank
        return self.add("Conv", [x, weight, bias], output, strides=steps, dilations=gaps, pads=pads, group=group)

    def upsample(self, x: str, channels: tuple[int, int], kernel: Sequence[int], stride: int) -> str:
        """A ConvTranspose that makes each axis `stride` times as long."""
        taps = channels[0] * int(np.prod(kernel)) // stride ** len(kernel)
        weight, bias = self.draw((*channels, *kernel), taps, 1.0), self.draw((channels[1],), 200, 1.0)
        pads = [(length - stride) // 2 for length in kernel] * 2
        return self.add("ConvTranspose", [x, weight, bias], strides=[stride] * len(kernel), pads=pads)

    def flatten(self, x: str, features: int, classes: int, output: str) -> str:
        """The mean over space, and a layer that classifies."""
        pooled = self.add("Flatten", [self.add("GlobalAveragePool", [x])])
        return self.add("Gemm", [pooled, self.draw((features, classes), features, 1.0)], output)


def make_dncnn() -> onnx.ModelProto:
    """DnCNN-S (Zhang et al., 2017), takes noise out of grey images: 17 Convs 3x3 with 64 channels, and Relu."""
    network, x = _Network(), "image"
    for inputs, outputs in pairwise([1, *[64] * 16]):
        x = network.add("Relu", [network.convolve(x, (inputs, outputs), (3, 3))])
    noise = network.convolve(x, (64, 1), (3, 3), gain=0.1)
    network.add("Sub", ["image", noise], "clean")
    shape: Shape = ["batch", 1, "height", "width"]
    return network.build("dncnn", {"image": shape}, {"clean": shape})


def make_unet3d() -> onnx.ModelProto:
    """What nnU-Net (Isensee et al., 2021) plans for 128x128x128 patches: five stages, two Convs 3x3x3 in each."""
    network, widths = _Network(), [32, 64, 128, 256, 320]

    def run_stage(x: str, inputs: int, outputs: int, stride: int) -> str:
        for from_channels, step in ((inputs, stride), (outputs, 1)):
            x = network.convolve(x, (from_channels, outputs), (3, 3, 3), stride=step)
            parts = [np.ones(outputs, np.float32), np.zeros(outputs, np.float32)]
            names = [
                network.constant(f"{part}{outputs}", values)
                for part, values in zip(("scale", "bias"), parts, strict=True)
            ]
            x = network.add("InstanceNormalization", [x, *names])
            x = network.add("LeakyRelu", [x], alpha=0.01)
        return x

    x, levels = "scan", []
    for inputs, outputs in pairwise([1, *widths]):
        x = run_stage(x, inputs, outputs, 1 if inputs == 1 else 2)
        levels.append((x, outputs))
    for (level, outputs), inputs in zip(reversed(levels[:-1]), reversed(widths), strict=False):
        x = network.add("Concat", [network.upsample(x, (inputs, outputs), (2, 2, 2), 2), level], axis=1)
        x = run_stage(x, 2 * outputs, outputs, 1)
    network.convolve(x, (widths[0], 3), (1, 1, 1), output="classes")
    extents = ["depth", "height", "width"]
    return network.build("unet3d", {"scan": ["batch", 1, *extents]}, {"classes": ["batch", 3, *extents]})


def make_hifigan() -> onnx.ModelProto:
    """The generator of HiFi-GAN V1 (Kong et al., 2020), the voice of most speech synthesis: mel frames to samples."""
    network = _Network()
    width = 512
    x = network.convolve("mel", (80, width), (7,))
    for stride, kernel in ((8, 16), (8, 16), (2, 4), (2, 4)):
        x = network.upsample(network.add("LeakyRelu", [x], alpha=0.1), (width, width // 2), (kernel,), stride)
        width //= 2
        branches = [_run_residuals(network, x, width, taps) for taps in (3, 7, 11)]
        x = network.add("Add", [network.add("Add", branches[:2]), branches[2]])
        x = network.add("Mul", [x, network.constant("third", np.array(1 / 3, np.float32))])
    x = network.convolve(network.add("LeakyRelu", [x], alpha=0.01), (width, 1), (7,), gain=0.1)
    network.add("Tanh", [x], "samples")
    return network.build("hifigan", {"mel": ["batch", 80, "frames"]}, {"samples": ["batch", 1, "length"]})


def _run_residuals(network: _Network, x: str, width: int, taps: int) -> str:
    for dilation in (1, 3, 5):
        y = network.add("LeakyRelu", [x], alpha=0.1)
        y = network.convolve(y, (width, width), (taps,), dilation=dilation)
        y = network.add("LeakyRelu", [y], alpha=0.1)
        x = network.add("Add", [network.convolve(y, (width, width), (taps,), gain=0.3), x])
    return x


def make_resnet50() -> onnx.ModelProto:
    """ResNet-50 (He et al., 2016) with the stride in the 3x3 Convs, as it is trained today."""
    network = _Network()
    x = network.add("Relu", [network.convolve("image", (3, 64), (7, 7), stride=2)])
    x = network.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    width = 64
    for inner, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            stride = 2 if block == 0 and inner > 64 else 1
            y = network.add("Relu", [network.convolve(x, (width, inner), (1, 1))])
            y = network.add("Relu", [network.convolve(y, (inner, inner), (3, 3), stride=stride)])
            y = network.convolve(y, (inner, 4 * inner), (1, 1), gain=0.3)
            shortcut = network.convolve(x, (width, 4 * inner), (1, 1), stride=stride) if block == 0 else x
            x, width = network.add("Relu", [network.add("Add", [y, shortcut])]), 4 * inner
    network.flatten(x, width, 1000, "classes")
    return network.build("resnet50", {"image": ["batch", 3, 224, 224]}, {"classes": ["batch", 1000]})


def make_mobilenet() -> onnx.ModelProto:
    """MobileNetV2 (Sandler et al., 2018): 1x1 Convs, depthwise 3x3 Convs, and activations clipped to [0, 6]."""
    network = _Network()
    bounds = [network.constant(name, np.array(value, np.float32)) for name, value in (("zero", 0), ("six", 6))]
    x = network.add("Clip", [network.convolve("image", (3, 32), (3, 3), stride=2), *bounds])
    width = 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, outputs, blocks, first_stride in table:
        for block in range(blocks):
            stride, inner = first_stride if block == 0 else 1, expansion * width
            y = x
            if expansion > 1:
                y = network.add("Clip", [network.convolve(y, (width, inner), (1, 1)), *bounds])
            depthwise = network.convolve(y, (inner, inner), (3, 3), stride=stride, group=inner)
            y = network.convolve(network.add("Clip", [depthwise, *bounds]), (inner, outputs), (1, 1), gain=0.7)
            x = network.add("Add", [y, x]) if stride == 1 and width == outputs else y
            width = outputs
    x = network.add("Clip", [network.convolve(x, (width, 1280), (1, 1)), *bounds])
    network.flatten(x, 1280, 1000, "classes")
    return network.build("mobilenet_v2", {"image": ["batch", 3, 224, 224]}, {"classes": ["batch", 1000]})


PUBLISHED: dict[str, Callable[[], onnx.ModelProto]] = {
    "dncnn": make_dncnn,
    "unet3d": make_unet3d,
    "hifigan": make_hifigan,
    "resnet50": make_resnet50,
    "mobilenet_v2": make_mobilenet,
}
