"""What a rewrite knows from step to step (`steps.py`), and how steps are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from onnx_fft.checks.result import Validation
from onnx_fft.cost.choose import Decision, Request
from onnx_fft.cost.plan_file import PlanFile, PlannedSite
from onnx_fft.measure.run import Measurement
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.opset import model_opset
from onnx_fft.options import RewriteOptions
from onnx_fft.progress import Progress
from onnx_fft.sites.inlined import Inlined
from onnx_fft.sites.site import Site


@dataclass(frozen=True, slots=True)
class State:
    """What is known after the steps so far.

    `model` is the original, less and less so, and belongs to the pass; `original` is never changed. `decisions` has one
    for each of `sites`. `unconverted` is the model with its sites as they were before an opset that only some
    replacements need.
    """

    options: RewriteOptions
    progress: Progress
    original: LoadedModel
    model: LoadedModel
    original_bytes: int
    plan: PlanFile | None
    request: Request
    sites: tuple[Site, ...] = ()
    planned: Mapping[str, PlannedSite] | None = None
    unconverted: tuple[LoadedModel, tuple[Site, ...]] | None = None
    uninlined: LoadedModel | None = None
    inlined: Inlined | None = None
    """What became of `uninlined` as functions were written out whose callers give convolutions their weights."""
    decisions: tuple[Decision, ...] = ()
    given: Mapping[str, Decision] = field(default_factory=dict)
    """What an earlier try decided, its suspects left alone (`find_suspects`); empty in the first."""
    changes: tuple[str, ...] = ()
    """What was changed beside the convolutions and the opset, in sentences."""
    measurement: Measurement | None = None
    validation: Validation | None = None
    failure: str = ""
    """Why the result must not be used, "" if nothing speaks against it."""

    @property
    def opset(self) -> int:
        """Of the model as it is now."""
        return model_opset(self.model.model)

    @property
    def converted_from(self) -> int | None:
        """The opset the model had, None if it still has it."""
        before = model_opset(self.original.model)
        return None if self.opset == before else before

    @property
    def replaced(self) -> tuple[Site, ...]:
        """The sites that are replaced."""
        pairs = zip(self.sites, self.decisions, strict=True)
        return tuple(site for site, decision in pairs if decision.plan is not None)

    @property
    def is_changed(self) -> bool:
        """Whether the result is, or will be, another model than the original."""
        return bool(self.replaced) or self.model.model not in (self.original.model, self.original.unsorted)


Step = Callable[[State], State]


def run_steps(steps: Sequence[Step], state: State) -> State:
    """The state after all of `steps`."""
    return reduce(lambda known, step: step(known), steps, state)
