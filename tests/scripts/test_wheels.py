"""What the checks of wheels find in libraries that break a promise, and in loops of Arm's assembly."""

from __future__ import annotations

import platform
import re
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.native.arm_loops import find_loops
from scripts.release import check_wheels
from scripts.release.check_wheels import find_problems, read_library
from tests.compiling import find_compiler

LINUX = "onnx_fft/native/libonnx_fft.so"
EXPORTED = "".join(
    f'extern "C" __attribute__((visibility("default"))) void {name}() {{}}\n' for name in sorted(check_wheels.EXPORTED)
)

x86_only = pytest.mark.skipif(platform.machine() != "x86_64", reason="the library is compiled for this machine")


def compile_library(folder: Path, source: str, *options: str) -> bytes:
    """A shared library of one file, without the C++ library."""
    (folder / "library.cpp").write_text(source)
    library = folder / "library.so"
    command = [find_compiler(), "-shared", "-fPIC", "-fvisibility=hidden", str(folder / "library.cpp")]
    subprocess.run([*command, *options, "-o", str(library)], check=True)
    return library.read_bytes()


@x86_only
@pytest.mark.parametrize(
    ("platform_tag", "source", "options", "problem"),
    [
        ("manylinux_2_17_x86_64", EXPORTED, ["-nostdlib"], ""),
        ("manylinux_2_17_aarch64", EXPORTED, ["-nostdlib"], "got the machine X86_64; expected AARCH64"),
        (
            "manylinux_2_17_x86_64",
            EXPORTED + 'extern "C" __attribute__((visibility("default"))) void another() {}\n',
            ["-nostdlib"],
            "exported symbols",
        ),
        (
            "manylinux_2_17_x86_64",
            "#include <sys/random.h>\n"
            + EXPORTED
            + "__attribute__((used)) long f(void* p) { return getrandom(p, 1, 0); }",
            ["-nostdlib", "-lc"],
            r"got the symbols newer than glibc 2\.17 \['GLIBC_2\.25'\]; expected \[\]",
        ),
        (
            "manylinux_2_17_x86_64",
            "#include <string>\n" + EXPORTED + "__attribute__((used)) void f() { throw std::string(); }",
            [],
            r"got the libraries \[.*'libstdc\+\+\.so\.6'.*\]; expected only",
        ),
    ],
    ids=["right", "machine", "export", "glibc", "libstdc++"],
)
def test_tables_of_elf(tmp_path: Path, platform_tag: str, source: str, options: list[str], problem: str) -> None:
    problems = list(find_problems(platform_tag, LINUX, compile_library(tmp_path, source, *options)))
    if problem:
        assert re.search(problem, "\n".join(problems)), problems
    else:
        assert problems == []


def test_what_is_no_library() -> None:
    assert list(find_problems("win_amd64", "a.dll", b"text")) == ["got a.dll; expected an ELF, Mach-O or PE file"]


def test_a_dll_that_needs_more_than_windows() -> None:
    entries = [SimpleNamespace(name="RegisterCustomOps"), SimpleNamespace(name="leaked")]
    imports = [SimpleNamespace(name=name) for name in ("KERNEL32.dll", "libc++.dll")]
    binary = SimpleNamespace(get_export=lambda: SimpleNamespace(entries=entries), imports=imports)
    exports, libraries = check_wheels._check_pe(binary)
    assert "leaked" in exports
    assert "got the libraries ['libc++.dll']" in libraries


def test_a_dylib_for_a_newer_macos() -> None:
    binary = SimpleNamespace(
        exported_symbols=[SimpleNamespace(name=name) for name in ("_RegisterCustomOps", "__Znwm", "___dso_handle")],
        libraries=[SimpleNamespace(name="/usr/lib/libc++.1.dylib", command=0)],
        has_build_version=True,
        build_version=SimpleNamespace(minos=[13, 0, 0]),
        has_code_signature=False,
    )
    exports, libraries, oldest, signature = check_wheels._check_macho(binary, "macosx_11_0_arm64")
    assert "__Znwm" in exports
    assert "___dso_handle" not in exports
    assert "libc++" in libraries
    assert oldest == "got the oldest macOS (13, 0); expected (11, 0)"
    assert "code signature" in signature


@pytest.mark.parametrize("names", [[], ["a/x.so", "a/y.dll"]])
def test_a_wheel_holds_one_library(tmp_path: Path, names: list[str]) -> None:
    wheel = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ["a/__init__.py", *names]:
            archive.writestr(name, "")
    with pytest.raises(SystemExit, match="expected one library"):
        read_library(wheel)


def test_loops_of_assembly() -> None:
    assembly = """
_Z8multiplyIfE:
\tldp\tq0, q1, [x0]
.LBB0_1:
\tldp\tq2, q3, [x1], #32
.LBB0_2:
\tfmla\tv0.4s, v2.4s, v3.s[0]
\tfmls\tv1.4s, v2.4s, v3.s[1]
\tsubs\tx2, x2, #1
\tb.ne\t.LBB0_2
\tcbnz\tx3, .LBB0_1 // not innermost
\tret
"""
    (loop,) = find_loops(assembly)
    assert (loop.function, loop.instructions, loop.multiply_adds) == ("_Z8multiplyIfE", 4, 2)
