"""Models of one ConvTranspose, drawn at random or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, helper

from onnx_fft.model.io import load_model
from onnx_fft.sites.conv_transpose import ConvTransposeSite
from onnx_fft.sites.find import find_sites
from onnx_fft.sites.transposed import ConvTransposeSpec
from scripts.shared.conv_models import TENSOR_TYPES, Array
from tests.models import Dims, build_model, info

MAX_TAPS, MAX_EXTENT = {1: 12, 2: 6, 3: 3}, {1: 30, 2: 9, 3: 5}
"""Of a random example, by rank."""


@dataclass(frozen=True)
class Transposed:
    """One ConvTranspose `x [batch, in_channels, *extents]`, `w [in_channels, per_group, *kernel]`, with its attributes.

    `attributes` are those given; `open` says which of batch and extents the model leaves open.
    """

    extents: tuple[int, ...] = (9, 7)
    kernel: tuple[int, ...] = (4, 3)
    in_channels: int = 4
    per_group: int = 3
    group: int = 2
    batch: int = 2
    dtype: str = "float32"
    has_bias: bool = True
    opset: int = 17
    open: tuple[bool, ...] = ()
    attributes: tuple[tuple[str, Any], ...] = (("strides", (3, 2)),)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.batch, self.in_channels, *self.extents)

    @property
    def dims(self) -> Dims:
        """Of the input as the model states it."""
        flags = [*self.open, *[False] * len(self.shape)]
        batch, *extents = (f"n{place}" if flag else None for place, flag in enumerate(flags[: len(self.extents) + 1]))
        names = (batch, None, *extents)
        return [name or length for name, length in zip(names, self.shape, strict=True)]

    def node(self, x: str = "x", y: str = "y") -> NodeProto:
        names = [x, "w", *(["b"] if self.has_bias else [])]
        return helper.make_node("ConvTranspose", names, [y], "up", group=self.group, **dict(self.attributes))

    def constants(self, seed: int = 0) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        weight = rng.standard_normal((self.in_channels, self.per_group, *self.kernel))
        weight /= np.sqrt(weight[:, 0].size / self.group)
        bias = {"b": rng.standard_normal(self.per_group * self.group).astype(self.dtype)} if self.has_bias else {}
        return {"w": weight.astype(self.dtype), **bias}

    def draw(self, seed: int = 1) -> Array:
        x: Array = np.random.default_rng(seed).standard_normal(self.shape).astype(self.dtype)
        return x

    def model(self, behind: Sequence[NodeProto] = (), seed: int = 0) -> ModelProto:
        """From `x` to `y`; with nodes `behind`, which give `y`, the ConvTranspose gives `c`."""
        kind = TENSOR_TYPES[self.dtype]
        nodes = [self.node(y="c" if behind else "y"), *behind]
        return build_model(
            nodes, [info("x", kind, self.dims)], [info("y", kind)], self.constants(seed), opset=self.opset
        )


def find_transposed(model: ModelProto) -> ConvTransposeSite:
    (site,) = find_sites(load_model(model))
    assert isinstance(site, ConvTransposeSite)
    return site


def spec_of(model: ModelProto) -> ConvTransposeSpec:
    site = find_transposed(model)
    assert site.spec is not None, site.refusal
    return site.spec


@st.composite
def transposed(draw: st.DrawFn) -> Transposed:
    """Any that ONNX Runtime and the standard agree on."""
    rank = draw(st.sampled_from((1, 1, 2, 2, 3)))

    def each(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(least, most), min_size=rank, max_size=rank)))

    kernel, strides, dilations = each(1, MAX_TAPS[rank]), each(1, 4), each(1, 3)
    extents = each(1, MAX_EXTENT[rank])
    group = draw(st.integers(1, 3))
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations}
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    natural = [s * (n - 1) + span for s, n, span in zip(strides, extents, spans, strict=True)]
    how = draw(st.sampled_from(("pads", "pads", "VALID", "SAME_UPPER", "SAME_LOWER", "output_shape")))
    if how == "pads":
        added = [draw(st.integers(0, stride - 1)) for stride in strides]
        begin = [draw(st.integers(0, length - 1)) for length in natural]
        end = [draw(st.integers(0, length - 1 - pad)) for length, pad in zip(natural, begin, strict=True)]
        attributes |= {"pads": (*begin, *end), "output_padding": added}
    elif how == "output_shape":
        mode, added = draw(st.sampled_from(("NOTSET", "SAME_UPPER", "SAME_LOWER"))), [0] * rank
        if mode == "NOTSET" and draw(st.booleans()):  # longer than what the kernel reaches, or with output_padding
            added = [draw(st.integers(0, stride - 1)) for stride in strides]
            attributes |= {"output_padding": added} if draw(st.booleans()) else {}
        attributes |= {how: [draw(st.integers(1, n + more)) for n, more in zip(natural, added, strict=True)]}
        attributes |= {"auto_pad": mode}
    elif how == "VALID" or all(span >= stride for span, stride in zip(spans, strides, strict=True)):
        attributes |= {"auto_pad": how}
    opens = tuple(draw(st.booleans()) and how != "output_shape" for _ in range(rank + 1))
    return Transposed(
        extents,
        kernel,
        group * draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
        group,
        draw(st.integers(1, 2)),
        draw(st.sampled_from(("float16", "float32", "float64"))),
        draw(st.booleans()),
        draw(st.sampled_from((11, 17, 20))),
        opens,
        tuple(attributes.items()),
    )
