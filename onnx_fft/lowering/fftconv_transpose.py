"""One node of the native library, `onnx_fft::FFTConvTranspose`, with ConvTranspose's own operands, as `fftconv`.

The model gets a model-local function of the same domain and name whose body is the ConvTranspose, its attributes
referenced. All are written out: `auto_pad` and `output_shape` are pads by then. There always is a bias, of zeros if
the ConvTranspose had none. What follows the sum stays nodes of their own.
"""

from __future__ import annotations

from onnx import AttributeProto, FunctionProto
from onnx.helper import make_function, make_node, make_opsetid

from onnx_fft.errors import InvalidModelError
from onnx_fft.lowering.base import ConvPlan, Fragment, Ports
from onnx_fft.lowering.fftconv import MAX_RANK, is_free, store_operands
from onnx_fft.model.weights import ConvWeights
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.transposed import ConvTransposeSpec

OP_TYPE = "FFTConvTranspose"

LISTS = ("kernel_shape", "strides", "dilations", "pads", "output_padding")
"""Attributes that hold a number for each axis; `group` is another one."""


class FFTConvTransposeLowering:
    """The native library's operator, and the function that stands in for it."""

    name = "fftconv"
    takes = (ConvTransposeSpec,)
    fuses_epilogues = False

    def find_obstacle(self, spec: ConvTransposeSpec) -> str:
        """Four axes and more are not what the operator has."""
        too_many = f"the library convolves along 1 to {MAX_RANK} axes, not along {spec.rank}"
        return too_many if spec.rank > MAX_RANK else ""

    def min_opset(self, spec: ConvTransposeSpec) -> int:
        """1: what holds for the ConvTranspose holds for the function's body."""
        return 1

    def candidates(self, spec: ConvTransposeSpec) -> list[ConvPlan]:
        """The one plan, which leaves everything to the library."""
        return [ConvPlan(self.name, ())]

    def check_plan(self, spec: ConvTransposeSpec, plan: ConvPlan) -> None:
        """A plan has no axes, and the operator must have as many as the ConvTranspose."""
        if plan.axes:
            raise ValueError(f"fftconv plans by itself: axes must be empty, got {len(plan.axes)}")
        if obstacle := self.find_obstacle(spec):
            raise ValueError(obstacle)

    def build(self, spec: ConvTransposeSpec, plan: ConvPlan, weights: ConvWeights, ports: Ports) -> Fragment:
        """See the module's docstring."""
        own = store_operands(spec, weights, ports)
        weight = ports.weight or own[0].name
        bias = ports.bias or weights.bias_input or own[-1].name
        function = make_transposed_function(ports.opset)
        if not is_free(function, ports.functions):
            raise InvalidModelError(
                f"got a model with another function {OPERATOR_DOMAIN}::{OP_TYPE} of its own",
                "the name to be free",
                "rename that function",
            )
        node = make_node(
            OP_TYPE,
            [ports.input, weight, bias],
            [ports.output],
            f"{ports.prefix}{OP_TYPE}",
            domain=OPERATOR_DOMAIN,
            group=spec.group,
            kernel_shape=spec.kernel_shape,
            strides=spec.strides,
            dilations=spec.dilations,
            pads=(*spec.pads_begin, *spec.pads_end),
            output_padding=spec.output_padding,
        )
        return Fragment((node,), tuple(own), (function,))


def make_transposed_function(opset: int) -> FunctionProto:
    """The function `X [batch, in_channels, *extents], W, B -> Y` behind the operator, in `opset`."""
    inputs = ["X", "W", "B"]
    node = make_node("ConvTranspose", inputs, ["Y"], "ConvTranspose")
    kinds = {"group": AttributeProto.INT, **dict.fromkeys(LISTS, AttributeProto.INTS)}
    node.attribute.extend(AttributeProto(name=name, ref_attr_name=name, type=kind) for name, kind in kinds.items())
    imports = [make_opsetid("", opset)]
    return make_function(OPERATOR_DOMAIN, OP_TYPE, inputs, ["Y"], [node], imports, list(kinds))
