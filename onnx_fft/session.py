"""Sessions of ONNX Runtime with the native library, of rewritten models and of originals."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from onnx_fft import native
from onnx_fft.errors import InvalidModelError
from onnx_fft.model.io import LoadedModel, ModelSource
from onnx_fft.model.saving import materialized
from onnx_fft.options import RewriteOptions
from onnx_fft.ort import import_ort
from onnx_fft.provenance import is_own
from onnx_fft.rewrite import rewrite as rewrite_model
from onnx_fft.runtime.libraries import find_libraries

SessionSource = str | os.PathLike[str] | bytes | ModelProto


def InferenceSession(
    model: SessionSource,
    sess_options: Any = None,
    *,
    rewrite: bool | RewriteOptions = False,
    custom_ops: Sequence[str | Path] = (),
    **kwargs: Any,
) -> Any:
    """`onnxruntime.InferenceSession` with the native library; takes what it takes, and a ModelProto.

    `rewrite` says that `model` is an original, to be rewritten in memory first: true for the native library if there is
    one, and for standard operators if not; or the options to do it by. A rewritten model needs no `rewrite`.

    The library is registered with the given `sess_options`. The session runs on the CPU provider unless `providers`
    says otherwise. Raises what `onnx_fft.rewrite` raises, UsageError if one of `custom_ops` is missing or ONNX Runtime
    does not load it, and NativeUnavailable if a model that is not rewritten here comes without the library: open it by
    `onnxruntime.InferenceSession` then.
    """
    options = import_ort().SessionOptions() if sess_options is None else sess_options
    kwargs.setdefault("providers", ["CPUExecutionProvider"])
    if rewrite is False:
        _register(custom_ops, options)
        return import_ort().InferenceSession(_serialize(model), native.register(options), **kwargs)
    choices = _choose_options(rewrite, custom_ops)
    _register(choices.custom_ops, options)
    if native.is_available():
        native.register(options)
    return _open_rewritten(_read(model), options, choices, kwargs)


def _choose_options(rewrite: bool | RewriteOptions, custom_ops: Sequence[str | Path]) -> RewriteOptions:
    if isinstance(rewrite, RewriteOptions):
        return replace(rewrite, custom_ops=(*rewrite.custom_ops, *custom_ops))
    return RewriteOptions(target="native" if native.is_available() else "standard", custom_ops=custom_ops)


def _register(custom_ops: Sequence[str | Path], options: Any) -> None:
    for library in find_libraries((), custom_ops):
        options.register_custom_ops_library(str(library))


def _serialize(model: SessionSource) -> str | bytes:
    if isinstance(model, ModelProto):
        return bytes(model.SerializeToString())
    return model if isinstance(model, bytes) else os.fspath(model)


def _read(model: SessionSource) -> ModelSource:
    if isinstance(model, ModelProto):
        return model
    if not isinstance(model, bytes):
        return os.fspath(model)
    try:
        proto = ModelProto()
        proto.ParseFromString(model)
        return proto
    except Exception as error:  # protobuf's DecodeError has no type information
        raise InvalidModelError(f"got {len(model)} bytes that are not an ONNX model ({error})") from error


def _open_rewritten(source: ModelSource, options: Any, choices: RewriteOptions, kwargs: dict[str, Any]) -> Any:
    with materialized(rewrite_model(source, options=choices).loaded, movable=is_own) as model:
        return import_ort().InferenceSession(_give(model), options, **kwargs)


def _give(model: LoadedModel) -> str | bytes:
    """What ONNX Runtime reads: the path of a materialized model, or its bytes."""
    return str(model.path) if model.path is not None else bytes(model.model.SerializeToString())
