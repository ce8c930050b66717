"""The pass as a whole: what it keeps, what it selects, what it replays and refuses, and in which models it works."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from corpus import Array, build_conv_model, executed_op_types, list_op_types, open_session, run_model
from layers import make_spec
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import onnx_fft.model.io
from onnx_fft import inspect, rewrite, validate
from onnx_fft.errors import InvalidModelError, OnnxFftError, OpsetError, UsageError
from onnx_fft.model.io import REPLACES_KEY, save_model

RNG = np.random.default_rng(17)
W1 = (RNG.standard_normal((4, 3, 5, 5)) / 8).astype(np.float32)
W2 = (RNG.standard_normal((4, 4, 3, 3)) / 6).astype(np.float32)
B1 = RNG.standard_normal(4).astype(np.float32)
X = RNG.standard_normal((2, 3, 13, 11)).astype(np.float32)
Y = (2, 4, 13, 11)
"""Shape of the usual output."""

FLOAT = TensorProto.FLOAT
BOTH = ("matmul", "dft")


def conv(x: str, y: str, w: str = "w1", *rest: str, name: str = "", pads: int = 2, **attributes: Any) -> NodeProto:
    return helper.make_node("Conv", [x, w, *rest], [y], name=name, pads=[pads] * 4, **attributes)


def make_model(
    nodes: Sequence[NodeProto],
    constants: dict[str, Array] | None = None,
    *,
    x: Sequence[int | str] = (2, 3, 13, 11),
    y: Sequence[int | str] = Y,
    opset: int = 17,
    ir_version: int = 8,
    dtype: int = FLOAT,
    inputs: Sequence[onnx.ValueInfoProto] = (),
    **options: Any,
) -> ModelProto:
    """`x`, and what `inputs` adds, to `y`, with W1, W2 and B1 as initializers where no others are given."""
    tensors = {"w1": W1, "w2": W2, "b1": B1} if constants is None else constants
    read = {name for node in nodes for name in node.input}
    stored = [numpy_helper.from_array(value, name) for name, value in tensors.items() if name in read or constants]
    values = [helper.make_tensor_value_info("x", dtype, list(x)), *inputs]
    if ir_version < 4:
        values += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in stored]
    output = helper.make_tensor_value_info("y", dtype, list(y))
    graph = helper.make_graph(nodes, "g", values, [output], stored)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, **options)


def two_convs() -> ModelProto:
    nodes = [
        conv("x", "c1", "w1", "b1", name="first"),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        conv("r1", "y", "w2", name="second", pads=1),
    ]
    return make_model(nodes)


def dump(model: ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


def assert_same(
    original: ModelProto, rewritten: ModelProto, feeds: dict[str, Array] | None = None, *, rtol: float = 1e-4
) -> None:
    """Both models give the same in ONNX Runtime, to `rtol` of the output's largest value."""
    feeds = feeds or {"x": X}
    before, after = run_model(original, feeds), run_model(rewritten, feeds)
    assert len(before) == len(after) > 0
    for reference, value in zip(before, after, strict=True):
        assert (value.dtype, value.shape) == (reference.dtype, reference.shape)
        assert np.abs(reference).max() > 0.1
        np.testing.assert_allclose(value, reference, rtol=0, atol=rtol * np.abs(reference).max())


def own_nodes(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if any(entry.key == REPLACES_KEY for entry in node.metadata_props)]


def without(model: ModelProto, nodes: list[NodeProto], initializers: set[str]) -> bytes:
    """The model without these nodes and initializers, serialized: the rest."""
    rest = ModelProto()
    rest.CopyFrom(model)
    kept_nodes = [node for node in model.graph.node if node not in nodes]
    kept_tensors = [tensor for tensor in model.graph.initializer if tensor.name not in initializers]
    del rest.graph.node[:], rest.graph.initializer[:]
    rest.graph.node.extend(kept_nodes)
    rest.graph.initializer.extend(kept_tensors)
    return dump(rest)


def assert_only_convs_replaced(original: ModelProto, rewritten: ModelProto) -> None:
    """All but Conv nodes and their constants is equal, byte for byte, at every level."""
    convs = [node for node in original.graph.node if node.op_type == "Conv"]
    read = {name for node in original.graph.node if node not in convs for name in node.input}
    gone = {name for node in convs for name in node.input[1:]} - read
    own = own_nodes(rewritten)
    new = {tensor.name for tensor in rewritten.graph.initializer} - {t.name for t in original.graph.initializer}
    assert own
    assert new
    assert without(rewritten, own, new) == without(original, convs, gone)


# --- what is kept -------------------------------------------------------------------------------------------------


def decorated_model() -> ModelProto:
    """Everything a file can hold besides the graph's own nodes."""
    nodes = [
        conv("x", "c1", "w1", "b1", name="first"),
        helper.make_node("Twice", ["c1"], ["t"], name="twice", domain="local"),
        helper.make_node("Relu", ["t"], ["r"], name="relu", doc_string="a node's own words"),
        conv("r", "y", "w2", name="second", pads=1),
    ]
    nodes[2].metadata_props.add(key="node", value="kept")
    model = make_model(nodes, producer_name="maker", producer_version="1.2", doc_string="model words", domain="org.x")
    twice = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    model.functions.append(twice)
    model.opset_import.extend([helper.make_opsetid("local", 1), helper.make_opsetid("com.example.unknown", 7)])
    model.model_version = 42
    for holder in (model, model.graph):
        holder.metadata_props.add(key="made by", value="hand")
    graph = model.graph
    graph.doc_string = "graph words"
    graph.value_info.extend(helper.make_tensor_value_info(name, FLOAT, Y) for name in ("c1", "t", "r"))
    graph.initializer.extend([numpy_helper.from_array(np.float32(0.5), "scale")])
    graph.quantization_annotation.add(tensor_name="r").quant_parameter_tensor_names.add(
        key="SCALE_TENSOR", value="scale"
    )
    graph.input[0].doc_string = "input words"
    return model


@pytest.mark.parametrize("lowering", BOTH)
def test_only_the_convs_change(lowering: str) -> None:
    model = decorated_model()
    before = dump(model)
    result = rewrite(model, lowering=lowering)
    assert dump(model) == before
    assert len(result.report.replaced) == 2
    assert_only_convs_replaced(model, result.model)
    assert_same(model, result.model)
    onnx.checker.check_model(result.model, full_check=True)


def test_the_conv_not_selected_is_kept_with_its_place_and_weights() -> None:
    model = decorated_model()
    result = rewrite(model, lowering="matmul", include=["second"])
    after = result.model.graph
    assert list(after.node[:3]) == list(model.graph.node[:3])
    assert all(node in own_nodes(result.model) for node in after.node[3:])
    assert list(after.initializer[:2]) == [t for t in model.graph.initializer if t.name in ("w1", "b1")]
    assert_same(model, result.model)


@pytest.mark.parametrize(
    "options",
    [{}, {"select": "all", "exclude": [".*"]}, {"lowering": "dft", "exclude": ["."]}, {"max_growth_bytes": 0}],
    ids=["auto", "all but all", "dft but all", "no growth"],
)
@pytest.mark.parametrize("opset", [13, 17])
def test_with_nothing_replaced_the_model_is_the_same(options: dict[str, Any], opset: int, tmp_path: Path) -> None:
    model = decorated_model() if opset == 17 else make_model([conv("x", "y")], opset=opset)
    result = rewrite(model, **options)
    assert not result.report.replaced
    assert dump(result.model) == dump(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    save_model(rewrite(path, **options).model, tmp_path / "out.onnx", tmp_path)
    assert dump(onnx.load(tmp_path / "out.onnx")) == dump(model)


def test_new_nodes_say_what_they_replace() -> None:
    result = rewrite(two_convs(), lowering="matmul")
    marks = [{entry.key: entry.value for entry in node.metadata_props} for node in own_nodes(result.model)]
    assert {mark[REPLACES_KEY] for mark in marks} == {"first", "second"}
    assert {mark["onnx_fft.lowering"] for mark in marks} == {"matmul"}
    names = [node.name for node in result.model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


def test_new_names_avoid_those_of_the_model() -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["onnx_fft/first/MatMul_1"], name="onnx_fft/first/Reshape_2"),
        conv("onnx_fft/first/MatMul_1", "onnx_fft_1/y", "w1", name="first"),
        helper.make_node("Relu", ["onnx_fft_1/y"], ["y"]),
    ]
    model = make_model(nodes)
    result = rewrite(model, lowering="matmul")
    assert all(node.name.startswith("onnx_fft_2/") for node in own_nodes(result.model))
    assert_same(model, result.model)


def test_rewriting_twice_changes_nothing_more() -> None:
    once = rewrite(two_convs(), select="all")
    again = rewrite(once.model, select="all")
    assert again.report.rows == ()
    assert dump(again.model) == dump(once.model)


def test_rewriting_in_two_steps_equals_the_original() -> None:
    model = two_convs()
    once = rewrite(model, lowering="matmul", include=["first"])
    twice = rewrite(once.model, lowering="dft")
    assert [row.name for row in twice.report.replaced] == ["second"]
    assert "Conv" not in list_op_types(twice.model)
    names = [node.name for node in twice.model.graph.node]
    assert len(set(names)) == len(names)
    assert_same(model, twice.model)


def test_rewriting_is_reproducible() -> None:
    assert dump(rewrite(two_convs(), select="all").model) == dump(rewrite(two_convs(), select="all").model)


def test_stale_shapes_are_not_believed() -> None:
    """`value_info` says 13x11 all along, also behind the model's own function; the input says otherwise."""
    model = decorated_model()
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[3].dim_value = 50
    for lowering in BOTH:
        result = rewrite(model, lowering=lowering)
        assert all("on 2x13x50" in row.geometry for row in result.report.rows)
        feeds = {"x": np.random.default_rng(9).standard_normal((2, 3, 13, 50), np.float32)}
        assert_same(model, result.model, feeds)


# --- selection ----------------------------------------------------------------------------------------------------


def test_include_and_exclude() -> None:
    model = make_model([conv("x", "c1"), helper.make_node("Relu", ["c1"], ["r"]), conv("r", "y", "w2", pads=1)])
    names = [row.name for row in inspect(model).rows]
    assert names == ["Conv#0", "Conv#2"]
    for options, expected in (
        ({"include": ["#0"]}, ["Conv#0"]),
        ({"exclude": ["#0$"]}, ["Conv#2"]),
        ({"include": ["Conv"], "exclude": ["2"]}, ["Conv#0"]),
        ({"include": ["#0", "#2"]}, names),
    ):
        report = rewrite(model, lowering="matmul", **options).report
        assert [row.name for row in report.replaced] == expected
        assert {row.code for row in report.rows if row.name not in expected} <= {"not-selected"}


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_without_a_match_is_an_error(option: str) -> None:
    with pytest.raises(UsageError, match=r"'third'.*first, second"):
        rewrite(two_convs(), **{option: ["first", "third"]})
    with pytest.raises(UsageError, match="no regular expression"):
        rewrite(two_convs(), **{option: ["("]})


@pytest.mark.parametrize("options", [{"lowering": "fft"}, {"select": "some"}])
def test_unknown_choices_are_errors(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="expected"):
        rewrite(two_convs(), **options)


def test_growth_is_capped() -> None:
    model = two_convs()
    free = rewrite(model, lowering="matmul")
    sizes = {row.name: row.growth_bytes for row in free.report.rows}
    assert all(size > 0 for size in sizes.values())
    cap = max(sizes.values())
    capped = rewrite(model, lowering="matmul", max_growth_bytes=cap)
    assert 0 < capped.report.growth_bytes <= cap
    (left,) = [row for row in capped.report.rows if row.lowering is None]
    assert left.code in ("growth", "no-lowering")
    assert "MiB" in left.reason
    assert "growth" in left.code or "grow" in left.reason


def test_predicted_growth_is_what_the_file_grows_by() -> None:
    spec = make_spec((64, 64), (11, 11), (40, 40))
    for lowering in BOTH:
        model = build_conv_model(spec)
        result = rewrite(model, lowering=lowering)
        grown = result.model.ByteSize() - model.ByteSize()
        assert result.report.growth_bytes == pytest.approx(grown, rel=0.1)


def test_input_shapes_are_fixed_in_the_model() -> None:
    model = make_model([conv("x", "y")], x=("n", 3, "h", "w"), y=("n", 4, "h", "w"))
    result = rewrite(model, lowering="matmul", input_shapes={"x": X.shape})
    assert "on 2x13x11" in result.report.rows[0].geometry
    assert [dim.dim_value for dim in result.model.graph.input[0].type.tensor_type.shape.dim] == list(X.shape)
    assert_same(model, result.model)
    for shapes in ({"z": (1,)}, {"x": (1, 2, 3)}, {"x": (1, 5, 8, 8)}, {"x": (0, 3, 8, 8)}):
        with pytest.raises(UsageError, match="expected"):
            rewrite(model, input_shapes=shapes)


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


def test_a_plan_may_go_beyond_the_growth_cap_and_include_still_holds() -> None:
    model = two_convs()
    plan = rewrite(model, lowering="matmul").plan
    assert len(rewrite(model, plan=plan, max_growth_bytes=0).report.replaced) == 2
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
        ({}, "no plan"),
        ({"onnx_fft_plan": 2, "convs": []}, "no plan"),
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
        ({**plan, "convs": [{"name": "first"}]}, "cannot be read"),
        ({**plan, "convs": ["first"]}, "cannot be read"),
    ]
    for data, message in wrong:
        with pytest.raises(UsageError, match=message):
            rewrite(model, plan=data)
    path = tmp_path / "plan.json"
    for text, message in (("{", "no JSON"), ("[]", "no plan"), (None, "cannot be read")):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        with pytest.raises(UsageError, match=message):
            rewrite(model, plan=path)


def test_a_plan_with_dft_on_an_old_model_names_the_opset() -> None:
    model = make_model([conv("x", "y")], opset=13)
    converted = rewrite(model, lowering="dft")
    with pytest.raises(OpsetError, match="--opset 17"):
        rewrite(model, plan=converted.plan)
    for options in ({"opset": 17}, {"lowering": "dft"}):
        assert dump(rewrite(model, plan=converted.plan, **options).model) == dump(converted.model)


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
    with pytest.raises(OpsetError, match="older"):
        rewrite(model, opset=11)
    for opset in (0, 999):
        with pytest.raises(OpsetError, match=str(opset)):
            rewrite(model, opset=opset)


def test_what_cannot_be_converted_names_matmul() -> None:
    model = function_model(opset=13)
    with pytest.raises(OpsetError, match="matmul"):
        rewrite(model, lowering="dft")
    assert len(rewrite(model, lowering="matmul").report.replaced) == 1
    assert len(rewrite(model, select="all").report.replaced) == 1


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 18, 20, 21, 22, 23])
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
        (truth,) = ReferenceEvaluator(make_model([conv("x", "y", "w1", "b1")])).run(None, {"x": X})
        if dtype == "float64":  # ONNX Runtime has no Conv for it
            (truth,) = ReferenceEvaluator(model).run(None, {"x": X.astype(dtype)})
        assert value.dtype == np.dtype(dtype)
        np.testing.assert_allclose(value, truth, rtol=0, atol=rtol * np.abs(truth).max())


# --- kinds of Conv ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowering", BOTH)
@pytest.mark.parametrize("has_sum", [False, True], ids=["", "sum"])
@pytest.mark.parametrize(
    ("activation", "params"),
    [
        ("", ()),
        ("Relu", ()),
        ("Tanh", ()),
        ("Sigmoid", ()),
        ("LeakyRelu", (0.3,)),
        ("Clip", (-0.25, 0.5)),
        ("HardSigmoid", (0.3, 0.4)),
    ],
)
def test_fused_conv(activation: str, params: tuple[float, ...], has_sum: bool, lowering: str) -> None:
    fused: dict[str, Any] = {"activation": activation} if activation else {}
    fused |= {"activation_params": params} if params else {}
    operands = ["x", "w1", "b1", *(["z"] if has_sum else [])]
    node = helper.make_node("FusedConv", operands, ["y"], domain="com.microsoft", pads=[2] * 4, **fused)
    extra = [helper.make_tensor_value_info("z", FLOAT, Y)] if has_sum else []
    model = make_model([node], inputs=extra)
    result = rewrite(model, lowering=lowering)
    assert "FusedConv" not in list_op_types(result.model)
    feeds = {"x": X} | ({"z": np.random.default_rng(3).standard_normal(Y, np.float32)} if has_sum else {})
    assert_same(model, result.model, feeds)


@pytest.mark.parametrize("lowering", BOTH)
def test_a_convolution_that_is_added_to_its_own_input(lowering: str, capsys: pytest.CaptureFixture[str]) -> None:
    square = np.random.default_rng(4).standard_normal((3, 3, 5, 5)).astype(np.float32)
    node = helper.make_node("FusedConv", ["x", "w1", "", "x"], ["y"], domain="com.microsoft", pads=[2] * 4)
    model = make_model([node], {"w1": square}, y=X.shape)
    result = rewrite(model, lowering=lowering)
    assert "FusedConv" not in list_op_types(result.model)
    assert_same(model, result.model)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("bias", [(), ("b1",)], ids=["", "bias"])
def test_batch_normalization_is_folded(bias: tuple[str, ...]) -> None:
    rng = np.random.default_rng(8)
    norm = {name: rng.uniform(0.5, 2, 4).astype(np.float32) for name in ("scale", "shift", "mean", "variance")}
    nodes = [conv("x", "c", "w1", *bias), helper.make_node("BatchNormalization", ["c", *norm], ["y"], epsilon=1e-3)]
    model = make_model(nodes, {"w1": W1, "b1": B1, **norm} if bias else {"w1": W1, **norm})
    for lowering in BOTH:
        result = rewrite(model, lowering=lowering)
        assert not {"Conv", "BatchNormalization"} & list_op_types(result.model).keys()
        assert not {tensor.name for tensor in result.model.graph.initializer} & norm.keys()
        assert_same(model, result.model)


def test_a_bias_computed_at_run_time() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Add", ["m", "b1"], ["b"]),
        conv("x", "y", "w1", "b"),
    ]
    model = make_model(nodes)
    for lowering in BOTH:
        result = rewrite(model, lowering=lowering)
        assert "Conv" not in list_op_types(result.model)
        assert_same(model, result.model)


def test_two_convs_share_input_weight_and_bias() -> None:
    nodes = [
        conv("x", "a", "w1", "b1"),
        conv("x", "b", "w1", "b1"),
        conv("x", "c", "w1", name="strided", strides=[2, 1]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("Sum", ["a", "r"], ["y"]),
    ]
    model = make_model(nodes)
    model.graph.output.append(helper.make_tensor_value_info("c", FLOAT, (2, 4, 7, 11)))
    for lowering in BOTH:
        all_three = rewrite(model, lowering=lowering)
        assert not {"w1", "b1"} & {tensor.name for tensor in all_three.model.graph.initializer}
        assert_same(model, all_three.model)
        one = rewrite(model, lowering=lowering, include=["#1"])
        assert {"w1", "b1"} <= {tensor.name for tensor in one.model.graph.initializer}
        assert_same(model, one.model)


def test_weights_that_are_a_graph_output_stay() -> None:
    model = make_model([conv("x", "y", "w1")])
    model.graph.output.append(helper.make_tensor_value_info("w1", FLOAT, W1.shape))
    result = rewrite(model, lowering="matmul")
    assert len(result.report.replaced) == 1
    assert_same(model, result.model)


def test_dynamic_shapes() -> None:
    model = make_model([conv("x", "y")], x=("n", 3, "h", "w"), y=("n", 4, "h", "w"))
    for lowering in BOTH:
        result = rewrite(model, lowering=lowering)
        for shape in ((1, 3, 1, 1), (2, 3, 13, 11), (1, 3, 70, 5), (3, 3, 33, 64)):
            feeds = {"x": np.random.default_rng(4).standard_normal(shape, np.float32)}
            assert_same(model, result.model, feeds)


# --- bodies and functions -----------------------------------------------------------------------------------------


def body_graph(name: str, nodes: Sequence[NodeProto], inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    return helper.make_graph(nodes, name, inputs, outputs)


def info(name: str, elem_type: int = FLOAT, shape: Sequence[int | str] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, shape)


def if_model() -> ModelProto:
    """Conv in both branches, one of them two deep, weights in the main graph and in the branch."""
    deep = body_graph("deep", [conv("x", "d", "w1", "b1", name="deep")], [], [info("d", FLOAT, Y)])
    flat = body_graph("flat", [helper.make_node("Expand", ["one", "size"], ["f"])], [], [info("f", FLOAT, Y)])
    nested = helper.make_node("If", ["c"], ["a"], name="inner", then_branch=deep, else_branch=flat)
    own = conv("x", "e", "own", name="else")
    other = body_graph("other", [own], [], [info("e", FLOAT, Y)])
    other.initializer.append(numpy_helper.from_array(W1[::-1].copy(), "own"))
    branch = body_graph("branch", [nested], [], [info("a", FLOAT, Y)])
    nodes = [helper.make_node("If", ["c"], ["y"], name="outer", then_branch=branch, else_branch=other)]
    constants = {"w1": W1, "b1": B1, "one": np.ones(1, np.float32), "size": np.array(Y)}
    return make_model(nodes, constants, inputs=[info("c", TensorProto.BOOL, ())])


def loop_model() -> ModelProto:
    """`y = conv(y)` so many times."""
    nodes = [
        helper.make_node("Identity", ["cond_in"], ["cond_out"]),
        conv("state", "next", "w2", pads=1, name="again"),
    ]
    body = body_graph(
        "body",
        nodes,
        [info("i", TensorProto.INT64, ()), info("cond_in", TensorProto.BOOL, ()), info("state", FLOAT, Y)],
        [info("cond_out", TensorProto.BOOL, ()), info("next", FLOAT, Y)],
    )
    outer = [conv("x", "start", name="before"), helper.make_node("Loop", ["n", "", "start"], ["y"], body=body)]
    return make_model(outer, {"w1": W1, "w2": W2}, inputs=[info("n", TensorProto.INT64, ())])


def scan_model() -> ModelProto:
    """One Conv a scanned slice of the first axis."""
    shape = (1, 3, 13, 11)
    nodes = [
        helper.make_node("Unsqueeze", ["slice", "zero"], ["s4"]),
        conv("s4", "out", "w1", name="scanned"),
        helper.make_node("Identity", ["s_in"], ["s_out"]),
    ]
    body = body_graph(
        "body",
        nodes,
        [info("s_in", FLOAT, (1,)), info("slice", FLOAT, shape[1:])],
        [info("s_out", FLOAT, (1,)), info("out", FLOAT, (1, *Y[1:]))],
    )
    scan = helper.make_node("Scan", ["init", "x"], ["final", "y"], body=body, num_scan_inputs=1)
    constants = {"w1": W1, "init": np.zeros(1, np.float32), "zero": np.zeros(1, np.int64)}
    return make_model([scan], constants, y=(2, 1, *Y[1:]))


def function_model(opset: int = 17) -> ModelProto:
    weight = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(W1, "w"))
    nodes = [weight, conv("a", "b", "w", name="inside")]
    function = helper.make_function("local", "Block", ["a"], ["b"], nodes, [helper.make_opsetid("", opset)])
    model = make_model([helper.make_node("Block", ["x"], ["y"], domain="local")], {}, opset=opset)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


BODIES = {
    "if": (if_model, [{"c": np.array(True)}, {"c": np.array(False)}], 2),
    "loop": (loop_model, [{"n": np.array(1)}, {"n": np.array(3)}], 2),
    "scan": (scan_model, [{}], 1),
    "function": (function_model, [{}], 1),
}


@pytest.mark.parametrize("lowering", BOTH)
@pytest.mark.parametrize("kind", BODIES)
def test_bodies_and_functions(kind: str, lowering: str) -> None:
    make, feeds, convs = BODIES[kind]
    model = make()
    before = dump(model)
    assert list_op_types(model)["Conv"] == convs
    result = rewrite(model, lowering=lowering)
    assert dump(model) == before
    assert "Conv" not in list_op_types(result.model)
    assert len({row.name for row in result.report.rows}) == convs
    onnx.checker.check_model(result.model, full_check=True)
    for feed in feeds:
        assert_same(model, result.model, {"x": X, **feed})


# --- external data ------------------------------------------------------------------------------------------------


@pytest.fixture
def external_model(tmp_path: Path) -> Path:
    """A model whose weights lie in weights.bin beside it."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "model.onnx"
    model = two_convs()
    model.graph.initializer.append(numpy_helper.from_array(np.arange(2000, dtype=np.float32), "kept"))
    model.graph.node.append(helper.make_node("ReduceSum", ["kept"], ["total"]))
    model.graph.output.append(info("total", FLOAT, (1,)))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_external_data_is_read_and_copied(external_model: Path, tmp_path: Path) -> None:
    result = rewrite(external_model, lowering="matmul")
    assert len(result.report.replaced) == 2
    (kept,) = [tensor for tensor in result.model.graph.initializer if tensor.name == "kept"]
    assert kept.data_location == TensorProto.EXTERNAL
    output = tmp_path / "out"
    output.mkdir()
    save_model(result.model, output / "model.onnx", result.base_dir)
    assert (output / "weights.bin").read_bytes() == (external_model.parent / "weights.bin").read_bytes()
    assert_same_files(external_model, output / "model.onnx")
    save_model(result.model, external_model.with_name("beside.onnx"), result.base_dir)
    assert_same_files(external_model, external_model.with_name("beside.onnx"))


def assert_same_files(before: Path, after: Path) -> None:
    for reference, value in zip(run_model(before, {"x": X}), run_model(after, {"x": X}), strict=True):
        np.testing.assert_allclose(value, reference, rtol=0, atol=1e-4 * np.abs(reference).max())


def test_missing_external_data_is_an_error(external_model: Path) -> None:
    (external_model.parent / "weights.bin").unlink()
    with pytest.raises(InvalidModelError, match="cannot be read"):
        rewrite(external_model, lowering="matmul")
    with pytest.raises(InvalidModelError, match="without a directory"):
        rewrite(onnx.load(external_model, load_external_data=False), lowering="matmul")


def test_a_result_too_large_for_one_message_is_split(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = build_conv_model(make_spec((8, 8), (11, 11), (40, 40)))
    result = rewrite(model, lowering="matmul")
    before = dump(result.model)
    monkeypatch.setattr(onnx_fft.model.io, "MAX_MODEL_BYTES", 20_000)
    output = tmp_path / "big.onnx"
    save_model(result.model, output)
    assert output.stat().st_size < 20_000 < (tmp_path / "big.onnx.data").stat().st_size
    assert dump(result.model) == before
    feeds = {"x": np.random.default_rng(2).standard_normal((1, 8, 40, 40), np.float32)}
    for reference, value in zip(run_model(model, feeds), run_model(output, feeds), strict=True):
        np.testing.assert_allclose(value, reference, rtol=0, atol=1e-4 * np.abs(reference).max())


# --- the report ---------------------------------------------------------------------------------------------------


def test_the_report_is_json_and_gives_every_reason() -> None:
    nodes = [
        conv("x", "c1", name="good"),
        helper.make_node("ConvTranspose", ["c1", "w2"], ["t"], name="transposed"),
        conv("t", "y", "v", name="overridable", pads=1),
    ]
    model = make_model(nodes, {"w1": W1, "w2": W2, "v": W2}, inputs=[info("v", FLOAT, W2.shape)])
    result = rewrite(model, select="all")
    data = json.loads(json.dumps(result.report.to_dict(), allow_nan=False))
    assert (data["convs"], data["replaced"], data["opset"]) == (3, 1, 17)
    assert [row["code"] for row in data["rows"]] == ["", "operator", "overridable-weight"]
    assert all(row["reason"] for row in data["rows"])
    assert data["growth_bytes"] == data["rows"][0]["growth_bytes"] > 0
    assert "1 of 3" in result.report.summarize()
    assert len(result.report.to_table().rows) == 3


def test_inspect_says_what_rewrite_does_and_does_nothing() -> None:
    model = two_convs()
    before = dump(model)
    for options in ({}, {"lowering": "dft"}, {"select": "all"}, {"lowering": "matmul", "exclude": ["first"]}):
        assert inspect(model, **options) == rewrite(model, **options).report
    assert dump(model) == before


# --- broken files -------------------------------------------------------------------------------------------------


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, cut out or put in, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        place, kind = int(rng.integers(len(changed))), rng.integers(10)
        if kind < 7:
            changed[place] = rng.choice([0, 1, 2, 3, 8, 127, 128, 255])
        elif kind == 7:
            del changed[place : place + int(rng.integers(1, 5))]
        elif kind == 8:
            changed[place:place] = rng.bytes(2)
        else:
            del changed[place:]
    return bytes(changed)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mutated weights overflow
@pytest.mark.parametrize("make", [two_convs, decorated_model, if_model, function_model])
def test_a_broken_file_is_an_error_of_ours_or_left_alone(
    make: Callable[[], ModelProto], tmp_path: Path, rng: np.random.Generator
) -> None:
    data = make().SerializeToString()
    path = tmp_path / "broken.onnx"
    refused = 0
    for number in range(40):
        broken = mutate(data, rng)
        path.write_bytes(broken)
        try:
            rewrite(path, lowering=BOTH[number % 2], max_growth_bytes=1 << 22)
        except OnnxFftError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"mutation {number}: {error!r}; the file is {broken.hex()}") from error
    assert 5 <= refused <= 38
