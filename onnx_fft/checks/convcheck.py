"""One replaced Conv at a time against float64: the original Conv, and what took its place, for the same input.

Weight and bias are read from the original as it runs, so whatever made them (Constant, Cast, DequantizeLinear, ...) is
the original model's own business. The geometry is resolved here from the node, apart from the rewriter's own code,
which this judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from onnx_fft.checks.binscheck import compute_columns, follow_bins, joins_bins
from onnx_fft.checks.compare import TOLERANCES, Array
from onnx_fft.checks.epilogue import activate, bound_gain, follow
from onnx_fft.checks.fragments import CutError, cut_fragment, is_constant
from onnx_fft.checks.replaced import Replaced
from onnx_fft.fourier.maps import Truth, compute_maps
from onnx_fft.fourier.oracle import ConvGeometry, Float64Array
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import Scope
from onnx_fft.runtime.engines import EngineError, Value
from onnx_fft.runtime.opening import open_runner

BUDGET = 1.2e8
"""Units of work that one input of a Conv may cost its oracle (see `onnx_fft.fourier.maps`): about 0.2 s in NumPy."""
TOTAL_BUDGET, LEAST_BUDGET = 4e9, 1e7
"""Units of work for all Convs, about 7 s, and what each of many gets all the same."""
OWN_ERROR_FACTOR = 16
"""A sum that cancels loses digits in every algorithm: so many times the original Conv's own error is allowed."""
FAR = 100
"""An own error of so many times the table's limit has to be explained, by sums that cancel. Then the replacement must
not have more than `CANCELLED_FACTOR` times that, and is judged on another input."""
CANCELLED_FACTOR = 4


@dataclass(frozen=True, slots=True)
class ConvCheck:
    """One replaced node. `ok` is None if it could not be checked alone; errors are relative L2 against float64.

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
    op_type: str = "Conv"

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


def share_budget(count: int) -> float:
    """What the oracle of one of `count` Convs may cost."""
    return min(BUDGET, max(LEAST_BUDGET, TOTAL_BUDGET / max(1, count)))


def check_conv(
    original: LoadedModel,
    rewritten: LoadedModel,
    conv: Replaced,
    tensors: Mapping[str, Value],
    seed: int,
    custom_ops: Sequence[str | Path],
    budget: float,
    *,
    with_own: bool = True,
) -> ConvCheck:
    """Check one Conv that can be cut out of both models, for the values `tensors` of all it reads.

    If `tensors` also holds what the rewritten model made of these, that is judged, and its part is not run again. If
    `with_own` is False, the original's own Conv is run only if the verdict depends on it. See `share_budget`.
    """
    assert conv.counterpart is not None  # or there is nothing to cut out
    x, weight = np.asarray(tensors[conv.node.input[0]]), np.asarray(tensors[conv.node.input[1]])
    given = {name: tensors[name] for name in list_varying(conv)}
    new = tensors.get(conv.output)
    try:
        if new is None:
            new = run_fragment(rewritten, conv.counterpart, [conv.output], given, custom_ops)[conv.output]
    except (CutError, EngineError) as error:
        return ConvCheck(conv.name, None, f"not checked alone ({error})", seed=seed)
    try:
        geometry = resolve_geometry(conv.node, x.shape, weight.shape)
        shape = (x.shape[0], weight.shape[0], *geometry.output_extents(x.shape[2:], weight.shape[2:]))
        if joins_bins(conv):
            return _check_bins(original, conv, tensors, geometry, new, seed, custom_ops, budget)
        if misfit := find_misfit(conv.name, new, shape, x.dtype, seed):
            return misfit
        parts = compute_maps(x, weight, geometry, budget, seed)
        truth = np.concatenate([_finish_truth(conv, tensors, part, shape).ravel() for part in parts])
    except ValueError as error:  # an activation unknown here, an attribute that the function's caller sets
        return ConvCheck(conv.name, None, str(error), seed=seed)
    taken = _take(new, parts)

    def judge(own: Array | None) -> ConvCheck:
        def bound_rounding() -> float:
            return _bound_rounding(conv, tensors, geometry, seed, budget)

        return judge_output(conv.name, "Conv", truth, taken, own, int(np.prod(shape)), seed, bound_rounding)

    def run_own() -> Array:
        return _take(run_fragment(original, conv.scope, [conv.output], given, custom_ops)[conv.output], parts)

    return judge_with_own(judge, run_own, with_own=with_own)


def _check_bins(
    original: LoadedModel,
    conv: Replaced,
    tensors: Mapping[str, Value],
    geometry: ConvGeometry,
    new: Array,
    seed: int,
    custom_ops: Sequence[str | Path],
    budget: float,
) -> ConvCheck:
    """What is made of the bins of an STFT reads whole columns of outputs: as many are computed as the budget pays."""
    x, weight, *bias = (np.asarray(tensors[name]) for name in conv.node.input if name)
    y, is_known = compute_columns(x, weight, bias[0] if bias else None, geometry, budget, seed)
    truth = follow_bins(conv, tensors, y)
    known = follow_bins(conv, tensors, is_known).ravel() > 0
    if misfit := find_misfit(conv.name, new, truth.shape, x.dtype, seed):
        return misfit
    given = {name: tensors[name] for name in list_varying(conv)}
    parts = truth.ravel()[known], new.ravel()[known]

    def judge(own: Array | None) -> ConvCheck:
        return judge_output(conv.name, "Conv", *parts, own, truth.size, seed, lambda: 0.0)

    def run_own() -> Array:
        return run_fragment(original, conv.scope, [conv.output], given, custom_ops)[conv.output].ravel()[known]

    return judge_with_own(judge, run_own, with_own=True)


def find_misfit(name: str, new: Array, shape: Sequence[int], dtype: np.dtype[Any], seed: int) -> ConvCheck | None:
    """The verdict on an output of another shape or type than is expected; None if both are right."""
    if new.shape == tuple(shape) and new.dtype == dtype:
        return None
    sentence = f"gives {new.dtype} {list(new.shape)} instead of {dtype} {list(shape)}"
    return ConvCheck(name, False, sentence, seed=seed)


def judge_with_own(
    judge: Callable[[Array | None], ConvCheck], run_own: Callable[[], Array], *, with_own: bool
) -> ConvCheck:
    """The verdict beside the original's own output, if it can be had; see `check_conv` for `with_own`."""
    if not with_own and (check := judge(None)).ok:
        return check
    own = None
    with suppress(CutError, EngineError):
        own = run_own()
    return judge(own)


def list_varying(site: Replaced) -> list[str]:
    """What it reads that is not a constant, and what is convolved or transformed, constant or not."""
    return [name for name in site.reads if name == site.input or not is_constant(site.scope, name)]


def run_fragment(
    source: LoadedModel,
    scope: Scope,
    outputs: Sequence[str],
    given: Mapping[str, Value],
    custom_ops: Sequence[str | Path],
) -> dict[str, Array]:
    """The values of `outputs` in `scope` for the tensors `given`. Raises CutError and EngineError."""
    fragment = cut_fragment(source, scope, outputs, given)
    feed = {value.name: given[value.name] for value in fragment.model.graph.input}
    made = open_runner(fragment, custom_ops=custom_ops).run(feed)
    return {output: np.asarray(made[output]) for output in outputs}


def _take(output: Array, parts: Sequence[Truth]) -> Array:
    """The outputs that `parts` hold, in their order."""
    return np.concatenate([part.sample.take(output).ravel() for part in parts])


def judge_output(
    name: str,
    op_type: str,
    truth: Float64Array,
    new: Array,
    own: Array | None,
    all_outputs: int,
    seed: int,
    bound_rounding: Callable[[], float],
) -> ConvCheck:
    """The verdict on the outputs `new`, and `own` of the original's node, by the `truth`; all are flat.

    `bound_rounding` is how far from the truth a sum of this dtype may be, as a norm; asked for if `own` is far."""
    if truth.size == 0:
        return ConvCheck(name, None, "its output is empty under this feed", seed=seed)
    reference = truth if own is None else own
    finite, strange = np.isfinite(truth) & np.isfinite(reference), ~np.isfinite(reference)
    if not np.isfinite(new[finite]).all() or not np.array_equal(new[strange], reference[strange], equal_nan=True):
        sentence = f"NaN or Inf in other places: {int((~np.isfinite(new)).sum())} of {new.size}, before "
        return ConvCheck(name, False, f"{sentence}{int(strange.sum())}", seed=seed)
    if not finite.any():
        return ConvCheck(name, None, "it gives no finite value under this feed", seed=seed)
    scale = float(np.linalg.norm(truth[finite]))
    new_error = _relative_l2(truth[finite], new[finite], scale)
    own_error = float("nan") if own is None else _relative_l2(truth[finite], own[finite], scale)
    table = TOLERANCES.get(str(new.dtype), TOLERANCES["float32"]).conv_relative_l2
    is_far = own_error >= FAR * table
    # An oracle that is wrong makes the original look far, too, and must excuse nothing: only a sum that cancels does.
    cancels = is_far and own_error * scale <= bound_rounding()
    factor = CANCELLED_FACTOR if cancels else OWN_ERROR_FACTOR
    limit = max(table, factor * own_error) if cancels or own_error < FAR * table else table
    part = "" if truth.size == all_outputs else f" at {truth.size} of {all_outputs} outputs, drawn with seed {seed}"
    own_node = f"the original's own {op_type}"
    whose = f"{own_node} not run alone" if own is None else f"{own_node} {own_error:.1e}"
    sentence = f"relative L2 against float64: rewritten {new_error:.1e}, {whose}; limit {limit:.0e}{part}"
    if is_far:
        why = "the sums cancel on this input" if cancels else f"{own_node} is far from float64 too"
        sentence = f"{sentence}; {why}"
    ok = None if cancels and new_error <= limit else new_error <= limit
    return ConvCheck(name, ok, sentence, new_error, own_error, limit, int(finite.sum()), all_outputs, seed)


def _bound_rounding(
    conv: Replaced, tensors: Mapping[str, Value], geometry: ConvGeometry, seed: int, budget: float
) -> float:
    """One rounding of the dtype in every product, all in one direction, as a norm over the outputs that are judged."""
    x, weight = (np.abs(np.asarray(tensors[name])) for name in conv.node.input[:2])
    sums = [part.values.ravel() for part in compute_maps(x, weight, geometry, budget, seed)]
    bound = float(np.finfo(x.dtype).eps * np.linalg.norm(np.concatenate(sums)))
    bound *= bound_gain(conv.followers, tensors)
    return bound


def _relative_l2(truth: Float64Array, output: Array, scale: float) -> float:
    error = float(np.linalg.norm(output.astype(np.float64) - truth))
    return error / scale if scale else (0.0 if error == 0 else float("inf"))


def _finish_truth(conv: Replaced, tensors: Mapping[str, Value], part: Truth, shape: tuple[int, ...]) -> Float64Array:
    """The sum, and what follows it inside the replaced nodes: FusedConv's own, and the followers."""
    node, sample = conv.node, part.sample
    bias, addend = (tensors[node.input[i]] if len(node.input) > i and node.input[i] else None for i in (2, 3))
    y = part.values
    if bias is not None:
        y = y + np.asarray(bias, np.float64)[sample.channels].reshape(-1, *[1] * (y.ndim - 2))
    if addend is not None:
        y = y + np.asarray(sample.take(addend), np.float64)
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if given.get("activation"):
        y = activate(y, bytes(given["activation"]).decode(), [float(p) for p in given.get("activation_params", [])])

    def read(name: str) -> Float64Array:
        return np.asarray(sample.take(np.broadcast_to(np.asarray(tensors[name]), shape)), np.float64)

    made = {node.output[0]: y}
    for follower in conv.followers:
        made[follower.output[0]] = follow(follower, made, tensors, read, sample)
    return made[conv.output]
