"""DFT as products with constant matrices: standard operators, any provider, any length.

    crop or pad -> MatMul, and a factor between each two of them -> Gather that sorts the bins

Short transforms are one MatMul. An axis that has others behind it becomes the last one by a Transpose, and goes back by
another: together they take less time than products from the left, whose parts have to be put side by side. The
mathematics is in `fourier.factored`, the nodes in `lowering.stages`.
"""

from __future__ import annotations

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
        inner = _inner_length(b, x, spec)
        is_last = isinstance(inner, int) and inner == 1
        scale = 1 / transform.length if spec.inverse else 1.0
        parts = 1 if spec.gives_real else 2
        z = _fit_axis(b, x, spec, transform.read)
        z = z if is_last else _turn(b, z, transform.read, inner, transform.parts)
        y = write_transform(b, z, transform, plan.lengths, rows=count_lines(spec), scale=scale)
        y = y if is_last else _turn(b, y, inner, transform.wanted, parts)
        shape = [*spec.shape[: spec.axis], transform.wanted, *spec.shape[spec.axis + 1 : -1], parts]
        return b.close(b.op("Reshape", y, b.vector(*_output_dims(b, x, shape))))


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


def _turn(b: NodeBuilder, x: gs.Tensor, rows: Dim, columns: Dim, parts: int) -> gs.Variable:
    """`[outer, rows, columns, parts]` -> `[outer, columns, rows, parts]`."""
    if parts == 1:
        return b.transpose(b.reshape(x, -1, rows, columns), 0, 2, 1)
    return b.transpose(b.reshape(x, -1, rows, columns, parts), 0, 2, 1, 3)


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


def _inner_length(b: NodeBuilder, x: gs.Variable, spec: DftSpec) -> Dim:
    """Product of the dimensions behind the axis, without the parts."""
    behind = spec.shape[spec.axis + 1 : -1]
    known = [length for length in behind if length is not None]
    product: Dim = prod(known)
    for number, length in enumerate(behind, spec.axis + 1):
        if length is None:
            product = b.multiply(product, b.extent(x, number))
    return product


def _output_dims(b: NodeBuilder, x: gs.Variable, shape: list[int | None]) -> list[Dim]:
    """`shape`, open dimensions read from `x`, which has the same; a single one is left to Reshape."""
    if shape.count(None) == 1 and 0 not in shape:
        return [-1 if length is None else length for length in shape]
    return [b.extent(x, number) if length is None else length for number, length in enumerate(shape)]
