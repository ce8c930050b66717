"""Models of one Conv and what stands behind it, rewritten, and spoilt after that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from onnx_fft.checks.result import Validation
from onnx_fft.rewrite import rewrite
from onnx_fft.validate import validate
from scripts.shared.conv_models import Array
from tests.checks.pairs import make_model
from tests.models import FLOAT

RNG = np.random.default_rng(11)
W: Array = (RNG.standard_normal((4, 4, 11, 11)) / 22).astype(np.float32)
node = helper.make_node


def make_tail(
    tail: Sequence[NodeProto], constants: Mapping[str, Any] | None = None, *, weight: Array = W, **options: Any
) -> ModelProto:
    """A Conv from `x` to `c`, and `tail` from there to `y`."""
    stored = {name: np.asarray(value) for name, value in (constants or {}).items()}
    first = node("Conv", ["x", "w"], ["c"], name="wide", pads=[5] * 4)
    return make_model([first, *tail], {"w": weight, **stored}, **{"x": (1, 4, 48, 48), **options})


def replace_all(model: ModelProto) -> ModelProto:
    rewritten = rewrite(model, select="all", validate=False)
    assert len(rewritten.report.replaced) == 1
    return rewritten.model


def judge(model: ModelProto, **options: Any) -> Validation:
    return validate(model, replace_all(model), **options)


def spoil(model: ModelProto, factor: float = 1.5) -> ModelProto:
    """With the first large constant times `factor`: the matrix of a transform."""
    wrong = ModelProto()
    wrong.CopyFrom(model)
    large = next(t for t in wrong.graph.initializer if t.data_type == FLOAT and np.prod(t.dims) > 1000)
    large.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(large) * np.float32(factor), large.name))
    return wrong
