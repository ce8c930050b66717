"""Plans as files: readable JSON, one entry a site, that can be edited by hand and replayed.

    {"onnx_fft_plan": 2, "target": "standard", "convs": [
      {"name": "block/conv", "geometry": "...", "lowering": "matmul", "reason": "...",
       "predicted_conv_s": 0.0051, "predicted_s": 0.0031, "measured_conv_s": 0.0049, "measured_s": 0.0028,
       "axes": [{"dft_length": 71, "tile_step": 0, "columns": 1, "whole": true}]},
      {"name": "stem/conv", "geometry": "...", "lowering": null, "reason": "..."}],
     "transforms": [
      {"name": "frontend/stft", "geometry": "...", "lowering": "matmul", "reason": "...", "lengths": [20, 20]}]}

`target` is what the model is to run on, "standard" if it is absent. `transforms` are DFTs and STFTs, `matmuls` MatMuls
with a DFT basis, and `transposed` ConvTransposes, whose `axes` are those of the Conv that stands for them; a plan
without a list leaves these alone.
`lowering: null` leaves a site alone; `fftconv` and `fft` plan by themselves, and their `axes` or `lengths` are empty.
Everything but `target`, `name`, `geometry`, `lowering`, `axes` and `lengths` is for the reader. A replay reports the
measured times again: take them out of entries that you change.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnx_fft.cost.choose import Decision
from onnx_fft.cost.growth import growth_bytes
from onnx_fft.errors import UsageError
from onnx_fft.fourier.axis import AxisPlan
from onnx_fft.hints import Option
from onnx_fft.lowering import TARGETS, find_lowering, list_lowerings
from onnx_fft.lowering.base import ConvPlan, FourierPlan, Plan
from onnx_fft.native.planning import read_isa
from onnx_fft.options import DEFAULTS, PlanSource
from onnx_fft.sites.fourier import DftSpec, MatMulSpec, StftSpec
from onnx_fft.sites.site import Spec, describe_site
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec

VERSION = 2
"""1 had other names for targets and lowerings."""

CONVS, TRANSPOSED, TRANSFORMS, MATMULS = "convs", "transposed", "transforms", "matmuls"
"""The lists of entries, by kind of site: Convs, ConvTransposes, DFTs and STFTs, and MatMuls with a DFT basis."""

KINDS: dict[str, tuple[type[Spec], ...]] = {
    CONVS: (ConvSpec,),
    TRANSPOSED: (ConvTransposeSpec,),
    TRANSFORMS: (DftSpec, StftSpec),
    MATMULS: (MatMulSpec,),
}

MAX_GROWTH_BYTES = 1 << 33
"""What one entry may add to the file: more is a slip of the hand, which would take all memory there is."""

MAX_COUNT = 1 << 62
"""No count of a plan is beyond what ONNX can hold; arithmetic on a million digits would take for ever."""

MAX_SECONDS = 1e9
"""Thirty years; what is not finite is not below it."""

MAKE_ANEW = "rewrite the model without a plan, and save the plan of the result"
"""The hint for a file that is not a plan of this version and this model."""


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """One entry as read, yet to be held against the model: `plan` is None if the site is left alone."""

    name: str
    geometry: str
    kind: str
    plan: Plan | None
    measured_conv_s: float | None
    measured_s: float | None


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan as read; `source` is what messages call it. `lists` are those it has: of other kinds it knows nothing."""

    source: str
    target: str
    entries: tuple[PlanEntry, ...]
    lists: tuple[str, ...] = (CONVS,)


@dataclass(frozen=True, slots=True)
class PlannedSite:
    """What a plan says of one site: None leaves it alone. The seconds were measured when it was made."""

    plan: Plan | None
    measured_conv_s: float | None = None
    measured_s: float | None = None


def plan_to_json(specs: Mapping[str, Spec], decisions: Mapping[str, Decision], target: str) -> dict[str, Any]:
    """The plan of a model as JSON types, for every site that has a spec.

    MatMuls are listed only if they are replaced: without the native library, nothing tells one from any other.
    """
    lists: dict[str, list[dict[str, Any]]] = {CONVS: []}
    for name, spec in specs.items():
        if not isinstance(spec, MatMulSpec) or decisions[name].plan is not None:
            lists.setdefault(_find_list(spec), []).append(_entry_to_json(name, spec, decisions[name]))
    return {"onnx_fft_plan": VERSION, "target": target, **lists}


def load_plan(source: PlanSource) -> PlanFile:
    """Read a plan from a file or from its content. Raises UsageError if it is not a plan of this version."""
    name = f"plan {str(source)!r}" if isinstance(source, str | Path) else "a plan"
    data = _read_json(Path(source)) if isinstance(source, str | Path) else source
    _check_version(name, data)
    target = data.get("target", DEFAULTS.target)
    if target not in list(TARGETS):  # which compares, and hashes nothing
        raise UsageError(f"got target {target!r} in {name}", f"one of {', '.join(TARGETS)}", "correct it")
    try:
        entries = tuple(_read_entry(entry, kind) for kind in KINDS for entry in data.get(kind, ()))
    except (KeyError, TypeError, ValueError) as error:
        problem = f"got {name} with an entry that cannot be read ({error!r})"
        raise UsageError(problem, hint=f"compare with a plan that was saved: {MAKE_ANEW}") from error
    name_counts = Counter(entry.name for entry in entries)
    repeated = [entry for entry, count in name_counts.items() if count > 1]
    if repeated:
        problem = f"got {name} with more than one entry for {repeated[0]!r}"
        raise UsageError(problem, "one a site", "take the others out")
    return PlanFile(name, target, entries, tuple(kind for kind in KINDS if kind in data))


def match_plan(plan_file: PlanFile, specs: Mapping[str, Spec]) -> dict[str, PlannedSite]:
    """What the plan says of each site.

    Raises UsageError if it was made for another model, or is impossible, and NativeUnavailable if it replaces a MatMul
    that only the library can tell from any other.
    """
    planned_names = {entry.name for entry in plan_file.entries}
    known = {
        name: spec
        for name, spec in specs.items()
        if name in planned_names or (_find_list(spec) in plan_file.lists and not isinstance(spec, MatMulSpec))
    }
    if any(entry.kind == MATMULS and entry.name not in known for entry in plan_file.entries):
        read_isa()  # which raises if there is no library
    _check_model(plan_file, known)
    for entry in plan_file.entries:
        _check_entry(plan_file, entry, known[entry.name])
    unplanned = {name: PlannedSite(None) for name in specs.keys() - known.keys()}
    planned = {each.name: PlannedSite(each.plan, each.measured_conv_s, each.measured_s) for each in plan_file.entries}
    return unplanned | planned


def _find_list(spec: Spec) -> str:
    """The list that a site of this kind has its entry in."""
    return next(kind for kind, types in KINDS.items() if isinstance(spec, types))


def _entry_to_json(name: str, spec: Spec, decision: Decision) -> dict[str, Any]:
    plan = decision.plan
    entry: dict[str, Any] = {
        "name": name,
        "geometry": describe_site(spec),
        "lowering": None if plan is None else plan.lowering,
        "reason": decision.reason,
        "predicted_conv_s": decision.conv_seconds,
        "predicted_s": decision.seconds,
    }
    if decision.measured_conv_s is not None:
        entry |= {"measured_conv_s": decision.measured_conv_s, "measured_s": decision.measured_s}
    if isinstance(plan, ConvPlan):
        entry |= {"axes": [asdict(axis) for axis in plan.axes]}
    elif plan is not None:
        entry |= {"lengths": list(plan.lengths)}
    return entry


def _read_json(path: Path) -> Any:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise UsageError(f"got plan {str(path)!r}, which is not a file", "the file of a plan", "check the path")
        text = path.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_read_object, parse_constant=_refuse_constant)
    except OSError as error:
        problem = f"got plan {str(path)!r}, which cannot be read ({error.strerror})"
        raise UsageError(problem, "the file of a plan", ("check ", Option("plan"))) from error
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(f"got plan {str(path)!r}, which is not JSON ({why})", "a plan", MAKE_ANEW) from error


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One object of the file; ValueError if it says the same thing twice, of which JSON would keep the last."""
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"{repeated[0]!r} occurs twice in one object")
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _check_version(name: str, data: Any) -> None:
    version = data.get("onnx_fft_plan") if isinstance(data, Mapping) else None
    if type(version) is int and 0 < version < VERSION:
        problem = f"got {name} of version {version}, which an older version of onnx-fft made"
        raise UsageError(problem, f"version {VERSION}", f"make it anew: {MAKE_ANEW}")
    own = data if isinstance(data, Mapping) else {}
    lists = [own.get(kind, None if kind == CONVS else []) for kind in KINDS]
    if type(version) is not int or version != VERSION or not all(isinstance(held, list) for held in lists):
        others = ", ".join(f"'{kind}'" for kind in KINDS if kind != CONVS)
        expected = f"'onnx_fft_plan': {VERSION} and lists '{CONVS}' and, if there are any, {others}"
        raise UsageError(f"got {name}, which is not a plan", expected, f"make one: {MAKE_ANEW}")


def _read_entry(entry: Any, kind: str) -> PlanEntry:
    if not isinstance(entry, Mapping):
        raise TypeError(f"{entry!r:.80} is not an object")
    lowering = entry["lowering"]
    if lowering is not None and not isinstance(lowering, str):
        raise TypeError(f"lowering {lowering!r:.80} is neither null nor a name")
    for key in ("name", "geometry"):
        if not isinstance(entry[key], str):
            raise TypeError(f"{key} {entry[key]!r:.80} is not a text")
    plan: Plan | None = None
    if lowering is not None and kind in (CONVS, TRANSPOSED):
        plan = ConvPlan(lowering, tuple(map(_read_axis, _read_list(entry, "axes"))))
    elif lowering is not None:
        plan = FourierPlan(lowering, tuple(map(_read_length, _read_list(entry, "lengths"))))
    seconds = (_read_seconds(entry, "measured_conv_s"), _read_seconds(entry, "measured_s"))
    return PlanEntry(entry["name"], entry["geometry"], kind, plan, *seconds)


def _read_list(entry: Mapping[str, Any], key: str) -> list[Any]:
    values = entry[key]
    if not isinstance(values, list | tuple):
        raise TypeError(f"{key} {values!r:.80} is not a list")
    return list(values)


def _read_axis(axis: Any) -> AxisPlan:
    if not isinstance(axis, Mapping):
        raise TypeError(f"axis {axis!r:.80} is not an object")
    for key, value in axis.items():
        wanted = bool if key == "whole" else int
        if type(value) is not wanted:
            raise TypeError(f"{key} {value!r:.80} of an axis is not {'true or false' if key == 'whole' else 'a count'}")
        if not -MAX_COUNT <= value <= MAX_COUNT:
            raise ValueError(f"{key} of an axis is beyond {MAX_COUNT}")
    return AxisPlan(**axis)


def _read_length(length: Any) -> int:
    if type(length) is not int or not 1 <= length <= MAX_COUNT:
        raise TypeError(f"length {length!r:.80} is not a count")
    return length


def _read_seconds(entry: Mapping[str, Any], key: str) -> float | None:
    seconds = entry.get(key)
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < MAX_SECONDS:
        raise ValueError(f"{key} {seconds!r:.80} is not a time in seconds")
    return float(seconds)


def _check_model(plan_file: PlanFile, specs: Mapping[str, Spec]) -> None:
    planned = {entry.name: entry.geometry for entry in plan_file.entries}
    present = {name: describe_site(spec) for name, spec in specs.items()}
    differing = [
        f"{name}: plan has {planned[name]}, model has {present[name]}"
        for name in planned.keys() & present
        if planned[name] != present[name]
    ]
    differing += [f"{name}: not in the model" for name in planned.keys() - present.keys()]
    differing += [f"{name}: not in the plan" for name in present.keys() - planned.keys()]
    if differing:
        shown = "; ".join(sorted(differing)[:5]) + (f"; and {len(differing) - 5} more" if len(differing) > 5 else "")
        problem = f"got {plan_file.source}, which was made for another model ({shown})"
        raise UsageError(problem, "the same operators", f"make one for this model: {MAKE_ANEW}")


def _check_entry(plan_file: PlanFile, entry: PlanEntry, spec: Spec) -> None:
    """Raise UsageError if the plan's target does not have the lowering, or the lowering cannot compute `spec` so."""
    if entry.plan is None:
        return
    names = [lowering.name for lowering in list_lowerings(plan_file.target, type(spec))]
    if entry.plan.lowering not in names:
        raise UsageError(
            f"got lowering {entry.plan.lowering!r} for {entry.name!r} in {plan_file.source}",
            f"null or one of {', '.join(names)}, which target {plan_file.target} has",
            "correct one of the two",
        )
    try:
        if entry.kind != _find_list(spec):
            raise ValueError(f"it is listed among '{entry.kind}'")
        find_lowering(entry.plan.lowering, type(spec)).check_plan(spec, entry.plan)
        if (growth := growth_bytes(spec, entry.plan)) > MAX_GROWTH_BYTES:
            raise ValueError(f"it adds {growth / 2**30:.0f} GiB to the file, more than {MAX_GROWTH_BYTES >> 30} GiB")
    except (TypeError, ValueError) as error:
        problem = f"got an impossible plan for {entry.name!r} in {plan_file.source}: {error}"
        raise UsageError(problem, hint="change it or take it out") from error
