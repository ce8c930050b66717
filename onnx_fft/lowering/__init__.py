"""The ways to compute a convolution in the frequency domain; a new one is a module and a line here."""

from onnx_fft.lowering.base import Lowering
from onnx_fft.lowering.dft import DftLowering
from onnx_fft.lowering.matmul import MatMulLowering

LOWERINGS: tuple[Lowering, ...] = (MatMulLowering(), DftLowering())
"""Every lowering, in the order of preference at equal cost."""


def find_lowering(name: str) -> Lowering:
    """The lowering of that name; KeyError where there is none."""
    return {lowering.name: lowering for lowering in LOWERINGS}[name]
