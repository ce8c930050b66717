"""Whether the outputs show what a Conv computes, for one that cannot be checked alone: they change if it is negated."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

from onnx import helper

from onnx_fft.checks.compare import compare_outputs
from onnx_fft.checks.convcheck import ConvCheck
from onnx_fft.checks.replaced import Replaced
from onnx_fft.inputs.feeds import Feed
from onnx_fft.model.io import LoadedModel
from onnx_fft.runtime.engines import EngineError, Value
from onnx_fft.runtime.opening import open_runner

MAX_S = 60.0
"""After so long in all, no further Conv is tried; each takes runs of the whole model."""


class Coverage:
    """Looks for Convs in the outputs of one model, one after the other, for a bounded time."""

    def __init__(
        self, original: LoadedModel, feeds: Sequence[Feed], drawn: Collection[str], custom_ops: Sequence[str | Path]
    ) -> None:
        """`feeds` hold what the original returned; the outputs `drawn` differ from run to run and show nothing."""
        self._original, self._feeds, self._custom_ops = original, feeds, custom_ops
        self._names = [name for name in feeds[0].outputs if name not in drawn]
        self._left_s = MAX_S

    def judge(self, check: ConvCheck, conv: Replaced) -> ConvCheck:
        """The check of a Conv of the original with what the outputs show of it."""
        if self._left_s <= 0:
            what = f"whether an output shows it was not tried, because {MAX_S:.0f} s went to others"
            return replace(check, covered=False, sentence=f"{check.sentence}; {what}")
        started = monotonic()
        covered = self._is_covered(conv)
        self._left_s -= monotonic() - started
        what = "covered by the outputs" if covered else "no output shows what it computes"
        return replace(check, covered=covered, sentence=f"{check.sentence}; {what}")

    def _is_covered(self, conv: Replaced) -> bool:
        """Whether an output changes beyond tolerance under any feed if that of the Conv is negated."""
        try:
            with _negated(conv):
                inner = [name for name in self._names if name not in self._original.output_names]
                runner = open_runner(replace(self._original, path=None), expose=inner, custom_ops=self._custom_ops)
            return any(self._differs(feed, runner.run(feed.arrays)) for feed in self._feeds)
        except EngineError:  # nothing was seen
            return False

    def _differs(self, feed: Feed, outputs: Mapping[str, Value]) -> bool:
        pairs = ((name, feed.outputs[name], outputs[name]) for name in self._names)
        return not all(found.ok for pair in pairs for found in compare_outputs(*pair))


@contextmanager
def _negated(conv: Replaced) -> Iterator[None]:
    """The Conv's output negated in its model, for as long as the block lasts."""
    nodes, output = conv.scope.body.node, conv.node.output[0]
    place = next(place for place, node in enumerate(nodes) if node is conv.node)
    inner = f"{output}/negated"
    nodes[place].output[0] = inner
    nodes.insert(place + 1, helper.make_node("Neg", [inner], [output]))
    try:
        yield
    finally:
        del nodes[place + 1]
        nodes[place].output[0] = output
