"""Fragments of DFT and STFT as models of their own, and their distance from the float64 truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper

from onnx_fft.fourier.transforms import dft, stft
from onnx_fft.lowering.base import FourierPlan, FourierPorts, FourierWeights, Fragment
from onnx_fft.lowering.matmul_dft import MatMulDftLowering
from onnx_fft.lowering.matmul_stft import MatMulStftLowering
from onnx_fft.sites.fourier import DftSpec, StftSpec
from scripts.shared.conv_models import TENSOR_TYPES, Array
from scripts.shared.standard_cases import Case

OPSET = 17
DFT, STFT = MatMulDftLowering(), MatMulStftLowering()

MAX_ERROR = {"float16": 5e-4, "float32": 5e-7, "float64": 1e-14}
"""Relative L2, by dtype; float16 is computed in float32 and rounded at the end."""


def make_dft_spec(
    shape: Sequence[int | None],
    axis: int = 1,
    dft_length: int | None = None,
    *,
    inverse: bool = False,
    onesided: bool = False,
    dtype: str = "float32",
) -> DftSpec:
    """A spec whose `dft_length` is that of the axis, unless it is given."""
    length = shape[axis] if dft_length is None else dft_length
    if dft_length is None and inverse and onesided and length is not None:
        length = 2 * (length - 1)
    return DftSpec(tuple(shape), axis, length, inverse, onesided, dtype)


def case_spec(case: Case) -> tuple[DftSpec | StftSpec, Array, Array | None]:
    """One of the standard's cases: what its node computes, the signal, the window."""
    (node,) = case.model.graph.node
    flags: dict[str, int] = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    first, second, third, fourth = ([case.feeds.get(name) for name in node.input] + [None] * 3)[:4]
    assert first is not None
    onesided, dtype = bool(flags.get("onesided", node.op_type == "STFT")), str(first.dtype)
    if node.op_type == "STFT":
        assert second is not None
        length = int(fourth) if fourth is not None else len(third if third is not None else ())
        batch, samples, parts = first.shape
        return StftSpec(batch, samples, parts, length, int(second), onesided, dtype), first, third
    newest = case.model.opset_import[0].version >= 20
    axis = int(third) if third is not None else flags.get("axis", -2 if newest else 1)
    points = None if second is None else int(second)
    spec = make_dft_spec(
        first.shape, axis % first.ndim, points, inverse=bool(flags.get("inverse")), onesided=onesided, dtype=dtype
    )
    return spec, first, None


def lower_dft(spec: DftSpec, plan: FourierPlan, opset: int = OPSET) -> ModelProto:
    """The fragment between `x` and `y`."""
    DFT.check_plan(spec, plan)
    fragment = DFT.build(spec, plan, FourierWeights(), FourierPorts("x", "y", "fft/", opset))
    return _make_model(fragment, {"x": spec.shape}, len(spec.shape), spec.dtype, opset)


def lower_stft(
    spec: StftSpec, plan: FourierPlan, window: Array | None = None, *, computed: bool = False, opset: int = OPSET
) -> ModelProto:
    """The fragment between `x`, `window` if it is `computed`, and `y`."""
    STFT.check_plan(spec, plan)
    constant = None if window is None or computed else window.astype(np.float64)
    ports = FourierPorts("x", "y", "fft/", opset, window="window" if window is not None else "")
    fragment = STFT.build(spec, plan, FourierWeights(constant), ports)
    shapes: dict[str, tuple[int | None, ...]] = {"x": (spec.batch, spec.length, spec.parts)}
    if computed:
        shapes["window"] = (spec.frame_length,)
    return _make_model(fragment, shapes, 4, spec.dtype, opset)


def dft_truth(spec: DftSpec, x: Array) -> NDArray[np.float64]:
    """The result in float64."""
    return dft(x, spec.axis, spec.dft_length, inverse=spec.inverse, onesided=spec.onesided)


def stft_truth(spec: StftSpec, x: Array, window: Array | None) -> NDArray[np.float64]:
    """The result in float64."""
    return stft(x, spec.step, window, spec.frame_length, onesided=spec.onesided)


def draw(shape: Sequence[int], dtype: str = "float32", seed: int = 0) -> Array:
    """Normally distributed values."""
    values: Array = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return values


def relative_error(y: Array, truth: NDArray[np.float64]) -> float:
    """Relative L2; infinite if the shapes differ or a value is not finite."""
    if y.shape != truth.shape or not np.isfinite(y).all():
        return float("inf")
    return float(np.linalg.norm(y.astype(np.float64) - truth)) / max(float(np.linalg.norm(truth)), 1e-300)


def _make_model(
    fragment: Fragment, shapes: dict[str, tuple[int | None, ...]], rank: int, dtype: str, opset: int
) -> ModelProto:
    kind = TENSOR_TYPES[dtype]
    inputs = [helper.make_tensor_value_info(name, kind, list(shape)) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("y", kind, [None] * rank)
    graph = helper.make_graph(fragment.nodes, "fragment", inputs, [output], fragment.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model
