"""Mutations of what lies on disk: external data, the bytes of the model's file, plan files."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from random import Random
from typing import Any

from onnx import ModelProto, TensorProto
from onnx.external_data_helper import set_external_data

from scripts.fuzz.reflection import EXTREME_TEXTS

DATA_NAME = "weights.bin"
BAD_ENTRIES = {
    "location": ("", ".", "..", "../weights.bin", "/etc/hostname", "missing.bin", "a/../weights.bin", "n" * 300),
    "offset": ("-1", "x", "", "1", "4096", str(2**40), str(2**63), "1e3"),
    "length": ("-1", "x", "", "0", "1", str(2**40), str(2**63), "1e3"),
    "checksum": ("0", "\n"),
}  # fmt: skip
BAD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2, 7, 1.5, 2**70, float("nan"), float("inf"), "", "matmul", "fftconv", "rfft", "native", [],
    {}, [[]], *EXTREME_TEXTS[:9],
)  # fmt: skip


def move_data(model: ModelProto, rng: Random) -> dict[str, bytes]:
    """Make the data of some tensors external; returns what the file beside the model holds."""
    data = bytearray()
    for tensor in model.graph.initializer:
        if tensor.raw_data and rng.random() < 0.7:
            data += bytes(-len(data) % rng.choice((1, 4, 4096)))
            set_external_data(tensor, DATA_NAME, len(data), len(tensor.raw_data))
            data += tensor.raw_data
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
    return {DATA_NAME: bytes(data)} if data else {}


def mutate_external(model: ModelProto, files: dict[str, bytes], rng: Random) -> str:
    """Change where a tensor says that its data lies, or the file that holds it."""
    tensors = [tensor for tensor in model.graph.initializer if tensor.external_data]
    if not tensors or DATA_NAME not in files:
        return "unchanged: no external data"
    if rng.random() < 0.3:
        files[DATA_NAME] = files[DATA_NAME][: rng.randrange(len(files[DATA_NAME]))]
        return "external data cut short"
    tensor, key = rng.choice(tensors), rng.choice(list(BAD_ENTRIES))
    kept = [entry for entry in tensor.external_data if entry.key != key]
    value = rng.choice(BAD_ENTRIES[key])
    entries = [*((entry.key, entry.value) for entry in kept), *([(key, value)] if rng.random() < 0.9 else [])]
    del tensor.external_data[:]
    for name, text in entries:
        tensor.external_data.add(key=name, value=text)
    if rng.random() < 0.1:
        tensor.data_location = TensorProto.DEFAULT
    return f"external data: {key} is {value[:40]!r}"


def replace_by_link(path: Path, rng: Random) -> str:
    """Put something else in the place of a data file: a link out of the folder, a loop, a folder, a device."""
    moved = path.parent.parent / f"{path.parent.name}.data"
    kind = rng.choice(("link", "loop", "folder", "device", "gone", "unreadable"))
    if kind == "link":
        path.rename(moved)
        path.symlink_to(moved)
    elif kind == "unreadable":
        path.chmod(0)
    else:
        path.unlink()
    if kind == "loop":
        path.symlink_to(path.name)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to(os.devnull)
    return f"external data: {kind}"


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """Flip, cut, double or drop bytes anywhere."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if not changed:
            break
        at, length = rng.randrange(len(changed)), rng.choice((1, 4, 64))
        kind = rng.choice(("flip", "flip", "flip", "cut", "double", "drop"))
        if kind == "flip":
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del changed[at:]
        elif kind == "double":
            changed[at:at] = changed[at : at + length]
        else:
            del changed[at : at + length]
    return bytes(changed)


def mutate_plan(plan: Any, rng: Random) -> bytes:
    """A plan as a file, with some values changed, or its text."""
    changed = copy.deepcopy(plan)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        changed = _mutate_json(changed, rng)
    text = json.dumps(changed).encode()
    kind = rng.choice(("", "", "", "", "bytes", "deep", "mark", "utf-16"))
    if kind == "bytes":
        return mutate_bytes(text, rng)
    if kind == "deep":
        return b"[" * rng.choice((500, 100_000)) + text
    return b"\xef\xbb\xbf" + text if kind == "mark" else text.decode().encode("utf-16") if kind else text


def _mutate_json(value: Any, rng: Random) -> Any:
    """The same with one value somewhere inside replaced, dropped or doubled."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(BAD_VALUES)
    key: Any = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    kind = rng.choice(("inside", "inside", "inside", "drop", "more"))
    if kind == "inside":
        value[key] = _mutate_json(value[key], rng)
    elif kind == "drop":
        del value[key]
    elif isinstance(value, dict):
        value[rng.choice(("name", "axes", "more", "lowering"))] = value[key]
    else:
        value.append(copy.deepcopy(value[key]))
    return value
