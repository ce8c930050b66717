"""What validation refuses though every Conv is right: the Convs it comes from are left alone, the others replaced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx_fft import ValidationFailed, rewrite
from onnx_fft.report import describe
from onnx_fft.sites.zeros import ZeroTracer
from tests.models import build_model, info

SHAPE = (1, 16, 56, 56)


@pytest.fixture(autouse=True)
def forget_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing were known of operators that turn on exact zeros."""
    monkeypatch.setattr(ZeroTracer, "find_reader", lambda *_: "")


def make_root_model() -> ModelProto:
    """Two Convs that gain by far; a square root follows from the first, which has no negative weights."""
    weight = np.random.default_rng(0).random((16, 1, 31, 31), np.float32) / 961
    attributes: dict[str, Any] = {"pads": [15] * 4, "group": 16}
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["c"], "rooted", **attributes),
        helper.make_node("Sqrt", ["c"], ["y"]),
        helper.make_node("Conv", ["x", "w"], ["z"], "plain", **attributes),
    ]
    outputs = [info("y", shape=SHAPE), info("z", shape=SHAPE)]
    return build_model(nodes, [info("x", shape=SHAPE)], outputs, {"w": weight})


@pytest.mark.slow
@pytest.mark.parametrize("target", ["standard", "native"])
@pytest.mark.usefixtures("native_library")
def test_what_only_rounding_turns_is_left_alone_and_the_rest_is_replaced(target: str) -> None:
    result = rewrite(make_root_model(), target=target)
    rows = {row.name: row for row in result.report.rows}
    assert (rows["rooted"].lowering, rows["rooted"].code) == (None, "differs")
    assert "'y'" in rows["rooted"].reason and "'y'" in describe(result.report)
    assert rows["plain"].lowering is not None
    assert result.validation is not None and result.validation.ok
    assert [node.op_type for node in result.model.graph.node].count("Conv") == 1


@pytest.mark.slow
def test_what_overflows_by_itself_is_left_alone_and_the_rest_is_replaced() -> None:
    """Values of 1e38 are added up by a direct sum, and overflow in a transform."""
    model = make_root_model()
    model.graph.node[0].CopyFrom(helper.make_node("Mul", ["x", "huge"], ["a"]))
    model.graph.node[2].CopyFrom(helper.make_node("Identity", ["c"], ["y"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1e38, np.float32), "huge"))
    result = rewrite(model)
    rows = {row.name: row for row in result.report.rows}
    assert (rows["rooted"].lowering, rows["rooted"].code) == (None, "differs")
    assert rows["plain"].lowering is not None


@pytest.mark.slow
@pytest.mark.parametrize("choices", [{"select": "all"}, {"lowering": "matmul"}])
def test_what_is_insisted_on_is_refused(choices: Any) -> None:
    with pytest.raises(ValidationFailed, match="'y'"):
        rewrite(make_root_model(), **choices)


@pytest.mark.slow
def test_a_wrong_convolution_is_never_left_alone_in_silence(break_matmul: Any) -> None:
    break_matmul(1.01)
    with pytest.raises(ValidationFailed, match=r"Conv|output"):
        rewrite(make_root_model())
