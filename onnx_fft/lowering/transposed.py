"""ConvTranspose as one Conv of stride 1 whose outputs are interleaved: whatever computes that Conv computes this.

Along one axis, with stride `s`, the kernel spread over its span by the dilation, `w[0 .. span - 1]`, and no pads yet,

    z[p] = sum_i w[p - i s] x[i]

Position `p = q s + r` reads taps `r + j s` only, `J = ceil(span / s)` of them for the longest residue `r`:

    z[q s + r] = sum_j w[r + j s] x[q - j] = sum_k v_r[k] x[q + k - (J - 1)],   v_r[k] = w[r + (J - 1 - k) s]

which is an ordinary Conv for each residue, so that one Conv of `out_channels * s` channels gives all of them; taps
beyond the span are zero. The result is `z[q0 s], z[q0 s + 1], ...` interleaved, from the first `q` that is needed on,
and is cropped to

    y[o] = z[o + pad_begin],   o < s (extent - 1) + span + output_padding - pad_begin - pad_end

With `q0 = min(pad_begin // s, J - 1)` the Conv has `J - 1 - q0` zeros before the axis, and at the end as many as reach
the last output, `max(0, (span + output_padding - pad_end - 1) // s)`; neither depends on the extent. What is left to
crop is less than a stride unless pads crop more than the kernel spans.

With stride 1 there is one residue. Then the taps stay apart by the dilation, and `J` is the span.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnx_fft.fourier.axis import ceil_divide
from onnx_fft.lowering.base import ConvPlan, Fragment, Lowering, Ports
from onnx_fft.lowering.builder import Dim, NodeBuilder
from onnx_fft.model.weights import ConvWeights
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec

SLICE_OPSET = 10
"""From which on Slice takes its bounds as inputs."""


END = (1 << 63) - 1
"""For Slice, wherever an axis ends."""


class TransposedLowering:
    """A ConvTranspose by a lowering for Conv, of the same name."""

    takes = (ConvTransposeSpec,)
    fuses_epilogues = False

    def __init__(self, inner: Lowering) -> None:
        """`inner` computes the Conv."""
        self.name = inner.name
        self._inner = inner

    def find_obstacle(self, spec: ConvTransposeSpec) -> str:
        """What is one for the Conv."""
        return self._inner.find_obstacle(as_conv(spec))

    def min_opset(self, spec: ConvTransposeSpec) -> int:
        """What the Conv needs."""
        return max(self._inner.min_opset(as_conv(spec)), SLICE_OPSET if crops(spec) else 0)

    def candidates(self, spec: ConvTransposeSpec) -> list[ConvPlan]:
        """Those of the Conv."""
        return self._inner.candidates(as_conv(spec))

    def check_plan(self, spec: ConvTransposeSpec, plan: ConvPlan) -> None:
        """The plan must compute the Conv."""
        self._inner.check_plan(as_conv(spec), plan)

    def build(self, spec: ConvTransposeSpec, plan: ConvPlan, weights: ConvWeights, ports: Ports) -> Fragment:
        """The fragment of the Conv, with its bias, and what puts its outputs where they belong."""
        conv, own = as_conv(spec), as_conv_weights(spec, weights)
        alone = replace(ports, weight="", bias="")
        if prod(spec.strides) == 1 and not crops(spec):
            return self._inner.build(conv, plan, own, alone)
        before = Fragment((), ())
        if own.bias_input and prod(spec.strides) > 1:
            repeated = f"{ports.prefix}biases"
            before = _repeat(spec, replace(alone, input=own.bias_input, output=repeated, prefix=f"{ports.prefix}bias/"))
            own = replace(own, bias_input=repeated)
        middle = replace(alone, output=f"{ports.prefix}residues", prefix=f"{ports.prefix}conv/")
        first = self._inner.build(conv, plan, own, middle)
        behind = _interleave(spec, replace(alone, input=middle.output), ports.input)
        parts = (before, first, behind)
        nodes = tuple(node for part in parts for node in part.nodes)
        return Fragment(nodes, tuple(tensor for part in parts for tensor in part.initializers), first.functions)


@dataclass(frozen=True, slots=True)
class Residues:
    """How one axis falls apart: `stride` residues of `taps` each; `skipped` is `q0` of the module's docstring."""

    taps: int
    dilation: int
    skipped: int
    pad_begin: int
    pad_end: int
    crop_begin: int
    crop_end: int


def split_axis(stride: int, dilation: int, kernel: int, begin: int, end: int, more: int) -> Residues:
    """The residues of one axis; `more` is its output_padding."""
    span = dilation * (kernel - 1) + 1
    reach = ceil_divide(span, stride)
    skipped = min(begin // stride, reach - 1)
    pad_end = max(0, (span + more - end - 1) // stride)
    return Residues(
        taps=kernel if stride == 1 else reach,
        dilation=dilation if stride == 1 else 1,
        skipped=skipped,
        pad_begin=reach - 1 - skipped,
        pad_end=pad_end,
        crop_begin=begin - skipped * stride,
        crop_end=stride * (pad_end + 1) - span - more + end,
    )


def split_axes(spec: ConvTransposeSpec) -> list[Residues]:
    """The residues of every axis."""
    rows = (spec.strides, spec.dilations, spec.kernel_shape, spec.pads_begin, spec.pads_end, spec.output_padding)
    return [split_axis(*row) for row in zip(*rows, strict=True)]


def as_conv(spec: ConvTransposeSpec) -> ConvSpec:
    """The Conv of stride 1 that computes all residues; those of one output channel are neighbours."""
    axes = split_axes(spec)
    return ConvSpec(
        batch=spec.batch,
        in_channels=spec.in_channels,
        out_channels=spec.out_channels * prod(spec.strides),
        group=spec.group,
        extents=spec.extents,
        kernel_shape=tuple(axis.taps for axis in axes),
        strides=(1,) * spec.rank,
        dilations=tuple(axis.dilation for axis in axes),
        pads_begin=tuple(axis.pad_begin for axis in axes),
        pads_end=tuple(axis.pad_end for axis in axes),
        dtype=spec.dtype,
        has_bias=spec.has_bias,
    )


def as_conv_weights(spec: ConvTransposeSpec, weights: ConvWeights) -> ConvWeights:
    """The weights of `as_conv`; a bias of run time is still that of the ConvTranspose."""
    conv, group = as_conv(spec), spec.group
    taps = spread_taps(spec, weights.weight)
    taps = taps.reshape(group, spec.in_channels // group, spec.out_channels // group, *taps.shape[2:])
    rank = spec.rank
    residues = [4 + 2 * axis for axis in range(rank)]  # behind each axis's taps, which are turned round
    taps = np.flip(taps, tuple(3 + 2 * axis for axis in range(rank)))
    taps = taps.transpose(0, 2, *residues, 1, *(place - 1 for place in residues))
    taps = taps.reshape(conv.out_channels, -1, *conv.kernel_shape)
    count = prod(spec.strides)
    bias = None if weights.bias is None else np.repeat(weights.bias, count)
    return ConvWeights(taps, bias, weights.bias_input)


def spread_taps(spec: ConvTransposeSpec, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[in_channels, out_channels // group, J1, s1, J2, s2, ...]`, zero beyond the span and between dilated taps."""
    axes = split_axes(spec)
    lengths = [axis.taps * stride for axis, stride in zip(axes, spec.strides, strict=True)]
    spread = np.zeros((*weight.shape[:2], *lengths))
    steps = [1 if stride == 1 else dilation for stride, dilation in zip(spec.strides, spec.dilations, strict=True)]
    places = [slice(0, step * (k - 1) + 1, step) for step, k in zip(steps, spec.kernel_shape, strict=True)]
    spread[(slice(None), slice(None), *places)] = weight
    pairs = [length for axis, stride in zip(axes, spec.strides, strict=True) for length in (axis.taps, stride)]
    return spread.reshape(*weight.shape[:2], *pairs)


def crops(spec: ConvTransposeSpec) -> bool:
    """Whether the interleaved outputs of the Conv are more than those wanted."""
    return any(axis.crop_begin or axis.crop_end for axis in split_axes(spec))


def _repeat(spec: ConvTransposeSpec, ports: Ports) -> Fragment:
    """A bias of run time -> that of all residues. The Conv adds it before float16 is rounded, which happens once."""
    b = NodeBuilder("float32", ports)  # which computes nothing here, so that float16 stays what it is
    columns = b.op("Reshape", b.input(), b.vector(-1, 1))
    return b.close(b.op("Reshape", b.op("Tile", columns, b.vector(1, prod(spec.strides))), b.vector(-1)))


def _interleave(spec: ConvTransposeSpec, ports: Ports, x: str) -> Fragment:
    """`[batch, out_channels * prod(strides), *positions]` of the Conv -> the output; `x` is what the Conv read."""
    b = NodeBuilder("float32", ports)  # which computes nothing here, so that float16 stays what it is
    y = b.input()
    rank, axes = spec.rank, split_axes(spec)
    if prod(spec.strides) > 1:
        known = as_conv(spec).output_extents
        places: list[Dim] = [b.extent(y, 2 + number) if n is None else n for number, n in enumerate(known)]
        y = b.op("Reshape", y, b.vector(-1, spec.out_channels, *spec.strides, *places))
        y = b.transpose(y, 0, 1, *(n for axis in range(rank) for n in (2 + rank + axis, 2 + axis)))
        lengths = [b.multiply(n, stride) for n, stride in zip(places, spec.strides, strict=True)]
        y = b.op("Reshape", y, b.vector(-1, spec.out_channels, *lengths))
    if crops(spec):
        y = _crop(b, spec, y, axes, x)
    return b.close(y)


def _crop(b: NodeBuilder, spec: ConvTransposeSpec, y: gs.Variable, axes: Sequence[Residues], x: str) -> gs.Variable:
    """Cut off what the pads crop. An input of run time of which nothing is left fails, as it does in ConvTranspose."""
    starts = [axis.crop_begin for axis in axes]
    ends: list[Dim] = [-axis.crop_end if axis.crop_end else END for axis in axes]
    for number, (extent, more) in enumerate(zip(spec.extents, spec.surplus, strict=True)):
        if extent is None and more < 1:
            stride = spec.strides[number]
            spare = b.add(b.multiply(b.extent(b.host_tensor(x), 2 + number), stride), more - stride - 1)
            kept = b.require_length(spare, f"axis_{2 + number}_is_shorter_than_the_pads")
            ends[number] = b.add(kept, starts[number] + 1)
    return b.op("Slice", y, b.integers(starts), b.vector(*ends), b.integers([2 + axis for axis in range(spec.rank)]))
