"""From a Conv node to its `ConvSpec`: defaults, `auto_pad` and every contradiction a file can hold.

*auto_pad* SAME is resolved by `same_padding` (`fourier/axis.py`), or left to run time if the pads depend on an open
length. Two cases are refused because ONNX Runtime (1.17 to 1.32) and the standard differ: SAME with a dilation, which
ONNX Runtime does not run, and a number of zeros below -1, before it is raised to 0: there ONNX Runtime may crop the
input. On an open length that can happen if the span is shorter than the stride by more than 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from onnx import NodeProto, TensorProto

from onnx_fft.fourier.axis import ceil_divide, same_padding
from onnx_fft.model.scopes import Refused, read_attributes
from onnx_fft.sites.spec import SUPPORTED_DTYPES, Activation, ConvSpec

Dims = Sequence[int | None]
"""A shape, None for a dimension that the model does not fix."""

ACTIVATIONS = {"Relu": 0, "Tanh": 0, "Sigmoid": 0, "LeakyRelu": 1, "Clip": 2, "HardSigmoid": 2}
"""What ONNX Runtime's FusedConv knows, with the number of `activation_params` each takes."""

MAX_LENGTH = 1 << 26
"""Most samples of one axis, padding included: index tables are as long."""

MAX_VALUES = 1 << 48
"""Most numbers of one tensor with its padding: more than memory holds, and the native library counts no further."""

DTYPES: dict[int, str] = {TensorProto.FLOAT16: "float16", TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}
"""Those supported, by element type."""


def resolve_spec(
    node: NodeProto, weight_shape: Sequence[int], elem_type: int, input_shape: Dims | None, *, has_bias: bool
) -> ConvSpec:
    """The geometry of a Conv or FusedConv; raises `Refused` with the value that is not supported or not valid.

    `weight_shape` is `[out_channels, in_channels // group, *kernel_shape]`, `input_shape`
    `[batch, _, *extents]` or None if not even the number of dimensions is known.
    """
    attributes = read_attributes(node)
    dtype = DTYPES.get(elem_type, "")
    require(bool(dtype), "dtype", f"weight is {print_type(elem_type)}, expected one of {', '.join(SUPPORTED_DTYPES)}")
    rank = len(weight_shape) - 2
    require(rank >= 1, "bad-weight", f"weight has shape {list(weight_shape)}, expected at least three dimensions")
    require(all(n > 0 for n in weight_shape), "zero-size", f"weight has shape {list(weight_shape)}")
    out_channels, group_channels, *kernel_shape = weight_shape
    given = read_ints(attributes, "kernel_shape", kernel_shape)
    require(given == kernel_shape, "bad-kernel-shape", f"kernel_shape is {given}, the weight's is {kernel_shape}")
    (group,) = read_ints({"group": [attributes["group"]]} if "group" in attributes else {}, "group", [1])
    divides = group >= 1 and out_channels % group == 0
    require(divides, "bad-group", f"group is {group}, which does not divide {out_channels} output channels")
    batch, _, *extents = check_input(input_shape, rank, group_channels * group)
    strides = read_per_axis(attributes, "strides", rank)
    dilations = read_per_axis(attributes, "dilations", rank)
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel_shape, strict=True)]
    begin, end, auto_pad = _resolve_pads(attributes, extents, strides, dilations, spans)
    for axis in zip(extents, begin, end, spans, strict=True):
        _check_length(*axis)
    _check_size(batch, max(group_channels * group, out_channels), list(zip(extents, begin, end, spans, strict=True)))
    return ConvSpec(
        batch=batch,
        in_channels=group_channels * group,
        out_channels=out_channels,
        group=group,
        extents=tuple(extents),
        kernel_shape=tuple(kernel_shape),
        strides=tuple(strides),
        dilations=tuple(dilations),
        pads_begin=tuple(begin),
        pads_end=tuple(end),
        dtype=dtype,
        has_bias=has_bias,
        activation=_read_activation(attributes),
        has_sum=len(node.input) > 3 and bool(node.input[3]),
        auto_pad=auto_pad,
    )


def _check_length(extent: int | None, begin: int, end: int, span: int) -> None:
    """Refuse an axis that is too long, or shorter than the kernel."""
    length = max((extent or 0) + begin + end, span)
    require(length <= MAX_LENGTH, "too-long", f"an axis has {length} samples, {MAX_LENGTH} are the most")
    fits = extent is None or extent + begin + end >= span
    require(fits, "kernel-too-large", f"kernel spans {span} samples, the padded input has {extent} + {begin} + {end}")


def _check_size(batch: int | None, channels: int, axes: Sequence[tuple[int | None, int, int, int]]) -> None:
    """Refuse tensors beyond `MAX_VALUES`. What is open counts as the largest size that `cost/extents.py` assumes."""
    assumed = (1 << 18) ** (1 / len(axes))
    lengths = [(extent or max(assumed, 2 * span)) + begin + end for extent, begin, end, span in axes]
    values = prod(lengths, start=(batch or 32) * channels)
    require(values <= MAX_VALUES, "too-large", f"a tensor has {values:.1e} numbers, {MAX_VALUES:.1e} are the most")


def check_input(shape: Dims | None, rank: int, channels: int) -> Dims:
    """`shape` or as many unknowns, once it agrees with the weight."""
    if shape is None:
        return [None] * (rank + 2)
    require(len(shape) == rank + 2, "bad-rank", f"input has {len(shape)} dimensions, the weight {rank + 2}")
    require(0 not in shape, "zero-size", f"input has shape {list(shape)}")
    agree = shape[1] in (None, channels)
    require(agree, "bad-channels", f"input has {shape[1]} channels, weight and group ask for {channels}")
    return shape


def _resolve_pads(
    attributes: dict[str, Any], extents: Dims, strides: Sequence[int], dilations: Sequence[int], spans: Sequence[int]
) -> tuple[list[int], list[int], str]:
    """Pads at the beginning and at the end of each axis; then the `auto_pad` that run time has to resolve, or ""."""
    rank = len(spans)
    mode = read_text(attributes, "auto_pad") or "NOTSET"
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        require(max(dilations) == 1, "dilated-auto-pad", f"auto_pad is {mode} with dilations {list(dilations)}")
        rows = list(zip(extents, strides, spans, strict=True))
        ends = [_resolve_same(mode, *row) for row in rows]
        is_late = any(extent is None and stride > 1 for extent, stride, _ in rows)
        return [begin for begin, _ in ends], [end for _, end in ends], mode if is_late else ""
    if mode == "VALID":
        return [0] * rank, [0] * rank, ""
    require(mode == "NOTSET", "bad-auto-pad", f"auto_pad is {mode!r}")
    pads = read_ints(attributes, "pads", [0] * 2 * rank)
    require(min(pads) >= 0, "bad-pads", f"pads is {pads}, a negative pad crops")
    return pads[:rank], pads[rank:], ""


def _resolve_same(mode: str, extent: int | None, stride: int, span: int) -> tuple[int, int]:
    """The pads of one axis by auto_pad SAME; 0 if they depend on an open extent."""
    least = span - stride if extent is None else (ceil_divide(extent, stride) - 1) * stride + span - extent
    require(least >= -1, "cropping-auto-pad", f"auto_pad SAME, stride {stride} and a span of {span} crop the input")
    if extent is None and stride > 1:
        return 0, 0
    return same_padding(mode, extent or 1, stride, span)  # with stride 1 the same for every extent


def read_per_axis(attributes: dict[str, Any], name: str, rank: int) -> list[int]:
    """`strides` or `dilations`, 1 if absent."""
    values = read_ints(attributes, name, [1] * rank)
    require(min(values) >= 1, f"bad-{name}", f"{name} is {values}, expected at least 1")
    return values


def read_ints(attributes: dict[str, Any], name: str, default: list[int]) -> list[int]:
    """An integer list as long as `default`, which stands for an absent or empty one."""
    values = attributes.get(name) or default
    fits = isinstance(values, list) and len(values) == len(default) and all(isinstance(v, int) for v in values)
    require(fits, f"bad-{name.replace('_', '-')}", f"{name} is {values}, expected {len(default)} integers")
    return list(values)


def read_text(attributes: dict[str, Any], name: str) -> str:
    """A string attribute, "" if absent."""
    value = attributes.get(name, b"")
    require(isinstance(value, bytes), f"bad-{name.replace('_', '-')}", f"{name} is {value}, expected a string")
    return bytes(value).decode("utf-8", "replace")


def _read_activation(attributes: dict[str, Any]) -> Activation | None:
    name = read_text(attributes, "activation")
    if not name:
        return None
    require(name in ACTIVATIONS, "activation", f"activation is {name!r}, known are {', '.join(ACTIVATIONS)}")
    params = attributes.get("activation_params", ())
    count = ACTIVATIONS[name]
    require(len(params) >= count, "activation", f"{name} has {len(params)} activation_params, expected {count}")
    return Activation(name, tuple(params[:count]))


def print_type(elem_type: int) -> str:
    """The name of an element type."""
    names: dict[int, str] = {number: name.lower() for name, number in TensorProto.DataType.items()}
    return names.get(elem_type, f"of type {elem_type}")


def require(condition: bool, code: str, reason: str) -> None:
    """Refuse unless `condition` holds."""
    if not condition:
        raise Refused(code, reason)
