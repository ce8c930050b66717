"""Random valid models: a chain of Convs, ConvTransposes, DFTs, STFTs and what stands around them, from opset 7 on.

The chain may lie in a branch of an If, in a Loop or in a model-local function, its lengths may be open, and the file
may hold what stands beside nodes: texts, annotations, what training binds.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from scripts.fuzz.chain import Chain
from scripts.fuzz.fourier import add_conv_transpose, add_dft, add_stft, add_stft_by_conv
from scripts.shared.conv_models import TENSOR_TYPES

OLDEST_OPSET = 7
EXTENTS = {1: (40, 200), 2: (10, 32), 3: (5, 9)}
MOST_TAPS = {1: 24, 2: 9, 3: 3}
ELEMENTWISE = ("Relu", "Sigmoid", "Tanh", "Abs", "Exp", "Neg", "Identity", "Softplus", "LeakyRelu", "Elu")
ZERO_READERS = ("Sqrt", "Log", "Reciprocal", "Sign", "Ceil", "Floor")
NEWER = {"Sign": 9, "Resize": 11}
"""Operators by the opset that brought them, if that is above the oldest."""


def draw_model(rng: Random) -> ModelProto:
    """One that ONNX's checker accepts, of one float input `x` and one output."""
    rank = rng.choice((1, 1, 2, 2, 2, 3))
    dtype = rng.choices(("float32", "float16", "float64"), (8, 1, 1))[0]
    shape = [rng.choice((1, 1, 2)), rng.choice((1, 2, 3, 4, 8)), *(rng.randint(*EXTENTS[rank]) for _ in range(rank))]
    newest = min(onnx.defs.onnx_opset_version(), 26)
    chain = Chain(rng, rng.randint(OLDEST_OPSET, newest), dtype, list(shape))
    first, *others = SITES
    rng.choice(SITES)(chain)
    if not chain.nodes:  # the operator is newer, or for another rank
        first(chain)
    for _ in range(rng.randint(0, 4)):
        rng.choice((first, rng.choice(others), _add_neighbour, _add_elementwise, _add_quantization))(chain)
    return _wrap(chain, shape)


def _add_conv(chain: Chain) -> None:
    rng, (_, channels, *extents) = chain.rng, chain.shape
    rank = len(extents)
    group = rng.choice([each for each in (1, 1, 2, channels) if channels % each == 0])
    outputs = group * rng.randint(1, 3)
    kernel = [rng.randint(1, min(MOST_TAPS[rank], extent)) for extent in extents]
    strides = [rng.choice((1, 1, 1, 2, 3)) for _ in extents]
    dilations = [rng.choice((1, 1, 2)) for _ in extents]
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    pads = [span // 2 for span in spans] * 2 if rng.random() < 0.7 else [span - 1 for span in spans] + [0] * rank
    inputs = [chain.store(outputs, channels // group, *kernel)]
    inputs += [chain.store(outputs)] if rng.random() < 0.5 else []
    named: dict[str, Any] = {"kernel_shape": kernel, "group": group, "strides": strides, "dilations": dilations}
    chain.add("Conv", *inputs, pads=pads, **named)
    totals = [extent + pads[i] + pads[i + rank] - spans[i] for i, extent in enumerate(extents)]
    chain.shape[1:] = [outputs, *(total // s + 1 for total, s in zip(totals, strides, strict=True))]


SITES = (_add_conv, add_conv_transpose, add_dft, add_stft, add_stft_by_conv)
"""What draws an operator that a rewrite replaces; one that does not fit the chain adds nothing."""


def _add_elementwise(chain: Chain) -> None:
    operators = ELEMENTWISE + (ZERO_READERS if chain.rng.random() < 0.3 else ())
    op_type = chain.rng.choice(operators)
    if NEWER.get(op_type, 0) <= chain.opset:
        chain.add(op_type)


def _add_neighbour(chain: Chain) -> None:
    """What is folded into Convs, fused with them, or stands between them."""
    channels, ones = chain.shape[1], [1] * (len(chain.shape) - 2)
    kind = chain.rng.choice(("BatchNormalization", "Add", "Mul", "MaxPool", "Transpose", "Reshape"))
    if kind == "BatchNormalization":
        variance = chain.store(channels)
        chain.constants[variance] = np.abs(chain.constants[variance]) + 1
        chain.add(kind, *(chain.store(channels) for _ in range(3)), variance)
    elif kind in ("Add", "Mul"):
        chain.add(kind, chain.store(channels, *ones))
    elif kind == "MaxPool":
        chain.add(kind, kernel_shape=[1 if extent < 3 else 3 for extent in chain.shape[2:]])
        chain.shape[2:] = [extent - 2 if extent >= 3 else extent for extent in chain.shape[2:]]
    elif kind == "Transpose":
        chain.add(kind, perm=[1, 0, *range(2, len(chain.shape))])
        chain.shape[:2] = chain.shape[1::-1]
    else:
        chain.add(kind, chain.hold(np.array([0, 0, *chain.shape[2:]], np.int64)))


def _add_quantization(chain: Chain) -> None:
    """To integers of eight bits and back."""
    if chain.opset < 10 or chain.dtype != "float32":
        return
    for name, value in (("scale", np.array(0.05, np.float32)), ("zero_point", np.array(128, np.uint8))):
        chain.constants.setdefault(name, value)
    chain.add("QuantizeLinear", "scale", "zero_point")
    chain.add("DequantizeLinear", "scale", "zero_point")


def _wrap(chain: Chain, shape: Sequence[int]) -> ModelProto:
    """The chain as a model: as it is, in both branches of an If, in a Loop, or as a function."""
    rng, dtype = chain.rng, TENSOR_TYPES[chain.dtype]
    open_axes = [axis for axis in range(len(shape)) if axis != 1 and rng.random() < 0.3]
    dims = [f"d{axis}" if axis in open_axes else length for axis, length in enumerate(shape)]
    values = [helper.make_tensor_value_info("x", dtype, dims)]
    open_shape = [None] * len(chain.shape)
    output = helper.make_tensor_value_info(chain.value, dtype, open_shape if open_axes else chain.shape)
    tensors = [numpy_helper.from_array(value, name) for name, value in chain.constants.items()]
    imports = [helper.make_opsetid("", chain.opset), helper.make_opsetid("local", 1)]
    nodes, functions = chain.nodes, []
    kind = rng.choices(("flat", "branch", "loop", "function"), (8, 1, 1, 1))[0]
    # One name a body: bodies see the names around them, so the output of the whole has one of its own. Loops stack.
    outer = helper.make_tensor_value_info("y", dtype, [None, *open_shape] if kind == "loop" else open_shape)
    if kind == "branch":
        values.append(helper.make_tensor_value_info("condition", TensorProto.BOOL, []))
        branches = {f"{name}_branch": helper.make_graph(nodes, name, [], [output]) for name in ("then", "else")}
        nodes, output = [helper.make_node("If", ["condition"], ["y"], "choice", **branches)], outer
    elif kind == "loop":
        values.append(helper.make_tensor_value_info("start", TensorProto.FLOAT, []))
        nodes, output = [_loop(nodes, output)], outer
        tensors.append(numpy_helper.from_array(np.array(2), "times"))
    elif kind == "function":
        names = ["x", *chain.constants]
        functions = [helper.make_function("local", "Block", names, [chain.value], nodes, imports[:1])]
        nodes = [helper.make_node("Block", names, [chain.value], "block", domain="local")]
    graph = helper.make_graph(nodes, "drawn", values, [output], tensors)
    ir_version = 10 if functions or chain.opset > 20 else rng.choice((7, 8, 9, 10))
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=functions)
    if rng.random() < 0.15:
        _decorate(model)
    return model


def _loop(nodes: Sequence[NodeProto], output: ValueInfoProto) -> NodeProto:
    """A Loop around the nodes that stacks what they give."""
    number = helper.make_tensor_value_info("number", TensorProto.INT64, [])
    before, after = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("before", "after"))
    state, same = (helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in ("state", "same"))
    copies = [helper.make_node("Identity", ["before"], ["after"]), helper.make_node("Identity", ["state"], ["same"])]
    body = helper.make_graph([*copies, *nodes], "body", [number, before, state], [after, same, output])
    return helper.make_node("Loop", ["times", "", "start"], ["end", "y"], "loop", body=body)


def _decorate(model: ModelProto) -> None:
    """All that a file can hold beside the nodes that run."""
    graph, weight = model.graph, model.graph.initializer[0].name
    for holder in (model, graph, graph.node[0]):
        holder.doc_string = "words"
        holder.metadata_props.add(key="made by", value="hand")
    model.producer_name, model.producer_version, model.domain, model.model_version = "maker", "1.2", "org.x", 42
    model.opset_import.append(helper.make_opsetid("com.example.unknown", 7))
    graph.quantization_annotation.add(tensor_name="x").quant_parameter_tensor_names.add(key="SCALE", value=weight)
    training = model.training_info.add()
    training.algorithm.node.add(op_type="Identity", input=[weight], output=["trained"])
    training.algorithm.output.add(name="trained")
    training.update_binding.add(key=weight, value="trained")
