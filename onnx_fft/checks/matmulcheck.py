"""One replaced MatMul at a time against float64, as `convcheck` does for a Conv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

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
from onnx_fft.checks.transposedcheck import PRODUCT_SPEED
from onnx_fft.model.io import LoadedModel
from onnx_fft.runtime.engines import EngineError, Value
from onnx_fft.sites.fourier import find_taps


def check_matmul(
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
    """Check one that can be cut out of both models, for the values `tensors` of all it reads; see `check_conv`.

    Of more frames than `budget` pays for, some are drawn.
    """
    assert site.counterpart is not None  # or there is nothing to cut out
    x, weight = (np.asarray(tensors[name]) for name in (site.input, site.weight))
    weight = weight.T if site.in_columns else weight
    axis = find_taps(x.ndim, site.in_columns)
    given = {name: tensors[name] for name in list_varying(site)}
    new = tensors.get(site.output)
    try:
        if new is None:
            new = run_fragment(rewritten, site.counterpart, [site.output], given, custom_ops)[site.output]
    except (CutError, EngineError) as error:
        return ConvCheck(site.name, None, f"not checked alone ({error})", seed=seed)
    new, shape = np.asarray(new), (*x.shape[:axis], weight.shape[1], *x.shape[axis + 1 :])
    if misfit := find_misfit(site.name, new, shape, x.dtype, seed):
        return misfit
    frames = np.moveaxis(x, axis, -1).reshape(-1, len(weight))
    paid = min(len(frames), max(1, int(budget * PRODUCT_SPEED / weight.size)))
    drawn = np.sort(np.random.default_rng(seed).choice(len(frames), paid, replace=False))
    frames, wide = frames[drawn].astype(np.float64), weight.astype(np.float64)

    def take(output: Array) -> Array:
        return np.moveaxis(output, axis, -1).reshape(-1, weight.shape[1])[drawn].ravel()

    def bound_rounding() -> float:
        return float(np.finfo(x.dtype).eps * np.linalg.norm(np.abs(frames) @ np.abs(wide)))

    def judge(own: Array | None) -> ConvCheck:
        truth = (frames @ wide).ravel()
        return judge_output(site.name, "MatMul", truth, take(new), own, new.size, seed, bound_rounding)

    def run_own() -> Array:
        return take(run_fragment(original, site.scope, [site.output], given, custom_ops)[site.output])

    return judge_with_own(judge, run_own, with_own=with_own)
