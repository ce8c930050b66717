"""`ConvSpec`: the geometry of one convolution, resolved once, the same for every later step.

ONNX Conv is a cross-correlation. Along each spatial axis, with input `x`, weight `w` and bias `b`,

    y[o] = b + sum_k w[k] * x[o * stride + k * dilation - pad_begin]

and positions outside the input read zero. Absent attributes, `auto_pad` and the weight's own shape are
resolved when the spec is made, so that nothing downstream has to know ONNX's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx_fft.fourier.axis import same_padding
from onnx_fft.fourier.oracle import ConvGeometry

SUPPORTED_DTYPES = ("float16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation applied after the bias, named as in ONNX (`Relu`, `LeakyRelu`, ...), with its parameters.

    `Swish` is `x * Sigmoid(x)`.
    """

    op_type: str
    params: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """One convolution `[batch, in_channels, *extents] -> [batch, out_channels, *output_extents]`.

    `batch` and each of `extents` is None if the model does not fix it. The weight is
    `[out_channels, in_channels // group, *kernel_shape]`.
    """

    batch: int | None
    in_channels: int
    out_channels: int
    group: int
    extents: tuple[int | None, ...]
    kernel_shape: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    dtype: str
    has_bias: bool = False
    activation: Activation | None = None
    has_sum: bool = False
    """A tensor of the output's shape, added after the bias and before the activation."""
    norm_epsilon: float | None = None
    """Of a BatchNormalization behind the activation; None without one."""
    auto_pad: str = ""
    """SAME_UPPER or SAME_LOWER if an axis with a stride is open: its pads, 0 here, depend on its length. Else ""."""
    basis_length: int = 0
    """Of the DFT whose windowed basis the weights are, as the native library finds out (`sites.basis`); else 0."""
    bins_form: str = ""
    """`Power` or `Magnitude` if that is made of row r and row r + out_channels / 2 of an STFT, which then is
    `[batch, out_channels / 2, frames]`; else ""."""
    turns_bins: bool = False
    """Whether that is turned to `[batch, frames, out_channels / 2]`."""

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel_shape)

    @property
    def is_depthwise(self) -> bool:
        """One input channel per group: the product over channels is elementwise."""
        return self.in_channels == self.group

    @property
    def padded_late(self) -> tuple[bool, ...]:
        """Of each axis, whether its pads depend on a length that is known only at run time."""
        rows = zip(self.extents, self.strides, strict=True)
        return tuple(bool(self.auto_pad) and extent is None and stride > 1 for extent, stride in rows)

    def at(self, extents: Sequence[int]) -> ConvSpec:
        """The convolution on an input of these extents, all of its pads known."""
        pads = [
            same_padding(self.auto_pad, extent, stride, span) if late else (begin, end)
            for late, extent, stride, span, begin, end in zip(
                self.padded_late,
                extents,
                self.strides,
                self.effective_kernel_shape,
                self.pads_begin,
                self.pads_end,
                strict=True,
            )
        ]
        begins, ends = zip(*pads, strict=True)
        return replace(self, extents=tuple(extents), pads_begin=begins, pads_end=ends, auto_pad="")

    @property
    def geometry(self) -> ConvGeometry:
        """What the float64 oracle needs to know of the convolution; if `auto_pad` is set, ask that of `at`."""
        return ConvGeometry(self.group, self.strides, self.dilations, self.pads_begin, self.pads_end)

    @property
    def effective_kernel_shape(self) -> tuple[int, ...]:
        """Samples each axis of the dilated kernel spans, `dilation * (kernel - 1) + 1`."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel_shape, strict=True))

    @property
    def output_extents(self) -> tuple[int | None, ...]:
        """Output length of each spatial axis, None if the input's is None."""
        return tuple(
            None if extent is None else (extent + begin + end - span) // stride + 1
            for extent, begin, end, span, stride in zip(
                self.extents, self.pads_begin, self.pads_end, self.effective_kernel_shape, self.strides, strict=True
            )
        )


def describe_spec(spec: ConvSpec) -> str:
    """The geometry on one line: `31x31 128->128 group 128 on 1x56x56 pads 15x15`; `?` stands for an open length."""
    parts = [
        "x".join(map(str, spec.kernel_shape)),
        f"{spec.in_channels}->{spec.out_channels}",
        f"on {describe_lengths((spec.batch, *spec.extents))}",
    ]
    if spec.group > 1:
        parts.insert(2, f"group {spec.group}")
    for name, values, default in (("stride", spec.strides, 1), ("dilation", spec.dilations, 1)):
        if any(value != default for value in values):
            parts.append(f"{name} {describe_lengths(values)}")
    if any(spec.pads_begin + spec.pads_end):
        begin, end = describe_lengths(spec.pads_begin), describe_lengths(spec.pads_end)
        parts.append(f"pads {begin}" if begin == end else f"pads {begin}:{end}")
    if spec.auto_pad:
        parts.append(spec.auto_pad)
    if spec.dtype != "float32":
        parts.append(spec.dtype)
    return " ".join(parts)


def describe_lengths(lengths: tuple[int | None, ...]) -> str:
    """Lengths joined by `x`, `?` for an open one."""
    return "x".join("?" if length is None else str(length) for length in lengths)
