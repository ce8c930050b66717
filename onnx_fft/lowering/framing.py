"""Between ONNX's `[batch, channels, *spatial]` and the layout the transforms work on.

*Layout.* Everything between `frame_input` and `unframe_output` is `[positions, group?, tiles, rest]`: positions of the
axes first, so that a DFT along any of them is one product with a constant matrix from the left; channels last, so that
every move of data copies whole runs. `rest` is `batch * channels of one group`. The group dimension exists only for
grouped convolutions of several channels a group, if the caller asks for it; elsewhere groups are plain channels.

*Framing is one Gather.* A run of `rest` is one row; sample `(i1, i2)` of the padded input is row `i1 * extent2 + i2`,
and along an axis tile `j` reads the samples `start[j] + offset[t]`. Overlap, residues of a dilation and the groups'
place are all in this index. It is written as a sum of short vectors that ONNX Runtime adds up when it loads the model,
so the file does not carry it. Going back is another Gather, which crops as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx_graphsurgeon as gs

from onnx_fft.fourier.axis import Axis, AxisPlan
from onnx_fft.lowering.base import ConvPlan, spec_axes
from onnx_fft.lowering.builder import Dim, FragmentBuilder, Length
from onnx_fft.sites.spec import ConvSpec


@dataclass(frozen=True, slots=True)
class Frame:
    """The geometry of one convolution: its spatial axes, in `plans` how each is transformed.

    `has_group` says whether groups have a dimension of their own.
    """

    spec: ConvSpec
    axes: tuple[Axis, ...]
    plans: tuple[AxisPlan, ...]
    has_group: bool

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


def make_frame(spec: ConvSpec, plan: ConvPlan, *, splits_groups: bool = True) -> Frame:
    """The frame of `spec` under `plan`; without `splits_groups`, groups are plain channels everywhere."""
    return Frame(spec, spec_axes(spec), plan.axes, splits_groups and spec.group > 1 and not spec.is_depthwise)


def frame_input(b: FragmentBuilder, x: gs.Variable, frame: Frame) -> gs.Variable:
    """`[batch, channels, *spatial]` -> `[positions, group?, tiles, rest]`, each in one or several dimensions.

    Callers reshape the result: the positions they know, -1 for the rest.
    """
    rank = frame.spec.rank
    pads = [plan.padding(axis) for axis, plan in zip(frame.axes, frame.plans, strict=True)]
    padded = b.pad(x, [0, 0, *(begin for begin, _ in pads)], [0, 0, *(end for _, end in pads)])
    padded = b.transpose(padded, *range(2, rank + 2), 0, 1)
    extents = [
        b.extent(padded, number) if axis.extent is None else begin + axis.extent + end
        for number, (axis, (begin, end)) in enumerate(zip(frame.axes, pads, strict=True))
    ]
    if frame.has_group:
        padded = b.reshape(padded, *[0] * (rank + 1), frame.group, frame.spec.in_channels // frame.group)
        padded = b.transpose(padded, *range(rank), rank + 1, rank, rank + 2)
    if not frame.is_tiled:
        return padded
    rows = b.op("Flatten", padded, axis=rank + frame.has_group)
    return b.op("Gather", rows, _frame_index(b, x, frame, extents), axis=0)


def unframe_output(b: FragmentBuilder, y: gs.Tensor, frame: Frame, x: gs.Variable) -> gs.Variable:
    """`[positions, group?, tiles, rest]` of the outputs -> `[batch, out_channels, *output_extents]`.

    `x`, the convolution's input, gives the lengths that only run time knows.
    """
    rank, lengths = frame.spec.rank, frame.output_lengths
    leading: tuple[Dim, ...] = lengths
    if frame.is_tiled or lengths != tuple(axis.output_extent for axis in frame.axes):
        tiles = [_tile_count(b, x, frame, number) for number in range(rank)]
        rows = _product(b, [*lengths, frame.group, *tiles])
        y = b.op("Gather", b.reshape(y, rows, -1), _unframe_index(b, x, frame, tiles), axis=0)
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


def _frame_index(b: FragmentBuilder, x: gs.Variable, frame: Frame, extents: Sequence[Dim]) -> gs.Tensor:
    """Row of every sample every tile reads: `[*positions, group?, *tiles]`."""
    count, dims = len(frame.axes), 2 * len(frame.axes) + frame.has_group
    terms: list[gs.Tensor] = []
    for number, (axis, plan) in enumerate(zip(frame.axes, frame.plans, strict=True)):
        stride = _product(b, [*extents[number + 1 :], frame.group])
        offsets = b.integers(np.arange(plan.input_length(axis)) * axis.residues)
        terms.append(_along(b, b.multiply(offsets, stride), number, dims))
        if not plan.whole:
            tiles = b.floor_divide(_tile_count(b, x, frame, number), axis.residues)
            steps = b.reshape(b.multiply(b.arange(tiles), plan.tile_step * axis.residues), -1, 1)
            starts = b.reshape(b.add(steps, b.arange(axis.residues)), -1)
            terms.append(_along(b, b.multiply(starts, stride), count + frame.has_group + number, dims))
    if frame.has_group:
        terms.append(_along(b, b.arange(frame.group), count, dims))
    return reduce(lambda total, term: b.op("Add", total, term), terms)


def _unframe_index(b: FragmentBuilder, x: gs.Variable, frame: Frame, tiles: Sequence[Dim]) -> gs.Tensor:
    """Row of every output in `[*positions, group, *tiles]`: `[*output_extents, group?]`."""
    dims = len(frame.axes) + frame.has_group
    terms: list[gs.Tensor] = []
    for number, axis in enumerate(frame.axes):
        length = frame.output_lengths[number]
        row_stride = _product(b, [*frame.output_lengths[number + 1 :], frame.group, *tiles])
        tile_stride = _product(b, tiles[number + 1 :])
        outputs = b.arange(_output_extent(b, x, frame, number))
        step = b.floor_divide(outputs, axis.residues)
        residue = b.subtract(outputs, b.multiply(step, axis.residues))
        tile = b.floor_divide(step, length)
        row = b.subtract(step, b.multiply(tile, length))
        place = b.add(b.multiply(tile, axis.residues), residue)
        index = b.add(b.multiply(row, row_stride), b.multiply(place, tile_stride))
        terms.append(_along(b, index, number, dims))
    if frame.has_group:
        groups = b.multiply(b.arange(frame.group), _product(b, tiles))
        terms.append(_along(b, groups, len(frame.axes), dims))
    return reduce(lambda total, term: b.op("Add", total, term), terms)


def _tile_count(b: FragmentBuilder, x: gs.Variable, frame: Frame, number: int) -> Dim:
    """Tiles times residues of one axis: `ceil(ceil(output_extent / residues) / outputs per tile) * residues`."""
    axis, plan = frame.axes[number], frame.plans[number]
    known = plan.tile_count(axis)
    if known is not None:
        return known
    outputs = _output_extent(b, x, frame, number)
    per_residue = b.floor_divide(b.add(outputs, axis.residues - 1), axis.residues)
    length = plan.output_length(axis)
    return b.multiply(b.floor_divide(b.add(per_residue, length - 1), length), axis.residues)


def _output_extent(b: FragmentBuilder, x: gs.Variable, frame: Frame, number: int) -> Dim:
    """Outputs of one axis: `(extent + pads - effective kernel) // stride + 1`."""
    axis = frame.axes[number]
    if axis.output_extent is not None:
        return axis.output_extent
    slack = axis.pad_begin + axis.pad_end - axis.dilation * (axis.taps - 1) - 1
    return b.add(b.floor_divide(b.add(b.extent(x, 2 + number), slack), axis.stride), 1)


def _product(b: FragmentBuilder, dims: Sequence[Dim]) -> Dim:
    return reduce(b.multiply, dims, 1)


def _along(b: FragmentBuilder, vector: Length, position: int, dims: int) -> gs.Tensor:
    """A vector as the dimension `position` of `dims` dimensions, to be broadcast along the others."""
    return b.reshape(vector, *(-1 if place == position else 1 for place in range(dims)))
