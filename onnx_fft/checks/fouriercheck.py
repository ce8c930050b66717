"""One replaced DFT or STFT at a time against float64, as `convcheck` does for a Conv.

The node is read here by the standard alone, apart from the rewriter's own code, which this judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, helper
from onnx.reference.op_run import OpRun

from onnx_fft.checks.binscheck import follow_bins
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
from onnx_fft.fourier.oracle import Float64Array
from onnx_fft.fourier.transforms import dft, stft
from onnx_fft.model.io import LoadedModel
from onnx_fft.runtime.engines import EngineError, Value

AS_FAR = 1.01
"""Of two errors of one size, the one over the other at most."""


def transform(node: NodeProto, opset: int, inputs: Sequence[Value | None]) -> Float64Array:
    """What a DFT or STFT gives for the values of its inputs, in their order. ValueError if there is no such thing."""
    if any(attribute.ref_attr_name for attribute in node.attribute):
        raise ValueError("an attribute is set by the caller of its function")
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    x, first, second, third = [*inputs, None, None, None][:4]
    if node.op_type == "DFT":
        axis = given.get("axis", 1 if opset < 20 else -2) if second is None else _read(second)
        points = None if first is None else _read(first)
        flags = {name: bool(given.get(name, 0)) for name in ("inverse", "onesided")}
        return dft(np.asarray(x), axis, points, **flags)
    signal = np.asarray(x)
    signal = signal[..., None] if signal.ndim == 2 else signal  # a real one, as ONNX Runtime takes it
    window = None if second is None else np.asarray(second)
    points = _read(third) if third is not None else len(np.asarray(window))
    return stft(signal, _read(first), window, points, onesided=bool(given.get("onesided", 1)))


def make_transforms() -> list[type[OpRun]]:
    """DFT and STFT for onnx's evaluator, whose own differ from version to version."""

    class DFT(OpRun):
        op_domain = ""

        def _run(self, *inputs: Array | None, **_: Any) -> tuple[Array]:
            return (transform(self.onnx_node, self.run_params["opsets"].get("", 1), inputs),)

    class STFT(DFT):
        pass

    return [DFT, STFT]


def check_fourier(
    original: LoadedModel,
    rewritten: LoadedModel,
    site: Replaced,
    tensors: Mapping[str, Value],
    seed: int,
    custom_ops: Sequence[str | Path],
    *,
    with_own: bool = True,
) -> ConvCheck:
    """Check one that can be cut out of both models, for the values `tensors` of all it reads; see `check_conv`."""
    assert site.counterpart is not None  # or there is nothing to cut out
    x = np.asarray(tensors[site.node.input[0]])
    given = {name: tensors[name] for name in list_varying(site)}
    new = tensors.get(site.output)
    try:
        if new is None:
            new = run_fragment(rewritten, site.counterpart, [site.output], given, custom_ops)[site.output]
        truth = follow_bins(site, tensors, transform(site.node, site.scope.opset, read_inputs(site, tensors)))
    except (CutError, EngineError, ValueError) as error:
        return ConvCheck(site.name, None, f"not checked alone ({error})", seed=seed)
    new = np.asarray(new)
    if misfit := find_misfit(site.name, new, truth.shape, x.dtype, seed):
        return misfit

    def judge(own: Array | None) -> ConvCheck:
        op_type = site.node.op_type
        return judge_output(site.name, op_type, truth.ravel(), new.ravel(), own, truth.size, seed, bound_nothing)

    def run_own() -> Array:
        return run_fragment(original, site.scope, [site.output], given, custom_ops)[site.output].ravel()

    check = judge_with_own(judge, run_own, with_own=with_own)
    if not check.ok and check.relative_l2_rewritten <= AS_FAR * check.relative_l2_original:
        # ONNX Runtime's DFT is wrong by up to 5e-3, and without the library it is what a replacement runs
        return replace(check, ok=None, sentence=f"{check.sentence}; as far from float64 as the original, so not judged")
    return check


def bound_nothing() -> float:
    """No sums cancel over all bins: a spectrum has the size of the signal, so that a large error has no excuse."""
    return 0.0


def read_inputs(site: Replaced, tensors: Mapping[str, Value]) -> list[Value | None]:
    """The values of a node's inputs, None for one that is absent."""
    return [tensors[name] if name else None for name in site.node.input]


def _read(value: Value | None) -> int:
    return int(np.asarray(value).reshape(()))
