"""The activation behind a convolution, for a lowering that computes it along with the sum.

It is one node, or several that all stand on the convolution's result alone: `x * Sigmoid(x)`, and HardSwish as it was
written before it was an operator, `x * HardSigmoid(x)` or `x * Clip(x + 3, 0, 6) / 6`. Its parameters are constants;
those that become float attributes are such as float32 holds exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod
from typing import Any

import numpy as np
from onnx import NodeProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import DEFAULT_DOMAINS, Refused, Scope, read_attributes
from onnx_fft.model.weights import resolve_constant, resolve_type
from onnx_fft.sites.conv import ConvSite
from onnx_fft.sites.spec import Activation

DEFAULTS: dict[str, dict[str, float]] = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.01},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "HardSwish": {},
    "Sigmoid": {},
    "Tanh": {},
}
"""Operators with their attributes in the order of `Activation.params`, and what these are if absent."""

FIRST_OPSET = 6
"""Before it, activations had other attributes."""

BROADCAST_OPSET = 7
"""Before it, PRelu's slopes were of channels, and Mul broadcast by an attribute."""

CLIP_INPUTS_OPSET = 11
"""From it on, the bounds of Clip are inputs; before, attributes within float32."""

FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class FoundActivation:
    """An activation, its nodes from first to last, and its operands: constants that go with it, and PRelu's slope."""

    activation: Activation
    nodes: tuple[NodeProto, ...]
    constants: tuple[str, ...] = ()
    slope: str = ""


def read_activation(site: ConvSite) -> FoundActivation | None:
    """The activation that alone reads the result of `site`; None if there is none that is known."""
    scope, x = site.scope, site.output
    nodes = [node for node in scope.body.node if x in node.input]
    if scope.opset < FIRST_OPSET or scope.reads[x] != len(nodes) or not all(map(_is_plain, nodes)):
        return None
    try:
        if len(nodes) == 1:
            return _read_node(nodes[0], site)
        return _read_gated(nodes, site) if len(nodes) == 2 and scope.opset >= BROADCAST_OPSET else None
    except Refused:  # an attribute that callers of a function set
        return None


def _is_plain(node: NodeProto) -> bool:
    return node.domain in DEFAULT_DOMAINS and len(node.output) == 1 and bool(node.output[0])


def _read_node(node: NodeProto, site: ConvSite) -> FoundActivation | None:
    """An activation of one node."""
    if node.input[0] != site.output:
        return None
    if node.op_type == "PRelu":
        return FoundActivation(Activation("PRelu"), (node,), slope=node.input[1]) if _has_slope(node, site) else None
    attributes = read_attributes(node)
    if node.op_type == "Clip":
        bounds = _read_bounds(node, site.scope, attributes)
        constants = tuple(filter(None, node.input[1:]))
        return None if bounds is None else FoundActivation(Activation("Clip", bounds), (node,), constants)
    if node.op_type == "Swish" and attributes.get("alpha", 1.0) == 1:
        return FoundActivation(Activation("Swish"), (node,))
    if node.op_type not in DEFAULTS:
        return None
    defaults = DEFAULTS[node.op_type]
    params = tuple(float(attributes.get(name, value)) for name, value in defaults.items())
    return FoundActivation(Activation(node.op_type, params), (node,))


def _has_slope(node: NodeProto, site: ConvSite) -> bool:
    """Whether PRelu has a constant slope: one for all, or one for each channel."""
    assert site.spec is not None
    if site.opset < BROADCAST_OPSET or len(node.input) != 2:
        return False
    slope, rank = resolve_type(node.input[1], site.scope), site.spec.rank
    if isinstance(slope, Refusal) or len(slope.shape) > rank + 2:
        return False
    is_each = len(slope.shape) > rank and slope.shape[-rank - 1 :] == (site.spec.out_channels, *[1] * rank)
    return prod(slope.shape) == 1 or (is_each and prod(slope.shape) == site.spec.out_channels)


def _read_gated(nodes: Sequence[NodeProto], site: ConvSite) -> FoundActivation | None:
    """The result times a function of it: Swish, or HardSwish in parts."""
    assert site.spec is not None
    scope, x = site.scope, site.output
    product = next((node for node in nodes if node.op_type == "Mul" and len(node.input) == 2), None)
    gate = next((node for node in nodes if node is not product), None)
    if product is None or gate is None:
        return None
    if gate.op_type == "Add":
        return _read_hard_swish(gate, product, x, scope)
    if sorted(product.input) != sorted((x, gate.output[0])) or scope.reads[gate.output[0]] != 1:
        return None
    given = read_attributes(gate)
    slope, offset = given.get("alpha", 0.2), given.get("beta", 0.5)
    is_sixth = (slope, offset) == (float(np.float32(1 / 6)), 0.5) and site.spec.dtype != "float64"
    is_hard = gate.op_type == "HardSigmoid" and is_sixth
    name = "Swish" if gate.op_type == "Sigmoid" else "HardSwish" if is_hard else ""
    return FoundActivation(Activation(name), (gate, product)) if name else None


def _read_hard_swish(shift: NodeProto, product: NodeProto, x: str, scope: Scope) -> FoundActivation | None:
    """`x * Clip(x + 3, 0, 6)`, divided by 6 or times a sixth."""
    clip, scale = _follow(shift, scope), _follow(product, scope)
    if clip is None or scale is None or clip.op_type != "Clip" or _follow(clip, scope) is not product:
        return None
    is_clipped = clip.input[0] == shift.output[0] and _read_bounds(clip, scope, read_attributes(clip)) == (0.0, 6.0)
    divides = scale.op_type == "Div" and scale.input[0] == product.output[0] and _reads_number(scale, "", 6.0, scope)
    is_sixth = divides or (scale.op_type == "Mul" and _reads_number(scale, product.output[0], 1 / 6, scope))
    if not (is_clipped and is_sixth and _reads_number(shift, x, 3.0, scope) and x in product.input):
        return None
    made = {x, *(name for node in (shift, clip, product) for name in node.output)}
    constants = [name for node in (shift, clip, scale) for name in node.input if name and name not in made]
    return FoundActivation(Activation("HardSwish"), (shift, clip, product, scale), tuple(constants))


def _follow(node: NodeProto, scope: Scope) -> NodeProto | None:
    """The plain node that alone reads the result of `node`."""
    if scope.reads[node.output[0]] != 1:
        return None
    reader = next((other for other in scope.body.node if node.output[0] in other.input), None)
    return reader if reader is not None and _is_plain(reader) else None


def _reads_number(node: NodeProto, x: str, number: float, scope: Scope) -> bool:
    """Whether the node's other operand than `x`, or its second one, is this number, rounded, and no larger tensor."""
    if len(node.input) != 2:
        return False
    value = resolve_constant(node.input[0] if node.input[1] == x else node.input[1], scope)
    return not isinstance(value, Refusal) and value.shape in ((), (1,)) and value.item() == value.dtype.type(number)


def _read_bounds(node: NodeProto, scope: Scope, attributes: dict[str, Any]) -> tuple[float, float] | None:
    """Least and greatest value of a Clip, infinite if absent; None if not constant. They may contradict each other."""
    if scope.opset < CLIP_INPUTS_OPSET:
        low, high = float(attributes.get("min", -FLOAT32_MAX)), float(attributes.get("max", FLOAT32_MAX))
        return (low, high) if low <= high else None  # ONNX Runtime does not load what contradicts itself there
    bounds = [-inf, inf]
    for place, name in enumerate(node.input[1:3]):
        if name:
            value = resolve_constant(name, scope)
            if isinstance(value, Refusal) or value.size != 1:
                return None
            bounds[place] = float(value.reshape(()))
    low, high = bounds
    return (low, high) if all(float(np.float32(bound)) == bound for bound in bounds) else None
