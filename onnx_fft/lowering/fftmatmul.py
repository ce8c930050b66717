"""One node of the native library, `onnx_fft::FFTMatMul`, with MatMul's own operands in their order, as `fftconv`.

The model gets a model-local function of the same domain and name whose body is the MatMul. The library knows the weight
by its numbers, when a session is made, and computes an FFT of each frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import FunctionProto, TensorProto
from onnx.helper import make_function, make_node, make_opsetid
from onnx.numpy_helper import from_array

from onnx_fft.errors import InvalidModelError
from onnx_fft.lowering.base import FourierPlan, Fragment, Ports
from onnx_fft.lowering.fftconv import is_free
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.fourier import MatMulSpec

OP_TYPE = "FFTMatMul"


class FFTMatMulLowering:
    """The native library's operator, and the function that stands in for it."""

    name = "fft"
    takes = (MatMulSpec,)
    fuses_epilogues = False

    def find_obstacle(self, spec: MatMulSpec) -> str:
        """None: every weight that has a spec is a basis."""
        return ""

    def min_opset(self, spec: MatMulSpec) -> int:
        """1: what holds for the MatMul holds for the function's body."""
        return 1

    def candidates(self, spec: MatMulSpec) -> list[FourierPlan]:
        """The one plan, which leaves everything to the library."""
        return [FourierPlan(self.name)]

    def check_plan(self, spec: MatMulSpec, plan: FourierPlan) -> None:
        """A plan has no lengths."""
        if plan.lengths:
            raise ValueError(f"fft plans by itself: lengths must be empty, got {list(plan.lengths)}")

    def build(self, spec: MatMulSpec, plan: FourierPlan, weights: NDArray[np.float64], ports: Ports) -> Fragment:
        """See the module's docstring; `weights` is of `spec.weight_shape`."""
        function = make_matmul_function(ports.opset)
        if not is_free(function, ports.functions):
            raise InvalidModelError(
                f"got a model with another function {OPERATOR_DOMAIN}::{OP_TYPE} of its own",
                "the name to be free",
                "rename that function",
            )
        own: list[TensorProto] = []
        if not ports.weight:
            own.append(from_array(np.ascontiguousarray(weights.astype(spec.dtype)), f"{ports.prefix}weight"))
        inputs = [ports.input, ports.weight or own[0].name]
        inputs = inputs[::-1] if spec.in_columns else inputs
        node = make_node(OP_TYPE, inputs, [ports.output], f"{ports.prefix}{OP_TYPE}", domain=OPERATOR_DOMAIN)
        return Fragment((node,), tuple(own), (function,))


def make_matmul_function(opset: int) -> FunctionProto:
    """The function `A, B -> Y` behind the operator, in `opset`: the product, whichever operand is the weight."""
    inputs = ["A", "B"]
    nodes = [make_node("MatMul", inputs, ["Y"], "MatMul")]
    return make_function(OPERATOR_DOMAIN, OP_TYPE, inputs, ["Y"], nodes, [make_opsetid("", opset)])
