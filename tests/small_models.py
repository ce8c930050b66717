"""Small models for the tests of the pass, and what they are compared by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft import rewrite
from onnx_fft.model.scopes import MICROSOFT_DOMAIN
from onnx_fft.model.splice import splice
from onnx_fft.provenance import REPLACES_KEY, make_marks
from onnx_fft.rewrite import Rewritten
from onnx_fft.runtime.cuda import find_cuda_problem
from onnx_fft.sites.conv import ConvSite
from scripts.shared.corpus import Array, run_model

RNG = np.random.default_rng(17)
W1 = (RNG.standard_normal((4, 3, 5, 5)) / 8).astype(np.float32)
W2 = (RNG.standard_normal((4, 4, 3, 3)) / 6).astype(np.float32)
B1 = RNG.standard_normal(4).astype(np.float32)
X = RNG.standard_normal((2, 3, 13, 11)).astype(np.float32)
Y = (2, 4, 13, 11)
"""Shape of the usual output."""

FLOAT = TensorProto.FLOAT
BOTH = ("matmul", "dft")

no_gpu = pytest.mark.skipif(not find_cuda_problem(), reason="the CUDA provider works here; test_cuda_gpu.py runs it")
"""What these hold is what happens without a GPU."""


def conv(x: str, y: str, w: str = "w1", *rest: str, name: str = "", pads: int = 2, **attributes: Any) -> NodeProto:
    return helper.make_node("Conv", [x, w, *rest], [y], name=name, pads=[pads] * 4, **attributes)


def make_model(
    nodes: Sequence[NodeProto],
    constants: dict[str, Array] | None = None,
    *,
    x: Sequence[int | str] = (2, 3, 13, 11),
    y: Sequence[int | str] = Y,
    opset: int = 17,
    ir_version: int = 8,
    dtype: int = FLOAT,
    inputs: Sequence[onnx.ValueInfoProto] = (),
    **options: Any,
) -> ModelProto:
    """`x`, and what `inputs` adds, to `y`, with W1, W2 and B1 as initializers where no others are given."""
    tensors = {"w1": W1, "w2": W2, "b1": B1} if constants is None else constants
    read = {name for node in nodes for name in node.input}
    stored = [numpy_helper.from_array(value, name) for name, value in tensors.items() if name in read or constants]
    values = [helper.make_tensor_value_info("x", dtype, list(x)), *inputs]
    if ir_version < 4:
        values += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in stored]
    output = helper.make_tensor_value_info("y", dtype, list(y))
    graph = helper.make_graph(nodes, "g", values, [output], stored)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT_DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, **options)


def two_convs() -> ModelProto:
    nodes = [
        conv("x", "c1", "w1", "b1", name="first"),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        conv("r1", "y", "w2", name="second", pads=1),
    ]
    return make_model(nodes)


def make_open_model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
) -> ModelProto:
    """A model that reads values of the types of `inputs`, lengths open, and gives ones of the type of the first."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(x.dtype) for name, x in inputs.items()}
    values = [helper.make_tensor_value_info(name, kinds[name], [None] * x.ndim) for name, x in inputs.items()]
    results = [helper.make_tensor_value_info(name, next(iter(kinds.values())), None) for name in outputs]
    tensors = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", values, results, tensors)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT_DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def contrib_node(op_type: str, inputs: Sequence[str], y: str, **attributes: int) -> NodeProto:
    return helper.make_node(op_type, inputs, [y], domain=MICROSOFT_DOMAIN, **attributes)


def fft_node(op_type: str, x: str, y: str, axes: int, **flags: int) -> NodeProto:
    return contrib_node(op_type, [x], y, **{"signal_ndim": axes, "normalized": 0, "onesided": 1, **flags})


def rewrite_for_cuda(model: ModelProto | Path, lowering: str = "rfft", **options: Any) -> Rewritten:
    """Whatever can be replaced."""
    return rewrite(model, target="cuda", lowering=lowering, select="all", **options)


def write_two_convs(folder: Path) -> Path:
    onnx.save(two_convs(), folder / "in.onnx")
    return folder / "in.onnx"


def info(name: str, elem_type: int = FLOAT, shape: Sequence[int | str] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, shape)


def body_graph(name: str, nodes: Sequence[NodeProto], inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    return helper.make_graph(nodes, name, inputs, outputs)


def if_model() -> ModelProto:
    """Conv in both branches, one of them two deep, weights in the main graph and in the branch."""
    deep = body_graph("deep", [conv("x", "d", "w1", "b1", name="deep")], [], [info("d", FLOAT, Y)])
    flat = body_graph("flat", [helper.make_node("Expand", ["one", "size"], ["f"])], [], [info("f", FLOAT, Y)])
    nested = helper.make_node("If", ["c"], ["a"], name="inner", then_branch=deep, else_branch=flat)
    own = conv("x", "e", "own", name="else")
    other = body_graph("other", [own], [], [info("e", FLOAT, Y)])
    other.initializer.append(numpy_helper.from_array(W1[::-1].copy(), "own"))
    branch = body_graph("branch", [nested], [], [info("a", FLOAT, Y)])
    nodes = [helper.make_node("If", ["c"], ["y"], name="outer", then_branch=branch, else_branch=other)]
    constants = {"w1": W1, "b1": B1, "one": np.ones(1, np.float32), "size": np.array(Y)}
    return make_model(nodes, constants, inputs=[info("c", TensorProto.BOOL, ())])


def function_model(opset: int = 17) -> ModelProto:
    weight = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(W1, "w"))
    nodes = [weight, conv("a", "b", "w", name="inside")]
    function = helper.make_function("local", "Block", ["a"], ["b"], nodes, [helper.make_opsetid("", opset)])
    model = make_model([helper.make_node("Block", ["x"], ["y"], domain="local")], {}, opset=opset)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def dump(model: ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


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


def splice_site(
    site: ConvSite, nodes: Sequence[NodeProto], initializers: Sequence[TensorProto], lowering: str = ""
) -> None:
    splice(site.scope, site.nodes, site.constants, nodes, initializers, make_marks(site.name, lowering))
