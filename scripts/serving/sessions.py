"""How the programs of this folder open a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

import onnx_fft

INVALID = (ValueError, onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument)
"""What ONNX Runtime raises on inputs that are missing, or of a wrong type or shape."""


def open_session(model: Path, *, threads: int) -> Any:
    """An original or a rewritten model with the native library, on so many threads a run; 0 for all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnx_fft.InferenceSession(model, options)
