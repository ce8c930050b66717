"""The native library: where it is, and whether ONNX Runtime loads it.

Wheels bring the library; if the package is installed from its sources, it is built if there is a C++ compiler. A model
that was rewritten for it runs without it as well: its own functions compute then what the library would.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from onnx_fft.errors import NativeUnavailable, one_line
from onnx_fft.ort import import_ort, ort_version

LIBRARY_NAME = {"darwin": "libonnx_fft.dylib", "win32": "onnx_fft.dll"}.get(sys.platform, "libonnx_fft.so")
LIBRARY_VARIABLE = "ONNX_FFT_LIBRARY"
"""The environment variable that names another build of the library to use."""

ORIGIN_NAME = "origin.txt"
"""Beside the library: whether it is ready-made or was compiled where it is used, and by what."""

NEXT_STEP = (
    "install a wheel of onnx-fft that has it, or GCC or Clang and then onnx-fft again from its sources "
    "(pip install --editable .)"
)


def library_path() -> Path:
    """The library's file, to be passed to `register_custom_ops_library` in any language.

    Raises NativeUnavailable if there is none.
    """
    chosen = os.environ.get(LIBRARY_VARIABLE)
    if chosen:
        if Path(chosen).is_file():
            return Path(chosen)
        problem = f"got {LIBRARY_VARIABLE}={chosen}, which is not a file"
        raise NativeUnavailable(problem, f"the path of {LIBRARY_NAME}", "correct it, or leave it unset")
    # An editable install has the sources in one folder and what was built in another.
    for folder in __path__:
        path = Path(folder) / LIBRARY_NAME
        if path.is_file():
            return path
    folders = " and ".join(str(folder) for folder in __path__)
    raise NativeUnavailable(
        f"{LIBRARY_NAME} is not in {folders}", "the one that wheels bring, or that a C++ compiler builds", NEXT_STEP
    )


def read_origin() -> str:
    """Whether the library is ready-made or was compiled here, and by what; "" if nothing beside it says so.

    Raises NativeUnavailable if there is no library.
    """
    path = library_path().with_name(ORIGIN_NAME)
    return path.read_text().strip() if path.is_file() else ""


def is_available() -> bool:
    """Whether ONNX Runtime loads the library here."""
    return not find_problem()


def find_problem() -> str:
    """Why ONNX Runtime does not load the library here; "" if it does."""
    try:
        _check_loads(library_path())
    except NativeUnavailable as error:
        return str(error)
    return ""


def register(options: Any) -> Any:
    """Make the library known to sessions with these onnxruntime.SessionOptions; returns them.

    Raises NativeUnavailable if the library is missing or ONNX Runtime refuses it.
    """
    path = library_path()
    try:
        options.register_custom_ops_library(str(path))
    except Exception as error:  # ORT's exceptions have no common base
        raise NativeUnavailable(
            f"got {path}, which ONNX Runtime {ort_version()} refuses ({one_line(error)})",
            "a library that it loads",
            "see what it says, or install onnx-fft again",
        ) from error
    return options


@cache
def _check_loads(path: Path) -> None:
    register(import_ort().SessionOptions())
