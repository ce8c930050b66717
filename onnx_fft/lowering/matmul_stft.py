"""STFT as products with constant matrices: standard operators, any provider.

    short frames    Conv by the windowed DFT matrix, strides [step] -> Transpose
    otherwise       Gather of frames -> Mul by the window -> the DFT of `lowering.stages`

A Conv reads overlapping frames without copying them first. ONNX Runtime has it in float32 only.

*Framing* is one Gather: every frame begins and ends on a multiple of `gcd(step, frame_length)`, so whole runs of that
many samples are copied. The index is a sum of two short vectors that ONNX Runtime adds up when it loads the model.
"""

from __future__ import annotations

from math import gcd

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnx_fft.fourier.factored import forward_matrix
from onnx_fft.fourier.plans import MAX_NARROW, Transform, check_factors, list_factors, list_stages
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
        """By several numbers of factors; a single one is the Conv."""
        return [FourierPlan(self.name, factors) for factors in list_factors(frame_transform(spec))]

    def check_plan(self, spec: StftSpec, plan: FourierPlan) -> None:
        """Any factors of the frame's length, or of a length that Bluestein's convolution fits into."""
        check_factors(frame_transform(spec), plan.lengths)

    def build(self, spec: StftSpec, plan: FourierPlan, weights: FourierWeights, ports: FourierPorts) -> Fragment:
        """See the module's docstring."""
        b = NodeBuilder(spec.dtype, ports)
        x = b.input()
        batch: Dim = b.extent(x, 0) if spec.batch is None else spec.batch
        has_constant_window = weights.window is not None or not ports.window
        if has_constant_window and convolves(spec, plan):
            y = _convolve(b, x, spec, weights.window)
            return b.close(b.op("Reshape", y, b.vector(batch, -1, spec.bins, 2)))
        frames = _gather_frames(b, x, spec, batch)
        if ports.window:
            frames = b.op("Mul", frames, _find_window(b, weights, ports))
        y = write_transform(b, frames, frame_transform(spec), plan.lengths, 1, outer=count_frames(spec))
        return b.close(b.op("Reshape", y, b.vector(batch, -1, spec.bins, 2)))


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


def run_length(spec: StftSpec) -> int:
    """Samples that framing copies at once."""
    return gcd(spec.step, spec.frame_length)


def _find_window(b: NodeBuilder, weights: FourierWeights, ports: FourierPorts) -> gs.Tensor:
    """`[frame_length, 1]`, constant or computed."""
    if weights.window is not None:
        return b.real(weights.window[:, None])
    return b.reshape(b.host_tensor(ports.window), -1, 1)


def _convolve(b: NodeBuilder, x: gs.Tensor, spec: StftSpec, window: NDArray[np.float64] | None) -> gs.Tensor:
    """`[batch, length, parts]` -> `[batch, frames, bins * 2]`."""
    transform = frame_transform(spec)
    matrix = forward_matrix(list_stages(transform, (spec.frame_length,))[0], transform.sign)
    basis = matrix.reshape(-1, spec.parts, spec.frame_length)
    if window is not None:
        basis = basis * window
    channels_first = b.reshape(x, 0, 1, -1) if spec.parts == 1 else b.transpose(x, 0, 2, 1)
    y = b.op("Conv", channels_first, b.real(basis), strides=[spec.step])
    return b.transpose(y, 0, 2, 1)


def _gather_frames(b: NodeBuilder, x: gs.Variable, spec: StftSpec, batch: Dim) -> gs.Tensor:
    """`[batch, length, parts]` -> `[batch, frames, frame_length, parts]`."""
    run = run_length(spec)
    length: Dim = b.extent(x, 1) if spec.length is None else spec.length
    frames: Dim
    if spec.frames is not None:
        frames = spec.frames
    else:
        room = b.require_length(b.subtract(length, spec.frame_length), "the_signal_is_shorter_than_a_frame")
        frames = b.add(b.floor_divide(room, spec.step), 1)
    runs = b.floor_divide(length, run)
    if not (isinstance(length, int) and length % run == 0):
        x = b.op("Slice", x, b.integers([0]), b.vector(b.multiply(runs, run)), b.integers([1]))
    starts = b.reshape(b.multiply(b.arange(frames), spec.step // run), -1, 1)
    index = b.op("Add", starts, b.integers(np.arange(spec.frame_length // run)))
    taken = b.op("Gather", b.reshape(x, batch, runs, run * spec.parts), index, axis=1)
    return b.reshape(taken, batch, -1, spec.frame_length, spec.parts)
