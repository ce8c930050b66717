"""One DFT or STFT as a model of its own, as ONNX Runtime's operator and as each candidate: as `single` does for a Conv.

Lengths that the host model leaves open are open here too. A window is a constant of random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import FourierPorts, FourierWeights, Plan
from onnx_fft.measure.choice import Contest
from onnx_fft.measure.single import IR_VERSION, SEED
from onnx_fft.sites.dft import AXIS_INPUT_OPSET
from onnx_fft.sites.fourier import DftSpec, MatMulSpec, StftSpec
from onnx_fft.sites.site import FourierSpec, list_lengths
from onnx_fft.sites.transposed import ConvTransposeSpec

WINDOW = "window"


def make_fourier_models(contest: Contest) -> list[ModelProto]:
    """The operator, then each candidate; input `x`, output `y`."""
    spec = contest.spec
    assert isinstance(spec, DftSpec | StftSpec)
    window = None
    if isinstance(spec, StftSpec):
        window = np.random.default_rng(SEED).uniform(0.1, 1.0, spec.frame_length).astype(spec.dtype)
    lowered = [_lower(contest, spec, candidate.plan, window) for candidate in contest.candidates]
    return [_make_original(contest, spec, window), *lowered]


def make_random_feeds(
    spec: FourierSpec | ConvTransposeSpec | MatMulSpec, shape: Sequence[int]
) -> dict[str, NDArray[Any]]:
    """Random input of this shape."""
    return {"x": np.random.default_rng(SEED + 1).standard_normal(shape).astype(spec.dtype)}


def _make_original(contest: Contest, spec: FourierSpec, window: NDArray[Any] | None) -> ModelProto:
    if isinstance(spec, DftSpec):
        counts = {} if spec.dft_length is None else {"dft_length": spec.dft_length}
        inputs, attributes = ["x", *(counts or [""])], {"inverse": int(spec.inverse), "onesided": int(spec.onesided)}
        if contest.opset >= AXIS_INPUT_OPSET:
            counts, inputs = {**counts, "axis": spec.axis}, [*inputs, "axis"]
        else:
            attributes["axis"] = spec.axis
        node = helper.make_node("DFT", inputs, ["y"], "dft")
    else:
        counts, attributes = {"step": spec.step, "frame_length": spec.frame_length}, {"onesided": int(spec.onesided)}
        node = helper.make_node("STFT", ["x", "step", WINDOW, "frame_length"], ["y"], "stft")
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    constants = [numpy_helper.from_array(np.asarray(value, np.int64), name) for name, value in counts.items()]
    return _make_model(contest, spec, [node], constants, window)


def _lower(contest: Contest, spec: FourierSpec, plan: Plan, window: NDArray[Any] | None) -> ModelProto:
    ports = FourierPorts("x", "y", "fft/", contest.opset, window="" if window is None else WINDOW)
    weights = FourierWeights(None if window is None else window.astype(np.float64))
    fragment = find_lowering(plan.lowering, type(spec)).build(spec, plan, weights, ports)
    return _make_model(contest, spec, fragment.nodes, fragment.initializers, window, fragment.functions)


def _make_model(
    contest: Contest,
    spec: FourierSpec,
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    window: NDArray[Any] | None,
    functions: Sequence[FunctionProto] = (),
) -> ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    dims = [f"length{axis}" if length is None else length for axis, length in enumerate(list_lengths(spec))]
    x, y = helper.make_tensor_value_info("x", kind, dims), helper.make_tensor_value_info("y", kind, None)
    read = {name for node in nodes for name in node.input}
    held = [] if window is None or WINDOW not in read else [numpy_helper.from_array(window, WINDOW)]
    graph = helper.make_graph(list(nodes), "single_fourier", [x], [y], [*constants, *held])
    imports = [helper.make_opsetid("", contest.opset)]
    imports += [helper.make_opsetid(domain, 1) for domain in {function.domain for function in functions}]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, functions=functions)
