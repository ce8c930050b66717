"""What models make of the bins of an STFT, inside the replaced nodes, in float64: by ONNX's own evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnx_fft.checks.compare import Array
from onnx_fft.checks.replaced import Replaced
from onnx_fft.fourier.oracle import ConvGeometry, Float64Array, conv_direct, conv_direct_at, sample_conv
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


def compute_columns(
    x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, budget: float, seed: int
) -> tuple[Float64Array, Float64Array]:
    """The output of a Conv in columns of all channels, zeros elsewhere, and ones in the place of what is computed.

    All of them if `budget` multiply-adds pay for that, else some of one batch row, drawn with `seed`, three at least.
    """
    shape = (x.shape[0], weight.shape[0], *geometry.output_extents(x.shape[2:], weight.shape[2:]))
    sample = sample_conv(x.shape, weight.shape, geometry, budget, seed)
    if sample is None:
        return conv_direct(x, weight, bias, geometry), np.ones(shape)
    sample = replace(sample, channels=np.arange(len(weight)))
    y, is_known = np.zeros(shape), np.zeros(shape)
    places = np.ix_(sample.batch, sample.channels, *sample.positions)
    y[places], is_known[places] = conv_direct_at(x, weight, bias, geometry, sample), 1
    return y, is_known


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
