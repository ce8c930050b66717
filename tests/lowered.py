"""A fragment as a model of its own, its float64 truth, and how far it may be from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper

from onnx_fft.checks.epilogue import activate
from onnx_fft.fourier.axis import Axis
from onnx_fft.fourier.oracle import conv_direct
from onnx_fft.lowering.base import ConvPlan, Fragment, Lowering, Ports
from onnx_fft.model.io import load_model
from onnx_fft.model.weights import ConvWeights
from onnx_fft.runtime.contrib import OPERATORS
from onnx_fft.runtime.cuda import needs_cuda
from onnx_fft.runtime.opening import open_runner
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.conv_models import TENSOR_TYPES, Array, draw_weights
from scripts.shared.running import executed_op_types
from tests.strategies import ACTIVATIONS, make_spec

PREFIX = "fft/"

TOLERANCES = {"float16": (5e-6, 2.0**-11), "float32": (5e-6, 0.0), "float64": (2e-14, 0.0)}
"""By dtype: error allowed as a multiple of the output's scale, and of the output itself for its last rounding.

float16 is computed in float32. The scale of an output is not its own size, which may be anything where the sum cancels,
but the size of its terms, see `output_scale`. Largest error in 2600 random examples (ONNX Runtime 1.32, AVX-512):
1.4e-6 of the scale in float32, 4e-15 in float64.
"""


SPECS = {
    "dense": make_spec([Axis(3, pad_begin=1, extent=9), Axis(4, extent=12)], (3, 2, 1), has_bias=True),
    "grouped, stride": make_spec([Axis(5, stride=2, pad_end=3, extent=23)], (4, 6, 2), batch=2),
    "depthwise, dilation": make_spec([Axis(3, dilation=2, extent=14), Axis(2, extent=5)], (3, 3, 3)),
    "multiplier, dynamic": make_spec([Axis(7, pad_begin=6)], (2, 4, 2), batch=None, has_bias=True),
    "3-D form": make_spec([Axis(1, extent=1), Axis(3, extent=8), Axis(3)], (2, 2, 1), activation=ACTIVATIONS[0]),
}
"""Convolutions small enough to try every lowering and plan on, by name."""


def feed_shape(spec: ConvSpec, batch: int = 2, extent: int = 17) -> tuple[int, ...]:
    """A shape of the input; `batch` and `extent` stand in for what the spec leaves open."""
    return (spec.batch or batch, spec.in_channels, *(n or extent for n in spec.extents))


@dataclass(frozen=True, slots=True)
class Lowered:
    """A fragment with `x` and, as the spec asks for them, `bias` and `sum` as inputs and `y` as output."""

    spec: ConvSpec
    fragment: Fragment
    model: ModelProto
    weight: Array
    bias: Array | None
    has_bias_input: bool

    def make_feeds(self, shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, Array]:
        """Normally distributed inputs of the spec's dtype; `shape` is that of `x`."""
        spec = self.spec
        feeds = {"x": rng.standard_normal(shape).astype(spec.dtype)}
        if spec.has_sum:
            feeds["sum"] = rng.standard_normal(output_shape(spec, shape)).astype(spec.dtype)
        if self.has_bias_input:
            assert self.bias is not None
            feeds["bias"] = self.bias
        return feeds


def lower(
    lowering: Lowering, spec: ConvSpec, plan: ConvPlan, opset: int, *, seed: int = 0, has_bias_input: bool = False
) -> Lowered:
    """Build the fragment of `spec` with drawn weights and put it into a checked model."""
    weight, bias = draw_weights(spec, seed)
    has_bias_input = has_bias_input and bias is not None
    constant_bias = None if bias is None or has_bias_input else bias.astype(np.float64)
    weights = ConvWeights(weight.astype(np.float64), constant_bias, "bias" if has_bias_input else "")
    ports = Ports("x", "y", PREFIX, opset, sum_input="sum" if spec.has_sum else "")
    fragment = lowering.build(spec, plan, weights, ports)
    return Lowered(spec, fragment, _make_model(spec, fragment, opset, has_bias_input), weight, bias, has_bias_input)


def _make_model(spec: ConvSpec, fragment: Fragment, opset: int, has_bias_input: bool) -> ModelProto:
    symbols = [f"extent{number}" for number in range(spec.rank)]
    batch = "batch" if spec.batch is None else spec.batch
    lengths = [symbol if n is None else n for n, symbol in zip(spec.extents, symbols, strict=True)]
    results = [f"{symbol}_out" if n is None else n for n, symbol in zip(spec.output_extents, symbols, strict=True)]
    dtype = TENSOR_TYPES[spec.dtype]
    inputs = [helper.make_tensor_value_info("x", dtype, [batch, spec.in_channels, *lengths])]
    y_shape = [batch, spec.out_channels, *results]
    if spec.has_sum:
        inputs.append(helper.make_tensor_value_info("sum", dtype, y_shape))
    if has_bias_input:
        inputs.append(helper.make_tensor_value_info("bias", dtype, [spec.out_channels]))
    y = helper.make_tensor_value_info("y", dtype, y_shape)
    graph = helper.make_graph(fragment.nodes, "fragment", inputs, [y], fragment.initializers)
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, 1) for domain in sorted({node.domain for node in fragment.nodes} - {""})]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def output_shape(spec: ConvSpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the result for an input of `shape`, by the formula of the standard."""
    return (shape[0], spec.out_channels, *spec.at(shape[2:]).geometry.output_extents(shape[2:], spec.kernel_shape))


def compute_truth(lowered: Lowered, feeds: dict[str, Array]) -> NDArray[np.float64]:
    """Convolution, bias, sum and activation in float64."""
    spec = lowered.spec
    y = conv_direct(feeds["x"], lowered.weight, lowered.bias, spec.at(feeds["x"].shape[2:]).geometry)
    if spec.has_sum:
        y = y + feeds["sum"].astype(np.float64)
    if spec.activation is not None:
        y = activate(y, spec.activation.op_type, spec.activation.params)
    return y


def output_scale(lowered: Lowered, feeds: dict[str, Array]) -> NDArray[np.float64]:
    """Size of the terms that make up an output: `RMS(x) * ||w||_2 + |bias| + |sum|`, with the norm per output channel.

    A DFT spreads its rounding errors evenly over a tile, so an error is as large as the other outputs of the tile are,
    and those have this size, whatever the one output has come to.
    """
    spec, x = lowered.spec, feeds["x"].astype(np.float64)
    norm = np.linalg.norm(lowered.weight.astype(np.float64).reshape(spec.out_channels, -1), axis=1)
    scale = norm * (float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0)
    if lowered.bias is not None:
        scale = scale + np.abs(lowered.bias.astype(np.float64))
    scale = scale.reshape(-1, *[1] * spec.rank)
    total: NDArray[np.float64] = scale + np.abs(feeds["sum"].astype(np.float64)) if spec.has_sum else scale
    return total


def assert_right(lowered: Lowered, feeds: dict[str, Array], y: Array) -> None:
    """Shape, dtype and finiteness first, then every element against the float64 truth."""
    spec = lowered.spec
    assert y.shape == output_shape(spec, feeds["x"].shape)
    assert y.dtype == np.dtype(spec.dtype)
    assert np.isfinite(y).all()
    truth = compute_truth(lowered, feeds)
    of_scale, of_output = TOLERANCES[spec.dtype]
    error = np.abs(y.astype(np.float64) - truth)
    limit = of_scale * output_scale(lowered, feeds) + of_output * np.abs(truth)
    worst = float((error / limit).max()) if error.size else 0.0
    assert (error <= limit).all(), f"error is {worst:.3g} times what {spec.dtype} allows"


def run_fragment(model: ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """The outputs; ONNX Runtime's, but for the FFT operators that only its CUDA provider has."""
    return list(open_runner(load_model(model)).run(feeds).values())


def executed_ops(model: ModelProto, feeds: Mapping[str, Array]) -> Counter[str]:
    """The operators that ran, and how often: by ONNX Runtime's profile, or as NumPy's part and the nodes around it."""
    if not needs_cuda(model):
        return executed_op_types(model, feeds)
    ran: Counter[str] = Counter()
    with _counting(ran):
        run_fragment(model, feeds)
    return ran + Counter(node.op_type for node in model.graph.node if node.domain in ("", "ai.onnx"))


@contextmanager
def _counting(ran: Counter[str]) -> Iterator[None]:
    """Counts the runs of NumPy's operators into `ran`."""

    def count(kind: type, compute: object) -> object:
        def counted(self: object, *args: object, **options: object) -> object:
            ran[kind.__name__] += 1
            return compute(self, *args, **options)  # type: ignore[operator]

        return counted

    patches = [patch.object(kind, "_run", count(kind, kind._run)) for kind in OPERATORS]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()
