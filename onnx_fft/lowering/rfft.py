"""For ONNX Runtime's CUDA provider, which has no DFT operator: `com.microsoft` Rfft and Irfft, which are cuFFT's.

    frame -> [rows, channels, T1, T2] -> Rfft -> product with the weight's spectrum -> Irfft -> crop -> unframe

Rfft transforms the last `signal_ndim` dimensions (1 to 3), the last one to its half-spectrum: `[..., T1, T2]` gives
`[..., T1, T2 // 2 + 1, 2]`. Irfft goes back, to `2 (bins - 1)` samples along the last one, and divides by `T1 * T2`
(ONNX Runtime 1.16 and newer; `contrib_ops/cuda/math/fft_ops*`). What that code is like decides some things here:

1. The last length is even, or Irfft would return another one.
2. The number of samples of a tile is a multiple of 128. Irfft's division runs in blocks of 256, which are counted in
   float32: of more than 2^24 samples in all the last few may be left out unless float32 holds their number exactly,
   which it does for multiples of 128 up to the 2^31 samples that its indices reach.
3. Nothing but Irfft reads its input: a complex-to-real transform of cuFFT may overwrite it.
4. ComplexMul has kernels for float32 and float16 only, and broadcasts leading dimensions only: the depthwise product
   is one of `[rows, channels * bins, 2]` and `[channels * bins, 2]`, and other dtypes and multipliers take real
   operators.
5. cuFFT does not take an empty batch, which Conv does.
6. A kernel keeps the cuFFT plans of all shapes it has met, and the GPU memory they work in, as long as the session.
7. Runs of one session at a time share a plan, and with it that memory. By the code they may spoil each other's results,
   which was not tried: one run at a time for each session.

Axes along which nothing is summed have no transform and count among the rows.
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from onnx_fft.fourier.axis import Axis, AxisPlan
from onnx_fft.fourier.tiling import smooth_plans
from onnx_fft.lowering.base import ConvPlan, Fragment, Ports, check_axes, combine_plans, spec_axes
from onnx_fft.lowering.builder import FragmentBuilder
from onnx_fft.lowering.columns import (
    ComplexArray,
    frame_columns,
    multiply_channels,
    multiply_elements,
    slice_outputs,
    unframe_columns,
    weight_spectrum,
)
from onnx_fft.lowering.framing import make_frame
from onnx_fft.model.scopes import MICROSOFT_DOMAIN
from onnx_fft.model.weights import ConvWeights
from onnx_fft.sites.spec import ConvSpec

MAX_SIGNAL_AXES = 3
TILE_MULTIPLE = 128
"""Of the samples of a tile; see 2."""

LENGTH_MULTIPLES = {1: 128, 2: 16, 3: 8}
"""Of every DFT length, by the number of transformed axes, so that the tile is a multiple of `TILE_MULTIPLE`."""


class RfftLowering:
    """cuFFT through ONNX Runtime's own operators."""

    name = "rfft"
    takes = (ConvSpec,)
    fuses_epilogues = False

    def find_obstacle(self, spec: ConvSpec) -> str:
        """What Rfft does not transform: more than three axes, none, or nothing."""
        count = sum(not axis.is_pointwise for axis in spec_axes(spec))
        if count == 0:
            return "rfft has nothing to transform: the kernel has one tap along every axis"
        if count > MAX_SIGNAL_AXES:
            return f"Rfft transforms 1 to {MAX_SIGNAL_AXES} axes, the kernel reaches along {count}"
        return "Rfft takes no empty batch" if spec.batch == 0 else ""

    def min_opset(self, spec: ConvSpec) -> int:
        """13, from which on Split takes its sizes as an input."""
        return 13

    def candidates(self, spec: ConvSpec) -> list[ConvPlan]:
        """One plan per combination of axis plans with smooth lengths."""
        count = sum(not axis.is_pointwise for axis in spec_axes(spec))
        return combine_plans(self.name, spec, partial(smooth_plans, multiple=LENGTH_MULTIPLES[count]))

    def check_plan(self, spec: ConvSpec, plan: ConvPlan) -> None:
        """An exact plan of the axes that Rfft and Irfft compute."""
        if obstacle := self.find_obstacle(spec):
            raise ValueError(obstacle)
        check_axes(spec, plan)
        lengths = signal_lengths(plan)
        if not 1 <= len(lengths) <= MAX_SIGNAL_AXES or any(axis.columns != 1 for axis in plan.axes):
            raise ValueError(f"rfft takes one column and transforms 1 to {MAX_SIGNAL_AXES} axes, got {len(lengths)}")
        if lengths[-1] % 2 or prod(lengths) % TILE_MULTIPLE:
            raise ValueError(
                f"the last DFT length must be even and the product of all a multiple of {TILE_MULTIPLE}, got {lengths}"
            )

    def build(self, spec: ConvSpec, plan: ConvPlan, weights: ConvWeights, ports: Ports) -> Fragment:
        """See the module's docstring."""
        b = FragmentBuilder(spec, ports)
        x = b.input()
        frame = make_frame(b, x, plan, splits_groups=False)
        signal = [number for number, axis_plan in enumerate(frame.plans) if axis_plan.dft_length > 1]
        axes: list[Axis] = [frame.axes[number] for number in signal]
        plans: list[AxisPlan] = [frame.plans[number] for number in signal]
        read, wanted = ([lengths[n] for n in signal] for lengths in (frame.input_lengths, frame.output_lengths))
        z = frame_columns(b, x, frame)
        if len(signal) < spec.rank:
            z = b.reshape(z, -1, spec.in_channels, *read)
        ends = [axis_plan.dft_length - length for axis_plan, length in zip(plans, read, strict=True)]
        z = b.pad(z, [0] * (2 + len(ends)), [0, 0, *ends])
        z = _transform(b, "Rfft", z, len(signal))
        z = _multiply(b, z, weight_spectrum(spec, weights, axes, plans))
        y = slice_outputs(b, _transform(b, "Irfft", z, len(signal)), axes, wanted)
        if len(signal) < spec.rank:
            y = b.reshape(y, -1, spec.out_channels, *frame.output_lengths)
        return b.finish(unframe_columns(b, y, frame), weights)


def _transform(b: FragmentBuilder, op_type: str, x: gs.Variable, axes: int) -> gs.Variable:
    return b.op(f"{MICROSOFT_DOMAIN}::{op_type}", x, signal_ndim=axes, normalized=0, onesided=1)


def _multiply(b: FragmentBuilder, x: gs.Variable, spectrum: ComplexArray) -> gs.Variable:
    """The product of spectra `[rows, channels, *bins, 2]`, summed over input channels."""
    channels, _, inputs, *bins = spectrum.shape
    if inputs > 1:
        return multiply_channels(b, x, spectrum)
    if not has_complex_mul(b.spec):
        return multiply_elements(b, x, spectrum)
    elements = channels * prod(bins)
    factors = np.stack([spectrum.real, spectrum.imag], axis=-1).reshape(elements, 2)
    product = b.op(f"{MICROSOFT_DOMAIN}::ComplexMul", b.reshape(x, -1, elements, 2), b.real(factors))
    return b.reshape(product, -1, channels, *bins, 2)


def has_complex_mul(spec: ConvSpec) -> bool:
    """Whether ComplexMul computes a depthwise product; see 4. The product in float16 is one in float32."""
    return spec.out_channels == spec.group and spec.dtype != "float64"


def signal_lengths(plan: ConvPlan) -> list[int]:
    """DFT lengths of the axes that are transformed."""
    return [axis.dft_length for axis in plan.axes if axis.dft_length > 1]
