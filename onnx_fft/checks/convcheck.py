"""One replaced Conv at a time against float64: the original Conv, and what took its place, for the same input.

Weight and bias are read from the original as it runs, so whatever made them (Constant, Cast, DequantizeLinear, ...) is
the original model's own business. The geometry is resolved here from the node, apart from the rewriter's own code,
which this judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from onnx_fft.checks.compare import TOLERANCES, Array
from onnx_fft.checks.fragments import CutError, cut_fragment, is_constant
from onnx_fft.checks.replaced import ReplacedConv
from onnx_fft.fourier.oracle import ConvGeometry, Float64Array, Sample, conv_direct, conv_direct_at, sample_conv
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import Scope
from onnx_fft.runtime.engines import EngineError, Value
from onnx_fft.runtime.opening import open_runner

BUDGET = 2e8
"""Multiply-adds an oracle may cost: about a second in NumPy."""
OWN_ERROR_FACTOR = 16
"""A sum that cancels loses digits in every algorithm: so many times the original Conv's own error is always allowed."""
CANCELLED = 100
"""From so many times the table's limit on, the original Conv's own error is too large to judge by: then the replacement
must not have more than `CANCELLED_FACTOR` times that, and is judged on another input."""
CANCELLED_FACTOR = 4


@dataclass(frozen=True, slots=True)
class ConvCheck:
    """One replaced Conv. `ok` is None if it could not be checked alone; errors are relative L2 against float64.

    `covered` is False if it could not, and the outputs would not show an error either.
    """

    name: str
    ok: bool | None
    sentence: str
    relative_l2_rewritten: float = float("nan")
    relative_l2_original: float = float("nan")
    limit: float = float("nan")
    checked_outputs: int = 0
    all_outputs: int = 0
    seed: int = 0
    covered: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def resolve_geometry(node: NodeProto, x_shape: Sequence[int], weight_shape: Sequence[int]) -> ConvGeometry:
    """The node's attributes with ONNX's defaults filled in and auto_pad worked out for this input."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    axes = len(x_shape) - 2
    strides = tuple(given.get("strides") or [1] * axes)
    dilations = tuple(given.get("dilations") or [1] * axes)
    auto_pad = bytes(given.get("auto_pad", b"NOTSET")).decode()
    pads = list(given.get("pads") or [0] * (2 * axes))
    begin, end = pads[:axes], pads[axes:]
    if auto_pad == "VALID":
        begin = end = [0] * axes
    elif auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        spans = [d * (k - 1) + 1 for d, k in zip(dilations, weight_shape[2:], strict=True)]
        rows = zip(x_shape[2:], strides, spans, strict=True)
        totals = [max(0, (-(-size // stride) - 1) * stride + span - size) for size, stride, span in rows]
        small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
        begin, end = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    return ConvGeometry(int(given.get("group", 1)), strides, dilations, tuple(begin), tuple(end))


def check_conv(
    original: LoadedModel,
    rewritten: LoadedModel,
    conv: ReplacedConv,
    tensors: Mapping[str, Value],
    seed: int,
    custom_ops: Sequence[str | Path],
) -> ConvCheck:
    """Check one Conv that can be cut out of both models, for the values `tensors` of all it reads."""
    assert conv.counterpart is not None  # or there is nothing to cut out
    x, weight = np.asarray(tensors[conv.node.input[0]]), np.asarray(tensors[conv.node.input[1]])
    varying = [name for name in conv.reads if name == conv.node.input[0] or not is_constant(conv.scope, name)]
    given = {name: tensors[name] for name in varying}
    try:
        new = run_fragment(rewritten, conv.counterpart, conv.output, given, custom_ops)
    except (CutError, EngineError) as error:
        return ConvCheck(conv.name, None, f"not checked alone ({error})", seed=seed)
    try:
        own = run_fragment(original, conv.scope, conv.output, given, custom_ops)
    except (CutError, EngineError):
        own = None
    try:
        geometry = resolve_geometry(conv.node, x.shape, weight.shape)
        shape = (x.shape[0], weight.shape[0], *geometry.output_extents(x.shape[2:], weight.shape[2:]))
        if new.shape != shape or new.dtype != x.dtype:
            sentence = f"gives {new.dtype} {list(new.shape)} instead of {x.dtype} {list(shape)}"
            return ConvCheck(conv.name, False, sentence, seed=seed)
        sample = sample_conv(x.shape, weight.shape, geometry, BUDGET, seed)
        truth = _compute_truth(conv, tensors, geometry, sample)
    except ValueError as error:  # an activation unknown here, an attribute that the function's caller sets
        return ConvCheck(conv.name, None, str(error), seed=seed)
    if sample is not None:
        new, own = sample.take(new), None if own is None else sample.take(own)
    return _judge(conv.name, truth, new, own, int(np.prod(shape)), seed)


def run_fragment(
    source: LoadedModel, scope: Scope, output: str, given: Mapping[str, Value], custom_ops: Sequence[str | Path]
) -> Array:
    """The value of `output` in `scope` for the tensors `given`. Raises CutError and EngineError."""
    fragment = cut_fragment(source, scope, output, given)
    feed = {value.name: given[value.name] for value in fragment.model.graph.input}
    return np.asarray(open_runner(fragment, custom_ops=custom_ops).run(feed)[output])


def _judge(name: str, truth: Float64Array, new: Array, own: Array | None, all_outputs: int, seed: int) -> ConvCheck:
    scale = float(np.linalg.norm(truth))
    if truth.size == 0:
        return ConvCheck(name, None, "its output is empty under this feed", seed=seed)
    new_error = _relative_l2(truth, new, scale)
    own_error = float("nan") if own is None else _relative_l2(truth, own, scale)
    table = TOLERANCES.get(str(new.dtype), TOLERANCES["float32"]).conv_relative_l2
    is_cancelled = own_error >= CANCELLED * table
    factor = CANCELLED_FACTOR if is_cancelled else OWN_ERROR_FACTOR
    limit = table if own is None else max(table, factor * own_error)
    ok = None if is_cancelled and new_error <= limit else new_error <= limit
    part = "" if truth.size == all_outputs else f" at {truth.size} of {all_outputs} outputs, drawn with seed {seed}"
    whose = "the original's own Conv not run alone" if own is None else f"the original's own Conv {own_error:.1e}"
    sentence = f"relative L2 against float64: rewritten {new_error:.1e}, {whose}; limit {limit:.0e}{part}"
    if is_cancelled:
        sentence += "; the sum cancels on this input, so the original's own Conv is far from float64 too"
    return ConvCheck(name, ok, sentence, new_error, own_error, limit, truth.size, all_outputs, seed)


def _relative_l2(truth: Float64Array, output: Array, scale: float) -> float:
    error = float(np.linalg.norm(output.astype(np.float64) - truth))
    return error / scale if scale else (0.0 if error == 0 else float("inf"))


def _compute_truth(
    conv: ReplacedConv, tensors: Mapping[str, Value], geometry: ConvGeometry, sample: Sample | None
) -> Float64Array:
    """The sum, and what follows it inside the replaced nodes: FusedConv's own, BatchNormalization, an activation."""
    node = conv.node
    x, weight = tensors[node.input[0]], tensors[node.input[1]]
    bias, addend = (tensors[node.input[i]] if len(node.input) > i and node.input[i] else None for i in (2, 3))
    operands = (x, weight, bias, geometry)
    y = conv_direct(*operands) if sample is None else conv_direct_at(*operands, sample)
    if addend is not None:
        y = y + np.asarray(addend if sample is None else sample.take(addend), np.float64)
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if given.get("activation"):
        y = activate(y, bytes(given["activation"]).decode(), [float(p) for p in given.get("activation_params", [])])
    if conv.batch_norm is not None:
        y = _normalize(y, conv.batch_norm, tensors, sample)
    return (
        y if conv.activation is None else activate(y, conv.activation.op_type, _read_params(conv.activation, tensors))
    )


def _normalize(y: Float64Array, node: NodeProto, tensors: Mapping[str, Value], sample: Sample | None) -> Float64Array:
    """A BatchNormalization of the sampled channels."""
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    channels = slice(None) if sample is None else sample.channels
    shape = (-1, *[1] * (y.ndim - 2))
    scale, shift, mean, variance = (
        np.asarray(tensors[name], np.float64)[channels].reshape(shape) for name in node.input[1:5]
    )
    return (y - mean) / np.sqrt(variance + epsilon) * scale + shift


def _read_params(node: NodeProto, tensors: Mapping[str, Value]) -> list[float]:
    """Parameters of an activation node in the order of `activate`; ValueError for bounds that are not known."""
    defaults = {
        "LeakyRelu": {"alpha": 0.01},
        "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
        "Clip": {"min": -np.inf, "max": np.inf},
    }.get(node.op_type, {})
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    for key, name in zip(("min", "max"), node.input[1:], strict=False):
        if name and name not in tensors:
            raise ValueError(f"the bound {name!r} of {node.op_type} is not known")
        given |= {key: np.asarray(tensors[name]).item()} if name else {}
    return [float(given.get(key, value)) for key, value in defaults.items()]


def activate(y: Float64Array, name: str, params: Sequence[float]) -> Float64Array:
    """A FusedConv activation in float64, with the parameters in ONNX Runtime's order."""
    if name == "Relu":
        return np.maximum(y, 0)
    if name == "LeakyRelu":
        return np.where(y < 0, params[0] * y, y)
    if name == "Clip":
        return np.clip(y, params[0], params[1])
    if name == "HardSigmoid":
        return np.clip(params[0] * y + params[1], 0, 1)
    if name == "Tanh":
        return np.tanh(y)
    if name == "Sigmoid":
        return 1 / (1 + np.exp(-y))
    raise ValueError(f"no oracle for the activation {name!r}")
