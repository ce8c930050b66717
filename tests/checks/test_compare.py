"""The comparison must be able to fail: every way to be wrong, for every dtype of the table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnx_fft.checks.compare import TOLERANCES, compare_arrays, compare_outputs, measure_rms, shorten
from scripts.shared.conv_models import Array

DTYPES = sorted(TOLERANCES)


def draw(dtype: str) -> Array:
    return np.random.default_rng(5).standard_normal((2, 3, 40)).astype(dtype)


def set_one(values: Array, value: float) -> Array:
    changed = values.copy()
    changed[1, 2, 7] = value
    return changed


WRONG: dict[str, Callable[[Array], Array]] = {
    "zeros": np.zeros_like,
    "twice": lambda y: 2 * y,
    "flipped sign": lambda y: -y,
    "one sign flipped": lambda y: set_one(y, -y[1, 2, 7]),
    "one NaN": lambda y: set_one(y, np.nan),
    "one Inf": lambda y: set_one(y, np.inf),
    "all NaN": lambda y: np.full_like(y, np.nan),
    "wrong dtype": lambda y: y.astype(np.float64 if y.dtype != np.float64 else np.float32),
    "integers": lambda y: y.astype(np.int32),
    "empty": lambda y: y[:, :, :0],
    "wrong shape": lambda y: y.reshape(3, 2, 40),
    "a scalar that would broadcast": lambda y: y[:1, :1, :1],
    "shifted by one": lambda y: np.roll(y, 1, axis=-1),
    "one value off by the RMS": lambda y: set_one(y, y[1, 2, 7] + 1),
    "all off by twice the limit": lambda y: y * (1 + 2 * TOLERANCES[str(y.dtype)].relative_l2),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", sorted(WRONG))
def test_rejects(how: str, dtype: str) -> None:
    reference = draw(dtype)
    result = compare_arrays("y", reference, WRONG[how](reference))
    assert not result.ok, result.sentence
    assert result.sentence


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_accepts_rounding_at_any_scale(dtype: str, scale: float) -> None:
    reference = (draw("float64") * scale).astype(dtype)
    rounded = reference * (1 + 4 * np.finfo(dtype).eps * np.sign(draw("float64")))
    result = compare_arrays("y", reference, rounded.astype(dtype))
    assert result.ok, result.sentence
    assert result.compared == reference.size
    assert result.max_abs_error > 0


def test_the_same_nan_and_inf_in_the_same_places_pass_and_the_rest_is_compared() -> None:
    reference = set_one(draw("float32"), np.nan)
    reference[0, 0, 0] = -np.inf
    assert compare_arrays("y", reference, reference.copy()).ok
    assert compare_arrays("y", reference, reference.copy()).compared == reference.size - 2
    assert not compare_arrays("y", reference, np.where(np.isfinite(reference), 2 * reference, reference)).ok
    assert not compare_arrays("y", reference, np.where(np.isinf(reference), np.inf, reference)).ok  # other sign
    assert not compare_arrays("y", reference, np.nan_to_num(reference)).ok


def test_zeros_against_anything_else_fail() -> None:
    zeros = np.zeros(8, np.float32)
    assert compare_arrays("y", zeros, zeros.copy()).ok
    assert not compare_arrays("y", zeros, zeros + np.float32(1e-6)).ok
    assert compare_arrays("y", zeros, zeros + np.float32(1e-6), atol=1e-5).ok


def test_nothing_compared_is_said() -> None:
    empty, nan = np.zeros((0, 3), np.float32), np.full(4, np.nan, np.float32)
    for values in (empty, nan):
        result = compare_arrays("y", values, values.copy())
        assert result.compared == 0
        assert "nothing was compared" in result.sentence


def test_integers_must_be_equal_and_the_share_is_told() -> None:
    reference = np.arange(200).reshape(10, 20)
    assert compare_arrays("i", reference, reference.copy()).ok
    result = compare_arrays("i", reference, np.where(reference == 7, 8, reference))
    assert not result.ok
    assert result.mismatch_share == pytest.approx(0.005)
    assert "0.50%" in result.sentence
    assert not compare_arrays("b", reference > 5, reference > 6).ok
    assert not compare_arrays("s", np.array(["a", "b"], object), np.array(["a", "c"], object)).ok


def test_sequences_maps_and_optionals() -> None:
    y = draw("float32")
    assert all(c.ok for c in compare_outputs("s", [y, 2 * y], [y, 2 * y]))
    assert [c.output for c in compare_outputs("s", [y, 2 * y], [y, y]) if not c.ok] == ["s[1]"]
    assert not compare_outputs("s", [y, y], [y])[0].ok
    assert [c.ok for c in compare_outputs("m", {"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 3.0})] == [True, False]
    assert not compare_outputs("m", {"a": 1.0}, {"b": 1.0})[0].ok
    assert compare_outputs("o", None, None)[0].ok
    assert not compare_outputs("o", y, None)[0].ok


def test_rtol_replaces_the_table() -> None:
    y = draw("float32")
    off = y * np.float32(1.01)
    assert not compare_arrays("y", y, off).ok
    assert compare_arrays("y", y, off, rtol=0.05).ok
    assert not compare_arrays("y", y, y * np.float32(1 + 1e-5), rtol=1e-7).ok


def test_complex_values_are_compared_in_both_parts() -> None:
    y = draw("float32") + 1j * draw("float32").astype(np.complex64)
    assert compare_arrays("c", y, y.copy()).ok
    assert not compare_arrays("c", y, y.conj()).ok


def test_rms_ignores_what_is_not_finite() -> None:
    assert measure_rms(np.array([3.0, np.nan, -3.0, np.inf])) == pytest.approx(3.0)


def test_long_names_are_shortened_in_the_middle() -> None:
    assert shorten("conv1") == "conv1"
    long = shorten("a" * 100 + "end")
    assert len(long) == 60
    assert long.endswith("end")
