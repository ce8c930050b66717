"""Models for ONNX Runtime's CUDA provider, and the operators that only it has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto, NodeProto, helper

from onnx_fft import Rewritten, rewrite
from onnx_fft.model.scopes import MICROSOFT_DOMAIN
from onnx_fft.runtime.cuda import find_cuda_problem

no_gpu = pytest.mark.skipif(not find_cuda_problem(), reason="the CUDA provider works here; test_cuda_gpu.py runs it")
"""Marks what happens without a GPU."""


LIMITS = {"float16": 2e-2, "float32": 1e-5, "float64": 1e-12}
"""Error allowed to an FFT operator, by dtype, as a part of the largest value."""


def contrib_node(op_type: str, inputs: Sequence[str], y: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, inputs, [y], domain=MICROSOFT_DOMAIN, **attributes)


def fft_node(op_type: str, x: str, y: str, axes: int, **flags: int) -> NodeProto:
    return contrib_node(op_type, [x], y, **{"signal_ndim": axes, "normalized": 0, "onesided": 1, **flags})


def rewrite_for_cuda(model: ModelProto | Path, lowering: str = "rfft", **options: Any) -> Rewritten:
    """Whatever can be replaced; not validated unless that is asked for."""
    return rewrite(model, target="cuda", lowering=lowering, select="all", **{"validate": False, **options})
