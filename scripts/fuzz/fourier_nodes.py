"""Random nodes of the native library for DFTs and STFTs."""

from __future__ import annotations

from random import Random

import numpy as np

from onnx_fft.fourier.transforms import dft, stft
from scripts.fuzz.conv_nodes import join_parts
from scripts.fuzz.scenario import Inputs, Scenario, measure_sum
from scripts.shared.conv_models import Array

LENGTHS = (1, 2, 3, 7, 16, 60, 101, 128, 360, 1000)


def draw_dft(rng: Random) -> Scenario:
    """Of any axis and length, forward or inverse, of real numbers, complex ones, or half-spectra."""
    rank, dtype = rng.randint(2, 4), rng.choice(("float32", "float32", "float16", "float64"))
    values, axis = np.random.default_rng(rng.getrandbits(32)), rng.randrange(rank - 1)
    inverse, onesided = rng.random() < 0.4, rng.random() < 0.5
    parts = 2 if onesided and inverse else 1 if onesided else rng.choice((1, 2))
    points, feeds = rng.choice(LENGTHS), []
    for _ in range(3):
        shape = [rng.choice((1, 2, 3, 5, 0)) for _ in range(rank - 1)]
        shape[axis] = rng.choice((points, points // 2 + 1, *LENGTHS))
        feeds.append({"x": values.standard_normal((*shape, parts)).astype(dtype)})
    return Scenario(
        "DFT",
        {"axis": axis, "inverse": int(inverse), "onesided": int(onesided)},
        ["x", "dft_length"],
        {"dft_length": np.array(points, np.int64)},
        feeds,
        lambda given: dft(given["x"], axis, points, inverse=inverse, onesided=onesided),
        lambda x: True,
        measure_sum(1.0 / points if inverse else points),
    )


def draw_stft(rng: Random) -> Scenario:
    """Of any step and frames, of real or complex signals, and what is made of the bins."""
    form = rng.choice(("", "", "Power", "Magnitude"))
    dtype = rng.choice(("float32", "float32", "float16", "float64") if not form else ("float32", "float64"))
    values, points, step = np.random.default_rng(rng.getrandbits(32)), rng.choice(LENGTHS), rng.randint(1, 200)
    parts = rng.choice((1, 1, 2))
    onesided, is_power = parts == 1 and rng.random() < 0.7, form == "Power"
    # As long as a frame, and at times one sample shorter.
    shapes = [
        (rng.choice((1, 1, 3, 0)), max(1, points + rng.choice((-1, *range(0, 400, 20)))), parts) for _ in range(3)
    ]

    def compute(given: Inputs) -> Array:
        bins = stft(given["x"], step, given["window"], points, onesided=onesided)
        return join_parts(bins[..., 0], bins[..., 1], is_power) if form else bins

    return Scenario(
        f"STFT{form}",
        {"onesided": int(onesided)},
        ["x", "frame_step", "window", "frame_length"],
        {
            "frame_step": np.array(step, np.int64),
            "window": values.standard_normal(points).astype(dtype),
            "frame_length": np.array(points, np.int64),
        },
        [{"x": values.standard_normal(shape).astype(dtype)} for shape in shapes],
        compute,
        lambda x: x.shape[1] >= points,
        measure_sum(4.0 * points**2 if is_power else points),
    )
