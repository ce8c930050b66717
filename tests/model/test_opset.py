"""Conversion to a newer opset: ONNX Runtime computes the same before and after, or the node that hinders is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from onnx_fft import rewrite
from onnx_fft.errors import OpsetError
from onnx_fft.model.io import load_model
from onnx_fft.model.opset import convert_opset, model_opset
from onnx_fft.model.scopes import walk_bodies, walk_nodes
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model
from tests.comparing import dump
from tests.marks import since_onnxruntime
from tests.models import FLOAT, W1, X, build_model, conv, info, make_model, parse_model

RNG = np.random.default_rng(3)
CONSTANTS: dict[str, Array] = {
    "up": np.array([1, 1, 2, 3], np.float32),
    "down": np.array([1, 1, 0.5, 0.4], np.float32),
    "fraction": np.array([1, 1, 2.5, 2.5], np.float32),
    "mixed": np.array([1, 1, 0.5, 2], np.float32),
    "no_scales": np.zeros(0, np.float32),
    "two": np.ones(2, np.float32) + np.arange(2, dtype=np.float32),
    "four": np.arange(1, 5, dtype=np.float32),
    "k": np.array([2]),
    "w": RNG.standard_normal((1, 12, 8)).astype(np.float32),
    "r": RNG.standard_normal((1, 12, 4)).astype(np.float32),
    "boxes": np.array([[0, 0, 5, 4]], np.float32),
    "which": np.zeros(1, np.int64),
    "index": np.array([[[[1]]]]),
    "update": np.full((1, 1, 1, 1), 9, np.float32),
    "grid": RNG.uniform(-0.9, 0.9, (2, 3, 3, 2)).astype(np.float32),
}
"""Those that a node below may read."""

since_21 = since_onnxruntime(19, "knows opsets up to 20")

CASES = [
    ("Upsample<mode='nearest', scales=[1.0,1.0,2.0,3.0]>(x)", 7, 13),
    ("Upsample<mode='linear', scales=[1.0,1.0,2.0,2.0]>(x)", 8, 17),
    ("Upsample<mode='nearest'>(x, up)", 9, 17),
    ("Upsample<mode='linear'>(x, up)", 9, 17),
    ("Resize<mode='nearest'>(x, up)", 10, 17),
    ("Resize<mode='nearest'>(x, fraction)", 10, 18),
    ("Resize<mode='nearest'>(x, down)", 10, 17),
    ("Resize(x, up)", 10, 17),
    ("Resize<mode='linear'>(x, fraction)", 10, 19),
    ("Resize<mode='linear'>(x, mixed)", 10, 17),
    *(
        (f"{op}{axis}(x)", 12, 17)
        for op in ("Softmax", "LogSoftmax", "Hardmax")
        for axis in ("", "<axis=0>", "<axis=3>")
    ),
    ("Hardmax<axis=-2>(x)", 12, 17),
    ("Squeeze(Unsqueeze)", 11, 17),
    ("ReduceSum<axes=[1, 3], keepdims=0>(x)", 11, 17),
    ("ReduceSum(x)", 11, 17),
    *((f"Reduce{kind}<axes=[-1]>(x)", 12, 20) for kind in ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "SumSquare")),
    ("ReduceMean(x)", 13, 18),
    ("Pad<pads=[0,0,1,2,0,0,3,4]>(x)", 7, 17),
    ("Pad<pads=[0,0,1,2,0,0,3,4], value=1.5>(x)", 10, 18),
    ("Pad<pads=[0,0,1,2,0,0,3,4], mode='reflect'>(x)", 10, 11),
    ("Clip<min=-0.5>(x)", 10, 17),
    ("Clip<min=-0.5, max=0.25>(x)", 7, 13),
    ("Clip(x)", 10, 12),
    ("Slice<starts=[1, 2], ends=[3, 9], axes=[1, 2]>(x)", 9, 17),
    ("Slice<starts=[0, 1], ends=[2, 3]>(x)", 7, 13),
    ("Dropout<ratio=0.3>(x)", 9, 17),
    ("Dropout(x)", 10, 22),
    ("TopK<k=2>(x)", 9, 17),
    ("Split<axis=2, split=[6, 7]>(x)", 12, 18),
    ("Split<axis=1>(x)", 12, 18),
    ("BatchNormalization<spatial=1>(x, four, four, four, four)", 8, 17),
    ("BatchNormalization(x, four, four, four, four)", 9, 15),
    ("GroupNormalization<num_groups=2>(x, two, two)", 18, 21),
    ("GridSample<mode='bicubic'>(x, grid)", 16, 20),
    ("GridSample(x, grid)", 16, 20),
    ("RoiAlign<output_height=3, output_width=3>(x, boxes, which)", 10, 17),
    ("Scatter<axis=3>(x, index, update)", 9, 17),
    ("AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1, pads=[1,1,1,1]>(x)", 10, 19),
    ("MaxPool<kernel_shape=[3,3], strides=[2,2]>(x)", 7, 12),
    ("Gemm", 7, 13),
    ("Cast<to=7>(x)", 9, 19),
]
NEEDS_21 = ("GroupNormalization", "Dropout(x)")


def make_case(text: str, opset: int) -> ModelProto:
    nodes = {
        "Squeeze(Unsqueeze)": "u = Unsqueeze<axes=[0, 2]>(x) y = Squeeze<axes=[2]>(u)",
        "TopK<k=2>(x)": "y, i = TopK<k=2>(x)",
        "Gemm": "f = Flatten<axis=1>(x) t = Transpose(f) y = Gemm<alpha=0.5>(f, t, two)",
        "Split<axis=2, split=[6, 7]>(x)": "y, z = Split<axis=2, split=[6, 7]>(x)",
        "Split<axis=1>(x)": "y, z = Split<axis=1>(x)",
    }
    body = nodes.get(text, f"y = {text}").replace("'", '"')
    constants = {name: value for name, value in CONSTANTS.items() if name in body}
    kind = "int64" if text.startswith("Cast") else "float"
    model = parse_model(f"g (float[2,4,13,11] x) => ({kind} y) {{ {body} }}", constants, opset=opset)
    shape = run_model(model, {"x": np.zeros((2, 4, 13, 11), np.float32)})[0].shape
    model.graph.output[0].CopyFrom(info("y", TensorProto.INT64 if kind == "int64" else FLOAT, shape))
    return model


@pytest.mark.parametrize(
    ("text", "opset", "target"),
    [pytest.param(*case, marks=since_21) if case[0].startswith(NEEDS_21) else case for case in CASES],
)
def test_a_converted_node_computes_the_same(text: str, opset: int, target: int) -> None:
    model = make_case(text, opset)
    before = dump(model)
    feeds = {"x": RNG.standard_normal((2, 4, 13, 11)).astype(np.float32)}
    converted = convert_opset(model, target)
    assert dump(model) == before
    assert model_opset(converted) == target
    onnx.checker.check_model(converted, full_check=True)
    for reference, value in zip(run_model(model, feeds), run_model(converted, feeds), strict=True):
        assert value.shape == reference.shape and value.dtype == reference.dtype
        np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-6)


def test_what_did_not_change_stays_byte_for_byte() -> None:
    """Names, empty outputs, doc strings, sparse initializers, unknown domains: onnx's converter loses each."""
    grus = [
        helper.make_node("GRU", ["s", "w", "r"], ["", f"h{i}"], f"gru_{i}", doc_string=f"about {i}", hidden_size=4)
        for i in (1, 2)
    ]
    nodes = [helper.make_node("Transpose", ["x"], ["s"], "turn", perm=[1, 0, 2]), *grus]
    outputs = [info("h1", FLOAT, [1, 5, 4]), info("h2", FLOAT, [1, 5, 4])]
    constants = {name: CONSTANTS[name] for name in ("w", "r")}
    model = build_model(nodes, [info("x", FLOAT, [5, 2, 8])], outputs, constants, opset=7)
    values = helper.make_tensor("sparse", FLOAT, [1], [3.0])
    indices = helper.make_tensor("sparse_indices", TensorProto.INT64, [1], [2])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    converted = convert_opset(model, 17)
    assert converted.graph == model.graph
    feeds = {"x": RNG.standard_normal((5, 2, 8)).astype(np.float32)}
    del converted.graph.sparse_initializer[:]  # which ONNX Runtime refuses if nothing reads it
    del model.graph.sparse_initializer[:]
    for reference, value in zip(run_model(model, feeds), run_model(converted, feeds), strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-5)


def test_bodies_and_functions_are_converted_under_names_that_are_free() -> None:
    text = """g (float[2,4,3,5] x, bool c) => (float[2,4,3,5] y) {
        onnx_fft_opset = Unsqueeze<axes=[0]>(x)
        i = If (c) <
            then_branch = t () => (float[2,4,3,5] a) { a = Squeeze<axes=[0]>(onnx_fft_opset) },
            else_branch = e () => (float[2,4,3,5] b) { p = Squeeze<axes=[0]>(onnx_fft_opset) b = Hardmax(p) }
        >
        y = local.F(i)
    }
    <opset_import: ["" : 11], domain: "local"> F (a) => (b) { u = Unsqueeze<axes=[1]>(a) b = Squeeze<axes=[1]>(u) }"""
    model = parse_model(text, {}, opset=11)
    converted = convert_opset(model, 17)
    onnx.checker.check_model(converted, full_check=True)
    assert [entry.version for entry in converted.functions[0].opset_import if not entry.domain] == [17]
    names = [name for node in walk_nodes(converted) for name in node.output]
    assert len(set(names)) == len(names) - 1, "the function's own b apart"
    assert not any(attribute.name == "axes" for node in walk_nodes(converted) for attribute in node.attribute)
    for c in (False, True):
        feeds = {"x": RNG.standard_normal((2, 4, 3, 5)).astype(np.float32), "c": np.array(c)}
        np.testing.assert_array_equal(run_model(converted, feeds)[0], run_model(model, feeds)[0])


def test_a_mask_that_nothing_reads_goes() -> None:
    model = parse_model("g (float[2,3] x) => (float[2,3] y) { y, mask = Dropout<ratio=0.5>(x) }", {}, opset=9)
    model.graph.value_info.append(info("mask", FLOAT, [2, 3]))
    converted = convert_opset(model, 17)
    feeds = {"x": np.ones((2, 3), np.float32)}
    np.testing.assert_array_equal(run_model(converted, feeds)[0], feeds["x"])


def test_operators_of_opset_6() -> None:
    """ONNX Runtime has kernels for few of them; opset 6 aligned operands at the last axis, unless it was told to."""
    text = """g (float[2,3,4] x) => (float[2,3,4] y) {
        a = Add<broadcast=1>(x, four) d = Dropout<is_test=1>(a) y = Mul(d, x)
    }"""
    model = parse_model(text, {"four": CONSTANTS["four"]}, opset=6)
    x = RNG.standard_normal((2, 3, 4)).astype(np.float32)
    (y,) = run_model(convert_opset(model, 13), {"x": x})
    np.testing.assert_allclose(y, (x + CONSTANTS["four"]) * x, rtol=1e-6)


HINDRANCES = [
    ("[aligned] y = Add<broadcast=1, axis=0>(x, two)", 6, 17, "aligned: an operand that is aligned"),
    ("[dropped] y = Dropout(x)", 6, 17, "dropped: .*training mode"),
    ("y, m = Dropout(x) z = Mul(m, x)", 9, 17, "Dropout#0: the mask"),
    ("[sized] y = Resize(x, s)", 10, 17, "sized: scales that are computed"),
    ("[both] y = Resize(x, mixed)", 10, 17, "both: scales that are computed, or"),
    (
        '[odd] y = Resize<mode="linear", coordinate_transformation_mode="tf_half_pixel_for_nn">(x, s, s)',
        11,
        13,
        "odd: ",
    ),
    ("[apart] y = BatchNormalization<spatial=0>(x, four, four, four, four)", 8, 17, "apart: .*spatial=0"),
    ("y, a, b, c, d = BatchNormalization(x, four, four, four, four)", 9, 17, "BatchNormalization#0: .*training"),
    ("[strange] y = Imaginary(x)", 9, 17, "strange: ONNX has no Imaginary in opset 9"),
    ("[channels] y = PRelu(x, four)", 6, 7, "channels: PRelu of opset 6"),
    ("[bare] y = Softmax()", 12, 13, "bare: Softmax of opset 11 does not take 0 inputs"),
    ("[few] y = Resize(x)", 10, 11, "few: Resize of opset 10 does not take 1 inputs"),
    ("y, z = TopK(x)", 9, 10, "TopK#0: its attribute k is missing"),
    ("[cut] y = Slice<starts=1, ends=[2]>(x)", 9, 10, "cut: its attribute starts is missing, or of another type"),
    ("[none] y = Resize(x, no_scales)", 10, 11, "none: scales that are computed"),
    ("q = plugin.Unknown(x) [bounded] y = Clip<min=0.0>(q)", 10, 17, "bounded: 'q' is not known to hold floats"),
]


@pytest.mark.parametrize(("text", "opset", "target", "words"), HINDRANCES)
def test_what_cannot_be_converted_is_named(text: str, opset: int, target: int, words: str) -> None:
    constants = {name: value for name, value in CONSTANTS.items() if name in text}
    model = parse_model(f"g (float[2,4,3,5] x, float[4] s) => (float y) {{ {text} }}", constants, opset=opset)
    with pytest.raises(OpsetError, match=rf"opset {opset} .* to opset {target} \({words}"):
        convert_opset(model, target)


def test_training_graphs_that_would_change_are_named() -> None:
    """They go by the model's opset, and nobody here can say whether training still does the same."""
    model = make_model([conv("x", "y")], opset=12)
    graph = helper.make_graph([helper.make_node("Squeeze", ["w"], ["s"], "less", axes=[0])], "a", [], [info("s")])
    model.training_info.add().algorithm.CopyFrom(graph)
    with pytest.raises(OpsetError, match=r"less: in training_info nothing is converted"):
        convert_opset(model, 13)
    graph.node[0].CopyFrom(helper.make_node("Relu", ["w"], ["s"], "more"))
    model.training_info[0].algorithm.CopyFrom(graph)
    assert convert_opset(model, 13).training_info == model.training_info


def test_constants_of_another_file_are_read(tmp_path: Path) -> None:
    """The scales say how a Resize is written; an array of four numbers may lie in a file, too."""
    model = make_case("Resize<mode='nearest'>(x, up)", 10)
    expected = convert_opset(model, 17)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    loaded = load_model(tmp_path / "m.onnx")
    assert convert_opset(loaded.model, 17, loaded.base_dir).graph.node == expected.graph.node


def test_a_scan_of_opset_8_is_named() -> None:
    identity = helper.make_node("Identity", ["a"], ["b"])
    body = helper.make_graph([identity], "body", [info("a", FLOAT, [3])], [info("b", FLOAT, [3])])
    scan = helper.make_node("Scan", ["", "x"], ["y"], "walk", body=body, num_scan_inputs=1)
    model = make_model([scan], {}, x=(1, 4, 3), y=(1, 4, 3), opset=8)
    with pytest.raises(OpsetError, match=r"walk: Scan is another operator from opset 9 on"):
        convert_opset(model, 9)


def resized_model() -> ModelProto:
    """A Conv, and a Resize whose rounding opset 11 changes for scales that are not known."""
    nodes = [conv("x", "c", name="only"), helper.make_node("Resize", ["c", "scales"], ["y"], "sized")]
    return make_model(nodes, y=None, opset=10, inputs=[info("scales", FLOAT, [4])])


def test_without_a_conversion_sites_are_replaced_otherwise() -> None:
    model = resized_model()
    with pytest.raises(OpsetError, match=r"sized: .*matmul"):
        rewrite(model, lowering="dft", validate=False)
    with pytest.raises(OpsetError, match="sized: "):
        rewrite(model, opset=17, validate=False)
    report = rewrite(model, select="all", validate=False).report
    assert [row.lowering for row in report.rows] == ["matmul"] and report.converted_from is None


def test_a_conversion_alone_is_validated() -> None:
    model = make_model([conv("x", "c"), helper.make_node("Hardmax", ["c"], ["y"])], {"w1": W1}, opset=12)
    result = rewrite(model, opset=17, exclude=["."])
    assert result.validation is not None and result.validation.ok and result.report.converted_from == 12
    before, after = (run_model(each, {"x": X})[0] for each in (model, result.model))
    np.testing.assert_array_equal(after, before)
    assert len(list(walk_bodies(result.model))) == 1
