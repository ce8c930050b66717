"""ConvTransposes, DFTs and STFTs at the end of a chain, and STFTs and their inverses that are written as Convs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from random import Random
from typing import Any

import numpy as np

from scripts.fuzz.chain import Chain
from scripts.shared.conv_models import Array

MOST_TAPS = {1: 40, 2: 9, 3: 4}
"""Of a ConvTranspose, by rank."""
LONG = 4096
"""Values of an image from which no stride makes it longer."""
TRANSFORMS_OPSET, AXIS_INPUT_OPSET = 17, 20
"""The opsets that brought DFT and STFT, and that made the axis of a DFT an input."""
AXES_INPUT_OPSETS = {"Unsqueeze": 13, "ReduceSumSquare": 18, "ReduceL2": 18}
"""Those that made the axes of these an input."""
BASIS_POINTS = (32, 33, 40, 64)
"""Of the DFTs that weights are a basis of; with fewer taps the library looks for none."""


def add_conv_transpose(chain: Chain) -> None:
    """One of any geometry, of random weights."""
    rng, (_, channels, *extents) = chain.rng, chain.shape
    rank = len(extents)
    group = rng.choice([each for each in (1, 1, 2, channels) if channels % each == 0])
    per_group = rng.randint(1, 3)
    kernel = [rng.randint(1, MOST_TAPS[rank]) for _ in extents]
    longer = (1, 1, 2, 3, 5) if prod(extents) < LONG else (1,)
    strides, dilations = ([rng.choice(steps) for _ in extents] for steps in (longer, (1, 1, 2, 3)))
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    lengths = [s * (n - 1) + span for s, n, span in zip(strides, extents, spans, strict=True)]
    cropping, outputs = _crop(rng, lengths, spans, strides)
    inputs = [chain.store(channels, per_group, *kernel)]
    inputs += [chain.store(group * per_group)] if rng.random() < 0.5 else []
    chain.add("ConvTranspose", *inputs, group=group, strides=strides, dilations=dilations, **cropping)
    chain.shape[1:] = [group * per_group, *outputs]


def _crop(
    rng: Random, lengths: Sequence[int], spans: Sequence[int], strides: Sequence[int]
) -> tuple[dict[str, Any], list[int]]:
    """Attributes that crop outputs of `lengths`, or add to them, and the lengths that result."""
    how = rng.choice(("pads", "pads", "VALID", "SAME_UPPER", "SAME_LOWER", "output_shape", "none"))
    if how == "pads":
        added = [rng.randrange(stride) for stride in strides]
        begin, end = ([rng.randint(0, (length - 1) // 2) for length in lengths] for _ in range(2))
        outputs = [n - b - e + more for n, b, e, more in zip(lengths, begin, end, added, strict=True)]
        return {"pads": [*begin, *end], "output_padding": added}, outputs
    if how == "output_shape":
        outputs = [rng.randint((length + 1) // 2, length) for length in lengths]
        mode = rng.choice(("NOTSET", "SAME_UPPER", "SAME_LOWER"))
        return {"output_shape": outputs, "auto_pad": mode}, outputs
    if how.startswith("SAME") and all(span >= stride for span, stride in zip(spans, strides, strict=True)):
        rows = zip(lengths, spans, strides, strict=True)
        return {"auto_pad": how}, [length - (span - stride) for length, span, stride in rows]
    return ({"auto_pad": "VALID"} if how == "VALID" else {}), list(lengths)


def add_dft(chain: Chain) -> None:
    """Of real samples along any axis; real and imaginary parts stand side by side behind it. Some go there and back."""
    rng, rank = chain.rng, len(chain.shape)
    if chain.opset < TRANSFORMS_OPSET:
        return
    _add_with_axes(chain, "Unsqueeze", [rank])
    axis, onesided = rng.randrange(1, rank), rng.random() < 0.5
    length = rng.choice((0, 0, rng.randint(1, 2 * chain.shape[axis])))
    _add_transform(chain, axis, length, onesided=int(onesided))
    points = length or chain.shape[axis]
    chain.shape[axis] = points // 2 + 1 if onesided else points
    if not onesided and rng.random() < 0.5:
        _add_transform(chain, axis, 0, inverse=1)
    chain.add("Reshape", chain.hold(np.array([0] * (rank - 1) + [-1], np.int64)))
    chain.shape[-1] *= 2


def _add_transform(chain: Chain, axis: int, length: int, **attributes: int) -> None:
    """A DFT of `length` points, 0 for as many as there are."""
    inputs = [chain.hold(np.array(length, np.int64)) if length else ""]
    place = axis - chain.rng.choice((0, len(chain.shape) + 1))
    if chain.opset < AXIS_INPUT_OPSET:
        attributes["axis"] = place
    else:
        inputs.append(chain.hold(np.array(place, np.int64)))
    chain.add("DFT", *inputs, **attributes)


def add_stft(chain: Chain) -> None:
    """Of each row of a chain of one axis: frames become its channels. Some become power or magnitude."""
    rng = chain.rng
    if chain.opset < TRANSFORMS_OPSET or len(chain.shape) != 3:
        return
    rows, samples = chain.shape[0] * chain.shape[1], chain.shape[2]
    chain.add("Flatten", axis=2)
    if rng.random() < 0.5:
        _add_with_axes(chain, "Unsqueeze", [2])
    points, step, onesided = rng.randint(1, samples), rng.randint(1, 20), rng.random() < 0.7
    has_window = rng.random() < 0.7
    window = chain.store(points) if has_window else ""
    length = "" if has_window and rng.random() < 0.5 else chain.hold(np.array(points, np.int64))
    chain.add("STFT", chain.hold(np.array(step, np.int64)), window, length, onesided=int(onesided))
    chain.shape[:] = [rows, (samples - points) // step + 1, points // 2 + 1 if onesided else points, 2]
    if rng.random() < 0.5:
        _add_with_axes(chain, rng.choice(("ReduceSumSquare", "ReduceL2")), [3], keepdims=0)
        del chain.shape[3]


def _add_with_axes(chain: Chain, op_type: str, axes: list[int], **attributes: int) -> None:
    if chain.opset < AXES_INPUT_OPSETS[op_type]:
        chain.add(op_type, axes=axes, **attributes)
    else:
        chain.add(op_type, chain.hold(np.array(axes, np.int64)), **attributes)


def add_stft_by_conv(chain: Chain) -> None:
    """A Conv of each channel of one axis whose weight is a windowed DFT basis, and at times its inverse behind it."""
    rng, (_, channels, *extents) = chain.rng, chain.shape
    if len(extents) != 1:
        return
    taps, hop = rng.choice(BASIS_POINTS), rng.choice((1, 8, 13, 50))
    basis, pad = np.tile(draw_basis(rng, taps), (channels, 1, 1)), rng.choice((taps // 2, taps - 1))
    if extents[0] + 2 * pad < taps:
        return
    chain.add("Conv", chain.hold(basis.astype(chain.dtype)), group=channels, strides=[hop], pads=[pad, pad])
    chain.shape[1:] = [len(basis), (extents[0] + 2 * pad - taps) // hop + 1]
    if rng.random() < 0.5:
        _add_inverse(chain, channels, taps, hop)


def _add_inverse(chain: Chain, group: int, taps: int, hop: int) -> None:
    """The ConvTranspose whose weight is such a basis, for the rows of `group` signals."""
    rng, frames = chain.rng, chain.shape[2]
    basis, added = np.tile(draw_basis(rng, taps), (group, 1, 1)), rng.randrange(hop)
    total = hop * (frames - 1) + taps + added
    begin, end = (rng.randint(0, (total - 1) // 2) for _ in range(2))
    inputs = [chain.hold(basis.astype(chain.dtype)), *([chain.store(group)] if rng.random() < 0.3 else [])]
    chain.add("ConvTranspose", *inputs, group=group, strides=[hop], pads=[begin, end], output_padding=[added])
    chain.shape[1:] = [group, total - begin - end]


def draw_basis(rng: Random, taps: int) -> Array:
    """Rows `[2 * bins, 1, taps]` of cosines, then sines, under one window, in an order of their own or scaled at times.

    At times one weight is off, so that it is no basis, unless it has to be one.
    """
    values = np.random.default_rng(rng.getrandbits(32))
    angles = 2 * np.pi / taps * np.outer(np.arange(taps // 2 + 1), np.arange(taps))
    rows: Array = np.concatenate([np.cos(angles), -np.sin(angles)]) * np.hanning(taps + 2)[1:-1]
    if rng.random() < 0.3:
        rows = rows[values.permutation(len(rows))]
    if rng.random() < 0.3:
        rows = rows * values.uniform(0.5, 2, (len(rows), 1))
    if rng.random() < 0.2:
        rows[values.integers(len(rows)), values.integers(taps)] += 1e-3
    return rows[:, None]
