"""The pass as a chain of small steps, each `state -> state` with one job; `read` makes the first state.

    read -> fix_shapes -> freeze -> inline -> find -> convert -> decide -> measure -> settle -> restore_order
         -> fuse -> splice -> check

`DECIDING` ends with a decision for every site, which is all that `inspect` asks for; `WRITING` makes the model. Data
flows one way: nothing but the replaced nodes changes, and a model in which nothing is replaced stays what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from onnx import ModelProto

from onnx_fft.checks.conformity import find_nonconformity
from onnx_fft.checks.suspects import find_suspects
from onnx_fft.cost.choose import Decision, Request, choose, heed_zeros, keeps_zeros, leave, limit_growth
from onnx_fft.cost.memory import count_run_bytes, limit_memory
from onnx_fft.cost.plan_file import load_plan, match_plan
from onnx_fft.cost.replay import replay
from onnx_fft.errors import OpsetError, Refusal
from onnx_fft.hints import Option
from onnx_fft.inputs.feeds import load_feed, read_inputs
from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import Lowering, Plan
from onnx_fft.measure.run import measure_model
from onnx_fft.model.functions import freeze_initializers
from onnx_fft.model.io import LoadedModel, ModelSource, load_model, model_bytes
from onnx_fft.model.opset import convert_opset
from onnx_fft.model.saving import materialized
from onnx_fft.model.scopes import FunctionKey
from onnx_fft.model.shapes import set_input_shapes
from onnx_fft.options import LEAST_GROWTH_BYTES, LEAST_MEMORY_BYTES, RewriteOptions, check_options, select_names
from onnx_fft.progress import Progress, no_progress
from onnx_fft.provenance import is_own
from onnx_fft.replacement import build_variant, fuse_epilogues, keep_names, replace_all
from onnx_fft.runtime.constants import evaluate_constants
from onnx_fft.sites.find import find_sites
from onnx_fft.sites.inlined import inline_for_weights, inline_functions
from onnx_fft.sites.site import Site
from onnx_fft.sites.values import refuse_values
from onnx_fft.state import State, Step
from onnx_fft.validate import validate


def read(source: ModelSource, options: RewriteOptions, progress: Progress = no_progress) -> State:
    """Read the model and the plan, and check the options. Raises UsageError and InvalidModelError."""
    check_options(options)
    progress("reading")
    original = load_model(source)
    plan = None if options.plan is None else load_plan(options.plan)
    size = model_bytes(original)
    growth = max(LEAST_GROWTH_BYTES, size) if options.max_growth_bytes is None else options.max_growth_bytes
    target = options.target if plan is None else plan.target
    memory = LEAST_MEMORY_BYTES if options.max_memory_bytes is None else options.max_memory_bytes
    request = Request(options.lowering, options.select, growth, memory, target)
    model = replace(original.copy(), path=None)
    return State(options, progress, original, model, size, plan, request)


def fix_shapes(state: State) -> State:
    """Fix the graph inputs that the caller gave shapes for, and see that the inputs given fit, before any work."""
    set_input_shapes(state.model.model, state.options.input_shapes)
    if state.options.inputs is not None:
        load_feed(state.options.inputs, read_inputs(state.model.model))
    return state


def freeze(state: State) -> State:
    """Take initializers that are inputs as well for constants, if the caller says that nobody overrides them."""
    names = freeze_initializers(state.model.model) if state.options.freeze_initializers else []
    if not names:
        return state
    listed = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return replace(state, changes=(*state.changes, f"constants now, and inputs no longer: {listed}"))


def inline(state: State) -> State:
    """Write out the calls of functions that give a site its constants or types."""
    names = None if state.plan is None else {entry.name for entry in state.plan.entries}

    def is_wanted(site: Site) -> bool:
        return site.spec is not None and (names is None or site.name in names)

    inlined = inline_for_weights(state.model, evaluate_constants, is_wanted)
    return state if inlined is None else replace(state, model=inlined.model, inlined=inlined, uninlined=state.model)


def find(state: State) -> State:
    """Find every site, and the plan's entry on each."""
    sites = find_sites(state.model, evaluate_constants)
    specs = {site.name: site.spec for site in sites if site.spec is not None}
    return replace(state, sites=sites, planned=None if state.plan is None else match_plan(state.plan, specs))


def convert(state: State) -> State:
    """Bring the model to the opset that the caller asks for, or that all of what is insisted on needs."""
    wanted = state.options.opset
    opset = _needed_opset(state) if wanted is None else wanted
    if opset is None or opset == state.opset:
        return state
    converted = _convert(state, opset)
    if converted is state.model.model:
        return state
    model = replace(state.model, model=converted)
    sites = keep_names(find_sites(model, evaluate_constants), state.sites)
    return replace(state, model=model, sites=sites, unconverted=(state.model, state.sites) if wanted is None else None)


def decide(state: State) -> State:
    """Decide by prediction, or by the plan, which sites are replaced by what."""
    state.progress("choosing")
    state = replace(state, request=_allow_memory(state))
    selected = select_names([site.name for site in state.sites], state.options)
    decisions = [_decide_site(site, site.name in selected, state) for site in state.sites]
    if state.planned is None:
        decisions = limit_growth(decisions, state.request.max_growth_bytes)
        decisions = limit_memory([site.spec for site in state.sites], decisions, state.request)
    return replace(state, decisions=tuple(decisions))


def _allow_memory(state: State) -> Request:
    """Unless the caller caps memory, replacements may hold as much as the original takes at least."""
    if state.options.max_memory_bytes is not None:
        return state.request
    taken = state.original_bytes + count_run_bytes([site.spec for site in state.sites])
    return replace(state.request, max_memory_bytes=max(LEAST_MEMORY_BYTES, taken))


def measure(state: State) -> State:
    """Put measured decisions in place of predicted ones, if they are wanted."""
    options = state.options
    if options.select != "measure" or state.plan is not None or state.given:
        return state
    build = partial(build_variant, state.model, state.sites, state.request.target)
    decisions, measurement = measure_model(
        state.original, state.model, state.sites, state.decisions, build, state.request, options, state.progress
    )
    return replace(state, decisions=tuple(decisions), measurement=measurement)


def settle(state: State) -> State:
    """Go back to the model before the conversion, and before functions were written out, if nothing came of it."""
    if state.unconverted is not None and not state.replaced:
        model, sites = state.unconverted
        state = replace(state, model=model, sites=sites, unconverted=None)
    if state.inlined is None or state.uninlined is None:
        return state
    needed = state.inlined.find_sources(site.name for site in state.replaced)
    if needed != state.inlined.functions and state.converted_from is None:
        return _restore_functions(state, state.uninlined, state.inlined.functions, needed)
    return _tell_inlined(state, state.inlined.functions)


def restore_order(state: State) -> State:
    """Put a model that does not change at all back into the order in which it was found."""
    before = state.original.unsorted
    if before is None or state.is_changed:
        return state
    found = ModelProto()
    found.CopyFrom(before)
    return replace(state, model=replace(state.model, model=found, moved=0, unsorted=None))


def fuse(state: State) -> State:
    """Give each site that is replaced what follows it and is computed along."""
    return replace(state, sites=fuse_epilogues(state.sites, _plans(state)))


def splice(state: State) -> State:
    """Lower what was decided, and put the fragments where the sites stood."""
    replace_all(state.model, state.sites, _plans(state), state.request.target, state.progress)
    return state


def check(state: State) -> State:
    """Hold the result against the original, if anything changed, and note if it must not be used."""
    if not state.options.validate or not state.is_changed:
        return state
    with materialized(state.model, movable=is_own) as model:
        if problem := find_nonconformity(state.original, model):
            return replace(state, failure=problem)
        options = state.options
        validation = validate(
            state.original, model, inputs=options.inputs, custom_ops=options.custom_ops, progress=state.progress
        )
    return replace(state, validation=validation, failure="" if validation.ok else validation.verdict)


def leave_suspects(state: State) -> Mapping[str, Decision]:
    """The decisions for another try if validation refused what was not insisted on; empty if there is none to leave."""
    if state.validation is None or state.validation.ok or state.plan is not None or state.request.is_forced:
        return {}
    suspects = find_suspects(state.model.model, state.validation, {site.name: site.output for site in state.replaced})
    refusal = Refusal("differs", f"with it replaced, the model is {state.failure}")
    decided = {site.name: decision for site, decision in zip(state.sites, state.decisions, strict=True)}
    left = {name: leave(refusal, decided[name].conv_seconds) for name in suspects}
    return {**decided, **left} if left else {}


DECIDING: tuple[Step, ...] = (fix_shapes, freeze, inline, find, convert, decide, measure, settle, restore_order, fuse)
WRITING: tuple[Step, ...] = (splice, check)


def _plans(state: State) -> dict[str, Plan | None]:
    """What replaces each site, None for nothing."""
    return {site.name: decision.plan for site, decision in zip(state.sites, state.decisions, strict=True)}


def _restore_functions(state: State, before: LoadedModel, written: set[FunctionKey], needed: set[FunctionKey]) -> State:
    """The state in which only the functions that are `needed` are written out, not all that were `written` out."""
    inlined = inline_functions(before, needed) if needed else None
    model = before if inlined is None else inlined.model
    sites = find_sites(model, evaluate_constants)
    known = {site.name: decision for site, decision in zip(state.sites, state.decisions, strict=True)}
    if any(site.name not in {other.name for other in sites} for site in state.replaced):
        return _tell_inlined(state, written)  # names depend on what else is written out
    untouched = Refusal("function-weight", "its weight is given by callers, and replacing it in none of them gains")
    decisions = [known.get(site.name) or leave(untouched) for site in sites]
    return _tell_inlined(replace(state, model=model, sites=sites, decisions=tuple(decisions)), needed)


def _tell_inlined(state: State, functions: set[FunctionKey]) -> State:
    """The state, with a sentence on the functions that are written out, if there are any."""
    if not functions:
        return state
    names = ", ".join(sorted(repr(":".join(filter(None, key))) for key in functions))
    return replace(state, changes=(*state.changes, f"written out wherever it was called: function {names}"))


def _needed_opset(state: State) -> int | None:
    """The opset that all of what the plan or the caller insists on needs; None if the model's does."""
    selected = select_names([site.name for site in state.sites], state.options)
    needed = []
    for site in state.sites:
        if site.spec is None or site.name not in selected:
            continue
        plan = None if state.planned is None else state.planned[site.name].plan
        request = state.request
        known = request.find_lowerings(site.spec)
        lowerings: list[Lowering] = [each for each in known if request.is_forced and not each.find_obstacle(site.spec)]
        if state.planned is not None:
            lowerings = [] if plan is None else [find_lowering(plan.lowering, type(site.spec))]
        lowest = min((lowering.min_opset(site.spec) for lowering in lowerings), default=0)
        needed += [lowest] if lowest > site.opset else []
    return max(needed, default=None)


def _convert(state: State, target: int) -> ModelProto:
    """The model at opset `target`, or, if only some sites need that, as it is if it cannot be converted."""
    model, options = state.model.model, state.options
    if target < state.opset:
        raise OpsetError(
            f"got opset {target} for a model of opset {state.opset}",
            f"{state.opset} or newer: models are not converted to older ones",
            ("leave out ", Option("opset")),
        )
    try:
        return convert_opset(model, target, state.model.base_dir)
    except OpsetError as error:
        if options.lowering == "dft":
            hint = ("export the model again, or use ", Option("lowering", "matmul"), ", which takes any opset")
            raise OpsetError(error.problem, error.expected, hint) from error
        if options.opset is not None or options.plan is not None:
            raise
        return model


def _decide_site(site: Site, is_selected: bool, state: State) -> Decision:
    if site.spec is None:
        assert site.refusal is not None
        return leave(site.refusal)
    if not is_selected:
        return leave(Refusal("not-selected", "left out by name"))
    if site.name in state.given:
        return state.given[site.name]
    is_forced = state.planned is not None or state.request.is_forced
    if state.planned is not None:
        decision = replay(site.name, site.spec, site.opset, state.planned[site.name], state.request, site.storage)
    else:
        decision = choose(site.spec, site.opset, state.request, site.storage)
    may_be_replaced = decision.plan is not None or (decision.options and state.options.select == "measure")
    refusal = refuse_values(site) if may_be_replaced else None
    if refusal is not None:
        return leave(refusal, decision.conv_seconds)
    reader = "" if keeps_zeros(site.spec, decision) else site.zero_reader
    return heed_zeros(decision, reader, site.spec.dtype, is_forced=is_forced)
