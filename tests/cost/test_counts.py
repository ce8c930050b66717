"""Counts and rates: the same families, the same fields, one product; every lowering is counted."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from onnx_fft.cost.counts import (
    ConvCounts,
    ConvRates,
    Counts,
    OperatorCounts,
    OperatorRates,
    Rates,
)
from onnx_fft.cost.growth import CONSTANTS, FOURIER_CONSTANTS, READS_WEIGHT
from onnx_fft.cost.lowerings import COUNTS, FOURIER_COUNTS
from onnx_fft.cost.machines import CALIBRATED, CALIBRATION, make_faster
from onnx_fft.cost.predict import FFT, FFTCONV
from onnx_fft.cost.rfft import count_rfft
from onnx_fft.fourier.axis import AxisPlan
from onnx_fft.lowering import TARGETS, list_lowerings
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.sites.fourier import DftSpec, StftSpec
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec
from scripts.shared.layers import make_spec


@pytest.mark.parametrize(
    "counts, rates",
    [(OperatorCounts, OperatorRates), (ConvCounts, ConvRates), (Counts, Rates)],
)
def test_counts_and_rates_have_the_same_fields(counts: type, rates: type) -> None:
    assert [each.name for each in fields(counts)] == [each.name for each in fields(rates)]


def test_counts_times_rates_is_seconds() -> None:
    counts = Counts(OperatorCounts(gemm_flops=3, operators=2), ConvCounts(im2col_bytes=5))
    rates = Rates(OperatorRates(gemm_flops=1, operators=10), ConvRates(im2col_bytes=100))
    assert counts * rates == 3 + 20 + 500
    assert Counts() * rates == 0


def test_counts_of_operators_add_up() -> None:
    total = OperatorCounts(gemm_flops=1, operators=2) + OperatorCounts(gemm_flops=3, mul_runs=4)
    assert total == OperatorCounts(gemm_flops=4, operators=2, mul_runs=4)


def test_every_lowering_is_counted_and_grows() -> None:
    kinds = (ConvSpec, ConvTransposeSpec, DftSpec, StftSpec)
    convs, transposed, dfts, stfts = (
        {each.name for target in TARGETS for each in list_lowerings(target, kind)} for kind in kinds
    )
    assert {*COUNTS, FFTCONV} == {*CONSTANTS, *READS_WEIGHT} == convs == transposed
    assert {*FOURIER_COUNTS, FFT} == set(FOURIER_CONSTANTS) == dfts == stfts


def test_everything_counted_has_a_measured_rate() -> None:
    assert min(CALIBRATED.rates.to_values()) > 0
    found = json.loads(CALIBRATION.read_text())["seconds_per"]
    assert sum(len(family) for family in found.values()) == len(CALIBRATED.rates.to_values())


def test_a_faster_machine_has_the_same_memory() -> None:
    faster = make_faster(CALIBRATED).rates
    assert faster.operators.gemm_flops < CALIBRATED.rates.operators.gemm_flops
    assert faster.operators.memory_bytes == CALIBRATED.rates.operators.memory_bytes


def test_everything_that_rfft_passes_through_memory_is_counted() -> None:
    """By hand: 2 -> 3 channels of 100 samples, 5 taps, one transform of 128 points, 65 bins."""
    spec = make_spec((2, 3), (5,), (100,))
    counts = count_rfft(spec, ConvPlan("rfft", (AxisPlan(128, 0, whole=True),))).operators
    padded_and_cropped = 2 * 100 + 2 * 3 * 100 + 5 * 128
    transformed = 5 * (128 + 2 * 65) + 2 * 3 * 128
    multiplied = 2 * 5 * 65 + 4 * 6 * 65 + 8 * 5 * 65
    assert counts.memory_bytes == 4 * (padded_and_cropped + transformed + multiplied)
    assert counts.gemm_flops == 8 * 6 * 65
    assert counts.butterflies == 5 * 128 * 7 / 4
    assert counts.operators == 6 + 4
