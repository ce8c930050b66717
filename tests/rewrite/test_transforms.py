"""DFT and STFT through the whole pass: what is computed, what ran, what stays, and that a wrong one is found out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx_fft import InferenceSession, inspect, rewrite, validate
from onnx_fft.errors import InvalidModelError
from onnx_fft.model.scopes import walk_nodes
from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import Array
from scripts.shared.running import executed_op_types, run_model, run_reference, run_with_library
from tests.comparing import dump, own_nodes, without
from tests.models import FLOAT, body_graph, info
from tests.transforms import CONSTANTS, DFT, STFT, WINDOW, draw, parse

TARGETS = ("standard", "native")
LIMITS = {"float32": 5e-7, "float64": 1e-14}


def complex_of(x: Array) -> Array:
    return x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0)


def parts_of(z: Array) -> Array:
    return np.stack([z.real, z.imag], axis=-1)


def frames_of(x: Array, step: int, window: Array) -> Array:
    starts = range(0, x.shape[1] - len(window) + 1, step)
    return np.stack([complex_of(x)[:, start : start + len(window)] * window for start in starts], axis=1)


def fft(x: Array, *args: Any) -> Array:
    return parts_of(np.fft.fft(complex_of(x.astype(np.float64)), *args))


CASES: list[tuple[str, int, tuple[int, ...], Any]] = [
    (DFT, 17, (6, 24, 1), lambda x: fft(x, None, 1)[:, :13]),
    (
        "g (float[3,24,5,2] x) => (float[a,b,c,d] y) { y = DFT<axis=2>(x, n8) }",
        17,
        (3, 24, 5, 2),
        lambda x: fft(x, 8, 2),
    ),
    (
        "g (double[3,24,5,2] x) => (double[a,b,c,d] y) { y = DFT(x, n16, n1) }",
        20,
        (3, 24, 5, 2),
        lambda x: fft(x, 16, 1),
    ),
    (
        "g (float[3,25,2] x) => (float[a,b,c] y) { y = DFT<inverse=1>(x) }",
        20,
        (3, 25, 2),
        lambda x: parts_of(np.fft.ifft(complex_of(x.astype(np.float64)), axis=1)),
    ),
    (STFT, 17, (2, 64, 1), lambda x: parts_of(np.fft.rfft(frames_of(x.astype(np.float64), 5, WINDOW).real))),
    (
        "g (float[N,L,2] x) => (float[a,b,c,d] y) { y = STFT<onesided=0>(x, n3, , n8) }",
        18,
        (2, 61, 2),
        lambda x: parts_of(np.fft.fft(frames_of(x.astype(np.float64), 3, np.ones(8)))),
    ),
    (
        "g (float[2,64,1] x) => (float[a,b,c,d] y) { m = ReduceMax<keepdims=0>(x) w = Mul(window, m)"
        " y = STFT(x, n5, w) }",
        17,
        (2, 64, 1),
        lambda x: parts_of(np.fft.rfft(frames_of(x.astype(np.float64), 5, WINDOW * x.max()).real)),
    ),
]


def run(model: ModelProto, x: Array, target: str) -> Array:
    y: Array = (run_with_library if target == "native" else run_model)(model, {"x": x})[0]
    return y


def assert_right(y: Array, truth: Array, dtype: str) -> None:
    assert (y.shape, str(y.dtype)) == (truth.shape, dtype)
    assert np.linalg.norm(y - truth) <= LIMITS[dtype] * np.linalg.norm(truth)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("number", range(len(CASES)))
def test_every_form_is_exact(number: int, target: str) -> None:
    text, opset, shape, compute = CASES[number]
    model, dtype = parse(text, opset=opset), "float64" if "double" in text else "float32"
    may_be_wrong = "STFT" in text and shape[-1] == 2  # ONNX Runtime 1.17 makes NaN of complex signals
    result = rewrite(model, target=target, select="all", validate=not may_be_wrong)
    (row,) = result.report.rows
    assert row.lowering == ("fft" if target == "native" else "matmul"), row.reason
    assert may_be_wrong or (result.validation is not None and result.validation.convs[0].ok is True)
    x = draw(*shape, dtype=dtype)
    assert_right(run(result.model, x, target), compute(x), dtype)


@pytest.mark.parametrize("shape", ["", "[1]"])
def test_a_length_of_run_time(shape: str) -> None:
    """The library reads it in each run; matrices are made for one length."""
    model = parse(f"g (float[2,24,1] x, int64{shape} n) => (float[a,b,c] y) {{ m = Identity(n) y = DFT(x, m) }}")
    assert "not fixed before run time" in inspect(model, target="standard", select="all").rows[0].reason
    feeds = {"x": draw(2, 24, 1), "n": np.full([1] * bool(shape), 16)}
    result = rewrite(model, target="native", select="all", inputs=feeds)
    assert result.validation is not None and result.validation.convs[0].ok is True
    assert executed_op_types(result.model, feeds, with_library=True)["DFT"] == 1
    assert [node.op_type for node in own_nodes(result.model)] == ["DFT"]
    for length in (1, 16, 24, 37):
        x, n = feeds["x"], np.full([1] * bool(shape), length)
        (y,) = run_with_library(result.model, {"x": x, "n": n})
        assert_right(y, fft(x, length, 1), "float32")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("length", ["13", "L"])
def test_half_spectra_become_signals(target: str, length: str) -> None:
    """Which some versions of ONNX Runtime refuse, so that nothing is compared with the original."""
    model = parse(f"g (float[4,{length},2] x) => (float[a,b,c] y) {{ y = DFT<inverse=1, onesided=1>(x) }}")
    result = rewrite(model, target=target, select="all", validate=False)
    if (target, length) == ("standard", "L"):
        assert result.report.rows[0].code == "no-lowering"
        return
    x = draw(4, 13, 2)
    truth = np.fft.irfft(complex_of(x.astype(np.float64)), axis=1)[..., None]
    assert_right(run(result.model, x, target), truth, "float32")


def test_what_runs_is_what_was_chosen() -> None:
    for text, shape in ((DFT, (6, 24, 1)), (STFT, (2, 64, 1))):
        model, x = parse(text), draw(*shape)
        original = Counter(node.op_type for node in model.graph.node)
        standard = executed_op_types(rewrite(model, select="all").model, {"x": x})
        assert not standard.keys() & original.keys() and standard["MatMul"] + standard["Conv"] >= 1
        native = rewrite(model, target="native", select="all").model
        assert [(node.domain, node.op_type) for node in native.graph.node] == [(OPERATOR_DOMAIN, *original)]
        assert executed_op_types(native, {"x": x}, with_library=True) == original


def test_without_the_library_the_original_runs() -> None:
    for text, shape in ((DFT, (6, 24, 1)), (STFT, (2, 64, 1))):
        model, x = parse(text), draw(*shape)
        result = rewrite(model, target="native", select="all", validate=False)
        np.testing.assert_array_equal(run_model(result.model, {"x": x})[0], run_model(model, {"x": x})[0])


@pytest.mark.parametrize("opset", [17, 20])
def test_onnxs_evaluator_runs_a_native_file(opset: int) -> None:
    axis = ", n1" if opset >= 20 else ""
    model = parse(f"g (float[6,16,1] x) => (float[a,b,c] y) {{ y = DFT(x, n8{axis}) }}", opset=opset)
    x = draw(6, 16, 1)
    native = rewrite(model, target="native", select="all", validate=False).model
    np.testing.assert_allclose(run_reference(native, {"x": x})[0], fft(x, 8, 1), atol=1e-5)


def test_a_function_of_the_models_own_under_our_name_is_an_error() -> None:
    model = parse(STFT)
    body = [helper.make_node("Identity", ["a"], ["b"])]
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function(OPERATOR_DOMAIN, "STFT", ["a"], ["b"], body, imports))
    with pytest.raises(InvalidModelError, match="another function onnx_fft::STFT"):
        rewrite(model, target="native", select="all")


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_else_changes(target: str) -> None:
    text = """g (float[2,64,1] x) => (float[a,b,c,d] z, float[a,b,c,d] n5_out) {
        [before] v = Tanh(x) [stft] y = STFT(v, n5, window) [square] s = Mul(y, y) [log] z = Relu(s)
        [other] n5_out = Neg(s) }"""
    model = parse(text)
    rewritten = rewrite(model, target=target, select="all").model
    gone = [node for node in model.graph.node if node.op_type == "STFT"]
    new = {tensor.name for tensor in rewritten.graph.initializer} - {t.name for t in model.graph.initializer}
    kept = {t.name for t in rewritten.graph.initializer} - new
    restored = ModelProto()
    restored.CopyFrom(rewritten)
    del restored.functions[:]
    for imports in [entry for entry in restored.opset_import if entry.domain == OPERATOR_DOMAIN]:
        restored.opset_import.remove(imports)
    lost = {t.name for t in model.graph.initializer} - kept
    own = {node.name for node in own_nodes(rewritten)}
    mine = [node for node in restored.graph.node if node.name in own]
    assert mine and without(restored, mine, new) == without(model, gone, lost)


@pytest.mark.parametrize("target", TARGETS)
def test_an_all_zero_frame_gives_exact_zeros(target: str) -> None:
    x = draw(2, 64, 1)
    x[0, :20] = 0
    y = run(rewrite(parse(STFT), target=target, select="all").model, x, target)
    assert not y[0, 0].any() and y[0, 4].any()


@pytest.mark.parametrize("target", TARGETS)
def test_a_real_signal_has_no_imaginary_part_at_the_ends_of_its_spectrum(target: str) -> None:
    """As in ONNX Runtime; the sign of a phase hangs on it."""
    y = run(rewrite(parse(STFT), target=target, select="all").model, draw(2, 64, 1), target)
    assert not y[:, :, [0, -1], 1].any() and y[:, :, 1:-1, 1].all()


@pytest.mark.parametrize("target", TARGETS)
def test_bodies_and_functions(target: str) -> None:
    shape = (2, 10, 9, 2)
    constants = {name: CONSTANTS[name] for name in ("n5", "n8", "window")}
    branch = body_graph(
        "then", [helper.make_node("STFT", ["x", "n5", "window"], ["t"], "inner")], [], [info("t", FLOAT, shape)]
    )
    other = body_graph("else", [helper.make_node("Expand", ["one", "size"], ["e"])], [], [info("e", FLOAT, shape)])
    nodes = [
        helper.make_node("If", ["c"], ["y"], "outer", then_branch=branch, else_branch=other),
        helper.make_node("Spectrum", ["x", "n8"], ["z"], "call", domain="local"),
    ]
    function = helper.make_function(
        "local",
        "Spectrum",
        ["v", "n"],
        ["w"],
        [helper.make_node("DFT", ["v", "n"], ["w"], "called")],
        [helper.make_opsetid("", 17)],
    )
    stored = {**constants, "one": np.ones(1, np.float32), "size": np.array(shape)}
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", FLOAT, (2, 64, 1)), info("c", 9, ())],
        [info("y", FLOAT, shape), info("z", FLOAT, (2, 8, 2))],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, functions=[function])
    result = rewrite(model, target=target, select="all")
    names = {row.name: row.lowering for row in result.report.rows}
    assert len(names) == 2 and all(names.values()), result.report.rows
    kinds = {(node.domain, node.op_type) for node in walk_nodes(result.model)}
    assert target == "native" or not kinds & {("", "DFT"), ("", "STFT")}
    x = draw(2, 64, 1)
    spectra = np.fft.rfft(frames_of(x.astype(np.float64), 5, WINDOW).real)
    y, z = InferenceSession(result.model).run(None, {"x": x, "c": np.array(True)})
    assert_right(y, parts_of(spectra), "float32")
    assert_right(z, fft(x, 8, 1), "float32")


def test_plans_round_trip_and_older_ones_leave_transforms_alone() -> None:
    model = parse(STFT)
    result = rewrite(model, select="all")
    (entry,) = result.plan["transforms"]
    assert (entry["lowering"], entry["geometry"]) == ("matmul", "16 points step 5 on 2x64x1 onesided")
    assert np.prod(entry["lengths"]) == 16
    assert dump(rewrite(model, plan=result.plan).model) == dump(result.model)
    by_hand = {**result.plan, "transforms": [entry | {"lengths": [4, 4]}]}
    assert rewrite(model, plan=by_hand).plan["transforms"][0]["lengths"] == [4, 4]
    older = {key: value for key, value in result.plan.items() if key != "transforms"}
    assert dump(rewrite(model, plan=older).model) == dump(model)
    native = rewrite(model, target="native", select="all")
    assert dump(rewrite(model, plan=native.plan).model) == dump(native.model)


def test_inspect_lists_transforms_like_convolutions() -> None:
    text = """g (float[2,64,1] x, int64 n) => (float[a,b,c,d] y, float[a,b,c] z) {
        [stft] y = STFT(x, n5, window) [dft] z = DFT(x, n) }"""
    report = inspect(parse(text), select="all").to_dict()
    stft, dft = report["rows"]
    assert (stft["op_type"], stft["geometry"], stft["lowering"]) == (
        "STFT",
        "16 points step 5 on 2x64x1 onesided",
        "matmul",
    )
    assert stft["predicted_conv_s"] > 0 and stft["predicted_s"] > 0
    assert [option["lowering"] for option in stft["options"]] == ["matmul"]
    assert (dft["op_type"], dft["lowering"], dft["code"]) == ("DFT", None, "no-lowering")


def test_options_select_among_all_kinds() -> None:
    model = parse(STFT)
    assert rewrite(model, select="all", exclude=["stft"]).report.rows[0].code == "not-selected"
    row = inspect(model, lowering="dft").rows[0]
    assert (row.code, row.reason) == ("no-lowering", "dft computes operators of another kind")
    assert inspect(model, lowering="matmul").rows[0].lowering == "matmul"


def test_auto_replaces_what_gains_and_leaves_what_does_not() -> None:
    text = "g (float[64,48,1] x) => (float[a,b,c] y) { y = DFT(x) }"
    assert inspect(parse(text)).rows[0].lowering == "matmul"
    row = inspect(parse("g (float[1,4,1] x) => (float[a,b,c] y) { y = DFT(x) }")).rows[0]
    assert (row.lowering, row.code) == (None, "no-gain")


def test_a_wrong_rewrite_is_found_out() -> None:
    model = parse(STFT)
    wrong = parse(STFT)
    wrong.graph.initializer[[t.name for t in wrong.graph.initializer].index("window")].CopyFrom(
        numpy_helper.from_array(WINDOW * np.float32(1.001), "window")
    )
    rewritten = rewrite(wrong, select="all").model
    result = validate(model, rewritten)
    assert not result.ok
    assert [(check.name, check.op_type, check.ok) for check in result.convs] == [("stft", "STFT", False)]
    assert result.bisection is not None and result.bisection.tensor == "y"
    good = validate(model, rewrite(model, select="all").model)
    assert good.ok and good.convs[0].relative_l2_rewritten < 5e-7
    assert "1 of 1 replaced operators held against float64" in good.verdict


def test_the_truth_decides_if_the_original_is_inexact() -> None:
    """ONNX Runtime's DFT of 1,000 points is off by 1e-4, what replaces it is not."""
    model = parse("g (float[4,1000,1] x) => (float[a,b,c] z) { y = DFT(x) z = Neg(y) }")
    result = rewrite(model, select="all")
    assert result.validation is not None and result.validation.ok
    (check,) = result.validation.convs
    assert check.relative_l2_rewritten < 5e-7
    x = draw(4, 1000, 1)
    truth = -fft(x, None, 1)
    assert_right(run_model(result.model, {"x": x})[0], truth, "float32")
    wrong = ModelProto()
    wrong.CopyFrom(result.model)
    (node,) = [node for node in wrong.graph.node if node.op_type == "Neg"]
    wrong.graph.node.remove(node)
    wrong.graph.node.extend([helper.make_node("Mul", [node.input[0], "wrong"], ["z"])])
    wrong.graph.initializer.append(numpy_helper.from_array(np.array(-1.0005, np.float32), "wrong"))
    assert not validate(model, wrong).ok


@pytest.mark.slow
def test_the_measured_choice_times_transforms() -> None:
    text = "g (float[1,16000,1] x) => (float[a,b,c,d] y) { y = STFT(x, n5, window) }"
    result = rewrite(parse(text), select="measure", budget_s=5.0, use_cache=False)
    (row,) = result.report.rows
    assert row.lowering == "matmul" and row.measured_s is not None and row.measured_conv_s is not None
