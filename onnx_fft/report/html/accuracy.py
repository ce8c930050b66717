"""What was checked, on the page: each replaced site against float64, the outputs, the probes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from onnx_fft.checks.convcheck import ConvCheck
from onnx_fft.checks.probes import Probe
from onnx_fft.checks.result import Validation
from onnx_fft.hints import Wording
from onnx_fft.report.numbers import format_error, plural
from onnx_fft.report.sentences import name_sites

MAX_OPEN_ROWS = 8
"""Rows of outputs, and findings of a probe, that are shown without asking."""
PROBES = {
    "outlier": (
        "One huge value",
        "One input element is set to a huge value. A transform spreads its rounding error over a whole tile; a plain "
        "sum keeps it to the outputs that the value reaches.",
    ),
    "nan": (
        "One NaN",
        "One input element is set to NaN. In a transform it reaches every output of its tile, in a plain sum those "
        "under the kernel only.",
    ),
    "zeros": (
        "Exact zeros",
        "The input is zero but for a few samples, or within a border. A plain sum over zeros is exactly zero; rounding "
        "may move it, which matters to a comparison or a square root that follows.",
    ),
    "non-negative": (
        "Signs",
        "The input is made non-negative. If the original's output is too, rounding may leave values just below zero, "
        "which matters to a square root or a logarithm that follows.",
    ),
}
"""Heading and explanation of each kind of probe."""


@dataclass(frozen=True, slots=True)
class Check:
    """A replaced site: `marks` are pairs of a class of the style sheet and a place in percent of the scale.

    `sentence` is what to say in their place if there are no numbers.
    """

    name: str
    ok: bool | None
    sentence: str
    marks: tuple[tuple[str, float], ...]
    numbers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """An output under a feed; `name` None is for a feed that the rewritten model does not run on."""

    name: str | None
    feed: str
    ok: bool
    said: str
    numbers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What the section shows; `scale` says what the marks of `checks` are placed on.

    `kind` is what the operators are called, `own` one of the original's.
    """

    kind: str
    own: str
    ok: bool
    words: str
    bisection: str
    scale: str
    checks: tuple[Check, ...]
    outputs: tuple[Output, ...]
    outputs_summary: str
    is_folded: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProbeKind:
    """The probes of one kind, what differs first; `rest` is shown on demand."""

    heading: str
    explanation: str
    shown: tuple[Probe, ...]
    rest: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class Probes:
    """What the section on hostile inputs shows."""

    lead: str
    kinds: tuple[ProbeKind, ...]


def show_accuracy(validation: Validation, wording: Wording) -> Accuracy:
    """The section on the comparison of the two models; `wording` puts options into words."""
    low, high = _find_scale(validation.convs)
    outputs = tuple(_list_outputs(validation))
    kind = name_sites(check.op_type for check in validation.convs)
    return Accuracy(
        kind=kind,
        own="Conv" if kind == "convolution" else kind,
        ok=validation.ok,
        words=validation.verdict.removeprefix("same: ").removeprefix("different: "),
        bisection="" if validation.bisection is None else validation.bisection.sentence,
        scale=f"scale {format_error(10.0**low)} to {format_error(10.0**high)}",
        checks=tuple(_show_check(check, low, high) for check in validation.convs),
        outputs=outputs,
        outputs_summary=plural(len(outputs), "comparison"),
        is_folded=len(outputs) > MAX_OPEN_ROWS or not validation.ok,
        notes=tuple(note.tell(wording) for note in validation.notes),
    )


def show_probes(probes: Sequence[Probe]) -> Probes:
    """The section on hostile inputs."""
    warnings = sum(probe.is_warning for probe in probes)
    lead = f"{warnings} of {plural(len(probes), 'probe')} found the two models to differ by more than rounding."
    none = "Hostile inputs, on which a transform behaves unlike a plain sum, made no difference here."
    order = {kind: position for position, kind in enumerate(PROBES)}
    ranked = sorted(probes, key=lambda probe: (order.get(probe.kind, len(order)), not probe.is_warning))
    kinds = []
    for kind, group in groupby(ranked, key=lambda probe: probe.kind):
        heading, explanation = PROBES.get(kind, (kind, ""))
        found = tuple(group)
        kinds.append(ProbeKind(heading, explanation, found[:MAX_OPEN_ROWS], found[MAX_OPEN_ROWS:]))
    return Probes(lead if warnings else none, tuple(kinds))


def find_worst_error(validation: Validation) -> float:
    """The largest relative L2 error of an output whose values say something; NaN if no output's do."""
    comparisons = [comparison for feed in validation.feeds for comparison in feed.comparisons]
    errors = [c.relative_l2 for c in comparisons if c.compared and not c.rounding_noise_only]
    return max((error for error in errors if not math.isnan(error)), default=float("nan"))


def _find_scale(checks: Sequence[ConvCheck]) -> tuple[int, int]:
    """The powers of ten between which all numbers of the checks lie."""
    values = [v for c in checks for v in (c.relative_l2_rewritten, c.relative_l2_original, c.limit)]
    logs = [math.log10(value) for value in values if 0 < value < math.inf]
    return (math.floor(min(logs)), math.ceil(max(logs) + 0.01)) if logs else (-8, -5)


def _show_check(check: ConvCheck, low: int, high: int) -> Check:
    numbers = (*map(format_error, (check.relative_l2_rewritten, check.relative_l2_original, check.limit)),)
    if not check.all_outputs:
        return Check(check.name, check.ok, check.sentence, (), (*numbers, "–"))
    count = f"{check.checked_outputs:,} of {check.all_outputs:,}"
    if check.checked_outputs == check.all_outputs:
        count = f"all {check.all_outputs:,}"
    return Check(check.name, check.ok, "", _place_marks(check, low, high), (*numbers, count))


def _place_marks(check: ConvCheck, low: int, high: int) -> tuple[tuple[str, float], ...]:
    """The three numbers of a check on the logarithmic scale from 10^low to 10^high."""
    marks = (
        ("tick", check.limit),
        ("dot before", check.relative_l2_original),
        ("dot after", check.relative_l2_rewritten),
    )
    shown = [(kind, min(max(value, 10.0**low), 10.0**high)) for kind, value in marks if not math.isnan(value)]
    return tuple((kind, 100 * (math.log10(value) - low) / (high - low)) for kind, value in shown)


def _list_outputs(validation: Validation) -> list[Output]:
    outputs = []
    for feed in (*validation.feeds, *validation.sparse):
        if feed.error:
            outputs.append(Output(None, feed.label, False, feed.error, ("–", "–", "–")))
        for c in feed.comparisons:
            said = "" if c.ok and not c.excused and not math.isnan(c.relative_l2) else c.sentence
            numbers = map(format_error, (c.relative_l2, c.relative_l2_limit, c.max_abs_error))
            outputs.append(Output(c.output, feed.label, c.ok, said, tuple(numbers)))
    return outputs
