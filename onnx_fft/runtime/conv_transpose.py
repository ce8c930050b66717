"""ConvTranspose for onnx's evaluator, whose own (up to 1.23) fails for groups and for an output_shape by itself.

It reads the attributes by the standard alone, apart from the rewriter's code, which its results judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from onnx_fft.fourier.oracle import TransposedGeometry, conv_transpose_direct


def resolve_transposed(
    given: Mapping[str, Any], x_shape: Sequence[int], weight_shape: Sequence[int]
) -> TransposedGeometry:
    """Attributes with ONNX's defaults filled in, auto_pad and output_shape worked out for this input."""
    axes = len(x_shape) - 2
    strides, dilations = (tuple(given.get(name) or [1] * axes) for name in ("strides", "dilations"))
    added = tuple(given.get("output_padding") or [0] * axes)
    pads = list(given.get("pads") or [0] * 2 * axes)
    mode = given.get("auto_pad") or "NOTSET"
    mode = mode.decode() if isinstance(mode, bytes) else mode
    wanted = list(given.get("output_shape") or [])
    if mode in ("SAME_UPPER", "SAME_LOWER") and not wanted:
        wanted = [size * stride for size, stride in zip(x_shape[2:], strides, strict=True)]
    if wanted:
        plain = TransposedGeometry(1, strides, dilations, (0,) * axes, (0,) * axes, added)
        natural = plain.output_extents(x_shape[2:], weight_shape[2:])
        totals = [length - asked for length, asked in zip(natural, wanted, strict=True)]
        added = tuple(more + max(0, -total) for more, total in zip(added, totals, strict=True))
        halves = [max(0, total) // 2 for total in totals]
        rest = [max(0, total) - half for total, half in zip(totals, halves, strict=True)]
        pads = [*halves, *rest] if mode == "SAME_UPPER" else [*rest, *halves]
    group = int(given.get("group") or 1)
    return TransposedGeometry(group, strides, dilations, tuple(pads[:axes]), tuple(pads[axes:]), added)


class ConvTranspose(OpRun):
    """By its definition, in float64."""

    op_domain = ""

    def _run(
        self, x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None = None, **given: Any
    ) -> tuple[NDArray[Any]]:
        geometry = resolve_transposed(given, x.shape, weight.shape)
        return (np.asarray(conv_transpose_direct(x, weight, bias, geometry)).astype(x.dtype),)
