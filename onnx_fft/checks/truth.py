"""The truth about a sum that cancels, or that ONNX Runtime computes badly: the original in float64.

A zero-mean kernel on data with an offset, or the difference of two large numbers, loses digits in every algorithm. ONNX
Runtime's DFT loses some by itself, 5e-3 at 65,000 points (1.32). No tolerance of the dtype fits it, and it need not:
what is right is known. A rewritten model that is no farther from that than `TRUTH_FACTOR` times the original passes.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from onnx_fft.checks.compare import Array, Comparison, allowed_error, measure_rms
from onnx_fft.checks.convcheck import resolve_geometry
from onnx_fft.checks.fouriercheck import make_transforms
from onnx_fft.checks.transposedcheck import read_geometry
from onnx_fft.errors import one_line
from onnx_fft.fourier.oracle import conv_direct, conv_transpose_direct, count_multiply_adds
from onnx_fft.inputs.feeds import Feed
from onnx_fft.model.external import tensor_array
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import is_graph, walk_bodies, walk_nodes
from onnx_fft.runtime.engines import EngineError, Value

TRUTH_FACTOR = 4
"""So many times the original's distance from float64 is allowed; two ways to add up the same numbers differ by less."""
PEAK_FACTOR = 8
"""Rounding makes no error that is more than so many times its RMS; a pixel at a tie that turns is off by far more."""
NOISE_SHARE = 1e-2
"""From this relative L2 error of the original on, too much of its values is rounding noise to judge others by them."""
WRONG_SHARE = 1.0
"""From this on, the original is no nearer than zeros would be: it is wrong, as ONNX Runtime 1.17's DFT is at times."""
BUDGET = 2e9
"""Multiply-adds that the Convs of a model may cost: about ten seconds in NumPy."""
SLOW = frozenset(
    [
        "MaxPool",
        "AveragePool",
        "LpPool",
        "LSTM",
        "GRU",
        "RNN",
        "Resize",
        "Upsample",
        "RoiAlign",
        "NonMaxSuppression",
        "GridSample",
        "Loop",
        "Scan",
        "DeformConv",
        "Col2Im",
    ]
)
"""Operators that onnx's evaluator computes in Python loops."""
SLOW_VALUES = 1 << 15
"""Values of inputs and outputs up to which they are run all the same."""
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def run_in_float64(source: LoadedModel, feed: Feed, names: list[str]) -> dict[str, Array]:
    """The tensors `names` of the main graph, every float in float64. Raises EngineError if that cannot be had.

    `feed` holds what the original returned, which shows how large its tensors are.
    """
    size = feed.size + sum(value.size for value in feed.outputs.values() if isinstance(value, np.ndarray))
    if slow := sorted({node.op_type for node in walk_nodes(source.model)} & SLOW) if size > SLOW_VALUES else []:
        raise EngineError(f"{slow[0]} takes too long in float64")
    model = _widen(source, names)
    wide = {name: value.astype(np.float64) if _is_float(value) else value for name, value in feed.arrays.items()}
    try:
        with np.errstate(all="ignore"):
            values = ReferenceEvaluator(model, new_ops=[*_make_convs(), *make_transforms()]).run(names, wide)
    except Exception as error:  # whatever NumPy and onnx raise
        raise EngineError(one_line(error)) from error
    return {name: value for name, value in zip(names, values, strict=True) if _is_float(value)}


def judge_by_truth(comparison: Comparison, reference: Array, candidate: Array, truth: Array) -> Comparison:
    """Pass a numeric failure if `candidate` is about as near to `truth` as `reference` is, and say so."""
    finite = np.isfinite(truth) & np.isfinite(reference) & np.isfinite(candidate)
    if truth.shape != reference.shape or not finite.any():
        return comparison
    right = truth[finite]
    own, new = (np.abs(values[finite].astype(np.float64) - right) for values in (reference, candidate))
    norm = float(np.linalg.norm(right))
    own_l2, new_l2 = float(np.linalg.norm(own)), float(np.linalg.norm(new))
    usual = TRUTH_FACTOR * np.minimum(own + PEAK_FACTOR * measure_rms(own), own.max())
    is_near = new_l2 <= TRUTH_FACTOR * own_l2 and bool(
        (new <= usual + allowed_error(reference, atol=comparison.atol)[finite]).all()
    )
    shares = [value / norm if norm else float("inf") for value in (own_l2, new_l2)]
    sentence = (
        f"{comparison.sentence}; from float64 the original is {shares[0]:.1e} away, the rewritten {shares[1]:.1e}"
    )
    if shares[0] >= NOISE_SHARE:
        asked = allowed_error(right.astype(reference.dtype), atol=comparison.atol)
        is_right = shares[1] <= comparison.relative_l2_limit and bool((new <= asked).all())
        if shares[0] < WRONG_SHARE or not is_right:
            return replace(comparison, sentence=f"{sentence}: too far to judge by")
        return replace(comparison, ok=True, sentence=f"{sentence}: the original is wrong", relative_l2=shares[1])
    if not is_near:
        return replace(comparison, sentence=sentence)
    sentence += f": within {TRUTH_FACTOR} times the original's own error, so as right as that"
    limit = TRUTH_FACTOR * shares[0]
    return replace(comparison, ok=True, sentence=sentence, relative_l2=shares[1], relative_l2_limit=limit)


def _make_convs() -> list[type[OpRun]]:
    """Conv and ConvTranspose by their definitions, within a budget for all calls."""
    left = BUDGET

    def spend(multiply_adds: int) -> None:
        nonlocal left
        left -= multiply_adds
        if left < 0:
            raise ValueError("its convolutions take too long in float64")

    class Conv(OpRun):
        op_domain = ""

        def _run(self, x: Array, weight: Array, bias: Array | None = None, **_: Any) -> tuple[Array]:
            geometry = resolve_geometry(self.onnx_node, x.shape, weight.shape)
            spend(count_multiply_adds(x.shape, weight.shape, geometry))
            return (conv_direct(x, weight, bias, geometry),)

    class ConvTranspose(OpRun):
        op_domain = ""

        def _run(self, x: Array, weight: Array, bias: Array | None = None, **_: Any) -> tuple[Array]:
            geometry = read_geometry(self.onnx_node, x.shape, weight.shape)
            spend(x.size * prod(weight.shape[1:]))
            return (conv_transpose_direct(x, weight, bias, geometry),)

    return [Conv, ConvTranspose]


def _is_float(value: Value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _widen(source: LoadedModel, names: list[str]) -> ModelProto:
    """A copy that computes in float64, with `names` as its outputs."""
    model = ModelProto()
    model.CopyFrom(source.model)
    for body in walk_bodies(model):
        if is_graph(body):
            for tensor in body.initializer:
                _widen_tensor(tensor, source)
            for value in (*body.input, *body.output):
                _widen_type(value)
        for node in body.node:
            _widen_node(node, source)
    del model.graph.output[:], model.graph.value_info[:]
    for name in names:
        value = ValueInfoProto(name=name)
        value.type.tensor_type.elem_type = TensorProto.UNDEFINED
        model.graph.output.append(value)
    return model


def _widen_type(value: ValueInfoProto) -> None:
    if value.type.tensor_type.elem_type in FLOATS:
        value.type.tensor_type.elem_type = TensorProto.DOUBLE


def _widen_tensor(tensor: TensorProto, source: LoadedModel) -> None:
    if tensor.data_type in FLOATS:
        wide = np.asarray(tensor_array(tensor, source.base_dir)).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    elif tensor.data_location == TensorProto.EXTERNAL:
        tensor.CopyFrom(numpy_helper.from_array(tensor_array(tensor, source.base_dir), tensor.name))


def _widen_node(node: NodeProto, source: LoadedModel) -> None:
    """Types and constants that the node's attributes hold."""
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype") and attribute.i in FLOATS:
            attribute.i = TensorProto.DOUBLE
        if attribute.HasField("t"):
            _widen_tensor(attribute.t, source)
        if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            given = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            attribute.CopyFrom(_hold(np.asarray(given, np.float64)))
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(_hold(np.zeros(1)))


def _hold(values: Array) -> AttributeProto:
    return AttributeProto(name="value", type=AttributeProto.TENSOR, t=numpy_helper.from_array(values))
