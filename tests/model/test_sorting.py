"""Nodes out of order are sorted, and said to be; what waits for itself is named, and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

import onnx_fft
from onnx_fft.errors import InvalidModelError
from onnx_fft.model.io import find_problem, load_model
from scripts.shared.running import open_session
from tests.commands import run
from tests.comparing import assert_same, dump
from tests.marks import mark_slow
from tests.models import BODIES, FLOAT, X, Y, body_graph, conv, info, make_model, relu, two_convs


def shuffle(model: ModelProto) -> ModelProto:
    """The same model with the nodes of every body in the opposite order."""
    for body in (model.graph, *model.functions):
        _reverse(body)
    return model


def _reverse(body: onnx.GraphProto | onnx.FunctionProto) -> None:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in body.node][::-1]
    del body.node[:]
    body.node.extend(nodes)
    for node in body.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _reverse(attribute.g)


@pytest.mark.parametrize("as_file", [True, False])
def test_nodes_out_of_order_are_sorted(as_file: bool, tmp_path: Path) -> None:
    model, path = shuffle(two_convs()), tmp_path / "m.onnx"
    open_session(model)  # ONNX Runtime takes it
    onnx.save(model, path)
    result = onnx_fft.rewrite(path if as_file else model, lowering="matmul", exclude=["second"])
    assert result.report.sorted_nodes == 2
    assert "nodes were out of order, 2 before what they read" in onnx_fft.describe(result.report)
    assert result.report.to_dict()["sorted_nodes"] == 2
    assert result.validation is not None and result.validation.ok and result.validation.engine == "onnxruntime"
    onnx.checker.check_model(result.model, full_check=True)
    assert [node.op_type for node in result.model.graph.node][-2:] == ["Relu", "Conv"]
    assert_same(two_convs(), result.model)


@pytest.mark.parametrize("kind", mark_slow(BODIES, lambda kind: kind in ("loop", "scan")))
def test_bodies_and_functions_are_sorted_too(kind: str) -> None:
    make, feeds, count = BODIES[kind]
    result = onnx_fft.rewrite(shuffle(make()), lowering="matmul")
    assert len(result.report.replaced) == count
    assert (result.report.sorted_nodes > 0) == (kind in ("loop", "scan", "function"))
    for feed in feeds:
        assert_same(make(), result.model, {"x": X, **feed})


def test_a_body_counts_as_a_reader_of_what_it_captures() -> None:
    model = make_model([conv("x", "a", name="first"), relu("a", "r")])
    model.graph.output[0].name = "y"
    branch = helper.make_graph([relu("r", "b")], "t", [], [info("b", FLOAT, Y)])
    model.graph.input.append(helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, ()))
    model.graph.node.insert(0, helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    loaded = load_model(model)
    assert [node.op_type for node in loaded.model.graph.node] == ["Conv", "Relu", "If"]
    assert loaded.moved == 1 and loaded.unsorted == model
    assert find_problem(loaded) == ""


def test_what_is_in_order_stays_so() -> None:
    """Only `late` has to wait; the others keep the order they are in."""
    nodes = [
        helper.make_node("Add", ["r", "s"], ["y"], "late"),
        helper.make_node("Neg", ["x"], ["n"], "unread"),
        helper.make_node("Relu", ["x"], ["r"], "second"),
        helper.make_node("Sigmoid", ["x"], ["s"], "third"),
        helper.make_node("Abs", ["x"], ["q"], "last"),
    ]
    loaded = load_model(make_model(nodes, y=X.shape))
    assert [node.name for node in loaded.model.graph.node] == ["unread", "second", "third", "late", "last"]
    assert loaded.moved == 1
    in_order = load_model(two_convs())
    assert (in_order.moved, in_order.unsorted) == (0, None) and in_order.model == two_convs()


@pytest.mark.parametrize("choices", [{"exclude": ["."]}, {"lowering": "dft", "exclude": ["."]}])
def test_nothing_replaced_nothing_sorted(choices: dict[str, object], tmp_path: Path) -> None:
    model = shuffle(two_convs())
    onnx.save(model, tmp_path / "m.onnx")
    result = onnx_fft.rewrite(tmp_path / "m.onnx", **choices)  # type: ignore[arg-type]
    assert dump(result.model) == dump(model)
    assert result.report.sorted_nodes == 0
    result.save(tmp_path / "o.onnx")
    assert (tmp_path / "o.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_every_command_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "m.onnx", tmp_path / "o.onnx"
    onnx.save(shuffle(two_convs()), path)
    assert run("inspect", path) == 0
    assert run("rewrite", path, output, "--select", "all") == 0
    assert "out of order" in capsys.readouterr().err
    assert run("validate", path, output) == 0
    assert run("validate", path, path) == 0


# --- circles ------------------------------------------------------------------------------------------------------


def test_a_cycle_is_named() -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["y"], "reads it"),
        helper.make_node("Relu", ["c"], ["b"], "one"),
        helper.make_node("Neg", ["d"], ["c"]),
        helper.make_node("Abs", ["b"], ["d"], "three"),
    ]
    with pytest.raises(InvalidModelError, match="a cycle, 'one' reads 'Neg#2' reads 'three' reads 'one'"):
        load_model(make_model(nodes))
    with pytest.raises(InvalidModelError, match=r"reads 'gone', which nothing before it produces; expected"):
        load_model(make_model([relu("gone", "y")]))
    with pytest.raises(InvalidModelError, match="a cycle, 'self' reads 'self'"):
        load_model(make_model([helper.make_node("Add", ["x", "y"], ["y"], "self")]))


def make_functions(calls: dict[str, list[str]]) -> ModelProto:
    """Functions that call one another in a chain, each."""
    model = make_model([helper.make_node("A", ["x"], ["y"], domain="local")], {})
    for name, called in calls.items():
        places = [*(f"v{number}" for number in range(len(called))), "b"]
        nodes = [
            helper.make_node(other, [places[number - 1] if number else "a"], [places[number]], domain="local")
            for number, other in enumerate(called)
        ]
        nodes.append(helper.make_node("Relu", [places[len(called) - 1] if called else "a"], ["b"]))
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
        model.functions.append(helper.make_function("local", name, ["a"], ["b"], nodes, imports))
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


@pytest.mark.parametrize(
    "calls, circle",
    [
        ({"A": ["A"]}, "'A' calls 'A'"),
        ({"A": ["B"], "B": ["C"], "C": ["B"]}, "'B' calls 'C' calls 'B'"),
        ({"A": ["B", "C"], "B": ["C"], "C": []}, ""),
    ],
)
def test_functions_that_call_themselves_are_refused(calls: dict[str, list[str]], circle: str) -> None:
    model = make_functions(calls)
    if circle:
        with pytest.raises(InvalidModelError, match=f"in a circle, {circle}"):
            load_model(model)
    else:
        load_model(model)


# --- deep and long ------------------------------------------------------------------------------------------------


def nest(depth: int) -> bytes:
    """An If in an If in an If, as the bytes of a file: no object holds as many."""
    graph = helper.make_graph([relu("x", "y")], "g", [], [onnx.ValueInfoProto(name="y")]).SerializeToString()
    other = body_graph("other", [relu("x", "z")], [], [onnx.ValueInfoProto(name="z")])
    for _ in range(depth):
        attribute = onnx.AttributeProto(name="then_branch", type="GRAPH").SerializeToString() + field(6, graph)
        node = helper.make_node("If", ["c"], ["y"], else_branch=other).SerializeToString() + field(5, attribute)
        graph = onnx.GraphProto(name="g", output=[onnx.ValueInfoProto(name="y")]).SerializeToString() + field(1, node)
    inputs = [helper.make_tensor_value_info("x", 1, [1]), helper.make_tensor_value_info("c", 9, [])]
    graph += onnx.GraphProto(input=inputs).SerializeToString()
    model = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString()) + field(7, graph)


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf's wire format that holds a message."""
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content


@pytest.mark.parametrize("depth", [40, 500, 3000])
def test_bodies_too_deep_for_protobuf_are_refused(depth: int, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(nest(depth))
    with pytest.raises(InvalidModelError, match="cannot be read as an ONNX model"):
        load_model(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(nest(5))
    load_model(tmp_path / "m.onnx")


@pytest.mark.slow
def test_a_chain_of_thirty_thousand_nodes(tmp_path: Path) -> None:
    """In order, in the opposite order, and in a cycle: no recursion, and no time that grows with the square."""
    nodes = [relu(f"n{number}", f"n{number + 1}") for number in range(30_000)]
    model = make_model([conv("x", "n0"), *nodes, helper.make_node("Identity", ["n30000"], ["y"])])
    assert len(onnx_fft.inspect(model).rows) == 1
    assert load_model(shuffle(model)).moved == 30_001
    model.graph.node[30_001].input[0] = "n0"
    with pytest.raises(InvalidModelError, match="a cycle"):
        load_model(model)


def test_a_weight_made_behind_its_reader_is_read() -> None:
    nodes = [conv("x", "y", "w"), helper.make_node("Identity", ["w1"], ["w"])]
    weight = np.random.default_rng(1).standard_normal((4, 3, 5, 5)).astype(np.float32)
    model = make_model(nodes, {"w1": weight})
    result = onnx_fft.rewrite(model, select="all")
    assert len(result.report.replaced) == 1
    assert_same(model, result.model)
