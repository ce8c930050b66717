"""What models make of the bins of an STFT: the power `re^2 + im^2` of each, or its square root, the magnitude.

It is taken along by the native library if its nodes stand alone on the STFT, whose output then is never written:

    STFT [batch, frames, bins, 2] -> [Slice of frames or bins] -> ReduceSumSquare or ReduceL2 of the last axis
    Conv [batch, 2 * bins, frames], real parts in one half of the rows, imaginary ones in the other
        -> Reshape to [batch, 2, bins, frames] -> ReduceSumSquare or ReduceL2 of axis 1 -> [Transpose to frames, bins]

The sum of squares may be written out, as Mul or Pow and ReduceSum, or as two parts, by Split, Slice or Gather, whose
squares are added; a Sqrt may follow. float16 is left alone: squares leave its range where they are rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import DEFAULT_DOMAINS, Refused, Scope, read_attributes
from onnx_fft.model.weights import resolve_constant
from onnx_fft.sites.conv import ConvSite
from onnx_fft.sites.dft import FourierSite
from onnx_fft.sites.fourier import StftSpec
from onnx_fft.sites.site import Site

POWER, MAGNITUDE = "Power", "Magnitude"


@dataclass(frozen=True, slots=True)
class Joined:
    """What is made of the bins, by which nodes, first to last."""

    form: str
    nodes: tuple[NodeProto, ...]

    @property
    def output(self) -> str:
        """Name of the result."""
        return str(self.nodes[-1].output[0])


def take_bins(site: ConvSite | FourierSite) -> ConvSite | FourierSite:
    """The site with what is made of its bins, as it is if nothing is, or nothing known."""
    if site.spec is None or site.spec.dtype == "float16" or site.followers:
        return site
    try:
        return _take_stft(site) if isinstance(site, FourierSite) else _take_conv(site)
    except Refused:  # an attribute that callers of a function set
        return site


def _take_stft(site: FourierSite) -> FourierSite:
    if not isinstance(site.spec, StftSpec):
        return site
    scope, cut = site.scope, _find_cut(site)
    x = str(cut.output[0]) if cut else site.output
    found = _read_reduced(scope, x, 3) or _read_parts(scope, x, 3, 1)
    if found is None:
        return site
    spec = replace(site.spec, bins_form=found.form)
    followers = (*([cut] if cut else []), *found.nodes)
    return replace(site, spec=spec, followers=followers, cut=cut, constants=_list_constants(site, followers))


def _take_conv(site: ConvSite) -> ConvSite:
    spec = site.spec
    assert spec is not None
    is_stft = spec.basis_length > 0 and spec.rank == spec.in_channels == 1 and spec.out_channels % 2 == 0
    if not is_stft or spec.has_sum or spec.activation is not None or spec.auto_pad:
        return site
    scope, bins = site.scope, spec.out_channels // 2
    reshape = _find_reader(scope, site.output, "Reshape")
    if reshape is not None and _makes_parts(reshape, scope, bins):
        found = _read_reduced(scope, str(reshape.output[0]), 1)
        nodes = [reshape]
    else:
        found, nodes = _read_parts(scope, site.output, 1, bins), []
    if found is None:
        return site
    nodes += found.nodes
    turn = _find_reader(scope, found.output, "Transpose")
    turns = turn is not None and list(read_attributes(turn).get("perm", ())) == [0, 2, 1]
    if turn is not None and turns:
        nodes.append(turn)
    spec = replace(spec, bins_form=found.form, turns_bins=turns)
    return replace(site, spec=spec, followers=tuple(nodes), constants=_list_constants(site, nodes))


def _list_constants(site: Site, followers: Sequence[NodeProto]) -> tuple[str, ...]:
    """The site's own, and what the followers read beside what is made of the bins."""
    made = {site.output, *(name for node in followers for name in node.output)}
    read = (name for node in followers for name in node.input if name and name not in made)
    return tuple(dict.fromkeys((*site.constants, *read)))


def _find_cut(site: FourierSite) -> NodeProto | None:
    """A Slice that leaves real and imaginary parts alone, and counts its axes from the front."""
    node = _find_reader(site.scope, site.output, "Slice")
    axes = None if node is None or len(node.input) < 4 else _read_numbers(site.scope, node.input[3])
    return node if axes is not None and all(0 <= axis < 3 for axis in axes) else None


def _makes_parts(reshape: NodeProto, scope: Scope, bins: int) -> bool:
    """Whether it makes `[batch, 2, bins, frames]` of `[batch, 2 * bins, frames]`."""
    shape = _read_numbers(scope, reshape.input[1]) or []
    known = scope.shapes.get(reshape.input[0]) or [None] * 3
    firsts, lasts = ({-1, known[0]}, {-1, known[2]})
    fits = len(shape) == 4 and shape[0] in {0} | firsts and shape[3] in lasts and shape[1:3] in ([2, bins], [2, -1])
    return fits and shape.count(-1) <= 1 and not read_attributes(reshape).get("allowzero", 0)


def _read_reduced(scope: Scope, x: str, axis: int) -> Joined | None:
    """The sum of squares of `x` along `axis`, of four, which is no axis any more."""
    readers = _find_readers(scope, x)
    if len(readers) != 1:
        return None
    (node,) = readers
    form = {"ReduceSumSquare": POWER, "ReduceL2": MAGNITUDE}.get(node.op_type)
    if form is not None and _drops(node, scope, axis):
        return _take_root(scope, Joined(form, (node,)))
    total = _find_reader(scope, str(node.output[0]), "ReduceSum") if _is_square(node, scope) else None
    if total is None or not _drops(total, scope, axis):
        return None
    return _take_root(scope, Joined(POWER, (node, total)))


def _read_parts(scope: Scope, x: str, axis: int, length: int) -> Joined | None:
    """The sum of the squares of the two parts of `x` along `axis`, `length` each."""
    readers = _find_readers(scope, x)
    if len(readers) == 1 and readers[0].op_type == "Split":
        parts = [str(name) for name in readers[0].output] if _halves(readers[0], scope, axis, length) else []
    else:
        places = [_find_part(node, scope, axis, length) for node in readers]
        parts = [str(node.output[0]) for node in readers] if sorted(places) == [0, 1] else []
    squares = [_find_readers(scope, part) for part in parts]
    if len(squares) != 2 or any(len(found) != 1 or not _is_square(found[0], scope) for found in squares):
        return None
    first, second = (found[0] for found in squares)
    total = _find_reader(scope, str(first.output[0]), "Add")
    if total is None or total is not _find_reader(scope, str(second.output[0]), "Add"):
        return None
    order = {id(node): place for place, node in enumerate(scope.body.node)}
    nodes = sorted([*readers, first, second, total], key=lambda node: order[id(node)])
    return _take_root(scope, Joined(POWER, tuple(nodes)))


def _halves(node: NodeProto, scope: Scope, axis: int, length: int) -> bool:
    """Whether a Split gives two parts of this length, axes that it keeps."""
    given = read_attributes(node)
    sizes = _read_numbers(scope, node.input[1]) if len(node.input) > 1 else list(given.get("split", [length] * 2))
    is_kept = length > 1  # a part of one sample would have to lose its axis
    return is_kept and len(node.output) == 2 and given.get("axis", 0) == axis and sizes == [length] * 2


def _find_part(node: NodeProto, scope: Scope, axis: int, length: int) -> int:
    """Which of the two parts along `axis` a Slice or, for single samples, a Gather takes; -1 for none."""
    if node.op_type == "Gather" and length == 1:
        index = resolve_constant(node.input[1], scope)
        is_last = read_attributes(node).get("axis", 0) in (axis, axis - 4)
        return -1 if isinstance(index, Refusal) or index.shape != () or not is_last else int(index) % 2
    if node.op_type != "Slice" or length == 1 or len(node.input) < 4:
        return -1
    starts, ends, axes, *steps = (_read_numbers(scope, name) for name in node.input[1:])
    if axes not in ([axis], [axis - 3]) or steps not in ([], [[1]]) or not starts or not ends:
        return -1
    begin, end = (min(bound + 2 * length * (bound < 0), 2 * length) for bound in (starts[0], ends[0]))
    return {(0, length): 0, (length, 2 * length): 1}.get((begin, end), -1)


def _is_square(node: NodeProto, scope: Scope) -> bool:
    if node.op_type == "Mul":
        return len(node.input) == 2 and node.input[0] == node.input[1]
    if node.op_type != "Pow":
        return False
    exponent = resolve_constant(node.input[1], scope)
    return not isinstance(exponent, Refusal) and exponent.size == 1 and exponent.ndim <= 1 and exponent.item() == 2


def _drops(node: NodeProto, scope: Scope, axis: int) -> bool:
    """Whether a reduction is of `axis` alone, of four, and keeps none of length 1."""
    given = read_attributes(node)
    axes = _read_numbers(scope, node.input[1]) if len(node.input) > 1 else list(given.get("axes", ()))
    return axes in ([axis], [axis - 4]) and given.get("keepdims", 1) == 0


def _take_root(scope: Scope, joined: Joined) -> Joined:
    """With a Sqrt behind it."""
    root = _find_reader(scope, joined.output, "Sqrt") if joined.form == POWER else None
    return joined if root is None else Joined(MAGNITUDE, (*joined.nodes, root))


def _find_reader(scope: Scope, x: str, op_type: str) -> NodeProto | None:
    """The node that alone reads `x`, and it alone, if it is such an operator."""
    readers = _find_readers(scope, x)
    return readers[0] if len(readers) == 1 and readers[0].op_type == op_type else None


def _find_readers(scope: Scope, x: str) -> Sequence[NodeProto]:
    """All nodes that read `x`, ONNX's own operators, as what they compute on; none if anything else reads it."""
    nodes = [node for node in scope.body.node if x in node.input]
    is_all = scope.reads[x] == sum(list(node.input).count(x) for node in nodes)
    is_read = all(node.input[0] == x or node.op_type == "Add" for node in nodes)
    is_plain = all(node.domain in DEFAULT_DOMAINS and all(node.output) for node in nodes)
    return nodes if is_all and is_read and is_plain else []


def _read_numbers(scope: Scope, name: str) -> list[int] | None:
    """A constant list of integers; None for anything else."""
    value = resolve_constant(name, scope) if name else None
    if value is None or isinstance(value, Refusal) or value.ndim != 1 or not np.issubdtype(value.dtype, np.integer):
        return None
    return [int(number) for number in value]
