"""Sizes of inputs that a model's constants fix, found with ONNX's shape inference.

A Gemm behind a Flatten, a Reshape to constants, a table of positions that is added: each of them fits some sizes of the
inputs only. Shape inference says for given sizes what lengths arrive there. Those grow with the sizes, so the sizes
that make the first gap zero are found by bisection; then the shapes behind it are known, and the next gap shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from onnx import ModelProto

from onnx_fft.errors import OnnxFftError
from onnx_fft.inputs.feeds import InputInfo
from onnx_fft.inputs.requirements import Gap, Shape, find_violation
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import Scope, find_scopes
from onnx_fft.model.shapes import infer_shapes, set_input_shapes, strip_data

Sizes = dict[str, int]
"""Of the symbols in the shapes of inputs."""

MAX_SIZE = 1 << 20
LEAP = 16
"""Times a size by which a gap moves if it depends on it: strides make it stand still for less."""
MAX_SCAN = 1024
"""Sizes of one symbol with which the others are solved."""
MAX_ROUNDS = 16
"""Gaps that are closed one after the other."""
MAX_FIT_S = 5.0


class Fitting:
    """Finds sizes that fit one model."""

    def __init__(self, loaded: LoadedModel, infos: Sequence[InputInfo]) -> None:
        """`infos` are the inputs that are fed, whose open dimensions are symbols."""
        self._loaded, self._infos = loaded, infos
        self._known: dict[tuple[tuple[str, int], ...], dict[str, Shape]] = {}
        self._deadline = 0.0

    def fit(self, sizes: Mapping[str, int]) -> Sizes | None:
        """Sizes near `sizes` in which the main graph shows no gap; None if none were found, or `sizes` have none."""
        self._deadline = time.monotonic() + MAX_FIT_S
        self._known.clear()
        fitted, settled = dict(sizes), set[str]()
        for _ in range(MAX_ROUNDS):
            gaps = self._find_gaps(fitted)
            if not gaps:
                return fitted if fitted != sizes else None
            ways = ((close, gap) for close in (self._close, self._close_unlike) for gap in gaps)
            solved = next(filter(None, (close(gap, fitted, settled) for close, gap in ways)), None)
            if solved is None:
                return None
            settled |= {symbol for symbol, size in solved.items() if fitted[symbol] != size}
            fitted = solved
        return None

    @cached_property
    def _skeleton(self) -> ModelProto:
        return strip_data(self._loaded.model, self._loaded.base_dir)

    @cached_property
    def _scope(self) -> Scope:
        return find_scopes(self._loaded.model, self._loaded.base_dir)[0]

    def _find_gaps(self, sizes: Sizes) -> list[Gap]:
        """Those of the first node that is not content."""
        shapes = self._infer(sizes)
        return next(filter(None, (find_violation(node, self._scope, shapes) for node in self._scope.body.node)), [])

    def _close(self, gap: Gap, sizes: Sizes, settled: set[str]) -> Sizes | None:
        """`sizes` with another size for the symbols that move the gap, or for one of them; None if that is in vain."""
        moving = self._find_moving(gap, sizes)
        free = [symbol for symbol in moving if symbol not in settled]
        attempts = (_find_alike(free, sizes), *([symbol] for symbol in (*free, *moving)))
        return next(filter(None, (self._solve(gap, sizes, symbols) for symbols in attempts)), None)

    def _close_unlike(self, gap: Gap, sizes: Sizes, settled: set[str]) -> Sizes | None:
        """As for an oblong: one symbol at another size than the rest, from nearly the same downwards."""
        alike = _find_alike([symbol for symbol in self._find_moving(gap, sizes) if symbol not in settled], sizes)
        nearest = self._cross(gap, sizes, alike)
        if nearest is None or len(alike) < 2:
            return None
        for symbol in alike:
            others = [other for other in alike if other != symbol]
            before: int | None = 0
            for size in range(nearest[symbol], max(nearest[symbol] - MAX_SCAN, 0), -1):
                tried = {**nearest, symbol: size}
                found = gap(self._infer(tried))
                if found != before and (solved := self._solve(gap, tried, others)):
                    return solved
                before = found
        return None

    def _find_moving(self, gap: Gap, sizes: Sizes) -> list[str]:
        now = gap(self._infer(sizes))
        return [symbol for symbol in sizes if gap(self._infer({**sizes, symbol: LEAP * sizes[symbol]})) != now]

    def _solve(self, gap: Gap, sizes: Sizes, symbols: Sequence[str]) -> Sizes | None:
        """`sizes` with the least size of `symbols` that closes the gap."""
        solved = self._cross(gap, sizes, symbols)
        return solved if solved is not None and gap(self._infer(solved)) == 0 else None

    def _cross(self, gap: Gap, sizes: Sizes, symbols: Sequence[str]) -> Sizes | None:
        """`sizes` with the least size of `symbols` that closes the gap or turns its sign."""

        def change(size: int) -> Sizes:
            return {**sizes, **dict.fromkeys(symbols, size)}

        size = _find_crossing(lambda size: gap(self._infer(change(size)))) if symbols else 0
        return change(size) if size else None

    def _infer(self, sizes: Mapping[str, int]) -> dict[str, Shape]:
        """The shapes of the main graph's tensors for these sizes; none once the time is up."""
        key = tuple(sizes.items())
        if key not in self._known and time.monotonic() < self._deadline:
            self._known[key] = _read_shapes(self._set_sizes(sizes))
        return self._known.get(key, {})

    def _set_sizes(self, sizes: Mapping[str, int]) -> ModelProto:
        copy = ModelProto()
        copy.CopyFrom(self._skeleton)
        for info in self._infos:
            with suppress(OnnxFftError):  # of an input whose own claim is no positive length
                dims = [dim if isinstance(dim, int) else sizes[dim] for dim in info.dims or ()]
                set_input_shapes(copy, {info.name: dims})
        return copy


def _find_alike(symbols: Sequence[str], sizes: Sizes) -> list[str]:
    """Those of the largest size: the lengths of an image, but not its batch."""
    return [symbol for symbol in symbols if sizes[symbol] == max(sizes[other] for other in symbols)]


def _find_crossing(measure: Callable[[int], int | None]) -> int:
    """The least size at which a monotone `measure` is 0 or of another sign; small sizes may have none. 0: nowhere."""
    last: tuple[int, int | None] = (0, None)
    for size in (1 << power for power in range(MAX_SIZE.bit_length())):
        found = measure(size)
        if found is None:
            continue
        low, before = last
        if before is None:
            crossing = _bisect(measure, size // 2, size, rises=found > 0)
            if measure(crossing) == 0:
                return crossing
        elif found == 0 or (before < 0) != (found < 0):
            return _bisect(measure, low, size, rises=before < 0)
        last = size, found
    return 0


def _bisect(measure: Callable[[int], int | None], low: int, high: int, *, rises: bool) -> int:
    """The least size above `low`, up to `high`, at which `measure` has reached 0; `high` if it does so nowhere else."""
    while low + 1 < high:
        middle = (low + high) // 2
        found = measure(middle)
        if found is not None and (found >= 0 if rises else found <= 0):
            high = middle
        else:
            low = middle
    return high


def _read_shapes(model: ModelProto) -> dict[str, Shape]:
    graph = infer_shapes(model).graph
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    return shapes
