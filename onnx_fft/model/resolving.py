"""Evaluating what computes a constant, node by node, in the dtypes of the model.

The values are those that ONNX Runtime's constant folding arrives at, if ONNX Runtime evaluates them
(`Scope.evaluate`). An If of a constant condition is the branch it takes, a Loop its body as often as it runs, a call of
a model-local function the function's body. All is bounded, whatever a model asks for: by `folding` what a node costs,
here how many of them there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto

from onnx_fft.errors import InvalidModelError, OnnxFftError, Refusal, one_line
from onnx_fft.hints import Option
from onnx_fft.model.external import Array, Value, tensor_array
from onnx_fft.model.folding import Budget, evaluate_by_reference
from onnx_fft.model.inlining import expand_call
from onnx_fft.model.scopes import (
    DEFAULT_DOMAINS,
    INLINING,
    IR_WITH_CONSTANT_INITIALIZERS,
    Refused,
    Scope,
    function_key,
    is_graph,
    read_attributes,
)
from onnx_fft.model.sequences import HELD
from onnx_fft.model.unrolling import UNROLLED

MAX_DEPTH = 64
"""Longest chain of nodes followed from a weight to its leaves."""

MAX_NODES = 4096
"""Most nodes and iterations evaluated for one weight: functions that call functions can multiply them."""

MAX_UNROLLED = 8192
"""Most nodes and iterations evaluated in Loop, Scan and SequenceMap for all weights of a model: half a minute."""

SCAN_WITHOUT_BATCH = 9
"""The opset since which a Scan has no batch axis."""

OPEN = np.iinfo(np.int64).min + 1
"""Stands for an open length in the value of a Shape node."""

MOVING = frozenset(("Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"))
"""Operators that pick and place elements of their first input (Concat: of any), which may be open lengths."""


def is_overridable(name: str, scope: Scope) -> bool:
    """Whether an initializer is an input as well, which a caller may give another value."""
    return name in scope.inputs and scope.ir_version >= IR_WITH_CONSTANT_INITIALIZERS


def stored_tensor(name: str, scope: Scope) -> TensorProto | None:
    """The dense tensor the file holds under `name`, None if a node or a sparse tensor yields it."""
    owner = scope.find_owner(name)
    if owner is None:
        raise Refused("runtime-weight", f"{name!r} is not defined anywhere")
    if name in owner.inputs and (name not in owner.tensors or is_overridable(name, owner)):
        if name in owner.tensors:
            reason = f"{name!r} is an initializer and a graph input, which a caller may override"
            raise Refused("overridable-weight", reason, ("if none does, set ", Option("freeze_initializers", True)))
        hint = "" if is_graph(owner.body) else INLINING
        raise Refused("runtime-weight", f"{name!r} is an input of its graph or function", hint)
    stored = owner.tensors.get(name)
    if stored is None and owner.producers[name].op_type == "Constant":
        stored = read_attributes(owner.producers[name]).get("value")
    return stored if isinstance(stored, TensorProto) else None


@dataclass(slots=True)
class Resolver:
    """One walk from a name to its leaves; values met twice are computed once."""

    known: dict[tuple[Scope, str], Value] = field(default_factory=dict)
    evaluated: list[tuple[Scope, NodeProto]] = field(default_factory=list)
    budget: Budget = field(default_factory=Budget)
    nodes: int = 0
    is_unrolling: bool = False

    def resolve(self, name: str, scope: Scope) -> Array:
        """The value of `name`; nothing is evaluated if it has none.

        ONNX Runtime computes several nodes of float16 in float32 and rounds once, if they are in one model.
        """
        self._check_leaves(name, scope, MAX_DEPTH, set())
        value = self.value(name, scope)
        if not isinstance(value, np.ndarray):
            raise Refused("runtime-weight", f"{name!r} is a sequence or an optional, not a tensor")
        types = {each.dtype if isinstance(each, np.ndarray) else None for each in self.known.values()}
        if len(self.evaluated) > 1 and np.dtype(np.float16) in types and None not in types:
            return self._evaluate_together(name, value)
        return value

    def _evaluate_together(self, name: str, value: Array) -> Array:
        """The value of `name`, which is `value` node by node, by one model of all nodes."""
        nodes = [node for _, node in self.evaluated]
        made = [output for node in nodes for output in node.output if output]
        opsets = {scope.opset for scope, _ in self.evaluated}
        read = {operand: scope for scope, node in self.evaluated for operand in node.input if operand}
        meanings = {(name, scope.find_owner(name)) for scope, node in self.evaluated for name in node.input if name}
        if name not in made or len(set(made)) < len(made) or len(meanings) > len(read) or len(opsets) > 1:
            return value  # names mean different things in different scopes
        feeds = {operand: self.value(operand, scope) for operand, scope in read.items() if operand not in made}
        tensors = {operand: each for operand, each in feeds.items() if isinstance(each, np.ndarray)}
        evaluate = self.evaluated[-1][0].evaluate or evaluate_by_reference
        return np.asarray(evaluate(nodes, tensors, [name], opsets.pop())[0])

    def _check_leaves(self, name: str, scope: Scope, depth: int, seen: set[tuple[Scope, str]]) -> None:
        """Refuse what run-time values go into; bodies and functions are left to the evaluation."""
        owner = None if stored_tensor(name, scope) is not None else scope.find_owner(name)
        if owner is None or name not in owner.producers or (owner, name) in seen:
            return
        node = owner.producers[name]
        seen.update((owner, output) for output in node.output)
        if depth > 0 and node.op_type not in ("Shape", "Size"):
            for operand in filter(None, node.input):
                self._check_leaves(operand, owner, depth - 1, seen)

    def value(self, name: str, scope: Scope, depth: int = MAX_DEPTH) -> Value:
        """The value of `name`, all of it known."""
        value = self._partial_value(name, scope, depth)
        if isinstance(value, np.ndarray) and value.dtype == np.int64 and value.size and OPEN in value:
            raise Refused("runtime-weight", f"{name!r} is a length that the model leaves open")
        return value

    def _partial_value(self, name: str, scope: Scope, depth: int) -> Value:
        """The value of `name`, in which `OPEN` may stand for open lengths."""
        owner = scope.find_owner(name)
        if owner is None or (owner, name) not in self.known:
            stored = stored_tensor(name, scope)
            if stored is not None:
                return tensor_array(stored, scope.base_dir)
            assert owner is not None  # or stored_tensor had refused
            sparse = owner.tensors.get(name)
            if isinstance(sparse, SparseTensorProto):
                self.known[owner, name] = densify(sparse, scope.base_dir)
            else:
                self._evaluate(owner.producers[name], owner, depth)
        return self.known[owner, name]

    def _count_node(self, scope: Scope, depth: int, what: str) -> None:
        self.nodes += 1
        scope.unrolled.nodes += self.is_unrolling
        is_beyond = self.is_unrolling and scope.unrolled.nodes > MAX_UNROLLED
        if depth == 0 or self.nodes > MAX_NODES or is_beyond:
            raise Refused("runtime-weight", f"{what}, which is not folded: too many nodes compute it")

    def _evaluate(self, node: NodeProto, scope: Scope, depth: int) -> None:
        """Compute the outputs of a node whose inputs are all constants."""
        what = f"{next(filter(None, node.output))!r} is computed by {node.op_type}"
        self._count_node(scope, depth, what)
        try:
            values = self._compute(node, scope, depth - 1, what)
            outputs = [name for name in node.output if name]
            for name, value in zip(outputs, values, strict=True):
                self.known[scope, name] = value if value is None or isinstance(value, list) else np.asarray(value)
        except (Refused, OnnxFftError):
            raise
        except Exception as error:  # evaluators raise whatever they do
            raise Refused("runtime-weight", f"{what}, which cannot be folded: {one_line(error)}") from error

    def _compute(self, node: NodeProto, scope: Scope, depth: int, what: str) -> Sequence[Value]:
        """The values of the outputs that have a name; `what` begins the sentence of a refusal."""
        if node.op_type == "Constant":
            return _constant_values(node, scope)
        if (function := scope.functions.get(function_key(node))) is not None:
            inner = _open_call(node, function, scope)
            return [self.value(name, inner, depth) for name in node.output if name]
        attributes = read_attributes(node)
        if any(name in ("broadcast", "consumed_inputs") for name in attributes):
            reason = f"{what} of opset {scope.opset}, whose broadcasting is not folded"
            raise Refused("runtime-weight", reason)
        if node.domain in DEFAULT_DOMAINS and node.op_type == "If":
            taken = np.asarray(self.value(node.input[0], scope, depth)).item()
            branch = attributes["then_branch" if taken else "else_branch"]
            inner = scope.enclose(branch)
            results = zip(node.output, branch.output, strict=True)
            return [self.value(result.name, inner, depth) for name, result in results if name]
        if node.domain in DEFAULT_DOMAINS and node.op_type in UNROLLED:
            return self._unroll_once(node, scope, depth, what)
        if node.op_type in ("Shape", "Size"):
            return [self._read_lengths(node, scope, depth)]
        feeds = self._read_inputs(node, scope, depth)
        if obstacle := self.budget.find_obstacle(node, feeds, scope.opset):
            raise Refused("runtime-weight", f"{what}, {obstacle}")
        if node.domain in DEFAULT_DOMAINS and node.op_type in HELD:
            return [HELD[node.op_type](attributes, [feeds.get(name) for name in node.input])]
        tensors = {name: value for name, value in feeds.items() if isinstance(value, np.ndarray)}
        outputs = [name for name in node.output if name]
        self.evaluated.append((scope, node))
        return (scope.evaluate or evaluate_by_reference)([node], tensors, outputs, scope.opset)

    def _unroll_once(self, node: NodeProto, scope: Scope, depth: int, what: str) -> list[Value]:
        """As `_unroll`, but what nodes of the model itself give is remembered, with what it took."""
        if self.is_unrolling:
            return self._unroll(node, scope, depth, what)
        key = (scope, next(filter(None, node.output)))
        results, before = scope.unrolled.results, self.nodes
        if key in results:
            self.nodes += results[key][1] - 1
            self._count_node(scope, depth, what)
        else:
            self.is_unrolling = True
            try:
                found: list[Value] | Refusal = self._unroll(node, scope, depth, what)
            except Refused as refused:
                found = refused.refusal
            finally:
                self.is_unrolling = False
            results[key] = found, self.nodes - before
        found, _ = results[key]
        if isinstance(found, Refusal):
            raise Refused(found.code, found.reason, found.hint)
        return found

    def _unroll(self, node: NodeProto, scope: Scope, depth: int, what: str) -> list[Value]:
        """The outputs that have a name, of a node that runs its body several times."""

        def run_body(body: GraphProto, inputs: Sequence[Value]) -> list[Value]:
            self._count_node(scope, depth, what)
            inner = scope.enclose(body)
            self.known.update(((inner, value.name), given) for value, given in zip(body.input, inputs, strict=True))
            return [self.value(output.name, inner, depth) for output in body.output]

        if node.op_type == "Scan" and scope.opset < SCAN_WITHOUT_BATCH:
            raise Refused("runtime-weight", f"{what} of opset {scope.opset}, which is not folded: it scans batches")
        inputs = [self.value(name, scope, depth) if name else None for name in node.input]
        values = UNROLLED[node.op_type](read_attributes(node), inputs, run_body)
        return [value for name, value in zip(node.output, values, strict=False) if name]

    def _read_inputs(self, node: NodeProto, scope: Scope, depth: int) -> dict[str, Value]:
        """The inputs of a node by name; only one that moves elements may read open lengths."""
        feeds = {}
        for place, name in enumerate(node.input):
            is_moved = node.op_type in MOVING and (place == 0 or node.op_type == "Concat")
            if name:
                feeds[name] = (self._partial_value if is_moved else self.value)(name, scope, depth)
        return feeds

    def _read_lengths(self, node: NodeProto, scope: Scope, depth: int) -> Array:
        """The value of a Shape or Size node, of a tensor that need not be a constant itself."""
        owner = scope.find_owner(node.input[0])
        dims = None if owner is None else owner.shapes.get(node.input[0])
        if dims is None:
            dims = list(np.asarray(self.value(node.input[0], scope, depth)).shape)
        if node.op_type == "Size":
            if None in dims:
                raise Refused("runtime-weight", f"{node.output[0]!r} depends on lengths that the model leaves open")
            return np.array(np.prod(np.array(dims, np.int64)))
        attributes = read_attributes(node)
        lengths = dims[attributes.get("start", 0) : attributes.get("end", len(dims))]
        return np.array([OPEN if length is None else length for length in lengths], np.int64)


def _open_call(call: NodeProto, function: FunctionProto, scope: Scope) -> Scope:
    """A scope within `scope` that holds what a call of a function computes."""
    prefix = f"{function.name}/"
    while any(scope.find_owner(prefix + name) for node in function.node for name in node.output):
        prefix += "/"
    opset = next((entry.version for entry in function.opset_import if entry.domain in DEFAULT_DOMAINS), None)
    return scope.enclose(GraphProto(node=expand_call(call, function, prefix)), opset)


def _constant_values(node: NodeProto, scope: Scope) -> list[Array]:
    """The value of a Constant node given in another form than a dense tensor."""
    ((form, value),) = read_attributes(node).items()
    if form == "sparse_value":
        return [densify(value, scope.base_dir)]
    return [np.asarray(value, dtype=np.float32 if form.startswith("value_float") else np.int64)]


def densify(sparse: SparseTensorProto, base_dir: Path | None) -> Array:
    """Sparse to dense; indices are linear `[NNZ]` or coordinates `[NNZ, rank]`. InvalidModelError if they cannot be."""
    values = tensor_array(sparse.values, base_dir)
    indices = tensor_array(sparse.indices, base_dir)
    try:
        if indices.dtype.kind != "i" or len(indices) != len(values) or np.any(indices < 0):
            raise ValueError(f"{len(values)} values, and indices of {indices.dtype} {list(indices.shape)}")
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        if indices.ndim == 2:
            dense[tuple(indices.T)] = values
        else:
            dense.flat[indices] = values
    except (ValueError, IndexError, TypeError, MemoryError) as error:
        problem = f"got sparse tensor {sparse.values.name!r} of shape {list(sparse.dims)} that cannot be read ({error})"
        raise InvalidModelError(
            problem, "an index of each value, within the shape", "export the model again"
        ) from error
    return dense
