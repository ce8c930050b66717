"""DFT as products with constant matrices: standard operators, any provider, any length.

    crop or pad -> MatMul, and a factor between each two of them -> Gather that sorts the bins

Short transforms are one MatMul. An axis that has others behind it becomes the last one by a Transpose, and goes back by
another: together they take less time than products from the left, whose parts have to be put side by side. The
mathematics is in `fourier.factored`, the nodes in `lowering.stages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import onnx_graphsurgeon as gs

from onnx_fft.fourier.plans import Transform, check_factors, list_factors
from onnx_fft.lowering.base import FourierPlan, FourierPorts, FourierWeights, Fragment
from onnx_fft.lowering.builder import Dim, NodeBuilder
from onnx_fft.lowering.stages import write_transform
from onnx_fft.sites.fourier import DftSpec

MIN_OPSET = 17
"""Which brought the operators; everything that is written here is older."""


class MatMulDftLowering:
    """A DFT by products with constant matrices."""

    takes = (DftSpec,)
    name = "matmul"
    fuses_epilogues = False

    def find_obstacle(self, spec: DftSpec) -> str:
        """A length of run time, since the matrices are constants; an empty tensor; a length without small factors."""
        if 0 in spec.shape:
            return "its input is empty"
        if spec.dft_length is None:
            return "its dft_length is not fixed before run time"
        return "" if self.candidates(spec) else f"its {spec.dft_length} points have no factors that are short enough"

    def min_opset(self, spec: DftSpec) -> int:
        """That of the operator itself."""
        return MIN_OPSET

    def candidates(self, spec: DftSpec) -> list[FourierPlan]:
        """By several numbers of factors."""
        return [FourierPlan(self.name, factors) for factors in list_factors(dft_transform(spec))]

    def check_plan(self, spec: DftSpec, plan: FourierPlan) -> None:
        """Any factors of the length, or of a length that Bluestein's convolution fits into."""
        check_factors(dft_transform(spec), plan.lengths)

    def build(self, spec: DftSpec, plan: FourierPlan, weights: FourierWeights, ports: FourierPorts) -> Fragment:
        """See the module's docstring."""
        b = NodeBuilder(spec.dtype, ports)
        x = b.input()
        transform = dft_transform(spec)
        inner = _multiply_lengths(b, x, spec, range(spec.axis + 1, len(spec.shape) - 1))
        is_last = isinstance(inner, int) and inner == 1
        outer = -1 if isinstance(inner, int) else _multiply_lengths(b, x, spec, range(spec.axis))
        scale = 1 / transform.length if spec.inverse else 1.0
        parts = 1 if spec.gives_real else 2
        z = _fit_axis(b, x, spec, transform.read)
        z = z if is_last else _turn(b, z, (outer, transform.read, inner), transform.parts)
        y = write_transform(b, z, transform, plan.lengths, rows=count_lines(spec), scale=scale)
        y = y if is_last else _turn(b, y, (outer, inner, transform.wanted), parts)
        shape = [*spec.shape[: spec.axis], transform.wanted, *spec.shape[spec.axis + 1 : -1], parts]
        return b.close(_reshape(b, y, _output_dims(b, x, shape)))


def dft_transform(spec: DftSpec) -> Transform:
    """What is transformed along the axis; an axis that is shorter than what the DFT reads is read as it is."""
    assert spec.dft_length is not None
    length, half = spec.dft_length, spec.dft_length // 2 + 1
    extent = spec.shape[spec.axis]
    most = half if spec.gives_real else length
    read = most if extent is None or spec.gives_real else min(extent, most)
    wanted = half if spec.onesided and not spec.inverse else length
    parts = 2 if spec.is_complex else 1
    return Transform(length, read, wanted, parts, 1 if spec.inverse else -1, spec.gives_real)


def count_lines(spec: DftSpec) -> int | None:
    """Product of the dimensions beside the axis; None if one is open."""
    beside = [length for axis, length in enumerate(spec.shape[:-1]) if axis != spec.axis]
    return None if None in beside else prod(length or 0 for length in beside)


def _turn(b: NodeBuilder, x: gs.Tensor, lengths: tuple[Dim, Dim, Dim], parts: int) -> gs.Variable:
    """`[outer, rows, columns, parts]` -> `[outer, columns, rows, parts]`; `lengths` are the first three."""
    if parts == 1:
        return b.transpose(_reshape(b, x, lengths), 0, 2, 1)
    return b.transpose(_reshape(b, x, (*lengths, parts)), 0, 2, 1, 3)


def _reshape(b: NodeBuilder, x: gs.Tensor, dims: Sequence[Dim]) -> gs.Variable:
    """`Reshape`; a length of run time that is 0 stays 0, for which no other may be -1."""
    if all(isinstance(dim, int) for dim in dims):
        return b.op("Reshape", x, b.vector(*dims))
    return b.op("Reshape", x, b.vector(*dims), allowzero=1)


def _fit_axis(b: NodeBuilder, x: gs.Variable, spec: DftSpec, read: int) -> gs.Variable:
    """Crop the axis to `read`, or continue it by zeros."""
    extent = spec.shape[spec.axis]
    if extent is None or extent > read:
        x = b.op("Slice", x, b.integers([0]), b.integers([read]), b.integers([spec.axis]))
    begin: list[Dim] = [0] * len(spec.shape)
    end = list(begin)
    if extent is None:
        end[spec.axis] = b.subtract(read, b.extent(x, spec.axis))
    elif extent < read:
        end[spec.axis] = read - extent
    return b.pad(x, begin, end)


def _multiply_lengths(b: NodeBuilder, x: gs.Variable, spec: DftSpec, axes: range) -> Dim:
    """Product of some dimensions of the input, 1 for none."""
    known = [length for axis in axes if (length := spec.shape[axis]) is not None]
    product: Dim = prod(known)
    for axis in axes:
        if spec.shape[axis] is None:
            product = b.multiply(product, b.extent(x, axis))
    return product


def _output_dims(b: NodeBuilder, x: gs.Variable, shape: list[int | None]) -> list[Dim]:
    """`shape`, open dimensions read from `x`, which has the same; a single one is left to Reshape."""
    if shape.count(None) == 1 and 0 not in shape:
        return [-1 if length is None else length for length in shape]
    return [b.extent(x, number) if length is None else length for number, length in enumerate(shape)]
