"""Models rewritten for the native library, whatever gains from it, and how close their outputs have to be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from onnx_fft import rewrite
from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import Array

RTOL = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-13}
"""Of the largest value of the output, by dtype."""


def forced(model: ModelProto, **options: Any) -> ModelProto:
    """The model with every convolution replaced, checked by onnx's checker."""
    rewritten = rewrite(model, target="native", select="all", **options).model
    onnx.checker.check_model(rewritten, full_check=True)
    return rewritten


def native_nodes(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.domain == OPERATOR_DOMAIN]


def assert_close(values: Sequence[Array], references: Sequence[Array]) -> None:
    assert len(values) == len(references) > 0
    for value, reference in zip(values, references, strict=True):
        assert (value.dtype, value.shape) == (reference.dtype, reference.shape)
        scale = float(np.abs(reference.astype(np.float64)).max())
        assert scale > 0.1
        np.testing.assert_allclose(value, reference, rtol=0, atol=RTOL[str(reference.dtype)] * scale)
