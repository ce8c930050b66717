"""What models make of the bins of an STFT, inside the replaced nodes, in float64: by ONNX's own evaluator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnx_fft.checks.compare import Array
from onnx_fft.checks.replaced import Replaced
from onnx_fft.fourier.oracle import Float64Array
from onnx_fft.runtime.engines import Value

BIN_TYPES = (
    *("Slice", "Gather", "Split", "Reshape", "Transpose", "Sqrt", "Pow", "Mul", "Add"),
    *("ReduceSumSquare", "ReduceL2", "ReduceSum"),
)
"""What may stand between an STFT and the power of its bins."""

_JOINING = ("Slice", "Gather", "Split", "Reshape", "ReduceSumSquare", "ReduceL2", "ReduceSum", "Pow")
"""Of those, what no epilogue of a Conv has."""


def joins_bins(site: Replaced) -> bool:
    """Whether what follows the node inside its replacement reads several bins at once, or parts of them."""
    return any(node.op_type in _JOINING for node in site.followers)


def follow_bins(site: Replaced, tensors: Mapping[str, Value], y: Float64Array) -> Float64Array:
    """What the followers make of the node's whole output `y`; ValueError for an operator that is unknown here."""
    unknown = [node.op_type for node in site.followers if node.op_type not in BIN_TYPES]
    if unknown:
        raise ValueError(f"no oracle for {unknown[0]!r} behind an STFT")
    made = {site.node.output[0], *(name for node in site.followers for name in node.output)}
    read = dict.fromkeys(name for node in site.followers for name in node.input if name and name not in made)
    feeds: dict[str, Array] = {site.node.output[0]: y} | {name: _widen(np.asarray(tensors[name])) for name in read}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)
        for name, value in feeds.items()
    ]
    output = helper.make_tensor_value_info(site.output, TensorProto.DOUBLE, None)
    graph = helper.make_graph(site.followers, "followers", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", site.scope.opset)])
    (result,) = ReferenceEvaluator(model).run(None, feeds)
    return np.asarray(result, np.float64)


def _widen(value: Array) -> Array:
    return value.astype(np.float64) if value.dtype.kind == "f" else value
