"""Lengths that stand in for those a model leaves open, so that its convolutions can be counted."""

from __future__ import annotations

from functools import cache
from math import prod

from onnx_fft.fourier.axis import Axis
from onnx_fft.lowering.base import spec_axes
from onnx_fft.sites.spec import ConvSpec

ASSUMED_EXTENTS = (64, 256)
"""Lengths at which a spatial extent that the model leaves open is judged, or twice the kernel if that is longer."""


def assume_extents(spec: ConvSpec, length: int) -> ConvSpec:
    """The convolution with `length` for every open extent.

    An open axis that the kernel does not reach along counts as one added to make 2-D work 3-D, of length 1.
    """
    extents: list[int] = []
    for axis, span in zip(spec_axes(spec), spec.effective_kernel_shape, strict=True):
        assumed = 1 if axis.is_pointwise else max(length, 2 * span)
        extents.append(assumed if axis.extent is None else axis.extent)
    return spec.at(extents)


@cache
def known_axes(spec: ConvSpec) -> tuple[Axis, ...]:
    """The axes, each with an extent, the longest assumed one if the model leaves it open."""
    return spec_axes(assume_extents(spec, ASSUMED_EXTENTS[-1]))


def count_tensors(spec: ConvSpec) -> tuple[int, int]:
    """Numbers in the input and in the output; an open batch is one, an open extent the longest assumed one."""
    axes, batch = known_axes(spec), spec.batch or 1
    inputs = batch * spec.in_channels * prod(axis.extent or 1 for axis in axes)
    return inputs, batch * spec.out_channels * prod(axis.output_extent or 1 for axis in axes)
