"""Following a weight to its constant value: initializers, Constant nodes, and whatever folds on top of them.

Lengths that the model fixes are constants as well, each by itself: of a `Shape(x)` whose first length is open the
others can be used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx.helper import np_dtype_to_tensor_dtype

from onnx_fft.errors import Refusal
from onnx_fft.model.external import Array
from onnx_fft.model.folding import is_foldable
from onnx_fft.model.resolving import Resolver, is_overridable, stored_tensor
from onnx_fft.model.scopes import DEFAULT_DOMAINS, Refused, Scope


@dataclass(frozen=True, slots=True)
class ConvWeights:
    """Constant operands in float64.

    `weight` is `[out_channels, in_channels // group, *kernel_shape]`, `bias` `[out_channels]`. A bias computed at run
    time is `bias_input`, the name of that tensor; "" if there is none.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64] | None = None
    bias_input: str = ""


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and `TensorProto.DataType` of a constant."""

    shape: tuple[int, ...]
    elem_type: int


def resolve_constant(name: str, scope: Scope) -> Array | Refusal:
    """The value of `name` as seen from `scope`, in its own dtype, or why it has none before run time."""
    try:
        return Resolver().resolve(name, scope)
    except Refused as refused:
        return refused.refusal


def resolve_type(name: str, scope: Scope) -> TensorType | Refusal:
    """Shape and element type of a constant, without reading its data if the file states them."""
    try:
        tensor = stored_tensor(name, scope)
        if tensor is not None:
            return TensorType(tuple(tensor.dims), tensor.data_type)
        value = Resolver().resolve(name, scope)
    except Refused as refused:
        return refused.refusal
    return TensorType(value.shape, np_dtype_to_tensor_dtype(value.dtype))


def is_stored(name: str, scope: Scope) -> bool:
    """Whether the file holds the dense tensor `name` itself, as an initializer or in a Constant node."""
    try:
        return stored_tensor(name, scope) is not None
    except Refused:
        return False


def find_constants(scopes: Iterable[Scope]) -> dict[Scope, set[str]]:
    """By scope, the names seen there whose values are constants, judged by what computes them: nothing is evaluated.

    `scopes` are those of one model in order. Lengths that the model fixes count as constants.
    """
    constants: dict[Scope, set[str]] = {}
    for scope in scopes:
        own = scope.inputs | scope.tensors.keys() | scope.producers.keys()
        around = set() if scope.parent is None else constants[scope.parent] - own
        stored = {name for name in scope.tensors if not is_overridable(name, scope)}
        known = constants[scope] = around | stored
        for node in scope.body.node:
            is_shape = node.op_type == "Shape" and node.domain in DEFAULT_DOMAINS and len(node.input) == 1
            reads_lengths = is_shape and None not in scope.shapes.get(node.input[0], [None])
            if reads_lengths or (all(name in known for name in node.input if name) and is_foldable(node, scope.opset)):
                known.update(filter(None, node.output))
    return constants
