"""What is counted of a computation, and the rates that turn counts into seconds.

Each family of counts has a family of rates with the same fields: `counts * rates` is the sum of every count times the
seconds that one of it takes. What chains of standard operators do and what ONNX Runtime's Conv does are counted apart,
because the same flop does not cost the same in each. So is what computes DFTs. The native library counts Convs by
itself (`native`).
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field


@dataclass(frozen=True, slots=True)
class OperatorCounts:
    """What standard operators do, one after the other."""

    gemm_flops: float = 0.0
    """Multiplications and additions of matrix products."""
    cached_bytes: float = 0.0
    """Bytes that operators running on all threads read and write, if they fit the caches."""
    memory_bytes: float = 0.0
    """The same, if they do not."""
    packed_bytes: float = 0.0
    """Bytes of right operands, which a matrix product copies into its own layout first."""
    serial_bytes: float = 0.0
    """Bytes that operators running on one thread (Pad, Transpose) read and write."""
    gather_rows: float = 0.0
    """Runs of memory copied by Gather."""
    products: float = 0.0
    """Products of the spectra of single bins, each a small matrix product within a batch."""
    mul_runs: float = 0.0
    """Short runs of a Mul that broadcasts along its last dimension."""
    butterflies: float = 0.0
    """Radix-2 butterflies of the DFT operator."""
    operators: float = 0.0
    """Operators that are started, Conv included."""

    def __add__(self, other: OperatorCounts) -> OperatorCounts:
        """The counts of both."""
        return OperatorCounts(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class ConvCounts:
    """What ONNX Runtime's own Conv does, in one of its three kernels."""

    nchwc_flops: float = 0.0
    """In the blocked layout (NCHWc)."""
    nchwc_bytes: float = 0.0
    """Tensors that this kernel reads and writes."""
    depthwise_flops: float = 0.0
    """In the depthwise kernel; rows of the kernel outside the input are not counted, since they are skipped."""
    depthwise_bytes: float = 0.0
    """Tensors that this kernel reads and writes."""
    im2col_elements: float = 0.0
    """Of the matrix of every input of every output, which is written, then multiplied."""
    im2col_strided_elements: float = 0.0
    """Those elements, if a stride scatters the reads."""
    im2col_runs: float = 0.0
    """Rows of outputs that the matrix is written in."""
    im2col_flops: float = 0.0
    """Of the product with that matrix."""
    im2col_bytes: float = 0.0
    """Tensors that this kernel reads and writes."""


@dataclass(frozen=True, slots=True)
class FourierCounts:
    """What computes a DFT or an STFT: products with constant matrices, ONNX Runtime's own operator, or the library's.

    Numbers are real ones.
    """

    product_flops: float = 0.0
    """Multiplications and additions of matrix products, their columns filled up to a multiple of 16."""
    products: float = 0.0
    """Matrix products, each of a batch counted."""
    packed_numbers: float = 0.0
    """Of right operands that are no constants, which a product copies into its own layout first."""
    cached_numbers: float = 0.0
    """Read and written by operators that run on all threads, if they fit the caches."""
    memory_numbers: float = 0.0
    """The same, if they do not."""
    runs: float = 0.0
    """Runs of memory that a Gather copies, or that an operator with a broadcast works through."""
    serial_numbers: float = 0.0
    """Moved in long runs, on one thread."""
    turned_numbers: float = 0.0
    """Of matrices that are transposed."""
    turned_pairs: float = 0.0
    """Pairs of numbers that are moved one by one."""
    far_numbers: float = 0.0
    """Of transposed matrices whose columns fall on the same places of the cache, or which do not fit it."""
    framed_numbers: float = 0.0
    """Of the matrix of inputs that a Conv writes."""
    operators: float = 0.0
    """Operators that are started."""
    butterflies: float = 0.0
    """Radix-2 butterflies of ONNX Runtime's own operator, for a power of two."""
    chirped_butterflies: float = 0.0
    """The same within Bluestein's algorithm, of three FFTs a line."""
    lines: float = 0.0
    """Lines or frames of this operator."""
    line_numbers: float = 0.0
    """Which this operator reads and writes."""
    own_operators: float = 0.0
    """Runs of this operator."""
    fft_flops: float = 0.0
    """Of the native library's FFTs, by the usual 5 N log2 N."""
    fft_numbers: float = 0.0
    """Which the library reads and writes."""
    fft_operators: float = 0.0
    """Nodes of the library."""

    def __add__(self, other: FourierCounts) -> FourierCounts:
        """The counts of both."""
        return FourierCounts(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class OperatorRates:
    """Seconds that one of each of `OperatorCounts` takes."""

    gemm_flops: float = 0.0
    cached_bytes: float = 0.0
    memory_bytes: float = 0.0
    packed_bytes: float = 0.0
    serial_bytes: float = 0.0
    gather_rows: float = 0.0
    products: float = 0.0
    mul_runs: float = 0.0
    butterflies: float = 0.0
    operators: float = 0.0


@dataclass(frozen=True, slots=True)
class ConvRates:
    """Seconds that one of each of `ConvCounts` takes."""

    nchwc_flops: float = 0.0
    nchwc_bytes: float = 0.0
    depthwise_flops: float = 0.0
    depthwise_bytes: float = 0.0
    im2col_elements: float = 0.0
    im2col_strided_elements: float = 0.0
    im2col_runs: float = 0.0
    im2col_flops: float = 0.0
    im2col_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class FourierRates:
    """Seconds that one of each of `FourierCounts` takes."""

    product_flops: float = 0.0
    products: float = 0.0
    packed_numbers: float = 0.0
    cached_numbers: float = 0.0
    memory_numbers: float = 0.0
    runs: float = 0.0
    serial_numbers: float = 0.0
    turned_numbers: float = 0.0
    turned_pairs: float = 0.0
    far_numbers: float = 0.0
    framed_numbers: float = 0.0
    operators: float = 0.0
    butterflies: float = 0.0
    chirped_butterflies: float = 0.0
    lines: float = 0.0
    line_numbers: float = 0.0
    own_operators: float = 0.0
    fft_flops: float = 0.0
    fft_numbers: float = 0.0
    fft_operators: float = 0.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds that one of each of `Counts` takes on one machine; 0 for what costs nothing there."""

    operators: OperatorRates = field(default_factory=OperatorRates)
    conv: ConvRates = field(default_factory=ConvRates)
    fourier: FourierRates = field(default_factory=FourierRates)

    def to_values(self) -> tuple[float, ...]:
        """All rates in the order of the fields, family by family."""
        return (*astuple(self.operators), *astuple(self.conv), *astuple(self.fourier))


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything that one way to compute a site does."""

    operators: OperatorCounts = field(default_factory=OperatorCounts)
    conv: ConvCounts = field(default_factory=ConvCounts)
    fourier: FourierCounts = field(default_factory=FourierCounts)

    def to_values(self) -> tuple[float, ...]:
        """All counts, in the order of `Rates.to_values`."""
        return (*astuple(self.operators), *astuple(self.conv), *astuple(self.fourier))

    def __mul__(self, rates: Rates) -> float:
        """The seconds that all of it takes."""
        return sum(count * rate for count, rate in zip(self.to_values(), rates.to_values(), strict=True))
