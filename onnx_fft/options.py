"""What a caller can ask of a rewrite, every option with its default, and what is wrong with a combination."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import Any, TypedDict

from onnx_fft.errors import UsageError
from onnx_fft.hints import Hint, Option
from onnx_fft.lowering import TARGETS

SELECTIONS = ("auto", "all", "measure")

PlanSource = str | Path | Mapping[str, Any]
"""The path of a plan file, or its content."""

InputShapes = Mapping[str, Sequence[int]]
"""A shape by graph input."""

Inputs = str | Path | Mapping[str, Any] | None
"""Given inputs: the path of an .npz file, or values by name; None to have random ones made."""

LEAST_GROWTH_BYTES = 64 << 20
"""What a file may grow by in any case, unless `max_growth_bytes` says otherwise."""

LEAST_MEMORY_BYTES = 256 << 20
"""What replacements may hold in memory in any case, unless `max_memory_bytes` says otherwise."""

CHOOSING = {
    "target": "a target",
    "lowering": "a lowering",
    "select": "a selection",
    "max_growth_bytes": "a growth limit",
    "max_memory_bytes": "a memory limit",
}
"""Options that a plan decides, in words."""

MEASURING = {"budget_s": "a budget", "threads": "threads", "use_cache": "no cache"}
"""Options that only `select="measure"` has a use for, in words."""


@dataclass(frozen=True, slots=True)
class RewriteOptions:
    """How to rewrite a model. The defaults stand here, and nowhere else."""

    target: str = "standard"
    """What the model is to run on. "standard": standard operators, any runtime. "native": nodes of the native library,
    with functions that stand in for them elsewhere. "cuda": ONNX Runtime's CUDA provider, some of it nowhere else."""
    lowering: str = "auto"
    """How an operator is computed: "auto", or one of the target's lowerings ("matmul", "dft", "fftconv", "fft", "rfft")
    to use that one wherever it applies."""
    select: str = "auto"
    """Which operators are replaced. "auto": those predicted to gain. "all": all that can be. "measure": those shown
    to gain in this model on this machine, on `inputs`, or on random ones of `input_shapes` or of shapes that the model
    accepts. One comparison with the original is made whatever the budget; without a gain there, nothing is replaced."""
    include: Sequence[str] = ()
    """Regular expressions; only operators whose names match one are replaced."""
    exclude: Sequence[str] = ()
    """Regular expressions; operators whose names match one are left alone."""
    input_shapes: InputShapes = field(default_factory=dict)
    """Fixes graph inputs to these shapes, in the model too."""
    inputs: Inputs = None
    """What the result is validated on, and measured: the path of an .npz file with an array for each input, or the
    arrays by name; None for random ones."""
    freeze_initializers: bool = False
    """Takes initializers that are graph inputs as well for constants: they are inputs no longer, in the model too."""
    max_growth_bytes: int | None = None
    """How much larger constants may make the file; None: its own size, and at least `LEAST_GROWTH_BYTES`.

    The text of the new nodes, a few KiB an operator, is not counted."""
    max_memory_bytes: int | None = None
    """How much memory the native library may hold beside the model and its tensors; None: the model's own size with the
    input and output of its largest site, if those are known, and at least `LEAST_MEMORY_BYTES`. So a session takes at
    most twice what the original takes, or 256 MiB more."""
    plan: PlanSource | None = None
    """A plan to replay instead of choosing, at the opset it needs."""
    opset: int | None = None
    """Converts the model to this opset first."""
    budget_s: float = 60.0
    """Seconds that "measure" spends, once inputs are found."""
    threads: int | None = None
    """Threads to measure with; None: as ONNX Runtime chooses."""
    use_cache: bool = True
    """Whether timings of single convolutions are kept in the user's cache, and used again."""
    validate: bool = True
    """Whether the result is run against the original; if they differ, there is no result."""
    custom_ops: Sequence[str | Path] = ()
    """Operator libraries that the model needs to run, for ONNX Runtime."""


class RewriteChoices(TypedDict, total=False):
    """The fields of `RewriteOptions` as keyword arguments."""

    target: str
    lowering: str
    select: str
    include: Sequence[str]
    exclude: Sequence[str]
    input_shapes: InputShapes
    inputs: Inputs
    freeze_initializers: bool
    max_growth_bytes: int | None
    max_memory_bytes: int | None
    plan: PlanSource | None
    opset: int | None
    budget_s: float
    threads: int | None
    use_cache: bool
    validate: bool
    custom_ops: Sequence[str | Path]


DEFAULTS = RewriteOptions()


def check_options(options: RewriteOptions) -> None:
    """Raise UsageError for a value that means nothing, and for two that contradict each other."""
    _check_names(options)
    changed = [each.name for each in fields(options) if getattr(options, each.name) != getattr(DEFAULTS, each.name)]
    if options.plan is not None and (given := [words for name, words in CHOOSING.items() if name in changed]):
        raise UsageError(
            f"got a plan and {' and '.join(given)}",
            "one or the other: a plan decides all that",
            ("leave out ", Option("plan"), ", or the rest"),
        )
    if options.select != "measure" and (given := [words for name, words in MEASURING.items() if name in changed]):
        step: Hint = ("set ", Option("select", "measure"), " as well, or leave it out")
        raise UsageError(
            f"got {' and '.join(given)}, and nothing to measure",
            "that with select 'measure' only",
            step if options.plan is None else "leave it out",
        )
    _check_numbers(options)


def _check_names(options: RewriteOptions) -> None:
    if options.target not in TARGETS:
        raise UsageError(f"got target {options.target!r}", f"one of {', '.join(TARGETS)}")
    names = {target: list(dict.fromkeys(each.name for each in lowerings)) for target, lowerings in TARGETS.items()}
    if options.lowering not in ("auto", *names[options.target]):
        others = [target for target in names if options.lowering in names[target]]
        raise UsageError(
            f"got lowering {options.lowering!r}" + (f" for target {options.target!r}" if others else ""),
            f"one of auto, {', '.join(names[options.target])}",
            ("set ", Option("target", others[0]), " to use it") if others else "",
        )
    if options.select not in SELECTIONS:
        raise UsageError(f"got select {options.select!r}", f"one of {', '.join(SELECTIONS)}")


def _check_numbers(options: RewriteOptions) -> None:
    if not 0 <= options.budget_s < inf:
        raise UsageError(f"got a budget of {options.budget_s} s", "0 or more seconds")
    check_threads(options.threads)
    if options.max_growth_bytes is not None and options.max_growth_bytes < 0:
        raise UsageError(f"got a growth of {options.max_growth_bytes} bytes", "0 or more")
    if options.max_memory_bytes is not None and options.max_memory_bytes < 0:
        raise UsageError(f"got a memory limit of {options.max_memory_bytes} bytes", "0 or more")


def check_seed(seed: int) -> None:
    """UsageError for one that NumPy's generators do not take."""
    if seed < 0:
        raise UsageError(f"got seed {seed}", "0 or more", "correct the seed")


def check_threads(threads: int | None) -> None:
    """Raise UsageError for a number of threads that there cannot be; None leaves it to ONNX Runtime."""
    if threads is not None and threads < 1:
        hint = ("leave out ", Option("threads"), ": ONNX Runtime chooses")
        raise UsageError(f"got {threads} threads", "1 or more", hint)


def select_names(names: Sequence[str], options: RewriteOptions) -> set[str]:
    """The names that match some of `include` (all, without any) and none of `exclude`."""
    selected = set(names) if not options.include else set()
    for patterns, change in ((options.include, selected.update), (options.exclude, selected.difference_update)):
        for pattern in patterns:
            change(_match_names(names, pattern))
    return selected


def _match_names(names: Sequence[str], pattern: str) -> set[str]:
    try:
        matching = {name for name in names if re.search(pattern, name)}
    except re.error as error:
        raise UsageError(f"got pattern {pattern!r}, which is not a regular expression: {error}") from error
    if not matching:
        some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise UsageError(f"got pattern {pattern!r}, which matches no operator", f"one of {some}" if some else "")
    return matching
