"""How far rounding alone moves the original: its outputs for inputs that differ in the last place.

An output that a saturated Sigmoid or a chaotic network makes of rounding errors cannot be held to a tolerance of the
dtype. Its difference is excused if it is no larger than the original's own noise, and the result says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onnx_fft.checks.compare import Comparison, compare_outputs
from onnx_fft.runtime.engines import EngineError, Runner, Value

NOISE_FACTOR = 8
"""A difference up to this many times the noise is rounding. Measured 2026-11 on eight published models with ORT 1.32:
its own optimizations (ENABLE_ALL against DISABLE_ALL) make 1 to 4 times that noise."""
DRAWS = 3

Noise = dict[str, tuple[float, float]]
"""Largest error and relative L2 of each output."""


def measure_noise(runner: Runner, arrays: Mapping[str, Value], outputs: Mapping[str, Value], seed: int) -> Noise:
    """Run the original on inputs changed by one unit in the last place, up or down; the worst of a few draws."""
    noise: Noise = {}
    for draw in range(DRAWS):
        rng = np.random.default_rng([seed, draw])
        try:
            moved = runner.run({name: _nudge(value, rng) for name, value in arrays.items()})
        except EngineError:
            continue
        for name, reference in outputs.items():
            for c in compare_outputs(name, reference, moved[name]):
                if c.compared and np.isfinite(c.relative_l2):
                    worst = noise.get(c.output, (0.0, 0.0))
                    noise[c.output] = (max(worst[0], c.max_abs_error), max(worst[1], c.relative_l2))
    return noise


def is_numeric_failure(comparison: Comparison) -> bool:
    """Whether values were compared and found too far apart, as against a wrong shape, dtype or NaN."""
    return not comparison.ok and bool(np.isfinite(comparison.max_abs_error))


def excuse(comparison: Comparison, noise: Noise) -> Comparison:
    """Pass a numeric failure that is no larger than `NOISE_FACTOR` times the noise, and say what was measured."""
    if not is_numeric_failure(comparison) or comparison.output not in noise:
        return comparison
    largest, l2 = noise[comparison.output]
    small = comparison.max_abs_error <= NOISE_FACTOR * largest and comparison.relative_l2 <= NOISE_FACTOR * l2
    what = f"the original itself moves by {largest:.1e}, relative L2 {l2:.1e}, when its inputs change in the last place"
    sentence = f"{comparison.sentence}; {what}"
    if small:
        sentence += f"; within {NOISE_FACTOR} times that, so no more than rounding noise: this feed says little here"
    return replace(comparison, ok=small, rounding_noise_only=small, sentence=sentence)


def _nudge(value: Value, rng: np.random.Generator) -> Value:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    step = np.finfo(value.dtype).eps * rng.choice([-1.0, 1.0], size=value.shape)
    return np.asarray(value * (1 + step)).astype(value.dtype)
