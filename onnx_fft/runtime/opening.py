"""Loading a model to get numbers: by ONNX Runtime, or by what stands in for it.

ONNX Runtime uses its CPU provider. A model for the CUDA provider runs on that if it works here; if not, NumPy computes
the FFT operators that only that provider has. All optimizations are on, and ONNX Runtime itself reads a model that is
given as a path. To see intermediate tensors, a copy with more graph outputs is run; it finds its external data through
a session option, so that nothing is written beside the user's model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from onnx_fft.errors import InvalidModelError, RuntimeUnavailable, one_line
from onnx_fft.hints import Hint, Option
from onnx_fft.model.external import inline_data
from onnx_fft.model.io import LoadedModel, with_real_data
from onnx_fft.model.scopes import walk_tensors
from onnx_fft.ort import import_ort
from onnx_fft.runtime.contrib import Evaluator
from onnx_fft.runtime.cuda import exact_providers, find_cuda_problem, is_for_cuda, needs_cuda
from onnx_fft.runtime.engines import CPU_PROVIDERS, ORT, ORT_QUIET, PIECES, REFERENCE, EngineError, Runner
from onnx_fft.runtime.libraries import find_unknown_operators
from onnx_fft.runtime.pieces import Pieces

EXTERNAL_DATA_KEY = "session.model_external_initializers_file_folder_path"


def open_runner(source: LoadedModel, *, expose: Sequence[str] = (), custom_ops: Sequence[str | Path] = ()) -> Runner:
    """Load `source`, with the tensors `expose` as further outputs; raises EngineError if no engine can.

    `custom_ops` are shared libraries with operators, as `find_libraries` returns them. Raises RuntimeUnavailable
    without ONNX Runtime: the evaluator stands in for what it cannot run, not for ONNX Runtime.
    """
    with exposing(source.model, expose) as model:
        names = [value.name for value in model.graph.output]
        try:
            return Runner(ORT, _open_ort(source, bool(expose), custom_ops), names)
        except RuntimeUnavailable:
            raise
        except Exception as error:
            said = f"{ORT}: {one_line(error)}"
        if needs_cuda(model) and (problem := find_cuda_problem()):
            return _open_pieces(source, model, names, custom_ops, problem)
        return _open_reference(source, said, names)


def open_original(
    source: LoadedModel, *, expose: Sequence[str] = (), custom_ops: Sequence[str | Path] = (), next_step: Hint = ""
) -> Runner:
    """As `open_runner`, for a model that has to run: raises InvalidModelError.

    `next_step` says what to do then; by default, to pass the library of unknown operators.
    """
    try:
        return open_runner(source, expose=expose, custom_ops=custom_ops)
    except EngineError as error:
        said = "; ".join(str(error).splitlines())
        unknown = ", ".join(find_unknown_operators(source.model))
        step: Hint = "check that it runs at all"
        if unknown:
            said = f"unknown operators: {unknown}; {said}"
            step = ("pass the library that has them as ", Option("custom_ops"))
        raise InvalidModelError(
            f"got a model that nothing here runs ({said})", "one that ONNX Runtime loads", next_step or step
        ) from error


@contextmanager
def exposing(model: ModelProto, names: Sequence[str]) -> Iterator[ModelProto]:
    """`model` with `names` as further graph outputs, for as long as the block lasts."""
    graph = model.graph
    before = len(graph.output)
    known = {value.name for value in graph.output}
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    try:
        yield model
    finally:
        del graph.output[before:]


def find_providers(model: ModelProto) -> list[Any]:
    """What ONNX Runtime is to run a model with, for numbers rather than for speed."""
    return exact_providers() if is_for_cuda(model) and not find_cuda_problem() else list(CPU_PROVIDERS)


def _open_ort(source: LoadedModel, changed: bool, custom_ops: Sequence[str | Path]) -> Any:
    """`changed` says that the file of `source` does not hold what its model is now."""
    ort = import_ort()
    source = with_real_data(replace(source, path=None) if changed else source)
    options = ort.SessionOptions()
    options.log_severity_level = ORT_QUIET
    options.enable_mem_pattern = False  # feeds differ in shape
    for library in custom_ops:
        options.register_custom_ops_library(str(library))
    given: str | bytes
    if source.path is not None:
        given = str(source.path)
    else:
        if source.base_dir is not None:
            options.add_session_config_entry(EXTERNAL_DATA_KEY, str(source.base_dir))
        given = source.model.SerializeToString()
    return ort.InferenceSession(given, options, providers=find_providers(source.model))


def _open_pieces(
    source: LoadedModel, model: ModelProto, names: Sequence[str], custom_ops: Sequence[str | Path], problem: str
) -> Runner:
    copy = ModelProto()
    copy.CopyFrom(model)  # pieces are loaded later, when the caller may have changed it

    def open_piece(piece: ModelProto, by_numpy: bool) -> Any:
        cut = LoadedModel(piece, source.base_dir)
        if not by_numpy:
            try:
                return _open_ort(cut, True, custom_ops)
            except Exception as error:  # ORT's exceptions have no common base
                runner.refusals.append(f"{ORT}: {one_line(error)}")
        return _open_evaluator(cut)

    runner = Runner(PIECES, Pieces(copy, source.base_dir, open_piece), names, problem)
    return runner


def _open_reference(source: LoadedModel, said: str, names: Sequence[str]) -> Runner:
    try:
        evaluator = _open_evaluator(source)
    except Exception as error:
        raise EngineError(f"{said}\n{REFERENCE}: {one_line(error)}") from error
    return Runner(REFERENCE, evaluator, names, said)


def _open_evaluator(source: LoadedModel) -> Evaluator:
    """ONNX's evaluator, with NumPy's part; the evaluator reads the type of every output it is told of."""
    copy = ModelProto()
    copy.CopyFrom(source.model)
    inline_data(walk_tensors(copy), source.base_dir)
    for value in copy.graph.output:
        if not value.HasField("type"):
            value.type.tensor_type.elem_type = onnx.TensorProto.UNDEFINED
    return Evaluator(copy)
