"""A benchmark made by hand."""

from __future__ import annotations

from onnx_fft.bench import Benchmark
from onnx_fft.timing.launch import Host, ModelTiming, NodeTime
from onnx_fft.timing.nodes import NodeChange
from onnx_fft.timing.stats import compare
from scripts.shared.layers import make_spec

SPEC = make_spec((3, 4), (3, 3), (12, 12))
HOST = Host("a CPU", 2, "Linux x86_64", "1.32.0", 2, "2026-01-01")


def fake_benchmark(before_s: tuple[float, ...], after_s: tuple[float, ...]) -> Benchmark:
    before = ModelTiming(before_s, 0.1, 1000, ("CPUExecutionProvider",), (NodeTime("conv", "Conv", 0.2),), 5 << 20)
    after = ModelTiming(after_s, 0.2, 3 << 20, ("CPUExecutionProvider",), (NodeTime("m", "MatMul", 0.1),))
    nodes = (NodeChange("conv", "Conv", "matmul", 0.2, 0.1, 7), NodeChange("act", "Relu", "", None, 0.01, 1))
    ratio = compare(before_s, after_s)
    return Benchmark(before, after, ratio, HOST, {"x": (1, 3, 12, 12)}, "given inputs", 0, nodes)
