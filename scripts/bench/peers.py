"""Other libraries on the same layer; `sides.py` says how they are timed against ONNX Runtime's Conv."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from onnx import ModelProto

from onnx_fft.sites.spec import ConvSpec
from scripts.bench.sides import BLOCK_S, MAX_RELATIVE_L2, PeerResult, compare_sides, store_feeds
from scripts.shared.conv_models import Array

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


def measure_peers(
    spec: ConvSpec, model: ModelProto, x: Array, weight: Array, bias: Array | None, *, threads: int, budget_s: float
) -> dict[str, PeerResult]:
    """Every peer on one layer, by name, for about `budget_s` each."""
    refusals = {peer.name: "not installed" if peer.version is None else peer.refuse(spec) for peer in PEERS}
    sides = {peer.name: peer.side for peer in PEERS if not refusals[peer.name]}
    with tempfile.TemporaryDirectory(prefix="onnx-fft-") as scratch:
        store_layer(Path(scratch), spec, model, x, weight, bias)
        found = compare_sides(Path(scratch), sides, threads=threads, budget_s=budget_s)
    return {name: found.get(name) or PeerResult(refusal) for name, refusal in refusals.items()}


def store_layer(folder: Path, spec: ConvSpec, model: ModelProto, x: Array, weight: Array, bias: Array | None) -> None:
    """Write what the sides read."""
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    store_feeds(folder, {"x": x}, ["y"])
    names = ("group", "strides", "dilations", "pads_begin", "pads_end")
    (folder / "layer.json").write_text(json.dumps({name: getattr(spec, name) for name in names}))
    arrays = {"weight": weight} | ({} if bias is None else {"bias": bias})
    np.savez(folder / "weights.npz", **arrays)  # type: ignore[arg-type]


def describe_peers() -> list[str]:
    """The header's lines about the peers on layers."""
    return describe(PEERS, "ONNX Runtime's Conv")


def describe(peers: Sequence[Peer], original: str) -> list[str]:
    """The header's lines: versions, how they were measured against `original`, and what is missing."""
    there = ", ".join(f"{peer.package} {peer.version}" for peer in peers if peer.version)
    lines = [
        f"Peers ({there or 'none installed'}): each in a process of its own with as many threads, in turn with "
        f"{original} in blocks of {BLOCK_S:g} s; a ratio is over that of the same minutes, output held to "
        f"{MAX_RELATIVE_L2:g} relative L2 of it. OpenVINO is told to compute in float32."
    ]
    if missing := [peer.package for peer in peers if peer.version is None]:
        lines.append(f"Not installed: {', '.join(missing)}; {INSTALL}")
    return lines
