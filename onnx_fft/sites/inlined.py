"""Writing out the calls of functions whose sites get their constants from the caller, as some exporters have it.

Inside such a function the weight of a Conv or the length of a DFT is an input, or an attribute that the caller sets,
and so may be the pads: they may differ from call to call. Nor is it known there what a DFT reads. Written out in the
caller's graph, constants are constants and types are known. Only functions that contain such a site are written out,
and those that call them; of another opset, they are converted first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from onnx import ModelProto

from onnx_fft.model.inlining import find_endless, inline_calls
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.opset import adapt_functions, can_adapt
from onnx_fft.model.scopes import Evaluate, FunctionKey, Scope, function_key, is_graph
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.find import find_sites
from onnx_fft.sites.site import Site

GIVEN_BY_CALLERS = ("runtime-weight", "runtime-operand", "unknown-input", "referenced-attribute")
"""Codes of refusals in a function that may not hold where it is called."""


@dataclass(frozen=True, slots=True)
class Inlined:
    """A model in which calls are written out: `calls` has the prefix of the names of each, and its function."""

    model: LoadedModel
    calls: tuple[tuple[str, FunctionKey], ...]

    @property
    def functions(self) -> set[FunctionKey]:
        """The functions that were called."""
        return {key for _, key in self.calls}

    def find_sources(self, names: Iterable[str]) -> set[FunctionKey]:
        """The functions that the sites of these names come from."""
        names = tuple(names)
        return {key for prefix, key in self.calls if any(f"/{prefix}" in f"/{name}" for name in names)}


def inline_for_weights(
    loaded: LoadedModel, evaluate: Evaluate, is_wanted: Callable[[Site], bool] = lambda site: site.spec is not None
) -> Inlined | None:
    """The model with those calls written out that give a site what it lacks; None if there are none.

    `is_wanted` tells which sites of the new model are worth it.
    """
    tried: set[FunctionKey] = set()
    inlined: Inlined | None = None
    sites = find_sites(loaded, evaluate) if loaded.model.functions else ()
    while found := _find_functions(sites, loaded.model) - tried:
        tried |= found
        inlined = inline_functions(loaded, tried)
        if inlined is None:
            return None
        sites = find_sites(inlined.model, evaluate)
    if inlined is None:
        return None
    needed = inlined.find_sources(site.name for site in sites if is_wanted(site))
    return inlined if needed == tried else inline_functions(loaded, needed)


def inline_functions(loaded: LoadedModel, functions: set[FunctionKey]) -> Inlined | None:
    """A copy of the model with the calls of these functions written out; None if there are none, or far too many."""
    copy = replace(loaded.copy(), path=None)
    adapt_functions(copy.model, functions, copy.base_dir)
    try:
        calls = inline_calls(copy.model, functions)
    except ValueError:
        return None
    return Inlined(copy, tuple(calls)) if calls else None


def inline_missing(original: LoadedModel, rewritten: LoadedModel) -> LoadedModel:
    """The original with those calls written out whose functions are gone from the rewritten model, if any can be."""
    kept = {function_key(function) for function in rewritten.model.functions}
    functions = {function_key(function): function for function in original.model.functions}
    endless = find_endless(functions)
    gone = {key for key in functions.keys() - kept - endless if can_adapt(functions[key], original.model)}
    inlined = inline_functions(original, gone) if gone else None
    return original if inlined is None else inlined.model


def find_function(scope: Scope) -> FunctionKey | None:
    """The function that a scope lies in, None for the graph."""
    body = scope.root.body
    return None if is_graph(body) else function_key(body)


def _find_functions(sites: Iterable[Site], model: ModelProto) -> set[FunctionKey]:
    """The functions that hold a site of which something is not known there, and that can be written out."""
    found = set()
    functions = {function_key(function): function for function in model.functions}
    endless = find_endless(functions)
    for site in sites:
        key = find_function(site.scope)
        code = "" if site.refusal is None else site.refusal.code
        if key is None or key[0] == OPERATOR_DOMAIN or code not in GIVEN_BY_CALLERS:
            continue
        if key not in endless and can_adapt(functions[key], model):
            found.add(key)
    return found
