"""A convolution as a site: what it computes, what is folded into it, and whether it can be replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnx_fft.errors import InvalidModelError, Refusal
from onnx_fft.model.scopes import DEFAULT_DOMAINS, MICROSOFT_DOMAIN, Refused, Scope, read_attributes
from onnx_fft.model.storage import Storage, count_freed_bytes, is_folded_at_load
from onnx_fft.model.weights import ConvWeights, resolve_constant, resolve_type
from onnx_fft.sites.basis import find_basis, is_no_basis, is_pointwise, may_be_basis
from onnx_fft.sites.batchnorm import fold_batch_norm, is_foldable
from onnx_fft.sites.geometry import resolve_spec
from onnx_fft.sites.site import Site
from onnx_fft.sites.spec import ConvSpec

CONVOLUTIONS = (
    "Conv",
    "FusedConv",
    "NhwcConv",
    "NhwcFusedConv",
    "ConvTranspose",
    "ConvTransposeWithDynamicPads",
    "QLinearConv",
    "ConvInteger",
    "DeformConv",
)
"""Operators that are listed, in ONNX's default domain and in ONNX Runtime's own."""

RUNTIME_DOMAINS = (MICROSOFT_DOMAIN, "com.ms.")
"""Beginnings of the domains ONNX Runtime keeps for itself."""


@dataclass(frozen=True, slots=True, eq=False)
class ConvSite(Site):
    """One convolution.

    `followers` holds the BatchNormalization that is folded into the weights, then the nodes of an epilogue that is
    fused (see `epilogue`), `bias_input` the name of a bias computed at run time ("" without one).
    """

    spec: ConvSpec | None = None
    bias_input: str = ""
    residual: str = ""
    """The tensor that a follower adds, "" if none does."""
    operands: tuple[str, ...] = ()
    """What else the epilogue reads: PRelu's slope, then scale, shift, mean and variance of its BatchNormalization."""

    @property
    def sum_input(self) -> str:
        """Name of what is added to the sum: a residual, or FusedConv's fourth input; "" if nothing is."""
        return self.residual or (self.node.input[3] if len(self.node.input) > 3 else "")

    @property
    def raw_operands(self) -> tuple[str, str]:
        """Names of the weight and of the constant bias, if another node can read them in place of the convolution.

        "" for one that is not there, that is computed in each run, or that a BatchNormalization is yet to be folded
        into.
        """
        names = ["" if self._batch_norms or name == self.bias_input else name for name in self.node.input[1:3]]
        weight, bias = (name if name and is_folded_at_load(name, self.scope) else "" for name in [*names, ""][:2])
        return weight, bias

    @property
    def storage(self) -> Storage:
        """How the file holds the constants."""
        return Storage(count_freed_bytes(self.scope, self.nodes, self.constants), bool(self.raw_operands[0]))

    @property
    def _batch_norms(self) -> tuple[NodeProto, ...]:
        """Those folded into the weights, without the one at the end of an epilogue."""
        fused = self.spec is not None and self.spec.norm_epsilon is not None
        folded = self.followers[:-1] if fused else self.followers
        return tuple(node for node in folded if node.op_type == "BatchNormalization")

    def read_weights(self) -> ConvWeights:
        """Weight and bias in float64, the BatchNormalization folded in; InvalidModelError if they are gone."""
        weight, bias = self._fold(read_operand(self, self.node.input[1]))
        return ConvWeights(weight, bias, self.bias_input)

    def read_bias(self) -> NDArray[np.float64] | None:
        """The bias alone, as `read_weights` has it; None if there is none, or none before run time."""
        return self._fold(np.zeros((1, 1)))[1]

    def _fold(self, weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        bias = read_operand(self, self.node.input[2]) if has_bias(self.node) and not self.bias_input else None
        for node in self._batch_norms:
            epsilon = read_attributes(node).get("epsilon", 1e-5)
            weight, bias = fold_batch_norm(weight, bias, [read_operand(self, name) for name in node.input[1:]], epsilon)
        return weight, bias


def is_convolution(node: NodeProto) -> bool:
    """Whether the node is listed as a convolution, supported or not."""
    known_domain = node.domain in DEFAULT_DOMAINS or node.domain.startswith(RUNTIME_DOMAINS)
    return known_domain and node.op_type in CONVOLUTIONS


def resolve_conv(name: str, scope: Scope, node: NodeProto, readers: Mapping[str, NodeProto]) -> ConvSite:
    """The site of a convolution that can be replaced; raises `Refused` for another.

    `readers` has a node of the scope that reads each tensor.
    """
    _check_operator(node, scope)
    weight = resolve_type(node.input[1], scope)
    if isinstance(weight, Refusal):
        raise Refused(weight.code, weight.reason, weight.hint)
    input_shape = scope.shapes.get(node.input[0])
    spec = resolve_spec(node, weight.shape, weight.elem_type, input_shape, has_bias=has_bias(node))
    bias_input = find_bias_input(node, scope, spec.out_channels)
    operands = [operand for operand in node.input[1:3] if operand and operand != bias_input]
    followers: tuple[NodeProto, ...] = ()
    follower = readers.get(node.output[0])
    is_alone = follower is not None and scope.reads[node.output[0]] == 1
    is_bare = spec.activation is None and not spec.has_sum and not bias_input
    if follower and is_alone and is_bare and is_foldable(follower, scope, node.output[0], spec.out_channels):
        followers = (follower,)
        operands += follower.input[1:]
        spec = replace(spec, has_bias=True)
    site = ConvSite(
        name=name,
        op_type=node.op_type,
        scope=scope,
        node=node,
        spec=spec,
        followers=followers,
        constants=tuple(operands),
        bias_input=bias_input,
    )
    if not may_be_basis(spec) or (is_pointwise(spec) and _shows_no_basis(spec, node, scope)):
        return site
    return replace(site, spec=replace(spec, basis_length=find_basis(spec, site.read_weights())))


def _shows_no_basis(spec: ConvSpec, node: NodeProto, scope: Scope) -> bool:
    weight = resolve_constant(node.input[1], scope)
    return isinstance(weight, Refusal) or is_no_basis(spec, weight)


def _check_operator(node: NodeProto, scope: Scope) -> None:
    """Refuse what is not a floating-point Conv or FusedConv with its input, weight and output."""
    is_plain = node.op_type == "Conv" and node.domain in DEFAULT_DOMAINS
    if not is_plain and (node.domain, node.op_type) != (MICROSOFT_DOMAIN, "FusedConv"):
        raise Refused("operator", f"{':'.join(filter(None, (node.domain, node.op_type)))} is not rewritten")
    if len(node.input) < 2 or not all(node.input[:2]) or len(node.output) != 1 or not node.output[0]:
        raise Refused("bad-node", f"inputs are {list(node.input)}, outputs {list(node.output)}, expected x, w, and y")


def read_operand(site: Site, name: str) -> NDArray[np.float64]:
    """A constant that the site reads, in float64; InvalidModelError if it is gone."""
    value = resolve_constant(name, site.scope)
    if isinstance(value, Refusal):
        raise InvalidModelError(f"{name!r}, which {site.name!r} reads, has no value: {value.reason}", "a constant")
    return value.astype(np.float64)


def find_bias_input(node: NodeProto, scope: Scope, channels: int) -> str:
    """The name of a bias computed at run time, "" for a constant or absent one."""
    if not has_bias(node):
        return ""
    bias = resolve_type(node.input[2], scope)
    if isinstance(bias, Refusal):
        return str(node.input[2])
    if bias.shape != (channels,):
        raise Refused("bad-bias", f"bias has shape {list(bias.shape)}, expected [{channels}]")
    return ""


def has_bias(node: NodeProto) -> bool:
    """Whether a Conv or ConvTranspose has a third input."""
    return len(node.input) > 2 and bool(node.input[2])
