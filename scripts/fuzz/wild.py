"""Convolutions that nobody writes, in the native library's test driver, which no Python is part of.

    bash scripts/fuzz/native.sh 1800

That script builds the driver with the address and undefined sanitizers, names it in `ONNX_FFT_TEST_DRIVER`, and runs
this module. An input is a set of convolutions; each is refused, or held against the sum by its definition.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from scripts.fuzz.driver import run
from scripts.fuzz.tried import Tell, Tried

PROGRAM_VARIABLE = "ONNX_FFT_TEST_DRIVER"
CASES = 100
SEEDS = 1 << 32
COUNTS = re.compile(r"(\d+) (passed|failed|refused|too large to try)")


def try_set(seed: int, _folder: Path, tell: Tell) -> Tried:
    """Run the driver on the convolutions of this seed; what the sanitizers find ends it."""
    tell("run")
    tried = Tried(seed)
    command = [os.environ[PROGRAM_VARIABLE], str(CASES), str(seed % SEEDS), "wild"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    tried.verbs["convolution"] = {outcome: int(count) for count, outcome in COUNTS.findall(done.stdout)}
    if done.returncode:
        tried.find("crash" if done.returncode != 1 else "differs", f"exit code {done.returncode}", done.stdout)
    return tried


if __name__ == "__main__":
    sys.exit(run(__doc__, "wild"))
