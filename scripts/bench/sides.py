"""Libraries against ONNX Runtime on the same model, each against it measured in the same minutes.

Every library has a thread pool of its own, and two of them in one process take each other's cores. So each side runs in
a process of its own (`peer_worker.py`), all with the same number of threads, and they take turns in short blocks: ONNX
Runtime, peer, peer, ONNX Runtime, ... The process whose turn it is not is stopped (SIGSTOP), so that its waiting
threads cannot spin. A block gives one sample, the median of its runs; the ratio is ONNX Runtime over peer, of medians
over the blocks, bootstrapped over pairs of blocks like every ratio here.

ONNX Runtime's part of a peer's ratio is measured again for that peer: a machine that slows down over an hour shifts
both alike.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from onnx_fft.report.numbers import format_ms
from onnx_fft.timing.stats import Ratio, Spread, compare, summarize
from scripts.bench.model_sides import Array
from scripts.shared.paths import ROOT

WORKER = "scripts.bench.peer_worker"
ORIGINAL = "onnxruntime"
BLOCK_S = 0.2
MIN_BLOCKS, MAX_BLOCKS = 3, 40
ANSWER_S = 30.0
"""A side that takes longer for one block, or for its first run, is given up on."""
MAX_RELATIVE_L2 = 1e-3
"""Against ONNX Runtime's outputs; a peer beyond it computes something else, and its time means nothing."""
UNREADABLE = "cannot read it"
"""In place of a ratio if a peer, or its converter, gets to no first output."""


@dataclass(frozen=True, slots=True)
class PeerResult:
    """A peer on one model: how many times faster than ONNX Runtime it is, or a `note` that says why there is no number.

    `detail` is what the peer itself said.
    """

    note: str = ""
    ratio: Ratio | None = None
    run_s: Spread | None = None
    ort_s: Spread | None = None
    relative_l2: float | None = None
    detail: str = ""

    def format(self) -> str:
        """A cell: `0.94x, 8.9 ms`, or the note."""
        if self.ratio is None or self.run_s is None:
            return self.note
        digits = ".2f" if self.ratio.value >= 0.1 else ".1g"
        return f"{self.ratio.value:{digits}}x, {format_ms(self.run_s.median)} ms"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        parts = {"ratio": self.ratio, "run_s": self.run_s, "ort_s": self.ort_s}
        content = {name: None if part is None else part.to_dict() for name, part in parts.items()}
        return {"note": self.note, "detail": self.detail, "relative_l2": self.relative_l2, **content}


class SideError(Exception):
    """A side gave no answer; the message is what it said."""


class LateError(SideError):
    """A side gave no answer in time."""


class Side:
    """One library on one model, in a process that is stopped except while it answers."""

    def __init__(self, module: str, folder: Path, threads: int) -> None:
        """Start it; `wait_ready` says when it has run once."""
        command = [sys.executable, "-m", WORKER, module, str(folder), str(threads)]
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # so that a converter which it started ends with it
            env=os.environ | dict.fromkeys(names, str(threads)),
        )

    def __enter__(self) -> Side:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def wait_ready(self, limit_s: float = ANSWER_S) -> None:
        """Wait for the first run. Raises SideError."""
        self._read_answer(limit_s)

    def measure(self, block_s: float = BLOCK_S) -> float:
        """Median seconds of a run in a block. Raises SideError."""
        self._process.send_signal(signal.SIGCONT)
        try:
            print(block_s, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise SideError(f"ended with code {self._process.wait()}") from None
        return float(self._read_answer(ANSWER_S)["seconds"])

    def _read_answer(self, limit_s: float) -> dict[str, Any]:
        answers = self._process.stdout
        if answers is None or not select.select([answers], [], [], limit_s)[0]:
            raise LateError(f"over {limit_s:.0f} s")
        line = answers.readline()
        if not line:
            raise SideError(f"ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideError(f"failed: {answer['error']}")
        self._process.send_signal(signal.SIGSTOP)
        return answer


def store_feeds(folder: Path, feeds: Mapping[str, Array], outputs: Sequence[str]) -> None:
    """Write what the sides read beside the model: the inputs, and the names of both, in the model's order."""
    (folder / "model.json").write_text(json.dumps({"inputs": list(feeds), "outputs": list(outputs)}))
    np.savez(folder / "feeds.npz", *feeds.values())


def compare_sides(
    folder: Path, sides: Mapping[str, str], *, threads: int, budget_s: float, ready_s: float = ANSWER_S
) -> dict[str, PeerResult]:
    """What each side (by the peer's name) makes of the model in `folder`, for about `budget_s` each.

    `ready_s` is how long each may take for its first output, conversion included.
    """
    with Side(ORIGINAL, folder, threads) as original:
        try:
            original.wait_ready(ready_s)
        except SideError as error:
            return dict.fromkeys(sides, PeerResult(f"ONNX Runtime {error}"))
        return {name: _compare_side(original, side, folder, threads, budget_s, ready_s) for name, side in sides.items()}


def _compare_side(original: Side, name: str, folder: Path, threads: int, budget_s: float, ready_s: float) -> PeerResult:
    with Side(name, folder, threads) as side:
        try:
            side.wait_ready(ready_s)
        except LateError as error:
            return PeerResult(str(error))
        except SideError as error:
            return PeerResult(UNREADABLE, detail=str(error))
        relative_l2 = _measure_outputs(folder / f"{name}.npz", folder / f"{ORIGINAL}.npz")
        if not relative_l2 <= MAX_RELATIVE_L2:
            return PeerResult(f"wrong (relative L2 {relative_l2:.0e})", relative_l2=relative_l2)
        try:
            ort_s, peer_s = alternate(original.measure, side.measure, budget_s)
        except SideError as error:
            return PeerResult(str(error))
    return PeerResult("", compare(ort_s, peer_s), summarize(peer_s), summarize(ort_s), relative_l2)


def _measure_outputs(outputs: Path, truths: Path) -> float:
    """The worst relative L2 difference of an output; infinity for another number of outputs."""
    with np.load(outputs) as found, np.load(truths) as expected:
        if found.files != expected.files:
            return float("inf")
        return max(measure_error(found[name], expected[name]) for name in expected.files)


def alternate(
    original: Callable[[], float],
    peer: Callable[[], float],
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """Blocks of both in turn, every other time in reverse, for about `budget_s` and at least MIN_BLOCKS each."""
    samples: tuple[list[float], list[float]] = ([], [])
    turns = [(original, samples[0]), (peer, samples[1])]
    started = clock()
    while len(samples[0]) < MIN_BLOCKS or (len(samples[0]) < MAX_BLOCKS and clock() - started < budget_s):
        for measure, found in turns:
            found.append(measure())
        turns.reverse()
    return samples


def measure_error(output: Array, truth: Array) -> float:
    """The relative L2 difference; infinity for another shape or a value that is not a number.

    Axes of length 1 may be missing: not every library has a batch, or scalars.
    """
    if output.squeeze().shape != truth.squeeze().shape or output.size == 0:
        return float("inf")
    expected = truth.astype(np.float64)
    difference = float(np.linalg.norm(output.reshape(truth.shape) - expected)) / max(
        float(np.linalg.norm(expected)), 1e-300
    )
    return difference if isfinite(difference) else float("inf")


def list_leads(rows: Sequence[tuple[str, float, Mapping[str, PeerResult]]]) -> list[str]:
    """One line for each peer: the rows (name, what `auto` gains, peers) on which it is ahead of `auto`."""
    lines = []
    for peer in dict.fromkeys(name for _, _, peers in rows for name in peers):
        ratios = [(name, ours, peers[peer].ratio) for name, ours, peers in rows if peer in peers]
        timed = [(name, ours, ratio.value) for name, ours, ratio in ratios if ratio is not None]
        ahead = [f"{name} ({theirs:.2f}x, auto {ours:.2f}x)" for name, ours, theirs in timed if theirs > ours]
        if timed:
            lines.append(f"{peer} ahead of auto on {len(ahead)} of {len(timed)}: {', '.join(ahead) or 'none'}")
    return lines
