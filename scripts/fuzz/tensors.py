"""Mutations of stored tensors: values, types, dims, how they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

SPECIAL_VALUES = (np.nan, np.inf, -np.inf, 0.0, 1e-40, 1e-45, 65504.0, 3e38, -1.0)
LARGE_DIMS = (0, 1, 2, 3, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1)


def walk_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node:
                    yield from walk_graphs(body)


def _find_tensor(model: ModelProto, rng: Random) -> TensorProto | None:
    tensors = [tensor for graph in walk_graphs(model.graph) for tensor in graph.initializer]
    return rng.choice(tensors) if tensors else None


def mutate_values(model: ModelProto, rng: Random) -> str:
    """Some values of a tensor, its type and shape as before."""
    tensor = _find_tensor(model, rng)
    if tensor is None:
        return "unchanged: no tensor"
    values = numpy_helper.to_array(tensor).copy()
    chosen = np.random.default_rng(rng.getrandbits(32))
    if values.size and values.dtype.kind in "fiu":
        places = chosen.integers(0, values.size, rng.choice((1, 1, values.size)))
        with np.errstate(all="ignore"):
            extreme = np.array(rng.choice(SPECIAL_VALUES)).astype(values.dtype)
            scaled = values * np.array(rng.choice((0, -1, 2, 1e-30, 1e20))).astype(values.dtype)
        values.flat[places] = extreme
        values = scaled.astype(values.dtype) if rng.random() < 0.3 else values
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return f"values of {tensor.name!r}"


def mutate_tensor(model: ModelProto, rng: Random) -> str:
    """Dims, data type or data of a tensor, the rest as before."""
    tensor = _find_tensor(model, rng)
    if tensor is None:
        return "unchanged: no tensor"
    kind = rng.choice(("dims", "huge", "type", "short", "long", "rank"))
    if kind == "dims" and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(LARGE_DIMS)
    elif kind == "huge":
        tensor.ClearField("raw_data")
        tensor.dims[:] = [rng.choice(LARGE_DIMS) for _ in range(rng.randint(1, 4))]
    elif kind == "type":
        tensor.data_type = rng.choice(list(TensorProto.DataType.values()))
    elif kind == "short":
        tensor.raw_data = tensor.raw_data[: rng.randint(0, len(tensor.raw_data))]
    elif kind == "long":
        tensor.raw_data += b"\x00" * rng.randint(1, 9)
    elif kind == "rank":
        tensor.dims[:] = [*tensor.dims, 1] if rng.random() < 0.5 else tensor.dims[1:]
    return f"{kind} of tensor {tensor.name!r}"


def make_input(model: ModelProto, rng: Random) -> str:
    """An initializer that is an input as well, or an input only."""
    tensor = _find_tensor(model, rng)
    if tensor is None:
        return "unchanged: no tensor"
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    if rng.random() < 0.5 and tensor in model.graph.initializer:
        model.graph.initializer.remove(tensor)
    return "a weight is an input"


def make_sparse(model: ModelProto, rng: Random) -> str:
    """A stored tensor as a sparse one, at times with an index or a length that is wrong."""
    graph = model.graph
    if not graph.initializer:
        return "unchanged: no tensor"
    tensor = rng.choice(graph.initializer)
    values = numpy_helper.to_array(tensor)
    places = np.flatnonzero(values)
    if rng.random() < 0.3 and len(places):
        places[rng.randrange(len(places))] = rng.choice((-1, 0, values.size, 1 << 40))
    sparse = graph.sparse_initializer.add(dims=tensor.dims)
    sparse.values.CopyFrom(numpy_helper.from_array(values.ravel()[np.flatnonzero(values)], tensor.name))
    sparse.indices.CopyFrom(numpy_helper.from_array(places[: rng.choice((1, *(len(places),) * 4))]))
    if rng.random() < 0.2 and sparse.dims:
        sparse.dims[0] = rng.choice((*LARGE_DIMS, -1))
    graph.initializer.remove(tensor)
    return f"{sparse.values.name!r} is sparse, {list(sparse.dims)}"
