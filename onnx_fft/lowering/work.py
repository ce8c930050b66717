"""Work in countable units: flops, bytes, rows moved, operators. Work times the seconds of each unit is a cost."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """Countable work of a chain of operators; also, in a `plan.cost.Machine`, the seconds one unit of each takes."""

    gemm_flops: float = 0.0
    """Multiplications and additions of matrix products."""
    cached_bytes: float = 0.0
    """Bytes that operators running on all threads read and write, where they fit the caches."""
    memory_bytes: float = 0.0
    """The same, where they do not."""
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
    nchwc_flops: float = 0.0
    """Conv in the blocked layout (NCHWc), and in `nchwc_bytes` the tensors it reads and writes."""
    nchwc_bytes: float = 0.0
    depthwise_flops: float = 0.0
    """Its depthwise form; rows of the kernel outside the input are not counted, since they are skipped."""
    depthwise_bytes: float = 0.0
    im2col_elements: float = 0.0
    """Conv elsewhere: elements of the matrix of every input of every output, which is written, then multiplied."""
    im2col_strided_elements: float = 0.0
    """Those elements where a stride scatters the reads."""
    im2col_runs: float = 0.0
    """Rows of outputs that the matrix is written in."""
    im2col_flops: float = 0.0
    im2col_bytes: float = 0.0
    native_transform_flops: float = 0.0
    """The native library: `2.5 T log2 T` for every real DFT of `T` points, forth or back."""
    native_product_flops: float = 0.0
    """Complex products of spectra, 8 flops each."""
    native_sliding_flops: float = 0.0
    """Multiplications and additions of tiles that are convolved tap by tap, and in `native_sliding_samples` what they
    load and store."""
    native_sliding_samples: float = 0.0
    native_bytes: float = 0.0
    """Spectra and tensors that pass through memory."""
    native_scattered_samples: float = 0.0
    """Samples of its tiles that do not lie side by side in the input."""
    native_tiles: float = 0.0
    """Vectors of tiles that are transformed one way, or slid over."""
    native_calls: float = 0.0

    def __add__(self, other: Work) -> Work:
        """The work of both."""
        return Work(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))
