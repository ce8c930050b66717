"""The native library: where it is, and how ONNX Runtime gets to know it.

The library is built when the package is installed, and only where a C++ compiler is found. A model that was rewritten
for it runs without it as well: its own functions compute then what the library would.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from onnx_fft.errors import NativeUnavailable

LIBRARY_NAME = {"darwin": "libonnx_fft.dylib", "win32": "onnx_fft.dll"}.get(sys.platform, "libonnx_fft.so")
LIBRARY_VARIABLE = "ONNX_FFT_LIBRARY"
"""The environment variable that names another build of the library to use."""

NEXT_STEP = "install GCC or Clang, then install onnx-fft again from its sources (pip install --editable .)"


def library_path() -> Path:
    """The library's file, to be passed to `register_custom_ops_library` in any language.

    Raises NativeUnavailable where there is none.
    """
    chosen = os.environ.get(LIBRARY_VARIABLE)
    if chosen:
        if Path(chosen).is_file():
            return Path(chosen)
        raise NativeUnavailable(
            f"got {LIBRARY_VARIABLE}={chosen}, which is no file; expected the path of {LIBRARY_NAME}; leave it unset"
        )
    # An editable install has the sources in one folder and what was built in another.
    for folder in __path__:
        path = Path(folder) / LIBRARY_NAME
        if path.is_file():
            return path
    folders = " and ".join(str(folder) for folder in __path__)
    raise NativeUnavailable(
        f"got no {LIBRARY_NAME} in {folders}; expected the one that is built on installation "
        f"where there is a C++ compiler; {NEXT_STEP}"
    )


def is_available() -> bool:
    """Whether ONNX Runtime loads the library here."""
    return not find_problem()


def find_problem() -> str:
    """Why ONNX Runtime does not load the library here; "" where it does."""
    try:
        _check_loads(library_path())
    except NativeUnavailable as error:
        return str(error)
    return ""


def register(options: Any) -> Any:
    """Make the library known to sessions with these onnxruntime.SessionOptions; returns them.

    Raises NativeUnavailable where the library is missing or ONNX Runtime refuses it.
    """
    path = library_path()
    try:
        options.register_custom_ops_library(str(path))
    except Exception as error:  # ORT's exceptions have no common base
        raise NativeUnavailable(
            f"got {path}, which ONNX Runtime {_ort().__version__} refuses ({_first_line(error)}); "
            "expected a library that it loads; see what it says, or install onnx-fft again"
        ) from error
    return options


def InferenceSession(path_or_bytes: str | os.PathLike[str] | bytes, sess_options: Any = None, **kwargs: Any) -> Any:
    """`onnxruntime.InferenceSession` with the library registered; takes what it takes.

    The given `sess_options` are registered with. Runs on the CPU provider unless `providers` says otherwise. Raises
    NativeUnavailable as `register`.
    """
    options = register(_ort().SessionOptions() if sess_options is None else sess_options)
    kwargs.setdefault("providers", ["CPUExecutionProvider"])
    model = path_or_bytes if isinstance(path_or_bytes, bytes) else os.fspath(path_or_bytes)
    return _ort().InferenceSession(model, options, **kwargs)


@cache
def _check_loads(path: Path) -> None:
    register(_ort().SessionOptions())


def _ort() -> Any:
    return importlib.import_module("onnxruntime")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
