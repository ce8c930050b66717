"""Models read: a clear error for what is no model; shapes inferred and fixed, opsets converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from onnx_fft.errors import InvalidModelError, OpsetError, UsageError
from onnx_fft.model.io import load_model
from onnx_fft.model.opset import convert_opset, model_opset
from onnx_fft.model.scopes import walk_bodies
from onnx_fft.model.shapes import infer_shapes, set_input_shapes
from scripts.shared.running import open_session, run_model
from scripts.shared.standard_cases import DATA
from tests.model.external import TEXT, parse
from tests.sites.finding import find_convs

# --- loading ------------------------------------------------------------------------------------------------------


def test_given_model_is_copied() -> None:
    model = parse()
    load_model(model).model.graph.node[0].name = "changed"
    assert model.graph.node[0].name == "conv"


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path, word in ((tmp_path / "none.onnx", "not a file"), (tmp_path, "a directory")):
        with pytest.raises(UsageError, match=word):
            load_model(path)


@pytest.mark.parametrize("damage", ["empty", "text", "half", "last byte", "no graph", "no opset", "noise"])
def test_what_is_no_model(tmp_path: Path, damage: str) -> None:
    model = parse()
    data = model.SerializeToString()
    without = ModelProto()
    without.CopyFrom(model)
    without.ClearField("graph" if damage == "no graph" else "opset_import")
    contents = {
        "empty": b"",
        "text": b"<!DOCTYPE html><html><body>404</body></html>",
        "half": data[: len(data) // 2],
        "last byte": data[:-1],
        "noise": bytes(np.random.default_rng(4).integers(0, 256, 500, np.uint8)),
    }
    path = tmp_path / "bad.onnx"
    path.write_bytes(contents.get(damage, without.SerializeToString()))
    with pytest.raises(InvalidModelError, match=r"got .*bad\.onnx.*; expected .*; export"):
        load_model(path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("g (float[1] x) => (float[1] y) { a = Add(b, x) b = Add(a, x) y = Relu(b) }", "'b'"),
        ("g (float[1] x) => (float[1] y) { y = Relu(y) }", "'y'"),
        ("g (float[1] x) => (float[1] y) { y = Relu(missing) }", "'missing'"),
        ("g (float[1] x) => (float[1] y) { y = Relu(x) y = Neg(x) }", "twice"),
        ("g (float[1] x) => (float[1] x) { x = Relu(x) }", "twice"),
        ("g (float[1] x) => (float[1] y) { z = Relu(x) }", "no node"),
        ("g (float[1] x) => (float[1] y) <float[1] q = {1}> { y = Add(x, q) }", "shape"),
        (
            "g (bool x) => (float[1] y) { y = If (x) <then_branch = t () => (float[1] a) { a = Relu(q) },"
            " else_branch = e () => (float[1] b) { b = Neg(W) }> q = Neg(y) }",
            "'q'.*a cycle",
        ),
        (
            'g (float[1] x) => (float[1] y) { y = local.F(x) } <opset_import: ["" : 17], domain: "local">'
            " F (a) => (b) { b = Add(a, W) }",
            "'W'",
        ),
    ],
)
def test_names_that_do_not_add_up(text: str, word: str) -> None:
    model = parse(text)
    for tensor in model.graph.initializer:
        if tensor.name == "q":
            tensor.dims[0] = -1
    with pytest.raises(InvalidModelError, match=word):
        load_model(model)


def test_names_and_texts_of_no_encoding(tmp_path: Path) -> None:
    model = parse()
    model.graph.node[0].doc_string = "~~~"
    model.graph.node[0].name = "+++"
    data = model.SerializeToString()
    (tmp_path / "doc.onnx").write_bytes(data.replace(b"~~~", b"\xff\xfe\xfd"))
    assert len(find_convs(load_model(tmp_path / "doc.onnx"))) == 1
    (tmp_path / "name.onnx").write_bytes(data.replace(b"+++", b"\xff\xfe\xfd"))
    with pytest.raises(InvalidModelError, match="UTF-8"):
        load_model(tmp_path / "name.onnx")


def test_every_model_of_the_standard_loads() -> None:
    paths = sorted(DATA.rglob("*.onnx"))
    assert len(paths) > 100
    for path in paths:
        assert load_model(path).model.SerializeToString() == onnx.load(path).SerializeToString()


# --- shapes -------------------------------------------------------------------------------------------------------


def test_inference_needs_no_large_data(tmp_path: Path) -> None:
    text = """g (float[N,3,8,50] x) => (float[A,B,C,D] y) {
        c = Conv(x, W)
        u = plugin.Unknown(c)
        y = Reshape(c, s)
    }"""
    model = parse(text)
    model.graph.initializer.insert(0, numpy_helper.from_array(np.array([0, 4, 11, 6]), "s"))
    convert_model_to_external_data(model, location="m.bin", size_threshold=0)
    onnx.save(model, tmp_path / "m.onnx")
    loaded = load_model(tmp_path / "m.onnx")
    with (tmp_path / "m.bin").open("r+b") as file:
        file.truncate(32)  # the shape is there, the weight is not
    inferred = infer_shapes(loaded.model, tmp_path)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    assert shapes["c"] == [0, 4, 6, 11]
    assert shapes["y"][1:] == [4, 11, 6]
    assert len(inferred.SerializeToString()) < 3000


@pytest.mark.parametrize(
    ("inputs", "main", "body", "rank"),
    [
        ("", "", "", 4),
        ("", "axes = Constant<value = int64[2] {0, 4}>()", "", 5),
        (", int64[1] axes", "", "", None),  # a default, which the caller may change
        ("", "", "axes = Identity(n)", None),
    ],
    ids=["initializer", "constant", "input", "hidden"],
)
def test_bodies_know_integers_of_the_graph_around_them(inputs: str, main: str, body: str, rank: int | None) -> None:
    branch = f"() => (float[A] y) {{ {body} u = Unsqueeze(x, axes) y = Identity(u) }}"
    model = parse(f"""g (float[3,5,7] x, int64[K] n, bool c{inputs}) => (float[A] z) {{
        {main} z = If (c) <then_branch = then {branch}, else_branch = other {branch}>
    }}""")
    del model.graph.initializer[:]
    if "axes" not in main:
        model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axes"))
    for graph in list(walk_bodies(infer_shapes(model)))[1:]:
        shapes = {value.name: value.type.tensor_type for value in graph.value_info}
        assert (len(shapes["u"].shape.dim) if shapes["u"].HasField("shape") else None) == rank


def test_input_shapes() -> None:
    model = parse()
    set_input_shapes(model, {"x": (2, 3, 30, 8)})
    assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 30, 8]


@pytest.mark.parametrize(
    ("name", "shape", "word"),
    [
        ("W", (1,), "one of 'x'"),
        ("x", (1, 3, 8), "N, 3, H, 8"),
        ("x", (1, 4, 8, 8), "3"),
        ("x", (0, 3, 8, 8), "positive"),
    ],
)
def test_impossible_input_shapes(name: str, shape: tuple[int, ...], word: str) -> None:
    model = parse()
    before = model.SerializeToString()
    with pytest.raises(UsageError, match=word):
        set_input_shapes(model, {name: shape})
    assert model.SerializeToString() == before


# --- opset --------------------------------------------------------------------------------------------------------


def test_conversion_loses_nothing() -> None:
    text = """g (float[1,3,8,50] x, bool c) => (float[1,4,6,11] y) <float[1,4,6,11] h> {
        [conv] h = Conv(x, W)
        [if] i = If (c) <
            then_branch = t () => (float[1,4,6,11] a) { [inner] u = Unsqueeze<axes=[0]>(h) a = Squeeze<axes=[0]>(u) },
            else_branch = e () => (float[1,4,6,11] b) { two = Constant<value_float=2.0>() b = Mul(h, two) }
        >
        [softmax] y = Softmax(i)
    }"""
    model = parse(text, 12)
    model.doc_string, model.producer_name, model.domain, model.model_version = "doc", "maker", "dom", 7
    model.graph.doc_string = "graph"
    inner = next(a.g for a in model.graph.node[1].attribute if a.name == "then_branch").node[0]
    for held in (model, model.graph, model.graph.node[0], inner, model.graph.input[0]):
        held.metadata_props.add(key="names", value="cat,dog")
    model.graph.node[0].doc_string = "kept"
    model.graph.quantization_annotation.add(tensor_name="h")
    converted = convert_opset(model, 17)
    onnx.checker.check_model(converted, full_check=True)
    assert model_opset(converted) == 17
    assert converted.graph.node[0] == model.graph.node[0]
    inner_after = next(a.g for a in converted.graph.node[1].attribute if a.name == "then_branch")
    assert next(node for node in inner_after.node if node.name == "inner").metadata_props == inner.metadata_props
    for before, after in ((model, converted), (model.graph, converted.graph)):
        for field in ("doc_string", "metadata_props"):
            assert getattr(before, field) == getattr(after, field)
    for field in ("input", "output", "initializer", "value_info", "quantization_annotation"):
        assert list(getattr(model.graph, field)) == list(getattr(converted.graph, field)), field
    assert (converted.producer_name, converted.domain, converted.model_version) == ("maker", "dom", 7)
    names = [node.name for node in converted.graph.node if node.name]
    assert len(names) == len(set(names))
    for c in (False, True):
        feeds = {"x": np.ones((1, 3, 8, 50), np.float32), "c": np.array(c)}
        y, y_converted = (run_model(held, feeds)[0] for held in (model, converted))
        np.testing.assert_allclose(y_converted, y, rtol=1e-6)


def test_same_opset_is_a_copy() -> None:
    model = parse()
    converted = convert_opset(model, 17)
    assert converted == model and converted is not model


@pytest.mark.parametrize(
    ("text", "opset", "target", "word"),
    [
        (TEXT, 17, 16, "older"),
        ("g (float[1] x) => (float[1] y) { y = Imaginary(x) }", 9, 17, "Imaginary"),
        (TEXT, 15, 10000, "version"),
    ],
)
def test_impossible_conversions(text: str, opset: int, target: int, word: str) -> None:
    with pytest.raises(OpsetError, match=f"to opset {target} ") as caught:
        convert_opset(parse(text, opset), target)
    assert word in str(caught.value)


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.parametrize("name", ["ch_PP-OCRv4_det", "rivagan_encoder", "nmp", "silero_vad_16k_op15"])
def test_real_models_convert(real_model: Callable[[str], Path], name: str) -> None:
    loaded = load_model(real_model(name))
    converted = convert_opset(loaded.model, 17)
    onnx.checker.check_model(converted, full_check=True)
    open_session(converted)
    assert [site.name for site in find_convs(load_model(converted))] == [site.name for site in find_convs(loaded)]


LACKS: dict[str, tuple[str, str]] = {
    "an input": ("y = Sigmoid()", "Sigmoid has 0 inputs in place of 1"),
    "an input in opset 7": ("y = Upsample()", "Upsample has 0 inputs in place of 1"),
    "a weight": ("y = Conv(x)", "Conv has 1 inputs in place of 2"),
    "an attribute": ("y = Concat(x)", "Concat has no attribute 'axis'"),
    "a type": ("y = Conv<pads = 1.5>(x, W)", "'pads' of type FLOAT in place of INTS"),
    "a body": ("y = If<then_branch = t () => (float a) { a = Neg(x) }>(x)", "no attribute 'else_branch'"),
}


@pytest.mark.parametrize("lack", LACKS)
def test_a_node_that_lacks_what_its_operator_needs(lack: str) -> None:
    text, problem = LACKS[lack]
    opset = 7 if "opset" in lack else 17
    with pytest.raises(InvalidModelError, match=problem):
        load_model(parse(f"g (float[1, 3, 9, 9] x) => (float y) {{ {text} }}", opset=opset))
    foreign = text.replace("y = ", "y = plugin.", 1)
    load_model(parse(f"g (float[1, 3, 9, 9] x) => (float y) {{ {foreign} }}", opset=opset))


def test_a_node_without_outputs_and_an_operator_that_onnx_does_not_know() -> None:
    model = parse()
    model.graph.node.add(op_type="Relu", input=["x"], name="idle")
    with pytest.raises(InvalidModelError, match="'idle' of operator Relu has 0 outputs"):
        load_model(model)
    model.opset_import[0].version = 99
    load_model(model)
    model.opset_import[0].version = 17
    model.graph.node[-1].op_type = "NoSuchOperator"
    load_model(model)
