"""Every convolution of a model: where it stands, what it computes, and whether it can be replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from onnx_fft.errors import InvalidModelError, Refusal
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import (
    DEFAULT_DOMAINS,
    MICROSOFT_DOMAIN,
    Body,
    Evaluate,
    Refused,
    Scope,
    find_scopes,
    is_graph,
    label_node,
    read_attributes,
    walk_bodies,
)
from onnx_fft.model.shapes import infer_shapes
from onnx_fft.model.storage import Storage, count_freed_bytes, is_folded_at_load
from onnx_fft.model.weights import ConvWeights, find_constants, resolve_constant, resolve_type
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.basis import find_basis, may_be_basis
from onnx_fft.sites.batchnorm import fold_batch_norm, is_foldable
from onnx_fft.sites.geometry import resolve_spec
from onnx_fft.sites.quantized import QuantizationTracer
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.zeros import ZeroTracer

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

CONSTANT_INPUT = "its input is a constant: ONNX Runtime computes it once, when it loads the model"

RUNTIME_DOMAINS = (MICROSOFT_DOMAIN, "com.ms.")
"""Beginnings of the domains ONNX Runtime keeps for itself."""


@dataclass(frozen=True, slots=True, eq=False)
class ConvSite:
    """One convolution node. Exactly one of `spec` and `refusal` is set.

    `name` is unique in the model: the node's own, or its type and position (`Conv#3`), after the path of its scope.
    `followers` holds the BatchNormalization that is folded into the weights, then the nodes of an epilogue that is
    fused (see `epilogue`), `constants` the names of all constant operands that go with these, `bias_input` that of a
    bias computed at run time ("" without one).
    """

    name: str
    op_type: str
    scope: Scope
    node: NodeProto
    spec: ConvSpec | None = None
    refusal: Refusal | None = None
    followers: tuple[NodeProto, ...] = ()
    constants: tuple[str, ...] = ()
    bias_input: str = ""
    zero_reader: str = ""
    """The first operator behind it that turns on exact zeros, which a transform makes noise of; "" if there is none."""
    residual: str = ""
    """The tensor that a follower adds, "" if none does."""
    operands: tuple[str, ...] = ()
    """What else the epilogue reads: PRelu's slope, then scale, shift, mean and variance of its BatchNormalization."""

    @property
    def input(self) -> str:
        """Name of the tensor that is convolved, "" if the node has none."""
        return self.node.input[0] if self.node.input else ""

    @property
    def sum_input(self) -> str:
        """Name of what is added to the sum: a residual, or FusedConv's fourth input; "" if nothing is."""
        return self.residual or (self.node.input[3] if len(self.node.input) > 3 else "")

    @property
    def output(self) -> str:
        """Name of the result, behind the followers."""
        last = self.followers[-1] if self.followers else self.node
        return str(last.output[0])

    @property
    def nodes(self) -> tuple[NodeProto, ...]:
        """The nodes that a replacement stands for, first to last."""
        return (self.node, *self.followers)

    @property
    def opset(self) -> int:
        """Opset of the default domain that holds here."""
        return self.scope.opset

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
        weight, bias = self._fold(self._read(self.node.input[1]))
        return ConvWeights(weight, bias, self.bias_input)

    def read_bias(self) -> NDArray[np.float64] | None:
        """The bias alone, as `read_weights` has it; None if there is none, or none before run time."""
        return self._fold(np.zeros((1, 1)))[1]

    def _fold(self, weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        bias = self._read(self.node.input[2]) if _has_bias(self.node) and not self.bias_input else None
        for node in self._batch_norms:
            epsilon = read_attributes(node).get("epsilon", 1e-5)
            weight, bias = fold_batch_norm(weight, bias, [self._read(name) for name in node.input[1:]], epsilon)
        return weight, bias

    def _read(self, name: str) -> NDArray[np.float64]:
        value = resolve_constant(name, self.scope)
        if isinstance(value, Refusal):
            raise InvalidModelError(f"{name!r}, which {self.name!r} reads, has no value: {value.reason}", "a constant")
        return value.astype(np.float64)


def find_sites(loaded: LoadedModel, evaluate: Evaluate | None = None) -> tuple[ConvSite, ...]:
    """Every convolution in the graph, in bodies of If, Loop and Scan, and in model-local functions.

    `evaluate` computes constants, ONNX's own evaluator if it is None.
    """
    inferred = infer_shapes(loaded.model, loaded.base_dir)
    scopes = find_scopes(loaded.model, loaded.base_dir, evaluate)
    readers: dict[Scope, dict[str, NodeProto]] = {}
    for scope, body in zip(scopes, walk_bodies(inferred), strict=True):
        own = scope.inputs | scope.tensors.keys() | scope.producers.keys()
        around = {} if scope.parent is None else scope.parent.shapes
        scope.shapes = {name: dims for name, dims in around.items() if name not in own} | _known_shapes(body)
        readers[scope] = {name: node for node in scope.body.node for name in node.input}
    sites: list[ConvSite] = []
    quantization, zeros = QuantizationTracer(scopes), ZeroTracer(scopes)
    constants = find_constants(scopes)
    for name, scope, node in name_convolutions(scopes):
        try:
            if node.input and node.input[0] in constants[scope]:
                raise Refused("constant-input", CONSTANT_INPUT)
            site = _resolve_site(name, scope, node, readers[scope])
            assert site.spec is not None
            if quantization.is_quantized(scope, node, site.spec.out_channels, site.bias_input):
                reason = "between DequantizeLinear and QuantizeLinear, ONNX Runtime computes in integers"
                raise Refused("quantized", reason)
            sites.append(replace(site, zero_reader=zeros.find_reader(scope, site.output, site.read_bias())))
        except Refused as refused:
            sites.append(ConvSite(name, node.op_type, scope, node, refusal=refused.refusal))
    return tuple(sites)


def relocate_sites(sites: Iterable[ConvSite], model: ModelProto, copy: LoadedModel) -> tuple[ConvSite, ...]:
    """The sites of `model` in an equal `copy` of it, without asking again what they are."""
    bodies = list(walk_bodies(model))
    scopes = find_scopes(copy.model, copy.base_dir)
    counterparts = {id(body): scope for body, scope in zip(bodies, scopes, strict=True)}
    moved = []
    for site in sites:
        scope = counterparts[id(site.scope.body)]
        scope.shapes, scope.evaluate = site.scope.shapes, site.scope.evaluate
        places = {id(node): place for place, node in enumerate(site.scope.body.node)}
        node, *followers = (scope.body.node[places[id(node)]] for node in site.nodes)
        moved.append(replace(site, scope=scope, node=node, followers=tuple(followers)))
    return tuple(moved)


def name_convolutions(scopes: Iterable[Scope]) -> Iterator[tuple[str, Scope, NodeProto]]:
    """Every convolution of `scopes`, the scopes of one model in order, with the unique name it goes by everywhere.

    Those in functions of ours stand in for nodes that are replaced already.
    """
    names: set[str] = set()
    for scope in scopes:
        if not is_graph(scope.body) and scope.body.domain == OPERATOR_DOMAIN:
            continue
        for position, node in enumerate(scope.body.node):
            if not is_convolution(node):
                continue
            name = scope.path + label_node(node, position)
            while name in names:
                name += f"#{position}"
            names.add(name)
            yield name, scope, node


def is_convolution(node: NodeProto) -> bool:
    """Whether the node is listed as a convolution, supported or not."""
    known_domain = node.domain in DEFAULT_DOMAINS or node.domain.startswith(RUNTIME_DOMAINS)
    return known_domain and node.op_type in CONVOLUTIONS


def _resolve_site(name: str, scope: Scope, node: NodeProto, readers: dict[str, NodeProto]) -> ConvSite:
    """The site of a convolution that can be replaced; raises `Refused` for another."""
    _check_operator(node, scope)
    weight = resolve_type(node.input[1], scope)
    if isinstance(weight, Refusal):
        raise Refused(weight.code, weight.reason, weight.hint)
    input_shape = scope.shapes.get(node.input[0])
    spec = resolve_spec(node, weight.shape, weight.elem_type, input_shape, has_bias=_has_bias(node))
    bias_input = _find_bias_input(node, scope, spec.out_channels)
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
    if not may_be_basis(spec):
        return site
    return replace(site, spec=replace(spec, basis_length=find_basis(spec, site.read_weights())))


def _check_operator(node: NodeProto, scope: Scope) -> None:
    """Refuse what is not a floating-point Conv or FusedConv with its input, weight and output."""
    is_plain = node.op_type == "Conv" and node.domain in DEFAULT_DOMAINS
    if not is_plain and (node.domain, node.op_type) != (MICROSOFT_DOMAIN, "FusedConv"):
        raise Refused("operator", f"{':'.join(filter(None, (node.domain, node.op_type)))} is not rewritten")
    if len(node.input) < 2 or not all(node.input[:2]) or len(node.output) != 1 or not node.output[0]:
        raise Refused("bad-node", f"inputs are {list(node.input)}, outputs {list(node.output)}, expected x, w, and y")


def _find_bias_input(node: NodeProto, scope: Scope, channels: int) -> str:
    """The name of a bias computed at run time, "" for a constant or absent one."""
    if not _has_bias(node):
        return ""
    bias = resolve_type(node.input[2], scope)
    if isinstance(bias, Refusal):
        return str(node.input[2])
    if bias.shape != (channels,):
        raise Refused("bad-bias", f"bias has shape {list(bias.shape)}, expected [{channels}]")
    return ""


def _has_bias(node: NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _known_shapes(body: Body) -> dict[str, list[int | None]]:
    """Shapes stated or inferred in a body; None for a dimension that is symbolic or absent."""
    shapes: dict[str, list[int | None]] = {}
    for value in (*body.value_info, *((*body.input, *body.output) if is_graph(body) else ())):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    if is_graph(body):
        shapes.update((tensor.name, list(tensor.dims)) for tensor in body.initializer)
    return shapes
