"""Whole maps by float64 FFT against the direct sum, and what is computed of a Conv that is too dear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_fft.fourier import maps
from onnx_fft.fourier.maps import compute_maps, conv_fft
from onnx_fft.fourier.oracle import ConvGeometry, conv_direct
from scripts.shared.conv_models import Array

GEOMETRIES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 4, 31), (6, 2, 5), {"group": 2, "strides": (2,), "dilations": (3,), "pads_begin": (4,), "pads_end": (1,)}),
    ((1, 3, 14, 11), (3, 1, 4, 3), {"group": 3, "strides": (1, 2), "pads_begin": (-2, 3), "pads_end": (1, -1)}),
    ((2, 3, 9, 8), (5, 3, 9, 1), {"pads_begin": (0, 2), "pads_end": (0, 0)}),
    ((1, 2, 5, 6, 7), (3, 2, 2, 3, 2), {"strides": (2, 1, 2)}),
]


@pytest.mark.parametrize(("x_shape", "w_shape", "attributes"), GEOMETRIES)
def test_ffts_agree_with_the_direct_sum(
    monkeypatch: pytest.MonkeyPatch, x_shape: tuple[int, ...], w_shape: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    monkeypatch.setattr(maps, "BLOCK_BINS", 1)  # one channel at a time
    rank = len(w_shape) - 2
    usual = {"group": 1, "strides": (1,) * rank, "dilations": (1,) * rank}
    geometry = ConvGeometry(**{**usual, "pads_begin": (0,) * rank, "pads_end": (0,) * rank, **attributes})
    rng = np.random.default_rng(1)
    x, weight = rng.standard_normal(x_shape), rng.standard_normal(w_shape)
    expected = conv_direct(x, weight, None, geometry)
    assert expected.size > 0
    whole = maps._sample_whole(x_shape, w_shape, geometry)
    np.testing.assert_allclose(conv_fft(x, weight, geometry, whole), expected, rtol=0, atol=1e-12)
    for budget in (1e9, 1e3, 1):
        for part in compute_maps(x, weight, geometry, budget, 5):
            np.testing.assert_allclose(part.values, part.sample.take(expected), rtol=0, atol=1e-12)


def make_large() -> tuple[Array, Array, ConvGeometry]:
    rng = np.random.default_rng(2)
    geometry = ConvGeometry(6, (1, 1), (1, 1), (5, 5), (5, 5))
    return rng.standard_normal((3, 6, 40, 30)), rng.standard_normal((6, 1, 11, 11)), geometry


def test_a_part_has_whole_maps_and_every_channel_at_both_ends() -> None:
    x, weight, geometry = make_large()
    by_fft, direct = compute_maps(x, weight, geometry, 3e5, 7)
    assert by_fft.values.shape[2:] == (40, 30)
    assert 0 < by_fft.values.shape[0] * by_fft.values.shape[1] < 18
    assert direct.sample.channels.tolist() == list(range(6))
    ends = [(places[0], places[-1]) for places in direct.sample.positions]
    assert ends == [(0, 39), (0, 29)]
    again = compute_maps(x, weight, geometry, 3e5, 7)
    assert [part.values.tolist() for part in again] == [part.values.tolist() for part in (by_fft, direct)]


def test_an_fft_that_disagrees_with_the_direct_sum_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, geometry = make_large()
    monkeypatch.setattr(maps, "conv_fft", lambda *operands: 1.001 * conv_fft(*operands))
    [direct] = compute_maps(x, weight, geometry, 3e5, 7)
    expected = conv_direct(x, weight, None, geometry)
    np.testing.assert_allclose(direct.values, direct.sample.take(expected), rtol=0, atol=1e-12)
