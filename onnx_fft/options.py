"""What a caller can ask of a rewrite, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from onnx_fft.errors import UsageError
from onnx_fft.lowering import TARGETS

SELECTIONS = ("auto", "all", "measure")
DEFAULT_BUDGET_S = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to rewrite; see `rewrite` for what each means."""

    lowering: str = "auto"
    select: str = "auto"
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    input_shapes: Mapping[str, Sequence[int]] | None = None
    max_growth_bytes: int | None = None
    plan: str | Path | Mapping[str, Any] | None = None
    opset: int | None = None
    budget_s: float | None = None
    """None is `DEFAULT_BUDGET_S`."""
    threads: int | None = None
    use_cache: bool = True
    target: str = "standard"


def check_options(options: Options) -> None:
    """Raise UsageError for a value that means nothing, and for two that contradict each other."""
    if options.target not in TARGETS:
        raise UsageError(f"got target {options.target!r}; expected one of {', '.join(TARGETS)}")
    _check_lowering(options)
    if options.select not in SELECTIONS:
        raise UsageError(f"got select {options.select!r}; expected one of {', '.join(SELECTIONS)}")
    choosing = {"target": options.target != "standard", "lowering": options.lowering != "auto"}
    choosing["select"] = options.select != "auto"
    choosing["max_growth"] = options.max_growth_bytes is not None
    if options.plan is not None and any(choosing.values()):
        given = ", ".join(name for name, is_given in choosing.items() if is_given)
        raise UsageError(f"got a plan and {given}; expected one of them: a plan decides all that; leave out the other")
    _check_measuring(options)


def _check_measuring(options: Options) -> None:
    given = {
        "a budget": options.budget_s is not None,
        "threads": options.threads is not None,
        "no cache": not options.use_cache,
    }
    if options.select != "measure" and any(given.values()):
        names = " and ".join(name for name, is_given in given.items() if is_given)
        step = "leave it out" if options.plan is not None else "pass --select measure as well, or leave it out"
        raise UsageError(f"got {names} without select measure; expected them together: nothing else measures; {step}")
    if options.budget_s is not None and not 0 <= options.budget_s < inf:
        raise UsageError(f"got a budget of {options.budget_s} s; expected 0 or more seconds")
    if options.threads is not None and options.threads < 1:
        raise UsageError(f"got {options.threads} threads; expected 1 or more; leave it to ONNX Runtime by None")


def _check_lowering(options: Options) -> None:
    names = {target: [lowering.name for lowering in lowerings] for target, lowerings in TARGETS.items()}
    if options.lowering in ("auto", *names[options.target]):
        return
    for target in names:
        if options.lowering in names[target]:
            raise UsageError(
                f"got lowering {options.lowering!r} for target {options.target!r}; "
                f"expected one of auto, {', '.join(names[options.target])}; or pass --target {target}"
            )
    raise UsageError(f"got lowering {options.lowering!r}; expected one of auto, {', '.join(names[options.target])}")


def select_names(names: Sequence[str], options: Options) -> set[str]:
    """The names that match some of `include` (all, without any) and none of `exclude`."""
    selected = set(names) if not options.include else set()
    for patterns, change in ((options.include, selected.update), (options.exclude, selected.difference_update)):
        for pattern in patterns:
            try:
                matching = {name for name in names if re.search(pattern, name)}
            except re.error as error:
                raise UsageError(f"got pattern {pattern!r}, which is no regular expression: {error}") from error
            if not matching:
                some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                raise UsageError(
                    f"got pattern {pattern!r}, which matches no convolution; the model has {some or 'none'}"
                )
            change(matching)
    return selected
