"""Between ONNX's `[batch, channels, *spatial]` and the layout the transforms work on.

*Layout.* Everything between `frame_input` and `unframe_output` is `[positions, group?, tiles, rest]`: positions of the
axes first, so that a DFT along any of them is one product with a constant matrix from the left; channels last, so that
every move of data copies whole runs. `rest` is `batch * channels of one group`. The group dimension exists only for
grouped convolutions of several channels a group, if the caller asks for it; elsewhere groups are plain channels.

*Framing is one Gather.* A run of `rest` is one row; sample `(i1, i2)` of the padded input is row `i1 * extent2 + i2`,
and along an axis tile `j` reads the samples `start[j] + offset[t]`. Overlap, residues of a dilation and the groups'
place are all in this index. It is written as a sum of short vectors that ONNX Runtime adds up when it loads the model,
so the file does not carry it. Going back is another Gather, which crops as well.

*Open lengths* are computed at run time, and so is the padding that `auto_pad` makes depend on them: a Gather from the
pads of every remainder of the length by the stride. An input that is shorter than the kernel fails, as it does in Conv:
a node named after it then has to make a negative number of elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx_graphsurgeon as gs

from onnx_fft.fourier.axis import Axis, AxisPlan, same_padding
from onnx_fft.lowering.base import ConvPlan, spec_axes
from onnx_fft.lowering.builder import Dim, FragmentBuilder, Length
from onnx_fft.sites.spec import ConvSpec


@dataclass(frozen=True, slots=True)
class Frame:
    """The geometry of one convolution: its spatial axes, in `plans` how each is transformed.

    `has_group` says whether groups have a dimension of their own. `outputs` and `tiles` are, for each axis, the number
    of outputs, and of tiles times residues.
    """

    spec: ConvSpec
    axes: tuple[Axis, ...]
    plans: tuple[AxisPlan, ...]
    has_group: bool
    outputs: tuple[Dim, ...]
    tiles: tuple[Dim, ...]

    @property
    def group(self) -> int:
        """Length of the group dimension, 1 without one."""
        return self.spec.group if self.has_group else 1

    @property
    def is_tiled(self) -> bool:
        """Whether some axis is cut into tiles."""
        return not all(plan.whole for plan in self.plans)

    @property
    def input_lengths(self) -> tuple[int, ...]:
        """Samples one tile reads along each axis."""
        return tuple(plan.input_length(axis) for axis, plan in zip(self.axes, self.plans, strict=True))

    @property
    def output_lengths(self) -> tuple[int, ...]:
        """Outputs one tile yields along each axis."""
        return tuple(plan.output_length(axis) for axis, plan in zip(self.axes, self.plans, strict=True))


def make_frame(b: FragmentBuilder, x: gs.Variable, plan: ConvPlan, *, splits_groups: bool = True) -> Frame:
    """The frame of the convolution of `x` under `plan`; without `splits_groups`, groups are plain channels."""
    axes = spec_axes(b.spec)
    outputs = [_count_outputs(b, x, axis, number) for number, axis in enumerate(axes)]
    tiles = [_count_tiles(b, *each) for each in zip(axes, plan.axes, outputs, strict=True)]
    has_group = splits_groups and b.spec.group > 1 and not b.spec.is_depthwise
    return Frame(b.spec, axes, plan.axes, has_group, tuple(outputs), tuple(tiles))


def frame_input(b: FragmentBuilder, x: gs.Variable, frame: Frame) -> gs.Variable:
    """`[batch, channels, *spatial]` -> `[positions, group?, tiles, rest]`, each in one or several dimensions.

    Callers reshape the result: the positions they know, -1 for the rest.
    """
    rank = frame.spec.rank
    pads = [_find_padding(b, x, frame, number) for number in range(rank)]
    padded = b.pad(x, [0, 0, *(begin for begin, _ in pads)], [0, 0, *(end for _, end in pads)])
    padded = b.transpose(padded, *range(2, rank + 2), 0, 1)
    # Nothing reads the first extent. With a node that nothing reads, ONNX Runtime 1.17 and 1.18 mix up memory from the
    # second run of a shape on.
    inner = [
        b.extent(padded, number) if axis.extent is None else b.add(b.add(begin, axis.extent), end)
        for number, (axis, (begin, end)) in list(enumerate(zip(frame.axes, pads, strict=True)))[1:]
    ]
    if frame.has_group:
        padded = b.reshape(padded, *[0] * (rank + 1), frame.group, frame.spec.in_channels // frame.group)
        padded = b.transpose(padded, *range(rank), rank + 1, rank, rank + 2)
    if not frame.is_tiled:
        return padded
    rows = b.op("Flatten", padded, axis=rank + frame.has_group)
    return b.op("Gather", rows, _frame_index(b, frame, inner), axis=0)


def unframe_output(b: FragmentBuilder, y: gs.Tensor, frame: Frame) -> gs.Variable:
    """`[positions, group?, tiles, rest]` of the outputs -> `[batch, out_channels, *output_extents]`."""
    rank, lengths = frame.spec.rank, frame.output_lengths
    leading: tuple[Dim, ...] = lengths
    if frame.is_tiled or lengths != tuple(axis.output_extent for axis in frame.axes):
        rows = _product(b, [*lengths, frame.group, *frame.tiles])
        y = b.op("Gather", b.reshape(y, rows, -1), _unframe_index(b, frame), axis=0)
        leading = (0,) * rank
    channels = frame.spec.out_channels // frame.group
    batch = frame.spec.batch or -1  # 0 would mean to Reshape "as it was"
    if frame.has_group:
        y = b.reshape(y, *leading, frame.group, batch, channels)
        y = b.transpose(y, *range(rank), rank + 1, rank, rank + 2)
        y = b.reshape(y, *[0] * (rank + 1), frame.spec.out_channels)
    else:
        y = b.reshape(y, *leading, batch, channels)
    return b.transpose(y, rank, rank + 1, *range(rank))


def _find_padding(b: FragmentBuilder, x: gs.Variable, frame: Frame, number: int) -> tuple[Dim, Dim]:
    """Zeros to put before and after one axis."""
    axis = frame.axes[number]
    begin, end = frame.plans[number].padding(axis)
    if not axis.auto_pad:
        return begin, end
    extent, stride = b.extent(x, 2 + number), axis.stride
    remainder = b.op("Mod", extent, b.integers([stride]))
    pads = [same_padding(axis.auto_pad, extent, stride, axis.span) for extent in range(stride)]
    begins, ends = b.integers([begin + before for before, _ in pads]), b.integers([end + after for _, after in pads])
    return b.op("Gather", begins, remainder, axis=0), b.op("Gather", ends, remainder, axis=0)


def _frame_index(b: FragmentBuilder, frame: Frame, inner: Sequence[Dim]) -> gs.Tensor:
    """Row of every sample every tile reads: `[*positions, group?, *tiles]`; `inner` are the extents but the first."""
    count, dims = len(frame.axes), 2 * len(frame.axes) + frame.has_group
    terms: list[gs.Tensor] = []
    for number, (axis, plan) in enumerate(zip(frame.axes, frame.plans, strict=True)):
        stride = _product(b, [*inner[number:], frame.group])
        offsets = b.integers(np.arange(plan.input_length(axis)) * axis.residues)
        terms.append(_along(b, b.multiply(offsets, stride), number, dims))
        if not plan.whole:
            tiles = b.floor_divide(frame.tiles[number], axis.residues)
            steps = b.reshape(b.multiply(b.arange(tiles), plan.tile_step * axis.residues), -1, 1)
            starts = b.reshape(b.add(steps, b.arange(axis.residues)), -1)
            terms.append(_along(b, b.multiply(starts, stride), count + frame.has_group + number, dims))
    if frame.has_group:
        terms.append(_along(b, b.arange(frame.group), count, dims))
    return reduce(lambda total, term: b.op("Add", total, term), terms)


def _unframe_index(b: FragmentBuilder, frame: Frame) -> gs.Tensor:
    """Row of every output in `[*positions, group, *tiles]`: `[*output_extents, group?]`."""
    dims = len(frame.axes) + frame.has_group
    terms: list[gs.Tensor] = []
    for number, axis in enumerate(frame.axes):
        length = frame.output_lengths[number]
        row_stride = _product(b, [*frame.output_lengths[number + 1 :], frame.group, *frame.tiles])
        tile_stride = _product(b, frame.tiles[number + 1 :])
        outputs = b.arange(frame.outputs[number])
        step = b.floor_divide(outputs, axis.residues)
        residue = b.subtract(outputs, b.multiply(step, axis.residues))
        tile = b.floor_divide(step, length)
        row = b.subtract(step, b.multiply(tile, length))
        place = b.add(b.multiply(tile, axis.residues), residue)
        index = b.add(b.multiply(row, row_stride), b.multiply(place, tile_stride))
        terms.append(_along(b, index, number, dims))
    if frame.has_group:
        groups = b.multiply(b.arange(frame.group), _product(b, frame.tiles))
        terms.append(_along(b, groups, len(frame.axes), dims))
    return reduce(lambda total, term: b.op("Add", total, term), terms)


def _count_outputs(b: FragmentBuilder, x: gs.Variable, axis: Axis, number: int) -> Dim:
    """Outputs of one axis: `(extent + pads - effective kernel) // stride + 1`.

    `auto_pad` asks for `ceil(extent / stride)` of them, which is `(extent - 1) // stride + 1`.
    """
    if axis.output_extent is not None:
        return axis.output_extent
    slack = -1 if axis.auto_pad else axis.pad_begin + axis.pad_end - axis.dilation * (axis.taps - 1) - 1
    room = b.require_length(b.add(b.extent(x, 2 + number), slack), f"axis_{2 + number}_is_shorter_than_the_kernel")
    return b.add(b.floor_divide(room, axis.stride), 1)


def _count_tiles(b: FragmentBuilder, axis: Axis, plan: AxisPlan, outputs: Dim) -> Dim:
    """Tiles times residues of one axis: `ceil(ceil(outputs / residues) / outputs per tile) * residues`."""
    known = plan.tile_count(axis)
    if known is not None:
        return known
    per_residue = b.floor_divide(b.add(outputs, axis.residues - 1), axis.residues)
    length = plan.output_length(axis)
    return b.multiply(b.floor_divide(b.add(per_residue, length - 1), length), axis.residues)


def _product(b: FragmentBuilder, dims: Sequence[Dim]) -> Dim:
    return reduce(b.multiply, dims, 1)


def _along(b: FragmentBuilder, vector: Length, position: int, dims: int) -> gs.Tensor:
    """A vector as the dimension `position` of `dims` dimensions, to be broadcast along the others."""
    return b.reshape(vector, *(-1 if place == position else 1 for place in range(dims)))
