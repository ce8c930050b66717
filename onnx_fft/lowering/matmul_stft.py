"""STFT as products with constant matrices: standard operators, any provider.

    one factor      Conv by the windowed DFT matrix, strides [step] -> Transpose
    two factors     Conv by windowed matrices of the first, with twiddles -> MatMul -> Gather of bins -> Transpose
    otherwise       Gather of frames -> Mul by the window -> the DFT of `lowering.stages`

A Conv reads overlapping frames without copying them first. ONNX Runtime has it in float32 only.

*Two factors.* With `t = t1 * R + r`, frame `n` reads sample `(n * step / R + t1) * R + r`. So if `R` divides the step,
the samples of one `r` are a signal of their own, whose frames are `step / R` apart: one group of a Conv for each `r`,
whose weights hold the window, the DFT of the first factor and the twiddles. Frames stay last until all is done.

*Framing* is one Gather: every frame begins and ends on a multiple of `gcd(step, frame_length)`, so whole runs of that
many samples are copied. The index is a sum of two short vectors that ONNX Runtime adds up when it loads the model.
"""

from __future__ import annotations

from math import gcd

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnx_fft.fourier.factored import Stage, forward_matrix, locate_bins, make_twiddles
from onnx_fft.fourier.plans import (
    MAX_FACTOR,
    MAX_NARROW,
    Transform,
    check_factors,
    is_chirped,
    list_factors,
    list_stages,
)
from onnx_fft.lowering.base import FourierPlan, FourierPorts, FourierWeights, Fragment
from onnx_fft.lowering.builder import Dim, NodeBuilder
from onnx_fft.lowering.matmul_dft import MIN_OPSET
from onnx_fft.lowering.stages import write_transform
from onnx_fft.sites.fourier import StftSpec


class MatMulStftLowering:
    """An STFT by products with constant matrices."""

    takes = (StftSpec,)
    name = "matmul"
    fuses_epilogues = False

    def find_obstacle(self, spec: StftSpec) -> str:
        """A signal that holds no frame: the operator decides what that means."""
        if spec.length is not None and spec.length < spec.frame_length:
            return f"its signal of {spec.length} samples holds no frame of {spec.frame_length}"
        if spec.batch == 0:
            return "its input is empty"
        return "" if self.candidates(spec) else f"its {spec.frame_length} points have no factors that are short enough"

    def min_opset(self, spec: StftSpec) -> int:
        """That of the operator itself."""
        return MIN_OPSET

    def candidates(self, spec: StftSpec) -> list[FourierPlan]:
        """By several numbers of factors, and by the two nearest to each other of those that a Conv can begin."""
        found = list_factors(frame_transform(spec))
        pairs = [(spec.frame_length // run, run) for run in range(2, MAX_FACTOR + 1) if run_length(spec) % run == 0]
        short = [pair for pair in pairs if 1 < pair[0] <= MAX_FACTOR and pair not in found]
        return [FourierPlan(self.name, factors) for factors in [*found, *sorted(short, key=sum)[:1]]]

    def check_plan(self, spec: StftSpec, plan: FourierPlan) -> None:
        """Any factors of the frame's length, or of a length that Bluestein's convolution fits into."""
        check_factors(frame_transform(spec), plan.lengths)

    def build(self, spec: StftSpec, plan: FourierPlan, weights: FourierWeights, ports: FourierPorts) -> Fragment:
        """See the module's docstring."""
        b = NodeBuilder(spec.dtype, ports)
        x = b.input()
        batch: Dim = b.extent(x, 0) if spec.batch is None else spec.batch
        frames: Dim = -1 if spec.batch is not None else _find_frames(b, x, spec)  # no signals do not tell how many
        has_constant_window = weights.window is not None or not ports.window
        if has_constant_window and convolves(spec, plan):
            y = _convolve(b, x, spec, weights.window)
            return b.close(b.op("Reshape", y, b.vector(batch, frames, spec.bins, 2)))
        if has_constant_window and convolves_first(spec, plan):
            return b.close(_convolve_first(b, x, spec, plan, weights.window, (batch, frames)))
        cut = _gather_frames(b, x, spec, (batch, frames))
        if ports.window:
            cut = b.op("Mul", cut, _find_window(b, spec, weights, ports))
        y = write_transform(b, cut, frame_transform(spec), plan.lengths, rows=count_frames(spec))
        return b.close(b.op("Reshape", y, b.vector(batch, frames, spec.bins, 2)))


def frame_transform(spec: StftSpec) -> Transform:
    """The DFT of one frame."""
    return Transform(spec.frame_length, spec.frame_length, spec.bins, spec.parts)


def count_frames(spec: StftSpec) -> int | None:
    """Frames of all signals together; None if open."""
    return None if spec.batch is None or spec.frames is None else spec.batch * spec.frames


def convolves(spec: StftSpec, plan: FourierPlan) -> bool:
    """Whether the frames are read by a Conv, unless the window is computed in each run."""
    is_short = plan.lengths == (spec.frame_length,) and spec.frame_length * spec.parts <= MAX_NARROW
    return is_short and spec.dtype != "float64"


def convolves_first(spec: StftSpec, plan: FourierPlan) -> bool:
    """Whether a Conv does the first of two factors, unless the window is computed in each run."""
    is_factored = len(plan.lengths) == 2 and not is_chirped(frame_transform(spec), plan.lengths)
    return is_factored and spec.parts == 1 and spec.dtype != "float64" and spec.step % plan.lengths[1] == 0


def run_length(spec: StftSpec) -> int:
    """Samples that framing copies at once."""
    return gcd(spec.step, spec.frame_length)


def _find_window(b: NodeBuilder, spec: StftSpec, weights: FourierWeights, ports: FourierPorts) -> gs.Tensor:
    """`[frame_length, parts]` if it is constant, so that runs are long; `[frame_length, 1]` if it is computed."""
    if weights.window is not None:
        return b.real(np.repeat(weights.window[:, None], spec.parts, axis=1))
    return b.reshape(b.host_tensor(ports.window), -1, 1)


def _convolve(b: NodeBuilder, x: gs.Tensor, spec: StftSpec, window: NDArray[np.float64] | None) -> gs.Tensor:
    """`[batch, length, parts]` -> `[batch, frames, bins * 2]`."""
    transform = frame_transform(spec)
    matrix = forward_matrix(list_stages(transform, (spec.frame_length,))[0], transform.sign)
    basis = matrix.reshape(-1, spec.parts, spec.frame_length)
    if window is not None:
        basis = basis * window
    is_flat = spec.parts == 1 and spec.batch is not None
    channels_first = b.reshape(x, 0, 1, -1) if is_flat else b.transpose(x, 0, 2, 1)
    y = b.op("Conv", channels_first, b.real(basis), strides=[spec.step])
    return b.transpose(y, 0, 2, 1)


def _convolve_first(
    b: NodeBuilder,
    x: gs.Variable,
    spec: StftSpec,
    plan: FourierPlan,
    window: NDArray[np.float64] | None,
    sizes: tuple[Dim, Dim],
) -> gs.Variable:
    """`[batch, length, 1]` -> `[batch, frames, bins, 2]`, see the module's docstring; `sizes` are the first two."""
    batch, frames = sizes
    transform = frame_transform(spec)
    first, last = list_stages(transform, plan.lengths)
    run = first.rest
    weights = _first_weights(first, transform.sign, np.ones(spec.frame_length) if window is None else window)
    count = -1 if spec.batch is not None else b.floor_divide(_find_length(b, x, spec), run)
    runs = b.reshape(_crop_to_runs(b, x, spec, run), batch, count, run)
    y = b.op("Conv", b.transpose(runs, 0, 2, 1), b.real(weights), group=run, strides=[spec.step // run])
    y = b.transpose(b.reshape(y, batch, run, first.digits, 2, frames), 0, 2, 3, 1, 4)
    y = b.reshape(y, batch, first.digits, 2 * run, frames)
    z = b.op("MatMul", b.real(forward_matrix(last, transform.sign)), y)
    z = b.reshape(z, batch, first.digits * last.bins, 2, frames)
    places = locate_bins((first, last), spec.bins)
    bins = b.reshape(b.op("Gather", z, b.integers(places), axis=1), batch, 2 * spec.bins, frames)
    return b.reshape(b.transpose(bins, 0, 2, 1), batch, frames, spec.bins, 2)  # a Transpose of matrices is the fastest


def _first_weights(stage: Stage, sign: int, window: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[(r, f1, part), 1, t1]`."""
    matrix = forward_matrix(stage, sign).reshape(stage.digits, 2, stage.length)
    product = (matrix[:, 0] + 1j * matrix[:, 1])[:, :, None] * make_twiddles(stage, sign)[:, None]
    product = product * window.reshape(stage.length, stage.rest)
    by_part = np.stack([product.real, product.imag], axis=1)  # [f1, part, t1, r]
    return by_part.transpose(3, 0, 1, 2).reshape(-1, 1, stage.length)


def _crop_to_runs(b: NodeBuilder, x: gs.Variable, spec: StftSpec, run: int) -> gs.Variable:
    """The signal, as many whole runs of it as there are."""
    if spec.length is not None and spec.length % run == 0:
        return x
    length = _find_length(b, x, spec)
    whole = b.multiply(b.floor_divide(length, run), run)
    return b.op("Slice", x, b.integers([0]), b.vector(whole), b.integers([1]))


def _gather_frames(b: NodeBuilder, x: gs.Variable, spec: StftSpec, sizes: tuple[Dim, Dim]) -> gs.Tensor:
    """`[batch, length, parts]` -> `[batch, frames, frame_length, parts]`; `sizes` are the first two."""
    run = run_length(spec)
    length = _find_length(b, x, spec)
    frames = sizes[1] if spec.batch is None else _find_frames(b, x, spec)
    runs = b.floor_divide(length, run)
    x = _crop_to_runs(b, x, spec, run)
    starts = b.reshape(b.multiply(b.arange(frames), spec.step // run), -1, 1)
    index = b.op("Add", starts, b.integers(np.arange(spec.frame_length // run)))
    taken = b.op("Gather", b.reshape(x, sizes[0], runs, run * spec.parts), index, axis=1)
    return b.reshape(taken, *sizes, spec.frame_length, spec.parts)


def _find_length(b: NodeBuilder, x: gs.Variable, spec: StftSpec) -> Dim:
    return b.extent(x, 1) if spec.length is None else spec.length


def _find_frames(b: NodeBuilder, x: gs.Variable, spec: StftSpec) -> Dim:
    """Frames of one signal; at run time, it fails if there are none."""
    if spec.frames is not None:
        return spec.frames
    room = b.require_length(
        b.subtract(_find_length(b, x, spec), spec.frame_length), "the_signal_is_shorter_than_a_frame"
    )
    return b.add(b.floor_divide(room, spec.step), 1)
