"""What sparse feeds show and do not judge: they are nobody's data, and a model may not be made for them.

Numbers on bright feeds are one such thing: a small constant may be meant for values that are smaller by far.

Convs that ONNX Runtime cannot run are the other, as those of float64 on CPUs. Replacing them is what makes the model
run: to leave one alone saves nobody's numbers. So what follows from such Convs alone is told on sparse feeds, and fails
nothing: a NaN, a turned decision, a quotient. On ordinary feeds, given ones above all, it is judged like anything else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from onnx import helper

from onnx_fft.checks.compare import Comparison, shorten
from onnx_fft.checks.draws import find_reached
from onnx_fft.checks.noise import find_types
from onnx_fft.checks.replaced import find_replaced
from onnx_fft.checks.result import FeedResult
from onnx_fft.checks.rounding import is_numeric_failure
from onnx_fft.cost.conv import RUNNABLE_DTYPES
from onnx_fft.hints import Note, Option
from onnx_fft.model.io import LoadedModel
from onnx_fft.sites.dft import is_fourier
from onnx_fft.sites.matmul import is_matmul

RUNNABLE = {helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in RUNNABLE_DTYPES}
"""The element types of which ONNX Runtime's CPU provider has a Conv."""


def find_unrunnable(original: LoadedModel, rewritten: LoadedModel, extra: Collection[str]) -> frozenset[str]:
    """The outputs that follow from replaced Convs ONNX Runtime's CPU cannot run, and from no other replaced ones.

    `extra` are tensors that are compared beside the outputs: all of them count, or none.
    """
    types = find_types(original)
    runs: dict[bool, list[str]] = {True: [], False: []}
    for conv in find_replaced(original, rewritten):
        kind = types.get(conv.node.output[0])
        is_other = is_fourier(conv.node) or is_matmul(conv.node)
        runs[kind is None or kind in RUNNABLE or is_other].append(conv.output)
    told = find_reached(original.model, runs[False]) - find_reached(original.model, runs[True])
    return frozenset(told if runs[True] or not runs[False] else {*told, *extra})


def spare_unrunnable(result: FeedResult, outputs: Collection[str]) -> FeedResult:
    """The result of a sparse feed with the differences of `outputs` passed."""
    why = "told and not judged, because ONNX Runtime does not run the original at all"
    return replace(result, comparisons=tuple(_pass(c, why) if _is_told(c, outputs) else c for c in result.comparisons))


def note_told(results: Sequence[FeedResult], outputs: Collection[str]) -> tuple[Note, ...]:
    """The first difference of each of `outputs` on the sparse feeds, before they are passed."""
    first: dict[str, str] = {}
    for result in results:
        for comparison in result.comparisons:
            if _is_told(comparison, outputs):
                sentence = f"output {shorten(comparison.output)!r} on {result.label}: {comparison.sentence}"
                first.setdefault(comparison.output, sentence)
    hint = (
        "if inputs hold zeros, convert the model to float32, which ONNX Runtime has a Conv for, or leave the "
        "convolution out by ",
        Option("exclude"),
    )
    return tuple(Note(f"told, not judged: {sentence}", hint) for sentence in first.values())


def spare_numbers(comparison: Comparison) -> Comparison:
    """Passed if no more than its numbers is wrong."""
    if not is_numeric_failure(comparison):
        return comparison
    return _pass(comparison, "not judged, because the feed is brighter than the model may be made for")


def _is_told(comparison: Comparison, outputs: Collection[str]) -> bool:
    """Whether it failed, and is one of `outputs` or of what one holds, as in `name[0]`."""
    found = comparison.output
    return not comparison.ok and any(found == name or found.startswith(f"{name}[") for name in outputs)


def _pass(comparison: Comparison, why: str) -> Comparison:
    return replace(comparison, ok=True, rounding_noise_only=True, sentence=f"{comparison.sentence}; {why}")
