"""One spatial axis of a convolution, and the plan by which it is transformed.

The axis computes, for output positions `o` (`x` is zero outside its `extent`),

    y[o] = sum_k w[k] * x[o * stride + k * dilation - pad_begin]

*Residues.* With stride 1 and dilation `d`, outputs `o = q * d + residue` read only inputs of the same residue, so the
axis falls apart into `d` interleaved axes of dilation 1. The tile starts below carry the residue; the kernel stays
short. With a stride as well, the dilated kernel is filled with zeros instead.

*Tiles* (overlap-save). A circular correlation of length `T` with a kernel spanning `K` samples has `T - K + 1` outputs
that no wrapped-around sample reaches. Tile `j` reads `T` samples from `j * V` on and yields `V <= T - K + 1` outputs.

*Whole.* When the extent is known, one transform can hold the whole axis: the zeros a DFT is extended by serve as
padding, at both ends at once because indices are circular. No sample aliases into an output if

    T >= max(extent + pad_begin, (output_extent - 1) * stride + K - pad_begin)

(and the outputs must themselves fit, `T > (output_extent - 1) * stride`).

*auto_pad*. ONNX's SAME asks for `ceil(extent / stride)` outputs, hence for

    max(0, (ceil(extent / stride) - 1) * stride + span - extent)      zeros,

where `span = dilation * (taps - 1) + 1`. Half of them go to each end; SAME_UPPER puts an odd one at the end, SAME_LOWER
at the beginning. With stride 1 this is `span - 1` whatever the extent; otherwise it depends on `extent % stride`.
"""

from __future__ import annotations

from dataclasses import dataclass


def ceil_divide(numerator: int, denominator: int) -> int:
    """`numerator / denominator`, rounded up."""
    return -(-numerator // denominator)


def same_padding(auto_pad: str, extent: int, stride: int, span: int) -> tuple[int, int]:
    """Zeros before and after an axis by `auto_pad`, SAME_UPPER or SAME_LOWER: see the module's docstring."""
    total = max(0, (ceil_divide(extent, stride) - 1) * stride + span - extent)
    less, more = total // 2, total - total // 2
    return (less, more) if auto_pad == "SAME_UPPER" else (more, less)


@dataclass(frozen=True, slots=True)
class Axis:
    """Geometry of one spatial axis; `extent` is None if it is known only at run time.

    `auto_pad` is SAME_UPPER or SAME_LOWER if the pads, which then are 0 here, are known only at run time as well.
    """

    taps: int
    stride: int = 1
    dilation: int = 1
    pad_begin: int = 0
    pad_end: int = 0
    extent: int | None = None
    auto_pad: str = ""

    @property
    def residues(self) -> int:
        """Interleaved sub-axes the dilation splits this axis into."""
        return self.dilation if self.stride == 1 and self.taps > 1 else 1

    @property
    def span(self) -> int:
        """Samples of one residue that the kernel spans: `K` above."""
        return self.taps if self.stride == 1 else self.dilation * (self.taps - 1) + 1

    @property
    def is_pointwise(self) -> bool:
        """The kernel does not reach along this axis: a DFT of length one, the identity, does."""
        return self.taps == 1 and self.stride == 1 and self.pad_begin == 0 and self.pad_end == 0

    @property
    def output_extent(self) -> int | None:
        """Number of outputs, None if the extent is unknown."""
        if self.extent is None:
            return None
        padded = self.extent + self.pad_begin + self.pad_end
        return (padded - self.dilation * (self.taps - 1) - 1) // self.stride + 1

    @property
    def whole_dft_length(self) -> int | None:
        """The shortest transform that holds the whole axis, None if there is none."""
        if self.extent is None or self.output_extent is None or self.residues > 1:
            return None
        last = (self.output_extent - 1) * self.stride
        return max(self.extent + self.pad_begin, last + self.span - self.pad_begin, last + 1)


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """How one axis is transformed.

    `dft_length` is `rows * columns`; `columns == 1` means one dense DFT matrix, anything else the two-step
    factorization of `basis.py`. `tile_step` counts input samples of one residue between tile starts, a multiple of
    the stride (for a factored DFT also of `columns`). `whole` transforms the axis in one piece, without tiles.
    """

    dft_length: int
    tile_step: int
    columns: int = 1
    whole: bool = False

    @property
    def rows(self) -> int:
        """First factor of the DFT length."""
        return self.dft_length // self.columns

    def input_length(self, axis: Axis) -> int:
        """Samples one tile reads: all of the transform, or for a whole axis its extent in full rows."""
        if not self.whole:
            return self.dft_length
        assert axis.extent is not None
        return ceil_divide(axis.extent, self.columns) * self.columns

    def output_length(self, axis: Axis) -> int:
        """Outputs one tile yields, after the stride; for a whole factored axis rounded up to full rows."""
        if not self.whole:
            return self.tile_step // axis.stride
        assert axis.output_extent is not None
        per_row = max(1, self.columns // axis.stride)
        return ceil_divide(axis.output_extent, per_row) * per_row

    def tile_count(self, axis: Axis) -> int | None:
        """Tiles times residues, None if the extent is unknown."""
        if self.whole:
            return 1
        if axis.output_extent is None:
            return None
        per_residue = ceil_divide(axis.output_extent, axis.residues)
        return ceil_divide(per_residue, self.output_length(axis)) * axis.residues

    def padding(self, axis: Axis) -> tuple[int, int]:
        """Zeros to put before and after the input so that every tile can be read.

        Tiles: the last of `n` tiles ends at `((n - 1) * V + T) * residues`. For an unknown extent this is bounded:
        `(n - 1) * V * residues <= (output_extent - 1) * stride = padded - effective_kernel`, hence
        `T * residues - effective_kernel` extra zeros always suffice, beyond what `auto_pad` asks for.
        """
        if self.whole:
            assert axis.extent is not None
            return 0, self.input_length(axis) - axis.extent
        effective_kernel = axis.dilation * (axis.taps - 1) + 1
        tiles = self.tile_count(axis)
        if tiles is None or axis.extent is None:
            return axis.pad_begin, axis.pad_end + self.dft_length * axis.residues - effective_kernel
        end = ((tiles // axis.residues - 1) * self.tile_step + self.dft_length) * axis.residues
        return axis.pad_begin, max(0, end - axis.extent - axis.pad_begin)


def check_plan(axis: Axis, plan: AxisPlan) -> None:
    """Raise ValueError if `plan` would not compute `axis` exactly, saying which value is wrong."""
    length, step, columns = plan.dft_length, plan.tile_step, plan.columns
    if not isinstance(plan.whole, bool):
        raise ValueError(f"whole must be true or false, got {plan.whole!r}")
    if not all(isinstance(value, int) and value >= 0 for value in (length, step, columns)) or length < 1 or columns < 1:
        raise ValueError(f"lengths must be positive integers, got {length}, {step} and {columns}")
    if length % columns or (columns > 1 and columns % axis.stride):
        raise ValueError(
            f"{columns} columns must divide the DFT length {length} and be a multiple of stride {axis.stride}"
        )
    if plan.whole:
        whole = axis.whole_dft_length
        if whole is None:
            raise ValueError("the axis cannot be transformed whole: its extent is open, or its dilation has residues")
        if length < whole:
            raise ValueError(f"DFT length {length} is less than the {whole} the whole axis needs")
        return
    if step < 1 or step % axis.stride or step % columns:
        raise ValueError(
            f"tile step {step} must be a positive multiple of stride {axis.stride} and of {columns} columns"
        )
    if step > length - axis.span + 1:
        raise ValueError(
            f"tile step {step} is more than the {length - axis.span + 1} outputs of a DFT of length {length}"
        )
