"""Plans written, edited, replayed and refused; models of every opset and dtype."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_fft import inspect, rewrite, validate
from onnx_fft.cli.hints import word_as_flag
from onnx_fft.cost.plan_file import VERSION, PlannedSite, load_plan, match_plan
from onnx_fft.errors import OpsetError, UsageError
from onnx_fft.model.io import load_model
from onnx_fft.sites.spec import describe_spec
from scripts.shared.running import executed_op_types, list_op_types, open_session, run_model, run_reference
from tests.comparing import assert_same, dump, own_nodes
from tests.marks import since_onnxruntime
from tests.models import B1, BOTH, W1, X, conv, function_model, make_model, two_convs
from tests.sites.finding import find_convs

# --- plans --------------------------------------------------------------------------------------------------------


def test_a_plan_is_replayed_and_edited(tmp_path: Path) -> None:
    model = two_convs()
    planned = rewrite(model, lowering="matmul")
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(planned.plan))
    for source in (path, str(path), planned.plan):
        replayed = rewrite(model, plan=source)
        assert dump(replayed.model) == dump(planned.model)
        assert [row.reason for row in replayed.report.rows] == ["by the plan"] * 2
    first, second = planned.plan["convs"]
    first |= {"lowering": None}
    second["axes"] = [{"dft_length": 9, "tile_step": 6, "columns": 1, "whole": False}] * 2
    edited = rewrite(model, plan=planned.plan)
    assert [(row.lowering, row.code) for row in edited.report.rows] == [(None, "planned"), ("matmul", "")]
    assert list_op_types(edited.model)["Conv"] == 1
    assert dump(edited.model) != dump(rewrite(model, lowering="matmul", include=["second"]).model)
    assert_same(model, edited.model)


def test_times_a_plan_holds_are_reported_again() -> None:
    model = two_convs()
    plan = rewrite(model, lowering="matmul").plan
    plan["convs"][0] |= {"lowering": None, "measured_conv_s": 2e-3, "measured_s": 3e-3}
    left, replaced = rewrite(model, plan=plan).report.rows
    assert (left.lowering, left.measured_conv_s, left.measured_s) == (None, 2e-3, 3e-3)
    assert (replaced.lowering, replaced.measured_conv_s, replaced.measured_s) == ("matmul", None, None)
    with pytest.raises(UsageError, match="cannot be read"):
        rewrite(model, plan=change(plan, measured_s="soon"))


def test_a_plan_may_go_beyond_the_growth_cap_and_include_still_holds() -> None:
    model = two_convs()
    plan = rewrite(model, lowering="matmul").plan
    assert rewrite(model, lowering="matmul", max_growth_bytes=0).report.replaced == ()
    assert len(rewrite(model, plan=plan).report.replaced) == 2
    assert [row.name for row in rewrite(model, plan=plan, exclude=["first"]).report.replaced] == ["second"]


def change(plan: dict[str, Any], **changes: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(plan))
    copy["convs"][0] |= changes
    return copy


def test_wrong_plans_are_refused(tmp_path: Path) -> None:
    model = two_convs()
    plan = rewrite(model, lowering="matmul").plan
    axes = plan["convs"][0]["axes"]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "not a plan"),
        ({"onnx_fft_plan": 3, "convs": []}, "not a plan"),
        ({"onnx_fft_plan": 2}, "not a plan"),
        ({**plan, "convs": plan["convs"][:1]}, "second: not in the plan"),
        (change(plan, name="third"), "third: not in the model"),
        (change(plan, geometry="3x3"), "another model"),
        (change(plan, lowering="fourier"), "'fourier'"),
        (change(plan, axes=axes[:1]), "impossible plan"),
        (change(plan, axes=[axes[0] | {"dft_length": 5}, axes[1]]), "impossible plan"),
        (change(plan, axes=[axes[0] | {"dft_length": -1}, axes[1]]), "impossible plan"),
        (change(plan, axes=[axes[0] | {"dft_length": "9"}, axes[1]]), "plan"),
        (change(plan, axes=[axes[0] | {"length": 9}, axes[1]]), "cannot be read"),
        (change(plan, lowering="dft", axes=[axes[0] | {"dft_length": 33}, axes[1]]), "powers of two"),
        ({**plan, "convs": [*plan["convs"], plan["convs"][1]]}, "more than one entry for 'second'"),
        (change(plan, axes=[axes[0] | {"dft_length": 1 << 45}, axes[1]]), "GiB to the file"),
        ({**plan, "convs": [{"name": "first"}]}, "cannot be read"),
        ({**plan, "convs": ["first"]}, "cannot be read"),
    ]
    for data, message in wrong:
        with pytest.raises(UsageError, match=message):
            rewrite(model, plan=data)
    path = tmp_path / "plan.json"
    for text, message in (("{", "not JSON"), ("[]", "not a plan"), (None, "cannot be read")):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        with pytest.raises(UsageError, match=message):
            rewrite(model, plan=path)


@pytest.mark.parametrize("target, lowering", [("ort", "matmul"), ("plugin", "plugin")])
def test_a_plan_of_an_older_version_is_to_be_made_anew(target: str, lowering: str, tmp_path: Path) -> None:
    model = two_convs()
    plan = change(rewrite(model, lowering="matmul").plan, lowering=lowering, axes=[])
    plan |= {"onnx_fft_plan": 1, "target": target}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    for source in (plan, path):
        with pytest.raises(UsageError, match=r"version 1, which an older version of onnx-fft made") as raised:
            rewrite(model, plan=source)
        assert raised.value.expected == "version 2"
        assert "make it anew" in str(raised.value)


def test_a_plan_file_is_read_once_and_then_held_against_the_model(tmp_path: Path) -> None:
    site, _ = find_convs(load_model(two_convs()))
    assert site.spec is not None
    entry = {"name": "a", "geometry": describe_spec(site.spec), "lowering": None, "measured_conv_s": 1e-3}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"onnx_fft_plan": VERSION, "target": "native", "convs": [entry]}))
    plan_file = load_plan(path)
    path.unlink()
    assert plan_file.target == "native"
    assert match_plan(plan_file, {"a": site.spec}) == {"a": PlannedSite(None, 1e-3)}
    with pytest.raises(UsageError, match="a: not in the model; b: not in the plan"):
        match_plan(plan_file, {"b": site.spec})


def test_a_plan_that_is_not_there_names_the_option_to_check() -> None:
    with pytest.raises(UsageError) as raised:
        load_plan("no/plan.json")
    assert raised.value.tell(word_as_flag).endswith("; check --plan")
    assert str(raised.value).endswith("; check plan")


def test_a_plan_decides_alone() -> None:
    model = two_convs()
    plan = rewrite(model, lowering="matmul").plan
    wrong: list[dict[str, Any]] = [{"lowering": "dft"}, {"select": "all"}, {"max_growth_bytes": 0}]
    for options in wrong:
        with pytest.raises(UsageError, match="got a plan and"):
            rewrite(model, plan=plan, **options)


@pytest.mark.parametrize("opset", [11, 13])
def test_a_plan_with_dft_takes_an_old_model_to_the_opset_it_needs(opset: int) -> None:
    model = make_model([conv("x", "y")], opset=opset)
    converted = rewrite(model, lowering="dft")
    for opset_given in (None, 17):
        assert dump(rewrite(model, plan=converted.plan, opset=opset_given).model) == dump(converted.model)
    with pytest.raises(OpsetError, match="opset=17"):
        rewrite(model, plan=converted.plan, opset=14)
    left = json.loads(json.dumps(converted.plan))
    left["convs"][0]["lowering"] = None
    assert rewrite(model, plan=left).report.converted_from is None


# --- opsets and dtypes --------------------------------------------------------------------------------------------


def test_dft_converts_the_model_and_says_so() -> None:
    model = make_model([conv("x", "y", name="only")], opset=13)
    result = rewrite(model, lowering="dft")
    assert (result.report.opset, result.report.converted_from) == (17, 13)
    assert {entry.domain: entry.version for entry in result.model.opset_import}[""] == 17
    assert executed_op_types(result.model, {"x": X})["DFT"] > 0
    assert_same(model, result.model)


def test_nameless_convs_keep_their_names_when_the_conversion_moves_them() -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["x"], ["u"], axes=[0]),  # from opset 13 on, axes are a node of their own
        helper.make_node("Squeeze", ["u"], ["s"], axes=[0]),
        conv("s", "a"),
        conv("s", "b", "w1", "b1"),
        helper.make_node("Sum", ["a", "b"], ["y"]),
    ]
    model = make_model(nodes, opset=11)
    assert [row.name for row in inspect(model).rows] == ["Conv#2", "Conv#3"]
    result = rewrite(model, lowering="dft", include=["Conv#3"])
    assert [(row.name, row.lowering) for row in result.report.rows] == [("Conv#2", None), ("Conv#3", "dft")]
    (left,) = [node for node in result.model.graph.node if node.op_type == "Conv"]
    assert left.output == ["a"]
    assert {entry.value for node in own_nodes(result.model) for entry in node.metadata_props} >= {"Conv#3"}
    assert_same(model, result.model)
    checked = validate(model, result.model)
    assert [(check.name, check.ok) for check in checked.convs] == [("Conv#3", True)]


def test_opset_is_converted_on_request_only() -> None:
    model = make_model([conv("x", "y")], opset=13)
    assert rewrite(model, lowering="matmul").report.converted_from is None
    assert rewrite(model, opset=18, select="all").report.opset == 18
    with pytest.raises(OpsetError, match="got opset 11 for a model of opset 13; expected 13 or newer"):
        rewrite(model, opset=11)
    for opset in (0, 999):
        with pytest.raises(OpsetError, match=str(opset)):
            rewrite(model, opset=opset)


@pytest.mark.slow
@pytest.mark.parametrize("lowering", BOTH)
def test_functions_are_converted_with_the_model(lowering: str) -> None:
    model = function_model(opset=13)
    result = rewrite(model, lowering=lowering)
    assert len(result.report.replaced) == 1
    assert result.report.converted_from == (13 if lowering == "dft" else None)
    assert_same(model, result.model)


since_21 = since_onnxruntime(19, "knows opsets up to 20")


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 18, 20, *(pytest.param(n, marks=since_21) for n in (21, 22, 23))])
@pytest.mark.parametrize("lowering", BOTH)
def test_every_opset(opset: int, lowering: str) -> None:
    model = make_model([conv("x", "y", "w1", "b1")], opset=opset)
    result = rewrite(model, lowering=lowering)
    assert "Conv" not in list_op_types(result.model)
    onnx.checker.check_model(result.model, full_check=True)
    assert_same(model, result.model)


@pytest.mark.parametrize("opset", [9, 13, 17])
def test_old_models_with_initializers_as_inputs(opset: int) -> None:
    model = make_model([conv("x", "y", "w1", "b1")], opset=opset, ir_version=3)
    for lowering in BOTH:
        result = rewrite(model, lowering=lowering)
        assert result.model.ir_version == 3
        onnx.checker.check_model(result.model, full_check=True)
        assert [value.name for value in open_session(result.model).get_inputs()] == ["x"]
        assert_same(model, result.model)


@pytest.mark.parametrize("lowering", BOTH)
def test_float16_and_float64(lowering: str) -> None:
    for dtype, elem_type, rtol in (("float16", TensorProto.FLOAT16, 2e-3), ("float64", TensorProto.DOUBLE, 1e-12)):
        constants = {"w1": W1.astype(dtype), "b1": B1.astype(dtype)}
        model = make_model([conv("x", "y", "w1", "b1")], constants, dtype=elem_type)
        result = rewrite(model, lowering=lowering)
        (value,) = run_model(result.model, {"x": X.astype(dtype)})
        (truth,) = run_reference(make_model([conv("x", "y", "w1", "b1")]), {"x": X})
        if dtype == "float64":  # ONNX Runtime has no Conv for it
            (truth,) = run_reference(model, {"x": X.astype(dtype)})
        assert value.dtype == np.dtype(dtype)
        np.testing.assert_allclose(value, truth, rtol=0, atol=rtol * np.abs(truth).max())
