"""What every lowering shares: the protocol, its inputs and its result.

A lowering is a pure function `(spec, plan, weights, ports) -> Fragment`. The fragment reads and writes tensors of the
host graph by name and is put in place by `model.splice`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_fft.fourier.axis import Axis, AxisPlan, ceil_divide
from onnx_fft.fourier.axis import check_plan as check_axis_plan
from onnx_fft.model.weights import ConvWeights
from onnx_fft.sites.spec import ConvSpec

MAX_COMBINATIONS = 2000
"""Plans of one convolution that are looked at; only beyond two axes there can be more."""


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """How one convolution is computed: the lowering's name and one `AxisPlan` per spatial axis."""

    lowering: str
    axes: tuple[AxisPlan, ...]


@dataclass(frozen=True, slots=True)
class FourierPlan:
    """How one DFT or STFT is computed: the lowering's name and the factors that the transform is done by, in turn.

    No lengths if the lowering decides by itself, as the native library does.
    """

    lowering: str
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FourierWeights:
    """What a DFT or STFT holds as constants, in float64."""

    window: NDArray[np.float64] | None = None
    """Of an STFT, `[frame_length]`; None if there is none, or if it is computed in each run."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a fragment meets its host graph: tensor names, the opset that holds there, a prefix for new names.

    `weight` and `bias` name the constants if the fragment can read them where they stand, else they are ""; `operands`
    is what the epilogue reads beside `sum_input`; `functions` are the model-local functions there.
    """

    input: str
    output: str
    prefix: str
    opset: int
    sum_input: str = ""
    weight: str = ""
    bias: str = ""
    functions: tuple[onnx.FunctionProto, ...] = ()
    operands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FourierPorts:
    """Where the fragment of a DFT or STFT meets its host graph: as `Ports`.

    `window` names the window of an STFT, constant or computed, "" without one; `dft_length` names the tensor that gives
    a DFT its length in each run, "" if its spec says it.
    """

    input: str
    output: str
    prefix: str
    opset: int
    window: str = ""
    dft_length: str = ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """Nodes in topological order, the constants they read, and the model-local functions they call."""

    nodes: tuple[onnx.NodeProto, ...]
    initializers: tuple[onnx.TensorProto, ...]
    functions: tuple[onnx.FunctionProto, ...] = ()


class Lowering(Protocol):
    """One way to compute a convolution in the frequency domain."""

    name: str
    fuses_epilogues: bool
    """Whether what follows the convolution is to be part of `spec` when the fragment is built (`sites.epilogue`)."""

    def find_obstacle(self, spec: ConvSpec) -> str:
        """Why `spec` cannot be computed this way, in one sentence; "" if it can."""

    def min_opset(self, spec: ConvSpec) -> int:
        """The oldest opset of the default domain in which the fragment of `spec` can be written."""

    def candidates(self, spec: ConvSpec) -> list[ConvPlan]:
        """Plans worth considering for `spec`; never empty."""

    def check_plan(self, spec: ConvSpec, plan: ConvPlan) -> None:
        """Raise ValueError if `plan`, which may be written by hand, would not compute `spec`."""

    def build(self, spec: ConvSpec, plan: ConvPlan, weights: ConvWeights, ports: Ports) -> Fragment:
        """The fragment that computes `spec` by `plan`."""


def spec_axes(spec: ConvSpec) -> tuple[Axis, ...]:
    """The spatial axes of `spec`."""
    fields = (spec.kernel_shape, spec.strides, spec.dilations, spec.pads_begin, spec.pads_end, spec.extents)
    modes = [spec.auto_pad if late else "" for late in spec.padded_late]
    return tuple(Axis(*values) for values in zip(*fields, modes, strict=True))


def check_axes(spec: ConvSpec, plan: ConvPlan) -> None:
    """Raise ValueError if some axis of `plan` would not compute that of `spec` exactly."""
    for axis, axis_plan in zip(spec_axes(spec), plan.axes, strict=True):
        check_axis_plan(axis, axis_plan)


def combine_plans(lowering: str, spec: ConvSpec, axis_plans: Callable[[Axis], list[AxisPlan]]) -> list[ConvPlan]:
    """The combinations of the plans of the single axes; of very many, a thinned-out selection of all lengths."""
    choices = [sorted(axis_plans(axis), key=lambda plan: plan.dft_length) for axis in spec_axes(spec)]
    most = int(MAX_COMBINATIONS ** (1 / spec.rank))
    thinned = [plans[:: ceil_divide(len(plans), most)] for plans in choices]
    return [ConvPlan(lowering, axes) for axes in product(*thinned)]
