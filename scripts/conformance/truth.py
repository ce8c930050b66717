"""The float64 truth of a whole model: every tensor widened, its Convs computed by the oracle, the rest by NumPy.

onnx's reference evaluator walks the graph, and its operators are NumPy calls that keep float64 if they are given it.
`onnx_fft.fourier.oracle` replaces its Conv and ConvTranspose, `onnx_fft.fourier.transforms` its DFT and STFT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from onnx_fft.checks.fouriercheck import make_transforms
from onnx_fft.checks.transposedcheck import read_geometry
from onnx_fft.fourier.oracle import ConvGeometry, conv_direct, conv_transpose_direct

Array = NDArray[Any]
NARROW = (TensorProto.FLOAT, TensorProto.FLOAT16)


class Conv(OpRun):
    """The standard's Conv by the float64 oracle; the evaluator finds an operator by the name of its class."""

    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **attributes: Any) -> tuple[Array]:
        """`x [N, Cin, *extents]`, `w [Cout, Cin / group, *kernel]`, `b [Cout]`."""
        rank = x.ndim - 2
        strides = tuple(attributes["strides"] or (1,) * rank)
        dilations = tuple(attributes["dilations"] or (1,) * rank)
        pads = tuple(attributes["pads"] or (0,) * (2 * rank))
        begin, end = pads[:rank], pads[rank:]
        if attributes["auto_pad"] in ("SAME_UPPER", "SAME_LOWER"):
            totals = [
                max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
                for n, k, s, d in zip(x.shape[2:], w.shape[2:], strides, dilations, strict=True)
            ]
            halves = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
            begin, end = halves if attributes["auto_pad"] == "SAME_UPPER" else halves[::-1]
        return (conv_direct(x, w, b, ConvGeometry(attributes["group"], strides, dilations, begin, end)),)


class ConvTranspose(OpRun):
    """The standard's ConvTranspose, the same."""

    op_domain = ""

    def _run(self, x: Array, w: Array, b: Array | None = None, **_: Any) -> tuple[Array]:
        """`x [N, Cin, *extents]`, `w [Cin, Cout / group, *kernel]`, `b [Cout]`."""
        return (conv_transpose_direct(x, w, b, read_geometry(self.onnx_node, x.shape, w.shape)),)


def compute_truth(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """Every output of the model, in float64 if it is of a float type. The model is not changed."""
    wide = ModelProto()
    wide.CopyFrom(model)
    _widen_graph(wide.graph)
    floats = (np.float16, np.float32)
    given = {name: value.astype(np.float64) if value.dtype in floats else value for name, value in feeds.items()}
    evaluator = ReferenceEvaluator(wide, new_ops=[Conv, ConvTranspose, *make_transforms()])
    return [np.asarray(value) for value in evaluator.run(None, given)]


def _widen_graph(graph: GraphProto) -> None:
    """float16 and float32 become float64: constants, declared types, and the targets of casts, in bodies as well."""
    _widen_tensors(graph.initializer)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _widen_type(value.type)
    for node in graph.node:
        _widen_node(node)


def _widen_node(node: NodeProto) -> None:
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))  # default: float32
    for attribute in node.attribute:
        if attribute.HasField("t"):
            _widen_tensors([attribute.t])
        if attribute.name == "to" and attribute.i in NARROW:
            attribute.i = TensorProto.DOUBLE
        for body in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            _widen_graph(body)


def _widen_type(kind: TypeProto) -> None:
    if kind.tensor_type.elem_type in NARROW:
        kind.tensor_type.elem_type = TensorProto.DOUBLE


def _widen_tensors(tensors: Sequence[TensorProto]) -> None:
    for tensor in tensors:
        if tensor.data_type in NARROW:
            values = numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
