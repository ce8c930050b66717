"""When two tensors are the same: shape, dtype and finiteness first, then a tolerance scaled by the reference's RMS.

A float output passes if both of these hold, with `e = candidate - reference` over the finite elements:

    ||e||_2 <= relative_l2 * ||reference||_2        (nothing is wrong everywhere)
    |e_i|   <= max_over_rms * (RMS(reference) + |reference_i|)   for every i   (nothing is very wrong anywhere)

Both sides are checked with `not (x <= limit)`, so that a NaN fails. Integers, booleans and strings must be equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_fft.runtime.engines import Value

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Limits for one dtype: of a model's output (relative L2, and largest error over RMS) and of one Conv alone."""

    relative_l2: float
    max_over_rms: float
    conv_relative_l2: float
    why: str


TOLERANCES = {
    "float16": Tolerance(1e-2, 1e-1, 5e-3, "one rounding is 5e-4; a network adds a few dozen of them"),
    "float32": Tolerance(
        1e-4,
        2e-3,
        1e-5,
        "ORT's own optimizations move real networks by up to 3e-5 and 4e-4 of the RMS; one FFT by 5e-6",
    ),
    "float64": Tolerance(1e-10, 2e-9, 1e-12, "as float32, in units of 1e-16 instead of 6e-8, with a decade to spare"),
}
"""The one table. Measured 2026-11 with ORT 1.32: ENABLE_ALL against DISABLE_ALL on eight published models."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One output under one feed. The numbers are NaN if shapes or dtypes already differ, or nothing was compared.

    `rms` is that of the reference's finite elements; `compared` counts the elements whose values were compared;
    `mismatch_share` is the share of unequal elements of a non-float output; `max_abs_limit` is the limit at an
    element of RMS size, `atol` what was allowed each element on top. `excused` counts the values that differ and pass
    all the same, because rounding turns them in the original, too (`checks/excuses.py`); `rounding_noise_only` says
    that the values are nothing but that.
    """

    output: str
    ok: bool
    sentence: str
    dtype: str
    shape: tuple[int, ...]
    compared: int = 0
    max_abs_error: float = float("nan")
    relative_l2: float = float("nan")
    rms: float = float("nan")
    max_abs_limit: float = float("nan")
    relative_l2_limit: float = float("nan")
    mismatch_share: float = 0.0
    rounding_noise_only: bool = False
    excused: int = 0
    atol: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def compare_outputs(
    name: str, reference: Value, candidate: Value, *, rtol: float | None = None, atol: float = 0.0
) -> tuple[Comparison, ...]:
    """Compare two outputs of any ONNX type; sequences and maps element by element, named `name[0]`, `name['key']`.

    `rtol` replaces both relative limits of the table; `atol` is allowed on top, per element.
    """
    left, right = dict(flatten_output(name, reference)), dict(flatten_output(name, candidate))
    if left.keys() != right.keys():
        odd = sorted(left.keys() ^ right.keys())
        sentence = f"holds {len(right)} tensors instead of {len(left)}; first that only one side has: {odd[0]}"
        return (Comparison(name, False, sentence, "", ()),)
    return tuple(compare_arrays(key, left[key], right[key], rtol=rtol, atol=atol) for key in left)


def compare_arrays(
    name: str, reference: Array | None, candidate: Array | None, *, rtol: float | None = None, atol: float = 0.0
) -> Comparison:
    """Compare two tensors; see the module's docstring for the rule."""
    if reference is None or candidate is None:
        same = reference is None and candidate is None
        return Comparison(name, same, "absent on both sides" if same else "absent on one side only", "optional", ())
    reference, candidate = np.asarray(reference), np.asarray(candidate)
    dtype, shape = str(reference.dtype), reference.shape
    if candidate.shape != shape:
        return Comparison(name, False, f"shape is {list(candidate.shape)} instead of {list(shape)}", dtype, shape)
    if candidate.dtype != reference.dtype:
        return Comparison(name, False, f"dtype is {candidate.dtype} instead of {dtype}", dtype, shape)
    if reference.size == 0:
        return Comparison(name, True, "empty on both sides: nothing was compared", dtype, shape)
    if reference.dtype.kind == "c":
        planes = (np.stack([values.real, values.imag]) for values in (reference, candidate))
        return compare_arrays(name, *planes, rtol=rtol, atol=atol)
    if reference.dtype.kind != "f":
        return _compare_exactly(name, reference, candidate)
    return _compare_floats(name, reference, candidate, rtol, atol)


def flatten_output(name: str, value: Value) -> Iterator[tuple[str, Array | None]]:
    """The tensors of an output of any ONNX type, each with the name that a `Comparison` has for it."""
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from flatten_output(f"{name}[{key!r}]", value[key])
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from flatten_output(f"{name}[{position}]", item)
    else:
        yield name, None if value is None else np.asarray(value)


def allowed_error(reference: Array, rtol: float | None = None, atol: float = 0.0) -> Array:
    """The largest error of each element that is finite in `reference`; NaN for the others."""
    truth = np.abs(np.where(np.isfinite(reference), reference, np.nan).astype(np.float64))
    limit = _find_table(str(reference.dtype)).max_over_rms if rtol is None else rtol
    return np.asarray(limit * (measure_rms(reference) + truth) + atol)


def ordinary_rounding(ordinary: Array, rtol: float | None = None) -> float:
    """An error that is nothing beside values like those of `ordinary`: for feeds on which an output is next to nothing.

    Ten times the limit of the dtype: such feeds are for what becomes NaN or another decision.
    """
    limit = 10 * _find_table(str(ordinary.dtype)).relative_l2 if rtol is None else rtol
    return limit * measure_rms(ordinary)


def shorten(name: str, width: int = 60) -> str:
    """A name fit for a line of text: the middle of a long one is left out."""
    return name if len(name) <= width else f"{name[: width - 20]}...{name[-17:]}"


def measure_rms(values: Array) -> float:
    """Root mean square over the finite elements, in float64; 0 if there are none."""
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0


def _compare_exactly(name: str, reference: Array, candidate: Array) -> Comparison:
    share = float(np.mean(reference != candidate))
    what = f"{reference.size} of {reference.size} values equal"
    if share:
        what = f"{share:.2%} of {reference.size} values differ; {reference.dtype} values must be equal"
    return Comparison(
        name, share == 0, what, str(reference.dtype), reference.shape, compared=reference.size, mismatch_share=share
    )


def _compare_floats(name: str, reference: Array, candidate: Array, rtol: float | None, atol: float) -> Comparison:
    dtype, shape = str(reference.dtype), reference.shape
    finite = np.isfinite(reference)
    strange = ~finite
    if not np.array_equal(finite, np.isfinite(candidate)) or not np.array_equal(
        reference[strange], candidate[strange], equal_nan=True
    ):
        new, gone = int((finite & ~np.isfinite(candidate)).sum()), int((strange & np.isfinite(candidate)).sum())
        before, after = int(strange.sum()), int((~np.isfinite(candidate)).sum())
        sentence = f"NaN or Inf in other places: {after} of {reference.size} values are not finite, before {before}"
        sentence += f"; {new} became so" + (f", {gone} no longer are" if gone else "")
        return Comparison(name, False, sentence, dtype, shape)
    if not finite.any():
        return Comparison(name, True, "no finite value on either side: nothing was compared", dtype, shape)
    table = _find_table(dtype)
    l2_limit, max_limit = (table.relative_l2, table.max_over_rms) if rtol is None else (rtol, rtol)
    truth = reference[finite].astype(np.float64)
    error = np.abs(candidate[finite].astype(np.float64) - truth)
    rms = measure_rms(truth)
    allowed = allowed_error(reference, rtol, atol)[finite]
    norm = float(np.linalg.norm(truth))
    l2 = float(np.linalg.norm(error))
    small_everywhere = bool((error <= allowed).all())
    small_in_sum = l2 <= l2_limit * norm + atol * float(np.sqrt(truth.size))
    relative = l2 / norm if norm else (0.0 if l2 == 0 else float("inf"))
    largest = float(error.max())
    ok = small_everywhere and small_in_sum
    numbers = f"largest error {largest:.1e} (RMS {rms:.1e}), relative L2 {relative:.1e}"
    limits = f"limits {max_limit:.0e} of RMS + |value|, {l2_limit:.0e}"
    sentence = f"{numbers}; {'within' if ok else 'beyond the'} {limits}"
    found = (int(truth.size), largest, relative, rms, 2 * max_limit * rms + atol, l2_limit)
    return Comparison(name, ok, sentence, dtype, shape, *found, atol=atol)


def _find_table(dtype: str) -> Tolerance:
    return TOLERANCES.get(dtype, TOLERANCES["float32"])
