"""Every replaced node against float64: on the input it really gets, else on random input, else seen by the outputs.

What it gets and makes is recorded as the rewritten model runs. The part of the model that a number of Convs need is cut
out and starts from what was recorded last: so all of them take about one run of the model, and little memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from time import monotonic

import numpy as np

from onnx_fft.checks.alone import KnownShapes, check_alone
from onnx_fft.checks.convcheck import ConvCheck, check_conv, run_fragment, share_budget
from onnx_fft.checks.coverage import Coverage
from onnx_fft.checks.fouriercheck import check_fourier
from onnx_fft.checks.fragments import CutError, is_constant
from onnx_fft.checks.matmulcheck import check_matmul
from onnx_fft.checks.replaced import Replaced, find_replaced
from onnx_fft.checks.transposedcheck import check_transposed
from onnx_fft.inputs.feeds import Feed
from onnx_fft.inputs.recording import CHUNK, record_tensors
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import Scope, find_scopes
from onnx_fft.progress import Progress, no_progress
from onnx_fft.runtime.engines import EngineError, Value
from onnx_fft.sites.conv_transpose import is_conv_transpose
from onnx_fft.sites.dft import is_fourier
from onnx_fft.sites.inlined import inline_missing
from onnx_fft.sites.matmul import is_matmul
from onnx_fft.sites.values import COMPUTED_IN, find_range

RECORDED_BYTES = 256 << 20
"""About what the tensors that are recorded in one run may hold; how much they hold, the run before it shows."""
MAX_OWN_S = 3.0
"""After so long, the original's own Convs are no longer run beside their replacements, but for those that are off."""


def check_convs(
    original: LoadedModel,
    rewritten: LoadedModel,
    feeds: Sequence[Feed],
    *,
    seed: int,
    drawn: Collection[str] = (),
    custom_ops: Sequence[str | Path] = (),
    progress: Progress = no_progress,
) -> tuple[ConvCheck, ...]:
    """Check each replaced node; `feeds` hold what the original returned, the largest also feeds these.

    `drawn` are outputs that differ from run to run, so that they show nothing. Calls of functions that the rewritten
    model has no more are written out in the original as well: then the Convs of each call are checked by themselves,
    under the names they have in both.
    """
    original = inline_missing(original, rewritten)
    checks: list[ConvCheck] = []
    known = KnownShapes(original, rewritten)
    convs = find_replaced(original, rewritten)
    budget = share_budget(len(convs))
    coverage = Coverage(original, feeds, drawn, custom_ops)
    started = monotonic()
    for conv, tensors in _record(original, rewritten, convs, feeds, custom_ops):
        progress(f"oracle of {conv.name}")
        if conv.counterpart is None:
            check = ConvCheck(conv.name, None, conv.obstacle, seed=seed)
        elif tensors is not None and _is_usable(tensors.get(conv.input)):
            with_own = monotonic() - started < MAX_OWN_S
            given = original, rewritten, conv, tensors, seed, custom_ops
            if is_fourier(conv.node):
                check = check_fourier(*given, with_own=with_own)
            elif is_matmul(conv.node):
                check = check_matmul(*given, budget, with_own=with_own)
            elif is_conv_transpose(conv.node):
                check = check_transposed(*given, budget, with_own=with_own)
            else:
                check = check_conv(*given, budget, with_own=with_own)
            if check.ok is False and _leaves_range(tensors[conv.input], tensors.get(conv.output)):
                told = f"{check.sentence}; its numbers are beyond the range of a transform, so the outputs judge them"
                check = replace(check, ok=None, sentence=told)
            if check.ok is None:  # say because the sum cancels on that input
                alone = check_alone(original, rewritten, conv, known, seed, custom_ops, budget)
                told = f"{alone.sentence}; on the input it really gets: {check.sentence}"
                check = check if alone.ok is None else replace(alone, sentence=told)
        else:
            check = check_alone(original, rewritten, conv, known, seed, custom_ops, budget)
        if check.ok is None:
            progress(f"whether an output shows {conv.name}")
            check = coverage.judge(check, conv)
        checks.append(replace(check, op_type=conv.node.op_type))
    return tuple(checks)


def _record(
    original: LoadedModel,
    rewritten: LoadedModel,
    convs: Sequence[Replaced],
    feeds: Sequence[Feed],
    custom_ops: Sequence[str | Path],
) -> Iterator[tuple[Replaced, Mapping[str, Value] | None]]:
    """Each of `convs` with what it reads, and what the rewritten model makes of that, under the largest feed.

    None in a body, and if recording failed. Constants are the original's, and so is what the rewritten model lacks.
    """
    arrays = max(feeds, key=lambda feed: feed.size).arrays
    before, after = (find_scopes(model.model, model.base_dir)[0] for model in (original, rewritten))
    start, count, varying = 0, CHUNK, dict[str, Value]()
    while start < len(convs):
        chunk = convs[start : start + count]
        in_graph = [conv for conv in chunk if conv.scope.body is original.model.graph]
        reads = dict.fromkeys(chain.from_iterable(conv.reads for conv in in_graph))
        made = [name for name in reads if not is_constant(before, name)]
        names = list(dict.fromkeys([*made, *(conv.output for conv in in_graph)]))
        varying = _record_part(rewritten, after, names, {**varying, **arrays}, custom_ops)
        missing = [name for name in reads if name not in varying]
        tensors = {**_record_part(original, before, missing, arrays, custom_ops), **varying}
        for conv in chunk:
            yield conv, tensors if all(name in tensors for name in conv.reads) else None
        start += count
        held = sum(value.nbytes for value in tensors.values() if isinstance(value, np.ndarray))
        count = max(1, count * RECORDED_BYTES // held) if held else count  # each run is one of the whole model


def _leaves_range(*tensors: Value) -> bool:
    """Whether a transform of one of these may overflow, or lose digits because all of it is next to nothing."""
    for values in tensors:
        dtype = str(getattr(values, "dtype", ""))  # a tensor that was not recorded is None
        if dtype in COMPUTED_IN:
            least, most = find_range(dtype)
            size = float(np.max(np.abs(values), initial=0.0))  # a float16 could not be compared with the limits
            if size and np.isfinite(size) and not least <= size <= most:
                return True
    return False


def _record_part(
    source: LoadedModel,
    scope: Scope,
    names: Sequence[str],
    given: Mapping[str, Value],
    custom_ops: Sequence[str | Path],
) -> dict[str, Value]:
    """Those of `names`, tensors of the main graph, that follow from `given` or are stored; {} if they cannot be had."""
    stored = [name for name in names if name not in scope.producers or name in given]
    made = [name for name in names if name in scope.producers and name not in given]
    try:
        found = record_tensors(source, stored, given)
        return found | run_fragment(source, scope, made, given, custom_ops) if made else found
    except (CutError, EngineError, ValueError):  # ValueError: an input is no array
        return {}


def _is_usable(x: Value) -> bool:
    return x is not None and np.size(x) > 0 and bool(np.isfinite(x).all())
