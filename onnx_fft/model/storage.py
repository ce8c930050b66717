"""What a file holds of a node's constants: what goes with the node, and what another node can read in its place.

A constant may be stored smaller than it is, in float16, in 8 bits, sparse, or as the arguments of Expand, behind nodes
that compute it. ONNX Runtime computes most such *chains* when it loads a model, so that a new node can read their end
as if it were stored. It leaves DequantizeLinear to the run, and arithmetic in float16, for which its CPU provider has
no operators (1.17 to 1.32).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from onnx import NodeProto, SparseTensorProto, TensorProto
from onnx.external_data_helper import uses_external_data
from onnx.helper import tensor_dtype_to_np_dtype

from onnx_fft.model.scopes import Scope

Message = NodeProto | TensorProto | SparseTensorProto

FOLDED_IN_FLOAT16 = frozenset(
    ("Cast", "Constant", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
)
"""Operators that ONNX Runtime's CPU provider has for float16."""


@dataclass(frozen=True, slots=True)
class Storage:
    """How the file holds the constants of a convolution.

    `freed_bytes` go from the file if the convolution does; None: its weight, in the dtype it is computed in.
    `is_readable` says whether another node can read the weight where it stands.
    """

    freed_bytes: int | None = None
    is_readable: bool = True


def is_folded_at_load(name: str, scope: Scope) -> bool:
    """Whether `name` is a constant that ONNX Runtime holds as a tensor once it has loaded the model."""
    chain = list(_walk_chain(name, scope))
    nodes = [part for part in chain if isinstance(part, NodeProto)]
    operators = {node.op_type for node in nodes}
    if None in chain or "DequantizeLinear" in operators:
        return False
    casts = {attribute.i for node in nodes for attribute in node.attribute if attribute.name == "to"}
    stored = {tensor.data_type for part in chain if part is not None for tensor in _tensors(part)}
    return operators <= FOLDED_IN_FLOAT16 or TensorProto.FLOAT16 not in casts | stored


def count_freed_bytes(scope: Scope, old: Sequence[NodeProto], constants: Iterable[str]) -> int:
    """Bytes of those `constants` that only the nodes `old` of a scope read, and of what only served to compute them.

    This is what `splice` removes along with the nodes.
    """
    gone = Counter(name for node in old for name in node.input)
    waiting = [(scope, name) for name in constants]
    seen: set[int] = set()
    total = 0
    while waiting:
        place, name = waiting.pop()
        found = _find(name, place)
        if found is None or id(found[1]) in seen:
            continue
        owner, part = found
        outputs = part.output if isinstance(part, NodeProto) else [name]
        if any(owner.reads[output] > gone[output] for output in outputs):
            continue
        seen.add(id(part))
        total += part.ByteSize() + sum(map(_external_bytes, _tensors(part)))
        if isinstance(part, NodeProto):
            gone.update(part.input)
            waiting += [(owner, operand) for operand in part.input if operand]
    return total


def _find(name: str, scope: Scope) -> tuple[Scope, Message] | None:
    """Who defines `name`, and the tensor or the node that holds or computes it; None for an input."""
    owner = scope.find_owner(name)
    part = None if owner is None else owner.tensors.get(name) or owner.producers.get(name)
    return None if owner is None or part is None else (owner, part)


def _walk_chain(name: str, scope: Scope) -> Iterator[Message | None]:
    """The tensors and nodes behind a constant, and None for what is an input."""
    waiting = [(scope, name)]
    seen: set[int] = set()
    while waiting:
        place, operand = waiting.pop()
        found = _find(operand, place)
        if found is None:
            yield None
            continue
        owner, part = found
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, NodeProto):
            waiting += [(owner, inner) for inner in part.input if inner]


def _tensors(part: Message) -> list[TensorProto]:
    """The tensors that one message holds."""
    if isinstance(part, TensorProto):
        return [part]
    if isinstance(part, SparseTensorProto):
        return [part.values, part.indices]
    attributes = part.attribute
    held = [attribute.t for attribute in attributes if attribute.HasField("t")]
    sparse = [attribute.sparse_tensor for attribute in attributes if attribute.HasField("sparse_tensor")]
    return held + [tensor for each in sparse for tensor in (each.values, each.indices)]


def _external_bytes(tensor: TensorProto) -> int:
    """Size of the data that a tensor keeps in another file."""
    return prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize if uses_external_data(tensor) else 0
