"""Models of a Conv and what follows it, and the proof that the native library computes all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx.inliner
from onnx import ModelProto

import onnx_fft
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.report import describe
from scripts.shared.conv_models import Array
from scripts.shared.running import executed_op_types, run_model, run_reference, run_with_library
from tests.comparing import assert_same, dump
from tests.models import B1, W1, W2, X, parse_model
from tests.native.rewritten import assert_close, forced

RNG = np.random.default_rng(12)
W3 = (RNG.standard_normal((4, 4, 3, 3)) / 6).astype(np.float32)
SLOPE = RNG.uniform(-0.5, 1.5, (4, 1, 1)).astype(np.float32)
NORM = {name: RNG.uniform(0.5, 2, 4).astype(np.float32) for name in ("gamma", "shift", "mean", "var")}
CONSTANTS = {"w1": W1, "w2": W2, "w3": W3, "b1": B1, "slope": SLOPE, **NORM}
SIXTH = float(np.float32(1 / 6))


def model_of(body: str, **constants: Any) -> ModelProto:
    """`x -> body -> y`, with those of `CONSTANTS` that it reads, and numbers by name."""
    text = f"g (float[2, 3, 13, 11] x) => (float[2, 4, 13, 11] y) {{ {body} }}"
    stored = {name: value for name, value in CONSTANTS.items() if name in text}
    return parse_model(text, stored | {name: np.asarray(value, np.float32) for name, value in constants.items()})


CONV = "c = Conv<pads = [2, 2, 2, 2]>(x, w1, b1)"
SECOND = "Conv<pads = [1, 1, 1, 1]>"


def assert_replaced(original: ModelProto, types: Sequence[str], feeds: dict[str, Array] | None = None) -> ModelProto:
    """All of `types` stand for it, and run; with the library, without it, inlined and in onnx's evaluator."""
    feeds = feeds or {"x": X}
    rewritten = forced(original)
    ours = [node.op_type for node in rewritten.graph.node if node.domain == OPERATOR_DOMAIN]
    assert ours == list(types)
    executed = executed_op_types(rewritten, feeds, with_library=True)
    assert {name: count for name, count in executed.items() if name.startswith("FFT")} == {
        name: ours.count(name) for name in ours
    }
    assert_same(original, rewritten, feeds, rtol=2e-6)
    assert_same(original, onnx.inliner.inline_local_functions(rewritten), feeds, rtol=2e-6)
    expected = run_model(original, feeds)
    assert_close(run_reference(rewritten, feeds), expected)
    assert_close(run_with_library(rewritten, feeds), expected)
    validation = onnx_fft.validate(original, rewritten)
    assert validation.ok, describe(validation)
    assert [check.ok for check in validation.convs] == [True] * len(ours)
    assert dump(forced(rewritten)) == dump(rewritten)
    return rewritten


BLOCK = (
    f"{CONV} r = Relu(c) d = {SECOND}(r, w2) e = Relu(d) f = {SECOND}(e, w3) s = Add(f, r) t = Relu(s) "
    f"g = {SECOND}(t, w2) h = {SECOND}(g, w3) u = Add(t, h) y = Relu(u)"
)
"""Two blocks of a ResNet behind a Conv."""
