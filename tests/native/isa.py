"""The instruction sets that the library has kernels for, and whether this CPU has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ISA_FLAGS: dict[str, set[str]] = {
    "baseline": set(),
    "avx2": {"avx2", "fma"},
    "avx512": {"avx512f", "avx512dq", "avx512vl", "fma"},
}


def runs_here(isa: str) -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("no /proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    return isa == "baseline" or (flags is not None and ISA_FLAGS[isa] <= set(flags[1].split()))
