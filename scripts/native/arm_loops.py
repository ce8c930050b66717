"""Counts the instructions of the product kernels on Arm, since a time in emulation says nothing.

    python -m scripts.native.arm_loops [COMPILER...]

Compiles the products to assembly (default: clang++) and finds, in each function that multiplies spectra, the innermost
loop with the most fused multiply-adds. The ideal is one instruction a multiply-add, and those that load each vector of
both factors once, two neighbours at a time. The exit code is 1 if a kernel's best loop in float32 takes a tenth more.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.shared.paths import ROOT

SOURCES = ROOT / "onnx_fft" / "native"
OPTIONS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-DONNX_FFT_ISA=neon", f"-I{SOURCES}")
CODE = """
#include "kernels/dense_product.h"
#include "kernels/product.h"
namespace onnx_fft::neon {
template void multiply<float>(const Product<float>&);
template void multiply<double>(const Product<double>&);
template void dense_multiply<float>(const DenseProduct<float>&);
template void dense_multiply<double>(const DenseProduct<double>&);
}
"""
MOST = 1.1
MULTIPLY_ADDS = ("fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub")

IDEALS = {
    "multiply_rowsIf": (160 + 4 + 10) / 160,
    "multiply_stripIfLNS_9DenseFormE0": (160 + 4 + 20) / 160,
    "multiply_gauss_stripIf": (80 + 4 + 10) / 80,
}
"""By a part of a mangled name (f: float): instructions a multiply-add, of four terms and ten rows. Real and imaginary
parts of a row are neighbours in `multiply_rows` only."""


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
    """Print the best loop of each function, and judge the best of each kernel."""
    best: dict[str, Loop] = {}
    for loop in find_loops(compile_products(compiler or ["clang++", "--target=aarch64-linux-gnu"])):
        if "multiply_" in loop.function and loop.multiply_adds >= _count(best.get(loop.function)):
            best[loop.function] = loop
    for loop in sorted(best.values(), key=lambda loop: loop.per_multiply_add):
        print(f"{loop.per_multiply_add:.3f}  {loop.instructions:4} / {loop.multiply_adds:4}  {loop.function}")
    failed = False
    for kernel, ideal in IDEALS.items():
        least = min((loop.per_multiply_add for loop in best.values() if kernel in loop.function), default=float("inf"))
        print(f"got {least:.3f} instructions a multiply-add in {kernel}; expected {MOST * ideal:.3f} at most")
        failed = failed or least > MOST * ideal
    return int(failed)


def compile_products(compiler: list[str]) -> str:
    """The products as assembly."""
    command = [*compiler, *OPTIONS, "-x", "c++", "-S", "-o", "-", "-"]
    done = subprocess.run(command, check=True, input=CODE.encode(), stdout=subprocess.PIPE)
    return done.stdout.decode(errors="replace")


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
