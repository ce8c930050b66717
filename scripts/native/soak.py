"""The native library for an hour: changing shapes, four threads on one session, sessions opened and closed beside it.

    python -m scripts.native.soak                  # an hour
    python -m scripts.native.soak --seconds 60

There are more shapes than the library keeps plans for, so that its caches fill and empty all the time. Every result has
to be the same bit for bit, whichever thread and session made it. (Sessions have two threads each: ONNX Runtime's own
Conv, which computes the small shapes, sums in another order with another number.) Memory has to stay flat once the
caches are full: the median of the last quarter of the time against that of the second. Exit code 1 if a result differs
or memory grows.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from onnx_fft import InferenceSession, rewrite
from onnx_fft.timing.worker import read_memory
from scripts.shared.conv_models import Array

SHAPES = 300
"""How many sets of inputs there are; the library keeps fewer plans for each convolution."""
THREADS = 4
MOST_GROWTH_BYTES = 16 << 20
SAMPLES_S = 0.5
CONVS: tuple[tuple[str, str, tuple[int, ...], dict[str, Any]], ...] = (
    ("image", "dense", (12, 6, 7, 7), {"pads": [3] * 4}),
    ("dense_active", "depthwise", (12, 1, 21, 21), {"pads": [10] * 4, "group": 12}),
    ("image", "strided", (8, 6, 9, 9), {"pads": [4] * 4, "strides": [2, 2]}),
    ("signal", "long", (4, 4, 301), {"pads": [150, 150]}),
    ("signal", "dilated", (4, 1, 33), {"pads": [32, 32], "dilations": [2], "group": 4}),
)
"""Input, name, shape of the weight, attributes of each convolution."""


@dataclass
class Soak:
    """What the threads share: when to stop, and what every set of inputs gave when it was first run."""

    model: bytes
    until: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    digests: dict[int, bytes] = field(default_factory=dict)
    different: list[int] = field(default_factory=list)
    runs: int = 0
    sessions: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the time is up, or a result differed."""
        return time.monotonic() >= self.until or bool(self.different)

    def open_session(self) -> onnxruntime.InferenceSession:
        """A new session of the rewritten model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        with self.lock:
            self.sessions += 1
        return InferenceSession(self.model, options)

    def run(self, session: onnxruntime.InferenceSession, number: int) -> None:
        """Run one set of inputs, and note it if its result is not what it was."""
        digest = hashlib.sha256()
        for output in session.run(None, draw_feeds(number)):
            digest.update(output.tobytes())
        with self.lock:
            self.runs += 1
            if self.digests.setdefault(number, digest.digest()) != digest.digest():
                self.different.append(number)


def build_model() -> onnx.ModelProto:
    """The original: five convolutions on an image and a signal, all lengths open."""
    rng = np.random.default_rng(0)
    nodes, tensors, outputs = [], [], []
    for source, name, shape, attributes in CONVS:
        weight = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        tensors.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}_w"))
        nodes.append(helper.make_node("Conv", [source, f"{name}_w"], [name], name=name, **attributes))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(shape)))
    nodes.insert(1, helper.make_node("LeakyRelu", ["dense"], ["dense_active"]))
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 6, "h", "w"]),
        helper.make_tensor_value_info("signal", TensorProto.FLOAT, ["m", 4, "l"]),
    ]
    graph = helper.make_graph(nodes, "soak", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def draw_feeds(number: int) -> dict[str, Array]:
    """The set of inputs of that number, of shapes of its own."""
    rng = np.random.default_rng(number)
    image = (rng.integers(1, 4), 6, *rng.integers(8, 90, 2))
    signal = (rng.integers(1, 4), 4, rng.integers(20, 3000))
    return {name: rng.standard_normal(shape, np.float32) for name, shape in (("image", image), ("signal", signal))}


def keep_running(soak: Soak, session: onnxruntime.InferenceSession, seed: int) -> None:
    """What each of the threads does."""
    rng = np.random.default_rng([seed, SHAPES])
    while not soak.is_over:
        soak.run(session, int(rng.integers(SHAPES)))


def keep_opening(soak: Soak) -> list[int]:
    """Open and close sessions; bytes that the process held in between."""
    held, due = [], time.monotonic()
    while not soak.is_over:
        session = soak.open_session()
        for number in range(soak.sessions % SHAPES, SHAPES, SHAPES // 3):
            soak.run(session, number)
        del session
        if time.monotonic() >= due:
            held.append(read_memory()[0] or 0)
            due += SAMPLES_S
    return held


def measure_growth(held: Sequence[int]) -> int:
    """Bytes by which the median of the last quarter is over that of the second."""
    quarter = len(held) // 4
    return int(median(held[-quarter:]) - median(held[quarter : 2 * quarter])) if quarter else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=3600.0)
    options = parser.parse_args(arguments)
    rewritten = rewrite(build_model(), target="native", select="all")
    assert len(rewritten.report.replaced) == len(CONVS)
    soak = Soak(rewritten.model.SerializeToString(), time.monotonic() + options.seconds)
    shared = soak.open_session()
    with ThreadPoolExecutor(THREADS) as pool:
        readers = [pool.submit(keep_running, soak, shared, seed) for seed in range(THREADS)]
        held = keep_opening(soak)
        for reader in readers:
            reader.result()
    growth = measure_growth(held)
    print(
        f"{options.seconds:.0f} s, {soak.runs} runs of {len(soak.digests)} sets of inputs in {THREADS} threads and "
        f"{soak.sessions} sessions; {len(soak.different)} results differed; {max(held) / 2**20:.0f} MiB held at most, "
        f"{growth / 2**20:+.1f} MiB from the second quarter of the time to the last"
    )
    return int(bool(soak.different) or growth > MOST_GROWTH_BYTES or not soak.runs)


if __name__ == "__main__":
    sys.exit(main())
