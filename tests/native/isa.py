"""The instruction sets that the native library is compiled for, and which of them this CPU has."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

ISA_FLAGS: dict[str, set[str]] = (
    {"neon": set()}
    if platform.machine() in ("aarch64", "arm64")
    else {
        "baseline": set(),
        "avx2": {"avx2", "fma"},
        "avx512": {"avx512f", "avx512dq", "avx512vl", "fma"},
    }
)
"""By name of a set, from slowest to fastest: what Linux calls the features that it needs."""


def runs_here(isa: str) -> bool:
    """Whether this CPU has the instruction set; skips the test if there is no way to know."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("no /proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    return not ISA_FLAGS[isa] or (flags is not None and ISA_FLAGS[isa] <= set(flags[1].split()))
