"""A fault in one place of a replaced Conv, in large ones too: a channel, a row at a border, a tile, the last output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnx_fft.checks.convcheck
from onnx_fft.checks.result import Validation
from onnx_fft.validate import validate
from scripts.shared.conv_models import Array
from tests.checks.pairs import make_model, text
from tests.marks import mark_slow
from tests.models import Dims

RNG = np.random.default_rng(5)

SHAPES: dict[str, tuple[Dims, tuple[int, ...], int]] = {
    "depthwise": ((2, 12, 40, 37), (12, 1, 9, 9), 12),
    "dense": ((1, 8, 30, 41), (10, 8, 5, 7), 1),
    "grouped": ((1, 8, 33, 30), (12, 4, 7, 5), 2),
    "1-D": ((1, 4, 1500), (4, 4, 257), 1),
}
"""Input, weight and group; "same" padding."""

PLACES: dict[str, tuple[slice, ...]] = {
    "channel": (slice(None), slice(2, 3)),
    "first row": (slice(None), slice(None), slice(0, 1)),
    "last row": (slice(None), slice(None), slice(-1, None)),
    "tile": (slice(0, 1), slice(None), slice(8, 16)),
    "last partial tile": (slice(-1, None), slice(None), slice(-3, None), slice(-3, None)),
}

BUDGETS = {
    "depthwise": {"whole": 1e9, "by FFT": 3e6, "sampled": 1e6},
    "dense": {"whole": 1e9, "sampled": 5e5},
    "grouped": {"whole": 1e9, "sampled": 5e5},
    "1-D": {"whole": 1e9, "by FFT": 1e6, "sampled": 4e5},
}
"""What makes each way of the oracle run; see `onnx_fft.fourier.maps`."""


def make_broken(shape: str, place: str, size: float) -> tuple[ModelProto, ModelProto]:
    """A Conv, and twice the sum with half the weight, with an error of about `size` times the RMS at the place."""
    x, w_shape, group = SHAPES[shape]
    weight = (RNG.standard_normal(w_shape) / np.sqrt(np.prod(w_shape[1:]))).astype(np.float32)
    pads = [k // 2 for k in w_shape[2:]] * 2
    options: dict[str, Any] = {"pads": pads, "group": group}
    relu, zero = helper.make_node("Mul", ["c", "zero"], ["y"]), np.zeros(1, np.float32)
    original = make_model(
        [helper.make_node("Conv", ["x", "w"], ["c"], "conv", **options), relu], {"w": weight, "zero": zero}, x=x
    )
    error: Array = np.zeros((x[0], w_shape[0], *x[2:]), np.float32)  # type: ignore[arg-type]
    error[PLACES[place][: error.ndim]] = size
    nodes = [
        helper.make_node("Conv", ["x", "half"], ["h"], **options),
        helper.make_node("Add", ["h", "h"], ["s"]),
        helper.make_node("Add", ["s", "error"], ["c"]),
        relu,
    ]
    return original, make_model(nodes, {"half": weight / 2, "error": error, "zero": zero}, x=x)


def check(shape: str, place: str, size: float) -> Validation:
    return validate(*make_broken(shape, place, size), seed=3)


CASES = [(shape, budget) for shape in SHAPES for budget in BUDGETS[shape]]
"""Every geometry with every way to pay for the oracle."""


@pytest.mark.parametrize("case", mark_slow(CASES, lambda case: case[0] != "1-D", "-".join), ids="-".join)
def test_a_fault_in_one_place_is_found(monkeypatch: pytest.MonkeyPatch, case: tuple[str, str]) -> None:
    shape, budget = case
    monkeypatch.setattr(onnx_fft.checks.convcheck, "BUDGET", BUDGETS[shape][budget])
    right = check(shape, "channel", 0.0)
    assert right.ok, text(right)
    [conv] = right.convs
    assert (conv.checked_outputs < conv.all_outputs) is (budget == "sampled")
    for place in PLACES:
        found = check(shape, place, 1e-2)
        assert found.convs[0].ok is False, (place, text(found))


def make_double(weight: Array, offset: float, dtype: int, *, slip: float = 0.0) -> tuple[ModelProto, ModelProto]:
    """A Conv over `x + offset`, and the sum of its upper and its lower taps, every upper one off by `slip`."""
    x: Dims = (1, 1, 40, 40)
    shift = helper.make_node("Add", ["x", "offset"], ["t"])
    constants = {"offset": np.asarray(offset, weight.dtype), "w": weight}
    original = make_model([shift, helper.make_node("Conv", ["t", "w"], ["y"], "conv")], constants, x=x, dtype=dtype)
    top, bottom = weight.copy() + np.asarray(slip, weight.dtype), weight.copy()
    top[:, :, 7:], bottom[:, :, :7] = 0, 0
    nodes = [
        shift,
        helper.make_node("Conv", ["t", "top"], ["a"]),
        helper.make_node("Conv", ["t", "bottom"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    doubled = {"offset": constants["offset"], "top": top, "bottom": bottom}
    return original, make_model(nodes, doubled, x=x, dtype=dtype)


def draw_zero_mean() -> Array:
    weight = RNG.standard_normal((1, 1, 15, 15)) / 15
    return np.asarray(weight - weight.mean(), np.float32)


def test_sums_that_cancel_are_judged_by_how_far_the_original_is() -> None:
    weight = draw_zero_mean()
    [conv] = validate(*make_double(weight, 1e5, 1)).convs
    assert conv.ok is True, conv.sentence
    assert "the sums cancel on this input" in conv.sentence and "on random input, alone" in conv.sentence
    assert validate(*make_double(weight, 1e5, 1, slip=1e-3)).convs[0].ok is False


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_in_both_is_no_difference(value: float) -> None:
    weight = draw_zero_mean()
    weight[0, 0, 3, 3] = value
    original, rewritten = make_double(np.concatenate([weight, draw_zero_mean()]), 0, 1)
    [conv] = validate(original, rewritten).convs
    assert conv.ok is True, conv.sentence
    for tensor in rewritten.graph.initializer:
        if tensor.name == "top":
            values = numpy_helper.to_array(tensor).copy()
            values[0, 0, 3, 3] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, "top"))
    assert validate(original, rewritten).convs[0].ok is False
