"""Runs the tests of the native library once more on each instruction set that this CPU has.

The set is chosen when the library is loaded, so each needs a process of its own. pytest's summary names the sets that
this CPU lacks as skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from onnx_fft.native.planning import read_isa
from tests.native.isa import ISA_FLAGS, runs_here

pytestmark = pytest.mark.usefixtures("native_library")

MODULES = (
    "basis",
    "binding",
    "edges",
    "epilogues",
    "residuals",
    "fftconv_lowering",
    "fused",
    "native_rewrite",
    "native_running",
    "fourier_ops",
    "cases",
)
SAME_ON_ALL = "leak bench measured default_target command_line decides million wrong cost handed crepe_full vgg nmp OCR"
"""Parts of the names of tests that take long or do not depend on the kernels."""

MARKS = "not (slow and real_model)"
"""The test driver holds convolutions of any shape against their definition on every set; of real models a few do."""

LEAST = 400
"""How many tests must have run."""


def test_the_instruction_set_in_use() -> None:
    """It is the one asked for, else the fastest; the runs below end with this test."""
    assert read_isa() == os.environ.get("ONNX_FFT_ISA", [isa for isa in ISA_FLAGS if runs_here(isa)][-1])


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISA_FLAGS)
def test_on(isa: str, tmp_path: Path) -> None:
    if not runs_here(isa):
        pytest.skip(f"this CPU has no {isa}; test_each_instruction_set holds that it is refused")
    if isa == read_isa():
        pytest.skip(f"{isa} is what all other tests run on")
    here, result = Path(__file__), tmp_path / "result.xml"
    files = [str(here.with_name(f"test_{module}.py")) for module in MODULES]
    files.append(f"{here}::{test_the_instruction_set_in_use.__name__}")
    left_out = f"not ({' or '.join(SAME_ON_ALL.split())})"
    options = ["-q", "-p", "no:cacheprovider", "-m", MARKS, "-k", left_out, f"--junitxml={result}"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["ONNX_FFT_ISA"] = isa
    done = subprocess.run(command, cwd=here.parents[1], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    ran = {case.get("name") for case in ElementTree.parse(result).iter("testcase") if case.find("skipped") is None}
    assert test_the_instruction_set_in_use.__name__ in ran
    assert len(ran) >= LEAST
