"""Rewriting a model, and asking what rewriting it would do: the public functions, and their result."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from onnx import ModelProto

from onnx_fft.checks.result import Validation
from onnx_fft.cost.plan_file import plan_to_json
from onnx_fft.errors import UsageError, ValidationFailed
from onnx_fft.hints import Option
from onnx_fft.lowering import CUDA
from onnx_fft.model.io import LoadedModel, ModelSource, list_files, model_bytes
from onnx_fft.model.saving import staged_model
from onnx_fft.model.staging import Staging, check_output, is_same_file
from onnx_fft.options import DEFAULTS, RewriteChoices, RewriteOptions
from onnx_fft.progress import Progress, no_progress
from onnx_fft.provenance import is_own
from onnx_fft.results import Report, make_report
from onnx_fft.state import State, run_steps
from onnx_fft.steps import DECIDING, WRITING, leave_suspects, read

if sys.version_info >= (3, 11):
    from typing import Unpack  # novermin
elif TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A rewritten model, what was decided, and how it compares with the original.

    `model` lacks its external data, which lies under `base_dir` as for the original. `plan` is JSON types and can be
    replayed. `validation` is None if nothing changed, or if none was asked for. `protected` are the files of the
    original.
    """

    model: ModelProto
    report: Report
    plan: dict[str, Any]
    base_dir: Path | None = None
    validation: Validation | None = None
    protected: tuple[Path, ...] = field(default=(), repr=False)

    @property
    def loaded(self) -> LoadedModel:
        """The model with the place of its external data, as other functions of this package take it."""
        return LoadedModel(self.model, self.base_dir)

    def save(self, path: str | Path) -> None:
        """Write the model and its external data; all of it, or nothing.

        Nothing appears under `path` before it is complete, and no file of the original is ever written over. Raises
        UsageError for the path of such a file, and OutputError if something cannot be written.
        """
        with self.stage(path) as staged:
            staged.commit()

    @contextmanager
    def stage(self, path: str | Path) -> Iterator[Staging]:
        """As `save`, but the file has its name only after `.commit()`, for what is to be written along with others."""
        check_destination(path, self.protected)
        with staged_model(self.model, path, self.base_dir, movable=is_own) as staged:
            yield staged


class DryRun(NamedTuple):
    """What a rewrite decides: the report, and the plan that replays it."""

    report: Report
    plan: dict[str, Any]


def rewrite(
    source: ModelSource,
    *,
    options: RewriteOptions = DEFAULTS,
    progress: Progress = no_progress,
    **choices: Unpack[RewriteChoices],
) -> Rewritten:
    """Replace the operators of a model (a path or an object, which is not changed) that gain from it.

    `choices` are fields of `RewriteOptions`, which says what each means; they go on top of `options`. `progress` is
    called with what is being done and the share that is done, if it is known.

    The result is validated against the original, unless `validate` is false. If an output differs though every
    replacement is right, those it follows from are left alone. Raises ValidationFailed if the two models differ all the
    same, UsageError, InvalidModelError, OpsetError, RuntimeUnavailable without ONNX Runtime, and NativeUnavailable or
    CudaUnavailable if the native library or the CUDA provider is to be measured and is not there.
    """
    wanted = replace(options, **choices)
    state = run_steps((*DECIDING, *WRITING), read(source, wanted, progress))
    while given := leave_suspects(state):
        again = replace(read(source, wanted, progress), given=given, measurement=state.measurement)
        state = run_steps((*DECIDING, *WRITING), again)
    loaded = state.model
    report = replace(_report(state), grown_bytes=model_bytes(loaded) - state.original_bytes)
    rewritten = Rewritten(
        loaded.model, report, _plan(state), loaded.base_dir, state.validation, list_files(state.original)
    )
    if state.failure:
        hint = ("leave the operator out by ", Option("exclude"), ", or look at the report")
        raise ValidationFailed(state.failure, hint=hint, rewritten=rewritten)
    return rewritten


def inspect(
    source: ModelSource,
    *,
    options: RewriteOptions = DEFAULTS,
    progress: Progress = no_progress,
    **choices: Unpack[RewriteChoices],
) -> Report:
    """What `rewrite` would do with the same arguments, without doing it."""
    return dry_run(source, replace(options, **choices), progress).report


def dry_run(source: ModelSource, options: RewriteOptions, progress: Progress = no_progress) -> DryRun:
    """Every decision of a rewrite, and nothing more."""
    state = run_steps(DECIDING, read(source, options, progress))
    return DryRun(_report(state), _plan(state))


def check_destination(path: str | Path, protected: Sequence[Path]) -> None:
    """Raise UsageError if `path` is one of the `protected` files, OutputError if it cannot be written."""
    check_output(Path(path))
    if any(is_same_file(Path(path), file) for file in protected):
        raise UsageError(
            f"got output path {str(path)!r}, which is the original or holds data of it",
            "another file",
            "choose another name",
        )


def _report(state: State) -> Report:
    return make_report(
        state.sites,
        state.decisions,
        state.opset,
        state.converted_from,
        state.measurement,
        None if state.plan is not None else state.request.max_growth_bytes,
        None if state.plan is not None else state.request.max_memory_bytes,
        state.original_bytes,
        state.request.machines[0].name if state.request.target == CUDA else "",
        state.changes,
        state.model.moved,
    )


def _plan(state: State) -> dict[str, Any]:
    specs = {site.name: site.spec for site in state.sites if site.spec is not None}
    decisions = {site.name: decision for site, decision in zip(state.sites, state.decisions, strict=True)}
    return plan_to_json(specs, decisions, state.request.target)
