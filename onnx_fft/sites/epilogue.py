"""What follows a convolution and stands alone on its result, for a lowering that computes it along with the sum.

    sum -> [Add of a residual] -> [activation] -> [BatchNormalization]

A step is taken if its nodes alone read what the one before makes, which then is not a graph output. A residual has the
shape of the sum, proved by `lengths`: nothing is broadcast. A BatchNormalization straight behind the convolution is
folded into the weights instead (`batchnorm`). Behind an activation it is a factor and an addend for each channel, which
float16 would round twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from onnx import NodeProto

from onnx_fft.model.scopes import DEFAULT_DOMAINS, read_attributes
from onnx_fft.sites.activations import read_activation
from onnx_fft.sites.batchnorm import is_foldable
from onnx_fft.sites.conv import ConvSite
from onnx_fft.sites.lengths import Lengths

FIRST_OPSET = 7
"""Before it, operands were broadcast by an attribute, and BatchNormalization had others."""


def grow_epilogue(
    site: ConvSite, taken: Collection[int], find_lengths: Callable[[ConvSite], Lengths]
) -> Iterator[ConvSite]:
    """`site` with one step more each time, beginning with none.

    `taken` are the identities of nodes that are followers of other sites. A site that has an epilogue keeps it.
    """
    yield site
    if site.spec is None or site.spec.norm_epsilon is not None:  # which is the last step
        return
    steps: tuple[Callable[[ConvSite], ConvSite | None], ...] = (
        lambda current: _take_residual(current, find_lengths),
        _take_activation,
        _take_norm,
    )
    for step in steps:
        after = step(site)
        if after is not None and not any(id(node) in taken for node in after.followers):
            site = after
            yield site


def list_followers(site: ConvSite) -> tuple[str, ...]:
    """The operators behind a convolution that its replacement stands for, as ONNX calls them."""
    return tuple(node.op_type for node in site.followers)


def _take_residual(site: ConvSite, find_lengths: Callable[[ConvSite], Lengths]) -> ConvSite | None:
    spec, node = site.spec, _find_reader(site)
    if spec is None or node is None or spec.has_sum or spec.activation is not None or site.opset < FIRST_OPSET:
        return None
    if node.op_type not in ("Add", "Sum") or len(node.input) != 2 or not all(node.input):
        return None
    residual = str(node.input[1] if node.input[0] == site.output else node.input[0])
    lengths = find_lengths(site)
    sum_lengths = lengths.get(site.output)
    if residual == site.output or sum_lengths is None or lengths.get(residual) != sum_lengths:
        return None
    return replace(site, spec=replace(spec, has_sum=True), followers=(*site.followers, node), residual=residual)


def _take_activation(site: ConvSite) -> ConvSite | None:
    if site.spec is None or site.spec.activation is not None:
        return None
    found = read_activation(site)
    if found is None:
        return None
    return replace(
        site,
        spec=replace(site.spec, activation=found.activation),
        followers=(*site.followers, *found.nodes),
        constants=(*site.constants, *found.constants),
        operands=(*site.operands, *filter(None, (found.slope,))),
    )


def _take_norm(site: ConvSite) -> ConvSite | None:
    spec, node = site.spec, _find_reader(site)
    if spec is None or node is None or spec.dtype == "float16" or site.opset < FIRST_OPSET:
        return None
    if not is_foldable(node, site.scope, site.output, spec.out_channels):
        return None
    epsilon = float(read_attributes(node).get("epsilon", 1e-5))
    operands = tuple(node.input[1:])
    return replace(
        site,
        spec=replace(spec, norm_epsilon=epsilon),
        followers=(*site.followers, node),
        operands=(*site.operands, *operands),
    )


def _find_reader(site: ConvSite) -> NodeProto | None:
    """The one node that reads the result; None if there are more, or if it is a graph output."""
    if site.scope.reads[site.output] != 1:
        return None
    readers = [node for node in site.scope.body.node if site.output in node.input]
    node: NodeProto | None = next(iter(readers), None)
    if node is None or node.domain not in DEFAULT_DOMAINS or len(node.output) < 1 or not node.output[0]:
        return None
    return node
