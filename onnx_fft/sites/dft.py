"""A DFT or STFT as a site: its spec, resolved from the node, what stands around it, and every contradiction.

What turns on exact zeros behind one (`zeros`) is no obstacle. ONNX Runtime's own operators transform each row or frame
by itself, and so do all replacements: what is all zeros gives exact zeros, before and after. Where the input is not
zero, ONNX Runtime's result is rounded as well, so that a Log or Sqrt behind it sees noise as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import DEFAULT_DOMAINS, INLINING, Refused, Scope, is_graph, read_attributes
from onnx_fft.model.weights import resolve_constant
from onnx_fft.sites.fourier import DftSpec, StftSpec
from onnx_fft.sites.geometry import DTYPES, MAX_LENGTH, MAX_VALUES, print_type, require
from onnx_fft.sites.site import FourierSpec, Site
from onnx_fft.sites.spec import SUPPORTED_DTYPES

FOURIER = ("DFT", "STFT")

AXIS_INPUT_OPSET = 20
"""The opset since which the axis of a DFT is an input."""

ASSUMED_LENGTH = 256
"""For an open length, if only the size of tensors is asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class FourierSite(Site):
    """One DFT or STFT. `window` is the name of an STFT's, "" without one."""

    spec: FourierSpec | None = None
    window: str = ""
    lacks_parts: bool = False
    """Whether a real signal is `[batch, length]`, which ONNX Runtime takes as `[batch, length, 1]`."""
    cut: NodeProto | None = None
    """The first follower, if it is a Slice of an STFT's frames or bins."""
    length_input: str = ""
    """The name of a DFT's length that is known only at run time."""

    def read_window(self) -> NDArray[np.float64] | None:
        """The window `[frame_length]` in float64; None if there is none, or none before run time."""
        value = resolve_constant(self.window, self.scope) if self.window else None
        return None if value is None or isinstance(value, Refusal) else value.astype(np.float64)


def is_fourier(node: NodeProto) -> bool:
    """Whether the node is listed as a DFT or STFT, supported or not."""
    return node.domain in DEFAULT_DOMAINS and node.op_type in FOURIER


def resolve_fourier(name: str, scope: Scope, node: NodeProto) -> FourierSite:
    """The site of a DFT or STFT that can be replaced; raises `Refused` for another."""
    if not node.input or not node.input[0] or len(node.output) != 1 or not node.output[0]:
        raise Refused("bad-node", f"inputs are {list(node.input)}, outputs {list(node.output)}, expected x, ..., and y")
    is_dft = node.op_type == "DFT"
    spec = _resolve_dft(node, scope) if is_dft else _resolve_stft(node, scope)
    window = "" if is_dft else _name_input(node, 2)
    constants = tuple(operand for operand in node.input[1:] if operand)
    length_input = _name_input(node, 1) if isinstance(spec, DftSpec) and spec.has_late_length else ""
    lacks_parts = isinstance(spec, StftSpec) and len(scope.shapes[node.input[0]]) == 2
    return FourierSite(
        name,
        node.op_type,
        scope,
        node,
        spec,
        constants=constants,
        window=window,
        lacks_parts=lacks_parts,
        length_input=length_input,
    )


def _resolve_dft(node: NodeProto, scope: Scope) -> DftSpec:
    shape, dtype = _read_input(node, scope)
    attributes = read_attributes(node)
    inverse, onesided = bool(attributes.get("inverse", 0)), bool(attributes.get("onesided", 0))
    axis = attributes.get("axis", 1) if scope.opset < AXIS_INPUT_OPSET else -2
    if scope.opset >= AXIS_INPUT_OPSET and _name_input(node, 2):
        axis = _read_count(node, 2, "axis", scope)
    rank = len(shape)
    is_valid = -rank <= axis < rank and axis % rank != rank - 1
    require(
        is_valid, "bad-axis", f"axis is {axis}, of {rank} dimensions of which the last holds real and imaginary part"
    )
    _check_onesided(shape[-1], onesided=onesided, inverse=inverse)
    length = shape[axis % rank]
    is_late = _is_late(node, scope)
    if is_late:
        points: int | None = None
    elif _name_input(node, 1):
        points = _read_count(node, 1, "dft_length", scope)
    else:
        points = length if length is None or not (inverse and onesided) else 2 * (length - 1)
    if points is not None:
        _check_points(points, "dft_length")
    _check_size(shape, points)
    return DftSpec(shape, axis % rank, points, inverse, onesided, dtype, is_late)


def _is_late(node: NodeProto, scope: Scope) -> bool:
    """Whether a DFT's length is one int64 that is known only at run time."""
    name = _name_input(node, 1)
    value = resolve_constant(name, scope) if name else None
    is_int64 = scope.types.get(name) == TensorProto.INT64 and scope.shapes.get(name) in ([], [1])
    return isinstance(value, Refusal) and value.code == "runtime-weight" and is_int64


def _resolve_stft(node: NodeProto, scope: Scope) -> StftSpec:
    rank = len(scope.shapes.get(node.input[0], [None] * 3))
    require(rank in (2, 3), "bad-rank", f"signal has {rank} dimensions, expected [batch, length, 1 or 2]")
    shape, dtype = _read_input(node, scope, has_parts=rank == 3)
    onesided = bool(read_attributes(node).get("onesided", 1))
    batch, length, parts = shape
    assert parts is not None  # `_read_input` sees to it
    _check_onesided(parts, onesided=onesided, inverse=False)
    step = _read_count(node, 1, "frame_step", scope)
    require(step >= 1, "bad-step", f"frame_step is {step}, expected at least 1")
    require(step <= MAX_LENGTH, "too-long", f"frame_step is {step}, {MAX_LENGTH} is the most")
    window = _read_window_length(node, scope)
    points = _read_count(node, 3, "frame_length", scope) if _name_input(node, 3) else window
    if points is None:
        raise Refused("bad-node", "neither a window nor frame_length is given, expected one of them")
    _check_points(points, "frame_length")
    agrees = window in (None, points)
    require(agrees, "bad-window", f"the window has {window} samples, frame_length is {points}")
    fits = length is None or length >= points
    require(fits, "signal-too-short", f"the signal has {length} samples, a frame {points}")
    _check_size((batch, length, parts), points)
    return StftSpec(batch, length, parts, points, step, onesided, dtype)


def _read_input(node: NodeProto, scope: Scope, *, has_parts: bool = True) -> tuple[tuple[int | None, ...], str]:
    """Shape and dtype of what is transformed; without a dimension of parts it is real."""
    hint = "" if is_graph(scope.root.body) else INLINING
    shape, kind = scope.shapes.get(node.input[0]), scope.types.get(node.input[0], 0)
    if shape is None or not kind:
        raise Refused("unknown-input", f"{'shape' if kind else 'type'} of {node.input[0]!r} is not known", hint)
    dtype = DTYPES.get(kind, "")
    require(bool(dtype), "dtype", f"input is {print_type(kind)}, expected one of {', '.join(SUPPORTED_DTYPES)}")
    require(len(shape) >= 2, "bad-rank", f"input has {len(shape)} dimensions, expected at least two")
    shape = list(shape) if has_parts else [*shape, 1]
    if shape[-1] is None:
        reason = "whether it is real or complex is not known: the last dimension of its input is open"
        raise Refused("unknown-input", reason, hint)
    require(shape[-1] in (1, 2), "bad-parts", f"input has shape {list(shape)}, expected 1 or 2 as the last dimension")
    require(0 not in shape, "zero-size", f"input has shape {list(shape)}")
    return tuple(shape), dtype


def _read_window_length(node: NodeProto, scope: Scope) -> int | None:
    """Samples of the window, None if there is none."""
    name = _name_input(node, 2)
    if not name:
        return None
    value = resolve_constant(name, scope)
    shape = scope.shapes.get(name) if isinstance(value, Refusal) else list(value.shape)
    if shape is None or len(shape) != 1 or shape[0] is None:
        raise Refused("bad-window", f"the window {name!r} has {_print_shape(shape)}, expected one known length")
    return shape[0]


def _print_shape(shape: list[int | None] | None) -> str:
    return "no known shape" if shape is None else f"shape {['?' if length is None else length for length in shape]}"


def _read_count(node: NodeProto, position: int, what: str, scope: Scope) -> int:
    """An integer operand; refused if it is not known before run time."""
    name = _name_input(node, position)
    require(bool(name), "bad-node", f"{what} is missing")
    value = resolve_constant(name, scope)
    if isinstance(value, Refusal):
        code = "runtime-operand" if value.code == "runtime-weight" else value.code
        raise Refused(code, f"{what} is not known before run time: {value.reason}", value.hint)
    is_count = value.size == 1 and value.dtype.kind in "iu"
    require(is_count, "bad-operand", f"{what} is {value.dtype} {list(value.shape)}, expected one integer")
    return int(value.reshape(()))


def _name_input(node: NodeProto, position: int) -> str:
    """The name of an input, "" if it is not there."""
    return node.input[position] if position < len(node.input) else ""


def _check_onesided(parts: int | None, *, onesided: bool, inverse: bool) -> None:
    """Half a spectrum suffices for real signals only."""
    if onesided and not inverse:
        require(parts == 1, "complex-onesided", "onesided, for a complex input, whose spectrum has no symmetry")
    if onesided and inverse:
        require(
            parts == 2, "real-half-spectrum", "inverse and onesided, it reads a half-spectrum, and its input is real"
        )


def _check_points(points: int, what: str) -> None:
    require(points >= 1, "bad-length", f"{what} is {points}, expected at least 1")
    require(points <= MAX_LENGTH, "too-long", f"{what} is {points}, {MAX_LENGTH} is the most")


def _check_size(shape: tuple[int | None, ...], points: int | None) -> None:
    """Refuse tensors beyond `MAX_VALUES`."""
    values = prod(length or ASSUMED_LENGTH for length in shape) * (points or 1)
    require(values <= MAX_VALUES, "too-large", f"a tensor may have {values:.1e} numbers, {MAX_VALUES:.1e} are the most")
