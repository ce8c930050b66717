"""Rewrites the convolutions of an ONNX model that gain from it into the frequency domain.

Importing the package imports neither ONNX Runtime nor anything that would start it.
"""

from onnx_fft._version import __version__
from onnx_fft.bench import Benchmark, bench
from onnx_fft.checks.result import Validation
from onnx_fft.errors import OnnxFftError, ValidationFailed
from onnx_fft.native import register
from onnx_fft.options import RewriteOptions
from onnx_fft.report import describe
from onnx_fft.results import Report
from onnx_fft.rewrite import Rewritten, inspect, rewrite
from onnx_fft.session import InferenceSession
from onnx_fft.validate import validate

__all__ = [
    "Benchmark",
    "InferenceSession",
    "OnnxFftError",
    "Report",
    "RewriteOptions",
    "Rewritten",
    "Validation",
    "ValidationFailed",
    "__version__",
    "bench",
    "describe",
    "inspect",
    "register",
    "rewrite",
    "validate",
]
