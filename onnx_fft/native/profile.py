"""How fast this machine is at each unit of work: measured once, in well under a second, and kept in the user's cache.

A profile is a text of lines `unit seconds`, with lines that begin with `#` to say of what it is. One that was made for
another processor, another build of the library or another instruction set, or that is damaged, is measured anew.
`ONNX_FFT_PROFILE` names one to use in its place, or "amd" or "intel" for the rates that are shipped; the library, which
knows nothing of this cache, reads the variable as well.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from functools import cache
from hashlib import sha256
from math import isfinite
from pathlib import Path

from onnx_fft.host import cpu_model, user_folder
from onnx_fft.native import library_path
from onnx_fft.native.planning import Rates, read_isa, read_rates, unit_names

PROFILE_VARIABLE = "ONNX_FFT_PROFILE"
DIGITS = 16
"""Of the digest by which profiles know the library."""


def find_rates() -> Rates:
    """The rates to predict by. Raises NativeUnavailable without the library, or if a given profile cannot be used."""
    if os.environ.get(PROFILE_VARIABLE):
        return read_rates(measure=False)
    return _find_measured(library_path(), user_folder())


def profile_path() -> Path:
    """Where this machine's profile is, or would be."""
    key = "\n".join(_describe_machine(library_path()))
    return user_folder() / "machines" / f"{sha256(key.encode()).hexdigest()[:DIGITS]}.txt"


def describe_profile() -> str:
    """Where the rates of this machine come from, in words."""
    if given := os.environ.get(PROFILE_VARIABLE):
        return f"{given}, by {PROFILE_VARIABLE}"
    path = profile_path()
    return str(path) if path.exists() else "not measured yet: the first rewrite for the native library does it"


def list_profiles() -> list[Path]:
    """Every profile in the user's cache, of this machine and of others that share the folder."""
    return sorted((user_folder() / "machines").glob("[0-9a-f]" * DIGITS + ".txt"))


@cache
def _find_measured(library: Path, folder: Path) -> Rates:
    path, header = profile_path(), _describe_machine(library)
    found = _read(path, header)
    if found is None:
        found = read_rates(measure=True)
        _write(path, header, found)
    return found


def _describe_machine(library: Path) -> list[str]:
    digest = sha256(library.read_bytes()).hexdigest()[:DIGITS]
    return [f"# processor: {cpu_model()}", f"# library: {digest}", f"# instruction set: {read_isa()}"]


def _read(path: Path, header: list[str]) -> Rates | None:
    """The rates in the file; None if it is missing, of something else, or not what `_write` writes."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs = [line.split() for line in lines[len(header) :]]
        rates = tuple(float(value) for _, value in pairs)
    except (OSError, ValueError):
        return None
    is_right = lines[: len(header)] == header and tuple(name for name, _ in pairs) == unit_names()
    return rates if is_right and all(isfinite(rate) and rate > 0 for rate in rates) else None


def _write(path: Path, header: list[str], rates: Rates) -> None:
    """As a whole or not at all; a cache that cannot be written is no error."""
    lines = [*header, *(f"{name} {rate:.6e}" for name, rate in zip(unit_names(), rates, strict=True))]
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
            os.replace(name, path)
        except OSError:
            Path(name).unlink(missing_ok=True)
