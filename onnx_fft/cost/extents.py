"""Lengths that stand in for those a model leaves open, so that its convolutions can be counted."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import prod
from typing import TypeVar

from onnx_fft.fourier.axis import Axis
from onnx_fft.lowering.base import spec_axes
from onnx_fft.lowering.transposed import as_conv
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec

Summed = TypeVar("Summed", ConvSpec, ConvTransposeSpec, ConvSpec | ConvTransposeSpec)
"""A kind of convolution. For a transposed one, assumed lengths are those of its outputs."""

ASSUMED_EXTENTS = (64, 256)
"""Lengths at which a spatial extent that the model leaves open is judged, or twice the kernel if that is longer."""

ASSUMED_SIZES = {1: (256, 4096, 65536), 2: (64, 256, 512), 3: (32, 64)}
"""The same for what decides anew for each shape that it sees, by the number of axes: what models are run on."""

ASSUMED_BATCHES = (1, 8, 32)
"""Likewise, for a batch that the model leaves open."""


def assume_extents(spec: Summed, length: int) -> Summed:
    """The convolution with `length` for every open extent.

    An open axis that the kernel does not reach along counts as one added to make 2-D work 3-D, of length 1. Of what
    pads crop, there is at least as much that an output is left.
    """
    extents: list[int] = []
    conv, ups, surplus = (spec, (1,) * spec.rank, (1,) * spec.rank) if isinstance(spec, ConvSpec) else _turn(spec)
    least = [1 + max(0, -((more - 1) // up)) for more, up in zip(surplus, ups, strict=True)]
    for axis, span, up, fewest in zip(spec_axes(conv), conv.effective_kernel_shape, ups, least, strict=True):
        assumed = 1 if axis.is_pointwise and up == 1 else max(length // up, 2 * span)
        extents.append(max(assumed, fewest) if axis.extent is None else axis.extent)
    return spec.at(extents)


def _turn(spec: ConvTransposeSpec) -> tuple[ConvSpec, tuple[int, ...], tuple[int, ...]]:
    return as_conv(spec), spec.strides, spec.surplus


def assume_sizes(spec: Summed) -> list[Summed]:
    """The convolution at every combination of `ASSUMED_BATCHES` and `ASSUMED_SIZES` that the model leaves open."""
    batches = ASSUMED_BATCHES if spec.batch is None else (spec.batch,)
    lengths = ASSUMED_SIZES.get(spec.rank, ASSUMED_EXTENTS) if None in spec.extents else (0,)
    sizes = [replace(assume_extents(spec, length), batch=batch) for batch in batches for length in lengths]
    return list(dict.fromkeys(sizes))


def know_extents(spec: Summed) -> Summed:
    """The convolution with the longest assumed length for every open extent."""
    return assume_extents(spec, ASSUMED_EXTENTS[-1])


@cache
def known_axes(spec: ConvSpec) -> tuple[Axis, ...]:
    """The axes, each with an extent, the longest assumed one if the model leaves it open."""
    return spec_axes(know_extents(spec))


def count_tensors(spec: ConvSpec | ConvTransposeSpec) -> tuple[int, int]:
    """Numbers in the input and in the output; an open batch is one, an open extent the longest assumed one."""
    known: ConvSpec | ConvTransposeSpec = know_extents(spec)
    batch = spec.batch or 1
    inputs = batch * spec.in_channels * prod(extent or 1 for extent in known.extents)
    return inputs, batch * spec.out_channels * prod(extent or 1 for extent in known.output_extents)
