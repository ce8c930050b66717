"""How a rewritten model compares with its original."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto

from onnx_fft.provenance import REPLACES_KEY
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model
from tests.models import X


def dump(model: ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def assert_same(
    original: ModelProto, rewritten: ModelProto, feeds: dict[str, Array] | None = None, *, rtol: float = 1e-4
) -> None:
    """Both models give the same in ONNX Runtime, to `rtol` of the output's largest value."""
    feeds = feeds or {"x": X}
    before, after = run_model(original, feeds), run_model(rewritten, feeds)
    assert len(before) == len(after) > 0
    for reference, value in zip(before, after, strict=True):
        assert (value.dtype, value.shape) == (reference.dtype, reference.shape)
        assert np.abs(reference).max() > 0.1
        np.testing.assert_allclose(value, reference, rtol=0, atol=rtol * np.abs(reference).max())


def own_nodes(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if any(entry.key == REPLACES_KEY for entry in node.metadata_props)]


def without(model: ModelProto, nodes: list[NodeProto], initializers: set[str]) -> bytes:
    """The model without these nodes and initializers, serialized: the rest."""
    rest = ModelProto()
    rest.CopyFrom(model)
    kept_nodes = [node for node in model.graph.node if node not in nodes]
    kept_tensors = [tensor for tensor in model.graph.initializer if tensor.name not in initializers]
    del rest.graph.node[:], rest.graph.initializer[:]
    rest.graph.node.extend(kept_nodes)
    rest.graph.initializer.extend(kept_tensors)
    return dump(rest)


def assert_only_convs_replaced(original: ModelProto, rewritten: ModelProto) -> None:
    """All but Conv nodes and their constants is equal, byte for byte, at every level."""
    convs = [node for node in original.graph.node if node.op_type == "Conv"]
    read = {name for node in original.graph.node if node not in convs for name in node.input}
    gone = {name for node in convs for name in node.input[1:]} - read
    own = own_nodes(rewritten)
    new = {tensor.name for tensor in rewritten.graph.initializer} - {t.name for t in original.graph.initializer}
    assert own
    assert new
    assert without(rewritten, own, new) == without(original, convs, gone)
