"""Fits the native library's rates to measured convolutions, and says how right its predictions are with them.

    python -m scripts.bench.calibrate native     # measures; writes results/calibration_native.jsonl
    python -m scripts.bench.native_rates 64      # fits them, for vectors of so many bytes (AVX-512)

Prints the rates in the order of `Unit` in onnx_fft/native/planner/work.h, for `kShipped` in
onnx_fft/native/engine/machine.cpp. The planner picks tiles by the rates, so that fitting and predicting take turns.
Needs SciPy.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from onnx_fft.cost.native import THREADS, ask
from onnx_fft.native.planning import Question, Rates, predict, read_rates, unit_names
from scripts.bench.calibrate import NATIVE_RESULTS
from scripts.bench.fitting import OUTLIER, read_cases

TURNS = 5
PULL = 0.005
"""How much a rate that the measurements hardly show is held where it is."""

Sample = tuple[NDArray[np.float64], float]
"""Work, and the seconds of one core that it took."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vector_bytes", type=int, choices=[16, 32, 64])
    parser.add_argument("--results", type=Path, default=NATIVE_RESULTS)
    options = parser.parse_args()
    _, cases = read_cases(options.results)
    questions = [replace(ask(spec), vector_bytes=options.vector_bytes) for spec, _, _ in cases]
    conv_s = [THREADS * seconds for _, seconds, _ in cases]
    node_s = [THREADS * plans[0][1] for _, _, plans in cases]
    convs = list(zip(map(count_conv, questions), conv_s, strict=True))
    rates = np.array(read_rates(measure=False))
    for _ in range(TURNS):
        nodes = list(zip((count_node(question, rates) for question in questions), node_s, strict=True))
        rates = fit([*convs, *nodes], rates)
    print(", ".join(f"{rate:.3g}" for rate in rates))
    found = [predict(question, tuple(rates)) for question in questions]
    report("Conv", [each.model_seconds / s for each, s in zip(found, conv_s, strict=True)])
    report("node", [each.seconds / s for each, s in zip(found, node_s, strict=True)])


def count_node(question: Question, rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the library does, by the plan that these rates choose."""
    return np.array(list(predict(question, tuple(rates)).work.values()))


def count_conv(question: Question) -> NDArray[np.float64]:
    """What ONNX Runtime's Conv does in a model: its seconds, if one unit alone takes time."""

    def only(unit: int) -> Rates:
        return tuple(float(other == unit) for other in range(len(unit_names())))

    return np.array([predict(question, only(unit)).model_seconds for unit in range(len(unit_names()))])


def fit(samples: list[Sample], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of the logarithms' errors, linear beyond `OUTLIER`, in the logarithms of the rates."""
    work, seconds = np.array([each for each, _ in samples]), np.array([s for _, s in samples])
    origin = np.log(start)

    def loss(logarithms: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        rates, moved = np.exp(logarithms), logarithms - origin
        predicted = work @ rates
        error = np.log(predicted / seconds)
        bounded = np.clip(error, -OUTLIER, OUTLIER)
        value = np.sum(bounded * (error - bounded / 2)) + PULL * np.sum(moved**2)
        return float(value), (bounded / predicted) @ work * rates + 2 * PULL * moved

    found: NDArray[np.float64] = np.exp(minimize(loss, origin, jac=True, method="L-BFGS-B").x)
    return found


def report(name: str, ratios: list[float]) -> None:
    """How predicted and measured times compare."""
    tenths = np.percentile(ratios, [10, 50, 90])
    print(f"{name}: predicted over measured {tenths[1]:.2f}, 80% of them {tenths[0]:.2f} to {tenths[2]:.2f}")


if __name__ == "__main__":
    main()
