"""The valid models that mutations start from: a family is drawn first, then one of its models."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random

import onnx
from onnx import ModelProto

from scripts.fuzz.drawn import draw_model
from scripts.shared.paths import MODELS
from scripts.shared.standard_cases import (
    DATA,
    bake_inputs,
    causal_cases,
    conv_cases,
    converted_cases,
    fourier_cases,
    other_cases,
    transposed_cases,
)

FAMILIES: tuple[tuple[str, int], ...] = (("drawn", 16), ("cases", 4), ("simple", 1), ("models", 1))
"""Where a model comes from, and how often."""


@lru_cache
def _load_cases() -> tuple[ModelProto, ...]:
    """The standard's: operators alone, Convs among others at the newest opset, left-alone kinds, opset 6 of PyTorch."""
    fourier = [bake_inputs(case, list(case.feeds)[1:]) for case in fourier_cases()]
    cases = (*conv_cases(), *transposed_cases(), *causal_cases(), *other_cases(), *converted_cases(), *fourier)
    return tuple(case.model for case in cases)


@lru_cache
def _load_simple() -> tuple[ModelProto, ...]:
    """The standard's small graphs, sequences and strings among them."""
    return tuple(onnx.load(path) for path in sorted((DATA / "simple").glob("*/model.onnx")))


@lru_cache
def _load_models() -> tuple[ModelProto, ...]:
    return tuple(onnx.load(path) for path in sorted(MODELS.glob("*.onnx")))


STORED: dict[str, Callable[[], tuple[ModelProto, ...]]] = {
    "cases": _load_cases,
    "simple": _load_simple,
    "models": _load_models,
}


def draw_valid(rng: Random) -> ModelProto:
    """A model of one's own, to be changed at will."""
    (family,) = rng.choices([name for name, _ in FAMILIES], [weight for _, weight in FAMILIES])
    if family == "drawn":
        return draw_model(rng)
    copy = ModelProto()
    copy.CopyFrom(rng.choice(STORED[family]()))
    return copy
