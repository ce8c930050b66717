"""ONNX Runtime, imported on first use: an extra of the package, since its CPU and GPU builds exclude each other."""

from __future__ import annotations

import copyreg
import importlib
from functools import partial
from typing import Any, NoReturn

from onnx_fft.errors import PickleError, RuntimeUnavailable

UNPICKLED = {
    "InferenceSession": (
        "the path of its model, which every process opens for itself",
        "pass the path on, and call onnx_fft.InferenceSession(path) once in each process",
    ),
    "SessionOptions": (
        "options that are made in the process that opens the session",
        "make them there, and call onnx_fft.register there if the native library is needed",
    ),
}
"""Classes of ONNX Runtime that live in one process: what to send in their place, and how."""


def import_ort() -> Any:
    """The module `onnxruntime`; raises RuntimeUnavailable if it is not installed."""
    try:
        ort = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise RuntimeUnavailable(
            f"onnxruntime cannot be imported ({error})",
            hint="run pip install 'onnx-fft[cpu]', or 'onnx-fft[gpu]' for NVIDIA GPUs",
        ) from error
    _explain_pickling(ort)
    return ort


def _explain_pickling(ort: Any) -> None:
    """Have pickle's error say what to do. ONNX Runtime's own says only that it cannot; what others registered stays."""
    for kind, (instead, hint) in UNPICKLED.items():
        copyreg.dispatch_table.setdefault(getattr(ort, kind), partial(_refuse_pickling, kind, instead, hint))


def _refuse_pickling(kind: str, instead: str, hint: str, _: object) -> NoReturn:
    raise PickleError(f"got an onnxruntime.{kind} to pickle or to copy", instead, hint)


def ort_version() -> str:
    """The version of ONNX Runtime."""
    return str(import_ort().__version__)
