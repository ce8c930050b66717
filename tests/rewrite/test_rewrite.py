"""The pass as a whole: what it keeps, what it selects, what it reports, and broken files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from onnx_fft import inspect, rewrite
from onnx_fft.errors import OnnxFftError, UsageError
from onnx_fft.model.saving import save_model
from onnx_fft.options import RewriteChoices, RewriteOptions
from onnx_fft.provenance import REPLACES_KEY
from onnx_fft.report import describe
from scripts.shared.running import list_op_types
from tests.comparing import assert_only_convs_replaced, assert_same, dump, own_nodes
from tests.models import (
    BOTH,
    FLOAT,
    W1,
    W2,
    X,
    conv,
    decorated_model,
    function_model,
    if_model,
    info,
    make_model,
    two_convs,
)

# --- what is kept -------------------------------------------------------------------------------------------------


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
    cases: list[tuple[RewriteChoices, list[str]]] = [
        ({"include": ["#0"]}, ["Conv#0"]),
        ({"exclude": ["#0$"]}, ["Conv#2"]),
        ({"include": ["Conv"], "exclude": ["2"]}, ["Conv#0"]),
        ({"include": ["#0", "#2"]}, names),
    ]
    for choices, expected in cases:
        report = rewrite(model, options=RewriteOptions(lowering="matmul"), **choices).report
        assert [row.name for row in report.replaced] == expected
        assert {row.code for row in report.rows if row.name not in expected} <= {"not-selected"}


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_without_a_match_is_an_error(option: str) -> None:
    def choose(*patterns: str) -> RewriteChoices:
        return {"include": patterns} if option == "include" else {"exclude": patterns}

    with pytest.raises(UsageError, match=r"'third'.*first, second"):
        rewrite(two_convs(), **choose("first", "third"))
    with pytest.raises(UsageError, match="is not a regular expression"):
        rewrite(two_convs(), **choose("("))


@pytest.mark.parametrize("choices", [{"lowering": "fft"}, {"select": "some"}, {"target": "gpu"}])
def test_unknown_choices_are_errors(choices: RewriteChoices) -> None:
    with pytest.raises(UsageError, match="expected one of"):
        rewrite(two_convs(), **choices)


def test_growth_is_capped() -> None:
    model = two_convs()
    free = rewrite(model, lowering="matmul")
    sizes = {row.name: row.growth_bytes for row in free.report.rows}
    assert all(size > 0 for size in sizes.values())
    cap = max(sizes.values())
    capped = rewrite(model, lowering="matmul", max_growth_bytes=cap)
    assert 0 < sum(row.growth_bytes for row in capped.report.rows) <= cap
    (left,) = [row for row in capped.report.rows if row.lowering is None]
    assert left.code in ("growth", "no-lowering")
    assert "KiB" in left.reason
    assert "growth" in left.code or "grow" in left.reason


def test_input_shapes_are_fixed_in_the_model() -> None:
    model = make_model([conv("x", "y")], x=("n", 3, "h", "w"), y=("n", 4, "h", "w"))
    result = rewrite(model, lowering="matmul", input_shapes={"x": X.shape})
    assert "on 2x13x11" in result.report.rows[0].geometry
    assert [dim.dim_value for dim in result.model.graph.input[0].type.tensor_type.shape.dim] == list(X.shape)
    assert_same(model, result.model)
    for shapes in ({"z": (1,)}, {"x": (1, 2, 3)}, {"x": (1, 5, 8, 8)}, {"x": (0, 3, 8, 8)}):
        with pytest.raises(UsageError, match="expected"):
            rewrite(model, input_shapes=shapes)


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
    assert (data["convs"], data["replaced"], data["opset"]) == (3, 2, 17)
    assert [row["code"] for row in data["rows"]] == ["", "", "overridable-weight"]
    assert all(row["reason"] for row in data["rows"])
    assert data["growth_bytes"] == result.model.ByteSize() - model.ByteSize()
    assert 0 < data["rows"][0]["growth_bytes"] < data["growth_bytes"], "which leaves out the text of nodes"
    assert "2 of 3" in describe(result.report)
    assert len(describe(result.report).splitlines()) == 1 + 3 + 1, "the headings, three rows, the summary"


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


@pytest.mark.slow
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
            rewrite(path, lowering=BOTH[number % 2], max_growth_bytes=1 << 22, validate=False)
        except OnnxFftError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"mutation {number}: {error!r}; the file is {broken.hex()}") from error
    assert 5 <= refused <= 38
