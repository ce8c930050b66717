"""Results made by hand, as the report draws them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from onnx_fft.bench import Benchmark
from onnx_fft.checks.compare import Comparison
from onnx_fft.checks.convcheck import ConvCheck
from onnx_fft.checks.probes import Probe
from onnx_fft.checks.result import FeedResult, Validation
from onnx_fft.hints import Note, Option
from onnx_fft.results import Report, Row
from onnx_fft.timing.launch import Host, ModelTiming, NodeTime
from onnx_fft.timing.nodes import NodeChange
from onnx_fft.timing.stats import compare

HOST = Host("a CPU", 2, "Linux x86_64", "1.32.0", 2, "2026-01-01")


def make_row(name: str, conv_s: float | None, fft_s: float | None = None, **changes: Any) -> Row:
    if fft_s is None:
        row = Row(name, "Conv", "3x3 8->8 on 1x9x9", None, "no-gain", "predicted at 0.50x the speed", conv_s)
    else:
        dft = {
            "predicted_s": None,
            "reason": "dft needs opset 17, the model has 13",
            "hint": ("set ", Option("opset", 17)),
        }
        options = ({"lowering": "dft", **dft},)
        row = Row(name, "Conv", "31x31 8->8 on 1x56x56", "matmul", "", "predicted at 1.56x the speed", conv_s, fft_s)
        row = replace(row, growth_bytes=3 << 20, options=options)
    return replace(row, **changes)


def make_report(count: int = 3, name: str = "conv") -> Report:
    """Every fifth convolution is replaced, the second of them at a loss; the last has no known time."""
    rows = [make_row(f"{name}{i}", (1 + i % 7) * 1e-3, None if i % 5 else (0.5 + i) * 1e-3) for i in range(count)]
    return Report((*rows, make_row(f"{name}{count}", None, code="operator", reason="is not rewritten")), 17)


def make_validation(names: tuple[str, ...] = ("conv0",), *, ok: bool = True) -> Validation:
    checks = [ConvCheck(name, ok, "sentence", 3e-7, 2e-7, 1e-5, 10, 20) for name in names]
    checks.append(ConvCheck(names[0], None, "its input is empty or not finite under this feed"))
    good = Comparison(names[0], ok, "largest error", "float32", (3,), 3, 2e-7, 4e-8, 1.0, 2e-3, 1e-4)
    exact = Comparison(names[0], True, "all equal", "int64", (3,), 3)
    feeds = (FeedResult("random feed 0", (good, exact)), FeedResult("random feed 1", (), "" if ok else "does not run"))
    probes = (Probe("nan", names[0], "one NaN", 0.3, 1.0), Probe("outlier", names[0], "one huge value", 1.0, 1e-6))
    verdict = "same: 2 feed(s)" if ok else "different: output 'y'"
    return Validation(ok, verdict, 7, "onnxruntime", feeds, tuple(checks), probes, None, (Note("a note"),))


def make_benchmark(before_s: float = 2.0, after_s: float = 1.0, name: str = "conv0") -> Benchmark:
    nodes = (NodeTime(name, "Conv", before_s), NodeTime("r", "Relu", 0.1))
    spread = (0.9, 1.0, 1.0, 1.2, 1.4)
    before = ModelTiming(tuple(before_s * x for x in spread), 0.1, 1000, ("CPUExecutionProvider",), nodes)
    after = ModelTiming(tuple(after_s * x for x in spread), 0.2, 3 << 20, ("CPUExecutionProvider",), nodes[1:])
    changes = (NodeChange(name, "Conv", "matmul", before_s, after_s, 12), NodeChange("r", "Relu", "", 0.1, None, 1))
    ratio = compare(before.samples_s, after.samples_s)
    return Benchmark(before, after, ratio, HOST, {"x": (1, 3, 12, 12)}, "given inputs", 7, changes)
