"""How much memory the native library may take, on the model with the largest spectra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from onnx_fft import rewrite
from scripts.models import fetch as fetch_models
from scripts.shared.paths import ROOT

MOST = 5.0
"""Times the size of the file."""

BATCH, FRAME = 32, 1024


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.usefixtures("native_library")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_crepe_needs_five_times_its_size_at_most(tmp_path: Path) -> None:
    """CREPE full, rewritten by default, 32 frames at once, two threads, in a process of its own.

    What counts is how much the process grows while it opens the file and runs it three times: the file as it is read,
    the weights, their spectra, and all tensors of a run. Python, ONNX Runtime and the input, 80 MB that the process
    holds before, do not count. Measured with ONNX Runtime 1.32 (2026-11): 4.7 times the file; the original 3.7 times.
    """
    source, path = fetch_models.fetch("crepe_full"), tmp_path / "crepe.onnx"
    rewritten = rewrite(source, target="native")
    assert len(rewritten.report.replaced) >= 3
    onnx.save(rewritten.model, path)
    command = [sys.executable, "-m", "tests.native.memory_worker", str(path), str(BATCH), str(FRAME)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    before, most = map(int, done.stdout.split())
    size = path.stat().st_size
    assert most - before > size, "the process holds the weights at least"
    assert most - before <= MOST * size, f"{(most - before) / size:.2f} times the file; {most / size:.2f} with Python"
