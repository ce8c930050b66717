"""Where a rewritten model first goes wrong: tensors that both models make, compared in topological order.

Each tensor is judged like an output. The first that fails has inputs that pass, so what is wrong lies among the nodes
between it and the tensors before it that both models share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnx import NodeProto

from onnx_fft.checks.compare import compare_outputs
from onnx_fft.checks.fragments import region_between
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import find_producers, find_scopes
from onnx_fft.provenance import read_site
from onnx_fft.runtime.engines import EngineError, Value
from onnx_fft.runtime.opening import open_runner

CHUNK = 24
"""Tensors exposed in one run; bounds the memory that they hold."""


@dataclass(frozen=True, slots=True)
class Bisection:
    """The first tensor that differs; `tensor` is "" if none was found. `sites` are the rewritten Convs before it."""

    sentence: str
    tensor: str = ""
    node: str = ""
    sites: tuple[str, ...] = ()
    tensors_compared: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def bisect(
    original: LoadedModel,
    rewritten: LoadedModel,
    feed: Mapping[str, Value],
    *,
    rtol: float | None = None,
    atol: float = 0.0,
    custom_ops: Sequence[str | Path] = (),
) -> Bisection:
    """Find the first tensor of the main graph, in the original's order, that differs beyond tolerance under `feed`."""
    before, after = find_producers(original.model.graph), find_producers(rewritten.model.graph)
    shared = [name for name in before if name in after]
    done = 0
    for start in range(0, len(shared), CHUNK):
        chunk = shared[start : start + CHUNK]
        try:
            expected = open_runner(original, expose=chunk, custom_ops=custom_ops).run(feed)
            got = open_runner(rewritten, expose=chunk, custom_ops=custom_ops).run(feed)
        except EngineError as error:
            sentence = f"bisect stopped: a model with exposed tensors did not run ({error})"
            return Bisection(sentence, tensors_compared=done)
        for name in chunk:
            done += 1
            found = compare_outputs(name, expected[name], got[name], rtol=rtol, atol=atol)
            failed = next((comparison for comparison in found if not comparison.ok), None)
            if failed is not None:
                return _blame(rewritten, name, before[name], set(shared), failed.sentence, done)
    return Bisection(
        f"none of the {done} tensors that both models make differs beyond tolerance on its own", tensors_compared=done
    )


def _blame(rewritten: LoadedModel, name: str, node: NodeProto, shared: set[str], why: str, done: int) -> Bisection:
    scope = find_scopes(rewritten.model, rewritten.base_dir)[0]
    region = region_between(scope, [name], shared - {name}).nodes
    sites = tuple(dict.fromkeys(site for site in map(read_site, region) if site))
    label = node.name or f"the nameless {node.op_type} node that makes {name!r}"
    place = f"rewritten site {', '.join(sites)}" if sites else f"{len(region)} node(s) outside any rewritten site"
    sentence = f"first wrong tensor: {name!r}, made by {label} ({node.op_type}) in the original; {place}; {why}"
    return Bisection(sentence, name, node.name, sites, done)
