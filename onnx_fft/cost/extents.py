"""Lengths that stand in for those a model leaves open, so that its convolutions can be counted."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import prod

from onnx_fft.fourier.axis import Axis
from onnx_fft.lowering.base import spec_axes
from onnx_fft.sites.spec import ConvSpec

ASSUMED_EXTENTS = (64, 256)
"""Lengths at which a spatial extent that the model leaves open is judged, or twice the kernel if that is longer."""

ASSUMED_SIZES = {1: (256, 4096, 65536), 2: (64, 256, 512), 3: (32, 64)}
"""The same for what decides anew for each shape that it sees, by the number of axes: what models are run on."""

ASSUMED_BATCHES = (1, 8, 32)
"""Likewise, for a batch that the model leaves open."""


def assume_extents(spec: ConvSpec, length: int) -> ConvSpec:
    """The convolution with `length` for every open extent.

    An open axis that the kernel does not reach along counts as one added to make 2-D work 3-D, of length 1.
    """
    extents: list[int] = []
    for axis, span in zip(spec_axes(spec), spec.effective_kernel_shape, strict=True):
        assumed = 1 if axis.is_pointwise else max(length, 2 * span)
        extents.append(assumed if axis.extent is None else axis.extent)
    return spec.at(extents)


def assume_sizes(spec: ConvSpec) -> list[ConvSpec]:
    """The convolution at every combination of `ASSUMED_BATCHES` and `ASSUMED_SIZES` that the model leaves open."""
    batches = ASSUMED_BATCHES if spec.batch is None else (spec.batch,)
    lengths = ASSUMED_SIZES.get(spec.rank, ASSUMED_EXTENTS) if None in spec.extents else (0,)
    sizes = [replace(assume_extents(spec, length), batch=batch) for batch in batches for length in lengths]
    return list(dict.fromkeys(sizes))


@cache
def known_axes(spec: ConvSpec) -> tuple[Axis, ...]:
    """The axes, each with an extent, the longest assumed one if the model leaves it open."""
    return spec_axes(assume_extents(spec, ASSUMED_EXTENTS[-1]))


def count_tensors(spec: ConvSpec) -> tuple[int, int]:
    """Numbers in the input and in the output; an open batch is one, an open extent the longest assumed one."""
    axes, batch = known_axes(spec), spec.batch or 1
    inputs = batch * spec.in_channels * prod(axis.extent or 1 for axis in axes)
    return inputs, batch * spec.out_channels * prod(axis.output_extent or 1 for axis in axes)
