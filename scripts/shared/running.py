"""Running a model outside the package, and what ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

import onnx_fft
from onnx_fft.runtime.profile import run_profiled
from scripts.shared.conv_models import Array


def open_session(model: ModelProto | Path, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """A session on the CPU provider with all optimizations, quiet about warnings."""
    options = options or ort.SessionOptions()
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_model(model: ModelProto | Path, feeds: Mapping[str, Array]) -> list[Array]:
    """All graph outputs, in order; on one thread, because starting and stopping others takes longer than most runs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return list(open_session(model, options).run(None, dict(feeds)))


def run_reference(model: ModelProto | Path, feeds: Mapping[str, Array]) -> list[Array]:
    """All graph outputs, in order, by ONNX's reference evaluator."""
    source = str(model) if isinstance(model, Path) else model
    return list(ReferenceEvaluator(source).run(None, dict(feeds)))


def run_with_library(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """All graph outputs, in order, with the native library."""
    return list(onnx_fft.InferenceSession(model).run(None, dict(feeds)))


def executed_op_types(
    model: ModelProto | Path, feeds: Mapping[str, Array], *, with_library: bool = False
) -> Counter[str]:
    """How often each operator type ran in one run: proof of the path taken.

    See `run_profiled` for what counts. The CPU provider runs the model, with the native library if that is asked for.
    """

    def open_profiled(options: Any) -> Any:
        if not with_library:
            return open_session(model, options)
        return onnx_fft.InferenceSession(str(model) if isinstance(model, Path) else model, options)

    _, nodes = run_profiled(open_profiled, feeds)
    return Counter(node.op_type for node in nodes)


def list_op_types(model: ModelProto) -> Counter[str]:
    """How often each operator type occurs, in the main graph, bodies of any depth and model-local functions."""
    counted: Counter[str] = Counter()
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        counted[node.op_type] += 1
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending.extend(graph.node)
    return counted
