"""The pass: find every convolution, decide, lower, splice.

Data flows one way; nothing but the replaced nodes changes. With nothing replaced, the model is what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from onnx import ModelProto

from onnx_fft.cost.choose import Decision, Request, choose, leave, limit_growth
from onnx_fft.cost.plan_file import PlannedConv, plan_to_json, read_plan, read_target
from onnx_fft.cost.predict import conv_seconds, growth_bytes, lowering_seconds
from onnx_fft.errors import OpsetError, Refusal
from onnx_fft.lowering import CUDA, find_lowering
from onnx_fft.measure.run import MeasureSettings, measure_model
from onnx_fft.model.io import LoadedModel, load_model, model_bytes
from onnx_fft.model.opset import convert_opset, model_opset
from onnx_fft.model.shapes import set_input_shapes
from onnx_fft.options import DEFAULT_BUDGET_S, Options, check_options, select_names
from onnx_fft.progress import Progress, no_progress
from onnx_fft.replacement import build_variant, keep_names, replace_all
from onnx_fft.results import Report, make_report
from onnx_fft.sites.conv import ConvSite, find_sites

Given = ModelProto | str | Path

Planned = Mapping[str, PlannedConv] | None
"""The plan's entry on each convolution by name; None without a plan to replay."""

LEAST_GROWTH_BYTES = 64 << 20
"""What a file may grow by at least; a larger model may grow by its own size."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The result: the model (external data still where `base_dir` says), the report, and the plan as JSON types."""

    model: ModelProto
    report: Report
    plan: dict[str, Any]
    base_dir: Path | None = None


def rewrite(
    source: Given,
    *,
    target: str = "standard",
    lowering: str = "auto",
    select: str = "auto",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    max_growth_bytes: int | None = None,
    plan: str | Path | Mapping[str, Any] | None = None,
    opset: int | None = None,
    budget_s: float | None = None,
    threads: int | None = None,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> Rewritten:
    """Replace the convolutions of a model (a path or a ModelProto, which is not changed) that gain from it.

    `target`: "standard" writes standard operators only; "native" writes nodes of the native library, with functions
    that stand in for them elsewhere; "cuda" writes what runs on ONNX Runtime's CUDA provider, some of it nowhere else.
    `lowering`: "auto", or "matmul", "dft", "fftconv" or "rfft" to use that one wherever it applies, if the target has
    it. `select`: "auto" replaces what is predicted to gain, "all" whatever can be, "measure" what is shown to gain in
    this model on this machine (see below). `include`, `exclude`: regular expressions on convolution names.
    `input_shapes` fixes graph inputs to these shapes, in the model too. `max_growth_bytes`: how much larger the file
    may become, by default its own size and at least 64 MiB. `plan`: a plan to replay instead of choosing, at the opset
    it needs. `opset`: convert the model to this opset first.

    "measure" times for about `budget_s` seconds (None: 60), once inputs are found, with `threads` threads (None: as
    ONNX Runtime chooses), on random inputs of `input_shapes` or of shapes the model accepts. Timings of single
    convolutions are kept in the user's cache and used again, unless `use_cache` is false. One comparison with the
    original is made whatever the budget; without a gain there, nothing is replaced. These three are for "measure" only.

    `progress` is called with what is being done and, where it is known, the share that is done. Raises UsageError,
    InvalidModelError, OpsetError, and NativeUnavailable or CudaUnavailable where the native library or the CUDA
    provider is to be measured and is not there.
    """
    options = Options(
        lowering=lowering,
        select=select,
        include=include,
        exclude=exclude,
        input_shapes=input_shapes,
        max_growth_bytes=max_growth_bytes,
        plan=plan,
        opset=opset,
        budget_s=budget_s,
        threads=threads,
        use_cache=use_cache,
        target=target,
    )
    report_progress = progress or no_progress
    loaded, sites, decisions, report = _decide_model(source, options, report_progress)
    plans = {site.name: decision.plan for site, decision in zip(sites, decisions, strict=True)}
    target = _find_target(options)
    replace_all(loaded, sites, plans, target, report_progress)
    return Rewritten(loaded.model, report, _make_plan(sites, decisions, target), loaded.base_dir)


def inspect(source: Given, *, progress: Progress | None = None, **choice: Any) -> Report:
    """What `rewrite` would do with the same arguments, without doing it."""
    return dry_run(source, progress=progress, **choice)[0]


def dry_run(source: Given, *, progress: Progress | None = None, **choice: Any) -> tuple[Report, dict[str, Any]]:
    """The report and the plan of `rewrite` with the same arguments."""
    options = Options(**choice)
    _, sites, decisions, report = _decide_model(source, options, progress or no_progress)
    return report, _make_plan(sites, decisions, _find_target(options))


def _find_target(options: Options) -> str:
    """The plan's own, where there is a plan."""
    return options.target if options.plan is None else read_target(options.plan)


def _make_plan(sites: Sequence[ConvSite], decisions: Sequence[Decision], target: str) -> dict[str, Any]:
    specs = {site.name: site.spec for site in sites if site.spec is not None}
    return plan_to_json(specs, {site.name: decision for site, decision in zip(sites, decisions, strict=True)}, target)


def _decide_model(
    source: Given, options: Options, progress: Progress
) -> tuple[LoadedModel, tuple[ConvSite, ...], list[Decision], Report]:
    check_options(options)
    progress("reading")
    loaded = load_model(source)
    original_bytes = model_bytes(loaded)
    request = _make_request(options, original_bytes)
    if options.input_shapes:
        set_input_shapes(loaded.model, options.input_shapes)
    before = model_opset(loaded.model)
    sites = find_sites(loaded)
    unconverted = loaded, sites
    planned = _read_plan(sites, options)
    target = _needed_opset(sites, planned, request, options) if options.opset is None else options.opset
    if target is not None:
        loaded = LoadedModel(_convert(loaded.model, target, options), loaded.base_dir)
        sites = keep_names(find_sites(loaded), sites)
    progress("choosing")
    decisions = _decide(sites, planned, request, options)
    measurement = None
    if options.select == "measure" and options.plan is None:
        build = partial(build_variant, loaded, sites, request.target)
        original, ready = load_model(source), LoadedModel(loaded.model, loaded.base_dir)
        budget_s = DEFAULT_BUDGET_S if options.budget_s is None else options.budget_s
        settings = MeasureSettings(
            budget_s, options.threads, options.use_cache, input_shapes=options.input_shapes or {}
        )
        decisions, measurement = measure_model(original, ready, sites, decisions, build, request, settings, progress)
    if options.opset is None and not any(decision.plan for decision in decisions):
        loaded, sites = unconverted
    opset = model_opset(loaded.model)
    converted_from = before if opset != before else None
    cap = None if options.plan is not None else request.max_growth_bytes
    gpu = request.machines[0].name if request.target == CUDA else ""
    report = make_report(sites, decisions, opset, converted_from, measurement, cap, original_bytes, gpu)
    return loaded, sites, decisions, report


def _make_request(options: Options, original_bytes: int) -> Request:
    growth = options.max_growth_bytes
    if growth is None:
        growth = max(LEAST_GROWTH_BYTES, original_bytes)
    return Request(options.lowering, options.select, growth, _find_target(options))


def _read_plan(sites: Sequence[ConvSite], options: Options) -> Planned:
    if options.plan is None:
        return None
    return read_plan(options.plan, {site.name: site.spec for site in sites if site.spec is not None})


def _needed_opset(sites: Sequence[ConvSite], planned: Planned, request: Request, options: Options) -> int | None:
    """The opset that all of what the plan or the caller insists on needs; None where the model's does."""
    selected = select_names([site.name for site in sites], options)
    needed = []
    for site in sites:
        if site.spec is None or site.name not in selected:
            continue
        plan = None if planned is None else planned[site.name].plan
        lowerings = [each for each in request.lowerings if request.is_forced and not each.find_obstacle(site.spec)]
        if planned is not None:
            lowerings = [] if plan is None else [find_lowering(plan.lowering)]
        lowest = min((lowering.min_opset(site.spec) for lowering in lowerings), default=0)
        needed += [lowest] if lowest > site.opset else []
    return max(needed, default=None)


def _convert(model: ModelProto, target: int, options: Options) -> ModelProto:
    """The model at opset `target`, or, where only some convolutions need that, as it is if it cannot be converted."""
    opset = model_opset(model)
    if target < opset:
        raise OpsetError(
            f"got opset {target} for a model of opset {opset}; expected {opset} or newer, "
            "since models are not converted to older ones; leave it out"
        )
    try:
        return convert_opset(model, target)
    except OpsetError as error:
        if options.lowering == "dft":
            raise OpsetError(f"{error}; or use --lowering matmul, which takes any opset") from error
        if options.opset is not None or options.plan is not None:
            raise
        return model


def _decide(sites: Sequence[ConvSite], planned: Planned, request: Request, options: Options) -> list[Decision]:
    selected = select_names([site.name for site in sites], options)
    decisions = []
    for site in sites:
        if site.spec is None:
            assert site.refusal is not None
            decisions.append(leave(site.refusal))
        elif site.name not in selected:
            decisions.append(leave(Refusal("not-selected", "left out by --include or --exclude")))
        elif planned is not None:
            decisions.append(_replay(site, planned[site.name], request))
        else:
            decisions.append(choose(site.spec, site.opset, request))
    return decisions if planned is not None else limit_growth(decisions, request.max_growth_bytes)


def _replay(site: ConvSite, planned: PlannedConv, request: Request) -> Decision:
    assert site.spec is not None
    machine = request.machines[0]
    plan = planned.plan
    if plan is None:
        left = leave(Refusal("planned", "left alone by the plan"), conv_seconds(site.spec, machine))
        return replace(left, measured_conv_s=planned.measured_conv_s, measured_s=planned.measured_s)
    needed = find_lowering(plan.lowering).min_opset(site.spec)
    if site.opset < needed:
        raise OpsetError(
            f"got a plan with {plan.lowering} for {site.name!r}, which needs opset {needed}; "
            f"the model has {site.opset}; pass --opset {needed}"
        )
    return Decision(
        plan,
        None,
        conv_seconds(site.spec, machine),
        lowering_seconds(site.spec, plan, machine),
        growth_bytes(site.spec, plan),
        reason="by the plan",
        measured_conv_s=planned.measured_conv_s,
        measured_s=planned.measured_s,
    )
