"""What the library keeps from run to run: bounded, right under shapes that change and sessions side by side."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnx_fft import native
from scripts.shared.conv_models import Array
from scripts.shared.paths import ROOT
from tests.compiling import find_compiler
from tests.native_models import Conv, assert_close, conv_model, open_session

SOURCES = Path(native.__file__).resolve().parent
DRIVER = Path(__file__).parent / "driver" / "caches.cpp"

CONV = Conv(extents=(41, 40), kernel=(9, 9), channels=(3, 5), group=1, batch=1, pads=(4,) * 4).lifted()
EXTENTS = [(3, 12 + height, 12 + 3 * width) for height in range(0, 90, 9) for width in range(8)]
"""More shapes than a node remembers, cut into more sizes of tiles than it keeps spectra for."""


@pytest.mark.slow
def test_caches_and_scratch(tmp_path: Path) -> None:
    """Compiled by itself: who waits for whom can only be told from inside."""
    program = tmp_path / "caches"
    sources = [str(DRIVER), str(SOURCES / "engine" / "threads.cpp")]
    flags = ["-std=c++17", "-O1", "-pthread", f"-I{SOURCES}"]
    subprocess.run([find_compiler(), *flags, *sources, "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "")


def draw(extents: tuple[int, ...]) -> Array:
    """The same input for the same extents."""
    return replace(CONV, extents=extents).arrays()["x"]


@pytest.mark.usefixtures("native_library")
def test_shapes_that_change_on_several_threads_give_the_same_bits() -> None:
    """Four threads on one session, each in an order of its own, and on a second session beside it."""
    arrays = CONV.arrays()
    model = conv_model(CONV, arrays)
    alone = {extents: open_session(model).run(None, {"x": draw(extents)})[0] for extents in EXTENTS[::4]}
    sessions = [open_session(model, threads=2) for _ in range(2)]
    start = threading.Barrier(4)

    def run_all(seed: int) -> list[tuple[int, ...]]:
        start.wait()
        different = []
        for number in np.random.default_rng(seed).permutation(len(EXTENTS)):
            (y,) = sessions[seed % 2].run(None, {"x": draw(EXTENTS[number])})
            if EXTENTS[number] in alone and not np.array_equal(y, alone[EXTENTS[number]]):
                different.append(EXTENTS[number])
        return different

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run_all, range(4))) == [[]] * 4
    conv = replace(CONV, extents=EXTENTS[-1])
    y = sessions[0].run(None, {"x": draw(EXTENTS[-1])})[0]
    assert_close(y, conv.expect({**arrays, "x": draw(EXTENTS[-1])}), "float32")


@pytest.mark.slow
@pytest.mark.usefixtures("native_library")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat_under_shapes_that_change() -> None:
    """Three rounds over all shapes fill what is kept; three more take no more memory: 6 MiB at most, of some 138."""
    command = [sys.executable, "-m", "tests.native.churn_worker"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    after_three, after_six = map(int, done.stdout.split())
    assert after_six - after_three < 6 << 20
