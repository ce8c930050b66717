"""The activation behind a convolution, for a lowering that computes it along with the sum.

A node is fused if it alone reads the convolution's result, which then is not a graph output, and if its parameters are
constants that float32 holds exactly (they become float attributes). Tanh and Sigmoid are left to ONNX Runtime, whose
vectorized functions take less time than a pass over the output saves.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
from onnx import NodeProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import DEFAULT_DOMAINS, Refused, Scope, read_attributes
from onnx_fft.model.weights import resolve_constant
from onnx_fft.sites.conv import ConvSite
from onnx_fft.sites.spec import Activation

DEFAULTS: dict[str, dict[str, float]] = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.01},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
}
"""Operators with their attributes in the order of `Activation.params`, and what these are if absent."""

FIRST_OPSET = 6
"""Before it, activations had other attributes."""

CLIP_INPUTS_OPSET = 11
"""From it on, the bounds of Clip are inputs; before, attributes within float32."""

FLOAT32_MAX = float(np.finfo(np.float32).max)


def fuse_activation(site: ConvSite) -> ConvSite:
    """`site` with the activation behind it in its spec and among its followers, or as it is."""
    spec, scope = site.spec, site.scope
    if spec is None or spec.activation is not None or scope.reads[site.output] != 1:
        return site
    node = next((node for node in scope.body.node if node.input and node.input[0] == site.output), None)
    activation = None if node is None else _read_activation(node, scope)
    if node is None or activation is None:
        return site
    return replace(
        site,
        spec=replace(spec, activation=activation),
        followers=(*site.followers, node),
        constants=(*site.constants, *filter(None, node.input[1:])),
    )


def _read_activation(node: NodeProto, scope: Scope) -> Activation | None:
    """The activation that `node` computes, None if it does not compute one, or one that is not fused."""
    is_plain = node.domain in DEFAULT_DOMAINS and len(node.output) == 1 and scope.opset >= FIRST_OPSET
    if not is_plain or not node.output[0]:
        return None
    try:
        attributes = read_attributes(node)
    except Refused:
        return None
    if node.op_type == "Clip":
        bounds = _read_bounds(node, scope, attributes)
        return None if bounds is None else Activation("Clip", bounds)
    if node.op_type not in DEFAULTS:
        return None
    defaults = DEFAULTS[node.op_type]
    return Activation(node.op_type, tuple(float(attributes.get(name, value)) for name, value in defaults.items()))


def _read_bounds(node: NodeProto, scope: Scope, attributes: dict[str, float]) -> tuple[float, float] | None:
    """Least and greatest value of a Clip, infinite if absent; None if not constant or contradictory."""
    if scope.opset < CLIP_INPUTS_OPSET:
        low, high = float(attributes.get("min", -FLOAT32_MAX)), float(attributes.get("max", FLOAT32_MAX))
        return (low, high) if low <= high else None
    bounds = [-inf, inf]
    for place, name in enumerate(node.input[1:3]):
        if name:
            value = resolve_constant(name, scope)
            if isinstance(value, Refusal) or value.size != 1:
                return None
            bounds[place] = float(value.reshape(()))
    low, high = bounds
    exact = all(float(np.float32(bound)) == bound for bound in bounds)
    return (low, high) if exact and low <= high else None
