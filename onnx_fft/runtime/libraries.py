"""Which operator libraries a model needs, and which operators no runtime here knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from onnx import ModelProto

from onnx_fft import native
from onnx_fft.model.scopes import MICROSOFT_DOMAIN, walk_nodes
from onnx_fft.provenance import OPERATOR_DOMAIN

KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", MICROSOFT_DOMAIN)


def find_libraries(models: Iterable[ModelProto], given: Sequence[str | Path] = ()) -> tuple[str | Path, ...]:
    """The libraries to run `models` with: those `given`, and our own where a node wants it and it loads here."""
    if not any(map(wants_native, models)) or not native.is_available():
        return tuple(given)
    own = native.library_path()
    known = {Path(library).resolve() for library in given}
    return tuple(given) if own.resolve() in known else (*given, own)


def describe_missing_library(models: Iterable[ModelProto]) -> str:
    """Why nodes of the native library run without it here, and what computes instead; "" where nothing is missing."""
    problem = native.find_problem() if any(map(wants_native, models)) else ""
    return f"the native library did not run, only the Convs that stand in for it: {problem}" if problem else ""


def wants_native(model: ModelProto) -> bool:
    """Whether the model has nodes for our native library."""
    return any(node.domain == OPERATOR_DOMAIN for node in walk_nodes(model))


def find_unknown_operators(model: ModelProto) -> list[str]:
    """`domain:op_type` of every node that neither ONNX nor ONNX Runtime nor the model itself defines."""
    local = {(function.domain, function.name) for function in model.functions}
    return sorted(
        {
            f"{node.domain}:{node.op_type}"
            for node in walk_nodes(model)
            if node.domain not in KNOWN_DOMAINS
            and not node.domain.startswith(MICROSOFT_DOMAIN)
            and (node.domain, node.op_type) not in local
        }
    )
