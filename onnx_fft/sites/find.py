"""Every site of a model, of whatever kind: what is listed in reports, and by which name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from onnx import ModelProto, NodeProto, ValueInfoProto

from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import Body, Evaluate, Refused, Scope, find_scopes, is_graph, label_node, walk_bodies
from onnx_fft.model.shapes import infer_shapes
from onnx_fft.model.weights import find_constants
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.conv import ConvSite, is_convolution, resolve_conv
from onnx_fft.sites.conv_transpose import ConvTransposeSite, is_conv_transpose, resolve_conv_transpose
from onnx_fft.sites.dft import FourierSite, is_fourier, resolve_fourier
from onnx_fft.sites.matmul import BasisOperand, MatMulSite, find_basis_operand, is_matmul, resolve_matmul
from onnx_fft.sites.quantized import QuantizationTracer
from onnx_fft.sites.site import Site
from onnx_fft.sites.zeros import ZeroTracer

CONSTANT_INPUT = "its input is a constant: ONNX Runtime computes it once, when it loads the model"
QUANTIZED = "between DequantizeLinear and QuantizeLinear, ONNX Runtime computes in integers"


def find_sites(loaded: LoadedModel, evaluate: Evaluate | None = None) -> tuple[Site, ...]:
    """Every site in the graph, in bodies of If, Loop and Scan, and in model-local functions, in the order of the nodes.

    `evaluate` computes constants, ONNX's own evaluator if it is None.
    """
    scopes = find_scopes(loaded.model, loaded.base_dir, evaluate)
    _learn_types(scopes, infer_shapes(loaded.model, loaded.base_dir))
    readers = {scope: {name: node for node in scope.body.node for name in node.input} for scope in scopes}
    quantization, zeros = QuantizationTracer(scopes), ZeroTracer(scopes)
    constants = find_constants(scopes)
    bases: dict[int, BasisOperand] = {}

    def find_site(name: str, scope: Scope, node: NodeProto) -> Site:
        if is_matmul(node):
            return _find_product(name, scope, node, bases[id(node)], constants[scope], quantization)
        if node.input and node.input[0] in constants[scope]:
            raise Refused("constant-input", CONSTANT_INPUT)
        if is_fourier(node):
            return resolve_fourier(name, scope, node)
        site: ConvSite | ConvTransposeSite
        if is_conv_transpose(node):
            site = resolve_conv_transpose(name, scope, node)
        else:
            site = resolve_conv(name, scope, node, readers[scope])
        assert site.spec is not None
        if quantization.is_quantized(scope, node, site.spec.out_channels, site.bias_input):
            raise Refused("quantized", QUANTIZED)
        return replace(site, zero_reader=zeros.find_reader(scope, site.output, site.read_bias()))

    def is_basis_product(scope: Scope, node: NodeProto) -> bool:
        if basis := find_basis_operand(node, scope, constants[scope]):
            bases[id(node)] = basis
        return basis is not None

    sites: list[Site] = []
    for name, scope, node in name_sites(scopes, is_basis_product):
        try:
            sites.append(find_site(name, scope, node))
        except Refused as refused:
            sites.append(_find_kind(node)(name, node.op_type, scope, node, refusal=refused.refusal))
    return tuple(sites)


def _find_product(
    name: str,
    scope: Scope,
    node: NodeProto,
    basis: BasisOperand,
    constants: Collection[str],
    quantization: QuantizationTracer,
) -> MatMulSite:
    """The site of a MatMul with a basis; raises `Refused`."""
    place = 1 - basis.place
    if node.input[place] in constants:
        raise Refused("constant-input", CONSTANT_INPUT)
    product = resolve_matmul(name, scope, node, basis)
    if product.spec is not None and quantization.is_quantized(scope, node, product.spec.rows, place=place):
        raise Refused("quantized", QUANTIZED)
    return product


def _find_kind(node: NodeProto) -> type[Site]:
    if is_fourier(node):
        return FourierSite
    if is_matmul(node):
        return MatMulSite
    return ConvTransposeSite if is_conv_transpose(node) else ConvSite


def relocate_sites(sites: Iterable[Site], model: ModelProto, copy: LoadedModel) -> tuple[Site, ...]:
    """The sites of `model` in an equal `copy` of it, without asking again what they are."""
    bodies = list(walk_bodies(model))
    scopes = find_scopes(copy.model, copy.base_dir)
    counterparts = {id(body): scope for body, scope in zip(bodies, scopes, strict=True)}
    moved = []
    for site in sites:
        scope = counterparts[id(site.scope.body)]
        scope.shapes, scope.types, scope.evaluate = site.scope.shapes, site.scope.types, site.scope.evaluate
        places = {id(node): place for place, node in enumerate(site.scope.body.node)}
        node, *followers = (scope.body.node[places[id(node)]] for node in site.nodes)
        moved.append(replace(site, scope=scope, node=node, followers=tuple(followers)))
    return tuple(moved)


def name_sites(
    scopes: Iterable[Scope], is_listed: Callable[[Scope, NodeProto], bool]
) -> Iterator[tuple[str, Scope, NodeProto]]:
    """Every site of `scopes`, the scopes of one model in order, with the unique name it goes by everywhere.

    Those in functions of ours stand in for nodes that are replaced already. `is_listed` tells of MatMuls, whose
    operator does not tell; the others take their names along, so that no name depends on what is listed.
    """
    names: set[str] = set()
    for scope in scopes:
        if not is_graph(scope.body) and scope.body.domain == OPERATOR_DOMAIN:
            continue
        for position, node in enumerate(scope.body.node):
            if not is_site(node) and not is_matmul(node):
                continue
            name = scope.path + label_node(node, position)
            while name in names:
                name += f"#{position}"
            names.add(name)
            if is_site(node) or is_listed(scope, node):
                yield name, scope, node


def is_site(node: NodeProto) -> bool:
    """Whether the node is listed by its operator, supported or not."""
    return is_convolution(node) or is_fourier(node)


def _learn_types(scopes: Iterable[Scope], inferred: ModelProto) -> None:
    """Tell the scopes of a model what shapes and element types are stated or inferred there, and around."""
    for scope, body in zip(scopes, walk_bodies(inferred), strict=True):
        own = scope.inputs | scope.tensors.keys() | scope.producers.keys()
        shapes, types = _known_shapes(body), _known_types(body)
        if scope.parent is not None:
            shapes = {name: dims for name, dims in scope.parent.shapes.items() if name not in own} | shapes
            types = {name: kind for name, kind in scope.parent.types.items() if name not in own} | types
        scope.shapes, scope.types = shapes, types


def _known_shapes(body: Body) -> dict[str, list[int | None]]:
    """Shapes stated or inferred in a body; None for a dimension that is symbolic or absent."""
    shapes: dict[str, list[int | None]] = {}
    for value in _list_values(body):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    if is_graph(body):
        shapes.update((tensor.name, list(tensor.dims)) for tensor in body.initializer)
    return shapes


def _known_types(body: Body) -> dict[str, int]:
    """Element types stated or inferred in a body."""
    types = {value.name: value.type.tensor_type.elem_type for value in _list_values(body)}
    if is_graph(body):
        types.update((tensor.name, tensor.data_type) for tensor in body.initializer)
    return types


def _list_values(body: Body) -> list[ValueInfoProto]:
    """What a body says of its tensors."""
    return [*body.value_info, *((*body.input, *body.output) if is_graph(body) else ())]
