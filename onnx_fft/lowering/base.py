"""What every lowering shares: the protocol, its inputs and its result.

A lowering is a pure function `(spec, plan, weights, ports) -> Fragment`. The fragment reads and writes tensors of the
host graph by name and is put in place by `model.splice`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from onnx_fft.fourier.axis import Axis, AxisPlan, ceil_divide
from onnx_fft.fourier.axis import check_plan as check_axis_plan
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


Plan = ConvPlan | FourierPlan
"""How one site is computed, whatever its kind."""


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

    `window` names the window of an STFT, constant or computed, "" without one; `length` the length of a DFT that is
    known only at run time; `cut` holds the operands of a Slice
    behind it.
    """

    input: str
    output: str
    prefix: str
    opset: int
    window: str = ""
    functions: tuple[onnx.FunctionProto, ...] = ()
    cut: tuple[str, ...] = ()
    length: str = ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """Nodes in topological order, the constants they read, and the model-local functions they call."""

    nodes: tuple[onnx.NodeProto, ...]
    initializers: tuple[onnx.TensorProto, ...]
    functions: tuple[onnx.FunctionProto, ...] = ()


class Lowering(Protocol):
    """One way to compute sites of one kind.

    Plan, weights and ports are of that kind, too: `ConvPlan`, `ConvWeights` and `Ports`, or `FourierPlan`,
    `FourierWeights` and `FourierPorts`. Two lowerings of one name take different kinds.
    """

    @property
    def takes(self) -> tuple[type, ...]:
        """The types of the specs that it computes."""

    name: str
    fuses_epilogues: bool
    """Whether what follows the site is to be part of `spec` when the fragment is built (`sites.epilogue`)."""

    def find_obstacle(self, spec: Any) -> str:
        """Why `spec` cannot be computed this way, in one sentence; "" if it can."""

    def min_opset(self, spec: Any) -> int:
        """The oldest opset of the default domain in which the fragment of `spec` can be written."""

    def candidates(self, spec: Any) -> list[Any]:
        """Plans worth considering for `spec`; never empty."""

    def check_plan(self, spec: Any, plan: Any) -> None:
        """Raise ValueError if `plan`, which may be written by hand, would not compute `spec`."""

    def build(self, spec: Any, plan: Any, weights: Any, ports: Any) -> Fragment:
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
