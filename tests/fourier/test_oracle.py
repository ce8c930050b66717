"""The oracle against numbers done by hand, a Python loop, ONNX Runtime and the standard's own cases."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from onnx_fft.checks.convcheck import resolve_geometry
from onnx_fft.fourier.oracle import (
    ConvGeometry,
    conv_direct,
    conv_direct_at,
    count_multiply_adds,
    sample_conv,
)
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.conv_models import Array, build_conv_model
from scripts.shared.running import run_model
from scripts.shared.standard_cases import Case, conv_cases


def make_geometry(
    rank: int, *, group: int = 1, stride: int = 1, dilation: int = 1, pads: tuple[int, int] = (0, 0)
) -> ConvGeometry:
    return ConvGeometry(group, (stride,) * rank, (dilation,) * rank, (pads[0],) * rank, (pads[1],) * rank)


def conv_by_python_loops(x: Array, w: Array, b: Array, g: ConvGeometry) -> Array:
    """Six nested loops and scalar arithmetic: nothing shared with the oracle but the formula."""
    outputs = g.output_extents(x.shape[2:], w.shape[2:])
    y = np.zeros((x.shape[0], w.shape[0], *outputs))
    for n, o, *t in itertools.product(*(range(s) for s in y.shape)):
        value = float(b[o])
        first = (o // (w.shape[0] // g.group)) * w.shape[1]
        for c, *k in itertools.product(*(range(s) for s in w.shape[1:])):
            at = [t[i] * g.strides[i] + k[i] * g.dilations[i] - g.pads_begin[i] for i in range(len(k))]
            if all(0 <= p < size for p, size in zip(at, x.shape[2:], strict=True)):
                value += float(w[(o, c, *k)]) * float(x[(n, first + c, *at)])
        y[(n, o, *t)] = value
    return y


def test_numbers_done_by_hand() -> None:
    x, w = np.array([[[1.0, 2.0, 3.0]]]), np.array([[[10.0, 1.0]]])
    assert conv_direct(x, w, None, make_geometry(1)).tolist() == [[[12.0, 23.0]]]
    assert conv_direct(x, w, [0.5], make_geometry(1, pads=(1, 0))).tolist() == [[[1.5, 12.5, 23.5]]]
    assert conv_direct(x, w, None, make_geometry(1, pads=(0, 2), dilation=2)).tolist() == [[[13.0, 20.0, 30.0]]]
    assert conv_direct(x, w, None, make_geometry(1, pads=(-1, 0))).tolist() == [[[23.0]]]


CASES = [
    (1, (2, 4, 11), (6, 2, 3), {"group": 2, "stride": 2, "dilation": 2, "pads": (1, 3)}),
    (1, (1, 3, 9), (3, 1, 4), {"group": 3, "pads": (3, 0)}),
    (2, (1, 2, 6, 7), (3, 2, 3, 2), {"stride": 2, "pads": (0, 1)}),
    (2, (2, 2, 5, 5), (4, 1, 2, 3), {"group": 2, "dilation": 2, "pads": (2, 1)}),
    (3, (1, 2, 3, 4, 5), (2, 2, 1, 3, 2), {"pads": (1, 1)}),
    (4, (1, 1, 3, 2, 3, 3), (2, 1, 2, 1, 2, 2), {}),
]


@pytest.mark.parametrize(("rank", "x_shape", "w_shape", "attributes"), CASES)
def test_equals_python_loops(
    rank: int, x_shape: tuple[int, ...], w_shape: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    rng = np.random.default_rng(1)
    x, w, b = rng.standard_normal(x_shape), rng.standard_normal(w_shape), rng.standard_normal(w_shape[0])
    geometry = make_geometry(rank, **attributes)
    expected = conv_by_python_loops(x, w, b, geometry)
    whole = conv_direct(x, w, b, geometry)
    assert whole.shape == expected.shape
    assert whole.size > 0
    np.testing.assert_allclose(whole, expected, rtol=1e-12, atol=1e-12)
    sample = sample_conv(x_shape, w_shape, geometry, count_multiply_adds(x_shape, w_shape, geometry) / 3, seed=2)
    assert sample is not None
    part = conv_direct_at(x, w, b, geometry, sample)
    assert part.size > 0
    np.testing.assert_allclose(part, np.asarray(sample.take(expected), np.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", conv_cases(), ids=lambda case: case.name)
def test_agrees_with_the_standards_own_cases(case: Case) -> None:
    [x] = case.feeds.values()
    weight, *bias = (numpy_helper.to_array(tensor) for tensor in case.model.graph.initializer)
    geometry = resolve_geometry(case.model.graph.node[0], x.shape, weight.shape)
    y = conv_direct(x, weight, bias[0] if bias else None, geometry)
    assert y.shape == case.expected[0].shape
    np.testing.assert_allclose(y, case.expected[0], rtol=1e-6, atol=1e-6)


def test_auto_pad_is_resolved_as_the_standard_says() -> None:
    """Against ONNX Runtime, for odd leftovers at the end (UPPER) or the beginning (LOWER)."""
    rng = np.random.default_rng(4)
    spec = ConvSpec(1, 2, 3, 1, (11, 8), (4, 3), (3, 2), (1, 1), (0, 0), (0, 0), "float32")
    for auto_pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        weight = rng.standard_normal((3, 2, 4, 3)).astype(np.float32)
        model = build_conv_model(spec, weight, opset=17, auto_pad=auto_pad, pads=None, dynamic=(2, 3))
        x = rng.standard_normal((1, 2, 11, 8)).astype(np.float32)
        geometry = resolve_geometry(model.graph.node[0], x.shape, weight.shape)
        y = conv_direct(x, weight, None, geometry)
        [expected] = run_model(model, {"x": x})
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_sample_is_bounded_seeded_and_keeps_both_ends() -> None:
    x_shape, w_shape, geometry = (2, 64, 90, 80), (64, 64, 5, 5), make_geometry(2, pads=(2, 2))
    budget = 1e6
    sample = sample_conv(x_shape, w_shape, geometry, budget, seed=3)
    again = sample_conv(x_shape, w_shape, geometry, budget, seed=3)
    assert sample is not None
    assert again is not None
    cost = len(sample.batch) * len(sample.channels) * np.prod([len(p) for p in sample.positions]) * 64 * 25
    assert 0 < cost <= 1.2 * budget
    assert all(p[0] == 0 and p[-1] == size - 1 for p, size in zip(sample.positions, (90, 80), strict=True))
    assert all((a == b).all() for a, b in zip(sample.positions, again.positions, strict=True))
    assert sample_conv(x_shape, w_shape, geometry, 1e12, seed=3) is None


def test_channels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        conv_direct(np.zeros((1, 3, 8)), np.zeros((4, 2, 3)), None, make_geometry(1))
