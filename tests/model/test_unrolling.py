"""Loop, Scan, SequenceMap and sequences of constants fold to what ONNX Runtime computes, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, ValueInfoProto, helper

from onnx_fft.errors import Refusal
from onnx_fft.model import resolving
from onnx_fft.model.scopes import find_scopes
from onnx_fft.model.weights import resolve_constant
from onnx_fft.runtime.constants import evaluate_constants
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model
from tests.models import body_graph, info, make_model

RNG = np.random.default_rng(11)
C: Array = RNG.standard_normal((4, 3, 5, 5)).astype(np.float32)
X: Array = RNG.standard_normal((2, 3, 13, 11)).astype(np.float32)
CONSTANTS: dict[str, Array] = {
    "c": C,
    "d": np.stack([C, 2 * C], 1),
    "h": np.array(0.5, np.float32),
    "limit": np.array(2),
    "n": np.array(4),
    "t": np.array(True),
    "f": np.array(False),
    "one": np.array(1),
    "parts": np.array([2, 3]),
}


def node(op_type: str, inputs: str, outputs: str = "w", **attributes: Any) -> NodeProto:
    """Names are separated by one space each; two in a row leave a name out."""
    return helper.make_node(op_type, inputs.split(" ") if inputs else [], outputs.split(" "), **attributes)


def sequence(name: str) -> ValueInfoProto:
    return helper.make_tensor_sequence_value_info(name, 1, None)


def loop_body(nodes: Sequence[NodeProto], outputs: Sequence[str], carried: ValueInfoProto | None = None) -> Any:
    """A body of `i`, `go` and what is carried, `a`, that goes on while the output `on` is true."""
    given = [info("i", 7, ()), info("go", 9, ()), carried or info("a")]
    return body_graph("b", nodes, given, [info("on", 9, ()), *map(info, outputs)])


SCALING = [node("Mul", "a h", "p"), node("Cast", "i", "j", to=1), node("Add", "p j", "a2")]
GO_ON, UNTIL = node("Identity", "go", "on"), node("Less", "i limit", "on")
SCALED = loop_body([*SCALING, GO_ON], ["a2"])
ENDED = loop_body([*SCALING, UNTIL], ["a2"])
KEPT = loop_body([*SCALING, GO_ON], ["a2", "p"])
HALVED = body_graph(
    "inner",
    [node("Mul", "z h", "z2"), node("Identity", "k", "k2")],
    [info("q", 7, ()), info("k", 9, ()), info("z")],
    [info("k2", 9, ()), info("z2")],
)
NESTED = loop_body([node("Loop", "limit t a", "a2", body=HALVED), GO_ON], ["a2"])
GATHERED = body_graph(
    "b",
    [GO_ON, node("Cast", "i", "j", to=1), node("Mul", "c j", "p"), node("SequenceInsert", "s p", "s2")],
    [info("i", 7, ()), info("go", 9, ()), sequence("s")],
    [info("on", 9, ()), sequence("s2")],
)
SCAN = body_graph(
    "b", [node("Add", "a e", "a2"), node("Mul", "a2 h", "o")], [info("a"), info("e")], [info("a2"), info("o")]
)
MAPPED = body_graph("b", [node("Mul", "e k", "g")], [info("e"), info("k")], [info("g")])

FOLDED: dict[str, list[NodeProto]] = {
    "loop": [node("Loop", "n t c", body=SCALED)],
    "loop that ends itself": [node("Loop", "n t c", body=ENDED)],
    "loop without a count": [node("Loop", " t c", body=ENDED)],
    "loop without a condition": [node("Loop", "n  c", body=ENDED)],
    "loop that never runs": [node("Loop", "n f c", body=SCALED)],
    "what each iteration gave": [node("Loop", "n t c", "l w", body=KEPT)],
    "loop in a loop": [node("Loop", "n t c", body=NESTED)],
    "loop of a sequence": [
        node("SequenceEmpty", "", "s"),
        node("Loop", "n t s", "s2", body=GATHERED),
        node("ConcatFromSequence", "s2", axis=0),
    ],
    "scan": [node("Scan", "c d", "l w", body=SCAN, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[2])],
    "scan backwards": [
        node("Scan", "c d", "l w", body=SCAN, num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[1],
             scan_output_directions=[1])
    ],
    "what a scan carries": [node("Scan", "c d", "w o", body=SCAN, num_scan_inputs=1, scan_input_axes=[1])],
    "sequence": [
        node("SequenceConstruct", "c h c", "s"),
        node("SequenceInsert", "s h one", "s2"),
        node("SequenceErase", "s2 one", "s3"),
        node("SequenceAt", "s3 limit"),
    ],
    "parts of a sequence": [
        node("SplitToSequence", "c parts", "s", axis=2),
        node("SequenceAt", "s one"),
    ],
    "parts that are joined": [
        node("SplitToSequence", "c", "s", axis=1, keepdims=0),
        node("ConcatFromSequence", "s", axis=0, new_axis=1),
    ],
    "sequence map": [
        node("SplitToSequence", "c", "s", axis=0),
        node("SequenceMap", "s h", "s2", body=MAPPED),
        node("ConcatFromSequence", "s2", axis=0),
    ],
}  # fmt: skip


def resolve(nodes: Sequence[NodeProto], constants: dict[str, Array] = CONSTANTS) -> Any:
    """The value of `w` by ONNX Runtime, or why it has none."""
    model = make_model([*nodes, node("Identity", "w", "y")], constants, y=None)
    return resolve_constant("w", find_scopes(model, None, evaluate_constants)[0])


@pytest.mark.parametrize("case", FOLDED)
def test_bodies_and_sequences_fold_to_what_onnxruntime_computes(case: str) -> None:
    value = resolve(FOLDED[case])
    assert not isinstance(value, Refusal), value
    model = make_model([*FOLDED[case], node("Identity", "w", "y")], CONSTANTS, y=None)
    (expected,) = run_model(model, {"x": X})
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


def test_an_optional_that_holds_something_is_that() -> None:
    """Against NumPy: ONNX Runtime 1.17 does not load it."""
    taken, other = (body_graph(kind, [node(kind, "v", kind)], [], [info(kind)]) for kind in ("Abs", "Neg"))
    held = [node("Optional", "c", "o"), node("OptionalHasElement", "o", "has"), node("OptionalGetElement", "o", "v")]
    value = resolve([*held, node("If", "has", then_branch=taken, else_branch=other)])
    np.testing.assert_array_equal(value, abs(C))


RANDOM = loop_body([node("RandomNormalLike", "a", "a2"), GO_ON], ["a2"])
GROWING = loop_body([node("Concat", "a a", "a2", axis=0), GO_ON], ["a2"])
EMPTY = body_graph("b", [], [info("i", 7, ()), info("go", 9, ()), info("a")], [info("go", 9, ()), info("a")])
BEYOND: dict[str, tuple[Any, str]] = {
    "endless": (SCALED, "too many nodes"),
    "endless without nodes": (EMPTY, "too many nodes"),
    "growing": (GROWING, "elements"),
    "random": (RANDOM, "random"),
}


@pytest.mark.parametrize("case", BEYOND)
def test_a_loop_that_costs_too_much_or_varies_is_refused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "MAX_NODES", 200)
    body, word = BEYOND[case]
    found = resolve([node("Loop", " t c", body=body)])
    assert isinstance(found, Refusal)
    assert found.code == "runtime-weight"
    assert word in found.reason


def test_all_loops_of_a_model_are_bounded_and_each_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was given up is not tried again, and one that fits keeps its value and its price."""
    monkeypatch.setattr(resolving, "MAX_UNROLLED", 50)
    loops = [node("Loop", "n t c", f"w{place}", body=SCALED) for place in range(4)]
    model = make_model([*loops, node("Sum", "w0 w1 w2 w3", "w"), node("Identity", "w", "y")], CONSTANTS, y=None)
    evaluated: list[str] = []

    def evaluate(nodes: Any, feeds: Any, outputs: Any, opset: int) -> list[Any]:
        evaluated.extend(outputs)
        return evaluate_constants(nodes, feeds, outputs, opset)

    scope = find_scopes(model, None, evaluate)[0]
    found = [resolve_constant(f"w{place}", scope) for place in range(4)]
    first = len(evaluated)
    assert [isinstance(each, Refusal) for each in found] == [False, False, True, True]
    again = [resolve_constant(f"w{place}", scope) for place in range(4)]
    assert len(evaluated) == first
    np.testing.assert_array_equal(again[0], found[0])
    assert again[2:] == found[2:]


def test_a_value_that_is_known_costs_a_weight_as_much_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "MAX_NODES", 25)
    nodes = [node("Loop", "n t c", "w0", body=SCALED), *(node("Sin", f"w{i}", f"w{i + 1}") for i in range(8))]
    scope = find_scopes(make_model([*nodes, node("Identity", "w8", "y")], CONSTANTS, y=None), None)[0]
    found = [isinstance(resolve_constant(name, scope), Refusal) for name in ("w0", "w8", "w8", "w1")]
    assert found == [False, True, True, False]
