"""Arrays by name as an .npz file, which is how inputs and outputs travel here."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from onnx_fft.errors import one_line
from scripts.shared.conv_models import Array


def read_arrays(data: bytes) -> dict[str, Array]:
    """The arrays of an .npz file. Raises ValueError if it is none; nothing in it is unpickled."""
    try:
        return dict(np.load(io.BytesIO(data), allow_pickle=False).items())
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        problem = f"got {len(data)} bytes that are not an .npz file ({one_line(error)})"
        raise ValueError(f"{problem}; expected an array for each input, as numpy.savez writes them") from error


def write_arrays(arrays: Mapping[str, Array]) -> bytes:
    """An .npz file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # numpy.savez has arguments that an array could not be called as
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)
    return file.getvalue()
