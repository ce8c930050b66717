"""What computer this is: the name of its processor, and the user's own folder for what may be computed again."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path


def cpu_model() -> str:
    """The processor's name, as well as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine() or "unknown CPU"


def user_folder(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """`onnx-fft` in $XDG_CACHE_HOME, or else in the platform's own place for caches."""
    environ = os.environ if environ is None else environ
    given = environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the specification has relative ones ignored
        base = Path(given)
    elif platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ("Library/Caches" if platform == "darwin" else ".cache")
    return base / "onnx-fft"
