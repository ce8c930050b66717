"""The convolution as a chain of products with constant matrices: standard operators, any provider, opset 7 and newer.

With the bilinear form of `fourier.basis`, every DFT is a `MatMul` by a constant real matrix from the left and the
product of spectra is one more operator:

    frame -> MatMul per axis step -> product with the weight's spectrum -> MatMul per axis step back -> unframe

Axes nest: with positions `[T1, T2, rest]`, the first axis gives `[R1, T2, rest]`, the second `[R1, R2, rest]`, and so
on; the spectrum of one tile has `R = R1 * R2 * ...` real numbers a channel. The product is

    dense      [R, rows, in_channels] x [R, in_channels, out_channels]                  one MatMul
    grouped    [R, group, rows, channels] x [R, group, channels, out_channels]          one MatMul
    depthwise  [R, rows, group] * [R, 1, group]                                         one Mul

where `rows` counts tiles, batch and pointwise axes together.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnx_fft.fourier.basis import make_basis, spectrum_length
from onnx_fft.fourier.spectrum import product_spectrum
from onnx_fft.fourier.tiling import matrix_plans
from onnx_fft.lowering.base import ConvPlan, Fragment, Ports, check_axes, combine_plans
from onnx_fft.lowering.builder import FragmentBuilder
from onnx_fft.lowering.framing import Frame, frame_input, make_frame, unframe_output
from onnx_fft.model.weights import ConvWeights
from onnx_fft.sites.spec import ConvSpec


class MatMulLowering:
    """DFTs as products with constant matrices."""

    name = "matmul"
    takes = (ConvSpec,)
    fuses_epilogues = False

    def find_obstacle(self, spec: ConvSpec) -> str:
        """None: every convolution that has a spec."""
        return ""

    def min_opset(self, spec: ConvSpec) -> int:
        """7, where ONNX Runtime's support begins; 9 (NonZero) if lengths are open, 11 (Pad) if pads are as well."""
        if spec.auto_pad:
            return 11
        return 9 if None in spec.extents else 7

    def candidates(self, spec: ConvSpec) -> list[ConvPlan]:
        """One plan per combination of axis plans with any lengths."""
        return combine_plans(self.name, spec, matrix_plans)

    def check_plan(self, spec: ConvSpec, plan: ConvPlan) -> None:
        """Any exact plan of the axes."""
        check_axes(spec, plan)

    def build(self, spec: ConvSpec, plan: ConvPlan, weights: ConvWeights, ports: Ports) -> Fragment:
        """See the module's docstring."""
        b = FragmentBuilder(spec, ports)
        x = b.input()
        frame = make_frame(b, x, plan)
        bases = [make_basis(axis, axis_plan) for axis, axis_plan in zip(frame.axes, frame.plans, strict=True)]
        spectra = [spectrum_length(axis_plan) for axis_plan in frame.plans]
        z = frame_input(b, x, frame)
        for number, basis in enumerate(bases):
            for step in basis.forward:
                z = _transform(b, z, step, prod(spectra[:number]))
        z = _multiply(b, z, frame, weights, prod(spectra))
        for number, basis in reversed(list(enumerate(bases))):
            for step in basis.inverse:
                z = _transform(b, z, step, prod(spectra[:number]))
        return b.finish(unframe_output(b, z, frame), weights)


def _transform(b: FragmentBuilder, x: gs.Tensor, step: NDArray[np.float64], outer: int) -> gs.Variable:
    """`[outer, batch, rows_in, rest] -> [outer, batch, rows_out, rest]`, dimensions of length 1 left out."""
    if step.shape == (1, 1, 1):
        return x
    batch, _, rows_in = step.shape
    leading = [length for length in (outer, batch) if length > 1]
    matrix = step if batch > 1 else step[0]
    return b.op("MatMul", b.real(matrix), b.reshape(x, *leading, rows_in, -1))


def _multiply(b: FragmentBuilder, x: gs.Tensor, frame: Frame, weights: ConvWeights, numbers: int) -> gs.Variable:
    """The product with the weight's spectrum, summed over input channels."""
    spec = frame.spec
    taps = [axis.taps for axis in frame.axes]
    per_group = spec.in_channels // spec.group
    kernel = weights.weight.reshape(spec.out_channels, per_group, *taps)
    spectrum = product_spectrum(kernel, frame.axes, frame.plans).reshape(spec.group, -1, per_group, numbers)
    if frame.has_group:
        rows = b.reshape(x, numbers, spec.group, -1, per_group)
        return b.op("MatMul", rows, b.real(spectrum.transpose(3, 0, 2, 1)))
    if not spec.is_depthwise:
        return b.op("MatMul", b.reshape(x, numbers, -1, per_group), b.real(spectrum[0].T))
    multiplier = spectrum.shape[1]
    factors = spectrum[:, :, 0].transpose(2, 0, 1)
    if multiplier == 1:
        return b.op("Mul", b.reshape(x, numbers, -1, spec.group), b.real(factors.reshape(numbers, 1, spec.group)))
    return b.op("Mul", b.reshape(x, numbers, -1, spec.group, 1), b.real(factors[:, None]))
