"""The comparison that judges every lowering rejects what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnx_fft.fourier.axis import Axis
from onnx_fft.lowering import find_lowering
from scripts.shared.conv_models import Array
from tests.lowered import SPECS, assert_right, compute_truth, feed_shape, lower, output_scale
from tests.strategies import make_spec

MATMUL = find_lowering("matmul")

DISTORTIONS: dict[str, Callable[[Array], Array]] = {
    "zeros": np.zeros_like,
    "twice": lambda y: 2 * y,
    "flipped sign": lambda y: -y,
    "one NaN": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 3, np.nan, y).astype(y.dtype),
    "one element off": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 3, y + 1e-4, y).astype(y.dtype),
    "shifted": lambda y: np.roll(y, 1, axis=-1),
    "wrong dtype": lambda y: y.astype(np.float64),
    "empty": lambda y: y[:, :, :0],
    "one dimension less": lambda y: y[0],
}


@pytest.mark.parametrize("distort", DISTORTIONS.values(), ids=DISTORTIONS)
def test_comparison_rejects(distort: Callable[[Array], Array], rng: np.random.Generator) -> None:
    spec = SPECS["dense"]
    lowered = lower(MATMUL, spec, MATMUL.candidates(spec)[0], 17)
    feeds = lowered.make_feeds(feed_shape(spec), rng)
    right = compute_truth(lowered, feeds).astype(np.float32)
    assert_right(lowered, feeds, right)
    with pytest.raises(AssertionError):
        assert_right(lowered, feeds, distort(right))


def test_scale_is_that_of_the_outputs(rng: np.random.Generator) -> None:
    spec = make_spec([Axis(9, extent=4000)], (3, 2, 1))
    lowered = lower(MATMUL, spec, MATMUL.candidates(spec)[0], 17)
    feeds = lowered.make_feeds(feed_shape(spec), rng)
    rms = np.sqrt(np.mean(np.square(compute_truth(lowered, feeds)), axis=(0, 2)))
    np.testing.assert_allclose(output_scale(lowered, feeds).ravel(), rms, rtol=0.1)
