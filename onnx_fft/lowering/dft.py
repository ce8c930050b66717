"""The literal form: ONNX's own `DFT`, product with the weight's spectrum, inverse `DFT`. Opset 17 and newer.

    frame -> [rows, channels, T1, T2, 1] -> DFTs, axis by axis -> product -> inverse DFTs -> real part, crop -> unframe

The last axis is transformed first and one-sided: a real signal needs only its half-spectrum, `T2 // 2 + 1` bins. On
the way back it comes last, and ONNX Runtime's one-sided inverse cannot be used: up to 1.24.4 it is refused, in 1.25.1
and 1.26.0 it is wrong. Instead the bins that stand for two are doubled (in the weight's spectrum), the DFT operator
extends the half-spectrum by zeros to `T2`, and the real part of the full inverse is the signal:

    y[t] = Re (1/T) sum_{f < T/2 + 1} c[f] Y[f] exp(2 pi i f t / T),   c = 1 for f = 0 and T/2, else 2

Along the other axes, too, the operator extends the signal by zeros to its `dft_length`. The one-sided DFT finds them in
its input: up to 2026.4.1 OpenVINO's CPU plugin refuses a real signal shorter than that. (Its ONNX frontend takes the
axis from the attribute of opsets 17 to 19 only, so that newer files fail there.)

Lengths are powers of two because ONNX Runtime's operator is accurate (and fast) only there.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnx_fft.fourier.tiling import power_of_two_plans
from onnx_fft.lowering.base import ConvPlan, Fragment, Ports, check_axes, combine_plans
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
from onnx_fft.lowering.framing import Frame, make_frame
from onnx_fft.model.weights import ConvWeights
from onnx_fft.sites.spec import ConvSpec


class DftLowering:
    """ONNX's DFT operator."""

    name = "dft"
    takes = (ConvSpec,)
    fuses_epilogues = False

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

    def build(self, spec: ConvSpec, plan: ConvPlan, weights: ConvWeights, ports: Ports) -> Fragment:
        """See the module's docstring."""
        b = FragmentBuilder(spec, ports)
        x = b.input()
        frame = make_frame(b, x, plan, splits_groups=False)
        count = len(frame.axes)
        *others, read = frame.input_lengths
        length = frame.plans[-1].dft_length
        z = b.pad(frame_columns(b, x, frame), [0] * (count + 2), [0] * (count + 1) + [length - read])
        z = b.reshape(z, -1, spec.in_channels, *others, length, 1)
        for axis in reversed(range(count)):
            z = _dft(b, z, frame, axis, onesided=axis == count - 1)
        spectrum = weight_spectrum(spec, weights, frame.axes, frame.plans)
        _double_bins(spectrum, length)
        z = (multiply_elements if spec.is_depthwise else multiply_channels)(b, z, spectrum)
        for axis in range(count):
            z = _dft(b, z, frame, axis, inverse=True)
        z = slice_outputs(b, z, frame.axes, frame.output_lengths, is_complex=True)
        y = b.reshape(z, -1, spec.out_channels, *frame.output_lengths)
        return b.finish(unframe_columns(b, y, frame), weights)


def _dft(
    b: FragmentBuilder, x: gs.Variable, frame: Frame, axis: int, *, onesided: bool = False, inverse: bool = False
) -> gs.Variable:
    """One axis of `[rows, channels, *axes, 1 or 2]`, extended by zeros to its DFT length.

    A DFT of length one is the identity; only the last axis needs it, to make the signal complex.
    """
    if frame.plans[axis].dft_length == 1 and axis < len(frame.axes) - 1:
        return x
    length = b.integers(frame.plans[axis].dft_length)
    flags = {"onesided": int(onesided), "inverse": int(inverse)}
    if b.ports.opset < 20:
        return b.op("DFT", x, length, axis=axis + 2, **flags)
    return b.op("DFT", x, length, b.integers(axis + 2), **flags)


def _double_bins(spectrum: ComplexArray, dft_length: int) -> None:
    """Multiply the half-spectrum `[..., bins]` by `c` of the module's docstring, in place."""
    spectrum[..., 1 : (dft_length + 1) // 2] *= 2
