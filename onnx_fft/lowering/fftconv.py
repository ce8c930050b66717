"""One node of the native library, `onnx_fft::FFTConv`, with Conv's own operands; a file that runs without it too.

The model gets a *model-local function* of the same domain and name whose body is the Conv, its attributes referenced. A
runtime that knows no operator of that name inlines the function and computes what it did before; with the library
registered, ONNX Runtime prefers the kernel (1.17 to 1.32).

A function cannot switch on an attribute, so what follows the sum is in the operator's name, step by step: `FFTConv`,
then `Add` for a residual, an activation, `BatchNormalization`; `FFTConvAddRelu`, say. Its tensors are inputs behind
`X, W, B`: the residual, PRelu's slope, then scale, shift, mean and variance. Its numbers are attributes `alpha`, `beta`
and `epsilon` of the node, which the kernel reads, and plain numbers in the function's body: onnx's reference evaluator
(up to 1.23) cannot pass a caller's attribute on to LeakyRelu or HardSigmoid, and Clip takes its bounds as tensors. So
the first numbers for a name in a model get the operator, and with others, steps stay nodes behind a shorter one.

What models make of the bins of an STFT (`sites.bins`) is such a step as well, and the only one: `FFTConvPower`,
`FFTConvMagnitude`. Their attribute `perm` turns rows and frames, or leaves them, as Transpose's does in the body.

Nor can it choose between `pads` and `auto_pad`. If the pads depend on an open length, the operator is `FFTConvSame`,
which has the latter and computes them at run time; what follows it stays nodes of their own.

There always is a bias, of zeros if the Conv had none. The third input could be left out as well, but the evaluator
counts inputs, and once a function is inlined, ONNX Runtime (1.32) keeps a Conv whose bias is an empty name out of its
blocked layout, which is the faster one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto
from onnx.helper import make_function, make_node, make_opsetid
from onnx.numpy_helper import from_array

from onnx_fft.errors import InvalidModelError
from onnx_fft.lowering.base import ConvPlan, Fragment, Ports
from onnx_fft.lowering.builder import ACTIVATION_PARAMS
from onnx_fft.model.functions import is_same_function
from onnx_fft.model.weights import ConvWeights
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.activations import CLIP_INPUTS_OPSET
from onnx_fft.sites.spec import Activation, ConvSpec

OP_TYPE = "FFTConv"
SAME_OP_TYPE = "FFTConvSame"
MAX_RANK = 3

_TYPES = {
    "group": AttributeProto.INT,
    "kernel_shape": AttributeProto.INTS,
    "strides": AttributeProto.INTS,
    "dilations": AttributeProto.INTS,
}
"""Attributes that every Conv has, by type; one of the two for padding is added."""

_PARAMETERS = ("alpha", "beta")
_NORM_OPERANDS = ("scale", "shift", "mean", "variance")

HARD_SWISH_OPSET = 14

SPLIT_COUNT_OPSET = 18
"""The opset since which Split has to be told that its parts are equal."""


class FFTConvLowering:
    """The native library's operator, and the function that stands in for it."""

    name = "fftconv"
    takes = (ConvSpec,)
    fuses_epilogues = True

    def find_obstacle(self, spec: ConvSpec) -> str:
        """Four axes and more are not what the operator has."""
        return (
            f"the library convolves along 1 to {MAX_RANK} axes, not along {spec.rank}" if spec.rank > MAX_RANK else ""
        )

    def min_opset(self, spec: ConvSpec) -> int:
        """1: what holds for the Conv holds for the function's body."""
        return 1

    def candidates(self, spec: ConvSpec) -> list[ConvPlan]:
        """The one plan, which leaves everything to the library."""
        return [ConvPlan(self.name, ())]

    def check_plan(self, spec: ConvSpec, plan: ConvPlan) -> None:
        """A plan has no axes, and the convolution must be one that the operator has."""
        if plan.axes:
            raise ValueError(f"fftconv plans by itself: axes must be empty, got {len(plan.axes)}")
        if obstacle := self.find_obstacle(spec):
            raise ValueError(obstacle)

    def build(self, spec: ConvSpec, plan: ConvPlan, weights: ConvWeights, ports: Ports) -> Fragment:
        """See the module's docstring."""
        own = _store_operands(spec, weights, ports)
        weight = ports.weight or own[0].name
        bias = ports.bias or weights.bias_input or own[-1].name
        operands = {"X": ports.input, "W": weight, "B": bias, "Z": ports.sum_input}
        operands |= dict(zip(_list_operands(replace(spec, has_sum=False))[3:], ports.operands, strict=True))
        fused, behind = _split_steps(spec, ports)
        function = make_conv_function(fused, ports.opset)
        plain = ports.output if fused == spec else f"{ports.prefix}sum"
        nodes = [_call(function, fused, operands, plain, ports.prefix)]
        if fused != spec:
            nodes += _write_steps(behind, ports.opset, operands, plain, ports.output, ports.prefix)
        return Fragment(tuple(nodes), tuple(own), (function,))


def name_operator(spec: ConvSpec) -> str:
    """The operator that computes `spec` with all that follows the sum."""
    return (SAME_OP_TYPE if spec.auto_pad else OP_TYPE) + "".join(_list_steps(spec))


def make_conv_function(spec: ConvSpec, opset: int) -> FunctionProto:
    """The function `X [batch, in_channels, *extents], W, B, ... -> Y` behind the operator of `spec`, in `opset`."""
    steps, inputs = _list_steps(spec), _list_operands(spec)
    conv = make_node("Conv", ["X", "W", "B"], ["sum" if steps else "Y"], "Conv")
    types = _TYPES | ({"auto_pad": AttributeProto.STRING} if spec.auto_pad else {"pads": AttributeProto.INTS})
    for name, kind in types.items():
        conv.attribute.append(AttributeProto(name=name, ref_attr_name=name, type=kind))
    nodes = [conv]
    if steps:
        nodes += _write_steps(spec, opset, {name: name for name in inputs}, "sum", "Y", "")
    if spec.bins_form:
        types["perm"] = AttributeProto.INTS
        nodes[-1].ClearField("attribute")
        nodes[-1].attribute.append(AttributeProto(name="perm", ref_attr_name="perm", type=types["perm"]))
    imports, attributes = [make_opsetid("", opset)], [*types, *_list_numbers(spec)]
    return make_function(OPERATOR_DOMAIN, name_operator(spec), inputs, ["Y"], nodes, imports, attributes)


def _list_steps(spec: ConvSpec) -> list[str]:
    """What follows the sum, as it is in the operator's name."""
    steps = ["Add"] if spec.has_sum else []
    steps += [spec.activation.op_type] if spec.activation else []
    steps += [spec.bins_form] if spec.bins_form else []
    return steps if spec.norm_epsilon is None else [*steps, "BatchNormalization"]


def _list_operands(spec: ConvSpec) -> list[str]:
    """The operator's inputs."""
    operands = ["X", "W", "B", *(["Z"] if spec.has_sum else [])]
    operands += ["slope"] if spec.activation and spec.activation.op_type == "PRelu" else []
    return operands if spec.norm_epsilon is None else [*operands, *_NORM_OPERANDS]


def _list_numbers(spec: ConvSpec) -> dict[str, float]:
    """The operator's attributes beside Conv's; they hold float32."""
    params = spec.activation.params if spec.activation else ()
    numbers = dict(zip(_PARAMETERS, map(float, params), strict=False))
    return numbers if spec.norm_epsilon is None else {**numbers, "epsilon": spec.norm_epsilon}


def _split_steps(spec: ConvSpec, ports: Ports) -> tuple[ConvSpec, ConvSpec]:
    """`spec` with the most steps for which the model has room, and with those left over."""
    kept, left = spec, replace(spec, has_sum=False, activation=None, norm_epsilon=None, bins_form="")
    while (kept.auto_pad and _list_steps(kept)) or not _is_free(make_conv_function(kept, ports.opset), ports.functions):
        if kept.bins_form:
            kept, left = replace(kept, bins_form=""), replace(left, bins_form=kept.bins_form)
        elif kept.norm_epsilon is not None:
            kept, left = replace(kept, norm_epsilon=None), replace(left, norm_epsilon=kept.norm_epsilon)
        elif kept.activation is not None:
            kept, left = replace(kept, activation=None), replace(left, activation=kept.activation)
        elif kept.has_sum:
            kept, left = replace(kept, has_sum=False), replace(left, has_sum=True)
        else:
            raise InvalidModelError(
                f"got a model with another function {OPERATOR_DOMAIN}::{name_operator(kept)} of its own",
                "the name to be free",
                "rename that function",
            )
    return kept, left


def _call(function: FunctionProto, spec: ConvSpec, operands: Mapping[str, str], output: str, prefix: str) -> NodeProto:
    """The node, every attribute of Conv written out."""
    named: dict[str, Any] = dict(_list_numbers(spec))
    named |= {"auto_pad": spec.auto_pad} if spec.auto_pad else {"pads": (*spec.pads_begin, *spec.pads_end)}
    named |= {"perm": _list_perm(spec)} if spec.bins_form else {}
    return make_node(
        function.name,
        [operands[name] for name in function.input],
        [output],
        f"{prefix}{function.name}",
        domain=OPERATOR_DOMAIN,
        group=spec.group,
        kernel_shape=spec.kernel_shape,
        strides=spec.strides,
        dilations=spec.dilations,
        **named,
    )


def _write_steps(
    spec: ConvSpec, opset: int, operands: Mapping[str, str], x: str, y: str, prefix: str
) -> list[NodeProto]:
    """The steps of `spec` in standard operators, from `x` to `y`."""
    nodes: list[NodeProto] = []
    steps = _list_steps(spec)
    for number, step in enumerate(steps):
        result = y if number == len(steps) - 1 else f"{prefix}{step}_result"
        if step == "Add":
            nodes.append(make_node("Add", [x, operands["Z"]], [result], f"{prefix}Add"))
        elif step == spec.bins_form:
            nodes += _join_bins(spec, opset, x, result, prefix)
        elif step == "BatchNormalization":
            inputs = [x, *(operands[name] for name in _NORM_OPERANDS)]
            nodes.append(make_node(step, inputs, [result], f"{prefix}{step}", epsilon=spec.norm_epsilon))
        else:
            assert spec.activation is not None
            slope = operands.get("slope", "")
            nodes += _activate(spec.activation, spec.dtype, opset, slope, x, result, prefix)
        x = result
    return nodes


def _join_bins(spec: ConvSpec, opset: int, x: str, y: str, prefix: str) -> list[NodeProto]:
    """Of the two halves of the rows, the sum of the squares, its root if that is meant, and the turn behind it."""
    parts, squares = ([f"{prefix}{part}{name}" for part in ("real", "imaginary")] for name in ("", "_square"))
    power, joined = f"{prefix}power", f"{prefix}joined"
    halves: dict[str, Any] = {"num_outputs": 2} if opset >= SPLIT_COUNT_OPSET else {}
    nodes = [make_node("Split", [x], parts, f"{prefix}Split", axis=1, **halves)]
    nodes += [make_node("Mul", [part] * 2, [square], square) for part, square in zip(parts, squares, strict=True)]
    nodes.append(make_node("Add", squares, [power], power))
    if spec.bins_form == "Magnitude":
        nodes.append(make_node("Sqrt", [power], [joined], joined))
    last = nodes[-1].output[0]
    return [*nodes, make_node("Transpose", [last], [y], f"{prefix}Transpose", perm=_list_perm(spec))]


def _list_perm(spec: ConvSpec) -> list[int]:
    return [0, 2, 1] if spec.turns_bins else [0, 1, 2]


def _activate(
    activation: Activation, dtype: str, opset: int, slope: str, x: str, y: str, prefix: str
) -> list[NodeProto]:
    """The activation in standard operators, the bounds of a newer Clip as Constant nodes of its own dtype."""
    name = activation.op_type
    if name == "Clip" and opset >= CLIP_INPUTS_OPSET:
        bounds = [
            (f"{prefix}{label}", value) for label, value in zip(("least", "greatest"), activation.params, strict=True)
        ]
        constants = [
            make_node("Constant", [], [bound], bound, value=from_array(np.asarray(value, dtype)))
            for bound, value in bounds
        ]
        return [*constants, make_node("Clip", [x, *(bound for bound, _ in bounds)], [y], f"{prefix}Clip")]
    if name == "Swish" or (name == "HardSwish" and opset < HARD_SWISH_OPSET):
        gate = f"{prefix}gate"
        attributes: dict[str, Any] = {"alpha": 1 / 6, "beta": 0.5} if name == "HardSwish" else {}
        function = make_node("HardSigmoid" if attributes else "Sigmoid", [x], [gate], gate, **attributes)
        return [function, make_node("Mul", [x, gate], [y], f"{prefix}Mul")]
    attributes = dict(zip(ACTIVATION_PARAMS.get(name, ()), map(float, activation.params), strict=True))
    return [make_node(name, [x, *([slope] if name == "PRelu" else [])], [y], f"{prefix}{name}", **attributes)]


def _store_operands(spec: ConvSpec, weights: ConvWeights, ports: Ports) -> list[TensorProto]:
    """Weight and bias in the dtype of the convolution, if the host has no such constants; the bias comes last."""

    def store(name: str, values: NDArray[np.float64]) -> TensorProto:
        return from_array(np.ascontiguousarray(values.astype(spec.dtype)), f"{ports.prefix}{name}")

    own = [] if ports.weight else [store("weight", weights.weight)]
    if ports.bias or weights.bias_input:
        return own
    bias = np.zeros(spec.out_channels) if weights.bias is None else weights.bias
    return [*own, store("bias", bias)]


def _is_free(function: FunctionProto, known: Sequence[FunctionProto]) -> bool:
    """Whether the model has no other function of that name."""
    return all(
        is_same_function(function, other)
        for other in known
        if (other.domain, other.name) == (function.domain, function.name)
    )
