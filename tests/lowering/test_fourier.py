"""DFT and STFT as matrix products in ONNX Runtime against the float64 truth, at every form the operators have."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from onnx_fft.cost.matmul_fourier import count_matmul_fourier, matmul_fourier_bytes
from onnx_fft.lowering.base import FourierPlan
from onnx_fft.sites.fourier import DftSpec, StftSpec
from scripts.shared.conv_models import Array
from scripts.shared.running import executed_op_types, run_model, run_reference
from scripts.shared.standard_cases import Case, fourier_cases
from tests.fourier_models import (
    DFT,
    MAX_ERROR,
    STFT,
    case_spec,
    dft_truth,
    draw,
    lower_dft,
    lower_stft,
    make_dft_spec,
    relative_error,
    stft_truth,
)
from tests.marks import mark_slow, since_onnxruntime

FORMS = [(1, False, False), (1, False, True), (1, True, False), (2, False, False), (2, True, False), (2, True, True)]
"""Parts, inverse, onesided."""

SHORT = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 30, 37, 64, 100, 127, 256, 400, 521, 997, 1000, 1097)
"""A sample of the lengths to 1100: powers, primes, even and odd products, both sides of every limit."""

LONG = (4096, 12288, 65000, 65536)


LAYOUTS: dict[str, tuple[int, ...]] = {"last axis": (), "axis before another": (3,)}
"""Extents behind the axis that is transformed."""


def mark_products(plans: Collection[tuple[int, ...]]) -> list[object]:
    """Factors for what may be empty; several of them are products from the left."""
    mark = since_onnxruntime(32, "does not multiply a matrix by no others")
    return [pytest.param(factors, marks=mark if len(factors) > 1 else (), id=str(factors)) for factors in plans]


def all_forms(points: int, layouts: Collection[str] = tuple(LAYOUTS)) -> list[DftSpec]:
    """Every form of the operator, in these layouts."""
    specs = []
    for (parts, inverse, onesided), layout in itertools.product(FORMS, layouts):
        shape = (2, points // 2 + 1 if inverse and onesided else points, *LAYOUTS[layout], parts)
        specs.append(make_dft_spec(shape, 1, points, inverse=inverse, onesided=onesided))
    return specs


def assert_dft(spec: DftSpec, plan: FourierPlan, shape: tuple[int, ...] | None = None) -> None:
    x = draw(shape or [length or 0 for length in spec.shape], spec.dtype)
    (y,) = run_model(lower_dft(spec, plan), {"x": x})
    assert y.dtype == x.dtype
    error = relative_error(y, dft_truth(spec, x))
    assert error <= MAX_ERROR[spec.dtype], f"{plan.lengths} has an error of {error:.3g}"


@pytest.mark.parametrize("points", mark_slow(SHORT, lambda points: 500 < points < 1090))
def test_short_dfts_are_exact(points: int) -> None:
    for spec in all_forms(points):
        assert_dft(spec, DFT.candidates(spec)[0])


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1, 1101, 50))
def test_every_length_is_exact(start: int) -> None:
    """Every seventh in all layouts and by all plans, the others on the last axis by the first plan."""
    for points in range(start, start + 50):
        is_seventh = points % 7 == 0
        for spec in all_forms(points, LAYOUTS if is_seventh else ["last axis"]):
            plans = DFT.candidates(spec)
            for plan in plans if is_seventh else plans[:1]:
                assert_dft(spec, plan)


@pytest.mark.slow
@pytest.mark.parametrize("points", LONG)
def test_long_dfts_are_exact_by_every_plan(points: int) -> None:
    for spec in all_forms(points):
        for plan in DFT.candidates(spec):
            assert_dft(spec, plan)


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "inverse", "onesided"), [(1, False, True), (2, True, False), (2, True, True)])
def test_a_million_and_three_points(parts: int, inverse: bool, onesided: bool) -> None:
    points = 1_000_003
    extent = points // 2 + 1 if inverse and onesided else points
    spec = make_dft_spec((1, extent, parts), 1, points, inverse=inverse, onesided=onesided)
    assert_dft(spec, DFT.candidates(spec)[0])


@pytest.mark.parametrize(
    ("points", "factors"),
    [
        (12, (3, 4)),
        (12, (2, 3, 2)),
        (15, (5, 3)),
        (8, (2, 2, 2)),
        (5, (3, 3)),
        (7, (4, 2, 2)),
        (12, (6, 4)),
        (1, (1,)),
    ],
    ids=str,
)
def test_every_way_to_factor_is_exact(points: int, factors: tuple[int, ...]) -> None:
    for spec in all_forms(points):
        assert_dft(spec, FourierPlan("matmul", factors))


@pytest.mark.parametrize("points", mark_slow([30, 128, 521, 1000, 4096], lambda points: points > 500))
def test_the_inverse_brings_back_the_input(points: int) -> None:
    x = draw((3, points, 1))
    there = make_dft_spec(x.shape, 1, points, onesided=True)
    for plan in DFT.candidates(there):
        (half,) = run_model(lower_dft(there, plan), {"x": x})
        back = make_dft_spec(half.shape, 1, points, inverse=True, onesided=True)
        for other in DFT.candidates(back)[:2]:
            (y,) = run_model(lower_dft(back, other), {"x": half})
            assert relative_error(y, x.astype(np.float64)) <= 1e-6


@pytest.mark.parametrize("points", [30, 67])
def test_silence_stays_silent(points: int) -> None:
    """A line or frame of zeros beside others, of which no transform may make noise: a Log behind would show it."""
    for spec in all_forms(points):
        x = draw([length or 0 for length in spec.shape])
        x[1] = 0
        for plan in DFT.candidates(spec):
            (y,) = run_model(lower_dft(spec, plan), {"x": x})
            assert not y[1].any() and y[0].any()
    for parts, step in itertools.product((1, 2), (points // 2, points)):
        stft = StftSpec(1, 8 * points, parts, points, step, parts == 1, "float32")
        signal = draw((1, 8 * points, parts))
        signal[:, 2 * points : 5 * points] = 0
        silent = [frame for frame in range(stft.frames or 0) if 2 * points <= frame * step <= 4 * points]
        for plan in STFT.candidates(stft):
            (y,) = run_model(lower_stft(stft, plan), {"x": signal})
            assert not y[:, silent].any() and np.abs(y).max(axis=(0, 2, 3)).all(
                where=~np.isin(range(len(y[0])), silent)
            )


def test_a_real_signal_ignores_what_it_cannot_have() -> None:
    x = draw((2, 7, 2))
    other = x.copy()
    other[:, [0, 6], 1] = 7
    spec = make_dft_spec(x.shape, inverse=True, onesided=True)
    for factors in ((12,), (3, 4), (4, 3), (6, 4)):
        model = lower_dft(spec, FourierPlan("matmul", factors))
        np.testing.assert_array_equal(run_model(model, {"x": x})[0], run_model(model, {"x": other})[0])


@pytest.mark.parametrize("factors", [(12,), (4, 3), (6, 5)], ids=str)
@pytest.mark.parametrize("extent", [1, 5, 7, 12, 19])
def test_other_extents_are_cropped_or_continued_by_zeros(factors: tuple[int, ...], extent: int) -> None:
    plan = FourierPlan("matmul", factors)
    for parts, inverse, onesided in FORMS:
        for shape in ((2, extent, parts), (extent, 3, parts)):
            axis = len(shape) - 2 if shape[0] == 2 else 0
            spec = make_dft_spec(shape, axis, 12, inverse=inverse, onesided=onesided)
            assert_dft(spec, plan)
            is_open = make_dft_spec((None,) * (len(shape) - 1) + (parts,), axis, 12, inverse=inverse, onesided=onesided)
            assert_dft(is_open, plan, shape)


@pytest.mark.parametrize("factors", mark_products([(12,), (4, 3), (6, 5)]))
@pytest.mark.parametrize("declared", [(None, 12, None), (None, None, 12), (None, 12, None, None), (2, 12, None)])
def test_open_lengths_may_be_0(declared: tuple[int | None, ...], factors: tuple[int, ...]) -> None:
    axis = declared.index(12)
    for parts, inverse, onesided in (FORMS[2], FORMS[4], FORMS[5]):
        spec = make_dft_spec((*declared, parts), axis, 12, inverse=inverse, onesided=onesided)
        model = lower_dft(spec, FourierPlan("matmul", factors))
        for lengths in itertools.product(*((0, 3) if length is None else (length,) for length in declared)):
            x = draw((*lengths, parts))
            assert relative_error(run_model(model, {"x": x})[0], dft_truth(spec, x)) <= MAX_ERROR["float32"], lengths


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes_keep_their_precision(dtype: str) -> None:
    for points, (parts, inverse, onesided) in itertools.product((9, 60, 521), FORMS):
        extent = points // 2 + 1 if inverse and onesided else points
        spec = make_dft_spec((2, extent, parts), 1, points, inverse=inverse, onesided=onesided, dtype=dtype)
        for plan in DFT.candidates(spec)[:2]:
            assert_dft(spec, plan)


@pytest.mark.parametrize(("parts", "inverse", "onesided"), FORMS)
def test_rows_that_are_turned_side_by_side(parts: int, inverse: bool, onesided: bool) -> None:
    extent = 33 if inverse and onesided else 64
    spec = make_dft_spec((16, extent, parts), 1, 64, inverse=inverse, onesided=onesided)
    assert_dft(spec, FourierPlan("matmul", (8, 8)))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_dft_is_exact(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 4), "dimensions before the parts")
    axis = data.draw(st.integers(0, rank - 1), "axis")
    parts, inverse, onesided = data.draw(st.sampled_from(FORMS), "form")
    shape = (*data.draw(st.lists(st.integers(1, 6), min_size=rank, max_size=rank), "lengths"), parts)
    points = data.draw(st.integers(1, 40), "points")
    is_open = data.draw(st.lists(st.booleans(), min_size=rank, max_size=rank), "open")
    declared = tuple(None if late else length for length, late in zip(shape[:-1], is_open, strict=True))
    spec = make_dft_spec((*declared, parts), axis, points, inverse=inverse, onesided=onesided)
    assert_dft(spec, data.draw(st.sampled_from(DFT.candidates(spec)), "plan"), shape)


def assert_stft(spec: StftSpec, plan: FourierPlan, window: Array | None, *, computed: bool = False) -> None:
    x = draw((spec.batch or 2, spec.length or 3 * spec.frame_length + 1, spec.parts), spec.dtype)
    feeds = {"x": x, "window": window} if window is not None and computed else {"x": x}
    (y,) = run_model(lower_stft(spec, plan, window, computed=computed), feeds)
    assert y.dtype == x.dtype
    error = relative_error(y, stft_truth(spec, x, window))
    assert error <= MAX_ERROR[spec.dtype], f"{plan.lengths} has an error of {error:.3g}"


@pytest.mark.parametrize(("points", "step"), [(1, 1), (4, 2), (12, 5), (12, 6), (16, 16), (30, 7), (100, 10), (67, 90)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_stfts_are_exact(points: int, step: int, dtype: str) -> None:
    window = (np.hanning(points + 2)[1:-1] + 0.1).astype(dtype)
    for parts, onesided, is_open in itertools.product((1, 2), (False, True), (False, True)):
        length = None if is_open else 3 * points + 1
        spec = StftSpec(None if is_open else 2, length, parts, points, step, onesided, dtype)
        for plan in STFT.candidates(spec)[:2]:
            assert_stft(spec, plan, None)
            assert_stft(spec, plan, window)
            assert_stft(spec, plan, window, computed=True)


@pytest.mark.parametrize(("points", "step"), [(400, 160), (512, 160), (521, 100), (2048, 512)])
def test_long_frames_are_exact(points: int, step: int) -> None:
    window = np.hanning(points).astype(np.float32)
    for parts, onesided in ((1, True), (2, False)):
        spec = StftSpec(1, 3 * points + 1, parts, points, step, onesided, "float32")
        for plan in STFT.candidates(spec):
            assert_stft(spec, plan, window)


@pytest.mark.parametrize("length", [None, 61])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("factors", mark_products([(12,), (4, 3), (6, 2), (3, 2, 2)]))
def test_no_signals_have_no_frames(factors: tuple[int, ...], parts: int, length: int | None) -> None:
    window = np.hanning(12).astype(np.float32)
    spec = StftSpec(None, length, parts, 12, 6, False, "float32")
    for computed in (False, True):
        x = np.zeros((0, 61, parts), np.float32)
        feeds = {"x": x, "window": window} if computed else {"x": x}
        (y,) = run_model(lower_stft(spec, FourierPlan("matmul", factors), window, computed=computed), feeds)
        assert y.shape == (0, 9, 12, 2)


def test_an_open_signal_without_a_frame_fails() -> None:
    spec = StftSpec(1, None, 1, 12, 5, True, "float32")
    model = lower_stft(spec, FourierPlan("matmul", (4, 3)))
    with pytest.raises(Exception, match="the_signal_is_shorter_than_a_frame"):
        run_model(model, {"x": draw((1, 11, 1))})


@pytest.mark.parametrize("case", fourier_cases(), ids=lambda case: case.name)
def test_the_standards_own_cases(case: Case) -> None:
    spec, signal, window = case_spec(case)
    lowering = DFT if isinstance(spec, DftSpec) else STFT
    for plan in lowering.candidates(spec):  # type: ignore[arg-type]
        model = lower_dft(spec, plan) if isinstance(spec, DftSpec) else lower_stft(spec, plan, window)
        for run in (run_model, run_reference):
            (y,) = run(model, {"x": signal})
            assert y.shape == case.expected[0].shape
            np.testing.assert_allclose(y, case.expected[0], rtol=1e-3, atol=1e-5)


def test_what_runs_is_products_only() -> None:
    spec = make_dft_spec((4, 240, 1), onesided=True)
    x = draw((4, 240, 1))
    assert executed_op_types(lower_dft(spec, FourierPlan("matmul", (240,))), {"x": x}).keys() <= {"MatMul", "Reshape"}
    factored = executed_op_types(lower_dft(spec, FourierPlan("matmul", (16, 15))), {"x": x})
    assert factored["MatMul"] == 2
    assert factored["Gather"] == 2
    assert "Transpose" not in factored


@pytest.mark.parametrize(("factors", "convs", "products"), [((240,), 1, 0), ((24, 10), 1, 1), ((16, 15), 0, 2)])
def test_a_conv_reads_the_frames_if_the_step_allows(factors: tuple[int, ...], convs: int, products: int) -> None:
    spec = StftSpec(1, 1000, 1, 240, 100, True, "float32")
    ran = executed_op_types(lower_stft(spec, FourierPlan("matmul", factors)), {"x": draw((1, 1000, 1))})
    assert ran["Conv"] == convs
    assert ran["MatMul"] == products


@pytest.mark.parametrize("points", [1, 12, 100, 521, 1000, 1097, 4096])
def test_constants_are_counted(points: int) -> None:
    specs: list[DftSpec | StftSpec] = [*all_forms(points)]
    specs += [StftSpec(2, 3 * points, parts, points, step, True, "float32") for parts in (1, 2) for step in (7, 20)]
    for spec in specs:
        lowering = DFT if isinstance(spec, DftSpec) else STFT
        for plan in lowering.candidates(spec):  # type: ignore[arg-type]
            if isinstance(spec, DftSpec):
                model = lower_dft(spec, plan)
            else:
                model = lower_stft(spec, plan, np.ones(points, np.float32))
            stored = sum(_bytes(tensor) for tensor in model.graph.initializer)
            counted = matmul_fourier_bytes(spec, plan)
            assert 0 <= stored - counted < 2048, (spec, plan)


def test_more_work_costs_more() -> None:
    few, many = (make_dft_spec((rows, 1000, 1), onesided=True) for rows in (8, 64))
    for plan in DFT.candidates(few):
        less, more = count_matmul_fourier(few, plan).fourier, count_matmul_fourier(many, plan).fourier
        assert more.product_flops == pytest.approx(8 * less.product_flops, rel=0.2)
        assert more.operators == less.operators
    direct, factored = (
        count_matmul_fourier(many, FourierPlan("matmul", factors)).fourier for factors in ((1000,), (40, 25))
    )
    assert direct.product_flops == 2 * 64 * 1000 * 1008  # 1,002 columns, computed 16 at a time
    assert factored.product_flops < direct.product_flops / 5


def test_an_axis_with_others_behind_it_is_moved_there_and_back() -> None:
    last, inside = (make_dft_spec(shape, 1, onesided=True) for shape in ((12, 16, 1), (4, 16, 3, 1)))
    for factors in ((16,), (4, 4)):
        plan = FourierPlan("matmul", factors)
        counts = count_matmul_fourier(inside, plan).fourier, count_matmul_fourier(last, plan).fourier
        assert counts[0].product_flops == counts[1].product_flops
        ran, plain = (
            executed_op_types(lower_dft(spec, plan), {"x": draw([length or 0 for length in spec.shape])})
            for spec in (inside, last)
        )
        assert ran["MatMul"] == plain["MatMul"] == len(factors)
        assert ran["Transpose"] == plain.get("Transpose", 0) + 2
        assert ran.get("Concat", 0) == 0


def test_plans_that_would_be_wrong_are_refused() -> None:
    spec = make_dft_spec((2, 12, 1))
    for factors in ((), (11,), (3, 5), (2, 3), (12, 1), (0,), (-3, -4)):
        with pytest.raises(ValueError, match="got factors"):
            DFT.check_plan(spec, FourierPlan("matmul", factors))
    DFT.check_plan(spec, FourierPlan("matmul", (23,)))


def test_what_cannot_be_computed_has_an_obstacle() -> None:
    assert "dft_length" in DFT.find_obstacle(make_dft_spec((2, None, 1)))
    assert "empty" in DFT.find_obstacle(make_dft_spec((0, 4, 1)))
    assert "short enough" in DFT.find_obstacle(make_dft_spec((1, 4, 1), 1, 2_000_000_011))
    assert DFT.find_obstacle(make_dft_spec((None, None, 1), 1, 8)) == ""
    assert "no frame" in STFT.find_obstacle(StftSpec(1, 7, 1, 8, 1, True, "float32"))
    assert STFT.find_obstacle(StftSpec(1, 8, 1, 8, 1, True, "float32")) == ""


def _bytes(tensor: TensorProto) -> int:
    return int(numpy_helper.to_array(tensor).nbytes)
