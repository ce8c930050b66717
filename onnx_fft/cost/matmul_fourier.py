"""What a DFT or STFT by products with constant matrices does in a run, and the bytes of its constants.

Specs are those whose lengths are known; what is open counts as 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from onnx_fft.cost.counts import Counts, OperatorCounts
from onnx_fft.cost.operators import count_product, count_traffic
from onnx_fft.fourier.factored import Stage
from onnx_fft.fourier.plans import Transform, count_turned, is_chirped, list_back_stages, list_stages
from onnx_fft.lowering.base import FourierPlan
from onnx_fft.lowering.matmul_dft import dft_transform
from onnx_fft.lowering.matmul_stft import convolves, convolves_first, frame_transform, run_length
from onnx_fft.sites.fourier import DftSpec, StftSpec


def count_matmul_fourier(spec: DftSpec | StftSpec, plan: FourierPlan) -> Counts:
    """Framing, then one product a factor and what stands between them."""
    if isinstance(spec, DftSpec):
        outer = prod(length or 1 for length in spec.shape[: spec.axis])
        inner = prod(length or 1 for length in spec.shape[spec.axis + 1 : -1])
        return Counts(_count_transform(dft_transform(spec), plan.lengths, outer, inner))
    frames = (spec.batch or 1) * (spec.frames or 1)
    if convolves_first(spec, plan):
        return Counts(_count_convolved(spec, plan, frames))
    samples = frames * spec.frame_length * spec.parts
    counts = OperatorCounts(gather_rows=samples / spec.parts / run_length(spec), operators=2)
    counts += count_traffic(8 * samples)
    if len(plan.lengths) > 1:
        counts += count_traffic(8 * samples) + OperatorCounts(operators=1)
    return Counts(counts + _count_transform(frame_transform(spec), plan.lengths, frames, 1))


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
        total += itemsize * spec.frame_length
        total += 8 * (spec.frame_length // run_length(spec) + (spec.frames or 0))
    return total


def _count_convolved(spec: StftSpec, plan: FourierPlan, frames: int) -> OperatorCounts:
    """Two factors, the first by a Conv, whose matrix of inputs is written, then multiplied."""
    first, last = list_stages(frame_transform(spec), plan.lengths)
    between, results = 2 * frames * first.digits * first.rest, 2 * frames * spec.bins
    counts = OperatorCounts(serial_bytes=8 * ((spec.batch or 1) * (spec.length or 1) + results), operators=5)
    counts += count_traffic(8 * frames * spec.frame_length) + count_traffic(8 * between) + count_traffic(8 * results)
    counts += count_product(first.rest, 2 * first.digits, first.length, frames)
    return counts + count_product(first.digits, 2 * last.bins, 2 * last.length, frames)


def _count_transform(transform: Transform, factors: tuple[int, ...], outer: int, inner: int) -> OperatorCounts:
    stages = list_stages(transform, factors)
    counts = _count_stages(stages, outer, inner)
    in_numbers = outer * inner * transform.read * transform.parts
    out_numbers = outer * inner * transform.wanted * (1 if transform.gives_real else 2)
    if is_chirped(transform, factors):
        counts += _count_stages(list_back_stages(transform, factors), outer, inner)
        spectrum = outer * inner * 2 * prod(factors)
        counts += _count_exchange(spectrum) + _count_exchange(in_numbers) + _count_exchange(out_numbers)
        return counts + OperatorCounts(serial_bytes=8 * out_numbers, operators=2)
    if len(factors) > 1:
        counts += _count_sorting(2 * in_numbers if transform.gives_real else out_numbers, transform, outer, inner)
    if transform.parts == 2 and (inner > 1 or len(factors) > 1):
        counts += OperatorCounts(serial_bytes=8 * in_numbers, operators=1)
    if inner > 1 and not transform.gives_real:
        counts += OperatorCounts(serial_bytes=8 * out_numbers, operators=1)
    return counts


def _count_sorting(numbers: int, transform: Transform, outer: int, inner: int) -> OperatorCounts:
    """A Gather of runs of `inner` pairs, or of several rows' pairs, turned before and behind it."""
    turned = count_turned(transform, outer) if inner == 1 else 0
    counts = count_traffic(8 * numbers) + OperatorCounts(gather_rows=numbers / 2 / (turned or inner), operators=1)
    return counts + OperatorCounts(serial_bytes=16 * numbers, operators=2) if turned else counts


def _count_stages(stages: Sequence[Stage], outer: int, inner: int) -> OperatorCounts:
    """The products, and the twiddles behind each but the last."""
    counts = OperatorCounts()
    for stage in stages:
        rows, columns = 2 * stage.bins, stage.parts * stage.samples
        if stage.rest * inner == 1:
            counts += count_product(1, outer * stage.batch, columns, rows)
        else:
            counts += count_product(outer * stage.batch, rows, columns, stage.rest * inner)
        if stage.has_twiddles:
            counts += _count_exchange(2 * outer * stage.batch * stage.digits * stage.rest * inner)
    return counts


def _count_exchange(numbers: float) -> OperatorCounts:
    """A product with complex constants: a Gather, two Muls, an Add."""
    counts = OperatorCounts(operators=4)
    for tensors in (2, 2, 2, 3):
        counts += count_traffic(4 * tensors * numbers)
    return counts


def _count_numbers(transform: Transform, factors: tuple[int, ...]) -> int:
    """Real numbers of matrices, twiddles, chirps and signs."""
    stages = list_stages(transform, factors)
    numbers = _count_stage_numbers(stages)
    if is_chirped(transform, factors):
        numbers += _count_stage_numbers(list_back_stages(transform, factors)) + 3 * prod(factors)
        numbers += (4 if transform.gives_real else 2 if transform.parts == 1 else 3) * transform.read
        numbers += (2 if transform.gives_real else 3) * transform.wanted
    elif transform.gives_real and len(factors) > 1:
        numbers += 2 * prod(stage.digits for stage in stages)
    return numbers


def _count_stage_numbers(stages: Sequence[Stage]) -> int:
    return sum(stage.matrix_size + (3 * stage.digits * stage.rest if stage.has_twiddles else 0) for stage in stages)


def _count_indices(transform: Transform, factors: tuple[int, ...]) -> int:
    """Places of bins by their digits."""
    if is_chirped(transform, factors) or len(factors) == 1:
        return 0
    if transform.gives_real:
        return prod(stage.digits for stage in list_stages(transform, factors))
    return transform.wanted
