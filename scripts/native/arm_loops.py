"""Counts the instructions of the product kernel on Arm, since a time in emulation says nothing.

    python -m scripts.native.arm_loops [COMPILER...]

Compiles the kernels to assembly (default: clang++) and finds, in each function that multiplies spectra, the innermost
loop with the most fused multiply-adds. The ideal is one instruction a multiply-add; the exit code is 1 if the best loop
in float32 takes more than 1.1.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.shared.paths import ROOT

SOURCES = ROOT / "onnx_fft" / "native"
OPTIONS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-DONNX_FFT_ISA=neon")
MOST = 1.1
MULTIPLY_ADDS = ("fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub")

PRODUCT = re.compile(r"multiply_\w*?I([fd])")
"""A mangled name: f is float, d double."""


@dataclass(frozen=True, slots=True)
class Loop:
    """An innermost loop: the function it is in, and how many instructions it has."""

    function: str
    instructions: int
    multiply_adds: int

    @property
    def per_multiply_add(self) -> float:
        return self.instructions / self.multiply_adds


def main(compiler: list[str]) -> int:
    """Print the best loops and judge the best of them in float32."""
    best: dict[str, Loop] = {}
    for loop in find_loops(compile_kernels(compiler or ["clang++", "--target=aarch64-linux-gnu"])):
        if PRODUCT.search(loop.function) and loop.multiply_adds >= _count(best.get(loop.function)):
            best[loop.function] = loop
    for loop in sorted(best.values(), key=lambda loop: loop.per_multiply_add):
        print(f"{loop.per_multiply_add:.3f}  {loop.instructions:4} / {loop.multiply_adds:4}  {loop.function}")
    least = min((loop.per_multiply_add for loop in best.values() if "If" in loop.function), default=float("inf"))
    print(f"got {least:.3f} instructions a multiply-add in float32; expected {MOST} at most")
    return int(least > MOST)


def compile_kernels(compiler: list[str]) -> str:
    """The kernels as assembly."""
    command = [*compiler, *OPTIONS, f"-I{SOURCES}", "-S", "-o", "-", str(SOURCES / "kernels" / "kernels.cpp")]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode(errors="replace")


def find_loops(assembly: str) -> Iterator[Loop]:
    """Every innermost loop that multiplies: from a label to a branch back to it, with no label in between."""
    function, label, opcodes = "", "", list[str]()
    for line in assembly.splitlines():
        if found := re.match(r"([\w.$]+):", line):
            label, opcodes = found[1], []
            function = function if label.startswith(".L") else label
        elif found := re.match(r"\s+([a-z][\w.]*)\s*(.*)", line):
            opcodes.append(found[1])
            multiply_adds = sum(opcode in MULTIPLY_ADDS for opcode in opcodes)
            if multiply_adds and re.search(rf"(^|[\s,]){re.escape(label)}$", found[2].split("//")[0].strip()):
                yield Loop(function, len(opcodes), multiply_adds)


def _count(loop: Loop | None) -> int:
    return loop.multiply_adds if loop else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
