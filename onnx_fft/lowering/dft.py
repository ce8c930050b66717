"""The literal form: ONNX's own `DFT`, product with the weight's spectrum, inverse `DFT`. Opset 17 and newer.

    frame -> [columns, T1, T2, 1] -> DFT per axis -> product -> inverse DFT per axis -> real part, crop -> unframe

The last axis is transformed first and one-sided: a real signal needs only its half-spectrum, `T2 // 2 + 1` bins. On
the way back it comes last, and ONNX Runtime's one-sided inverse cannot be used: up to 1.24.4 it is refused, in 1.25.1
and 1.26.0 it is wrong. Instead the bins that stand for two are doubled (in the weight's spectrum), the DFT operator
extends the half-spectrum by zeros to `T2`, and the real part of the full inverse is the signal:

    y[t] = Re (1/T) sum_{f < T/2 + 1} c[f] Y[f] exp(2 pi i f t / T),   c = 1 for f = 0 and T/2, else 2

Lengths are powers of two because ONNX Runtime's operator is accurate (and fast) only there.
"""

from __future__ import annotations

from math import log2, prod

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnx_fft.fourier.spectrum import complex_spectrum
from onnx_fft.fourier.tiling import power_of_two_plans
from onnx_fft.lowering.base import ConvPlan, Fragment, FragmentBuilder, Ports, combine_plans
from onnx_fft.lowering.counting import (
    check_axes,
    constant_itemsize,
    count_bin_products,
    count_framing,
    count_tiles,
    count_traffic,
    index_bytes,
    known_axes,
    weight_bytes,
)
from onnx_fft.lowering.framing import Frame, frame_input, make_frame, unframe_output
from onnx_fft.lowering.work import Work
from onnx_fft.model.spec import ConvSpec
from onnx_fft.model.weights import ConvWeights


class DftLowering:
    """ONNX's DFT operator."""

    name = "dft"
    absorbs_activations = False

    def find_obstacle(self, spec: ConvSpec) -> str:
        """None: every convolution that has a spec."""
        return ""

    def min_opset(self, spec: ConvSpec) -> int:
        """17, which brought the operator."""
        return 17

    def candidates(self, spec: ConvSpec) -> list[ConvPlan]:
        """One plan per combination of axis plans with power-of-two lengths."""
        return combine_plans(self.name, spec, power_of_two_plans)

    def check_plan(self, spec: ConvSpec, plan: ConvPlan) -> None:
        """An exact plan of the axes, in powers of two."""
        check_axes(spec, plan)
        if any(axis.columns != 1 or axis.dft_length & (axis.dft_length - 1) for axis in plan.axes):
            raise ValueError("dft takes one column and powers of two")

    def count_work(self, spec: ConvSpec, plan: ConvPlan) -> Work:
        """Framing, the butterflies of both directions, the product of spectra."""
        axes = known_axes(spec)
        tiles = prod(count_tiles(axis, axis_plan) for axis, axis_plan in zip(axes, plan.axes, strict=True))
        rows = tiles * (spec.batch or 1)
        points = prod(axis_plan.dft_length for axis_plan in plan.axes)
        signals = rows * (spec.in_channels + spec.out_channels)
        stages = sum(log2(axis_plan.dft_length) for axis_plan in plan.axes)
        work = count_framing(spec, axes, plan, rows) + Work(butterflies=signals * points * stages / 2)
        work += Work(serial_bytes=4 * 8 * signals * points, operators=8)
        if spec.is_depthwise:
            return work + count_traffic(6 * 8 * signals * points)
        inner, outputs = spec.in_channels // spec.group, spec.out_channels // spec.group
        return work + count_bin_products(points / 2 * spec.group, rows, 2 * inner, 2 * outputs)

    def growth_bytes(self, spec: ConvSpec, plan: ConvPlan) -> int:
        """The weight's half-spectrum (as real matrices where channels are summed) and the indices of framing."""
        *full, half = (axis_plan.dft_length for axis_plan in plan.axes)
        numbers = prod(full) * (half // 2 + 1) * (2 if spec.is_depthwise else 4)
        pairs = spec.out_channels * spec.in_channels // spec.group
        return pairs * numbers * constant_itemsize(spec) + index_bytes(spec, plan) - weight_bytes(spec)

    def build(self, spec: ConvSpec, plan: ConvPlan, weights: ConvWeights, ports: Ports) -> Fragment:
        """See the module's docstring."""
        frame = make_frame(spec, plan)
        b = FragmentBuilder(spec, ports)
        x = b.input()
        count = len(frame.axes)
        z = b.reshape(frame_input(b, x, frame), *frame.input_lengths, -1)
        z = b.reshape(b.transpose(z, count, *range(count)), -1, *frame.input_lengths, 1)
        for axis in reversed(range(count)):
            z = _dft(b, z, frame, axis, onesided=axis == count - 1)
        z = _multiply(b, z, frame, weights)
        for axis in range(count):
            z = _dft(b, z, frame, axis, inverse=True)
        z = _real_outputs(b, z, frame)
        return b.finish(unframe_output(b, b.transpose(z, *range(1, count + 1), 0), frame, x), weights)


def _dft(
    b: FragmentBuilder, x: gs.Variable, frame: Frame, axis: int, *, onesided: bool = False, inverse: bool = False
) -> gs.Variable:
    """One axis of `[columns, *axes, 1 or 2]`, extended by zeros to its DFT length.

    A DFT of length one is the identity; only the last axis needs it, to make the signal complex.
    """
    if frame.plans[axis].dft_length == 1 and axis < len(frame.axes) - 1:
        return x
    length = b.integers(frame.plans[axis].dft_length)
    flags = {"onesided": int(onesided), "inverse": int(inverse)}
    if b.ports.opset < 20:
        return b.op("DFT", x, length, axis=axis + 1, **flags)
    return b.op("DFT", x, length, b.integers(axis + 1), **flags)


def _multiply(b: FragmentBuilder, x: gs.Variable, frame: Frame, weights: ConvWeights) -> gs.Variable:
    """The product of spectra `[columns, *bins, 2]`, summed over input channels."""
    spec = frame.spec
    per_group = spec.in_channels // spec.group
    kernel = weights.weight.reshape(spec.out_channels, per_group, *(axis.taps for axis in frame.axes))
    spectrum = complex_spectrum(kernel, frame.axes, frame.plans)
    bins = spectrum.shape[2:]
    spectrum = spectrum.reshape(spec.group, -1, per_group, *bins)
    if spec.is_depthwise:
        product = _complex_product(b, b.reshape(x, -1, spec.group, 1, *bins, 2), spectrum[:, :, 0])
    else:
        product = _channel_product(b, x, frame, spectrum.reshape(*spectrum.shape[:3], -1))
    return b.reshape(product, -1, *bins, 2)


def _complex_product(b: FragmentBuilder, x: gs.Variable, spectrum: NDArray[np.complex128]) -> gs.Variable:
    """`[rows, group, 1, *bins, 2]` times `[group, multiplier, *bins]`, elementwise."""
    u, v = b.split(x, axis=spectrum.ndim + 1)
    a, c = b.real(spectrum.real[..., None]), b.real(spectrum.imag[..., None])
    real = b.op("Sub", b.op("Mul", u, a), b.op("Mul", v, c))
    imaginary = b.op("Add", b.op("Mul", u, c), b.op("Mul", v, a))
    return b.op("Concat", real, imaginary, axis=spectrum.ndim + 1)


def _channel_product(b: FragmentBuilder, x: gs.Variable, frame: Frame, spectrum: NDArray[np.complex128]) -> gs.Variable:
    """One real matrix product per bin, `spectrum` being `[group, out, in, bins]`.

    With real and imaginary parts side by side, `(u, v)` times `[[a, c], [-c, a]]` is `(u + iv)(a + ic)`.
    """
    group, out_channels, in_channels, bins = spectrum.shape
    a, c = spectrum.real, spectrum.imag
    pairs = np.stack([np.stack([a, c], axis=-1), np.stack([-c, a], axis=-1)], axis=-2)
    matrices = pairs.transpose(3, 0, 2, 4, 1, 5).reshape(bins, group, 2 * in_channels, 2 * out_channels)
    rows = b.transpose(b.reshape(x, frame.group, -1, in_channels, bins, 2), 3, 0, 1, 2, 4)
    product = b.op("MatMul", b.reshape(rows, bins, group, -1, 2 * in_channels), b.real(matrices))
    return b.transpose(b.reshape(product, bins, group, -1, out_channels, 2), 1, 2, 3, 0, 4)


def _real_outputs(b: FragmentBuilder, x: gs.Variable, frame: Frame) -> gs.Variable:
    """`[columns, *dft_lengths, 2]` -> `[columns, *output_lengths]`: the real part of the outputs that are wanted."""
    count = len(frame.axes)
    ends = [(length - 1) * axis.stride + 1 for length, axis in zip(frame.output_lengths, frame.axes, strict=True)]
    steps = [axis.stride for axis in frame.axes]
    places = list(range(1, count + 2))
    bounds = ([0] * (count + 1), [*ends, 1], places, [*steps, 1])
    return b.reshape(b.op("Slice", x, *(b.integers(values) for values in bounds)), -1, *frame.output_lengths)
