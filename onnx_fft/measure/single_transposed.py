"""One ConvTranspose as a model of its own, as ONNX Runtime's operator and as each candidate: see `single`.

Lengths that the host model leaves open are open here too. Weight and bias are constants of random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import Plan, Ports
from onnx_fft.measure.choice import Contest
from onnx_fft.measure.single import IR_VERSION, MICROSOFT_OPSET, SEED
from onnx_fft.model.scopes import MICROSOFT_DOMAIN
from onnx_fft.model.weights import ConvWeights
from onnx_fft.sites.basis import make_inverse
from onnx_fft.sites.site import list_lengths
from onnx_fft.sites.transposed import ConvTransposeSpec


def make_transposed_models(contest: Contest) -> list[ModelProto]:
    """The operator, then each candidate; input `x`, output `y`."""
    spec = contest.spec
    assert isinstance(spec, ConvTransposeSpec)
    rng = np.random.default_rng(SEED)
    drawn = rng.standard_normal(spec.weight_shape) if spec.basis_length == 0 else make_inverse(spec)
    weight = (drawn / np.sqrt(drawn[:, 0].size / spec.group)).astype(spec.dtype)
    bias = rng.standard_normal(spec.out_channels).astype(spec.dtype) if spec.has_bias else None
    tensors = [numpy_helper.from_array(weight, "weight")]
    tensors += [] if bias is None else [numpy_helper.from_array(bias, "bias")]
    node = helper.make_node(
        "ConvTranspose",
        ["x", *(tensor.name for tensor in tensors)],
        ["y"],
        "conv_transpose",
        group=spec.group,
        kernel_shape=spec.kernel_shape,
        strides=spec.strides,
        dilations=spec.dilations,
        pads=(*spec.pads_begin, *spec.pads_end),
        output_padding=spec.output_padding,
    )
    weights = ConvWeights(weight.astype(np.float64), None if bias is None else bias.astype(np.float64))
    lowered = [_lower(contest, spec, candidate.plan, weights) for candidate in contest.candidates]
    return [_make_model(contest, spec, [node], tensors), *lowered]


def _lower(contest: Contest, spec: ConvTransposeSpec, plan: Plan, weights: ConvWeights) -> ModelProto:
    lowering = find_lowering(plan.lowering, ConvTransposeSpec)
    fragment = lowering.build(spec, plan, weights, Ports("x", "y", "fft/", contest.opset))
    return _make_model(contest, spec, fragment.nodes, fragment.initializers, fragment.functions)


def _make_model(
    contest: Contest,
    spec: ConvTransposeSpec,
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    functions: Sequence[FunctionProto] = (),
) -> ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    dims = [f"length{axis}" if length is None else length for axis, length in enumerate(list_lengths(spec))]
    x, y = helper.make_tensor_value_info("x", kind, dims), helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph(list(nodes), "single_conv_transpose", [x], [y], list(constants))
    imports = [helper.make_opsetid("", contest.opset), helper.make_opsetid(MICROSOFT_DOMAIN, MICROSOFT_OPSET)]
    imports += [helper.make_opsetid(domain, 1) for domain in {function.domain for function in functions}]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, functions=functions)
