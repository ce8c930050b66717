"""Rewrites the convolutions of an ONNX model that gain from it into the frequency domain.

Importing the package imports neither ONNX Runtime nor anything that would start it.
"""

from importlib.metadata import version

__version__ = version("onnx-fft")

__all__ = ["__version__"]
