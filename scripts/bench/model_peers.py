"""Other libraries on the same model; `sides.py` says how they are timed against ONNX Runtime.

OpenVINO reads ONNX. MNN and ncnn read files of their own, which MNN's converter and pnnx make. Every peer is told the
shapes of the inputs; ONNX Runtime runs the model as it is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from onnx_fft.inputs.feeds import Feed
from scripts.bench.peers import Peer, describe
from scripts.bench.sides import PeerResult, compare_sides, store_feeds

MODEL_PEERS: tuple[Peer, ...] = (
    Peer("MNN", "MNN", "mnn"),
    Peer("ncnn", "pnnx", "ncnn"),
    Peer("OpenVINO", "openvino", "openvino"),
)
READY_S = 120.0
"""What a peer may take to convert a model, to load it and for its first run."""


def measure_model_peers(model: Path, feed: Feed, *, threads: int, budget_s: float) -> dict[str, PeerResult]:
    """Every peer on the model, by name, for about `budget_s` each."""
    sides = {peer.name: peer.side for peer in MODEL_PEERS if peer.version is not None}
    with tempfile.TemporaryDirectory(prefix="onnx-fft-") as scratch:
        folder = Path(scratch)
        (folder / "model.onnx").symlink_to(model.resolve())
        store_feeds(folder, feed.arrays, list(feed.outputs))
        found = compare_sides(folder, sides, threads=threads, budget_s=budget_s, ready_s=READY_S)
    for name, result in found.items():
        if result.detail:
            print(f"{name}: {result.note}: {result.detail}", file=sys.stderr)
    return {peer.name: found.get(peer.name, PeerResult("not installed")) for peer in MODEL_PEERS}


def describe_model_peers() -> list[str]:
    """The header's lines about the peers on models."""
    return describe(MODEL_PEERS, "ONNX Runtime on the original")
