"""One node of the native library, `onnx_fft::FFTConv`, with Conv's own operands; a file that runs without it too.

The model gets a *model-local function* of the same domain and name whose body is the Conv, its attributes referenced. A
runtime that knows no operator of that name inlines the function and computes what it did before; with the library
registered, ONNX Runtime prefers the kernel (1.17 to 1.32).

A function cannot switch on an attribute, so an activation makes another operator: `FFTConvRelu`, `FFTConvClip`, ... Its
parameters are attributes `alpha` and `beta` of the node, which the kernel reads, and plain numbers in the function's
body: onnx's reference evaluator (up to 1.23) cannot pass a caller's attribute on to LeakyRelu or HardSigmoid, and Clip
takes its bounds as tensors. So the first parameters of an activation in a model get the operator, and others stay nodes
of their own behind a plain `FFTConv`.

Nor can it choose between `pads` and `auto_pad`. If the pads depend on an open length, the operator is `FFTConvSame`,
which has the latter and computes them at run time; an activation behind it stays a node of its own.

There always is a bias, of zeros if the Conv had none. The third input could be left out as well, but the evaluator
counts inputs, and once a function is inlined, ONNX Runtime (1.32) keeps a Conv whose bias is an empty name out of its
blocked layout, which is the faster one.
"""

from __future__ import annotations

from collections.abc import Sequence
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

OPERATOR_ACTIVATIONS = ("Relu", "LeakyRelu", "Clip", "HardSigmoid")
"""Those that have an operator of their own; a FusedConv's others become nodes behind a plain `FFTConv`."""

_TYPES = {
    "group": AttributeProto.INT,
    "kernel_shape": AttributeProto.INTS,
    "strides": AttributeProto.INTS,
    "dilations": AttributeProto.INTS,
}
"""Attributes that every Conv has, by type; one of the two for padding is added."""

_PARAMETERS = ("alpha", "beta")


class FFTConvLowering:
    """The native library's operator, and the function that stands in for it."""

    name = "fftconv"
    fuses_activations = True

    def find_obstacle(self, spec: ConvSpec) -> str:
        """Four axes and more, and FusedConv's addend, are not what the operator has."""
        if spec.rank > MAX_RANK:
            return f"the library convolves along 1 to {MAX_RANK} axes, not along {spec.rank}"
        return "FusedConv adds its fourth input, which the library does not" if spec.has_sum else ""

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
        operands = [ports.input, weight, bias]
        function = make_conv_function(spec, ports.opset)
        activation = spec.activation
        is_fused = activation is None or (activation.op_type in OPERATOR_ACTIVATIONS and not spec.auto_pad)
        if activation is not None and not (is_fused and _is_free(function, ports.functions)):
            plain = f"{ports.prefix}sum"
            function = make_conv_function(spec, ports.opset, activated=False)
            behind = _activate(activation, spec.dtype, ports.opset, plain, ports.output, ports.prefix)
            nodes = [_call(function, spec, operands, plain, ports.prefix), *behind]
        else:
            nodes = [_call(function, spec, operands, ports.output, ports.prefix)]
        if not _is_free(function, ports.functions):
            raise InvalidModelError(
                f"got a model with another function {OPERATOR_DOMAIN}::{function.name} of its own",
                "the name to be free",
                "rename that function",
            )
        return Fragment(tuple(nodes), tuple(own), (function,))


def make_conv_function(spec: ConvSpec, opset: int, *, activated: bool = True) -> FunctionProto:
    """The function `X [batch, in_channels, *extents], W, B -> Y` behind the operator of `spec`, in `opset`."""
    activation = spec.activation if activated else None
    result = "Y" if activation is None else "sum"
    conv = make_node("Conv", ["X", "W", "B"], [result], "Conv")
    types = _TYPES | ({"auto_pad": AttributeProto.STRING} if spec.auto_pad else {"pads": AttributeProto.INTS})
    for name, kind in types.items():
        conv.attribute.append(AttributeProto(name=name, ref_attr_name=name, type=kind))
    nodes, parameters = [conv], list[str]()
    if activation is not None:
        nodes += _activate(activation, spec.dtype, opset, "sum", "Y", "")
        parameters = list(_PARAMETERS[: len(activation.params)])
    name = (SAME_OP_TYPE if spec.auto_pad else OP_TYPE) + (activation.op_type if activation else "")
    imports, attributes = [make_opsetid("", opset)], [*types, *parameters]
    return make_function(OPERATOR_DOMAIN, name, ["X", "W", "B"], ["Y"], nodes, imports, attributes)


def _call(function: FunctionProto, spec: ConvSpec, operands: Sequence[str], output: str, prefix: str) -> NodeProto:
    """The node, every attribute of Conv written out; float attributes hold float32."""
    is_plain = function.name in (OP_TYPE, SAME_OP_TYPE)
    parameters = spec.activation.params if spec.activation and not is_plain else ()
    named: dict[str, Any] = dict(zip(_PARAMETERS, map(float, parameters), strict=False))
    named |= {"auto_pad": spec.auto_pad} if spec.auto_pad else {"pads": (*spec.pads_begin, *spec.pads_end)}
    return make_node(
        function.name,
        operands,
        [output],
        f"{prefix}{function.name}",
        domain=OPERATOR_DOMAIN,
        group=spec.group,
        kernel_shape=spec.kernel_shape,
        strides=spec.strides,
        dilations=spec.dilations,
        **named,
    )


def _activate(activation: Activation, dtype: str, opset: int, x: str, y: str, prefix: str) -> list[NodeProto]:
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
    attributes: dict[str, Any] = dict(zip(ACTIVATION_PARAMS.get(name, ()), map(float, activation.params), strict=True))
    return [make_node(name, [x], [y], f"{prefix}{name}", **attributes)]


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
