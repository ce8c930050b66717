"""What a ConvTranspose costs: ONNX Runtime's own operator, and what follows the Conv that stands for it.

ONNX Runtime multiplies the input by all taps, on all threads, and adds the products to the outputs on one (col2im).
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from onnx_fft.cost.counts import ConvCounts, Counts, OperatorCounts
from onnx_fft.cost.extents import count_tensors, know_extents
from onnx_fft.lowering.transposed import crops
from onnx_fft.sites.transposed import ConvTransposeSpec

COL2IM_ELEMENTS = 5
"""Elements of a matrix of inputs that are written for a Conv while one product is added to an output here. Of 13 cases
in 1 to 3 dimensions none is predicted at more than what it takes, three at about it and most at half (2-core AMD EPYC,
AVX2, ONNX Runtime 1.32, 2026-11): an error goes the original's way."""


def count_conv_transpose(spec: ConvTransposeSpec) -> Counts:
    """ONNX Runtime's own operator."""
    known = know_extents(spec)
    positions = (spec.batch or 1) * prod(extent or 1 for extent in known.extents)
    products = float(positions) * spec.out_channels * prod(spec.kernel_shape)
    return Counts(
        OperatorCounts(operators=1),
        ConvCounts(
            im2col_elements=COL2IM_ELEMENTS * products,
            im2col_flops=2.0 * products * (spec.in_channels // spec.group),
            im2col_bytes=4.0 * sum(count_tensors(spec)),
        ),
    )


def add_interleaving(spec: ConvTransposeSpec, counts: Counts) -> Counts:
    """The counts of a Conv with those of what puts its outputs where they belong: a Transpose, and a Slice."""
    traffic = 8 * count_tensors(spec)[1]
    moves = prod(spec.strides) > 1
    more = OperatorCounts(serial_bytes=traffic * (moves + crops(spec)), operators=3 * moves + crops(spec))
    return replace(counts, operators=counts.operators + more)
