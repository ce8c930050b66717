"""Fits the rates of the cost model to measured convolutions, and judges them."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls

from onnx_fft.cost.conv import count_conv
from onnx_fft.cost.counts import ConvRates, OperatorRates, Rates
from onnx_fft.cost.gains import MIN_GAIN, predict_gain
from onnx_fft.cost.lowerings import count_lowering
from onnx_fft.cost.machines import Machine, make_faster
from onnx_fft.cost.predict import conv_seconds, lowering_seconds
from onnx_fft.fourier.axis import AxisPlan
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.sites.spec import ConvSpec

FOLDS = 5
"""Every so many-th convolution is kept apart, one such part after the other."""

OUTLIER = 0.3
"""Errors of a logarithm beyond this weigh linearly: disturbed measurements, shapes the model does not understand."""

LEAST_RATE = 1e-13
"""Seconds from which the search for a rate starts, at least: its logarithm must exist."""

Case = tuple[ConvSpec, float, list[tuple[ConvPlan, float]]]
"""A convolution, the seconds of Conv, and of each plan."""


def fit_cases(cases: list[Case]) -> tuple[Rates, dict[str, Any]]:
    """The rates from all cases; judged on each fifth, with those from the other four."""
    folds = []
    for fold in range(FOLDS):
        training = [case for number, case in enumerate(cases) if number % FOLDS != fold]
        machine = Machine("", solve(training))
        folds.append([judge(case, machine) for case in cases[fold::FOLDS]])
    rates = solve(cases)
    return rates, {
        "held_out": summarize([judgement for fold in folds for judgement in fold]),
        "held_out_fifths": [summarize(fold)["fastest_or_within_10_percent"] for fold in folds],
        "training": summarize([judge(case, Machine("", rates)) for case in cases]),
    }


def solve(cases: list[Case]) -> Rates:
    """Rates that explain the times: least squares of the logarithms' errors, linear beyond `OUTLIER`.

    In the logarithms of the rates, so that they stay positive; from a non-negative least-squares solution.
    """
    samples = [(count_lowering(spec, plan), s) for spec, _, plans in cases for plan, s in plans]
    samples += [(count_conv(spec), s) for spec, s, _ in cases]
    every = np.array([counts.to_values() for counts, _ in samples])
    return _group_rates(fit_rates(every, np.array([s for _, s in samples])))


def fit_rates(counts: NDArray[np.float64], seconds: NDArray[np.float64], late: float = OUTLIER) -> NDArray[np.float64]:
    """The rates of the columns of `counts`, one row a sample; 0 for what is never counted.

    Times above the predicted ones weigh linearly from `late` on: what is disturbed is late, never early.
    """
    values = np.zeros(counts.shape[1])
    wanted = counts.any(axis=0)
    values[wanted] = _minimize(counts[:, wanted], seconds, late)
    return values


def _minimize(counts: NDArray[np.float64], seconds: NDArray[np.float64], late: float) -> NDArray[np.float64]:

    def loss(logarithms: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        rates = np.exp(logarithms)
        predicted = counts @ rates
        error = np.log(predicted / seconds)
        bounded = np.clip(error, -late, OUTLIER)
        value = np.sum(bounded * (error - bounded / 2))
        return float(value), (bounded / predicted) @ counts * rates

    start, _ = nnls(counts / seconds[:, None], np.ones(len(seconds)))
    options = {"maxiter": 1000}
    found = minimize(loss, np.log(np.maximum(start, LEAST_RATE)), jac=True, method="L-BFGS-B", options=options)
    rates: NDArray[np.float64] = np.exp(found.x)
    return rates


def _group_rates(values: NDArray[np.float64]) -> Rates:
    """The inverse of `Rates.to_values`."""
    rest = iter(map(float, values))
    operators, conv = ([next(rest) for _ in astuple(family())] for family in (OperatorRates, ConvRates))
    return Rates(OperatorRates(*operators), ConvRates(*conv))


def judge(case: Case, machine: Machine) -> tuple[float, float | None]:
    """Seconds of the favourite over the fastest of all measured; the speed-up if `auto` replaces it."""
    spec, conv_s, plans = case
    predicted = [conv_seconds(spec, machine), *(lowering_seconds(spec, plan, machine) for plan, _ in plans)]
    measured = [conv_s, *(s for _, s in plans)]
    ratio = measured[predicted.index(min(predicted))] / min(measured)
    best, best_s = min(plans, key=lambda pair: lowering_seconds(spec, pair[0], machine))
    replaced = predict_gain(spec, best, (machine, make_faster(machine))) >= MIN_GAIN
    return ratio, conv_s / best_s if replaced else None


def summarize(judgements: list[tuple[float, float | None]]) -> dict[str, Any]:
    """How good the favourites are, and what `auto` would do."""
    ratios = [ratio for ratio, _ in judgements]
    speedups = [speedup for _, speedup in judgements if speedup is not None]
    return {
        "convolutions": len(ratios),
        "fastest_or_within_10_percent": round(sum(ratio <= 1.1 for ratio in ratios) / len(ratios), 4),
        "worst": round(max(ratios), 2),
        "auto_replaces": len(speedups),
        "auto_slower_than_0.97": sum(speedup < 0.97 for speedup in speedups),
        "auto_median_speed": round(median(speedups), 2),
    }


def read_cases(path: Path) -> tuple[dict[str, Any], list[Case]]:
    """The first line of the file, and its convolutions."""
    header, *entries = [json.loads(line) for line in path.read_text().splitlines()]
    return header, [read_entry(entry) for entry in entries]


def read_entry(entry: dict[str, Any]) -> Case:
    """One line."""
    plans = [
        (ConvPlan(plan["lowering"], tuple(AxisPlan(**axis) for axis in plan["axes"])), plan["seconds"])
        for plan in entry["plans"]
    ]
    return ConvSpec(**read_fields(entry["spec"])), entry["conv_seconds"], plans


def read_fields(spec: dict[str, Any]) -> dict[str, Any]:
    """The fields of a spec, whose tuples are lists in a file."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}
