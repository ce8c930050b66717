"""Putting what the lowerings build where the sites stood.

A target other than ONNX Runtime's CPU provider is noted in the nodes, so that they are run where they are meant to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from onnx import FunctionProto, ModelProto
from onnx.helper import make_node
from onnx.numpy_helper import from_array

from onnx_fft.errors import UsageError, one_line
from onnx_fft.hints import Option
from onnx_fft.lowering import CUDA, find_lowering
from onnx_fft.lowering.base import FourierPorts, FourierWeights, Fragment, Plan, Ports
from onnx_fft.lowering.fftconv import name_operator
from onnx_fft.model.functions import add_functions, import_domains
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import Scope
from onnx_fft.model.shapes import drop_unproven_lengths
from onnx_fft.model.splice import splice, unused_prefix
from onnx_fft.progress import Progress, no_progress
from onnx_fft.provenance import make_marks
from onnx_fft.sites.bins import take_bins
from onnx_fft.sites.conv import ConvSite
from onnx_fft.sites.conv_transpose import ConvTransposeSite
from onnx_fft.sites.dft import FourierSite
from onnx_fft.sites.epilogue import grow_epilogue
from onnx_fft.sites.find import relocate_sites
from onnx_fft.sites.lengths import Lengths, trace_lengths
from onnx_fft.sites.matmul import MatMulSite
from onnx_fft.sites.site import Site
from onnx_fft.sites.spec import ConvSpec

MARKED_TARGETS = (CUDA,)
"""Those noted in the nodes; the others' nodes tell by their operators."""


def keep_names(sites: Sequence[Site], before: Sequence[Site]) -> tuple[Site, ...]:
    """The sites of a converted model under the names they had: nodes put in move the position of nameless ones."""
    return tuple(replace(site, name=old.name) for site, old in zip(sites, before, strict=True))


def fuse_epilogues(sites: Sequence[Site], plans: Mapping[str, Plan | None]) -> tuple[Site, ...]:
    """The sites of one model, each with what its lowering computes along; before any of them is replaced.

    No two take the same node, and operators of one name have the same numbers, those of the first.
    """
    lengths: dict[Scope, Lengths] = {}

    def find_lengths(site: ConvSite) -> Lengths:
        if site.scope not in lengths:
            lengths[site.scope] = trace_lengths(site.scope)
        return lengths[site.scope]

    taken: set[int] = set()
    numbers: dict[str, tuple[object, ...]] = {}
    fused: list[Site] = []
    for site in sites:
        plan = plans.get(site.name)
        if plan is None or not isinstance(site, (ConvSite, FourierSite)) or not _can_fuse(site, plan):
            fused.append(site)
            continue
        joined = take_bins(site)
        if isinstance(joined, FourierSite) or joined is not site:
            fused.append(joined)
            taken |= {id(node) for node in joined.followers}
            continue
        chosen = joined
        for grown in grow_epilogue(site, taken, find_lengths):
            assert grown.spec is not None
            own = grown.spec.activation, grown.spec.norm_epsilon
            chosen = grown if numbers.get(name_operator(grown.spec), own) == own else chosen
        assert chosen.spec is not None
        numbers.setdefault(name_operator(chosen.spec), (chosen.spec.activation, chosen.spec.norm_epsilon))
        taken |= {id(node) for node in chosen.followers}
        fused.append(chosen)
    return tuple(fused)


def build_variant(loaded: LoadedModel, sites: Sequence[Site], target: str, plans: Mapping[str, Plan]) -> ModelProto:
    """A copy of the model with the sites of these names replaced."""
    copy = loaded.copy()
    replace_all(copy, relocate_sites(sites, loaded.model, copy), plans, target)
    return copy.model


def replace_all(
    loaded: LoadedModel,
    sites: Sequence[Site],
    plans: Mapping[str, Plan | None],
    target: str,
    progress: Progress = no_progress,
) -> None:
    """Replace the `sites` of a model that have a plan, by name, in place, with what follows them."""
    prefix = unused_prefix(loaded.model)
    sites = fuse_epilogues(sites, plans)
    replaced = [(site, plan) for site in sites if (plan := plans.get(site.name)) is not None]
    reads_lengths = False
    for number, (site, plan) in enumerate(replaced):
        progress(f"rewriting {site.name}", number / len(replaced))
        fragment = _build(loaded.model, site, plan, prefix)
        if not reads_lengths and any(node.op_type == "Shape" for node in fragment.nodes):
            reads_lengths = True
            drop_unproven_lengths(loaded.model, loaded.base_dir)
        add_functions(loaded.model, site.scope, fragment.functions)
        import_domains(loaded.model, site.scope, sorted({node.domain for node in fragment.nodes} - {""}))
        marks = make_marks(site.name, plan.lowering, target if target in MARKED_TARGETS else "")
        splice(site.scope, site.nodes, site.constants, fragment.nodes, fragment.initializers, marks)


def _can_fuse(site: ConvSite | FourierSite, plan: Plan) -> bool:
    """Whether the lowering computes along what follows; pads that depend on lengths have an operator of their own."""
    if site.spec is None or (isinstance(site.spec, ConvSpec) and site.spec.auto_pad):
        return False
    return find_lowering(plan.lowering, type(site.spec)).fuses_epilogues


def _build_fourier(site: FourierSite, plan: Plan, prefix: str, functions: tuple[FunctionProto, ...]) -> Fragment:
    assert site.spec is not None
    signal = f"{prefix}signal" if site.lacks_parts else site.input
    cut = tuple(site.cut.input[1:]) if site.cut is not None else ()
    ports = FourierPorts(signal, site.output, prefix, site.opset, site.window, functions, cut, site.length_input)
    lowering = find_lowering(plan.lowering, type(site.spec))
    fragment = lowering.build(site.spec, plan, FourierWeights(site.read_window()), ports)
    if not site.lacks_parts:
        return fragment
    axes = f"{prefix}parts"
    unsqueeze = make_node("Unsqueeze", [site.input, axes], [signal], signal)
    constants = (*fragment.initializers, from_array(np.array([2]), axes))
    return replace(fragment, nodes=(unsqueeze, *fragment.nodes), initializers=constants)


def _build(model: ModelProto, site: Site, plan: Plan, prefix: str) -> Fragment:
    """The fragment for one site."""
    assert site.spec is not None
    lowering = find_lowering(plan.lowering, type(site.spec))
    prefix, functions = f"{prefix}{site.name}/", tuple(model.functions)
    try:
        if isinstance(site, FourierSite):
            return _build_fourier(site, plan, prefix, functions)
        if isinstance(site, MatMulSite):
            own = Ports(site.input, site.output, prefix, site.opset, weight=site.raw_weight, functions=functions)
            return lowering.build(site.spec, plan, site.read_weight(), own)
        assert isinstance(site, ConvSite | ConvTransposeSite)
        weight, bias = site.raw_operands
        if isinstance(site.spec, ConvSpec) and site.spec.bins_form and site.scope.find_owner(weight) is not site.scope:
            weight = ""  # the node must know it when it is made, and ONNX Runtime 1.17 shows it its own graph alone
        ports = Ports(site.input, site.output, prefix, site.opset, weight=weight, bias=bias, functions=functions)
        if isinstance(site, ConvSite):
            ports = replace(ports, sum_input=site.sum_input, operands=site.operands)
        return lowering.build(site.spec, plan, site.read_weights(), ports)
    except MemoryError as error:  # as many constants as the caller allows need not fit in memory
        problem = f"got {site.name!r}, whose replacement takes more memory than there is ({one_line(error)})"
        raise UsageError(problem, "a smaller one", ("exclude it, or lower ", Option("max_growth_bytes"))) from error
