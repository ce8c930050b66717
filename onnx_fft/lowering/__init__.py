"""The ways to compute a site in the frequency domain; a new one is a module and a line here, and its counts and growth
in `cost`."""

from onnx_fft.lowering.base import Lowering
from onnx_fft.lowering.dft import DftLowering
from onnx_fft.lowering.fft import FftLowering
from onnx_fft.lowering.fftconv import FFTConvLowering
from onnx_fft.lowering.fftconv_transpose import FFTConvTransposeLowering
from onnx_fft.lowering.fftmatmul import FFTMatMulLowering
from onnx_fft.lowering.matmul import MatMulLowering
from onnx_fft.lowering.matmul_dft import MatMulDftLowering
from onnx_fft.lowering.matmul_stft import MatMulStftLowering
from onnx_fft.lowering.rfft import RfftLowering
from onnx_fft.lowering.transposed import TransposedLowering
from onnx_fft.sites.site import Spec
from onnx_fft.sites.spec import ConvSpec

CUDA = "cuda"
NATIVE = "native"

_MATMUL, _DFT, _RFFT = MatMulLowering(), DftLowering(), RfftLowering()
_MATMUL_FOURIER = (MatMulDftLowering(), MatMulStftLowering())

TARGETS: dict[str, tuple[Lowering, ...]] = {
    "standard": (_MATMUL, _DFT, TransposedLowering(_MATMUL), TransposedLowering(_DFT), *_MATMUL_FOURIER),
    NATIVE: (FFTConvLowering(), FFTConvTransposeLowering(), FftLowering(), FFTMatMulLowering()),
    CUDA: (_RFFT, _MATMUL, TransposedLowering(_RFFT), TransposedLowering(_MATMUL), *_MATMUL_FOURIER),
}
"""What a rewritten model is to run on, and the lowerings for it in the order of preference at equal cost.

"standard": standard operators, which every runtime has; "native": ONNX Runtime with the native library; "cuda": ONNX
Runtime's CUDA provider, with operators that nothing else has.
"""

LOWERING_NAMES = tuple(dict.fromkeys(lowering.name for lowerings in TARGETS.values() for lowering in lowerings))
"""Of every target, each once."""


def find_lowering(name: str, kind: type[Spec] = ConvSpec) -> Lowering:
    """The lowering of that name for specs of that kind; KeyError if none has both."""
    known = (lowering for lowerings in TARGETS.values() for lowering in lowerings)
    return {lowering.name: lowering for lowering in known if kind in lowering.takes}[name]


def list_lowerings(target: str, kind: type[Spec] = ConvSpec) -> list[Lowering]:
    """The lowerings of a target for specs of that kind, in the order of preference."""
    return [lowering for lowering in TARGETS[target] if kind in lowering.takes]
