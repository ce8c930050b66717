"""Tensors whose data lies in a file of its own, named relative to the model's directory.

The name never leads out of that directory, except by links that are there already: model caches keep data that way.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import numpy.typing as npt
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import uses_external_data
from onnx.helper import tensor_dtype_to_np_dtype

from onnx_fft.errors import InvalidModelError

Array = npt.NDArray[Any]
Value = Array | list[Array] | None
"""What a name stands for: a tensor, a sequence of tensors, or an optional that holds nothing."""


def tensor_array(tensor: TensorProto, base_dir: Path | None) -> Array:
    """The values of a tensor, read from its file if it has one; InvalidModelError if they cannot be read."""
    try:
        if not uses_external_data(tensor):
            return numpy_helper.to_array(tensor)
        data = _read_data(tensor, external_path(tensor, base_dir))
        return numpy_helper.to_array(TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=data))
    except (OSError, ValueError, TypeError, KeyError) as error:  # KeyError: an unknown data type
        raise _unreadable(tensor, error) from error


def inline_data(tensors: Iterable[TensorProto], base_dir: Path | None) -> None:
    """Put the data of external tensors into them; InvalidModelError if it cannot be read.

    onnx's own loader follows no link and refuses a file that has a second name.
    """
    for tensor in filter(uses_external_data, tensors):
        try:
            tensor.raw_data = _read_data(tensor, external_path(tensor, base_dir))
        except (OSError, ValueError, KeyError) as error:
            raise _unreadable(tensor, error) from error
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _read_data(tensor: TensorProto, path: Path) -> bytes:
    """The bytes of an external tensor; none is read, and no memory taken, beyond what the file has."""
    stated = {entry.key: int(entry.value) for entry in tensor.external_data if entry.key in ("offset", "length")}
    offset, size = stated.get("offset", 0), path.stat().st_size
    most = prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    length = stated.get("length", min(most, max(size - offset, 0)))  # what follows may be of other tensors
    if min(offset, length) < 0 or offset + length > size:
        raise ValueError(f"{length} bytes from byte {offset} on, of a file of {size}")
    check_data_file(tensor, path)
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _unreadable(tensor: TensorProto, error: Exception) -> InvalidModelError:
    problem = f"got tensor {tensor.name!r} of shape {list(tensor.dims)} whose data cannot be read ({error})"
    return InvalidModelError(problem, "as many bytes as the shape asks for", "export the model again")


def check_data_file(tensor: TensorProto, path: Path) -> None:
    """Raise InvalidModelError if there is something at `path` that is no file; reading a pipe would never end."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return
        problem = "which is not a regular file"
    except (FileNotFoundError, NotADirectoryError):
        return  # a model whose data is elsewhere can be looked at
    except OSError as error:  # a name that is too long, a loop of links
        problem = f"which cannot be a file ({error.strerror})"
    location = external_location(tensor)[-120:]
    raise InvalidModelError(
        f"got tensor {tensor.name!r} stored in {location!r}, {problem}", "a file", "export it again"
    )


def external_path(tensor: TensorProto, base_dir: Path | None) -> Path:
    """Where the data of an external tensor lies; InvalidModelError for a place outside `base_dir`."""
    location = external_location(tensor)
    if base_dir is None:
        problem = f"got tensor {tensor.name!r} stored in {location!r}, from a model without a directory"
        raise InvalidModelError(problem, "its data inside the model", "pass the path of the model file instead")
    path = base_dir / location
    stated = _stated_location(tensor)
    if os.pardir in stated and path.resolve() != (base_dir / stated).resolve():  # behind a link to another folder
        raise _elsewhere(tensor)
    return path


def external_location(tensor: TensorProto) -> str:
    """The normalized relative path an external tensor names; InvalidModelError for one that leads elsewhere."""
    stated = _stated_location(tensor)
    location = os.path.normpath(stated)
    is_inside = location not in (os.curdir, os.pardir) and not location.startswith(os.pardir + os.sep)
    if not stated or "\0" in stated or os.path.isabs(location) or not is_inside:
        raise _elsewhere(tensor)
    return location


def locate_data(tensor: TensorProto, location: str) -> None:
    """Have an external tensor name another file."""
    for entry in tensor.external_data:
        if entry.key == "location":
            entry.value = location


def _stated_location(tensor: TensorProto) -> str:
    """What the file says, the last one if it says it twice, as ONNX's own readers have it."""
    return next((entry.value for entry in reversed(tensor.external_data) if entry.key == "location"), "")


def _elsewhere(tensor: TensorProto) -> InvalidModelError:
    problem = f"got tensor {tensor.name!r} stored in {_stated_location(tensor)!r}"
    return InvalidModelError(problem, "a relative path inside the model's directory", "export the model again")
