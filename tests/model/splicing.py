"""Splicing by hand, as the pass does it."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto, TensorProto

from onnx_fft.model.splice import splice
from onnx_fft.provenance import make_marks
from onnx_fft.sites.conv import ConvSite


def splice_site(
    site: ConvSite, nodes: Sequence[NodeProto], initializers: Sequence[TensorProto], lowering: str = ""
) -> None:
    splice(site.scope, site.nodes, site.constants, nodes, initializers, make_marks(site.name, lowering))
