"""Plans as files: readable JSON, one entry a convolution, that can be edited by hand and replayed.

    {"onnx_fft_plan": 1, "target": "standard", "convs": [
      {"name": "block/conv", "geometry": "...", "lowering": "matmul", "reason": "...",
       "predicted_conv_s": 0.0051, "predicted_s": 0.0031, "measured_conv_s": 0.0049, "measured_s": 0.0028,
       "axes": [{"dft_length": 71, "tile_step": 0, "columns": 1, "whole": true}]},
      {"name": "stem/conv", "geometry": "...", "lowering": null, "reason": "..."}]}

`target` is what the model is to run on, "standard" if it is absent. `lowering: null` leaves a convolution alone;
`fftconv` plans by itself, and its `axes` are empty. Everything but `target`, `name`, `geometry`, `lowering` and `axes`
is for the reader. A replay reports the measured times again: take them out of entries that you change.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnx_fft.cost.choose import Decision
from onnx_fft.cost.predict import growth_bytes
from onnx_fft.errors import UsageError
from onnx_fft.fourier.axis import AxisPlan
from onnx_fft.lowering import TARGETS, find_lowering
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.sites.spec import ConvSpec, describe_spec

VERSION = 1

MAX_GROWTH_BYTES = 1 << 33
"""What one entry may add to the file: more is a slip of the hand, which would take all memory there is."""


@dataclass(frozen=True, slots=True)
class PlannedConv:
    """One entry: the plan, None where the Conv is left alone, and the seconds measured when it was made."""

    plan: ConvPlan | None
    measured_conv_s: float | None = None
    measured_s: float | None = None


def plan_to_json(
    specs: Mapping[str, ConvSpec], decisions: Mapping[str, Decision], target: str = "standard"
) -> dict[str, Any]:
    """The plan of a model as JSON types, for every convolution that has a spec."""
    return {
        "onnx_fft_plan": VERSION,
        "target": target,
        "convs": [_entry_to_json(name, spec, decisions[name]) for name, spec in specs.items()],
    }


def read_target(source: str | Path | Mapping[str, Any]) -> str:
    """The target of a plan; raises UsageError for one there is not."""
    data = _load(Path(source)) if isinstance(source, str | Path) else source
    target = data.get("target", "standard") if isinstance(data, Mapping) else "standard"
    if target not in list(TARGETS):  # which compares, and hashes nothing
        raise UsageError(f"got target {target!r} in a plan; expected one of {', '.join(TARGETS)}; correct it")
    return str(target)


def read_plan(source: str | Path | Mapping[str, Any], specs: Mapping[str, ConvSpec]) -> dict[str, PlannedConv]:
    """The entries by convolution name; raises UsageError where the file is malformed or was made for another model."""
    where = str(source) if isinstance(source, str | Path) else "the given plan"
    data = _load(Path(source)) if isinstance(source, str | Path) else source
    if not isinstance(data, Mapping) or data.get("onnx_fft_plan") != VERSION or not isinstance(data.get("convs"), list):
        raise UsageError(
            f"got {where}, which is no plan; expected 'onnx_fft_plan': {VERSION} and a list 'convs'; "
            "write one with --save-plan"
        )
    target = read_target(data)
    try:
        entries = {str(entry["name"]): entry for entry in data["convs"]}
        if len(entries) < len(data["convs"]):
            names = Counter(str(entry["name"]) for entry in data["convs"])
            raise UsageError(
                f"got {where} with more than one entry for {max(names, key=lambda name: names[name])!r}; "
                "expected one a convolution; take the others out"
            )
        _check_model(where, {name: entry["geometry"] for name, entry in entries.items()}, specs)
        return {
            name: PlannedConv(
                _entry_from_json(where, name, entry, specs[name], target),
                _read_seconds(entry, "measured_conv_s"),
                _read_seconds(entry, "measured_s"),
            )
            for name, entry in entries.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"got {where} with an entry that cannot be read ({error!r}); compare with --save-plan"
        ) from error


def _entry_to_json(name: str, spec: ConvSpec, decision: Decision) -> dict[str, Any]:
    plan = decision.plan
    entry: dict[str, Any] = {
        "name": name,
        "geometry": describe_spec(spec),
        "lowering": None if plan is None else plan.lowering,
        "reason": decision.reason,
        "predicted_conv_s": decision.conv_seconds,
        "predicted_s": decision.seconds,
    }
    if decision.measured_conv_s is not None:
        entry |= {"measured_conv_s": decision.measured_conv_s, "measured_s": decision.measured_s}
    if plan is not None:
        entry |= {"axes": [asdict(axis) for axis in plan.axes]}
    return entry


def _entry_from_json(where: str, name: str, entry: Mapping[str, Any], spec: ConvSpec, target: str) -> ConvPlan | None:
    if entry["lowering"] is None:
        return None
    names = [lowering.name for lowering in TARGETS[target]]
    if entry["lowering"] not in names:
        raise UsageError(
            f"got lowering {entry['lowering']!r} for {name!r} in {where}; "
            f"expected null or one of {', '.join(names)}, which target {target} has; correct one of the two"
        )
    plan = ConvPlan(entry["lowering"], tuple(AxisPlan(**axis) for axis in entry["axes"]))
    try:
        find_lowering(plan.lowering).check_plan(spec, plan)
        if (growth := growth_bytes(spec, plan)) > MAX_GROWTH_BYTES:
            raise ValueError(f"it adds {growth / 2**30:.0f} GiB to the file, more than {MAX_GROWTH_BYTES >> 30} GiB")
    except ValueError as error:
        raise UsageError(
            f"got an impossible plan for {name!r} in {where}: {error}; change it or take it out"
        ) from error
    return plan


def _read_seconds(entry: Mapping[str, Any], key: str) -> float | None:
    seconds = entry.get(key)
    return None if seconds is None else float(seconds)


def _check_model(where: str, planned: Mapping[str, str], specs: Mapping[str, ConvSpec]) -> None:
    present = {name: describe_spec(spec) for name, spec in specs.items()}
    differing = [
        f"{name}: plan has {planned[name]}, model has {present[name]}"
        for name in planned.keys() & present
        if planned[name] != present[name]
    ]
    differing += [f"{name}: not in the model" for name in planned.keys() - present.keys()]
    differing += [f"{name}: not in the plan" for name in present.keys() - planned.keys()]
    if differing:
        shown = "; ".join(sorted(differing)[:5]) + (f"; and {len(differing) - 5} more" if len(differing) > 5 else "")
        raise UsageError(
            f"got {where}, a plan for another model ({shown}); expected the same Convs; plan this model anew"
        )


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"got plan file {str(path)!r}, which cannot be read ({error.strerror}); check the path"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"got {str(path)!r}, which is no JSON ({error}); expected a plan; write one with --save-plan"
        ) from error


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan as read: its target and content."""

    target: str
    data: Mapping[str, Any]
    source: str | Path | Mapping[str, Any]


def load_plan(source: str | Path | Mapping[str, Any]) -> PlanFile:
    """Read a plan once."""
    return PlanFile(read_target(source), {}, source)


def match_plan(plan: PlanFile, specs: Mapping[str, ConvSpec]) -> dict[str, PlannedConv]:
    """The entries by name."""
    return read_plan(plan.source, specs)
