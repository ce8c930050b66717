"""The command line: verbs, flags, printing."""

from onnx_fft.cli.verbs import main

__all__ = ["main"]
