"""Axes, bases, spectra and tilings in NumPy alone, in float64: every plan of every axis gives the direct sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnx_fft.fourier.axis import Axis, AxisPlan, ceil_divide
from onnx_fft.fourier.basis import make_basis, spectrum_length
from onnx_fft.fourier.spectrum import complex_spectrum, product_spectrum
from onnx_fft.fourier.tiling import MAX_DFT_LENGTH, _smooth_length, matrix_plans, power_of_two_plans
from tests.strategies import axes

Array = NDArray[np.float64]
Tiles = NDArray[np.float64]
LIMIT = 1e-12
LONGEST = 4096
"""DFT length up to which a random example tries a plan."""


def correlate(x: Array, weight: Array, axis: Axis) -> Array:
    """The definition in `axis.py`, one output at a time."""
    y = np.zeros(count_outputs(axis, len(x)))
    for o in range(len(y)):
        for k, tap in enumerate(weight):
            place = o * axis.stride + k * axis.dilation - axis.pad_begin
            if 0 <= place < len(x):
                y[o] += tap * x[place]
    return y


def count_outputs(axis: Axis, extent: int) -> int:
    return (extent + axis.pad_begin + axis.pad_end - axis.dilation * (axis.taps - 1) - 1) // axis.stride + 1


def cut_tiles(x: Array, axis: Axis, plan: AxisPlan) -> Tiles:
    """`[tiles * residues, input_length]`, read from `x` with the plan's padding; a tile that reaches beyond fails."""
    begin, end = plan.padding(axis)
    padded = np.pad(x, (begin, end))
    if plan.whole:
        return padded[None]
    per_residue = ceil_divide(count_outputs(axis, len(x)), axis.residues)
    tiles = ceil_divide(per_residue, plan.output_length(axis))
    starts = np.arange(tiles)[:, None] * plan.tile_step * axis.residues + np.arange(axis.residues)
    tiles_read: Tiles = padded[starts.reshape(-1, 1) + np.arange(plan.input_length(axis)) * axis.residues]
    return tiles_read


def join_tiles(tiles: Tiles, axis: Axis, plan: AxisPlan, extent: int) -> Array:
    """Outputs of every tile and residue back in their order, cropped."""
    by_residue = tiles.reshape(-1, 1 if plan.whole else axis.residues, tiles.shape[1])
    return by_residue.transpose(0, 2, 1).ravel()[: count_outputs(axis, extent)]


def correlate_by_matrices(x: Array, weight: Array, axis: Axis, plan: AxisPlan) -> Array:
    basis = make_basis(axis, plan)
    tiles = cut_tiles(x, axis, plan)
    z = tiles.T
    for step in basis.forward:
        z = (step @ z.reshape(step.shape[0], step.shape[2], -1)).reshape(step.shape[0] * step.shape[1], -1)
    z = z.reshape(spectrum_length(plan), -1) * product_spectrum(weight, [axis], [plan])[:, None]
    for step in basis.inverse:
        z = (step @ z.reshape(step.shape[0], step.shape[2], -1)).reshape(step.shape[0] * step.shape[1], -1)
    return join_tiles(z.reshape(plan.output_length(axis), len(tiles)).T, axis, plan, len(x))


def correlate_by_fft(x: Array, weight: Array, axis: Axis, plan: AxisPlan) -> Array:
    """By the half-spectrum, as FFT operators do it."""
    tiles = cut_tiles(x, axis, plan)
    product = np.fft.rfft(tiles, plan.dft_length) * complex_spectrum(weight, [axis], [plan])
    y = np.fft.irfft(product, plan.dft_length)
    return join_tiles(y[:, : plan.output_length(axis) * axis.stride : axis.stride], axis, plan, len(x))


def assert_close(y: Array, truth: Array, x: Array, weight: Array) -> None:
    assert y.shape == truth.shape
    scale = np.linalg.norm(weight) * np.sqrt(np.mean(np.square(x)))
    assert np.abs(y - truth).max(initial=0.0) <= LIMIT * scale


def draw_signals(axis: Axis, extent: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(extent), rng.standard_normal(axis.taps)


@pytest.mark.slow
@settings(max_examples=150)
@given(axes(), st.integers(0, 9999))
def test_every_candidate_of_any_axis_is_exact(drawn: tuple[Axis, tuple[int, ...]], seed: int) -> None:
    axis, extents = drawn
    for extent in extents:
        x, weight = draw_signals(axis, extent, seed)
        truth = correlate(x, weight, axis)
        for plan in matrix_plans(axis):
            if plan.dft_length <= LONGEST:
                assert_close(correlate_by_matrices(x, weight, axis, plan), truth, x, weight)
        for plan in power_of_two_plans(axis):
            assert_close(correlate_by_fft(x, weight, axis, plan), truth, x, weight)


KINDS = {
    "dense tiled": (Axis(5, pad_begin=2, extent=40), AxisPlan(12, 8)),
    "dense tiled, odd length": (Axis(5, pad_begin=2, extent=40), AxisPlan(11, 7)),
    "dense tiled, stride": (Axis(5, 3, 2, 4, 1, None), AxisPlan(20, 12)),
    "dense tiled, residues": (Axis(4, 1, 3, 5, 2, None), AxisPlan(9, 6)),
    "dense tiled, room to spare": (Axis(5, extent=40), AxisPlan(16, 8)),
    "dense whole": (Axis(7, pad_begin=6, extent=30), AxisPlan(36, 0, whole=True)),
    "dense whole, stride": (Axis(7, 2, 2, 9, 4, 31), AxisPlan(41, 0, whole=True)),
    "factored tiled": (Axis(21, pad_begin=3, pad_end=8, extent=200), AxisPlan(64, 32, columns=16)),
    "factored tiled, odd rows": (Axis(21, extent=200), AxisPlan(80, 48, columns=16)),
    "factored tiled, stride": (Axis(21, 4, 1, 3, 8, None), AxisPlan(96, 64, columns=32)),
    "factored tiled, residues": (Axis(21, 1, 2, 3, 8, None), AxisPlan(64, 32, columns=16)),
    "factored tiled, odd columns": (Axis(21, extent=200), AxisPlan(60, 30, columns=15)),
    "factored whole": (Axis(21, pad_begin=20, extent=100), AxisPlan(128, 0, columns=16, whole=True)),
    "factored whole, stride": (Axis(21, 2, 3, 7, 31, 101), AxisPlan(144, 0, columns=16, whole=True)),
    "length one": (Axis(1), AxisPlan(1, 1)),
    "length two": (Axis(2), AxisPlan(2, 1)),
}
by_kind = pytest.mark.parametrize("axis, plan", KINDS.values(), ids=KINDS)


@by_kind
def test_kind_of_plan_is_exact(axis: Axis, plan: AxisPlan) -> None:
    extent = axis.extent or 90
    x, weight = draw_signals(axis, extent)
    assert_close(correlate_by_matrices(x, weight, axis, plan), correlate(x, weight, axis), x, weight)
    assert_close(correlate_by_fft(x, weight, axis, plan), correlate(x, weight, axis), x, weight)


@by_kind
def test_spectrum_is_as_long_as_the_basis_makes_it(axis: Axis, plan: AxisPlan) -> None:
    basis = make_basis(axis, plan)
    last, first = basis.forward[-1], basis.inverse[0]
    assert spectrum_length(plan) == last.shape[0] * last.shape[1] == first.shape[0] * first.shape[2]
    assert basis.forward[0].shape[2] * plan.columns == plan.input_length(axis)
    per_row = plan.columns // axis.stride if plan.columns > 1 else 1
    assert basis.inverse[-1].shape[1] * per_row == plan.output_length(axis)
    assert product_spectrum(np.ones(axis.taps), [axis], [plan]).shape == (spectrum_length(plan),)


def test_conjugate_is_taken() -> None:
    """A delta input shows the weight itself, reversed: correlation, not convolution."""
    axis, plan = Axis(3, pad_begin=2, pad_end=2, extent=1), AxisPlan(6, 4)
    expected = [3.0, 2.0, 1.0]
    weight = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(correlate_by_matrices(np.ones(1), weight, axis, plan), expected, atol=1e-14)
    np.testing.assert_allclose(correlate_by_fft(np.ones(1), weight, axis, plan), expected, atol=1e-14)


def test_two_axes_nest() -> None:
    rng = np.random.default_rng(0)
    first, second = Axis(4, extent=11), Axis(3, 2, extent=9)
    plans = [AxisPlan(11, 0, whole=True), AxisPlan(9, 0, whole=True)]
    x, weight = rng.standard_normal((11, 9)), rng.standard_normal((4, 3))
    (a,), (b,) = (make_basis(axis, plan).forward for axis, plan in zip((first, second), plans, strict=True))
    (c,), (d,) = (make_basis(axis, plan).inverse for axis, plan in zip((first, second), plans, strict=True))
    y = c[0] @ (a[0] @ x @ b[0].T * product_spectrum(weight, (first, second), plans)) @ d[0].T
    spectrum = np.fft.rfft2(x) * complex_spectrum(weight, (first, second), plans)
    by_fft = np.fft.irfft2(spectrum, (11, 9))[:8, :7:2]
    truth = np.array([[np.sum(x[i : i + 4, j : j + 3] * weight) for j in range(0, 7, 2)] for i in range(8)])
    np.testing.assert_allclose(y, truth, atol=LIMIT)
    np.testing.assert_allclose(by_fft, truth, atol=LIMIT)


@pytest.mark.slow
@settings(max_examples=300)
@given(axes())
def test_candidates_are_valid_plans(drawn: tuple[Axis, tuple[int, ...]]) -> None:
    axis, _ = drawn
    dense, powers = matrix_plans(axis), power_of_two_plans(axis)
    assert dense and powers
    assert len(set(dense)) == len(dense) and len(set(powers)) == len(powers)
    assert all(plan.columns == 1 and plan.dft_length & (plan.dft_length - 1) == 0 for plan in powers)
    for plan in (*dense, *powers):
        assert plan.rows * plan.columns == plan.dft_length
        check_whole(axis, plan) if plan.whole else check_tiled(axis, plan)


def check_whole(axis: Axis, plan: AxisPlan) -> None:
    assert axis.extent is not None and axis.output_extent is not None
    assert axis.residues == 1, "a whole axis has no residues"
    last = (axis.output_extent - 1) * axis.stride
    assert plan.dft_length >= max(axis.extent + axis.pad_begin, last + axis.span - axis.pad_begin, last + 1)
    assert plan.tile_count(axis) == 1
    assert plan.input_length(axis) <= plan.dft_length
    assert plan.output_length(axis) >= axis.output_extent


def check_tiled(axis: Axis, plan: AxisPlan) -> None:
    assert plan.dft_length >= axis.span + plan.tile_step - 1
    assert plan.tile_step > 0 and plan.tile_step % axis.stride == 0 and plan.tile_step % plan.columns == 0
    tiles = plan.tile_count(axis)
    if axis.output_extent is None:
        assert tiles is None
    else:
        assert tiles is not None and tiles % axis.residues == 0
        spare = tiles // axis.residues * plan.output_length(axis) - ceil_divide(axis.output_extent, axis.residues)
        assert 0 <= spare < plan.output_length(axis)


@pytest.mark.parametrize("extent", [None, 160000])
@pytest.mark.parametrize("taps", [1, 2, 255, 1024, 4096, 16384, 65536, 100000])
def test_long_kernels_have_candidates_of_sane_length(taps: int, extent: int | None) -> None:
    axis = Axis(taps, extent=extent)
    for plan in matrix_plans(axis):
        assert axis.span <= plan.dft_length <= max(MAX_DFT_LENGTH, axis.span)
        assert plan.columns > 1 or plan.dft_length <= 2 * 256


@pytest.mark.slow
@pytest.mark.parametrize("columns", [64, 128])
@pytest.mark.parametrize("length", [16384, pytest.param(65536, marks=pytest.mark.slow)])
def test_long_factored_dft_keeps_its_accuracy(length: int, columns: int) -> None:
    """Against NumPy's FFT, which is exact to 1e-15 at these lengths; the direct sum would take minutes."""
    axis = Axis(length // 4, pad_begin=100, extent=length)
    plan = AxisPlan(length, length // 2, columns=columns)
    x, weight = draw_signals(axis, length)
    size = 4 * length
    padded = np.pad(x, (100, 0))
    truth = np.fft.irfft(np.fft.rfft(padded, size) * np.conj(np.fft.rfft(weight, size)), size)
    expected = truth[: count_outputs(axis, length)]
    assert_close(correlate_by_matrices(x, weight, axis, plan), expected, x, weight)


@pytest.mark.slow
def test_angles_of_long_dfts_are_reduced() -> None:
    """Entry (f, t) of the first forward matrix against exact integer arithmetic modulo the length."""
    plan, axis = AxisPlan(65536, 32768, columns=64), Axis(16385)
    first = make_basis(axis, plan).forward[0][0]
    f = np.arange(plan.rows // 2 + 1)[:, None]
    turns = (f * np.arange(first.shape[1]) % plan.rows).astype(np.float64) / plan.rows
    np.testing.assert_allclose(first[0::2], np.cos(2 * np.pi * turns), atol=1e-15)
    np.testing.assert_allclose(first[1::2], -np.sin(2 * np.pi * turns), atol=1e-15)


@pytest.mark.slow
@settings(max_examples=200)
@given(axes(), st.data())
def test_padding_of_an_unknown_extent_reaches_every_tile(
    drawn: tuple[Axis, tuple[int, ...]], data: st.DataObject
) -> None:
    axis, extents = drawn
    unknown = Axis(axis.taps, axis.stride, axis.dilation, axis.pad_begin, axis.pad_end)
    plan = data.draw(st.sampled_from(matrix_plans(unknown) + power_of_two_plans(unknown)))
    for extent in range(min(extents), min(extents) + 40):
        known = Axis(axis.taps, axis.stride, axis.dilation, axis.pad_begin, axis.pad_end, extent)
        tiles = plan.tile_count(known)
        assert tiles is not None
        end = ((tiles // axis.residues - 1) * plan.tile_step + plan.dft_length) * axis.residues
        for padding in (plan.padding(unknown), plan.padding(known)):
            assert padding[0] == axis.pad_begin and padding[1] >= 0
            assert padding[0] + extent + padding[1] >= end


def test_smooth_lengths_are_the_next_ones_and_are_found_at_any_size() -> None:
    def is_smooth(number: int) -> bool:
        return any(number == 1 or (number % prime == 0 and is_smooth(number // prime)) for prime in (2, 3, 5, 7))

    smooth = [number for number in range(1, 3000) if is_smooth(number)]
    for multiple in (1, 2):
        for least in range(1, 2900 * multiple):
            assert _smooth_length(least, multiple) == multiple * next(n for n in smooth if n * multiple >= least)
    huge = _smooth_length((1 << 62) + 1, 1)
    assert is_smooth(huge) and 1 << 62 < huge < 1.001 * (1 << 62)
