"""The layer table through `matmul`, in every kind of plan: float32 error against float64.

Channels are cut to what the direct sum can afford; kernels, extents, groups and plans stay those of the table.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from onnx_fft.fourier.oracle import Sample, conv_direct, conv_direct_at, sample_conv
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.lowering.matmul import MatMulLowering
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.conv_models import Array
from scripts.shared.layers import LAYERS, TRAPS
from scripts.shared.running import run_model
from tests.lowered import lower
from tests.strategies import plan_kind, spectrum_size

MAX_RELATIVE_L2 = 2e-6
MAX_CHANNELS = 4
BUDGET = 3e7
"""Multiply-adds of the direct sum; beyond it a seeded part of the outputs is checked."""

SPECS = {layer.name: layer.spec for layer in (*LAYERS, *TRAPS)}


def cut_channels(spec: ConvSpec) -> ConvSpec:
    """The same layer with few channels, and as many groups if it is depthwise."""
    inputs, outputs = min(spec.in_channels, MAX_CHANNELS), min(spec.out_channels, MAX_CHANNELS)
    return replace(spec, in_channels=inputs, out_channels=outputs, group=inputs if spec.group > 1 else 1)


def plans_to_try(spec: ConvSpec) -> list[ConvPlan]:
    """Of each kind of plan, whole or tiled and one matrix or factored, the one of median size; all axes of one kind."""
    kinds: dict[tuple[bool, bool], list[ConvPlan]] = {}
    for plan in MatMulLowering().candidates(spec):
        first, *others = plan_kind(plan)
        if all(other == first for other in others):
            kinds.setdefault(first, []).append(plan)
    return [sorted(plans, key=lambda plan: spectrum_size(spec, plan))[len(plans) // 2] for plans in kinds.values()]


def describe(plan: ConvPlan) -> str:
    axis = plan.axes[0]
    return f"{'whole' if axis.whole else 'tiled'}-{axis.rows}x{axis.columns}"


ROWS = [(name, plan) for name, spec in SPECS.items() for plan in plans_to_try(cut_channels(spec))]
QUICK = ("3x3 64->64 224x224", "dw 13x13 512x14x14")
by_row = pytest.mark.parametrize(
    "name, plan",
    [
        pytest.param(name, plan, id=f"{name}, {describe(plan)}", marks=() if name in QUICK else pytest.mark.slow)
        for name, plan in ROWS
    ],
)


@lru_cache(maxsize=1)
def compute_layer(name: str) -> tuple[Array, NDArray[np.float64], Sample | None]:
    """The input of a layer, its outputs in float64, and which outputs these are."""
    spec = cut_channels(SPECS[name])
    lowered = lower(MatMulLowering(), spec, MatMulLowering().candidates(spec)[0], 17)
    x = lowered.make_feeds((1, spec.in_channels, *(extent or 0 for extent in spec.extents)), np.random.default_rng(0))[
        "x"
    ]
    geometry = spec.geometry
    sample = sample_conv(x.shape, lowered.weight.shape, geometry, BUDGET, seed=0)
    if sample is None:
        return x, conv_direct(x, lowered.weight, lowered.bias, geometry), None
    return x, conv_direct_at(x, lowered.weight, lowered.bias, geometry, sample), sample


@by_row
def test_error_of_layer(name: str, plan: ConvPlan) -> None:
    spec = cut_channels(SPECS[name])
    x, truth, sample = compute_layer(name)
    (y,) = run_model(lower(MatMulLowering(), spec, plan, 17).model, {"x": x})
    assert y.shape == (1, spec.out_channels, *spec.output_extents)
    assert np.isfinite(y).all()
    part = (y if sample is None else sample.take(y)).astype(np.float64)
    error = np.linalg.norm(part - truth) / np.linalg.norm(truth)
    assert truth.size >= 100
    assert error <= MAX_RELATIVE_L2
    assert error > 0, "float32 cannot be exact: the truth was not computed in float64"


def test_every_kind_of_plan_is_tried() -> None:
    tried = {kind for spec in SPECS.values() for plan in plans_to_try(cut_channels(spec)) for kind in plan_kind(plan)}
    assert tried == {(False, False), (False, True), (True, False), (True, True)}
