"""Other libraries on the same layer, each against ONNX Runtime's Conv measured in the same minutes.

Every library has a thread pool of its own, and two of them in one process take each other's cores. So each side runs in
a process of its own (`peer_worker.py`), all with the same number of threads, and they take turns in short blocks: Conv,
peer, peer, Conv, ... The process whose turn it is not is stopped (SIGSTOP), so that its waiting threads cannot spin. A
block gives one sample, the median of its runs; the ratio is Conv over peer, of medians over the blocks, bootstrapped
over pairs of blocks like every ratio here.

The Conv of a peer's ratio is measured again for that peer: a machine that slows down over an hour shifts both alike.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from onnx import ModelProto

from onnx_fft.report.numbers import format_ms
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.timing.stats import Ratio, Spread, compare, summarize
from scripts.shared.conv_models import Array

WORKER = Path(__file__).with_name("peer_worker.py")
CONV = "onnxruntime"
BLOCK_S = 0.2
MIN_BLOCKS, MAX_BLOCKS = 3, 40
ANSWER_S = 30.0
"""A side that takes longer for one block, or for its first run, is given up on."""
MAX_RELATIVE_L2 = 1e-3
"""Against ONNX Runtime's Conv; a peer beyond it computes something else, and its time means nothing."""
INSTALL = "pip install -r scripts/bench/requirements-peers.txt"


@dataclass(frozen=True, slots=True)
class Peer:
    """A library: its name in print, what the worker calls it, and the package that installs it."""

    name: str
    side: str
    package: str
    refuse: Callable[[ConvSpec], str] = lambda spec: ""
    """Why the peer cannot compute a layer; "" if it can."""
    module: str = ""
    """The module that computes, if the worker calls it by another name."""

    @property
    def version(self) -> str | None:
        """The installed version; None if it is not installed."""
        try:
            return version(self.package) if find_spec(self.module or self.side) else None
        except PackageNotFoundError:
            return None


def refuse_steps(spec: ConvSpec) -> str:
    """For a peer without stride and dilation."""
    for name, values in (("stride", spec.strides), ("dilation", spec.dilations)):
        if any(value != 1 for value in values):
            return f"no {name}"
    return ""


def refuse_ncnn(spec: ConvSpec) -> str:
    """One image at a time, 3-D depthwise or dense."""
    if spec.batch != 1:
        return "one image at a time"
    return "no groups" if spec.group > 1 and not spec.is_depthwise else ""


def refuse_nnpack(spec: ConvSpec) -> str:
    """2-D layers with even padding, stride 1, no dilation and no groups are what it transforms."""
    if spec.rank != 2 or spec.group > 1 or spec.pads_begin != spec.pads_end:
        return "2-D, no groups, even padding only"
    return refuse_steps(spec)


PEERS: tuple[Peer, ...] = (
    Peer("PyTorch", "torch", "torch"),
    Peer("NNPACK", "nnpack", "torch", refuse_nnpack, "torch"),
    Peer("OpenVINO", "openvino", "openvino"),
    Peer("ncnn", "ncnn", "ncnn", refuse_ncnn),
    Peer("MNN", "MNN", "mnn"),
    Peer("fft-conv-pytorch", "fft_conv_pytorch", "fft-conv-pytorch"),
    Peer("SciPy oaconvolve", "scipy", "scipy", refuse_steps),
)


@dataclass(frozen=True, slots=True)
class PeerResult:
    """A peer on one layer: how many times faster than Conv it is, or a `note` that says why there is no number."""

    note: str = ""
    ratio: Ratio | None = None
    run_s: Spread | None = None
    conv_s: Spread | None = None
    relative_l2: float | None = None

    def format(self) -> str:
        """A cell: `0.94x, 8.9 ms`, or the note."""
        if self.ratio is None or self.run_s is None:
            return self.note
        digits = ".2f" if self.ratio.value >= 0.1 else ".1g"
        return f"{self.ratio.value:{digits}}x, {format_ms(self.run_s.median)} ms"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        parts = {"ratio": self.ratio, "run_s": self.run_s, "conv_s": self.conv_s}
        content = {name: None if part is None else part.to_dict() for name, part in parts.items()}
        return {"note": self.note, "relative_l2": self.relative_l2, **content}


class SideError(Exception):
    """A side gave no answer; the message is what it said."""


class Side:
    """One library on one layer, in a process that is stopped except while it answers."""

    def __init__(self, module: str, folder: Path, threads: int) -> None:
        """Start it; `wait_ready` says when it has run once."""
        command = [sys.executable, "-P", str(WORKER), module, str(folder), str(threads)]
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | dict.fromkeys(names, str(threads)),
        )

    def __enter__(self) -> Side:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_ready(self) -> None:
        """Wait for the first run. Raises SideError."""
        self._read_answer()

    def measure(self, block_s: float = BLOCK_S) -> float:
        """Median seconds of a run in a block. Raises SideError."""
        self._process.send_signal(signal.SIGCONT)
        try:
            print(block_s, file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise SideError(f"ended with code {self._process.wait()}") from None
        return float(self._read_answer()["seconds"])

    def _read_answer(self) -> dict[str, Any]:
        answers = self._process.stdout
        if answers is None or not select.select([answers], [], [], ANSWER_S)[0]:
            raise SideError(f"over {ANSWER_S:.0f} s")
        line = answers.readline()
        if not line:
            raise SideError(f"ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideError(f"failed: {answer['error']}")
        self._process.send_signal(signal.SIGSTOP)
        return answer


def measure_peers(
    spec: ConvSpec, model: ModelProto, x: Array, weight: Array, bias: Array | None, *, threads: int, budget_s: float
) -> dict[str, PeerResult]:
    """Every peer on one layer, by name, for about `budget_s` each."""
    found: dict[str, PeerResult] = {}
    with tempfile.TemporaryDirectory(prefix="onnx-fft-") as scratch:
        folder = Path(scratch)
        store_layer(folder, spec, model, x, weight, bias)
        with Side(CONV, folder, threads) as conv:
            conv.wait_ready()
            for peer in PEERS:
                refusal = "not installed" if peer.version is None else peer.refuse(spec)
                found[peer.name] = (
                    PeerResult(refusal) if refusal else _measure_peer(peer, conv, folder, threads, budget_s)
                )
    return found


def store_layer(folder: Path, spec: ConvSpec, model: ModelProto, x: Array, weight: Array, bias: Array | None) -> None:
    """Write what the worker reads."""
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    names = ("group", "strides", "dilations", "pads_begin", "pads_end")
    layer = {name: getattr(spec, name) for name in names}
    layer["output_shape"] = (len(x), spec.out_channels, *spec.at(x.shape[2:]).output_extents)
    (folder / "layer.json").write_text(json.dumps(layer))
    arrays = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]


def _measure_peer(peer: Peer, conv: Side, folder: Path, threads: int, budget_s: float) -> PeerResult:
    with Side(peer.side, folder, threads) as side:
        try:
            side.wait_ready()
            relative_l2 = measure_error(np.load(folder / f"{peer.side}.npy"), np.load(folder / f"{CONV}.npy"))
            if not relative_l2 <= MAX_RELATIVE_L2:
                return PeerResult(f"wrong (relative L2 {relative_l2:.0e})", relative_l2=relative_l2)
            conv_s, peer_s = alternate(conv.measure, side.measure, budget_s)
        except SideError as error:
            return PeerResult(str(error))
    return PeerResult("", compare(conv_s, peer_s), summarize(peer_s), summarize(conv_s), relative_l2)


def alternate(
    conv: Callable[[], float],
    peer: Callable[[], float],
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """Blocks of both in turn, every other time in reverse, for about `budget_s` and at least MIN_BLOCKS each."""
    samples: tuple[list[float], list[float]] = ([], [])
    turns = [(conv, samples[0]), (peer, samples[1])]
    started = clock()
    while len(samples[0]) < MIN_BLOCKS or (len(samples[0]) < MAX_BLOCKS and clock() - started < budget_s):
        for measure, found in turns:
            found.append(measure())
        turns.reverse()
    return samples


def measure_error(output: Array, truth: Array) -> float:
    """The relative L2 difference; infinity for another shape or a value that is not a number."""
    if output.shape != truth.shape or output.size == 0:
        return float("inf")
    expected = truth.astype(np.float64)
    difference = float(np.linalg.norm(output - expected)) / max(float(np.linalg.norm(expected)), 1e-300)
    return difference if isfinite(difference) else float("inf")


def describe_peers() -> list[str]:
    """The header's lines: versions, how they were measured, and what is missing."""
    there = ", ".join(f"{peer.package} {peer.version}" for peer in PEERS if peer.version)
    lines = [
        f"Peers ({there or 'none installed'}): each in a process of its own with as many threads, in turn with ONNX "
        f"Runtime's Conv in blocks of {BLOCK_S:g} s; a ratio is over the Conv of the same minutes, output held to "
        f"{MAX_RELATIVE_L2:g} relative L2 of it. OpenVINO is told to compute in float32."
    ]
    if missing := [peer.package for peer in PEERS if peer.version is None]:
        lines.append(f"Not installed: {', '.join(missing)}; {INSTALL}")
    return lines
