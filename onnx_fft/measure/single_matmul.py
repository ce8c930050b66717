"""One MatMul with a DFT basis as a model of its own, as ONNX Runtime's operator and as each candidate: see `single`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import Ports
from onnx_fft.measure.choice import Contest
from onnx_fft.measure.single import IR_VERSION
from onnx_fft.sites.basis import make_operand
from onnx_fft.sites.fourier import MatMulSpec


def make_matmul_models(contest: Contest) -> list[ModelProto]:
    """The operator, then each candidate; input `x`, output `y`."""
    spec = contest.spec
    assert isinstance(spec, MatMulSpec)
    wide = make_operand(spec)
    weight = numpy_helper.from_array(wide.astype(spec.dtype), "weight")
    operands = ["weight", "x"] if spec.in_columns else ["x", "weight"]
    models = [_make_model(contest, spec, [helper.make_node("MatMul", operands, ["y"], "matmul")], [weight])]
    for candidate in contest.candidates:
        lowering = find_lowering(candidate.plan.lowering, MatMulSpec)
        fragment = lowering.build(spec, candidate.plan, wide, Ports("x", "y", "fft/", contest.opset))
        models.append(_make_model(contest, spec, fragment.nodes, fragment.initializers, fragment.functions))
    return models


def _make_model(
    contest: Contest,
    spec: MatMulSpec,
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    functions: Sequence[FunctionProto] = (),
) -> ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    dims = [f"length{axis}" if length is None else length for axis, length in enumerate(spec.shape)]
    x, y = helper.make_tensor_value_info("x", kind, dims), helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph(list(nodes), "single_matmul", [x], [y], list(constants))
    imports = [helper.make_opsetid("", contest.opset)]
    imports += [helper.make_opsetid(domain, 1) for domain in {function.domain for function in functions}]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, functions=functions)
