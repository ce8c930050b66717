"""Which operator libraries a model is run with, and which operators no runtime here knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from onnx import ModelProto

from onnx_fft import native
from onnx_fft.errors import UsageError, one_line
from onnx_fft.hints import Note
from onnx_fft.model.scopes import MICROSOFT_DOMAIN, walk_nodes
from onnx_fft.ort import import_ort
from onnx_fft.provenance import OPERATOR_DOMAIN

KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", MICROSOFT_DOMAIN)


def find_libraries(models: Iterable[ModelProto], given: Sequence[str | Path] = ()) -> tuple[Path, ...]:
    """The libraries to run `models` with: those `given`, and ours if a node needs it and it loads here.

    Raises UsageError if one of those given is missing, or if ONNX Runtime does not load it.
    """
    check_libraries(given)
    # Absolute, because a name without a folder is looked for among the system's libraries instead.
    libraries = tuple(Path(library).absolute() for library in given)
    if not any(map(wants_native, models)) or not native.is_available():
        return libraries
    own = native.library_path()
    return libraries if own.resolve() in map(Path.resolve, libraries) else (*libraries, own)


def check_libraries(libraries: Sequence[str | Path]) -> None:
    """Raise UsageError for a library that is missing or that ONNX Runtime does not load.

    Asked before any model is loaded with it: then a failure would look like one of the model.
    """
    for library in libraries:
        if not Path(library).is_file():
            raise UsageError(f"got custom-op library {str(library)!r}, which is not a file", hint="check the path")
        if said := _find_refusal(Path(library).resolve()):
            raise UsageError(
                f"got custom-op library {str(library)!r}, which ONNX Runtime does not load ({said})",
                "a shared library that exports RegisterCustomOps, built for this system",
            )


def note_missing_library(models: Iterable[ModelProto]) -> tuple[Note, ...]:
    """That nodes of the native library ran without it, what computed instead, and why; () if nothing was missing."""
    text = describe_missing_library(models)
    return (Note(text),) if text else ()


def describe_missing_library(models: Iterable[ModelProto]) -> str:
    """Why nodes of the native library run without it here, and what computes instead; "" if nothing is missing."""
    problem = native.find_problem() if any(map(wants_native, models)) else ""
    return f"the native library did not run, only the operators that stand in for it: {problem}" if problem else ""


def wants_native(model: ModelProto) -> bool:
    """Whether the model has nodes for our native library."""
    return any(node.domain == OPERATOR_DOMAIN for node in walk_nodes(model))


@cache
def _find_refusal(library: Path) -> str:
    """What ONNX Runtime says of a library that it does not load, "" if it does."""
    ort = import_ort()
    try:
        ort.SessionOptions().register_custom_ops_library(str(library))
    except Exception as error:  # ORT's exceptions have no common base
        return one_line(error)
    return ""


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
