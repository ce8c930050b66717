"""`ConvTransposeSpec`: the geometry of one ConvTranspose, resolved once, the same for every later step.

It is a Conv with a stride turned round: along each spatial axis input `i` is spread over the output by the weight,

    y[o] = b + sum_i sum_k w[k] * x[i]      over all i, k with   i * stride + k * dilation - pad_begin = o

so that pads crop. The output has `stride * (extent - 1) + span + output_padding - pad_begin - pad_end` samples, with
`span = dilation * (kernel - 1) + 1`. Defaults, `auto_pad` and `output_shape` are resolved when the spec is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx_fft.fourier.oracle import TransposedGeometry
from onnx_fft.sites.spec import describe_lengths


@dataclass(frozen=True, slots=True)
class ConvTransposeSpec:
    """One ConvTranspose `[batch, in_channels, *extents] -> [batch, out_channels, *output_extents]`.

    `batch` and each of `extents` is None if the model does not fix it. The weight is
    `[in_channels, out_channels // group, *kernel_shape]`.
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
    output_padding: tuple[int, ...]
    """Samples at the end of each axis beyond what the kernel reaches from the last input."""
    dtype: str
    has_bias: bool = False
    basis_length: int = 0
    """Of the DFT whose inverse the weights are, windowed, as the native library finds out; else 0."""

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel_shape)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return (self.in_channels, self.out_channels // self.group, *self.kernel_shape)

    @property
    def spans(self) -> tuple[int, ...]:
        """Samples each axis of the dilated kernel spans, `dilation * (kernel - 1) + 1`."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel_shape, strict=True))

    @property
    def geometry(self) -> TransposedGeometry:
        """What the float64 oracle needs to know."""
        return TransposedGeometry(
            self.group, self.strides, self.dilations, self.pads_begin, self.pads_end, self.output_padding
        )

    @property
    def surplus(self) -> tuple[int, ...]:
        """Of each axis, the output's samples beyond `stride * (extent - 1)`; negative if more is cropped."""
        rows = zip(self.spans, self.output_padding, self.pads_begin, self.pads_end, strict=True)
        return tuple(span + padding - begin - end for span, padding, begin, end in rows)

    @property
    def output_extents(self) -> tuple[int | None, ...]:
        """Output length of each spatial axis, None if the input's is None."""
        rows = zip(self.extents, self.strides, self.surplus, strict=True)
        return tuple(None if extent is None else stride * (extent - 1) + more for extent, stride, more in rows)

    def at(self, extents: Sequence[int]) -> ConvTransposeSpec:
        """The same on an input of these extents."""
        return replace(self, extents=tuple(extents))


def describe_transposed(spec: ConvTransposeSpec) -> str:
    """The geometry on one line: `4x4 64->32 on 1x28x28 stride 2x2 pads 1x1`; `?` stands for an open length."""
    parts = [
        "x".join(map(str, spec.kernel_shape)),
        f"{spec.in_channels}->{spec.out_channels}",
        *([f"group {spec.group}"] if spec.group > 1 else []),
        f"on {describe_lengths((spec.batch, *spec.extents))}",
    ]
    rows = (("stride", spec.strides, 1), ("dilation", spec.dilations, 1), ("output padding", spec.output_padding, 0))
    parts += [f"{name} {describe_lengths(values)}" for name, values, usual in rows if set(values) != {usual}]
    if any(spec.pads_begin + spec.pads_end):
        begin, end = describe_lengths(spec.pads_begin), describe_lengths(spec.pads_end)
        parts.append(f"pads {begin}" if begin == end else f"pads {begin}:{end}")
    return " ".join(parts + ([spec.dtype] if spec.dtype != "float32" else []))
