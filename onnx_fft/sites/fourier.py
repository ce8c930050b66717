"""`DftSpec`, `StftSpec` and `MatMulSpec`: what a DFT, an STFT or an STFT of cut frames computes, resolved once.

Defaults, the operator's version (in which an axis is an attribute or an input) and negative axes are resolved when the
spec is made, so that nothing downstream has to know them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DftSpec:
    """One DFT along one axis of `[..., length, ..., parts]`; `parts` is 1 for a real input, 2 for a complex one.

    The result is `[..., bins, ..., 2]`, or `[..., dft_length, ..., 1]` if `onesided` and `inverse` are both set: then
    the input holds the half-spectrum of a real signal. A longer axis is cropped to what the transform reads, a shorter
    one continued by zeros. The inverse is divided by `dft_length`.
    """

    shape: tuple[int | None, ...]
    """Of the input; None for a dimension that the model does not fix. The last is 1 or 2."""
    axis: int
    """Counted from the front; never the last dimension."""
    dft_length: int | None
    """None if it is the length of an open axis, or 2 * (length - 1) with `onesided` and `inverse`."""
    inverse: bool
    onesided: bool
    dtype: str
    has_late_length: bool = False
    """Whether `dft_length` is a number that is known only at run time; None, too, then."""

    @property
    def is_complex(self) -> bool:
        """Whether the input has imaginary parts."""
        return self.shape[-1] == 2

    @property
    def gives_real(self) -> bool:
        """Whether the result is a real signal, made of its half-spectrum."""
        return self.inverse and self.onesided


@dataclass(frozen=True, slots=True)
class StftSpec:
    """The DFTs of frames of a signal `[batch, length, parts]` -> `[batch, frames, bins, 2]`; `parts` as for `DftSpec`.

    Frame `f` begins at sample `f * step`, is multiplied by the window, and is whole: the signal is not padded.
    """

    batch: int | None
    length: int | None
    parts: int
    frame_length: int
    """Samples of a frame, and points of its DFT."""
    step: int
    """Samples from the beginning of one frame to that of the next."""
    onesided: bool
    """Whether the result has `frame_length // 2 + 1` bins, or all `frame_length`."""
    dtype: str
    bins_form: str = ""
    """`Power` or `Magnitude` if that is made of each bin, and the result is `[batch, frames, bins]`; else ""."""

    @property
    def bins(self) -> int:
        """Frequencies in the result."""
        return self.frame_length // 2 + 1 if self.onesided else self.frame_length

    @property
    def frames(self) -> int | None:
        """Frames of the signal; None if its length is open."""
        return None if self.length is None else (self.length - self.frame_length) // self.step + 1


@dataclass(frozen=True, slots=True)
class MatMulSpec:
    """The DFTs of frames `[..., taps]` that are cut already, by a MatMul with `[taps, rows]` -> `[..., rows]`.

    Or those of columns: `[rows, taps]` with `[..., taps, frames]` -> `[..., rows, frames]`. The weight holds the rows
    of a windowed DFT basis (`sites.basis`), in any order.
    """

    shape: tuple[int | None, ...]
    """Of the frames; None for a dimension that the model does not fix, which that of the taps never is."""
    rows: int
    dtype: str
    basis_length: int
    """Points of the DFT, at least as many as there are taps."""
    in_columns: bool = False
    """Whether each column is a frame, and the weight the first operand."""

    @property
    def taps(self) -> int:
        """Samples of a frame."""
        taps = self.shape[find_taps(len(self.shape), self.in_columns)]
        assert taps is not None  # the weight has as many
        return taps

    @property
    def weight_shape(self) -> tuple[int, int]:
        """Of the other operand."""
        return (self.rows, self.taps) if self.in_columns else (self.taps, self.rows)


def find_taps(rank: int, in_columns: bool) -> int:
    """The dimension of a MatMul's frames that is a frame's samples."""
    return rank - 2 if in_columns and rank > 1 else rank - 1


def describe_fourier(spec: DftSpec | StftSpec | MatMulSpec) -> str:
    """The geometry on one line: `1000 points on 64x1000x1 axis 1`, `400 points step 160 on 1x160000x1`.

    And `512 points 400->402 on 8x100x400`, or `512 points 400->402 on 8x400x100 columns`, of a MatMul.
    """
    if isinstance(spec, MatMulSpec):
        parts, shape = [f"{spec.basis_length} points", f"{spec.taps}->{spec.rows}"], spec.shape
    elif isinstance(spec, StftSpec):
        parts = [f"{spec.frame_length} points", f"step {spec.step}"]
        shape = (spec.batch, spec.length, spec.parts)
    else:
        parts, shape = ["?" if spec.dft_length is None else str(spec.dft_length), "points"], spec.shape
    parts.append("on " + "x".join("?" if length is None else str(length) for length in shape))
    if isinstance(spec, DftSpec):
        parts += [f"axis {spec.axis}", *(["inverse"] if spec.inverse else [])]
    if isinstance(spec, MatMulSpec):
        parts += ["columns"] if spec.in_columns else []
    elif spec.onesided:
        parts.append("onesided")
    return " ".join(parts + ([spec.dtype] if spec.dtype != "float32" else []))
