"""A ConvTranspose as a site: its spec, resolved from the node with every contradiction, its weights.

*auto_pad and output_shape.* Both ask for a length, `stride * extent` or the one given, and the pads are what is too
much: `natural - length`, with `natural = stride * (extent - 1) + span + output_padding`. SAME_UPPER puts an odd one at
the end; SAME_LOWER and output_shape without auto_pad at the beginning. For SAME that is `span - stride` at every
extent. Refused is what ONNX Runtime (1.17 to 1.32), the standard's text and its reference do not agree on: SAME with
fewer samples than asked for, or with output_padding, which shape inference counts; output_shape beside other pads,
which ONNX Runtime ignores; and a length that is longer by a stride or more, which only some versions fill up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import DEFAULT_DOMAINS, Refused, Scope, read_attributes
from onnx_fft.model.storage import Storage, count_freed_bytes, is_folded_at_load
from onnx_fft.model.weights import ConvWeights, resolve_type
from onnx_fft.sites.basis import find_inverse, may_be_inverse
from onnx_fft.sites.conv import find_bias_input, has_bias, read_operand
from onnx_fft.sites.geometry import (
    DTYPES,
    MAX_LENGTH,
    MAX_VALUES,
    Dims,
    check_input,
    print_type,
    read_ints,
    read_per_axis,
    read_text,
    require,
)
from onnx_fft.sites.site import Site
from onnx_fft.sites.spec import SUPPORTED_DTYPES
from onnx_fft.sites.transposed import ConvTransposeSpec

ASSUMED_LENGTH = 256
"""For an open length, if only the size of tensors is asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class ConvTransposeSite(Site):
    """One ConvTranspose. `bias_input` is the name of a bias computed at run time, "" without one."""

    spec: ConvTransposeSpec | None = None
    bias_input: str = ""

    @property
    def raw_operands(self) -> tuple[str, str]:
        """Names of the weight and of the constant bias, "" for one that is not there, or computed in each run."""
        names = ["" if name == self.bias_input else name for name in self.node.input[1:3]]
        weight, bias = (name if name and is_folded_at_load(name, self.scope) else "" for name in [*names, ""][:2])
        return weight, bias

    @property
    def storage(self) -> Storage:
        """How the file holds the constants."""
        return Storage(count_freed_bytes(self.scope, self.nodes, self.constants), bool(self.raw_operands[0]))

    def read_weights(self) -> ConvWeights:
        """Weight `[in_channels, out_channels // group, *kernel_shape]` and bias; InvalidModelError if they are gone."""
        return ConvWeights(read_operand(self, self.node.input[1]), self.read_bias(), self.bias_input)

    def read_bias(self) -> NDArray[np.float64] | None:
        """The bias; None if there is none, or none before run time."""
        is_constant = has_bias(self.node) and not self.bias_input
        return read_operand(self, self.node.input[2]) if is_constant else None


def is_conv_transpose(node: NodeProto) -> bool:
    """Whether the node is the standard's ConvTranspose, supported or not."""
    return node.op_type == "ConvTranspose" and node.domain in DEFAULT_DOMAINS


def resolve_conv_transpose(name: str, scope: Scope, node: NodeProto) -> ConvTransposeSite:
    """The site of a ConvTranspose that can be replaced; raises `Refused` for another."""
    if len(node.input) < 2 or not all(node.input[:2]) or len(node.output) != 1 or not node.output[0]:
        raise Refused("bad-node", f"inputs are {list(node.input)}, outputs {list(node.output)}, expected x, w, and y")
    weight = resolve_type(node.input[1], scope)
    if isinstance(weight, Refusal):
        raise Refused(weight.code, weight.reason, weight.hint)
    dtype = DTYPES.get(weight.elem_type, "")
    expected = ", ".join(SUPPORTED_DTYPES)
    require(bool(dtype), "dtype", f"weight is {print_type(weight.elem_type)}, expected one of {expected}")
    spec = _resolve_spec(node, weight.shape, dtype, scope.shapes.get(node.input[0]))
    bias_input = find_bias_input(node, scope, spec.out_channels)
    constants = tuple(operand for operand in node.input[1:3] if operand and operand != bias_input)
    site = ConvTransposeSite(name, node.op_type, scope, node, spec, constants=constants, bias_input=bias_input)
    if not may_be_inverse(spec):
        return site
    return replace(site, spec=replace(spec, basis_length=find_inverse(spec, site.read_weights())))


def _resolve_spec(node: NodeProto, weight: tuple[int, ...], dtype: str, shape: Dims | None) -> ConvTransposeSpec:
    """The geometry; `weight` and `shape` are those of weight and input."""
    rank = len(weight) - 2
    require(rank >= 1, "bad-weight", f"weight has shape {list(weight)}, expected at least three dimensions")
    require(all(length > 0 for length in weight), "zero-size", f"weight has shape {list(weight)}")
    in_channels, per_group, *kernel = weight
    attributes = read_attributes(node)
    given = read_ints(attributes, "kernel_shape", kernel)
    require(given == kernel, "bad-kernel-shape", f"kernel_shape is {given}, the weight's is {kernel}")
    group = attributes.get("group", 1)
    divides = isinstance(group, int) and group >= 1 and in_channels % group == 0
    require(divides, "bad-group", f"group is {group}, which does not divide {in_channels} input channels")
    batch, _, *extents = check_input(shape, rank, in_channels)
    spec = ConvTransposeSpec(
        batch=batch,
        in_channels=in_channels,
        out_channels=per_group * group,
        group=group,
        extents=tuple(extents),
        kernel_shape=tuple(kernel),
        strides=tuple(read_per_axis(attributes, "strides", rank)),
        dilations=tuple(read_per_axis(attributes, "dilations", rank)),
        pads_begin=(0,) * rank,
        pads_end=(0,) * rank,
        output_padding=tuple(read_ints(attributes, "output_padding", [0] * rank)),
        dtype=dtype,
        has_bias=has_bias(node),
    )
    _check_output_padding(spec)
    spec = _resolve_pads(spec, attributes)
    _check_size(spec)
    return spec


def _check_output_padding(spec: ConvTransposeSpec) -> None:
    """Below the stride: what is beyond belongs to an input that is not there, and ONNX Runtime does not run it."""
    fits = all(0 <= each < stride for each, stride in zip(spec.output_padding, spec.strides, strict=True))
    reason = f"output_padding is {list(spec.output_padding)}, expected 0 to below the strides {list(spec.strides)}"
    require(fits, "bad-output-padding", reason)


def _resolve_pads(spec: ConvTransposeSpec, attributes: dict[str, Any]) -> ConvTransposeSpec:
    """The spec with its pads, by whichever of `pads`, `auto_pad` and `output_shape` decides them."""
    mode = read_text(attributes, "auto_pad") or "NOTSET"
    require(mode in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), "bad-auto-pad", f"auto_pad is {mode!r}")
    pads = read_ints(attributes, "pads", [0] * 2 * spec.rank)
    require(min(pads) >= 0, "bad-pads", f"pads is {pads}, a negative pad adds samples")
    require(mode == "NOTSET" or not any(pads), "bad-pads", f"pads is {pads} and auto_pad {mode}, expected one of them")
    wanted = attributes.get("output_shape")
    if wanted:
        return _fit_output(spec, mode, read_ints(attributes, "output_shape", [0] * spec.rank), pads)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        return _pad(spec, pads[: spec.rank], pads[spec.rank :])
    require(not any(spec.output_padding), "padded-auto-pad", f"auto_pad is {mode} beside output_padding")
    totals = [span - stride for span, stride in zip(spec.spans, spec.strides, strict=True)]
    reason = f"auto_pad is {mode}, and a kernel that spans {list(spec.spans)} has gaps at stride {list(spec.strides)}"
    require(min(totals) >= 0, "short-auto-pad", reason)
    return _split_pads(spec, mode, totals)


def _fit_output(spec: ConvTransposeSpec, mode: str, wanted: list[int], pads: list[int]) -> ConvTransposeSpec:
    """The spec whose outputs have the lengths `wanted`."""
    require(min(wanted) >= 1, "bad-output-shape", f"output_shape is {wanted}, expected at least 1")
    natural = spec.output_extents
    if None in natural:
        raise Refused("open-length", f"output_shape is {wanted}, and the pads depend on lengths that are open")
    totals = [(length or 0) - asked for length, asked in zip(natural, wanted, strict=True)]
    more = tuple(p + max(0, -total) for p, total in zip(spec.output_padding, totals, strict=True))
    is_far = mode in ("SAME_UPPER", "SAME_LOWER") and min(totals) < 0
    is_far = is_far or any(m >= s and t < 0 for m, s, t in zip(more, spec.strides, totals, strict=True))
    require(not is_far, "bad-output-shape", f"output_shape is {wanted}, and the input gives {list(natural)} at most")
    fitted = _split_pads(spec, mode, [max(0, total) for total in totals])
    resolved = [*fitted.pads_begin, *fitted.pads_end]
    agrees = not any(pads) or pads == resolved
    require(agrees, "bad-pads", f"pads is {pads}, and output_shape asks for {resolved}")
    return replace(fitted, output_padding=more)


def _split_pads(spec: ConvTransposeSpec, mode: str, totals: list[int]) -> ConvTransposeSpec:
    less, rest = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return _pad(spec, less, rest) if mode == "SAME_UPPER" else _pad(spec, rest, less)


def _pad(spec: ConvTransposeSpec, begin: list[int], end: list[int]) -> ConvTransposeSpec:
    return replace(spec, pads_begin=tuple(begin), pads_end=tuple(end))


def _check_size(spec: ConvTransposeSpec) -> None:
    """Refuse an empty output, and tensors beyond `MAX_VALUES`, also of a run before it is cropped."""
    outputs = spec.output_extents
    is_empty = any(length is not None and length < 1 for length in outputs)
    pads = [*spec.pads_begin, *spec.pads_end]
    require(not is_empty, "empty-output", f"pads {pads} leave {list(outputs)} samples, expected at least 1")
    extents = [extent or ASSUMED_LENGTH for extent in spec.extents]
    full = [s * n + span for s, n, span in zip(spec.strides, extents, spec.spans, strict=True)]
    longest = max(*full, *spec.pads_begin, *spec.pads_end)
    require(longest <= MAX_LENGTH, "too-long", f"an axis has {longest} samples, {MAX_LENGTH} are the most")
    values = max(prod(full) * spec.out_channels, prod(extents) * spec.in_channels) * (spec.batch or 32)
    require(values <= MAX_VALUES, "too-large", f"a tensor has {values:.1e} numbers, {MAX_VALUES:.1e} are the most")
