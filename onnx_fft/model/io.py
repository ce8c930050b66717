"""Reading models: external data stays on disk until it is asked for.

External data is named relative to the model's directory, `base_dir`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

from onnx import ModelProto, TensorProto
from onnx.checker import check_model
from onnx.external_data_helper import uses_external_data
from onnx.helper import tensor_dtype_to_np_dtype

from onnx_fft.errors import InvalidModelError, UsageError, one_line
from onnx_fft.model.external import check_data_file, external_path, locate_data
from onnx_fft.model.scopes import walk_tensors
from onnx_fft.model.sorting import count_late, sort_nodes
from onnx_fft.model.staging import shorten_path
from onnx_fft.model.structure import check_structure


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model without its external data, which lies under `base_dir`; None if the model came as an object.

    `path` is the file that holds this very model; None if there is none, or if the model has changed since. `moved`
    nodes were out of order and have been sorted; `unsorted` is the model as it was, None if they were in order.
    """

    model: ModelProto
    base_dir: Path | None = None
    path: Path | None = None
    moved: int = 0
    unsorted: ModelProto | None = None

    @property
    def output_names(self) -> list[str]:
        """Names of the graph outputs, in order."""
        return [value.name for value in self.model.graph.output]

    def copy(self) -> LoadedModel:
        """The same model as an object of its own."""
        model = ModelProto()
        model.CopyFrom(self.model)
        return replace(self, model=model)


ModelSource = LoadedModel | ModelProto | str | Path
"""What a caller can give as a model."""


def load_model(source: ModelSource) -> LoadedModel:
    """Read a model and check its structure; an object is copied, so that the caller's is never changed.

    Raises UsageError if there is no such file and InvalidModelError if it does not hold a valid model.
    """
    if isinstance(source, LoadedModel):
        return source.copy()
    model = ModelProto()
    if isinstance(source, ModelProto):
        try:
            model.CopyFrom(source)
        except Exception as error:  # protobuf's DecodeError has no type information
            problem = f"got a ModelProto that cannot be copied ({error})"
            raise InvalidModelError(problem, "one that a file can hold", "nest fewer bodies") from error
        return _accept(LoadedModel(model), "the given ModelProto")
    path = Path(source)
    try:
        problem = "" if path.is_file() else "is a directory" if path.is_dir() else "is not a file"
    except OSError as error:  # a name that is too long, a loop of links
        problem = f"cannot be a file ({error.strerror})"
    if problem:
        raise UsageError(f"got {shorten_path(path)!r}, which {problem}", "an ONNX model file", "check the path")
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # OSError, or protobuf's DecodeError, which has no type information
        problem = f"got {str(path)!r}, {path.stat().st_size} bytes that cannot be read as an ONNX model ({error})"
        raise InvalidModelError(problem, "a complete ModelProto", "export or download it again") from error
    loaded = _accept(LoadedModel(model, path.absolute().parent, path), repr(str(path)))
    for tensor in filter(uses_external_data, walk_tensors(model)):
        check_data_file(tensor, external_path(tensor, loaded.base_dir))
    return loaded


def _accept(loaded: LoadedModel, what: str) -> LoadedModel:
    """The model with its nodes in order; InvalidModelError, naming `what`, if its names do not add up."""
    late = count_late(loaded.model)
    before = loaded.copy().model if late else None
    if late:
        sort_nodes(loaded.model)
    check_structure(loaded.model, what)
    return replace(loaded, moved=late, unsorted=before)


def model_bytes(loaded: LoadedModel) -> int:
    """Size of the model on disk, its external data included."""
    external = [tensor for tensor in walk_tensors(loaded.model) if uses_external_data(tensor)]
    return int(loaded.model.ByteSize() + sum(map(_data_bytes, external)))


def _data_bytes(tensor: TensorProto) -> int:
    try:
        return int(prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except KeyError as error:
        problem = f"got tensor {tensor.name!r} of data type {tensor.data_type}, which ONNX does not have"
        raise InvalidModelError(problem, "one of ONNX's types", "export the model again") from error


def find_problem(loaded: LoadedModel) -> str:
    """What onnx's checker, shape inference included, says against a model (see `materialized`); "" for nothing."""
    has_data = any(map(uses_external_data, walk_tensors(loaded.model)))
    file = None if loaded.unsorted else loaded.path  # the checker would say that its nodes are out of order
    try:
        with _without_data(loaded.model) if has_data else nullcontext(file or loaded.model) as source:
            check_model(source, full_check=True)
    except Exception as error:  # ValidationError, InferenceError, and types of the C++ library
        return one_line(error)
    return ""


@contextmanager
def _without_data(model: ModelProto) -> Iterator[Path]:
    """A file with a model whose tensors all name one empty file: the checker refuses links, but reads no data."""
    copy = ModelProto()
    copy.CopyFrom(model)
    with TemporaryDirectory(prefix="onnx_fft-") as folder:
        for tensor in filter(uses_external_data, walk_tensors(copy)):
            locate_data(tensor, "data")
        Path(folder, "data").touch()
        path = Path(folder, "model.onnx")
        path.write_bytes(copy.SerializeToString())
        yield path


def with_real_data(loaded: LoadedModel) -> LoadedModel:
    """The model with each data file named by where it lies, if a link takes one out of the model's folder.

    onnx's checker follows no such link, nor does ONNX Runtime from 1.24 on, unless the data lies below the folder in
    which the model file itself, its links followed, lies.
    """
    if loaded.base_dir is None:
        return loaded
    files = {path: path.resolve() for path in find_data_files(loaded)}
    homes = {loaded.base_dir.resolve()} | ({loaded.path.resolve().parent} if loaded.path else set())
    if all(any(real.is_relative_to(home) for home in homes) for real in files.values()):
        return loaded
    folder = Path(os.path.commonpath([real.parent for real in files.values()]))
    copy = replace(loaded.copy(), base_dir=folder, path=None)
    for tensor in filter(uses_external_data, walk_tensors(copy.model)):
        locate_data(tensor, str(files[external_path(tensor, loaded.base_dir)].relative_to(folder)))
    return copy


def find_data_files(loaded: LoadedModel) -> list[Path]:
    """The files that hold the model's external data, each once."""
    tensors = [tensor for tensor in walk_tensors(loaded.model) if uses_external_data(tensor)]
    return sorted({external_path(tensor, loaded.base_dir) for tensor in tensors})


def list_files(loaded: LoadedModel) -> tuple[Path, ...]:
    """The file that a model was read from, if any, and those that hold its external data."""
    own = () if loaded.path is None else (loaded.path.absolute(),)
    return (*own, *find_data_files(loaded))
