"""Mutations that know what ONNX means: attributes, dimensions, names, edges of the graph, opsets."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from scripts.fuzz.reflection import EXTREME_INTEGERS, EXTREME_TEXTS
from scripts.fuzz.tensors import LARGE_DIMS, make_input, make_sparse, mutate_tensor, mutate_values, walk_graphs

CONV_ATTRIBUTES = ("kernel_shape", "strides", "dilations", "pads", "group", "auto_pad")
READERS = ("Sqrt", "Log", "Greater", "ArgMax", "Cast", "Relu", "Identity", "Floor", "Shape", "NonZero", "Size")


def mutate_meaning(model: ModelProto, rng: Random) -> str:
    """Change one thing; says which, and how."""
    return rng.choice(MUTATIONS)(model, rng)


def _find_graph(model: ModelProto, rng: Random) -> Any:
    """A body with nodes: the graph, one inside it, or a function, which has nodes as well."""
    bodies: list[Any] = [*walk_graphs(model.graph), *model.functions]
    return rng.choice([body for body in bodies if body.node] or [model.graph])


def _find_node(model: ModelProto, rng: Random) -> NodeProto:
    """A node, a Conv if there is one more often than not."""
    nodes = [node for body in (*walk_graphs(model.graph), *model.functions) for node in body.node]
    convs = [node for node in nodes if node.op_type == "Conv"]
    chosen: NodeProto = rng.choice(convs if convs and rng.random() < 0.6 else nodes or [NodeProto()])
    return chosen


def _mutate_conv_attribute(model: ModelProto, rng: Random) -> str:
    node, name = _find_node(model, rng), rng.choice(CONV_ATTRIBUTES)
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    before = next((list(attribute.ints) for attribute in node.attribute if attribute.name == name), [1, 1])
    del node.attribute[:]
    node.attribute.extend(kept)
    value: Any = None
    if name == "auto_pad":
        value = rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "", "same", "VALID "))
    elif name == "group":
        value = rng.choice((*EXTREME_INTEGERS, 3, 4))
    elif rng.random() < 0.85:
        value = before
        for _ in range(rng.randint(1, 2)):
            value = [rng.choice((*EXTREME_INTEGERS, 3, 5, 16)) if rng.random() < 0.4 else each for each in value]
        value = value[: rng.choice((0, 1, 9, 9, 9, 9))] + [1] * rng.choice((0, 0, 0, 0, 1))
    if value is not None and value != []:
        node.attribute.append(helper.make_attribute(name, value))
    return f"{name} of {node.op_type} is {value}"


def _retype_attribute(model: ModelProto, rng: Random) -> str:
    node = _find_node(model, rng)
    if not node.attribute:
        return "unchanged: no attribute"
    attribute = rng.choice(node.attribute)
    tensor = numpy_helper.from_array(np.ones(2, np.float32))
    values = (1, 0.5, "text", [1, 2], [0.5], ["a"], tensor, model.graph)
    attribute.CopyFrom(helper.make_attribute(attribute.name, rng.choice(values)))
    if rng.random() < 0.2:
        attribute.type = rng.choice(list(AttributeProto.AttributeType.values()))
    if rng.random() < 0.2:
        attribute.ref_attr_name = rng.choice(("alpha", "", "pads"))
    return f"attribute {attribute.name!r} of {node.op_type} is of type {attribute.type}"


def _mutate_type(model: ModelProto, rng: Random) -> str:
    """The type or a dimension that a value is declared with."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    if not values:
        return "unchanged: no values"
    kind = rng.choice(values).type.tensor_type
    change = rng.choice(("type", "dim", "symbol", "unknown", "rank", "none"))
    dims = kind.shape.dim
    if change == "type":
        kind.elem_type = rng.choice(list(TensorProto.DataType.values()))
    elif change == "rank":
        dims.add().dim_value = 1
    elif change == "none" or not dims:
        kind.ClearField("shape")
    elif change == "dim":
        rng.choice(dims).dim_value = rng.choice((*LARGE_DIMS, -1))
    elif change == "symbol":
        rng.choice(dims).dim_param = rng.choice(("n", "", *EXTREME_TEXTS[:8]))
    else:
        rng.choice(dims).Clear()
    return f"{change} of a declared value"


def _declare_wrongly(model: ModelProto, rng: Random) -> str:
    """A value_info of a tensor inside the graph that is stale."""
    names = [name for node in model.graph.node for name in node.output]
    if not names:
        return "unchanged: no nodes"
    shape = [rng.choice((1, 2, 3, 8, 64)) for _ in range(rng.randint(0, 5))]
    elem_type = rng.choice((TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64))
    model.graph.value_info.append(helper.make_tensor_value_info(rng.choice(names), elem_type, shape))
    return f"value_info {shape}"


def _rename(model: ModelProto, rng: Random) -> str:
    """One name everywhere, or in one place only."""
    body = _find_graph(model, rng)
    names = [name for node in body.node for name in (*node.input, *node.output) if name]
    if not names:
        return "unchanged: no names"
    before, after = rng.choice(names), rng.choice((*EXTREME_TEXTS, *names[:3]))
    everywhere = rng.random() < 0.7
    for node in body.node if everywhere else [rng.choice(body.node)]:
        node.input[:] = [after if name == before else name for name in node.input]
        node.output[:] = [after if name == before else name for name in node.output]
    if everywhere and isinstance(body, GraphProto):
        for holder in (*body.input, *body.output, *body.initializer, *body.value_info):
            holder.name = after if holder.name == before else holder.name
    return f"{before[:40]!r} renamed to {after[:40]!r}{'' if everywhere else ' in one node'}"


def _rename_node(model: ModelProto, rng: Random) -> str:
    node = _find_node(model, rng)
    node.name = rng.choice(EXTREME_TEXTS)
    return f"a node named {node.name[:40]!r}"


def _rewire(model: ModelProto, rng: Random) -> str:
    """An input reads something else: earlier, later, its own output, nothing."""
    body = _find_graph(model, rng)
    node = rng.choice(body.node or [NodeProto()])
    if not node.input:
        return "unchanged: no inputs"
    names = [name for each in body.node for name in (*each.input, *each.output)]
    index = rng.randrange(len(node.input))
    node.input[index] = rng.choice((*names, "", "nowhere"))
    return f"input {index} of {node.op_type} is {node.input[index][:40]!r}"


def _restructure(model: ModelProto, rng: Random) -> str:
    """A node dropped, doubled, moved; its inputs or outputs cut short; an output of the graph dropped or added."""
    body = _find_graph(model, rng)
    if not body.node:
        return "unchanged: no nodes"
    index = rng.randrange(len(body.node))
    kind = rng.choice(("drop", "double", "move", "inputs", "outputs", "result", "op_type", "domain"))
    node = NodeProto()
    node.CopyFrom(body.node[index])
    if kind == "drop":
        del body.node[index]
    elif kind == "double":
        body.node.add().CopyFrom(node)
    elif kind == "move":
        del body.node[index]
        body.node.insert(rng.randint(0, len(body.node)), node)
    elif kind == "inputs":
        body.node[index].input[:] = node.input[:-1] if rng.random() < 0.5 else [*node.input, *node.input]
    elif kind == "outputs":
        body.node[index].output[:] = [*node.output, "more"] if rng.random() < 0.5 else node.output[1:]
    elif kind == "op_type":
        body.node[index].op_type = rng.choice(("Conv", "ConvTranspose", "Identity", "Nothing", "If", "FusedConv", ""))
    elif kind == "domain":
        body.node[index].domain = rng.choice(("ai.onnx", "com.microsoft", "onnx_fft", "local", "nowhere"))
    elif isinstance(body, GraphProto):
        kind = f"result {_change_results(body, rng)}"
    return f"{kind} of node {index}, {node.op_type}"


def _change_results(graph: GraphProto, rng: Random) -> str:
    names = [name for node in graph.node for name in node.output if name]
    if rng.random() < 0.3 or not names:
        del graph.output[:1]
        return "dropped"
    graph.output.append(onnx.ValueInfoProto(name=rng.choice(names)))
    return "added"


def _append_reader(model: ModelProto, rng: Random) -> str:
    """One more operator on an output: a decision, a root, a cast."""
    graph = model.graph
    if not graph.output:
        return "unchanged: no outputs"
    source, op_type = graph.output[0].name, rng.choice(READERS)
    attributes: dict[str, Any] = {"to": rng.choice((TensorProto.BOOL, TensorProto.INT32, TensorProto.UINT8))}
    inputs = [source, source] if op_type == "Greater" else [source]
    graph.node.append(helper.make_node(op_type, inputs, ["read"], **(attributes if op_type == "Cast" else {})))
    graph.output.append(onnx.ValueInfoProto(name="read"))
    return f"{op_type} added"


def _nest(model: ModelProto, rng: Random) -> str:
    """Bodies in bodies, up to what protobuf reads: a hundred messages deep, three a level."""
    body = helper.make_graph(list(model.graph.node), "deep", [], list(model.graph.output))
    depth = rng.choice((1, 3, 10, 25))
    for level in range(depth):
        node = helper.make_node("If", ["condition"], [value.name for value in model.graph.output], f"if{level}")
        node.attribute.append(helper.make_attribute("then_branch", body))
        node.attribute.append(helper.make_attribute("else_branch", body if level < 3 else onnx.GraphProto(name="e")))
        body = helper.make_graph([node], f"level{level}", [], list(model.graph.output))
    del model.graph.node[:]
    model.graph.node.extend(body.node)
    model.graph.input.append(helper.make_tensor_value_info("condition", TensorProto.BOOL, []))
    return f"nested {depth} deep"


def _mutate_imports(model: ModelProto, rng: Random) -> str:
    change = rng.choice(("version", "double", "drop", "ir"))
    if change == "ir":
        model.ir_version = rng.choice((0, 1, 3, 4, 8, 10, 99, -1, 2**40))
    elif change == "double":
        model.opset_import.append(helper.make_opsetid(rng.choice(("", "ai.onnx")), rng.randint(1, 30)))
    elif change == "drop" and model.opset_import:
        del model.opset_import[0]
    elif model.opset_import:
        rng.choice(model.opset_import).version = rng.choice((0, 1, 6, 7, 9, 11, 13, 17, 21, 99, -1, 2**40))
    return f"imports: {change}"


MUTATIONS: tuple[Callable[[ModelProto, Random], str], ...] = (
    *(_mutate_conv_attribute,) * 3, _retype_attribute, *(mutate_values,) * 2, mutate_tensor, *(_mutate_type,) * 2,
    _declare_wrongly, _rename, _rename_node, _rewire, *(_restructure,) * 2, _append_reader, _nest, _mutate_imports,
    make_input, make_sparse,
)  # fmt: skip
