"""Marks of tests: slow ones, and those that old versions of ONNX Runtime cannot run.

What takes a second or more is slow, so that `pytest -m "not slow"` leaves it out. One case of every kind stays, and CI
runs them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import onnx
import onnxruntime
import pytest

from scripts.shared.layers import Layer

SLOW_LAYERS = ("31x31 3->64 224x224", "dw 31x31 128x56x56", "dw 51x51 96x56x56")
"""Rows of the layer table with so many plans that trying them all takes seconds."""


def mark_slow(values: Iterable[Any], is_slow: Callable[[Any], bool], name: Callable[[Any], str] = str) -> list[Any]:
    """The parameters of a test, those that are slow marked so."""
    return [pytest.param(v, marks=pytest.mark.slow, id=name(v)) if is_slow(v) else v for v in values]


def by_layer(layers: Sequence[Layer]) -> pytest.MarkDecorator:
    """Parametrizes a test that tries every plan of a layer."""
    marked = mark_slow(layers, lambda layer: layer.name in SLOW_LAYERS, lambda layer: layer.name)
    return pytest.mark.parametrize("layer", marked, ids=lambda layer: layer.name)


ONNX_VERSION = tuple(int(part) for part in onnx.__version__.split(".")[:2])
ORT_VERSION = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])


def since_onnxruntime(minor: int, gap: str) -> pytest.MarkDecorator:
    """For a test that no ONNX Runtime before 1.`minor` can run; `gap` says what that one lacks."""
    return pytest.mark.skipif((1, minor) > ORT_VERSION, reason=f"ONNX Runtime before 1.{minor} {gap}")


with_addends = since_onnxruntime(24, "fails or is wrong on a FusedConv with an addend")
"""Seen on 1.17.3 and 1.23.2, on the original model."""
