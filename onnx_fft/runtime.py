"""Running a model to get numbers: ONNX Runtime where it can, ONNX's reference evaluator where it cannot.

ONNX Runtime (imported on first use) runs on its CPU provider, or, where that works, on its CUDA provider if the model
is for it; where it does not, NumPy takes the part of the CUDA provider's FFT operators. All optimizations are on,
errors reach Python only, and a model given as a path is read by ONNX Runtime itself. Intermediate tensors are seen by
running a copy with more graph outputs; its external data is found through a session option, so that nothing is written
beside the user's model.

Runtime gaps met here: ONNX Runtime 1.32 has no Conv for float64 on CPU and does not promise opsets below 7.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto
from onnx.external_data_helper import load_external_data_for_model

from onnx_fft import plugin
from onnx_fft.contrib import NAMES, Evaluator
from onnx_fft.cuda import PROVIDER, exact_providers, find_cuda_problem, is_for_cuda, needs_cuda
from onnx_fft.errors import InvalidModelError
from onnx_fft.model.io import LoadedModel, load_model
from onnx_fft.model.scopes import MICROSOFT_DOMAIN, walk_bodies
from onnx_fft.pieces import Pieces

Value = Any
"""What a graph input or output holds: an array, a list of arrays (sequence), a dict (map), or None (optional)."""

ORT = "onnxruntime"
REFERENCE = "onnx.reference"
PIECES = "onnxruntime and NumPy"
CPU_PROVIDERS = ("CPUExecutionProvider",)
STAND_IN = (
    f"NumPy computed {' and '.join([', '.join(NAMES[:-1]), NAMES[-1]])}, ONNX Runtime on the CPU the rest, "
    "but for bodies and functions that hold them, which ONNX's evaluator ran"
)
"""Who computes what under `PIECES`."""

WITHOUT_GPU = {
    PIECES: "NumPy stood in for cuFFT",
    ORT: "ONNX Runtime computed on the CPU",
    REFERENCE: "ONNX's evaluator computed",
}
"""By engine, who computes a model that is for the CUDA provider where that takes no part."""

KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", MICROSOFT_DOMAIN)
EXTERNAL_DATA_KEY = "session.model_external_initializers_file_folder_path"
ORT_QUIET = 4
"""ORT's log level "fatal": an error we catch and report must not be printed as well."""


class EngineError(Exception):
    """No engine could load or run the model; the message holds what each of them said, one line each."""


@dataclass(frozen=True)
class Source:
    """A model and where it came from. `model` may lack its external data, which lies under `base_dir`."""

    model: ModelProto
    base_dir: Path | None = None
    path: Path | None = None

    @property
    def output_names(self) -> list[str]:
        """Names of the graph outputs, in order."""
        return [value.name for value in self.model.graph.output]


def open_source(source: ModelProto | str | Path | LoadedModel) -> Source:
    """Read a model without its external data. A ModelProto is copied; raises InvalidModelError or UsageError."""
    if isinstance(source, LoadedModel):
        copy = ModelProto()
        copy.CopyFrom(source.model)
        return Source(copy, source.base_dir)
    loaded = load_model(source)
    path = None if isinstance(source, ModelProto) else Path(source)
    return Source(loaded.model, loaded.base_dir, path)


class Runner:
    """A loaded model. `engine` says who runs it, `note` why it is not ONNX Runtime alone ("" where it is).

    Under `PIECES`, a piece that ONNX Runtime does not run is seen when it is run: then the engine becomes `REFERENCE`.
    """

    def __init__(self, engine: str, impl: Any, output_names: Sequence[str], note: str = "") -> None:
        """`impl` has `run(output_names, feeds)`."""
        self.engine = engine
        self.note = note
        self.output_names = list(output_names)
        self.refusals: list[str] = []
        self._impl = impl

    @property
    def is_on_gpu(self) -> bool:
        """Whether the CUDA provider takes part."""
        return self.engine == ORT and PROVIDER in self._impl.get_providers()

    def run(self, feeds: Mapping[str, Value]) -> dict[str, Value]:
        """All outputs by name. Raises EngineError with the engine's own words."""
        try:
            if self.engine == ORT:
                options = _ort().RunOptions()
                options.log_severity_level = ORT_QUIET
                values = self._impl.run(self.output_names, dict(feeds), options)
            else:
                with np.errstate(all="ignore"):
                    values = self._impl.run(self.output_names, dict(feeds))
        except Exception as error:  # ORT's exceptions have no common base; the evaluator raises whatever NumPy does
            raise EngineError(f"{self.engine}: {_first_line(error)}") from error
        if self.refusals:
            self.engine, self.note = REFERENCE, self.refusals[0]
        return dict(zip(self.output_names, values, strict=True))


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


def open_runner(source: Source, *, expose: Sequence[str] = (), custom_ops: Sequence[str | Path] = ()) -> Runner:
    """Load `source`, with the tensors `expose` as further outputs; raises EngineError where no engine can.

    `custom_ops` are shared libraries with operators, registered with the ONNX Runtime session.
    """
    with exposing(source.model, expose) as model:
        names = [value.name for value in model.graph.output]
        try:
            return Runner(ORT, _open_ort(source, model, bool(expose), custom_ops), names)
        except Exception as error:
            said = f"{ORT}: {_first_line(error)}"
        if needs_cuda(model) and (problem := find_cuda_problem()):
            return _open_pieces(source, model, names, custom_ops, problem)
        return _open_reference(source, said, names)


def open_original(
    source: Source, *, expose: Sequence[str] = (), custom_ops: Sequence[str | Path] = (), next_step: str = ""
) -> Runner:
    """As `open_runner`, for a model that has to run: raises InvalidModelError.

    `next_step` tells what to do then; by default to pass the library of unknown operators.
    """
    try:
        return open_runner(source, expose=expose, custom_ops=custom_ops)
    except EngineError as error:
        said = "; ".join(str(error).splitlines())
        unknown, step = ", ".join(find_unknown_operators(source.model)), "check that it runs at all"
        if unknown:
            said, step = f"unknown operators: {unknown}; {said}", "pass the library that has them as custom_ops"
        raise InvalidModelError(
            f"got a model that nothing here runs ({said}); expected one that ONNX Runtime loads; {next_step or step}"
        ) from error


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


def find_libraries(models: Iterable[ModelProto], given: Sequence[str | Path] = ()) -> tuple[str | Path, ...]:
    """The libraries to run `models` with: those `given`, and our own where a node wants it and it loads here."""
    if not any(map(wants_plugin, models)) or not plugin.is_available():
        return tuple(given)
    own = plugin.library_path()
    known = {Path(library).resolve() for library in given}
    return tuple(given) if own.resolve() in known else (*given, own)


def describe_missing_library(models: Iterable[ModelProto]) -> str:
    """Why nodes of the native library run without it here, and what computes instead; "" where nothing is missing."""
    problem = plugin.find_problem() if any(map(wants_plugin, models)) else ""
    return f"the native library did not run, only the Convs that stand in for it: {problem}" if problem else ""


def wants_plugin(model: ModelProto) -> bool:
    """Whether the model has nodes for our native library."""
    return any(node.domain == plugin.DOMAIN for node in walk_nodes(model))


def walk_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of the graph, of its bodies at any depth, and of the model-local functions."""
    return (node for body in walk_bodies(model) for node in body.node)


def find_providers(model: ModelProto) -> list[Any]:
    """What ONNX Runtime is to run a model with, for numbers rather than for speed."""
    return exact_providers() if is_for_cuda(model) and not find_cuda_problem() else list(CPU_PROVIDERS)


def ort_version() -> str:
    """The version of ONNX Runtime."""
    return str(_ort().__version__)


def _ort() -> Any:
    return importlib.import_module("onnxruntime")


def _open_ort(source: Source, model: ModelProto, changed: bool, custom_ops: Sequence[str | Path]) -> Any:
    ort = _ort()
    options = ort.SessionOptions()
    options.log_severity_level = ORT_QUIET
    options.enable_mem_pattern = False  # feeds differ in shape
    for library in custom_ops:
        options.register_custom_ops_library(str(library))
    where: str | bytes
    if source.path is not None and not changed:
        where = str(source.path)
    else:
        if source.base_dir is not None:
            options.add_session_config_entry(EXTERNAL_DATA_KEY, str(source.base_dir))
        where = model.SerializeToString()
    return ort.InferenceSession(where, options, providers=find_providers(source.model))


def _open_pieces(
    source: Source, model: ModelProto, names: Sequence[str], custom_ops: Sequence[str | Path], problem: str
) -> Runner:
    copy = ModelProto()
    copy.CopyFrom(model)  # pieces are loaded later, when the caller may have changed it

    def open_piece(piece: ModelProto, by_numpy: bool) -> Any:
        cut = Source(piece, source.base_dir)
        if not by_numpy:
            try:
                return _open_ort(cut, piece, True, custom_ops)
            except Exception as error:  # ORT's exceptions have no common base
                runner.refusals.append(f"{ORT}: {_first_line(error)}")
        return _open_evaluator(cut)

    runner = Runner(PIECES, Pieces(copy, source.base_dir, open_piece), names, problem)
    return runner


def _open_reference(source: Source, said: str, names: Sequence[str]) -> Runner:
    try:
        evaluator = _open_evaluator(source)
    except Exception as error:
        raise EngineError(f"{said}\n{REFERENCE}: {_first_line(error)}") from error
    return Runner(REFERENCE, evaluator, names, said)


def _open_evaluator(source: Source) -> Evaluator:
    """ONNX's evaluator, with NumPy's part; the evaluator reads the type of every output it is told of."""
    copy = ModelProto()
    copy.CopyFrom(source.model)
    if source.base_dir is not None:
        load_external_data_for_model(copy, str(source.base_dir))
    for value in copy.graph.output:
        if not value.HasField("type"):
            value.type.tensor_type.elem_type = onnx.TensorProto.UNDEFINED
    return Evaluator(copy)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return " ".join(text.split())[:400] if text else type(error).__name__
