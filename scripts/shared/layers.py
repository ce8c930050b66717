"""The layer table: convolutions that benches and tests measure, and the traps a planner falls into.

Each layer gives its shape once, as a `ConvSpec`; benches, planner tests and reports read it from here. `should_gain`
says what is known about standard operators on two threads: True if the FFT wins, False if it loses and the Conv must be
left alone, None if either may be right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx_fft.sites.spec import ConvSpec


@dataclass(frozen=True, slots=True)
class Layer:
    """One row: a printable name, the geometry, and what is known about the gain with standard operators."""

    name: str
    spec: ConvSpec
    should_gain: bool | None = None
    at_least: float | None = None
    """The speed over ONNX Runtime's Conv that the row is held to (a ratio of times); None if none is promised."""
    may_be_left: bool = False
    """Whether leaving the Conv alone keeps the promise too."""


def make_spec(
    channels: tuple[int, int],
    kernel_shape: tuple[int, ...],
    extents: tuple[int | None, ...],
    *,
    batch: int | None = 1,
    group: int = 1,
    strides: tuple[int, ...] | None = None,
    dilations: tuple[int, ...] | None = None,
    pads: str | tuple[tuple[int, ...], tuple[int, ...]] = "same",
    dtype: str = "float32",
    has_bias: bool = False,
) -> ConvSpec:
    """A `ConvSpec` in one line: `channels` is (in, out), `pads` is "same", "valid", "causal" or (begin, end).

    "same" pads each axis by its effective kernel less one, the smaller half first; "causal" pads all of it in front.
    """
    ones = (1,) * len(kernel_shape)
    strides, dilations = strides or ones, dilations or ones
    margin = tuple(d * (k - 1) for k, d in zip(kernel_shape, dilations, strict=True))
    zeros = (0,) * len(kernel_shape)
    named = {
        "same": (tuple(m // 2 for m in margin), tuple(m - m // 2 for m in margin)),
        "valid": (zeros, zeros),
        "causal": (margin, zeros),
    }
    begin, end = named[pads] if isinstance(pads, str) else pads
    return ConvSpec(
        batch=batch,
        in_channels=channels[0],
        out_channels=channels[1],
        group=group,
        extents=extents,
        kernel_shape=kernel_shape,
        strides=strides,
        dilations=dilations,
        pads_begin=begin,
        pads_end=end,
        dtype=dtype,
        has_bias=has_bias,
    )


def _square(
    name: str, channels: tuple[int, int], kernel: int, size: int, gain: bool | None, least: float | None = None
) -> Layer:
    """A dense 2-D layer with equal sides and "same" pads."""
    return Layer(name, make_spec(channels, (kernel, kernel), (size, size)), gain, least)


def _depthwise(
    name: str, channels: int, kernel: int, size: int, gain: bool | None, least: float | None = None
) -> Layer:
    """A depthwise 2-D layer with equal sides and "same" pads."""
    spec = make_spec((channels, channels), (kernel, kernel), (size, size), group=channels)
    return Layer(name, spec, gain, least)


LAYERS: tuple[Layer, ...] = (
    _square("3x3 64->64 224x224", (64, 64), 3, 224, False),
    _square("3x3 256->256 56x56", (256, 256), 3, 56, False),
    _square("5x5 64->64 112x112", (64, 64), 5, 112, False),
    _square("7x7 64->64 112x112", (64, 64), 7, 112, None),
    _square("11x11 64->64 112x112", (64, 64), 11, 112, True, 1.5),
    _square("31x31 3->64 224x224", (3, 64), 31, 224, None),
    _depthwise("dw 31x31 128x56x56", 128, 31, 56, True, 2.5),
    _depthwise("dw 29x29 256x28x28", 256, 29, 28, None),
    _depthwise("dw 27x27 512x14x14", 512, 27, 14, None),
    _depthwise("dw 51x51 96x56x56", 96, 51, 56, True, 8.0),
    Layer("1-D k=1024 64->64 L=16000", make_spec((64, 64), (1024,), (16000,), pads="valid"), True, 8.0),
    Layer("1-D k=255 16->16 L=16000", make_spec((16, 16), (255,), (16000,)), None),
    Layer("1-D dw k=4096 64 L=8192 causal", make_spec((64, 64), (4096,), (8192,), group=64, pads="causal"), True, 10.0),
    Layer("1-D dw k=31 512 L=1000", make_spec((512, 512), (31,), (1000,), group=512), False),
    Layer("1-D FIR k=16384 L=160000", make_spec((1, 1), (16384,), (160000,), pads="valid"), True, 15.0),
)
"""The reference table."""

TRAPS: tuple[Layer, ...] = (
    Layer("96x3 on height 96", make_spec((1, 64), (96, 3), (96, 128), pads="valid"), False),
    _square("9x9 3->32 256x256", (3, 32), 9, 256, False),
    Layer("STFT k=512 stride 160", make_spec((1, 514), (512,), (16000,), strides=(160,), pads="valid"), False),
    _depthwise("dw 13x13 512x14x14", 512, 13, 14, False),
    _depthwise("dw 7x7 96x56x56", 96, 7, 56, False),
    _square("1x1 256->256 56x56", (256, 256), 1, 56, False),
)
"""Layers that look like gains and are not."""

FIELD: tuple[Layer, ...] = (
    _square("9x9 32->3 256x256", (32, 3), 9, 256, None),
    Layer("3-D form 1x11x11 32->32 256x256", make_spec((32, 32), (1, 11, 11), (1, 256, 256)), None),
    Layer("3-D form 1x11x11 32->3 256x256", make_spec((32, 3), (1, 11, 11), (1, 256, 256)), None),
    Layer("CREPE conv2 k=64 1024->128 N=32", make_spec((1024, 128), (64,), (191,), batch=32, pads="valid"), None),
)
"""Layers of models in use, without a promise."""

NATIVE_PROMISES: dict[str, float] = {
    "dw 31x31 128x56x56": 12.0,
    "dw 51x51 96x56x56": 35.0,
    "dw 29x29 256x28x28": 7.0,
    "dw 27x27 512x14x14": 3.0,
    "dw 13x13 512x14x14": 0.97,
    "dw 7x7 96x56x56": 0.97,
    "11x11 64->64 112x112": 9.0,
    "9x9 64->64 112x112": 6.0,
    "7x7 64->64 112x112": 4.0,
    "5x5 64->64 112x112": 2.5,
    "3x3 64->64 224x224": 1.2,
    "3x3 256->256 56x56": 1.2,
    "31x31 3->64 224x224": 8.0,
    "3-D form 1x11x11 32->3 256x256": 8.0,
    "3-D form 1x11x11 32->32 256x256": 8.0,
    "1-D k=1024 64->64 L=16000": 80.0,
    "1-D k=255 16->16 L=16000": 10.0,
    "1-D dw k=4096 64 L=8192 causal": 150.0,
    "1-D dw k=31 512 L=1000": 2.0,
    "1-D FIR k=16384 L=160000": 80.0,
    "CREPE conv2 k=64 1024->128 N=32": 6.0,
}
"""The speed over ONNX Runtime's Conv that the native library is held to, by layer."""


def _promise_native() -> tuple[Layer, ...]:
    """The layers of NATIVE_PROMISES with these promises; a 3x3 Conv may be left alone."""
    layers = (*LAYERS, *TRAPS, *FIELD, _square("9x9 64->64 112x112", (64, 64), 9, 112, None))
    known = {layer.name: layer for layer in layers}
    return tuple(
        replace(known[name], should_gain=None, at_least=least, may_be_left=name.startswith("3x3 "))
        for name, least in NATIVE_PROMISES.items()
    )


ORDINARY: tuple[Layer, ...] = (
    _square("3x3 128->128 112x112", (128, 128), 3, 112, None),
    _square("3x3 512->512 28x28", (512, 512), 3, 28, None),
    _square("3x3 512->512 14x14", (512, 512), 3, 14, None),
    _square("3x3 64->64 512x512", (64, 64), 3, 512, None),
    _square("3x3 32->32 256x256", (32, 32), 3, 256, None),
    Layer("3x3 48->48 180x320", make_spec((48, 48), (3, 3), (180, 320)), None),
    _square("5x5 32->32 256x256", (32, 32), 5, 256, None),
    Layer("3x3x3 32->32 64x64x64", make_spec((32, 32), (3, 3, 3), (64, 64, 64)), None),
    Layer("3x3x3 64->64 32x32x32", make_spec((64, 64), (3, 3, 3), (32, 32, 32)), None),
    Layer("3x3x3 128->128 16x16x16", make_spec((128, 128), (3, 3, 3), (16, 16, 16)), None),
    Layer("3x3x3 16->16 96x96x96", make_spec((16, 16), (3, 3, 3), (96, 96, 96)), None),
    Layer("3x3x3 dilation 4 8->8 96x96x96", make_spec((8, 8), (3, 3, 3), (96, 96, 96), dilations=(4, 4, 4)), None),
    Layer("1-D k=11 64->64 L=32768", make_spec((64, 64), (11,), (32768,)), None),
    Layer("1-D k=11 dilation 5 256->256 L=2048", make_spec((256, 256), (11,), (2048,), dilations=(5,)), None),
    Layer("1-D k=7 dilation 3 128->128 L=16384", make_spec((128, 128), (7,), (16384,), dilations=(3,)), None),
    Layer("1-D k=7 32->32 L=65536", make_spec((32, 32), (7,), (65536,)), None),
    Layer("1-D k=3 256->256 L=2048", make_spec((256, 256), (3,), (2048,)), None),
)
"""Layers of ordinary networks, without a promise: short kernels, and many channels."""

NATIVE_LAYERS: tuple[Layer, ...] = (*_promise_native(), *ORDINARY)
"""The reference table of the native library."""


CUDA_LAYERS: tuple[Layer, ...] = tuple(replace(layer, should_gain=None, at_least=None) for layer in LAYERS)
"""The reference table on NVIDIA GPUs, for which nothing is promised."""


def input_shape(spec: ConvSpec, batch: int = 1, extent: int = 32) -> tuple[int, ...]:
    """The input's shape `[batch, in_channels, *extents]`; `batch` and `extent` stand in for dims not fixed."""
    return (spec.batch or batch, spec.in_channels, *(e or extent for e in spec.extents))


def weight_shape(spec: ConvSpec) -> tuple[int, ...]:
    """The weight's shape `[out_channels, in_channels // group, *kernel_shape]`."""
    return (spec.out_channels, spec.in_channels // spec.group, *spec.kernel_shape)
