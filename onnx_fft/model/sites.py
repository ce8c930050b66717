"""Every convolution of a model: where it stands, what it computes, and whether it can be replaced.

A BatchNormalization behind a Conv is folded into the weights where nothing else sees the Conv's output:

    scale * (conv(x, w) + b - mean) / sqrt(var + epsilon) + shift = conv(x, g * w) + g * (b - mean) + shift,

with `g = scale / sqrt(var + epsilon)` per output channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import NodeProto, TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from onnx_fft.errors import InvalidModelError, Refusal
from onnx_fft.model.geometry import Dims, resolve_spec
from onnx_fft.model.io import LoadedModel, infer_shapes
from onnx_fft.model.scopes import (
    DEFAULT_DOMAINS,
    Body,
    Refused,
    Scope,
    find_scopes,
    label_node,
    read_attributes,
    walk_bodies,
)
from onnx_fft.model.spec import ConvSpec
from onnx_fft.model.weights import Array, ConvWeights, resolve_constant, resolve_type

CONVOLUTIONS = frozenset(
    ["Conv", "FusedConv", "NhwcConv", "NhwcFusedConv", "ConvTranspose", "ConvTransposeWithDynamicPads", "QLinearConv", "ConvInteger", "DeformConv"]
)
"""Operators that are listed, in ONNX's default domain and in ONNX Runtime's own."""

RUNTIME_DOMAINS = ("com.microsoft", "com.ms.")
"""Beginnings of the domains ONNX Runtime keeps for itself."""


@dataclass(frozen=True, slots=True, eq=False)
class ConvSite:
    """One convolution node. Exactly one of `spec` and `refusal` is set.

    `name` is unique in the model: the node's own, or its type and position (`Conv#3`), with the path of its scope before it.
    `absorbed` holds the BatchNormalization folded into the weights; `output` is the last value of the two. `constants` are
    the operands that nobody needs any more once the node is replaced. `opset` is that of the default domain.
    """

    name: str
    op_type: str
    scope: Scope
    node: NodeProto
    spec: ConvSpec | None = None
    refusal: Refusal | None = None
    absorbed: tuple[NodeProto, ...] = ()
    constants: tuple[str, ...] = ()
    bias_input: str = ""
    weight_bytes: int = 0

    @property
    def input(self) -> str:
        """Name of the tensor that is convolved, "" where the node has none."""
        return self.node.input[0] if self.node.input else ""

    @property
    def sum_input(self) -> str:
        """Name of FusedConv's fourth input, "" where there is none."""
        return self.node.input[3] if len(self.node.input) > 3 else ""

    @property
    def output(self) -> str:
        """Name of the result, behind the absorbed BatchNormalization."""
        return (*self.absorbed, self.node)[0].output[0]

    @property
    def opset(self) -> int:
        """Opset of the default domain that holds here."""
        return self.scope.opset

    def read_weights(self) -> ConvWeights:
        """Weight and bias in float64, the absorbed BatchNormalization folded in; InvalidModelError if they are gone."""
        weight = self._read(self.node.input[1])
        bias = None
        if len(self.node.input) > 2 and self.node.input[2] and not self.bias_input:
            bias = self._read(self.node.input[2])
        for node in self.absorbed:
            scale, shift, mean, variance = (self._read(name) for name in node.input[1:])
            gain = scale / np.sqrt(variance + read_attributes(node).get("epsilon", 1e-5))
            weight = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
            bias = gain * ((0.0 if bias is None else bias) - mean) + shift
        return ConvWeights(weight, bias, self.bias_input)

    def _read(self, name: str) -> Array:
        value = resolve_constant(name, self.scope)
        if isinstance(value, Refusal):
            raise InvalidModelError(f"got no value for {name!r}, which {self.name!r} reads: {value.reason}")
        return value.astype(np.float64)


def find_sites(loaded: LoadedModel) -> tuple[ConvSite, ...]:
    """Every convolution in the graph, in bodies of If, Loop and Scan, and in model-local functions."""
    inferred = infer_shapes(loaded.model, loaded.base_dir)
    scopes = find_scopes(loaded.model, loaded.base_dir)
    shapes: dict[Scope | None, dict[str, Dims]] = {None: {}}
    sites: list[ConvSite] = []
    names: set[str] = set()
    for scope, body in zip(scopes, walk_bodies(inferred), strict=True):
        shapes[scope] = shapes[scope.parent] | _known_shapes(body)
        for position, node in enumerate(scope.body.node):
            if is_convolution(node):
                name = scope.path + label_node(node, position)
                while name in names:
                    name += f"#{position}"
                names.add(name)
                sites.append(_read_site(name, scope, node, shapes[scope]))
    return tuple(sites)


def is_convolution(node: NodeProto) -> bool:
    """Whether the node is listed as a convolution, supported or not."""
    known_domain = node.domain in DEFAULT_DOMAINS or node.domain.startswith(RUNTIME_DOMAINS)
    return known_domain and node.op_type in CONVOLUTIONS


def _read_site(name: str, scope: Scope, node: NodeProto, shapes: dict[str, Dims]) -> ConvSite:
    try:
        return _resolve_site(name, scope, node, shapes)
    except Refused as refused:
        return ConvSite(name, node.op_type, scope, node, refusal=refused.refusal)


def _resolve_site(name: str, scope: Scope, node: NodeProto, shapes: dict[str, Dims]) -> ConvSite:
    """The site of a convolution that can be replaced; raises `Refused` for another."""
    is_plain = node.op_type == "Conv" and node.domain in DEFAULT_DOMAINS
    if not is_plain and (node.domain, node.op_type) != ("com.microsoft", "FusedConv"):
        raise Refused("operator", f"{':'.join(filter(None, (node.domain, node.op_type)))} is not rewritten")
    if len(node.input) < 2 or not all(node.input[:2]) or not any(node.output):
        raise Refused("bad-node", f"node has inputs {list(node.input)} and outputs {list(node.output)}")
    weight = resolve_type(node.input[1], scope)
    if isinstance(weight, Refusal):
        raise Refused(weight.code, weight.reason)
    bias_name = node.input[2] if len(node.input) > 2 else ""
    spec = resolve_spec(node, weight.shape, weight.elem_type, shapes.get(node.input[0]), has_bias=bool(bias_name))
    bias = resolve_type(bias_name, scope) if bias_name else None
    if not isinstance(bias, Refusal | None) and bias.shape != (spec.out_channels,):
        raise Refused("bad-bias", f"bias has shape {list(bias.shape)}, expected [{spec.out_channels}]")
    constants = [node.input[1]]
    if bias_name and not isinstance(bias, Refusal):
        constants.append(bias_name)
    itemsize = tensor_dtype_to_np_dtype(weight.elem_type).itemsize
    return ConvSite(
        name,
        node.op_type,
        scope,
        node,
        spec=spec,
        constants=tuple(constants),
        bias_input=bias_name if isinstance(bias, Refusal) else "",
        weight_bytes=prod(weight.shape) * itemsize,
    )


def _known_shapes(body: Body) -> dict[str, Dims]:
    """Shapes stated or inferred in a body; None for a dimension that is symbolic, absent or not positive."""
    values = [*body.value_info, *getattr(body, "initializer", ()), *(() if not hasattr(body, "initializer") else body.input)]
    shapes: dict[str, Dims] = {}
    for value in values:
        if isinstance(value, TensorProto):
            shapes[value.name] = list(value.dims)
        elif value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = [d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in dims]
    return shapes
