"""Input feeds: given ones checked, random ones made to fit what the model accepts.

A dimension is an int, or a symbol: the same symbol gets the same value everywhere, an unnamed dimension is a symbol of
its own. No feed ever has a dimension of 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TypeProto, helper, numpy_helper

from onnx_fft.errors import UsageError, one_line
from onnx_fft.hints import Hint, Note, Option
from onnx_fft.runtime.engines import Value

EXAMPLE_SHAPE, EXAMPLE_LENGTH = (1, 3, 224, 224), 64
FILE = "feeds.npz"
"""What examples in hints call a file with inputs."""


@dataclass(frozen=True, slots=True)
class InputInfo:
    """One input that must be fed. `dims` is None if the model gives no number of axes; strings have dtype object."""

    name: str
    dtype: np.dtype[Any]
    dims: tuple[int | str, ...] | None
    is_sequence: bool = False


@dataclass(frozen=True)
class Feed:
    """One set of inputs, and a label that says what it is and how to make it again."""

    label: str
    arrays: dict[str, Value]
    outputs: dict[str, Value] = field(default_factory=dict)
    """What the original model returned."""
    open_inputs: tuple[str, ...] = ()
    """Inputs whose shape the model leaves open, so that it was made up."""

    @property
    def size(self) -> int:
        """Number of values in all inputs."""
        return sum(np.size(value) for value in self.arrays.values() if not isinstance(value, list))


def read_inputs(model: ModelProto) -> tuple[InputInfo, ...]:
    """The inputs without a default, in order. Raises UsageError for kinds that cannot be made up, such as maps."""
    defaults = {tensor.name for tensor in model.graph.initializer}
    defaults |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    return tuple(_read_input(value.name, value.type) for value in model.graph.input if value.name not in defaults)


def fix_shapes(
    infos: Sequence[InputInfo], input_shapes: Mapping[str, Sequence[int]], others: Sequence[InputInfo] = ()
) -> tuple[InputInfo, ...]:
    """`infos` with dimensions fixed by the user, or by the inputs of the other model if only that one fixes them."""
    values = _symbol_values(infos, input_shapes)
    by_name = {info.name: info.dims for info in others}
    for info in infos:
        other = by_name.get(info.name)
        if info.dims is None or other is None or len(other) != len(info.dims):
            continue
        for dim, fixed in zip(info.dims, other, strict=True):
            if isinstance(dim, str) and isinstance(fixed, int):
                values.setdefault(dim, fixed)
    result = []
    for info in infos:
        other = by_name.get(info.name)
        dims = info.dims if info.dims is not None else input_shapes.get(info.name, other)
        if dims is None:
            raise UsageError(
                f"got input {info.name!r} without a number of axes",
                "a shape to make an input of",
                ask_for_shapes({info.name: EXAMPLE_SHAPE}),
            )
        fixed_dims = tuple(values.get(dim, dim) if isinstance(dim, str) else dim for dim in dims)
        if info.name in input_shapes and other is not None and not _agree(fixed_dims, other):
            problem = f"got input {info.name!r} as {format_shape(fixed_dims)}"
            raise UsageError(problem, f"{format_shape(other)}, as the other model declares it", "correct the shape")
        result.append(replace(info, dims=fixed_dims))
    return tuple(result)


def _agree(one: Sequence[int | str], other: Sequence[int | str]) -> bool:
    return len(one) == len(other) and all(
        isinstance(a, str) or isinstance(b, str) or a == b for a, b in zip(one, other, strict=True)
    )


def load_feed(inputs: str | Path | Mapping[str, Value], infos: Sequence[InputInfo]) -> Feed:
    """A given feed, from an .npz file or a dict; UsageError says which name, dtype or shape does not fit."""
    if isinstance(inputs, Mapping):
        arrays, label = dict(inputs), "given inputs"
    else:
        arrays, label = _read_npz(Path(inputs)), f"inputs of {Path(inputs).name}"
    wanted = {info.name: info for info in infos}
    expected, hint = ", ".join(map(repr, wanted)), "name the arrays as the model names its inputs"
    if missing := sorted(wanted.keys() - arrays.keys()):
        raise UsageError(f"got {label} without {', '.join(missing)}", expected, hint)
    if unknown := sorted(arrays.keys() - wanted.keys()):
        raise UsageError(f"got {label} with {', '.join(unknown)}, which the model does not have", expected, hint)
    return Feed(label, {name: _check_given(wanted[name], arrays[name]) for name in wanted})


def note_made_up(feeds: Sequence[Feed]) -> tuple[Note, ...]:
    """Which inputs got a made-up shape, which one, and how to give the right one; () if none did."""
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for feed in feeds:
        for name in feed.open_inputs:
            value = feed.arrays[name]
            shape = tuple(np.shape(value[0] if isinstance(value, list) else value))
            shapes[name] = list(dict.fromkeys((*shapes.get(name, ()), shape)))
    if not shapes:
        return ()
    made = "; ".join(f"{name} {' and '.join(map(format_shape, tried))}" for name, tried in shapes.items())
    text = f"the model leaves shapes open, so they were made up: {made}; times depend on them"
    first = {name: tried[0] for name, tried in shapes.items()}
    return (Note(text, ("pass yours as in ", Option("input_shapes", first))),)


def ask_for_shapes(shapes: Mapping[str, Sequence[int]]) -> Hint:
    """What to do if shapes cannot be made up: pass them, as in `shapes`, or pass inputs."""
    return ("pass shapes as in ", Option("input_shapes", dict(shapes)), " or inputs as in ", Option("inputs", FILE))


def format_shape(shape: Sequence[int | str]) -> str:
    """`1x3x224x224`, `nx3xhxw`, `scalar`."""
    return "x".join(map(str, shape)) or "scalar"


def find_selectors(model: ModelProto, infos: Sequence[InputInfo]) -> dict[str, list[Any]]:
    """Values of one-element inputs that choose between branches: a bool's two, an int's compared constants and 1."""
    found: dict[str, list[Any]] = {}
    for info in infos:
        if info.is_sequence or info.dims is None or not all(dim == 1 for dim in info.dims):
            continue
        if info.dtype == np.bool_:
            found[info.name] = [True, False]
        elif info.dtype.kind in "iu":
            found[info.name] = [*_compared_constants(model, info.name), 1]
    return {name: list(dict.fromkeys(values)) for name, values in found.items()}


def _read_input(name: str, kind: TypeProto) -> InputInfo:
    which = kind.WhichOneof("value")
    is_sequence = which == "sequence_type"
    if which == "optional_type":
        return _read_input(name, kind.optional_type.elem_type)
    tensor = kind.sequence_type.elem_type.tensor_type if is_sequence else kind.tensor_type
    if which not in ("tensor_type", "sequence_type") or not tensor.elem_type:
        raise UsageError(
            f"got input {name!r} of type {which}", "a tensor or a sequence of tensors", "only such inputs can be fed"
        )
    dims: tuple[int | str, ...] | None = None
    if tensor.HasField("shape"):
        symbols = [
            d.dim_param if d.dim_param not in ("", "?") else f"{name}[{i}]" for i, d in enumerate(tensor.shape.dim)
        ]
        dims = tuple(
            dim.dim_value if dim.dim_value > 0 else symbol
            for dim, symbol in zip(tensor.shape.dim, symbols, strict=True)
        )
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError as error:
        problem = f"got input {name!r} of data type {tensor.elem_type}, which ONNX does not have"
        raise UsageError(problem, "one of ONNX's types", "export the model again") from error
    return InputInfo(name, dtype, dims, is_sequence)


def _symbol_values(infos: Sequence[InputInfo], input_shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    values: dict[str, int] = {}
    by_name = {info.name: info for info in infos}
    for name, shape in input_shapes.items():
        problem = f"got input shape {format_shape(shape)} for {name!r}"
        if name not in by_name:
            raise UsageError(problem, f"one of the inputs {', '.join(by_name)}", "correct the name")
        dims = by_name[name].dims
        if any(size < 1 for size in shape):
            raise UsageError(problem, "sizes of 1 or more", "correct the shape")
        if dims is None:
            continue
        declared = f"{format_shape(dims)}, as the model declares it"
        if len(dims) != len(shape):
            raise UsageError(problem, declared, "correct the shape")
        for dim, size in zip(dims, shape, strict=True):
            if (dim if isinstance(dim, int) else values.setdefault(dim, size)) != size:
                raise UsageError(problem, declared, "correct the shape; the same symbol has one value everywhere")
    return values


def _read_npz(path: Path) -> dict[str, Value]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(
            f"got {str(path)!r}, which does not read as an .npz file ({error})",
            "one array for each input of the model",
            "write it with numpy.savez(path, **feeds)",
        ) from error


def _check_given(info: InputInfo, value: Value) -> Value:
    if info.is_sequence or not isinstance(value, np.ndarray | np.generic | int | float | bool):
        return value
    array = np.asarray(value)
    problem = f"got {info.name!r} as {array.dtype} {list(array.shape)}"
    if info.dtype == np.object_ and array.dtype.kind in "US":
        return array.astype(object)
    if array.dtype != info.dtype:
        raise UsageError(problem, str(info.dtype), f"convert it with .astype('{info.dtype}')")
    if array.size == 0:
        raise UsageError(
            f"{problem}, which is empty", "at least one value", "nothing can be compared on an empty input"
        )
    dims = info.dims
    if dims is not None and (
        len(dims) != array.ndim or any(isinstance(d, int) and d != n for d, n in zip(dims, array.shape, strict=True))
    ):
        raise UsageError(problem, f"{list(dims)}, as the model declares it", "reshape it")
    return array


def make_value(info: InputInfo, shape: tuple[int, ...], rng: np.random.Generator, fill: int | None) -> Value:
    """A random value of `shape`; integers are all `fill` if that is given. Raises UsageError if memory is too small."""
    if info.is_sequence:
        element = InputInfo(info.name, info.dtype, info.dims)
        return [make_value(element, shape, rng, fill) for _ in range(2)]
    try:
        return _make_array(info.dtype, shape, rng, fill)
    except (MemoryError, ValueError) as error:  # ValueError: more bytes than there are addresses
        problem = f"got {info.name!r} of shape {format_shape(shape)}, which is too large to draw"
        raise UsageError(f"{problem} ({one_line(error)})", "a model whose inputs fit in memory") from error


def _make_array(dtype: np.dtype[Any], shape: tuple[int, ...], rng: np.random.Generator, fill: int | None) -> Value:
    if dtype == np.object_:
        return np.asarray(rng.choice(["a", "bc", "def"], size=shape), dtype=object)
    if dtype == np.bool_:
        return np.asarray(rng.integers(0, 2, shape)).astype(np.bool_)
    if dtype.kind in "iu":
        return _make_integers(dtype, shape, rng, fill)
    if dtype.kind == "c":
        return np.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    return np.asarray(rng.standard_normal(shape)).astype(dtype)


def _make_integers(
    dtype: np.dtype[Any], shape: tuple[int, ...], rng: np.random.Generator, fill: int | None
) -> npt.NDArray[Any]:
    """8 and 16 bits carry samples (pixels, audio) and get a wide range; wider ones are indices: small, not negative."""
    if fill is not None:
        return np.full(shape, fill, dtype)
    low, high = {1: (-128, 128), 2: (-8192, 8192)}.get(dtype.itemsize, (0, 4))
    if dtype.kind == "u" and dtype.itemsize < 4:
        low, high = 0, high - low
    return np.asarray(rng.integers(low, high, shape)).astype(dtype)


_PASS_THROUGH = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Gather", "Flatten")


def _compared_constants(model: ModelProto, name: str) -> list[int]:
    """Constants that `name`, possibly reshaped, is compared with."""
    constants = {t.name: t for t in model.graph.initializer if math.prod(t.dims) == 1}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output and len(node.attribute) == 1 and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    same, values = {name}, []
    for node in model.graph.node:
        if node.op_type in _PASS_THROUGH and node.input and node.input[0] in same:
            same.update(node.output)
        elif node.op_type in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual") and same & set(node.input):
            values += _constant_operands(node, constants)
    return values


def _constant_operands(node: NodeProto, constants: Mapping[str, Any]) -> list[int]:
    found = (constants[i] for i in node.input if i in constants and constants[i].data_location == 0)
    return [int(numpy_helper.to_array(tensor).reshape(-1)[0]) for tensor in found if math.prod(tensor.dims) == 1]
