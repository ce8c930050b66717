"""The standard's own Conv and ConvTranspose cases through every lowering: the fragment ran, outputs right."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from onnx_fft import rewrite
from onnx_fft.lowering import list_lowerings
from onnx_fft.provenance import REPLACES_KEY
from onnx_fft.rewrite import Rewritten
from scripts.shared.running import list_op_types
from scripts.shared.standard_cases import (
    STANDARD_ATOL,
    STANDARD_RTOL,
    Case,
    causal_cases,
    conv_cases,
    converted_cases,
    other_cases,
    transposed_cases,
)
from tests.lowered import executed_ops, run_fragment
from tests.marks import mark_slow

LOWERING_NAMES = (*(lowering.name for lowering in list_lowerings("standard")), "auto")
ALL_LOWERING_NAMES = (*LOWERING_NAMES, "rfft")
TARGET_OF = {"rfft": "cuda"}
"""Of the lowerings that plain ONNX Runtime does not have."""

TRANSFORMS = {"matmul": "MatMul", "dft": "DFT", "rfft": "Rfft"}
"""What the fragment of each lowering transforms with; no original among the cases holds it."""

POINTWISE_CASES = ("test_causal_conv_with_state_kernel_size_one_expanded",)
"""Depthwise with one tap: a transform of length one is none; a Mul is all that `matmul` leaves, `rfft` leaves it."""

ALL_CONV_CASES = (*conv_cases(), *transposed_cases(), *causal_cases(), *converted_cases())
CONVERSION_OPSET = 17
"""The opset that `dft` takes the opset 6 cases to."""


NOISE = float(np.finfo(np.float32).eps)


def name_case(case: Case) -> str:
    return case.name


def count_convs(model: ModelProto) -> int:
    return sum(count for op_type, count in list_op_types(model).items() if "Conv" in op_type)


def assert_expected(case: Case, model: ModelProto) -> None:
    """`model` gives the expected outputs of the case: dtype, shape, and values at the standard's tolerance."""
    outputs = run_fragment(model, case.feeds)
    assert len(outputs) == len(case.expected) > 0
    assert outputs[0].size > 0
    for output, expected in zip(outputs, case.expected, strict=True):
        assert (output.dtype, output.shape) == (expected.dtype, expected.shape)
        # where the standard expects 0, a transform gives noise of the largest output
        atol = max(STANDARD_ATOL, NOISE * np.abs(expected).max(initial=0))
        np.testing.assert_allclose(output, expected, rtol=STANDARD_RTOL, atol=atol)


def assert_fragment_ran(case: Case, rewritten: Rewritten, lowering: str) -> None:
    """ONNX Runtime executed the transforms, which the original does not contain, and no Conv."""
    executed = executed_ops(rewritten.model, case.feeds)
    assert not [op_type for op_type in executed if "Conv" in op_type]
    used = {row.lowering for row in rewritten.report.replaced}
    assert used <= ({lowering} if lowering != "auto" else TRANSFORMS.keys())
    for name in used:
        assert name is not None
        assert (TRANSFORMS[name] if case.name not in POINTWISE_CASES else "Mul") in executed, dict(executed)
        assert TRANSFORMS[name] not in list_op_types(case.model)


@pytest.mark.parametrize("lowering", mark_slow(ALL_LOWERING_NAMES, lambda name: name != "matmul"))
@pytest.mark.parametrize("case", ALL_CONV_CASES, ids=name_case)
def test_case(case: Case, lowering: str) -> None:
    before = case.model.SerializeToString(deterministic=True)
    rewritten = rewrite(
        case.model, target=TARGET_OF.get(lowering, "standard"), lowering=lowering, select="all", validate=False
    )
    if lowering == "rfft" and case.name in POINTWISE_CASES:
        (row,) = rewritten.report.rows
        assert (row.lowering, row.code) == (None, "no-lowering")
        assert "one tap" in row.reason
        return
    assert case.model.SerializeToString(deterministic=True) == before
    assert count_convs(case.model) > 0
    assert count_convs(rewritten.model) == 0
    assert len(rewritten.report.replaced) == len(rewritten.report.rows) == count_convs(case.model)
    assert any(entry.key == REPLACES_KEY for node in rewritten.model.graph.node for entry in node.metadata_props)
    onnx.checker.check_model(rewritten.model, full_check=True)
    assert_expected(case, rewritten.model)
    assert_fragment_ran(case, rewritten, lowering)


@pytest.mark.parametrize("case", converted_cases(), ids=name_case)
def test_an_old_model_keeps_its_opset_and_ir_version_unless_the_lowering_needs_more(case: Case) -> None:
    kept = rewrite(case.model, lowering="matmul", select="all", validate=False)
    converted = rewrite(case.model, lowering="dft", select="all", validate=False)
    assert kept.report.converted_from is None or kept.report.opset == 7
    assert converted.report.opset == CONVERSION_OPSET
    assert converted.report.converted_from == case.model.opset_import[0].version
    for result in (kept, converted):
        assert result.model.ir_version == case.model.ir_version
        assert {entry.domain: entry.version for entry in result.model.opset_import} == {"": result.report.opset}


@pytest.mark.parametrize("lowering", ALL_LOWERING_NAMES)
@pytest.mark.parametrize("case", other_cases(), ids=name_case)
def test_another_operator_is_left_alone_with_a_reason(case: Case, lowering: str) -> None:
    rewritten = rewrite(
        case.model, target=TARGET_OF.get(lowering, "standard"), lowering=lowering, select="all", validate=False
    )
    assert rewritten.model.SerializeToString(deterministic=True) == case.model.SerializeToString(deterministic=True)
    (row,) = rewritten.report.rows
    assert row.lowering is None
    assert row.code == "operator"
    assert row.op_type in row.reason


def test_weights_that_are_inputs_are_left_alone() -> None:
    """The standard's Conv cases as they come, before the corpus bakes their weights in."""
    (case, *_) = conv_cases()
    model = case.copy_model()
    (tensor,) = model.graph.initializer
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del model.graph.initializer[:]
    rewritten = rewrite(model, select="all")
    (row,) = rewritten.report.rows
    assert (row.lowering, row.code) == (None, "runtime-weight")
    assert tensor.name in row.reason
    assert rewritten.model == model
