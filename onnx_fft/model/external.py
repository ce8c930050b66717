"""Tensors whose data lies in a file of its own, named relative to the model's directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy.typing as npt
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from onnx_fft.errors import InvalidModelError

Array = npt.NDArray[Any]


def tensor_array(tensor: TensorProto, base_dir: Path | None) -> Array:
    """The values of a tensor, read from its file if it has one; InvalidModelError if they cannot be read."""
    try:
        if not uses_external_data(tensor):
            return numpy_helper.to_array(tensor)
        info = ExternalDataInfo(tensor)
        with external_path(tensor, base_dir).open("rb") as file:
            file.seek(info.offset or 0)
            data = file.read(info.length if info.length is not None else -1)
        return numpy_helper.to_array(TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=data))
    except (OSError, ValueError, TypeError, KeyError) as error:  # KeyError: an unknown data type
        problem = f"got tensor {tensor.name!r} of shape {list(tensor.dims)} whose data cannot be read ({error})"
        raise InvalidModelError(problem, "as many bytes as the shape asks for", "export the model again") from error


def external_path(tensor: TensorProto, base_dir: Path | None) -> Path:
    """Where the data of an external tensor lies; InvalidModelError for a place outside `base_dir`."""
    location = external_location(tensor)
    if base_dir is None:
        problem = f"got tensor {tensor.name!r} stored in {location!r}, from a model without a directory"
        raise InvalidModelError(problem, "its data inside the model", "pass the path of the model file instead")
    return base_dir / location


def external_location(tensor: TensorProto) -> str:
    """The normalized relative path an external tensor names; InvalidModelError for one that leads elsewhere.

    A symbolic link is followed: model caches keep data files that way.
    """
    stated = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    location = os.path.normpath(stated)
    if not stated or os.path.isabs(location) or location.split(os.sep)[0] == os.pardir or location == os.curdir:
        problem = f"got tensor {tensor.name!r} stored in {stated!r}"
        raise InvalidModelError(problem, "a relative path inside the model's directory", "export the model again")
    return location
