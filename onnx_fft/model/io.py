"""Reading and writing models: external data stays on disk, and nothing appears until all of it is written.

External data is named relative to the model's directory, `base_dir`. It is read on demand only, and copied as a stream
when a model moves to another directory.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from onnx import ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import uses_external_data
from onnx.helper import tensor_dtype_to_np_dtype

from onnx_fft.errors import InvalidModelError, OutputError, UsageError
from onnx_fft.model.external import external_location, tensor_array
from onnx_fft.model.scopes import is_graph, walk_bodies, walk_tensors
from onnx_fft.model.structure import check_structure

__all__ = ["LoadedModel", "load_model", "model_bytes", "save_model", "tensor_array"]

MAX_MODEL_BYTES = 2**31 - 1
"""Protobuf's limit for one message."""

MIN_EXTERNAL_ELEMENTS = 1024
"""Smaller tensors stay inside the file even where that is too large."""

DATA_ALIGNMENT_BYTES = 4096
"""External tensors start on a page, so that a runtime can map them."""

REPLACES_KEY = "onnx_fft.replaces"
"""Marks nodes of ours in their `metadata_props`; the value is the name of the convolution they stand for."""

LOWERING_KEY = "onnx_fft.lowering"
"""Says beside it which lowering wrote them."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model without its external data, which lies under `base_dir`; None where the model came as an object."""

    model: ModelProto
    base_dir: Path | None = None


def load_model(source: ModelProto | str | Path) -> LoadedModel:
    """Read a model and check its structure; a ModelProto is copied, so that the caller's is never changed.

    Raises UsageError where there is no such file and InvalidModelError where it holds no valid model.
    """
    model = ModelProto()
    if isinstance(source, ModelProto):
        model.CopyFrom(source)
        check_structure(model, "the given ModelProto")
        return LoadedModel(model)
    path = Path(source)
    if not path.is_file():
        what = "a directory" if path.is_dir() else "no file"
        raise UsageError(f"got {str(path)!r}, which is {what}; expected an ONNX model file; check the path")
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # OSError, or protobuf's DecodeError, which has no type information
        message = f"got {str(path)!r}, {path.stat().st_size} bytes that cannot be read as an ONNX model ({error})"
        raise InvalidModelError(f"{message}; expected a complete ModelProto; export or download it again") from error
    check_structure(model, repr(str(path)))
    return LoadedModel(model, path.absolute().parent)


def model_bytes(loaded: LoadedModel) -> int:
    """Size of the model on disk, its external data included."""
    external = [tensor for tensor in walk_tensors(loaded.model) if uses_external_data(tensor)]
    sizes = [prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize for tensor in external]
    return int(loaded.model.ByteSize() + sum(sizes))


def save_model(model: ModelProto, path: str | Path, base_dir: Path | None = None) -> None:
    """Write `model` to `path` and its external data beside it; all of it, or nothing.

    External data stays where it is if `path` lies in `base_dir`, and is copied to the same relative places otherwise. A
    model too large for one protobuf message gets the large constants of ours moved to `<path>.data`; `model` itself is
    the same afterwards. Raises OutputError where something cannot be written, InvalidModelError where data is missing.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OutputError(
            f"got output path {str(path)!r}, which is no regular file; expected a file name; choose another"
        )
    if not path.parent.is_dir():
        raise OutputError(f"got output path {str(path)!r} in no existing directory; expected one; create it first")
    staging = _Staging(path)
    try:
        _copy_external_files(model, base_dir, staging)
        with ExitStack() as stack:
            data = _serialize(model)
            if data is None:
                stack.enter_context(_constants_outside(model, staging))
                data = _serialize(model)
            if data is None:
                raise OutputError(
                    f"got a model of more than {MAX_MODEL_BYTES} bytes; expected less beside its external data; "
                    "rewrite fewer convolutions, or save the original with external data"
                )
            staging.create(path).write(data)
        staging.commit()
    except OSError as error:
        raise OutputError(
            f"got {error} while writing {str(path)!r}; expected space and permission; nothing changed"
        ) from error
    finally:
        staging.discard()


@dataclass(slots=True)
class _Staging:
    """Files under temporary names beside the output, renamed together once all are complete."""

    output: Path
    files: list[tuple[BinaryIO, Path]] = field(default_factory=list)

    def create(self, target: Path) -> BinaryIO:
        """A new file, open for writing and reading, that becomes `target` on commit."""
        file = self.output.with_name(f".onnx_fft-{uuid4().hex}.tmp").open("x+b")
        self.files.append((file, target))
        return file

    def commit(self) -> None:
        """Flush every file to disk, then rename them in the order of their creation: the model is the last."""
        for file, _ in self.files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        done: list[Path] = []
        try:
            for file, target in self.files:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file.name, target)
                done.append(target)
        except OSError:
            for target in done:
                target.unlink(missing_ok=True)
            raise

    def discard(self) -> None:
        """Remove what was not committed."""
        for file, _ in self.files:
            with suppress(OSError):  # a full disk fails once more here
                file.close()
            Path(file.name).unlink(missing_ok=True)


def _copy_external_files(model: ModelProto, base_dir: Path | None, staging: _Staging) -> None:
    """Stage a copy of every external file that the output's directory lacks."""
    directory = staging.output.absolute().parent
    locations = sorted({external_location(tensor) for tensor in walk_tensors(model) if uses_external_data(tensor)})
    for location in locations:
        source, target = (base_dir or directory) / location, directory / location
        if target == staging.output.absolute():
            message = f"got output path {str(staging.output)!r}, under which the model keeps data"
            raise OutputError(f"{message}; expected another file name; choose one")
        if not source.is_file():
            message = f"got a model with data in {location!r}, which is not in {str(source.parent)!r}"
            raise InvalidModelError(f"{message}; expected it there; pass the path of the complete model")
        if not target.exists():
            with source.open("rb") as file:
                shutil.copyfileobj(file, staging.create(target), 1 << 20)
        elif not source.samefile(target) and not filecmp.cmp(source, target, shallow=False):
            message = f"got the existing file {str(target)!r}, which differs from the model's {str(source)!r}"
            raise OutputError(f"{message}; expected no such file; choose another output directory")


def _serialize(model: ModelProto) -> bytes | None:
    """The bytes of the model, None where there are too many of them."""
    try:
        data = model.SerializeToString()
    except Exception:  # EncodeError or ValueError, as protobuf's implementations go
        return None
    return data if len(data) <= MAX_MODEL_BYTES else None


@contextmanager
def _constants_outside(model: ModelProto, staging: _Staging) -> Iterator[None]:
    """Hold the large constants of our own nodes in a staged data file, for as long as the block lasts."""
    taken = {external_location(tensor) for tensor in walk_tensors(model) if uses_external_data(tensor)}
    names = (f"{staging.output.name}{number or ''}.data" for number in range(len(taken) + 1))
    location = next(name for name in names if name not in taken)
    file = staging.create(staging.output.with_name(location))
    moved: list[tuple[TensorProto, int, int]] = []
    try:
        for tensor in _find_own_constants(model):
            offset = -(-file.tell() // DATA_ALIGNMENT_BYTES) * DATA_ALIGNMENT_BYTES
            file.seek(offset)
            length = file.write(tensor.raw_data)
            moved.append((tensor, offset, length))
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
                tensor.external_data.add(key=key, value=value)
        yield
    finally:
        for tensor, offset, length in moved:
            file.seek(offset)
            tensor.raw_data = file.read(length)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")


def _find_own_constants(model: ModelProto) -> list[TensorProto]:
    """Large initializers, with their data inside, that nodes of ours read."""
    tensors: list[TensorProto] = []
    for body in walk_bodies(model):
        if is_graph(body):
            read = {name for node in body.node if _is_own(node) for name in node.input}
            tensors += [
                tensor
                for tensor in body.initializer
                if tensor.name in read and tensor.HasField("raw_data") and prod(tensor.dims) >= MIN_EXTERNAL_ELEMENTS
            ]
    return tensors


def _is_own(node: NodeProto) -> bool:
    return any(entry.key == REPLACES_KEY for entry in node.metadata_props)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as a whole or not at all; OutputError where that fails."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file as a whole or not at all; OutputError where that fails."""
    path = Path(path)
    staging = _Staging(path)
    try:
        staging.create(path).write(data)
        staging.commit()
    except OSError as error:
        raise OutputError(
            f"got {error} while writing {str(path)!r}; expected space and permission; nothing changed"
        ) from error
    finally:
        staging.discard()
