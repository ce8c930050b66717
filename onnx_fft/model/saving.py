"""Writing models: nothing appears until all of it is written, and external data is copied as a stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO
from uuid import uuid4

from onnx import ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import uses_external_data

from onnx_fft.errors import InvalidModelError, OutputError
from onnx_fft.model.external import check_data_file, external_location, locate_data
from onnx_fft.model.io import LoadedModel, load_model, with_real_data
from onnx_fft.model.scopes import is_graph, walk_bodies, walk_tensors
from onnx_fft.model.staging import COPY_BYTES, Staging, reporting, staging

MAX_MODEL_BYTES = 2**31 - 1
"""Protobuf's limit for one message."""

MIN_EXTERNAL_ELEMENTS = 1024
"""Smaller tensors stay inside the file even if that is too large."""

DATA_ALIGNMENT_BYTES = 4096
"""External tensors start on a page, so that a runtime can map them."""

DIGEST_DIGITS = 16
"""Hexadecimal digits of the content's digest in the name of a data file of ours."""

MAX_NAME_BYTES = 255
"""The longest name that common file systems take."""

NodeTest = Callable[[NodeProto], bool]


def never(node: NodeProto) -> bool:
    """Whether no node at all has the property."""
    return False


def save_model(model: ModelProto, path: str | Path, base_dir: Path | None = None, *, movable: NodeTest = never) -> None:
    """Write `model` to `path` and its external data beside it; all of it, or nothing. See `staged_model`."""
    with staged_model(model, path, base_dir, movable=movable) as staged:
        staged.commit()


@contextmanager
def staged_model(
    model: ModelProto, path: str | Path, base_dir: Path | None = None, *, movable: NodeTest = never
) -> Iterator[Staging]:
    """The complete model under a name beside `path`, `.path`, to run and check it there; `.commit()` puts it in place.

    External data stays where it is if `path` lies in `base_dir`, and is copied to the same relative places otherwise;
    but what a link beside `path` has elsewhere is copied to a name of its own, or no runtime would load it. A model too
    large for one protobuf message gets the large constants of `movable` nodes moved to `<path>.<digest>.data`, a name
    that stands for this content only; `model` itself is the same afterwards. What is not committed is gone after the
    block. Raises OutputError if something cannot be written, InvalidModelError if data is missing.
    """
    with staging(path) as staged:
        with reporting(staged.output):
            names = _add_external_files(model, base_dir, staged)
            with _located(model, names):
                _write_model(model, staged, movable)
        yield staged


@contextmanager
def materialized(loaded: LoadedModel, *, movable: NodeTest = never) -> Iterator[LoadedModel]:
    """The model as runtimes and onnx's checker can load it, for as long as the block lasts.

    That is the model itself, or, with external data or too large for one protobuf message, a complete file: beside the
    data, so that none is copied, or in a temporary folder if nothing can be written there. `movable` as for
    `staged_model`.
    """
    has_data = any(uses_external_data(tensor) for tensor in walk_tensors(loaded.model))
    if loaded.path is not None or not (has_data or _serialize(loaded.model) is None):
        yield loaded
        return
    loaded = with_real_data(loaded)
    with ExitStack() as stack:
        folder = loaded.base_dir
        if folder is None or not os.access(folder, os.W_OK | os.X_OK):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="onnx_fft-")))
        staged = staged_model(loaded.model, folder / f"{uuid4().hex}.onnx", loaded.base_dir, movable=movable)
        yield load_model(stack.enter_context(staged).path)


def _write_model(model: ModelProto, staged: Staging, movable: NodeTest) -> None:
    with ExitStack() as stack:
        data = _serialize(model)
        if data is None:
            stack.enter_context(_constants_outside(model, staged, movable))
            data = _serialize(model)
        if data is None:
            raise OutputError(
                f"got a model of more than {MAX_MODEL_BYTES} bytes",
                "less beside its external data",
                "rewrite fewer operators, or save the original with external data",
            )
        staged.write(data)


def _add_external_files(model: ModelProto, base_dir: Path | None, staged: Staging) -> dict[str, str]:
    """Have every external file of the model beside the output, without ever writing over one of them.

    Returns location -> name of those that are beside it under another name, because a link leads away from there.
    """
    output, directory = staged.output, staged.output.parent
    tensors = {external_location(tensor): tensor for tensor in walk_tensors(model) if uses_external_data(tensor)}
    names = {}
    for location, tensor in sorted(tensors.items()):
        source = (base_dir or directory) / location
        check_data_file(tensor, source)
        if not source.is_file():
            problem = f"got a model with data in {location!r}, which is not in {str(source.parent)!r}"
            raise InvalidModelError(problem, "it there", "pass the path of the complete model")
        if directory / location == output or (output.exists() and source.samefile(output)):
            problem = f"got output path {str(output)!r}, under which the model keeps data"
            raise OutputError(problem, "another file name", "choose one")
        if (directory / location).resolve().is_relative_to(directory.resolve()):
            staged.add(source, location)
        else:
            names[location] = _add_copy(source, staged)
    return names


def _add_copy(source: Path, staged: Staging) -> str:
    """A copy of a file beside the output, under a name that stands for this content, which is returned."""
    digest = sha256()
    with source.open("rb") as original, staged.open_file() as copy:
        while piece := original.read(COPY_BYTES):
            digest.update(piece)
            copy.write(piece)
        name = _name_data(staged.output, digest.hexdigest())
        staged.place(copy, name)
    return name


@contextmanager
def _located(model: ModelProto, names: Mapping[str, str]) -> Iterator[None]:
    """Have tensors stored in the files `names` name others, for as long as the block lasts."""
    before = []
    for tensor in walk_tensors(model) if names else ():
        if uses_external_data(tensor) and external_location(tensor) in names:
            copy = TensorProto(external_data=tensor.external_data)
            before.append((tensor, copy.external_data))
            locate_data(tensor, names[external_location(tensor)])
    try:
        yield
    finally:
        for tensor, entries in before:
            tensor.ClearField("external_data")
            tensor.external_data.extend(entries)


def _name_data(output: Path, digest: str) -> str:
    """`<output>.<digest>.data`, the output's name cut if there is no room for it."""
    suffix = f".{digest[:DIGEST_DIGITS]}.data"
    stem = os.fsencode(output.name)[: MAX_NAME_BYTES - len(suffix)]
    return f"{stem.decode(errors='ignore')}{suffix}"


def _serialize(model: ModelProto) -> bytes | None:
    """The bytes of the model, None if there are too many of them."""
    try:
        data = model.SerializeToString()
    except Exception:  # EncodeError or ValueError, as protobuf's implementations go
        return None
    return data if len(data) <= MAX_MODEL_BYTES else None


@contextmanager
def _constants_outside(model: ModelProto, staged: Staging, movable: NodeTest) -> Iterator[None]:
    """Hold the large constants of `movable` nodes in a data file, for as long as the block lasts."""
    moved: list[tuple[TensorProto, int, int]] = []
    with staged.open_file() as file:
        try:
            digest = _move_constants(_find_constants(model, movable), file, moved)
            location = _name_data(staged.output, digest)
            staged.place(file, location)
            for tensor, offset, length in moved:
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


def _move_constants(constants: Sequence[TensorProto], file: BinaryIO, moved: list[tuple[TensorProto, int, int]]) -> str:
    """Write `constants` to `file`, note tensor, offset and length of each in `moved`; returns the content's digest."""
    digest = sha256()
    for tensor in constants:
        offset = -(-file.tell() // DATA_ALIGNMENT_BYTES) * DATA_ALIGNMENT_BYTES
        file.seek(offset)
        length = file.write(tensor.raw_data)
        digest.update(b"%d %d " % (offset, length))
        digest.update(tensor.raw_data)
        moved.append((tensor, offset, length))
        tensor.ClearField("raw_data")
    return digest.hexdigest()


def _find_constants(model: ModelProto, movable: NodeTest) -> list[TensorProto]:
    """Large initializers, with their data inside, that `movable` nodes read."""
    tensors: list[TensorProto] = []
    for body in walk_bodies(model):
        if is_graph(body):
            read = {name for node in body.node if movable(node) for name in node.input}
            tensors += [
                tensor
                for tensor in body.initializer
                if tensor.name in read and tensor.HasField("raw_data") and prod(tensor.dims) >= MIN_EXTERNAL_ELEMENTS
            ]
    return tensors
