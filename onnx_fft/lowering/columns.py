"""What the lowerings by FFT operators share: tiles as columns with the signal last, and products of complex spectra.

The operators transform the last dimensions, so between `frame_columns` and `unframe_columns` everything is

    [rows, channels, *lengths]            samples; `rows` counts tiles, batch and axes without a transform together
    [rows, channels, *bins, 2]            spectra, real and imaginary part in the last dimension

Where no axis is cut into tiles that is ONNX's own layout, and nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnx_fft.fourier.axis import Axis, AxisPlan
from onnx_fft.fourier.spectrum import complex_spectrum
from onnx_fft.lowering.builder import FragmentBuilder
from onnx_fft.lowering.framing import Frame, frame_input, unframe_output
from onnx_fft.model.weights import ConvWeights
from onnx_fft.sites.spec import ConvSpec

ComplexArray = NDArray[np.complex128]


def frame_columns(b: FragmentBuilder, x: gs.Variable, frame: Frame) -> gs.Variable:
    """`[batch, channels, *spatial]` -> `[rows, channels, *input_lengths]`; a whole axis is as long as its extent."""
    if not frame.is_tiled:
        return x
    count = len(frame.axes)
    z = b.reshape(frame_input(b, x, frame), *frame.input_lengths, -1, frame.spec.in_channels)
    return b.transpose(z, count, count + 1, *range(count))


def unframe_columns(b: FragmentBuilder, y: gs.Variable, frame: Frame) -> gs.Variable:
    """`[rows, out_channels, *output_lengths]` -> `[batch, out_channels, *output_extents]`."""
    if not frame.is_tiled:
        return y
    return unframe_output(b, b.transpose(y, *range(2, len(frame.axes) + 2), 0, 1), frame)


def weight_spectrum(
    spec: ConvSpec, weights: ConvWeights, axes: Sequence[Axis], plans: Sequence[AxisPlan]
) -> ComplexArray:
    """The weight's spectrum along `axes`, the others having one tap: `[group, out_channels, in_channels, *bins]`."""
    per_group = spec.in_channels // spec.group
    kernel = weights.weight.reshape(spec.out_channels, per_group, *(axis.taps for axis in axes))
    spectrum = complex_spectrum(kernel, axes, plans)
    return spectrum.reshape(spec.group, -1, per_group, *spectrum.shape[2:])


def multiply_elements(b: FragmentBuilder, x: gs.Variable, spectrum: ComplexArray) -> gs.Variable:
    """Depthwise, in real operators: `[rows, group, *bins, 2]` -> `[rows, out_channels, *bins, 2]`."""
    group, multiplier, _, *bins = spectrum.shape
    factors = spectrum[:, :, 0]
    last = factors.ndim + 1
    u, v = b.split(b.reshape(x, -1, group, 1, *bins, 2), axis=last)
    a, c = b.real(factors.real[..., None]), b.real(factors.imag[..., None])
    real = b.op("Sub", b.op("Mul", u, a), b.op("Mul", v, c))
    imaginary = b.op("Add", b.op("Mul", u, c), b.op("Mul", v, a))
    product = b.op("Concat", real, imaginary, axis=last)
    return b.reshape(product, -1, group * multiplier, *bins, 2)


def multiply_channels(b: FragmentBuilder, x: gs.Variable, spectrum: ComplexArray) -> gs.Variable:
    """Summed over the channels of a group, one real matrix product a bin; shapes as in `multiply_elements`.

    With real and imaginary parts side by side, `(u, v)` times `[[a, c], [-c, a]]` is `(u + iv)(a + ic)`.
    """
    group, out_channels, in_channels, *shape = spectrum.shape
    bins = prod(shape)
    flat = spectrum.reshape(group, out_channels, in_channels, bins)
    a, c = flat.real, flat.imag
    pairs = np.stack([np.stack([a, c], axis=-1), np.stack([-c, a], axis=-1)], axis=-2)
    matrices = pairs.transpose(3, 0, 2, 4, 1, 5).reshape(bins, group, 2 * in_channels, 2 * out_channels)
    rows = b.transpose(b.reshape(x, -1, group, in_channels, bins, 2), 3, 1, 0, 2, 4)
    product = b.op("MatMul", b.reshape(rows, bins, group, -1, 2 * in_channels), b.real(matrices))
    product = b.transpose(b.reshape(product, bins, group, -1, out_channels, 2), 2, 1, 3, 0, 4)
    return b.reshape(product, -1, group * out_channels, *shape, 2)


def slice_outputs(
    b: FragmentBuilder, y: gs.Variable, axes: Sequence[Axis], lengths: Sequence[int], *, is_complex: bool = False
) -> gs.Variable:
    """The first `lengths` outputs along the dimensions from 2 on, each `stride` samples apart.

    Of `y` with a last dimension for real and imaginary part, the real part `[..., 1]`.
    """
    ends = [(length - 1) * axis.stride + 1 for length, axis in zip(lengths, axes, strict=True)]
    steps = [axis.stride for axis in axes]
    if is_complex:
        ends, steps = [*ends, 1], [*steps, 1]
    bounds = ([0] * len(ends), ends, list(range(2, len(ends) + 2)), steps)
    return b.op("Slice", y, *(b.integers(values) for values in bounds))
