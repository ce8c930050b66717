"""The search for shapes a model accepts, and for random feeds of those shapes.

A symbol's place gives it a role (batch, channel, length). Sizes are tried, likely ones first, until the model runs and
returns something. Then what was found is varied: odd lengths with batch 2, and larger ones. Every value is drawn from
`numpy.random.default_rng([seed, feed number])`.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from onnx_fft.errors import UsageError
from onnx_fft.inputs.feeds import (
    EXAMPLE_LENGTH,
    Feed,
    InputInfo,
    ask_for_shapes,
    find_selectors,
    fix_shapes,
    format_shape,
    make_value,
    read_inputs,
)
from onnx_fft.inputs.fitting import Fitting
from onnx_fft.model.io import LoadedModel
from onnx_fft.runtime.engines import REFERENCE, EngineError, Runner, Value

Run = Callable[[Mapping[str, Value]], dict[str, Value]]
Fit = Callable[[Mapping[str, int]], dict[str, int] | None]

LENGTHS = (64, 96, 224, 256, 48, 32, 128, 512, 576, 640, 320, 1024, 299, 4096, 16000, 44100, 16, 8, 4, 2, 1)
CHANNELS = (1, 3, 2, 4, 64, 80, 128, 16, 32)
SINGLE_LENGTHS = (64, 32, 256, 1, 576, 16, 3, 128, 2)
"""For the last attempts, in which each symbol gets its own size."""
FITTED = ((64, 1), (64, 64), (1024, 1), (1024, 3))
"""Lengths and channels from which sizes are sought that the model's constants allow."""
MAX_ELEMENTS = 1 << 22
"""Larger inputs are not tried: 4 Mi values are 16 MiB of float32, and activations are many times that."""
EASY_ELEMENTS = 1 << 16
"""Inputs up to here are tried first if ONNX's evaluator runs the model, which loops over values in Python."""
MAX_ATTEMPTS = 150
MAX_SEARCH_S = 30.0
MAX_LARGE_S = 5.0
"""A larger feed is left out if the first one's run time, scaled by size, predicts more than this."""


def search(
    infos: Sequence[InputInfo],
    run: Run,
    seed: int,
    selectors: Mapping[str, Sequence[Any]],
    *,
    vary: bool = True,
    fit: Fit = lambda sizes: None,
    is_slow: bool = False,
) -> list[Feed]:
    """Random feeds the model runs on, with its outputs; UsageError if no attempt was accepted.

    `selectors` holds the values worth trying for inputs that choose a branch; each combination gets feeds of its own.
    Without `vary`, the first feed that works is the only one. `fit` makes sizes that may work of those that do not. If
    running `is_slow`, inputs that are not small are a last resort.
    """
    feeds: list[Feed] = []
    failure = ""
    names = list(selectors)
    for combination in itertools.islice(itertools.product(*selectors.values()), 4):
        searcher = _Search(infos, run, seed, dict(zip(names, combination, strict=True)), len(feeds), fit, is_slow)
        feeds += searcher.find(vary)
        failure = failure or searcher.failure
        if feeds and not vary:
            break
    if not feeds:
        shapes = ", ".join(f"{info.name}:{format_shape(info.dims or ())}" for info in infos)
        raise UsageError(
            f"no random input was found that the model runs on (last: {failure})",
            f"one for {shapes}",
            ask_for_shapes({info.name: _resolve(info, defaultdict(lambda: EXAMPLE_LENGTH)) for info in infos}),
        )
    return feeds


def search_model(
    model: LoadedModel,
    runner: Runner,
    seed: int,
    shapes: Mapping[str, Sequence[int]],
    *,
    other: LoadedModel | None = None,
    vary: bool = True,
) -> list[Feed]:
    """Random feeds for `model`, which `runner` has loaded; see `search`.

    `shapes` fixes inputs that the model leaves open, and so do the inputs of `other`, which is to run on the feeds too.
    """
    infos = fix_shapes(read_inputs(model.model), shapes, () if other is None else read_inputs(other.model))
    selectors, fit = find_selectors(model.model, infos), Fitting(model, infos).fit
    return search(infos, runner.run, seed, selectors, vary=vary, fit=fit, is_slow=runner.engine == REFERENCE)


class _Search:
    """The search for one combination of selector values."""

    def __init__(
        self,
        infos: Sequence[InputInfo],
        run: Run,
        seed: int,
        chosen: dict[str, Any],
        first_number: int,
        fit: Fit,
        is_slow: bool,
    ) -> None:
        self.infos, self.seed, self.chosen, self.number = infos, seed, chosen, first_number
        self.failure = ""
        self._run, self._fit = run, fit
        self._roles = _find_roles(infos)
        self._started = time.monotonic()
        self._limits = (0, EASY_ELEMENTS, MAX_ELEMENTS) if is_slow else (0, MAX_ELEMENTS)
        self._most = 0
        self._run_s = self._base_s = 0.0
        self._movable: set[str] = set()
        self._open = tuple(info.name for info in infos if any(isinstance(dim, str) for dim in info.dims or ()))

    def find(self, vary: bool) -> list[Feed]:
        """The first feed that works, then its variations if they are wanted."""
        weak: tuple[Feed, dict[str, int]] | None = None
        for feed, dims in self._accepted():
            if _is_useful(feed.outputs):
                return [feed, *(self._vary(dims) if vary else ())]
            weak = weak or (feed, dims)
        return [] if weak is None else [weak[0], *(self._vary(weak[1]) if vary else ())]

    def _accepted(self) -> Iterator[tuple[Feed, dict[str, int]]]:
        """Feeds that the model runs on, with the sizes of their symbols, until the time is up."""
        for low, high in pairwise(self._limits):
            self._most = high
            for dims, fill in itertools.islice(self._attempts(), MAX_ATTEMPTS):
                is_new = self._count_elements(dims) > low if dims else low == 0
                if is_new and (feed := self._try(dims, fill)) is not None:
                    yield feed, dims
                if time.monotonic() - self._started > MAX_SEARCH_S:
                    return

    def _attempts(self) -> Iterator[tuple[dict[str, int], int | None]]:
        """Sizes of all symbols, likely ones first; then integers all 1 or 0, for models that compute shapes of them.

        What the model's constants fix comes right after the likeliest.
        """
        fills = (None, 1, 0) if any(info.dtype.kind in "iu" for info in self.infos) else (None,)
        yield next(_dims_to_try(self._roles)), None
        for length, channel in FITTED if self._roles else ():
            if (fitted := self._fit(_size_roles(self._roles, length, channel))) is not None:
                yield from ((fitted, fill) for fill in fills)
        for fill in fills:
            yield from ((dims, fill) for dims in _dims_to_try(self._roles))

    def _try(self, dims: Mapping[str, int], fill: int | None = None) -> Feed | None:
        rng = np.random.default_rng([self.seed, self.number])
        shapes = {info.name: _resolve(info, dims) for info in self.infos}
        if dims and self._count_elements(dims) > self._most:
            return None
        arrays = {info.name: make_value(info, shapes[info.name], rng, fill) for info in self.infos}
        for name, value in self.chosen.items():
            arrays[name] = np.full_like(arrays[name], value)
        started = time.monotonic()
        try:
            outputs = self._run(arrays)
        except EngineError as error:
            self.failure = str(error)
            return None
        self._run_s = time.monotonic() - started
        text = ", ".join(f"{name} {format_shape(shape)}" for name, shape in shapes.items())
        text += "".join(f", {name}={value}" for name, value in self.chosen.items())
        return Feed(f"random feed {self.number} of seed {self.seed} ({text})", arrays, outputs, self._open)

    def _count_elements(self, dims: Mapping[str, int]) -> int:
        return sum(math.prod(_resolve(info, dims)) for info in self.infos)

    def _vary(self, base: dict[str, int]) -> Iterator[Feed]:
        self._base_s = self._run_s
        if not base:
            return
        for offsets, batch in (((13, 40, 32, 64), 2), ((193, 160, 128, 256), 1)):
            large = offsets[0] > 100
            if large and self._predict_s(base, offsets[0]) > MAX_LARGE_S:
                continue
            self.number += 1
            found = self._vary_each(base, offsets, batch)
            if found is not None:
                yield found

    def _vary_each(self, base: dict[str, int], offsets: Sequence[int], batch: int) -> Feed | None:
        """Change one symbol after the other, keeping what the model accepts; lengths all differ from each other."""
        current, accepted = dict(base), None
        for position, (symbol, role) in enumerate(self._roles.items()):
            if time.monotonic() - self._started > 2 * MAX_SEARCH_S:
                break
            steps = [batch - base[symbol]] if role != "length" else [offset + 6 * position for offset in offsets[:1]]
            steps += list(offsets[1:]) if role == "length" else []
            for step in steps:
                dims = {**current, symbol: base[symbol] + step}
                feed = self._try(dims) if step else None
                if feed is not None and _is_useful(feed.outputs):
                    current, accepted = dims, feed
                    self._movable.add(symbol)
                    break
        return accepted

    def _predict_s(self, base: dict[str, int], offset: int) -> float:
        moving = [symbol for symbol in self._movable if self._roles[symbol] == "length"]
        return self._base_s * math.prod((base[symbol] + offset) / base[symbol] for symbol in moving)


def _find_roles(infos: Sequence[InputInfo]) -> dict[str, str]:
    """batch, channel or length for each symbol, by its first place."""
    roles: dict[str, str] = {}
    for info in infos:
        dims = info.dims or ()
        for axis, dim in enumerate(dims):
            if isinstance(dim, str):
                named = dim.lower().startswith("batch") or dim.lower() in ("n", "b")
                role = "batch" if named or (axis == 0 and len(dims) > 1) else "length"
                is_sequence = len(dims) == 3 and isinstance(dims[2], int)  # [batch, time, features]
                if axis == 1 and len(dims) > 2 and not named and not is_sequence:
                    role = "channel"
                roles.setdefault(dim, role)
    return roles


def _size_roles(roles: Mapping[str, str], length: int, channel: int) -> dict[str, int]:
    sizes = {"batch": 1, "channel": channel, "length": length}
    return {symbol: sizes[role] for symbol, role in roles.items()}


def _dims_to_try(roles: Mapping[str, str]) -> Iterator[dict[str, int]]:
    sizes = partial(_size_roles, roles)
    has_channel, has_length = "channel" in roles.values(), "length" in roles.values()
    if not has_length:
        yield from (sizes(1, channel) for channel in (CHANNELS if has_channel else CHANNELS[:1]))
    else:
        yield from (sizes(length, 1) for length in LENGTHS)
        if has_channel:
            yield from (sizes(length, channel) for channel in CHANNELS[1:] for length in LENGTHS[:4])
    free = [symbol for symbol, role in roles.items() if role != "batch"]
    for chosen in itertools.product(SINGLE_LENGTHS, repeat=len(free)):
        yield {**sizes(1, 1), **dict(zip(free, chosen, strict=True))}
    yield from ({symbol: length for symbol in roles} for length in LENGTHS[:8])


def _resolve(info: InputInfo, dims: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else dims[dim] for dim in info.dims or ())


def _is_useful(outputs: Mapping[str, Value]) -> bool:
    """No output is empty, and each holds at least one finite value."""
    for value in outputs.values():
        if isinstance(value, np.ndarray):
            if value.size == 0:
                return False
            if value.dtype.kind == "f" and not np.isfinite(value).any():
                return False
    return True
