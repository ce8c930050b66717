"""Following a weight to its constant value: initializers, Constant nodes, and whatever folds on top of them.

A chain of foldable nodes is evaluated by ONNX's reference evaluator, node by node, in the dtypes of the model: the
values are those that ONNX Runtime's constant folding arrives at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, SparseTensorProto, TensorProto
from onnx.helper import make_function, make_opsetid, np_dtype_to_tensor_dtype
from onnx.reference import ReferenceEvaluator

from onnx_fft.errors import Refusal
from onnx_fft.model.external import Array, tensor_array
from onnx_fft.model.scopes import (
    DEFAULT_DOMAINS,
    IR_WITH_CONSTANT_INITIALIZERS,
    MICROSOFT_DOMAIN,
    Refused,
    Scope,
    read_attributes,
)

MAX_DEPTH = 64
"""Longest chain of nodes followed from a weight to its leaves."""

# fmt: off
FOLDABLE = frozenset((
    "Abs", "Add", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "DequantizeLinear",
    "Div", "Exp", "Expand", "Flatten", "Floor", "Gather", "Identity", "Log", "MatMul", "Max", "Min", "Mul", "Neg",
    "Pad", "Pow", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare", "Reshape", "Round", "Shape", "Sign", "Size", "Slice", "Split", "Sqrt", "Squeeze",
    "Sub", "Sum", "Tile", "Transpose", "Unsqueeze", "Where",
))
# fmt: on
"""Operators whose output follows from their inputs alone."""


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
        return _Resolver().value(name, scope, MAX_DEPTH)
    except Refused as refused:
        return refused.refusal


def resolve_type(name: str, scope: Scope) -> TensorType | Refusal:
    """Shape and element type of a constant, without reading its data if the file states them."""
    try:
        tensor = _stored_tensor(name, scope)
        if tensor is not None:
            return TensorType(tuple(tensor.dims), tensor.data_type)
        value = _Resolver().value(name, scope, MAX_DEPTH)
    except Refused as refused:
        return refused.refusal
    return TensorType(value.shape, np_dtype_to_tensor_dtype(value.dtype))


def is_stored(name: str, scope: Scope) -> bool:
    """Whether the file holds the dense tensor `name` itself, as an initializer or in a Constant node."""
    try:
        return _stored_tensor(name, scope) is not None
    except Refused:
        return False


def _stored_tensor(name: str, scope: Scope) -> TensorProto | None:
    """The dense tensor the file holds under `name`, None if a node or a sparse tensor yields it."""
    owner = scope.find_owner(name)
    if owner is None:
        raise Refused("runtime-weight", f"{name!r} is not defined anywhere")
    if name in owner.inputs and not (name in owner.tensors and owner.ir_version < IR_WITH_CONSTANT_INITIALIZERS):
        if name in owner.tensors:
            raise Refused(
                "overridable-weight", f"{name!r} is an initializer and a graph input, which a caller may override"
            )
        raise Refused("runtime-weight", f"{name!r} is an input of its graph or function")
    stored = owner.tensors.get(name)
    if stored is None and owner.producers[name].op_type == "Constant":
        stored = read_attributes(owner.producers[name]).get("value")
    return stored if isinstance(stored, TensorProto) else None


@dataclass(slots=True)
class _Resolver:
    """One walk from a name to its leaves; values met twice are computed once."""

    known: dict[tuple[Scope, str], Array] = field(default_factory=dict)

    def value(self, name: str, scope: Scope, depth: int) -> Array:
        stored = _stored_tensor(name, scope)
        if stored is not None:
            return tensor_array(stored, scope.base_dir)
        owner = scope.find_owner(name)
        assert owner is not None  # or _stored_tensor had refused
        if (owner, name) not in self.known:
            sparse = owner.tensors.get(name)
            if isinstance(sparse, SparseTensorProto):
                self.known[owner, name] = densify(sparse, scope.base_dir)
            else:
                self._evaluate(owner.producers[name], owner, depth)
        return self.known[owner, name]

    def _evaluate(self, node: NodeProto, scope: Scope, depth: int) -> None:
        """Compute the outputs of a node whose inputs are all constants."""
        what = f"{node.output[0]!r} is computed by {node.op_type}"
        if not _is_foldable(node) or depth == 0:
            raise Refused("runtime-weight", f"{what}, which is not folded")
        if any(name in ("broadcast", "consumed_inputs") for name in read_attributes(node)):
            raise Refused("runtime-weight", f"{what} of opset {scope.opset}, whose broadcasting is not folded")
        feeds = {name: self.value(name, scope, depth - 1) for name in node.input if name}
        outputs = [name for name in node.output if name]
        try:
            values = _constant_values(node, scope) if node.op_type == "Constant" else _run(node, feeds, outputs, scope)
        except Exception as error:  # the evaluator raises whatever NumPy does
            raise Refused("runtime-weight", f"{what}, which cannot be folded: {error}") from error
        self.known.update(((scope, name), np.asarray(value)) for name, value in zip(outputs, values, strict=True))


def _is_foldable(node: NodeProto) -> bool:
    if node.op_type == "DequantizeLinear":
        return node.domain in (*DEFAULT_DOMAINS, MICROSOFT_DOMAIN)
    return node.domain in DEFAULT_DOMAINS and node.op_type in FOLDABLE


def _run(node: NodeProto, feeds: dict[str, Array], outputs: list[str], scope: Scope) -> Iterable[Any]:
    """Outputs of one node by the reference evaluator, to which it is given as a function: that needs no types.

    The evaluator knows DequantizeLinear from opset 19 on; the one of 21 can express older ones and ONNX Runtime's own.
    """
    copy, opset = NodeProto(), scope.opset
    copy.CopyFrom(node)
    if node.op_type == "DequantizeLinear":
        copy.domain, opset = "", max(opset, 21)
    function = make_function("onnx_fft", "fold", list(feeds), outputs, [copy], [make_opsetid("", opset)])
    return ReferenceEvaluator(function).run(None, feeds, {})


def _constant_values(node: NodeProto, scope: Scope) -> list[Array]:
    """The value of a Constant node given in another form than a dense tensor."""
    ((form, value),) = read_attributes(node).items()
    if form == "sparse_value":
        return [densify(value, scope.base_dir)]
    return [np.asarray(value, dtype=np.float32 if form.startswith("value_float") else np.int64)]


def densify(sparse: SparseTensorProto, base_dir: Path | None) -> Array:
    """Sparse to dense; indices are linear `[NNZ]` or coordinates `[NNZ, rank]`."""
    values = tensor_array(sparse.values, base_dir)
    indices = tensor_array(sparse.indices, base_dir)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 2:
        dense[tuple(indices.T)] = values
    else:
        dense.flat[indices] = values
    return dense
