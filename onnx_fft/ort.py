"""ONNX Runtime, imported on first use: an extra of the package, since its CPU and GPU builds exclude each other."""

from __future__ import annotations

import importlib
from typing import Any

from onnx_fft.errors import RuntimeUnavailable


def import_ort() -> Any:
    """The module `onnxruntime`; raises RuntimeUnavailable if it is not installed."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise RuntimeUnavailable(
            f"onnxruntime cannot be imported ({error})",
            hint="run pip install 'onnx-fft[cpu]', or 'onnx-fft[gpu]' for NVIDIA GPUs",
        ) from error


def ort_version() -> str:
    """The version of ONNX Runtime."""
    return str(import_ort().__version__)
