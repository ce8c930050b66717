"""Checks wheels without running them: one library in each, and in its tables nothing but what the tag promises.

    python -m scripts.release.check_wheels dist/*.whl

Prints the size of each wheel and of its library; the exit code is 1 if a wheel breaks a promise.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lief

from scripts.shared.paths import ROOT

EXPORTED = set(re.findall(r"(\w+);", (ROOT / "onnx_fft" / "native" / "ops" / "exports.map").read_text()))
"""What the library exports, as its sources list it."""

BINARY_SUFFIXES = (".so", ".dylib", ".dll", ".pyd", ".a", ".exe")

LINUX_LIBRARIES = r"lib(c|m|dl|pthread|rt)\.so\.\d|ld-linux-[\w-]+\.so\.\d"
"""All of them parts of glibc: the C++ library is linked in."""

MACOS_LIBRARIES = r"/usr/lib/libSystem\.B\.dylib"
MACOS_OWN = {"__mh_dylib_header", "___dso_handle"}
"""What Zig's linker puts into the table of every library: where it begins."""

WINDOWS_LIBRARIES = r"kernel32\.dll|api-ms-win-crt-[\w-]+\.dll|ucrtbase\.dll|ntdll\.dll"
"""Of Windows 10 and newer; those of Visual C++ and of MinGW would have to be installed."""

MACHINES = {
    "manylinux_x86_64": "X86_64",
    "manylinux_aarch64": "AARCH64",
    "macosx_arm64": "ARM64",
    "macosx_x86_64": "X86_64",
    "win_amd64": "AMD64",
}
"""By tag without versions: what the library's format calls the machine."""


def main(arguments: list[str]) -> int:
    """Check each wheel and say what is wrong."""
    failed = not arguments
    lief.logging.disable()  # it complains of the list of functions, which Zig's linker leaves empty in a Mach-O file
    for wheel in map(Path, arguments):
        name, content = read_library(wheel)
        problems = [*find_problems(platform_of(wheel), name, content)]
        failed = failed or bool(problems)
        print(f"{wheel.name}: {wheel.stat().st_size / 1024:,.0f} KiB, {name} {len(content) / 1024:,.0f} KiB")
        for problem in problems:
            print(f"  {problem}")
    return int(failed)


def platform_of(wheel: Path) -> str:
    """The last platform of a wheel's tag, which says the most: "manylinux_2_17_x86_64", "win_amd64"."""
    return wheel.stem.split("-")[-1].split(".")[-1]


def read_library(wheel: Path) -> tuple[str, bytes]:
    """Name and content of the one binary file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(BINARY_SUFFIXES)]
        if len(names) != 1:
            raise SystemExit(f"got the binary files {names} in {wheel}; expected one library")
        return names[0], archive.read(names[0])


def find_problems(platform: str, name: str, content: bytes) -> Iterator[str]:
    """What in the tables of a library does not keep the promises of a wheel's platform tag."""
    binary: Any = lief.parse(content)
    machine: object
    if isinstance(binary, lief.ELF.Binary):
        file, machine, problems = "libonnx_fft.so", binary.header.machine_type, _check_elf(binary, platform)
    elif isinstance(binary, lief.MachO.Binary):
        file, machine, problems = "libonnx_fft.dylib", binary.header.cpu_type, _check_macho(binary, platform)
    elif isinstance(binary, lief.PE.Binary):
        file, machine, problems = "onnx_fft.dll", binary.header.machine, _check_pe(binary)
    else:
        yield f"got {name}; expected an ELF, Mach-O or PE file"
        return
    yield from _expect("name", name, f"onnx_fft/native/{file}")
    without_versions = re.sub(r"_\d+_\d+(?=_)", "", platform)
    yield from _expect("machine", str(machine).split(".")[-1], MACHINES[without_versions])
    yield from problems


def _check_elf(binary: Any, platform: str) -> Iterator[str]:
    yield from _expect("exported symbols", {symbol.name for symbol in binary.exported_symbols}, EXPORTED)
    yield from _expect_all("libraries", list(binary.libraries), LINUX_LIBRARIES)
    versions = {
        version.name
        for requirement in binary.symbols_version_requirement
        for version in requirement.get_auxiliary_symbols()
    }
    promised = _version_in(platform)
    newer = [name for name in versions if not name.startswith("GLIBC_") or _version_in(name) > promised]
    yield from _expect(f"symbols newer than glibc {promised[0]}.{promised[1]}", sorted(newer), [])


def _check_macho(binary: Any, platform: str) -> Iterator[str]:
    exported = {symbol.name for symbol in binary.exported_symbols} - MACOS_OWN
    yield from _expect("exported symbols", exported, {f"_{name}" for name in EXPORTED})
    own = lief.MachO.LoadCommand.TYPE.ID_DYLIB
    yield from _expect_all("libraries", [at.name for at in binary.libraries if at.command != own], MACOS_LIBRARIES)
    oldest = binary.build_version.minos if binary.has_build_version else binary.version_min.version
    yield from _expect("oldest macOS", tuple(oldest[:2]), _version_in(platform))
    if "arm64" in platform:
        yield from _expect("code signature, which macOS on Arm asks for", binary.has_code_signature, True)


def _check_pe(binary: Any) -> Iterator[str]:
    export = binary.get_export()
    yield from _expect("exported symbols", {entry.name for entry in export.entries} if export else set(), EXPORTED)
    yield from _expect_all("libraries", [library.name.lower() for library in binary.imports], WINDOWS_LIBRARIES)


def _version_in(text: str) -> tuple[int, ...]:
    """(2, 17) of "manylinux_2_17_x86_64", (2, 3) of "GLIBC_2.3.4"."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _expect(what: str, got: object, expected: object) -> Iterator[str]:
    if got != expected:
        yield f"got the {what} {got}; expected {expected}"


def _expect_all(what: str, names: list[str], pattern: str) -> Iterator[str]:
    foreign = [name for name in names if not re.fullmatch(pattern, name)]
    if foreign:
        yield f"got the {what} {foreign}; expected only {pattern}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
