"""What a site costs, in seconds, in ONNX Runtime: its own operator, and each lowering under a plan.

A cost is what is counted (`counts`) times the rates of one machine. Predictions need not be right to the percent: a
site is replaced only if they leave a margin (`gains.MIN_GAIN`).
"""

from __future__ import annotations

from onnx_fft.cost.conv import count_conv
from onnx_fft.cost.extents import count_tensors
from onnx_fft.cost.fourier import count_original_fourier
from onnx_fft.cost.frames import as_pointwise, fftmatmul_seconds, matmul_seconds
from onnx_fft.cost.lowerings import count_lowering
from onnx_fft.cost.machines import Machine
from onnx_fft.cost.native import border_native_seconds, model_seconds, node_seconds
from onnx_fft.cost.transposed import count_conv_transpose
from onnx_fft.lowering.base import Plan
from onnx_fft.native.planning import MAX_RANK
from onnx_fft.sites.fourier import DftSpec, MatMulSpec, StftSpec
from onnx_fft.sites.site import Spec
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec

FFTCONV = "fftconv"


def original_seconds(spec: Spec, machine: Machine) -> float:
    """ONNX Runtime's own operator, all optimizations on."""
    if isinstance(spec, DftSpec | StftSpec):
        return count_original_fourier(spec) * machine.rates
    if isinstance(spec, MatMulSpec):
        library = machine.library
        return matmul_seconds(spec, library) if library else conv_seconds(as_pointwise(spec), machine)
    return conv_seconds(spec, machine)


def conv_seconds(spec: ConvSpec | ConvTransposeSpec, machine: Machine) -> float:
    """ONNX Runtime's own Conv or ConvTranspose, all optimizations on."""
    if machine.library and spec.rank <= MAX_RANK:
        return model_seconds(spec, machine.library)
    if isinstance(spec, ConvTransposeSpec):
        seconds = count_conv_transpose(spec) * machine.rates
    else:
        seconds = count_conv(spec, machine.least_output_channels) * machine.rates
    return seconds / (machine.float16_speed if spec.dtype == "float16" else 1.0)


def lowering_seconds(spec: Spec, plan: Plan, machine: Machine) -> float:
    """The lowering named in `plan`, alone."""
    if isinstance(spec, ConvSpec | ConvTransposeSpec) and plan.lowering == FFTCONV:
        return node_seconds(spec, machine.library)
    if isinstance(spec, MatMulSpec):
        return fftmatmul_seconds(spec, machine.library)
    return count_lowering(spec, plan) * machine.rates


def border_seconds(spec: Spec, machine: Machine) -> float:
    """What a replacement costs its neighbours in a model, on top of its own time."""
    if not isinstance(spec, ConvSpec):
        return 0.0  # no other kind has a layout of its own
    if machine.library and spec.rank <= MAX_RANK:
        return border_native_seconds(spec, machine.library)
    return 4 * sum(count_tensors(spec)) / machine.border_bytes_s
