"""One convolution as a model of its own, as ONNX Runtime's Conv and as each candidate, with random weights and inputs.

Lengths that the host model leaves open are open here too, so that nothing is folded that could not be folded there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import Plan, Ports
from onnx_fft.measure.choice import Contest
from onnx_fft.model.scopes import MICROSOFT_DOMAIN
from onnx_fft.model.weights import ConvWeights
from onnx_fft.sites.basis import make_basis
from onnx_fft.sites.spec import ConvSpec

SEED = 0
IR_VERSION = 8
"""Read by every ONNX Runtime the project supports."""
MICROSOFT_OPSET = 1


def make_models(contest: Contest) -> list[ModelProto]:
    """The Conv, then each candidate; input `x` and, for a spec with a sum, `z`; output `y`."""
    spec = contest.spec
    assert isinstance(spec, ConvSpec)
    rng = np.random.default_rng(SEED)
    shape = (spec.out_channels, spec.in_channels // spec.group, *spec.kernel_shape)
    drawn = rng.standard_normal(shape) if spec.basis_length == 0 else make_basis(spec)
    weight = (drawn / np.sqrt(np.prod(shape[1:]))).astype(spec.dtype)
    bias = rng.standard_normal(spec.out_channels).astype(spec.dtype) if spec.has_bias else None
    weights = ConvWeights(weight.astype(np.float64), None if bias is None else bias.astype(np.float64))
    lowered = [_lower(contest, spec, candidate.plan, weights) for candidate in contest.candidates]
    return [_make_conv(contest, spec, weight, bias), *lowered]


def make_feeds(spec: ConvSpec, shape: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Random inputs for `x` of this shape."""
    rng = np.random.default_rng(SEED + 1)
    feeds = {"x": rng.standard_normal(shape).astype(spec.dtype)}
    if spec.has_sum:
        extents = spec.at(shape[2:]).geometry.output_extents(shape[2:], spec.kernel_shape)
        feeds["z"] = rng.standard_normal((shape[0], spec.out_channels, *extents)).astype(spec.dtype)
    return feeds


def _make_conv(contest: Contest, spec: ConvSpec, weight: NDArray[Any], bias: NDArray[Any] | None) -> ModelProto:
    attributes: dict[str, Any] = {
        "kernel_shape": spec.kernel_shape,
        "strides": spec.strides,
        "dilations": spec.dilations,
        "group": spec.group,
    }
    attributes |= {"auto_pad": spec.auto_pad} if spec.auto_pad else {"pads": (*spec.pads_begin, *spec.pads_end)}
    inputs = ["x", "weight", "bias" if bias is not None else "", "z" if spec.has_sum else ""]
    while not inputs[-1]:
        inputs.pop()
    op_type, domain = "Conv", ""
    if spec.activation is not None or spec.has_sum:
        op_type, domain = "FusedConv", MICROSOFT_DOMAIN
    if spec.activation is not None:
        attributes["activation"] = spec.activation.op_type
        if spec.activation.params:
            attributes["activation_params"] = [float(value) for value in spec.activation.params]
    node = helper.make_node(op_type, inputs, ["y"], "conv", domain=domain, **attributes)
    constants = {"weight": weight} | ({} if bias is None else {"bias": bias})
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return _make_model(contest, spec, [node], tensors)


def _lower(contest: Contest, spec: ConvSpec, plan: Plan, weights: ConvWeights) -> ModelProto:
    ports = Ports("x", "y", "fft/", contest.opset, "z" if spec.has_sum else "")
    fragment = find_lowering(plan.lowering).build(spec, plan, weights, ports)
    return _make_model(contest, spec, fragment.nodes, fragment.initializers, fragment.functions)


def _make_model(
    contest: Contest,
    spec: ConvSpec,
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    functions: Sequence[FunctionProto] = (),
) -> ModelProto:
    extents = {f"extent{axis}": length for axis, length in enumerate(spec.extents)}
    outputs = {f"{name}_out": length for name, length in zip(extents, spec.output_extents, strict=True)}
    y = _describe(spec, "y", spec.out_channels, outputs)
    inputs = [_describe(spec, "x", spec.in_channels, extents)]
    inputs += [_describe(spec, "z", spec.out_channels, outputs)] if spec.has_sum else []
    graph = helper.make_graph(list(nodes), "single_conv", inputs, [y], list(constants))
    imports = [helper.make_opsetid("", contest.opset), helper.make_opsetid(MICROSOFT_DOMAIN, MICROSOFT_OPSET)]
    imports += [helper.make_opsetid(domain, 1) for domain in {function.domain for function in functions}]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, functions=functions)


def _describe(spec: ConvSpec, name: str, channels: int, extents: Mapping[str, int | None]) -> Any:
    """A graph input or output `[batch, channels, *extents]`, open lengths as symbols."""
    batch = "batch" if spec.batch is None else spec.batch
    dims = [batch, channels, *(symbol if length is None else length for symbol, length in extents.items())]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), dims)
