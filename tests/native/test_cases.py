"""The native library on what tries every lowering: standard cases, random convolutions, real models."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from onnx import ModelProto, TensorProto, numpy_helper

from onnx_fft import rewrite, validate
from onnx_fft.lowering import find_lowering
from onnx_fft.report import describe
from onnx_fft.sites.spec import ConvSpec
from scripts.models import fetch as fetch_models
from scripts.shared.running import executed_op_types, list_op_types, run_model, run_with_library
from scripts.shared.standard_cases import Case, causal_cases, conv_cases, converted_cases
from tests.lowered import SPECS, assert_right, feed_shape, lower
from tests.native.rewritten import forced
from tests.real_models import REMAINING, SHAPES, by_model
from tests.strategies import Trial, trials

pytestmark = pytest.mark.usefixtures("native_library")

CASES = (*conv_cases(), *causal_cases(), *converted_cases())
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

FFTCONV = find_lowering("fftconv")
(PLAN,) = FFTCONV.candidates(SPECS["dense"])

OPSET = 17  # every supported ONNX Runtime has it

TYPES = {TensorProto.FLOAT: TensorProto.DOUBLE}


def as_float64(model: ModelProto) -> ModelProto:
    """The same model in float64, for which ONNX Runtime has no Conv: the library computes all of it."""
    wide = ModelProto()
    wide.CopyFrom(model)
    for value in (*wide.graph.input, *wide.graph.output, *wide.graph.value_info):
        kind = value.type.tensor_type
        kind.elem_type = TYPES.get(kind.elem_type, kind.elem_type)
    tensors = [attribute.t for node in wide.graph.node for attribute in node.attribute if attribute.HasField("t")]
    for tensor in (*wide.graph.initializer, *tensors):
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for node in wide.graph.node:
        for attribute in node.attribute:
            if (node.op_type, attribute.name) == ("Cast", "to"):
                attribute.i = TYPES.get(attribute.i, attribute.i)
    return wide


def count_ours(op_types: Counter[str]) -> int:
    return sum(count for name, count in op_types.items() if name.startswith("FFTConv"))


@by_case
def test_the_cases_of_the_standard(case: Case) -> None:
    rewritten = forced(case.model)
    executed = executed_op_types(rewritten, case.feeds, with_library=True)
    assert count_ours(executed) == count_ours(list_op_types(rewritten)) >= 1
    assert executed["Conv"] == 0
    for values in (run_model(rewritten, case.feeds), run_with_library(rewritten, case.feeds)):
        for value, expected in zip(values, case.expected, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-5)


@by_case
def test_the_cases_of_the_standard_in_float64(case: Case) -> None:
    rewritten = forced(as_float64(case.model))
    feeds = {
        name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in case.feeds.items()
    }
    for value, expected in zip(run_with_library(rewritten, feeds), case.expected, strict=True):
        assert value.dtype == (np.float64 if expected.dtype == np.float32 else expected.dtype)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@settings(max_examples=60)
@given(trials())
def test_any_convolution_is_exact(trial: Trial) -> None:
    assume(not FFTCONV.find_obstacle(trial.spec))
    # The tolerance of float16 is that of one rounding; what stays a node of its own rounds once more.
    is_alone = not trial.spec.auto_pad or (trial.spec.activation is None and not trial.spec.has_sum)
    assume(trial.spec.dtype != "float16" or is_alone)
    opset = min(trial.opset, OPSET)
    lowered = lower(FFTCONV, trial.spec, PLAN, opset, seed=trial.seed, has_bias_input=trial.has_bias_input)
    rng = np.random.default_rng(trial.seed)
    for shape in trial.shapes:
        feeds = lowered.make_feeds(shape, rng)
        assert_right(lowered, feeds, run_with_library(lowered.model, feeds)[0])


@pytest.mark.parametrize("opset", [7, OPSET])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_matrix_of_the_lowerings(spec: ConvSpec, opset: int, rng: np.random.Generator) -> None:
    lowered = lower(FFTCONV, spec, PLAN, opset)
    feeds = lowered.make_feeds(feed_shape(spec), rng)
    assert count_ours(executed_op_types(lowered.model, feeds, with_library=True)) == 1
    assert_right(lowered, feeds, run_with_library(lowered.model, feeds)[0])


@pytest.mark.slow
@pytest.mark.real_model
@by_model
def test_a_real_model(name: str) -> None:
    """Every Conv by the library, and by the functions: `validate` runs both, and compares each Conv with float64."""
    path = fetch_models.fetch(name)
    rewritten = rewrite(path, target="native", select="all", max_memory_bytes=4 << 30, validate=False)
    left = Counter((row.op_type, row.code) for row in rewritten.report.rows if row.lowering is None)
    assert left == {reason: count for reason, count in REMAINING.get(name, {}).items() if reason[1] != "growth"}
    result = validate(path, rewritten.loaded, input_shapes=SHAPES.get(name))
    assert result.ok, describe(result)
    assert [feed.label.endswith("without the native library") for feed in result.feeds].count(True) >= 1
    assert [check.ok for check in result.convs] == [True] * len(rewritten.report.replaced)
