"""Do two models that validation calls the same compute the same? Judged apart from `onnx_fft.validate`.

Both are run by plain ONNX Runtime on fresh inputs. Limits are wide: what is meant is a model that computes something
else, not one that rounds otherwise. A transform rounds relative to all it sums up, also if only the smallest of its
taps meet an input of one sample; so an output is held to the largest that it is on inputs of any open length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from scripts.shared.conv_models import Array

RELATIVE_L2 = {"float16": 3e-2, "float32": 1e-3, "float64": 1e-6}
MISMATCH_SHARE = 0.02
"""How many integers or truths of an output may differ: those of near ties."""

NOISE_FACTOR = 100.0
"""An output is not judged more closely than so many times what one rounding of the inputs makes of the original."""

DTYPES = {"float": "float32", "float16": "float16", "double": "float64", "int64": "int64", "int32": "int32",
          "uint8": "uint8", "int8": "int8", "bool": "bool"}  # fmt: skip
OPEN_LENGTHS = (1, 2, 16, 40)
MOST_ELEMENTS = 1 << 22


def find_difference(original: Path, rewritten: Path, seed: int, libraries: Sequence[Path]) -> str:
    """A sentence about the first output that differs grossly; "" if none does, or if it cannot be told."""
    try:
        before = open_plain(original, ())
    except Exception:  # ORT's exceptions have no common base; a model that does not run cannot be compared
        return ""
    after = open_plain(rewritten, libraries)
    names = [value.name for value in before.get_outputs()]
    cases = []
    for feeds, outputs in run_lengths(before, after.get_inputs(), seed):
        try:
            nudged, again = before.run(None, _nudge(feeds, seed)), before.run(None, feeds)
        except Exception:
            continue
        cases.append((outputs, after.run(None, feeds), nudged, again))
    for place, name in enumerate(names):
        rms = max((_measure_rms(outputs[place]) for outputs, *_ in cases), default=0.0)
        for outputs, results, nudged, again in cases:
            if sentence := _compare(outputs[place], results[place], nudged[place], again[place], rms):
                return f"output {name!r} {sentence}"
    return ""


def open_plain(path: Path, libraries: Sequence[Path]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_lengths(session: Any, values: Sequence[Any], seed: int) -> Iterator[tuple[dict[str, Array], list[Any]]]:
    """Random inputs like `values` of each open length that the model runs on, and what it gives.

    `values` are the rewritten model's: shapes that the original leaves open may be fixed there.
    """
    shapes = set()
    for length in OPEN_LENGTHS:
        try:
            feeds = {value.name: _draw(value, length, seed) for value in values}
            shape = tuple(value.shape for value in feeds.values())
            if shape not in shapes:
                shapes.add(shape)
                yield feeds, session.run(None, feeds)
        except Exception:  # ORT's exceptions have no common base
            continue


def _draw(value: Any, length: int, seed: int) -> Array:
    dtype = DTYPES[value.type.removeprefix("tensor(").removesuffix(")")]
    shape = [dim if isinstance(dim, int) and dim >= 0 else length for dim in value.shape]
    if np.prod(shape, dtype=float) > MOST_ELEMENTS:
        raise ValueError(f"an input of {shape}")
    rng = np.random.default_rng((seed, len(value.name)))
    if dtype.startswith("float"):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2 if dtype == "bool" else 4, shape).astype(dtype)


def _nudge(feeds: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """The same with every float moved by about one rounding."""
    rng = np.random.default_rng(seed)
    nudged = {}
    for name, value in feeds.items():
        if value.dtype.kind == "f":
            factors = 1 + np.finfo(value.dtype).eps * rng.choice([-1.0, 1.0], value.shape)
            value = (value * factors).astype(value.dtype)
        nudged[name] = value
    return nudged


def _compare(before: Any, after: Any, nudged: Any, again: Any, rms: float) -> str:
    """What is wrong with `after`, "" if nothing is; `again` is the original's second run, `rms` the output's size."""
    if not all(isinstance(value, np.ndarray) for value in (before, after, nudged, again)):
        return ""
    if before.dtype != after.dtype or before.shape != after.shape:
        return f"is {after.dtype}{list(after.shape)} in place of {before.dtype}{list(before.shape)}"
    if before.dtype.kind not in "fiub" or not before.size or nudged.shape != before.shape:
        return ""
    if not np.array_equal(before, again, equal_nan=before.dtype.kind == "f"):
        return ""  # a random model
    if before.dtype.kind != "f":
        share, noise = float(np.mean(before != after)), float(np.mean(before != nudged))
        limit = max(MISMATCH_SHARE, 4 * noise)
        return f"differs in {share:.1%} of its values" if share > limit and np.sum(before != after) > 1 else ""
    return _compare_floats(before, after, nudged, rms)


def _measure_rms(values: Any) -> float:
    """Of the finite floats, 0 if there are none."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        return 0.0
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0


def _compare_floats(before: Array, after: Array, nudged: Array, rms: float) -> str:
    a, b, c = (value.astype(np.float64) for value in (before, after, nudged))
    finite = np.isfinite(a) & np.isfinite(c)
    if not finite.any():
        return ""
    if lost := int(np.sum(finite & ~np.isfinite(b))):
        return f"is not finite in {lost} places where the original is" if finite.all() else ""
    a, b, c = a[finite], b[finite], c[finite]
    scale = rms or 1.0
    error, noise = (float(np.sqrt(np.mean(np.square(value - a))) / scale) for value in (b, c))
    limit = max(RELATIVE_L2[str(before.dtype)], NOISE_FACTOR * noise)
    return f"is off by {error:.1e} (relative L2), over {limit:.1e}" if error > limit else ""
