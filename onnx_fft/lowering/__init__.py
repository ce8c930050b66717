"""The ways to compute a convolution in the frequency domain; a new one is a module and a line here, and its counts and
growth in `cost`."""

from onnx_fft.lowering.base import Lowering
from onnx_fft.lowering.dft import DftLowering
from onnx_fft.lowering.fftconv import FFTConvLowering
from onnx_fft.lowering.matmul import MatMulLowering
from onnx_fft.lowering.rfft import RfftLowering

CUDA = "cuda"
NATIVE = "native"

_MATMUL = MatMulLowering()

TARGETS: dict[str, tuple[Lowering, ...]] = {
    "standard": (_MATMUL, DftLowering()),
    NATIVE: (FFTConvLowering(),),
    CUDA: (RfftLowering(), _MATMUL),
}
"""What a rewritten model is to run on, and the lowerings for it in the order of preference at equal cost.

"standard": standard operators, which every runtime has; "native": ONNX Runtime with the native library; "cuda": ONNX
Runtime's CUDA provider, with operators that nothing else has.
"""

LOWERING_NAMES = tuple(dict.fromkeys(lowering.name for lowerings in TARGETS.values() for lowering in lowerings))
"""Of every target, each once."""


def find_lowering(name: str) -> Lowering:
    """The lowering of that name; KeyError for a name that none has."""
    return {lowering.name: lowering for lowerings in TARGETS.values() for lowering in lowerings}[name]
