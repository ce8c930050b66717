"""What a DFT or STFT by products with constant matrices does in a run, and the bytes of its constants.

Specs are those whose lengths are known; what is open counts as 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from onnx_fft.cost.counts import Counts, FourierCounts
from onnx_fft.fourier.factored import Stage
from onnx_fft.fourier.plans import Transform, count_turned, is_chirped, list_back_stages, list_stages
from onnx_fft.lowering.base import FourierPlan
from onnx_fft.lowering.matmul_dft import dft_transform
from onnx_fft.lowering.matmul_stft import convolves, convolves_first, frame_transform, run_length
from onnx_fft.sites.fourier import DftSpec, StftSpec

CACHE_NUMBERS = 4 << 20
"""Numbers that one operator reads and writes, from which on they count as memory's."""

TURNED_CACHE_NUMBERS = 1 << 20
"""The same of a matrix that is transposed on one thread."""

FAR_NUMBERS = 512
"""Rows of a multiple of so many numbers fall on a few places of the cache."""

COLUMNS = 16
"""Columns that a matrix product computes at once."""


def count_matmul_fourier(spec: DftSpec | StftSpec, plan: FourierPlan) -> Counts:
    """Framing, then one product a factor and what stands between them; a Reshape at either end."""
    counts = _count_dft(spec, plan) if isinstance(spec, DftSpec) else _count_stft(spec, plan)
    return Counts(fourier=counts + FourierCounts(operators=2))


def matmul_fourier_bytes(spec: DftSpec | StftSpec, plan: FourierPlan) -> int:
    """Bytes of the constants, but for the lengths that Reshape and its like read: less than 2 KiB."""
    transform = dft_transform(spec) if isinstance(spec, DftSpec) else frame_transform(spec)
    itemsize = 8 if spec.dtype == "float64" else 4
    total = itemsize * _count_numbers(transform, plan.lengths) + 8 * _count_indices(transform, plan.lengths)
    if isinstance(spec, StftSpec) and convolves_first(spec, plan):
        first, last = list_stages(transform, plan.lengths)
        weights = first.matrix_size * first.rest
        return itemsize * (weights + last.matrix_size) + 8 * spec.bins
    if isinstance(spec, StftSpec) and not convolves(spec, plan):
        total += itemsize * spec.frame_length * spec.parts
        total += 8 * (spec.frame_length // run_length(spec) + (spec.frames or 0))
    return total


def _count_dft(spec: DftSpec, plan: FourierPlan) -> FourierCounts:
    transform = dft_transform(spec)
    outer = prod(length or 1 for length in spec.shape[: spec.axis])
    inner = prod(length or 1 for length in spec.shape[spec.axis + 1 : -1])
    counts = _count_transform(transform, plan.lengths, outer * inner)
    if spec.shape[spec.axis] != transform.read:
        counts += FourierCounts(serial_numbers=2 * outer * transform.read * inner * transform.parts, operators=1)
    if inner > 1:
        parts = 1 if transform.gives_real else 2
        counts += _count_turn(outer, transform.read, inner, transform.parts)
        counts += _count_turn(outer, inner, transform.wanted, parts)
    return counts


def _count_stft(spec: StftSpec, plan: FourierPlan) -> FourierCounts:
    frames = (spec.batch or 1) * (spec.frames or 1)
    transform = frame_transform(spec)
    if convolves(spec, plan):
        return _count_convolved(spec, transform, frames)
    if convolves_first(spec, plan):
        return _count_convolved_first(spec, plan, frames)
    samples = frames * spec.frame_length * spec.parts
    counts = FourierCounts(runs=samples / spec.parts / run_length(spec) + frames, operators=2)
    counts += _count_pass(2 * samples) + _count_pass(2 * samples)
    return counts + _count_transform(transform, plan.lengths, frames)


def _count_convolved(spec: StftSpec, transform: Transform, frames: int) -> FourierCounts:
    """One matrix, by a Conv."""
    batch, taps = spec.batch or 1, spec.frame_length * spec.parts
    counts = FourierCounts(framed_numbers=taps * frames)
    if spec.parts == 2:
        counts += _count_turn(batch, spec.length or 1, 2, 1)
    counts += _count_left(batch, 2 * transform.wanted, taps, frames / batch)
    return counts + _count_turn(batch, 2 * spec.bins, frames // batch, 1)


def _count_convolved_first(spec: StftSpec, plan: FourierPlan, frames: int) -> FourierCounts:
    """Two factors, the first by a Conv."""
    first, last = list_stages(frame_transform(spec), plan.lengths)
    batch = spec.batch or 1
    between = 2 * frames * first.digits * first.rest
    counts = FourierCounts(framed_numbers=frames * spec.frame_length, serial_numbers=between, operators=1)
    counts += _count_turn(batch, (spec.length or 1) // first.rest, first.rest, 1)
    counts += _count_left(batch * first.rest, 2 * first.digits, first.length, frames / batch)
    counts += _count_left(batch * first.digits, 2 * last.bins, 2 * last.length, frames / batch)
    counts += _count_pass(4 * frames * spec.bins) + FourierCounts(runs=batch * spec.bins, operators=1)
    return counts + _count_turn(batch, 2 * spec.bins, frames // batch, 1)


def _count_transform(transform: Transform, factors: tuple[int, ...], rows: int) -> FourierCounts:
    stages = list_stages(transform, factors)
    counts = _count_stages(stages, rows)
    out_parts = 1 if transform.gives_real else 2
    if is_chirped(transform, factors):
        counts += _count_stages(list_back_stages(transform, factors), rows)
        counts += _count_exchange(rows, prod(factors[:-1]), factors[-1])
        counts += _count_exchange(rows, 1, transform.read) + _count_exchange(rows, 1, transform.wanted)
        counts += FourierCounts(serial_numbers=2 * rows * stages[0].samples * stages[0].rest * 2, operators=1)
        return counts + _count_turn(rows, 2, transform.wanted, 1)
    if len(factors) == 1:
        return counts
    taken = prod(stage.digits for stage in stages) if transform.gives_real else transform.wanted
    given = transform.read if transform.gives_real else prod(stage.bins for stage in stages)
    counts += _count_taking(transform, rows, given, taken)
    if transform.gives_real:
        counts += _count_pass(rows * taken * 2 * out_parts) + FourierCounts(runs=rows, operators=1)
    elif transform.parts == 2:
        counts += _count_turn(rows, transform.read, 2, 1)
    if stages[0].samples * stages[0].rest != transform.read and not transform.gives_real:
        counts += FourierCounts(serial_numbers=2 * rows * transform.read * transform.parts, operators=1)
    return counts


def _count_taking(transform: Transform, rows: int, given: int, taken: int) -> FourierCounts:
    """A Gather of single pairs, or of several rows' pairs, turned before and behind it."""
    turned = count_turned(transform, rows)
    counts = _count_pass(4 * rows * taken) + FourierCounts(runs=rows * taken / (turned or 1), operators=1)
    if not turned:
        return counts
    groups = rows // turned
    return counts + _count_turn(groups, turned, 2 * given, 1) + _count_turn(groups, 2 * taken, turned, 1)


def _count_stages(stages: Sequence[Stage], rows: int) -> FourierCounts:
    """The products, and the twiddles behind each but the last."""
    counts = FourierCounts()
    for stage in stages:
        made, summed = 2 * stage.bins, stage.parts * stage.samples
        if stage.rest == 1:
            counts += _count_right(rows * stage.batch, summed, made)
        else:
            counts += _count_left(rows * stage.batch, made, summed, stage.rest)
        if stage.has_twiddles:
            counts += _count_exchange(rows * stage.batch, stage.digits, stage.rest)
    return counts


def _count_right(rows: float, summed: int, made: int) -> FourierCounts:
    """`[rows, summed] x [summed, made]` with a constant on the right."""
    flops = 2 * rows * summed * _fill(made)
    numbers = rows * (summed + made) + summed * made
    return FourierCounts(product_flops=flops, products=1, operators=1) + _count_pass(numbers)


def _count_left(batch: float, made: int, summed: int, columns: float) -> FourierCounts:
    """`batch` products `[made, summed] x [summed, columns]` with a constant on the left."""
    counts = FourierCounts(
        product_flops=2 * batch * made * summed * _fill(columns),
        products=batch,
        packed_numbers=batch * summed * _fill(columns),
        operators=1,
    )
    return counts + _count_pass(batch * columns * (summed + made) + summed * made)


def _count_exchange(rows: float, digits: int, rest: int) -> FourierCounts:
    """A product of `[rows, digits, part, rest]` with complex constants: a Gather, two Muls, an Add."""
    numbers = 2.0 * rows * digits * rest
    counts = FourierCounts(runs=numbers / rest + 2 * rows, operators=4)
    for tensors in (2, 2, 2, 3):
        counts += _count_pass(tensors * numbers)
    return counts


def _count_pass(numbers: float) -> FourierCounts:
    """So many numbers read and written by one operator on all threads."""
    return FourierCounts(cached_numbers=numbers) if numbers < CACHE_NUMBERS else FourierCounts(memory_numbers=numbers)


def _count_turn(batch: float, rows: int, columns: int, parts: int) -> FourierCounts:
    """`[batch, rows, columns, parts]` -> `[batch, columns, rows, parts]`."""
    numbers = float(batch * rows * columns * parts)
    is_far = min(rows, columns) > COLUMNS and (
        numbers > TURNED_CACHE_NUMBERS or any(length * parts % FAR_NUMBERS == 0 for length in (rows, columns))
    )
    return FourierCounts(
        turned_numbers=numbers if parts == 1 else 0,
        turned_pairs=numbers / 2 if parts == 2 else 0,
        far_numbers=numbers if is_far else 0,
        operators=1,
    )


def _fill(columns: float) -> float:
    """Columns that are computed."""
    return float(ceil(columns / COLUMNS) * COLUMNS)


def _count_numbers(transform: Transform, factors: tuple[int, ...]) -> int:
    """Real numbers of matrices, twiddles, chirps and signs."""
    stages = list_stages(transform, factors)
    numbers = _count_stage_numbers(stages)
    if is_chirped(transform, factors):
        numbers += _count_stage_numbers(list_back_stages(transform, factors)) + 4 * prod(factors)
        numbers += (2 if transform.parts == 1 else 4) * transform.read
        numbers += (2 if transform.gives_real else 4) * transform.wanted
    elif transform.gives_real and len(factors) > 1:
        numbers += 2 * prod(stage.digits for stage in stages)
    return numbers


def _count_stage_numbers(stages: Sequence[Stage]) -> int:
    return sum(stage.matrix_size + (4 * stage.digits * stage.rest if stage.has_twiddles else 0) for stage in stages)


def _count_indices(transform: Transform, factors: tuple[int, ...]) -> int:
    """Places of bins by their digits."""
    if is_chirped(transform, factors) or len(factors) == 1:
        return 0
    if transform.gives_real:
        return prod(stage.digits for stage in list_stages(transform, factors))
    return transform.wanted
