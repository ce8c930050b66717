"""Models of a few nodes, which the tests of several rooms run and rewrite."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper, parser

from onnx_fft.model.scopes import MICROSOFT_DOMAIN, walk_nodes
from scripts.shared.conv_models import Array

RNG = np.random.default_rng(17)
W1: Array = (RNG.standard_normal((4, 3, 5, 5)) / 8).astype(np.float32)
W2: Array = (RNG.standard_normal((4, 4, 3, 3)) / 6).astype(np.float32)
B1: Array = RNG.standard_normal(4).astype(np.float32)
X: Array = RNG.standard_normal((2, 3, 13, 11)).astype(np.float32)
Y = (2, 4, 13, 11)
"""Shape of the usual output."""

FLOAT = TensorProto.FLOAT
BOTH = ("matmul", "dft")
"""The lowerings in standard operators."""

Dims = Sequence[int | str | None]


def build_model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Mapping[str, Array],
    *,
    opset: int = 17,
    ir_version: int = 8,
    domains: Sequence[str] = (MICROSOFT_DOMAIN,),
    **options: Any,
) -> ModelProto:
    """A model of one graph; `constants` are its initializers, `options` go to `onnx.helper.make_model`."""
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, **options)


def info(name: str, elem_type: int = FLOAT, shape: Dims | None = None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, shape)


def make_model(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, Array] | None = None,
    *,
    x: Dims = (2, 3, 13, 11),
    y: Dims | None = Y,
    opset: int = 17,
    ir_version: int = 8,
    dtype: int = FLOAT,
    inputs: Sequence[ValueInfoProto] = (),
    **options: Any,
) -> ModelProto:
    """A model from `x`, and what `inputs` adds, to `y`, with W1, W2 and B1 as initializers if no others are given."""
    read = {name for node in nodes for name in node.input}
    usual = {name: value for name, value in (("w1", W1), ("w2", W2), ("b1", B1)) if name in read}
    stored = usual if constants is None else constants
    values = [info("x", dtype, x), *inputs]
    if ir_version < 4:
        kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in stored.items()}
        values += [info(name, kinds[name], value.shape) for name, value in stored.items()]
    return build_model(nodes, values, [info("y", dtype, y)], stored, opset=opset, ir_version=ir_version, **options)


def make_open_model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
) -> ModelProto:
    """A model that reads values of the types of `inputs`, lengths open, and gives ones of the type of the first."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(x.dtype) for name, x in inputs.items()}
    values = [info(name, kinds[name], [None] * x.ndim) for name, x in inputs.items()]
    results = [info(name, next(iter(kinds.values()))) for name in outputs]
    return build_model(nodes, values, results, constants or {})


NODE_NAME = re.compile(r"(?<!\w)\[(\w+)\] (\w+)(?= =)")
"""A node's name and its first output."""


def parse_model(text: str, constants: Mapping[str, Array], *, opset: int = 17, ir_version: int = 8) -> ModelProto:
    """A model from ONNX's text form, with those of `constants` as initializers that it does not define itself.

    Names of nodes, `[name] y = Op(x)`, are read here: onnx's parser knows them from 1.17 on.
    """
    imports = f'opset_import: ["" : {opset}, "{MICROSOFT_DOMAIN}" : 1, "plugin" : 1, "local" : 1]'
    nameless = NODE_NAME.sub(r"\2", text)
    model: ModelProto = parser.parse_model(f"<ir_version: {ir_version}, {imports}> {nameless}")
    names = {output: name for name, output in NODE_NAME.findall(text)}
    for node in walk_nodes(model):
        node.name = names.get(node.output[0], "")
    defined = {tensor.name for tensor in model.graph.initializer}
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items() if name not in defined]
    model.graph.initializer.extend(tensors)
    return model


def conv(x: str, y: str, w: str = "w1", *rest: str, name: str = "", pads: int = 2, **attributes: Any) -> NodeProto:
    fixed: dict[str, Any] = {"pads": [pads] * 4, **attributes}
    return helper.make_node("Conv", [x, w, *rest], [y], name=name, **fixed)


def relu(x: str, y: str) -> NodeProto:
    return helper.make_node("Relu", [x], [y])


def two_convs() -> ModelProto:
    nodes = [
        conv("x", "c1", "w1", "b1", name="first"),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        conv("r1", "y", "w2", name="second", pads=1),
    ]
    return make_model(nodes)


def write_two_convs(folder: Path) -> Path:
    onnx.save(two_convs(), folder / "in.onnx")
    return folder / "in.onnx"


def body_graph(
    name: str, nodes: Sequence[NodeProto], inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
) -> GraphProto:
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


def decorated_model() -> ModelProto:
    """Everything a file can hold besides the graph's own nodes."""
    nodes = [
        conv("x", "c1", "w1", "b1", name="first"),
        helper.make_node("Twice", ["c1"], ["t"], name="twice", domain="local"),
        helper.make_node("Relu", ["t"], ["r"], name="relu", doc_string="a node's own words"),
        conv("r", "y", "w2", name="second", pads=1),
    ]
    nodes[2].metadata_props.add(key="node", value="kept")
    model = make_model(nodes, producer_name="maker", producer_version="1.2", doc_string="model words", domain="org.x")
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    model.functions.append(twice)
    model.opset_import.extend([helper.make_opsetid("local", 1), helper.make_opsetid("com.example.unknown", 7)])
    model.model_version = 42
    for holder in (model, model.graph):
        holder.metadata_props.add(key="made by", value="hand")
    graph = model.graph
    graph.doc_string = "graph words"
    graph.value_info.extend(helper.make_tensor_value_info(name, FLOAT, Y) for name in ("c1", "t", "r"))
    graph.initializer.extend([numpy_helper.from_array(np.array(0.5, np.float32), "scale")])
    graph.quantization_annotation.add(tensor_name="r").quant_parameter_tensor_names.add(
        key="SCALE_TENSOR", value="scale"
    )
    graph.input[0].doc_string = "input words"
    return model


def loop_model() -> ModelProto:
    """`y = conv(y)` so many times."""
    nodes = [
        helper.make_node("Identity", ["cond_in"], ["cond_out"]),
        conv("state", "next", "w2", pads=1, name="again"),
    ]
    body = body_graph(
        "body",
        nodes,
        [info("i", TensorProto.INT64, ()), info("cond_in", TensorProto.BOOL, ()), info("state", FLOAT, Y)],
        [info("cond_out", TensorProto.BOOL, ()), info("next", FLOAT, Y)],
    )
    outer = [conv("x", "start", name="before"), helper.make_node("Loop", ["n", "", "start"], ["y"], body=body)]
    return make_model(outer, {"w1": W1, "w2": W2}, inputs=[info("n", TensorProto.INT64, ())])


def scan_model() -> ModelProto:
    """One Conv a scanned slice of the first axis."""
    shape = (1, 3, 13, 11)
    nodes = [
        helper.make_node("Unsqueeze", ["slice", "zero"], ["s4"]),
        conv("s4", "out", "w1", name="scanned"),
        helper.make_node("Identity", ["s_in"], ["s_out"]),
    ]
    body = body_graph(
        "body",
        nodes,
        [info("s_in", FLOAT, (1,)), info("slice", FLOAT, shape[1:])],
        [info("s_out", FLOAT, (1,)), info("out", FLOAT, (1, *Y[1:]))],
    )
    scan = helper.make_node("Scan", ["init", "x"], ["final", "y"], body=body, num_scan_inputs=1)
    constants = {"w1": W1, "init": np.zeros(1, np.float32), "zero": np.zeros(1, np.int64)}
    return make_model([scan], constants, y=(2, 1, *Y[1:]))


BODIES: dict[str, tuple[Callable[[], ModelProto], list[dict[str, Array]], int]] = {
    "if": (if_model, [{"c": np.array(True)}, {"c": np.array(False)}], 2),
    "loop": (loop_model, [{"n": np.array(1)}, {"n": np.array(3)}], 2),
    "scan": (scan_model, [{}], 1),
    "function": (function_model, [{}], 1),
}
"""Models with Convs outside the main graph: how to make one, what to feed it, and how many Convs it has."""
