"""One node of the native library for a DFT or an STFT, `onnx_fft::DFT` or `onnx_fft::STFT`; it runs without it too.

As for `fftconv`, the model gets a model-local function of the same domain and name, whose body is the standard
operator, its attributes referenced. All inputs are always given, because a function cannot tell whether one is:

    DFT(X, dft_length), attributes axis, inverse, onesided
    STFT(signal, frame_step, window, frame_length), attribute onesided

What models make of its bins (`sites.bins`) is in the name, `STFTPower` and `STFTMagnitude`, as for `fftconv`.

So an absent `dft_length` is written out, from the shape of the input if it is open, and an absent window is one of
ones. From opset 20 on the axis of the standard's DFT is an input; the function makes it of the attribute.

The library transforms each row and each frame by itself: what is all zeros gives exact zeros, whatever is beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto
from onnx.helper import make_attribute, make_function, make_node, make_opsetid
from onnx.numpy_helper import from_array

from onnx_fft.errors import InvalidModelError
from onnx_fft.lowering.base import FourierPlan, FourierPorts, FourierWeights, Fragment
from onnx_fft.model.functions import is_same_function
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.dft import AXIS_INPUT_OPSET
from onnx_fft.sites.fourier import DftSpec, StftSpec
from onnx_fft.sites.site import FourierSpec

DFT_ATTRIBUTES = ("axis", "inverse", "onesided")
REDUCED_AXES_OPSET = 18
"""The opset since which the axes of every reduction are an input."""

STFT_INPUTS = ("signal", "frame_step", "window", "frame_length")


class FftLowering:
    """The native library's operators, and the functions that stand in for them."""

    name = "fft"
    takes = (DftSpec, StftSpec)
    fuses_epilogues = True

    def find_obstacle(self, spec: FourierSpec) -> str:
        """None: every DFT and STFT that has a spec."""
        return ""

    def min_opset(self, spec: FourierSpec) -> int:
        """17, which brought both operators."""
        return 17

    def candidates(self, spec: FourierSpec) -> list[FourierPlan]:
        """The one plan, which leaves everything to the library."""
        return [FourierPlan(self.name)]

    def check_plan(self, spec: FourierSpec, plan: FourierPlan) -> None:
        """A plan has no lengths."""
        if plan.lengths:
            raise ValueError(f"fft plans by itself: lengths must be empty, got {list(plan.lengths)}")

    def build(self, spec: FourierSpec, plan: FourierPlan, weights: FourierWeights, ports: FourierPorts) -> Fragment:
        """See the module's docstring."""
        return _build_dft(spec, ports) if isinstance(spec, DftSpec) else _build_stft(spec, ports)


def make_dft_function(opset: int) -> FunctionProto:
    """The function behind `onnx_fft::DFT` in `opset`."""
    inputs, dft = ["X", "dft_length"], make_node("DFT", ["X", "dft_length"], ["Y"], "DFT")
    nodes = [_refer(dft, {name: name for name in DFT_ATTRIBUTES})]
    if opset >= AXIS_INPUT_OPSET:
        axis = _refer(make_node("Constant", [], ["axis"], "axis"), {"value_int": "axis"})
        dft = make_node("DFT", [*inputs, "axis"], ["Y"], "DFT")
        nodes = [axis, _refer(dft, {name: name for name in DFT_ATTRIBUTES[1:]})]
    imports = [make_opsetid("", opset)]
    return make_function(OPERATOR_DOMAIN, "DFT", inputs, ["Y"], nodes, imports, list(DFT_ATTRIBUTES))


def make_stft_function(opset: int, bins_form: str = "") -> FunctionProto:
    """The function behind `onnx_fft::STFT` in `opset`, or that of the power or magnitude of its bins."""
    bins = "bins" if bins_form else "Y"
    nodes = [_refer(make_node("STFT", STFT_INPUTS, [bins], "STFT"), {"onesided": "onesided"})]
    if bins_form:
        nodes += _write_reduction({"Power": "ReduceSumSquare", "Magnitude": "ReduceL2"}[bins_form], bins, opset)
    imports, name = [make_opsetid("", opset)], f"STFT{bins_form}"
    return make_function(OPERATOR_DOMAIN, name, list(STFT_INPUTS), ["Y"], nodes, imports, ["onesided"])


def _write_reduction(op_type: str, x: str, opset: int) -> list[NodeProto]:
    """Of the last axis, which goes."""
    if opset < REDUCED_AXES_OPSET:
        return [make_node(op_type, [x], ["Y"], op_type, axes=[-1], keepdims=0)]
    axes = make_node("Constant", [], ["axes"], "axes", value_ints=[-1])
    return [axes, make_node(op_type, [x, "axes"], ["Y"], op_type, keepdims=0)]


def _build_dft(spec: DftSpec, ports: FourierPorts) -> Fragment:
    length = f"{ports.prefix}dft_length"
    constants: list[TensorProto] = []
    nodes: list[NodeProto] = []
    if ports.length:
        length = ports.length
    elif spec.dft_length is not None:
        constants.append(_hold(length, spec.dft_length))
    else:
        nodes, constants = _read_length(spec, ports, length)
    forms = [make_dft_function(opset) for opset in (ports.opset, AXIS_INPUT_OPSET - 1, AXIS_INPUT_OPSET)]
    function = _check_free(forms, ports)
    attributes = {"axis": spec.axis, "inverse": int(spec.inverse), "onesided": int(spec.onesided)}
    nodes.append(_call(function, [ports.input, length], ports, attributes))
    return Fragment(tuple(nodes), tuple(constants), (function,))


def _read_length(spec: DftSpec, ports: FourierPorts, length: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """The scalar `length`, of an open axis: its own, or `2 * (its own - 1)` if it holds a half-spectrum."""
    shape, axis, own = (f"{ports.prefix}{name}" for name in ("shape", "axis", "length"))
    constants = [_hold(axis, spec.axis)]
    read = own if spec.gives_real else length
    nodes = [
        make_node("Shape", [ports.input], [shape], shape),
        make_node("Gather", [shape, axis], [read], read, axis=0),
    ]
    if spec.gives_real:
        one, two, pairs = (f"{ports.prefix}{name}" for name in ("one", "two", "pairs"))
        constants += [_hold(one, 1), _hold(two, 2)]
        nodes += [make_node("Sub", [own, one], [pairs], pairs), make_node("Mul", [pairs, two], [length], length)]
    return nodes, constants


def _build_stft(spec: StftSpec, ports: FourierPorts) -> Fragment:
    step, window, points = (f"{ports.prefix}{name}" for name in STFT_INPUTS[1:])
    constants = [_hold(step, spec.step), _hold(points, spec.frame_length)]
    if not ports.window:
        constants.append(_hold(window, np.ones(spec.frame_length, spec.dtype)))
    function = _check_free([make_stft_function(ports.opset, spec.bins_form)], ports)
    inputs = [ports.input, step, ports.window or window, points]
    nodes = [_call(function, inputs, ports, {"onesided": int(spec.onesided)})]
    if ports.cut:
        nodes[0].output[0] = f"{ports.prefix}whole"
        nodes.append(make_node("Slice", [nodes[0].output[0], *ports.cut], [ports.output], f"{ports.prefix}Slice"))
    return Fragment(tuple(nodes), tuple(constants), (function,))


def _call(function: FunctionProto, inputs: list[str], ports: FourierPorts, attributes: dict[str, int]) -> NodeProto:
    node = make_node(function.name, inputs, [ports.output], f"{ports.prefix}{function.name}", domain=OPERATOR_DOMAIN)
    node.attribute.extend(make_attribute(name, value) for name, value in attributes.items())
    return node


def _refer(node: NodeProto, attributes: dict[str, str]) -> NodeProto:
    """The node with integer attributes that the caller of its function sets, by their names there."""
    for name, reference in attributes.items():
        node.attribute.append(AttributeProto(name=name, ref_attr_name=reference, type=AttributeProto.INT))
    return node


def _hold(name: str, value: int | NDArray[np.generic]) -> TensorProto:
    return from_array(np.asarray(value, np.int64) if isinstance(value, int) else value, name)


def _check_free(forms: list[FunctionProto], ports: FourierPorts) -> FunctionProto:
    """The first of the `forms` of a function; if the model has that name, the function there must be one of them."""
    key = forms[0].domain, forms[0].name
    for known in ports.functions:
        if (known.domain, known.name) == key and not any(is_same_function(known, form) for form in forms):
            raise InvalidModelError(
                f"got a model with another function {OPERATOR_DOMAIN}::{known.name} of its own",
                "the name to be free",
                "rename that function",
            )
    return forms[0]
