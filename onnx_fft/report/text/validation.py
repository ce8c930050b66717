"""A validation as text: feeds, convolutions and probes, the verdict last."""

from __future__ import annotations

from onnx_fft.checks.compare import shorten
from onnx_fft.checks.probes import Probe
from onnx_fft.checks.result import FeedResult, Validation
from onnx_fft.hints import Wording, word_in_python
from onnx_fft.report.text.tables import Drawing, make_lines, make_table

EXPECTED = {
    "outlier": "an FFT rounds relative to the largest value of its tile, so this is expected; "
    "it matters only if inputs hold values far larger than the rest",
    "nan": "an FFT mixes all values of its tile, so this is expected; it matters only if inputs hold NaN or Inf",
    "zeros": "an FFT rounds to either side of 0, so this is expected; it matters only before an operator that turns on "
    "exact zeros, such as a comparison or a Sqrt",
    "non-negative": "an FFT rounds to either side of 0, so this is expected; it matters only before a Sqrt, Log or Div",
}
"""Why the models differ under a probe of this kind, and for whom that matters."""


def draw_validation(validation: Validation, wording: Wording) -> list[Drawing]:
    """The whole result, verdict last."""
    ran = f"original run by {validation.engine}" if validation.engine else "neither model was run"
    lines = [describe_probe(probe) for probe in validation.probes]
    lines += [f"note: {note.tell(wording)}" for note in validation.notes]
    if validation.bisection is not None:
        lines.append(f"bisect: {validation.bisection.sentence}")
    return [
        *make_lines([f"seed {validation.seed}; {ran}"]),
        *_draw_checks(validation),
        *make_lines([*lines, validation.verdict]),
    ]


def summarize_validation(validation: Validation, wording: Wording = word_in_python) -> list[Drawing]:
    """What the probes found, a line a kind with its worst output; what to do if the models differ; the verdict."""
    found: dict[str, list[Probe]] = {}
    for probe in validation.probes:
        if probe.is_warning:
            found.setdefault(probe.kind, []).append(probe)
    lines = []
    for probes in found.values():
        more = f" ({len(probes) - 1} more outputs likewise)" if len(probes) > 1 else ""
        lines.append(f"{describe_probe(max(probes, key=lambda probe: probe.spread))}{more}")
    notes = [] if validation.ok else [f"note: {note.tell(wording)}" for note in validation.notes]
    return make_lines([*lines, *notes, validation.verdict])


def describe_probe(probe: Probe) -> str:
    """What a probe found; if the models differ, that they are expected to, and when it matters."""
    return f"probe ({probe.kind}): {probe.sentence}" + (f": {EXPECTED[probe.kind]}" if probe.is_warning else "")


def _draw_checks(validation: Validation) -> list[Drawing]:
    """Each output under each feed, and each convolution alone."""
    rows = [row for feed in (*validation.feeds, *validation.sparse) for row in _list_feed(feed)]
    rows += [(_mark(conv.ok), f"{conv.op_type} {shorten(conv.name)}", conv.sentence) for conv in validation.convs]
    return [make_table(("", "what", "found"), rows)] if rows else []


def _list_feed(feed: FeedResult) -> list[tuple[str, str, str]]:
    """The feed, and its outputs."""
    outputs = [(_mark(c.ok), f"  {shorten(c.output)}", c.sentence) for c in feed.comparisons]
    return [(_mark(feed.ok), feed.label, feed.error), *outputs]


def _mark(ok: bool | None) -> str:
    return {True: "ok", False: "FAIL", None: "--"}[ok]
