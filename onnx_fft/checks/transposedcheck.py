"""One replaced ConvTranspose at a time against float64, as `convcheck` does for a Conv.

The node is read by the standard alone, apart from the rewriter's own code, which this judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import NodeProto, helper

from onnx_fft.checks.compare import Array
from onnx_fft.checks.convcheck import (
    ConvCheck,
    find_misfit,
    judge_output,
    judge_with_own,
    list_varying,
    run_fragment,
)
from onnx_fft.checks.fragments import CutError
from onnx_fft.checks.replaced import Replaced
from onnx_fft.fourier.oracle import TransposedGeometry, conv_transpose_maps
from onnx_fft.model.io import LoadedModel
from onnx_fft.runtime.conv_transpose import resolve_transposed
from onnx_fft.runtime.engines import EngineError, Value

PRODUCT_SPEED = 24
"""Multiply-adds in a product of matrices for one unit of work, as in `fourier.maps`."""


def read_geometry(node: NodeProto, x_shape: Sequence[int], weight_shape: Sequence[int]) -> TransposedGeometry:
    """The geometry of a node for this input."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return resolve_transposed(given, x_shape, weight_shape)


def check_transposed(
    original: LoadedModel,
    rewritten: LoadedModel,
    site: Replaced,
    tensors: Mapping[str, Value],
    seed: int,
    custom_ops: Sequence[str | Path],
    budget: float,
    *,
    with_own: bool = True,
) -> ConvCheck:
    """Check one that can be cut out of both models, for the values `tensors` of all it reads; see `check_conv`."""
    assert site.counterpart is not None  # or there is nothing to cut out
    x, weight, *rest = (np.asarray(tensors[name]) for name in site.node.input if name)
    given = {name: tensors[name] for name in list_varying(site)}
    new = tensors.get(site.output)
    try:
        if new is None:
            new = run_fragment(rewritten, site.counterpart, [site.output], given, custom_ops)[site.output]
        geometry = read_geometry(site.node, x.shape, weight.shape)
        sample, sums = conv_transpose_maps(x, weight, geometry, budget * PRODUCT_SPEED, seed)
    except (CutError, EngineError, ValueError) as error:
        return ConvCheck(site.name, None, f"not checked alone ({error})", seed=seed)
    new = np.asarray(new)
    shape = (x.shape[0], weight.shape[1] * geometry.group, *sums.shape[2:])
    if misfit := find_misfit(site.name, new, shape, x.dtype, seed):
        return misfit
    for bias in rest:
        sums = sums + bias.astype(np.float64)[sample.channels].reshape(-1, *[1] * (sums.ndim - 2))

    def bound_rounding() -> float:
        sizes = conv_transpose_maps(np.abs(x), np.abs(weight), geometry, budget * PRODUCT_SPEED, seed)[1]
        return float(np.finfo(x.dtype).eps * np.linalg.norm(sizes))

    def judge(own: Array | None) -> ConvCheck:
        taken, op_type = sample.take(new).ravel(), site.node.op_type
        size = int(np.prod(shape))
        return judge_output(site.name, op_type, sums.ravel(), taken, own, size, seed, bound_rounding)

    def run_own() -> Array:
        return sample.take(run_fragment(original, site.scope, [site.output], given, custom_ops)[site.output]).ravel()

    return judge_with_own(judge, run_own, with_own=with_own)
