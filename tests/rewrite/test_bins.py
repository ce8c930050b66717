"""What models make of the bins of an STFT goes with it, if it stands alone there: what ran, and what stays."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from onnx_fft import rewrite, validate
from onnx_fft.model.scopes import walk_nodes
from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import Array
from scripts.shared.running import executed_op_types, run_model, run_reference, run_with_library
from tests.comparing import own_nodes
from tests.models import body_graph, build_model, info
from tests.native.fourier_models import draw_signal
from tests.native.test_basis import write_basis
from tests.transforms import WINDOW, draw, parse

pytestmark = pytest.mark.usefixtures("native_library")

STFT = "g (float[2,64,1] x) => (float[a,b,c] y) {{ s = STFT(x, n5, window) {0} }}"
CONV = "g (float[2,1,640] x) => (float[a,b,c] y) {{ s = Conv<strides=[16]>(x, basis) {0} }}"

STFTS = {
    "y = ReduceSumSquare<axes=[-1], keepdims=0>(s)": "Power",
    "y = ReduceSumSquare<axes=[3], keepdims=0>(s)": "Power",
    "y = ReduceL2<axes=[-1], keepdims=0>(s)": "Magnitude",
    "p = ReduceSumSquare<axes=[-1], keepdims=0>(s) y = Sqrt(p)": "Magnitude",
    "q = Mul(s, s) y = ReduceSum<keepdims=0>(q, last)": "Power",
    "q = Pow(s, two) y = ReduceSum<keepdims=0>(q, last)": "Power",
    "t = Slice(s, one, four, one) y = ReduceSumSquare<axes=[-1], keepdims=0>(t)": "Power",
    "t = Slice(s, one, four, second) q = Mul(t, t) p = ReduceSum<keepdims=0>(q, last) y = Sqrt(p)": "Magnitude",
    "r = Gather<axis=3>(s, n0) i = Gather<axis=-1>(s, n1) q = Mul(r, r) p = Pow(i, two) y = Add(p, q)": "Power",
}
"""Behind an STFT `s`, and what is made of its bins."""

CONVS = {
    "t = Reshape(s, parts) y = ReduceSumSquare<axes=[1], keepdims=0>(t)": "Power",
    "t = Reshape(s, parts) p = ReduceSumSquare<axes=[-3], keepdims=0>(t) y = Transpose<perm=[0,2,1]>(p)": "Power",
    "t = Reshape(s, parts) q = Mul(t, t) p = ReduceSum<keepdims=0>(q, one) y = Sqrt(p)": "Magnitude",
    "r, i = Split<axis=1>(s) q = Mul(r, r) p = Mul(i, i) t = Add(q, p) y = Sqrt(t)": "Magnitude",
    "r = Slice(s, zero, half, one) i = Slice(s, half, most, one) q = Pow(r, two) p = Mul(i, i) y = Add(p, q)": "Power",
}

STAYS = {
    STFT: (
        "t = Identity(s) y = ReduceSumSquare<axes=[-2], keepdims=0>(t)",
        "y = ReduceSumSquare<axes=[2], keepdims=0>(s)",
        "y = ReduceSumSquare<axes=[2, 3], keepdims=0>(s)",
        "y = ReduceSumSquare<axes=[3]>(s)",
        "t = Slice(s, zero, one, last) y = ReduceSumSquare<axes=[-1], keepdims=0>(t)",
        "q = Mul(s, s) t = ReduceSum<keepdims=0>(q, last) p = ReduceSum<keepdims=0>(q, last) y = Mul(p, t)",
        "q = Pow(s, three) y = ReduceSum<keepdims=0>(q, last)",
        "r = Gather<axis=3>(s, n0) i = Gather<axis=-1>(s, n0) q = Mul(r, r) p = Pow(i, two) y = Add(p, q)",
        "r = Gather<axis=3>(s, n0) i = Gather<axis=-1>(s, n1) q = Mul(r, i) p = Pow(i, two) y = Add(p, q)",
    ),
    CONV: (
        "t = Reshape(s, others) y = ReduceSumSquare<axes=[2], keepdims=0>(t)",
        "t = Reshape(s, parts) y = ReduceSumSquare<axes=[2], keepdims=0>(t)",
        "r, i = Split<axis=1>(s, uneven) q = ReduceSumSquare<axes=[1]>(r) p = Mul(i, i) y = Add(q, p)",
        "r = Slice(s, zero, half, one) i = Slice(s, zero, half, one) q = Mul(r, r) p = Mul(i, i) y = Add(p, q)",
    ),
}


def make(text: str, behind: str) -> ModelProto:
    model = parse(text.format(behind), opset=17)
    numbers = {"zero": 0, "one": 1, "four": 4, "second": 2, "last": -1, "half": 33, "most": 2**62}
    tensors: dict[str, Array] = {name: np.array([number]) for name, number in numbers.items()}
    tensors |= {"n0": np.array(0), "two": np.array(2, np.float32), "three": np.array(3, np.float32)}
    tensors |= {"parts": np.array([0, 2, 33, -1]), "others": np.array([0, 33, 2, -1]), "uneven": np.array([1, 65])}
    tensors |= {"basis": write_basis(64, 64)[:, None], "half_basis": write_basis(64, 64, dtype="float16")[:, None]}
    read = {name for node in model.graph.node for name in node.input}
    held = {tensor.name for tensor in model.graph.initializer}
    stored = build_model([], [], [], {name: value for name, value in tensors.items() if name in read - held})
    model.graph.initializer.extend(stored.graph.initializer)
    return model


def draw_input(model: ModelProto) -> dict[str, Array]:
    return {"x": draw(*(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim))}


@pytest.mark.parametrize(
    ("text", "behind", "form"),
    [*((STFT, behind, form) for behind, form in STFTS.items()), *((CONV, *case) for case in CONVS.items())],
)
def test_it_goes_with_the_transform(text: str, behind: str, form: str) -> None:
    model = make(text, behind)
    result = rewrite(model, target="native", select="all")
    assert result.validation is not None and result.validation.convs[0].ok is True
    op_type = ("STFT" if text is STFT else "FFTConv") + form
    assert [node.op_type for node in own_nodes(result.model) if node.domain == OPERATOR_DOMAIN] == [op_type]
    feeds = draw_input(model)
    executed = executed_op_types(result.model, feeds, with_library=True)
    assert set(executed) <= {op_type, "Slice"} and executed[op_type] == 1
    (truth,) = run_model(model, feeds)
    for run in (run_with_library, run_model, run_reference):
        np.testing.assert_allclose(run(result.model, feeds)[0], truth, rtol=2e-5, atol=2e-5 * truth.max())
    unread = {tensor.name for tensor in result.model.graph.initializer} - {
        name for node in result.model.graph.node for name in node.input
    }
    assert not unread


@pytest.mark.parametrize(("text", "behind"), [(text, behind) for text, cases in STAYS.items() for behind in cases])
def test_something_else_stays(text: str, behind: str) -> None:
    model = make(text, behind)
    result = rewrite(model, target="native", select="all")
    (node,) = (node for node in result.model.graph.node if node.domain == OPERATOR_DOMAIN)
    assert node.op_type in ("STFT", "FFTConv")
    feeds = draw_input(model)
    (truth,) = run_model(model, feeds)
    np.testing.assert_allclose(run_with_library(result.model, feeds)[0], truth, rtol=2e-4, atol=2e-5 * truth.max())


def test_bins_that_others_read_stay() -> None:
    model = make(STFT, "y = ReduceSumSquare<axes=[-1], keepdims=0>(s)")
    model.graph.output.append(info("s"))
    (node,) = (
        node
        for node in rewrite(model, target="native", select="all").model.graph.node
        if node.domain == OPERATOR_DOMAIN
    )
    assert node.op_type == "STFT"


HALF_STFT = "g (float16[2,64,1] x) => (float16[a,b,c] y) {{ s = STFT(x, n5, , n16) {0} }}"
HALF_CONV = "g (float16[2,1,640] x) => (float16[a,b,c] y) {{ s = Conv<strides=[16]>(x, half_basis) {0} }}"


@pytest.mark.parametrize(
    ("text", "behind"), [*((HALF_STFT, behind) for behind in list(STFTS)[:3]), (HALF_CONV, list(CONVS)[3])]
)
def test_float16_stays(text: str, behind: str) -> None:
    """Squares leave its range where the model rounds them, and only there: at the same places as before."""
    model = make(text, behind)
    result = rewrite(model, target="native", select="all")
    op_type = "STFT" if text is HALF_STFT else "FFTConv"
    assert [node.op_type for node in result.model.graph.node if node.domain == OPERATOR_DOMAIN] == [op_type]
    for scale in (1, 100):
        feeds = {"x": (scale * draw_input(model)["x"]).astype(np.float16)}
        (truth,), (y,) = run_model(model, feeds), run_with_library(result.model, feeds)
        np.testing.assert_array_equal(np.isinf(y), np.isinf(truth))
        finite = np.isfinite(truth)
        np.testing.assert_allclose(y[finite], truth[finite], rtol=2e-2, atol=2e-3 * scale**2)


@pytest.mark.parametrize("text", [STFT, CONV])
def test_a_wrong_one_is_found_out(text: str) -> None:
    behind = next(iter(STFTS if text is STFT else CONVS))
    model = make(text, behind)
    rewritten = rewrite(model, target="native", select="all").model
    assert validate(model, rewritten).convs[0].ok is True
    (node,) = (node for node in rewritten.graph.node if node.domain == OPERATOR_DOMAIN)
    for named in (node, rewritten.functions[0]):
        field = "op_type" if named is node else "name"
        setattr(named, field, getattr(named, field).replace("Power", "Magnitude"))
    assert validate(model, rewritten).convs[0].ok is False


def test_long_signals_are_checked_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """In columns: as many as the budget for one Conv pays for, which finds a wrong one out as well."""
    model = make(CONV, next(iter(CONVS)))
    rewritten = rewrite(model, target="native", select="all").model
    whole = validate(model, rewritten).convs[0]
    monkeypatch.setattr("onnx_fft.checks.convs.share_budget", lambda count: 5 * 66 * 64.0)
    part = validate(model, rewritten).convs[0]
    assert (whole.checked_outputs, part.checked_outputs) == (2 * 33 * 37, 33 * 5)
    assert whole.ok is part.ok is True and "at 165 of 2442 outputs" in part.sentence
    for named in (*rewritten.functions, *(node for node in rewritten.graph.node if node.domain == OPERATOR_DOMAIN)):
        field = "name" if named is rewritten.functions[0] else "op_type"
        setattr(named, field, "FFTConvMagnitude")
    assert validate(model, rewritten).convs[0].ok is False


def test_signals_without_parts() -> None:
    """`[batch, length]`, which ONNX Runtime takes for a real signal, though the standard has a last dimension of 1."""
    model = parse("g (float[2,L] x) => (float[a,b,c,d] y) { y = STFT(x, n5, window) }")
    x = draw(2, 64)
    frames = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), 16, axis=1)[:, ::5] * WINDOW
    spectra = np.fft.rfft(frames)
    for target, run in (("native", run_with_library), ("standard", run_model)):
        result = rewrite(model, target=target, select="all")
        assert result.validation is not None and result.validation.convs[0].ok is True
        (y,) = run(result.model, {"x": x})
        np.testing.assert_allclose(y[..., 0] + 1j * y[..., 1], spectra, atol=1e-5)


def test_in_a_branch_the_weight_of_the_graph_is_stored_anew() -> None:
    """The node has to know it when a session is made, and ONNX Runtime 1.17 shows it what is in the branch alone."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "stft", strides=[16]),
        helper.make_node("Split", ["c"], ["re", "im"], axis=1),
        helper.make_node("Mul", ["re", "re"], ["re2"]),
        helper.make_node("Mul", ["im", "im"], ["im2"]),
        helper.make_node("Add", ["re2", "im2"], ["b0"]),
    ]
    other = helper.make_node("Conv", ["x", "w"], ["b1"], "other", strides=[16])
    branches = {
        "then_branch": body_graph("then", nodes, [], [info("b0")]),
        "else_branch": body_graph("else", [other], [], [info("b1")]),
    }
    node = helper.make_node("If", ["flag"], ["y"], "if", **branches)
    inputs = [info("x", shape=(1, 1, 3000)), info("flag", TensorProto.BOOL, ())]
    model = build_model([node], inputs, [info("y")], {"w": write_basis(64, 64)[:, None]})
    rewritten = rewrite(model, target="native", select="all").model
    (power,) = (node for node in walk_nodes(rewritten) if node.op_type == "FFTConvPower")
    assert power.input[1] != "w"
    feeds = {"x": draw_signal((1, 1, 3000)), "flag": np.array(True)}
    (y,), (expected,) = run_with_library(rewritten, feeds), run_model(model, feeds)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * expected.max())
