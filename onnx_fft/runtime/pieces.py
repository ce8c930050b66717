"""A model whose FFT operators have no kernel here, run in pieces: ONNX Runtime for everything else, NumPy for those.

The nodes of the graph are cut, in their order, at the operators that only ONNX Runtime's CUDA provider has; a node that
holds such operators in a body or calls a function with them is a piece of its own, for ONNX's evaluator. The other
pieces are models of their own, loaded when they are first run: only then are the types of what they read known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TypeProto, ValueInfoProto, helper

from onnx_fft.model.external import tensor_array
from onnx_fft.model.resolving import densify
from onnx_fft.model.scopes import IR_WITH_CONSTANT_INITIALIZERS, find_bodies, free_inputs
from onnx_fft.model.shapes import infer_shapes
from onnx_fft.runtime.contrib import is_cuda_only

Value = Any

Open = Callable[[ModelProto, bool], Any]
"""Makes something with `run(output_names, feeds)` of a model; the second argument says whether NumPy is to run it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Nodes that run together, what they read from outside, and what they make that is wanted outside."""

    nodes: tuple[NodeProto, ...]
    by_numpy: bool
    reads: frozenset[str]
    makes: tuple[str, ...]


class Pieces:
    """A model that runs piece by piece, as a session of ONNX Runtime would: `run(output_names, feeds)`."""

    def __init__(self, model: ModelProto, base_dir: Path | None, open_piece: Open) -> None:
        """`open_piece` loads a model cut out of `model`, whose external data lies under `base_dir`."""
        self._model, self._base_dir, self._open = model, base_dir, open_piece
        self._pieces = cut_pieces(model)
        self._loaded: dict[tuple[int, frozenset[str]], Any] = {}
        self._dense = {tensor.name: tensor for tensor in model.graph.initializer}
        self._sparse = {tensor.values.name: tensor for tensor in model.graph.sparse_initializer}
        graph = infer_shapes(model, base_dir).graph
        self._types = {value.name: value.type for value in (*graph.input, *graph.value_info)}

    def run(self, output_names: Sequence[str], feeds: Mapping[str, Value]) -> list[Value]:
        """The outputs of these names; raises whatever the piece that fails raises."""
        values = dict(feeds)
        for number, piece in enumerate(self._pieces):
            given = {name: values[name] for name in piece.reads if name in values}
            key = (number, frozenset(given))  # a constant of an old model may be fed, or not
            if key not in self._loaded:
                self._loaded[key] = self._open(self._make_model(piece, given), piece.by_numpy)
            results = self._loaded[key].run(list(piece.makes), given)
            wanted = set(output_names).union(*(later.reads for later in self._pieces[number + 1 :]))
            values = {name: value for name, value in values.items() if name in wanted}
            values |= dict(zip(piece.makes, results, strict=True))
        for name in set(output_names) - values.keys():
            values[name] = self._read_constant(name)
        return [values[name] for name in output_names]

    def _read_constant(self, name: str) -> Value:
        if name in self._sparse:
            return densify(self._sparse[name], self._base_dir)
        return tensor_array(self._dense[name], self._base_dir)

    def _make_model(self, piece: Piece, given: Mapping[str, Value]) -> ModelProto:
        stored = piece.reads - given.keys()
        graph = helper.make_graph(
            piece.nodes,
            "piece",
            [_describe(name, value, self._types.get(name)) for name, value in given.items()],
            [ValueInfoProto(name=name) for name in piece.makes],
            [tensor for name, tensor in self._dense.items() if name in stored],
            sparse_initializer=[tensor for name, tensor in self._sparse.items() if name in stored],
        )
        called = find_called(self._model, piece.nodes)
        functions = [function for function in self._model.functions if (function.domain, function.name) in called]
        model = helper.make_model(graph, opset_imports=self._model.opset_import, functions=functions)
        model.ir_version = max(self._model.ir_version, IR_WITH_CONSTANT_INITIALIZERS)
        return model


def cut_pieces(model: ModelProto) -> list[Piece]:
    """The nodes of the graph in pieces, in an order they can run in."""
    functions = {(function.domain, function.name): function for function in model.functions}

    def is_numpy(node: NodeProto) -> bool:
        bodies = [body.node for _, body in find_bodies(node)]
        bodies += [functions[node.domain, node.op_type].node] if (node.domain, node.op_type) in functions else []
        return is_cuda_only(node.domain, node.op_type) or any(is_numpy(inner) for body in bodies for inner in body)

    runs: list[tuple[bool, list[NodeProto]]] = []
    for by_numpy, group in groupby(model.graph.node, is_numpy):
        nodes = list(group)
        runs += [(True, [node]) for node in nodes] if by_numpy else [(False, nodes)]
    pieces: list[Piece] = []
    wanted = {value.name for value in model.graph.output}
    for by_numpy, nodes in reversed(runs):
        made = {name for node in nodes for name in node.output if name}
        reads = frozenset(set[str]().union(*map(free_inputs, nodes)) - made)
        pieces.append(Piece(tuple(nodes), by_numpy, reads, tuple(sorted(made & wanted))))
        wanted |= reads
    return pieces[::-1]


def find_called(model: ModelProto, nodes: Sequence[NodeProto]) -> set[tuple[str, str]]:
    """The model's functions that some of `nodes` needs, directly or not."""
    functions = {(function.domain, function.name): function for function in model.functions}
    called: set[tuple[str, str]] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        waiting += [inner for _, body in find_bodies(node) for inner in body.node]
        key = (node.domain, node.op_type)
        if key in functions and key not in called:
            called.add(key)
            waiting += functions[key].node
    return called


def _describe(name: str, value: Value, known: TypeProto | None) -> ValueInfoProto:
    """A graph input of the type of `value`, its lengths open; an empty value shows no type, and gets `known`."""
    is_empty = value is None or (isinstance(value, list) and not value)
    if is_empty and known is not None:
        return ValueInfoProto(name=name, type=known)
    array = np.asarray(value[0] if isinstance(value, list) and value else value)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    if isinstance(value, list):
        return helper.make_tensor_sequence_value_info(name, kind, None)
    return helper.make_tensor_value_info(name, kind, [None] * array.ndim)
