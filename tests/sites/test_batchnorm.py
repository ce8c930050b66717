"""A BatchNormalization behind a Conv is folded into its weights if nothing else reads between the two."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_fft.model.io import load_model
from scripts.shared.conv_models import build_conv_model
from scripts.shared.running import run_model
from tests.sites.finding import find_convs, only_site, parse

NORMALIZED = "g (float[1,3,8,8] x) => (float[1,4,6,6] y) { h = Conv(x, W, B) y = BatchNormalization(h, S, B, S, S) }"


def test_batch_normalization_folds() -> None:
    model = parse(NORMALIZED)
    site = only_site(model)
    assert site.output == "y"
    assert [node.op_type for node in site.followers] == ["BatchNormalization"]
    weights = site.read_weights()
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    assert site.spec is not None and weights.bias is not None
    folded = build_conv_model(site.spec, weights.weight.astype("f4"), weights.bias.astype("f4"))
    y, y_folded = (run_model(held, {"x": x})[0] for held in (model, folded))
    np.testing.assert_allclose(y_folded, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        NORMALIZED.replace("(h, S, B, S, S)", "<training_mode=1>(h, S, B, S, S)"),
        NORMALIZED.replace("y = Batch", "y, m, v = Batch").replace("(h,", "<training_mode=1>(h,"),
        NORMALIZED.replace("[1,4,6,6] y)", "[1,4,6,6] y, float[1,4,6,6] h)"),
        NORMALIZED.replace("y = Batch", "z = Relu(h) y = Batch"),
        NORMALIZED.replace("(float[1,3,8,8] x)", "(float[1,3,8,8] x, float[4] V)").replace("S, S)", "S, V)"),
        NORMALIZED.replace("(float[1,3,8,8] x)", "(float[1,3,8,8] x, float[4] V)").replace("W, B)", "W, V)"),
        NORMALIZED.replace("Conv(x", 'com.microsoft.FusedConv<activation="Relu">(x'),
        NORMALIZED.replace("y = Batch", "z = Loop(n, c) <body = b (i, k) => (k, h) {}> y = Batch").replace(
            "(float[1,3,8,8] x)", "(float[1,3,8,8] x, int64 n, bool c)"
        ),
    ],
    ids=["training", "outputs", "graph-output", "second-reader", "parameter", "bias", "activation", "captured"],
)
def test_batch_normalization_stays(text: str) -> None:
    site = find_convs(load_model(parse(text)))[0]
    assert site.refusal is None
    assert site.followers == ()
    assert site.output == "h"


@pytest.mark.parametrize(
    ("opset", "attributes", "folds"),
    [
        (6, "", False),
        (6, "<is_test=1>", True),
        (6, "<is_test=1, spatial=0>", False),
        (7, "", True),
        (7, "<spatial=0>", False),
        (9, "", True),
    ],
)
def test_batch_normalization_of_old_opsets(opset: int, attributes: str, folds: bool) -> None:
    text = NORMALIZED.replace("Normalization", f"Normalization{attributes}")
    model = parse(text, ir_version=4, opset=opset)
    assert bool(only_site(model).followers) == folds
