"""Which transform lengths are worth considering for one axis.

*Direct.* A tile of `V` outputs takes a transform of `T = K + V - 1` samples and about `1.5 T` multiplications, so
`1.5 (K + V - 1) / V` an output: longer tiles save products, but the transform matrices cost `O(T)` a sample. The best
`V` lies near `K`, unless the axis is short. Matrices have no preferred lengths, so the tile step follows the output:
28 outputs in two tiles of 14, not in two of 16.

*Factored* (`T = rows * columns`). Tiles move by whole rows of `columns` samples, so the overlap is rounded up to rows.

*Powers of two* are what ONNX Runtime's own DFT operator computes accurately.

*Smooth lengths*, without a prime factor above 7, are what libraries of FFTs compute fast.

Which of the candidates is best is not decided here but by the cost model.
"""

from __future__ import annotations

from functools import lru_cache

from onnx_fft.fourier.axis import Axis, AxisPlan, ceil_divide

TILE_RATIOS = (0.25, 0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.0, 3.0, 4.0)
"""Tile steps to consider, as multiples of the kernel's span."""

SMALL_TILES = (2, 4, 6, 8, 10, 14, 20)
"""Tile steps to consider for kernels of a few samples."""

MAX_DIRECT_LENGTH = 256
"""Longest DFT kept as one dense matrix; its rectangle costs more than two factors from about 100 samples on."""

MAX_DFT_LENGTH = 1 << 17
"""Longest transform at all: beyond it tiles are as good and keep the constants small."""

COLUMNS = (16, 32, 64, 128)
"""Second factors to consider, sizes a matrix product is efficient at."""


def matrix_plans(axis: Axis) -> list[AxisPlan]:
    """Plans for DFTs as matrices. Never empty."""
    if axis.is_pointwise:
        return [_identity(axis)]
    plans = [_tiled(axis, step) for step in _tile_steps(axis) if axis.span + step - 1 <= MAX_DIRECT_LENGTH]
    whole = axis.whole_dft_length
    if whole is not None and whole <= MAX_DIRECT_LENGTH:
        plans.append(AxisPlan(whole, tile_step=0, whole=True))
    if axis.span > COLUMNS[0] or not plans:
        plans += _factored_plans(axis)
    return plans or [_tiled(axis, axis.stride)]


def power_of_two_plans(axis: Axis) -> list[AxisPlan]:
    """Plans whose DFT lengths are powers of two. Never empty."""
    if axis.is_pointwise:
        return [_identity(axis)]
    shortest = 1 << (axis.span + axis.stride - 2).bit_length()
    lengths = [shortest << doublings for doublings in range(4)]
    steps = [(length - axis.span + 1) // axis.stride * axis.stride for length in lengths]
    plans = [AxisPlan(length, step) for length, step in zip(lengths, steps, strict=True)]
    whole = axis.whole_dft_length
    if whole is not None:
        plans = [plan for plan in plans if plan.dft_length < whole]
        plans.append(AxisPlan(1 << (whole - 1).bit_length(), tile_step=0, whole=True))
    return plans


def smooth_plans(axis: Axis, multiple: int) -> list[AxisPlan]:
    """Plans whose DFT lengths are smooth multiples of `multiple`, which is smooth itself. Never empty."""
    if axis.is_pointwise:
        return [_identity(axis)]
    lengths = sorted({_smooth_length(axis.span + step - 1, multiple) for step in _tile_steps(axis)})
    plans = [AxisPlan(length, (length - axis.span + 1) // axis.stride * axis.stride) for length in lengths]
    whole = axis.whole_dft_length
    if whole is not None:
        plans = [plan for plan in plans if plan.dft_length < whole]
        plans.append(AxisPlan(_smooth_length(whole, multiple), tile_step=0, whole=True))
    return plans


@lru_cache(maxsize=4096)
def _smooth_length(least: int, multiple: int) -> int:
    """The smallest multiple of `multiple` from `least` on, the quotient without a prime factor above 7."""
    quotient = ceil_divide(least, multiple)
    # Odd parts first, then as many factors 2 as it takes: trying one number after the other never ends at 2^40.
    odd = [1]
    for prime in (3, 5, 7):
        powers = [prime**power for power in range(quotient.bit_length())]
        odd = [part * power for part in odd for power in powers if part * power < 3 * quotient]
    return multiple * min(part << max(0, (ceil_divide(quotient, part) - 1).bit_length()) for part in odd)


def _tile_steps(axis: Axis) -> list[int]:
    """Tile steps in samples, multiples of the stride, that share a known output out evenly."""
    steps = {max(1, round(axis.span * ratio / axis.stride)) for ratio in TILE_RATIOS} | set(SMALL_TILES)
    if axis.output_extent is not None:
        outputs = ceil_divide(axis.output_extent, axis.residues)
        steps = {ceil_divide(outputs, ceil_divide(outputs, step)) for step in steps}
    return [step * axis.stride for step in sorted(steps)]


def _identity(axis: Axis) -> AxisPlan:
    """A DFT of length one: every sample a tile of its own, no different from the batch."""
    return AxisPlan(1, tile_step=0, whole=True) if axis.extent == 1 else AxisPlan(1, tile_step=1)


def _tiled(axis: Axis, step: int) -> AxisPlan:
    return AxisPlan(axis.span + step - 1, step)


def _factored_plans(axis: Axis) -> list[AxisPlan]:
    plans = []
    whole = axis.whole_dft_length
    for columns in COLUMNS:
        if columns % axis.stride:
            continue
        overlap = ceil_divide(axis.span - 1, columns)
        limit = None if axis.output_extent is None else ceil_divide(axis.output_extent * axis.stride, columns)
        steps = {max(1, round(overlap * ratio)) for ratio in TILE_RATIOS}
        rows = {overlap + step: step for step in steps if limit is None or step <= limit}
        plans += [AxisPlan(row * columns, step * columns, columns) for row, step in sorted(rows.items())]
        if whole is not None and whole > columns:
            plans.append(AxisPlan(ceil_divide(whole, columns) * columns, tile_step=0, columns=columns, whole=True))
    return [plan for plan in plans if plan.dft_length <= MAX_DFT_LENGTH]
