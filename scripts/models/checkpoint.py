"""PyTorch's files, read without PyTorch and without trust: a zip file of one pickle and one raw file a tensor.

The unpickler knows the names that tensors are made of. Modules, which a TorchScript file holds as well, become plain
attributes under the name of their class. Any other name is an error, so the file runs no code.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

STORAGE_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
Array = NDArray[Any]


class Module(SimpleNamespace):
    """A module of a TorchScript file: its attributes, which are tensors, modules and plain values, by name."""

    class_name: str

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the attributes, as pickle has them."""
        self.__dict__.update(state)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        if module.split(".")[0] == "__torch__":
            return type(name, (Module,), {"class_name": f"{module}.{name}"})
        raise pickle.UnpicklingError(f"got {module}.{name} in the checkpoint; expected tensors only")

    def persistent_load(self, pid: Any) -> Array:
        kind, dtype, key, _location, _count = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"got a {kind!r} in the checkpoint; expected storages only")
        return np.frombuffer(self._archive.read(f"{self._root}/data/{int(key)}"), dtype)


def _rebuild_tensor(storage: Array, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Array:
    """A contiguous tensor of shape `size` out of a flat storage; other strides do not occur in saved parameters."""
    expected = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
    if tuple(stride) != expected:
        raise pickle.UnpicklingError(f"got strides {stride} for a tensor of shape {size}; expected {expected}")
    return storage[offset : offset + math.prod(size)].reshape(size)


def read_checkpoint(path: Path) -> Any:
    """What a PyTorch file (zip format) holds: of a checkpoint its tensors by name, of a TorchScript file a `Module`."""
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(pickled) as file:
            return _Unpickler(file, archive, pickled.removesuffix("/data.pkl")).load()


def read_code(path: Path, class_name: str) -> str:
    """The source of a TorchScript module's class: `__torch__.a.b.Kind` is in the file code/__torch__/a/b.py."""
    folder, _, kind = class_name.rpartition(".")
    with zipfile.ZipFile(path) as archive:
        wanted = f"/code/{folder.replace('.', '/')}.py"
        text = archive.read(next(name for name in archive.namelist() if name.endswith(wanted))).decode()
    return next(part for part in text.split("class ") if part.startswith(f"{kind}("))
