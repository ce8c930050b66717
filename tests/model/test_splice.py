"""A splice changes the replaced nodes and nothing else; the fragment here is the same Conv, written plainly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft.model.io import load_model
from onnx_fft.model.splice import unused_prefix
from onnx_fft.sites.conv import ConvSite
from scripts.shared.conv_models import Array
from scripts.shared.running import list_op_types, run_model
from scripts.shared.standard_cases import STANDARD_ATOL, STANDARD_RTOL, Case, conv_cases, converted_cases
from tests.model.splicing import splice_site
from tests.models import parse_model
from tests.sites.finding import find_convs

RNG = np.random.default_rng(3)
CONSTANTS = {"W": RNG.random((3, 3, 3, 3), np.float32), "V": RNG.random((3, 3, 3, 3), np.float32)}
CONSTANTS["B"] = RNG.random(3, np.float32)


def parse(text: str, **versions: int) -> ModelProto:
    """A model from ONNX's text form with the weights `W` and `V` and the vector `B`."""
    return parse_model(text, CONSTANTS, **versions)


def make_fragment(site: ConvSite, prefix: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """The convolution of `site` as a plain Conv, and a Reshape to its own shape by a constant all share."""
    spec, weights = site.spec, site.read_weights()
    assert spec is not None
    constants = {"w": weights.weight} | ({} if weights.bias is None else {"b": weights.bias})
    tensors = [numpy_helper.from_array(v.astype(spec.dtype), prefix + k) for k, v in constants.items()]
    tensors.append(numpy_helper.from_array(np.zeros(spec.rank + 2, np.int64), f"{prefix}shape"))
    bias = [site.bias_input or f"{prefix}b"] if spec.has_bias else []
    conv = helper.make_node(
        "Conv",
        [site.input, f"{prefix}w", *bias],
        [f"{prefix}y"],
        f"{prefix}Conv",
        group=spec.group,
        strides=spec.strides,
        dilations=spec.dilations,
        pads=(*spec.pads_begin, *spec.pads_end),
    )
    reshape = helper.make_node("Reshape", [f"{prefix}y", f"{prefix}shape"], [site.output], f"{prefix}Reshape")
    return [conv, reshape], tensors


def splice_all(model: ModelProto, sites: Iterable[ConvSite] | None = None) -> ModelProto:
    """A copy with every Conv replaced."""
    loaded = load_model(model)
    prefix = unused_prefix(loaded.model)
    for number, site in enumerate(find_convs(loaded) if sites is None else sites):
        splice_site(site, *make_fragment(site, f"{prefix}{number}/"), lowering="plain")
    return loaded.model


def assert_same_function(before: ModelProto, after: ModelProto, **feeds: Array) -> None:
    onnx.checker.check_model(after, full_check=True)
    feeds = {"x": np.random.default_rng(5).standard_normal((1, 3, 9, 9)).astype(np.float32), **feeds}
    for a, b in zip(run_model(before, feeds), run_model(after, feeds), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def names(messages: Iterable[TensorProto | onnx.ValueInfoProto | NodeProto]) -> list[str]:
    return [message.name for message in messages]


def body_of(model: ModelProto, attribute: str) -> GraphProto:
    body: GraphProto = next(a.g for node in model.graph.node for a in node.attribute if a.name == attribute)
    return body


def test_everything_else_stays() -> None:
    text = """g (float[1,3,9,9] x) => (float[1,3,7,7] z) <float[1,3,9,9] a, float[1,3,7,7] y> {
        [first] a = Relu(x)
        [conv] y = Conv(a, W, B)
        [last] z = Relu(y)
    }"""
    model = parse(text)
    model.doc_string, model.producer_name, model.domain, model.model_version = "doc", "maker", "dom", 7
    for held in (model, model.graph, model.graph.node[0], model.graph.node[2]):
        held.metadata_props.add(key="names", value="cat,dog")
    model.graph.quantization_annotation.add(tensor_name="a")
    model.graph.node[2].doc_string = "kept"
    model.opset_import.add(domain="elsewhere", version=3)
    after = splice_all(model)
    assert_same_function(model, after)
    assert [node.op_type for node in after.graph.node] == ["Relu", "Conv", "Reshape", "Relu"]
    assert names(after.graph.initializer) == ["V", "onnx_fft/0/w", "onnx_fft/0/b", "onnx_fft/0/shape"]
    for held in (model, after):
        kept = [held.graph.node[0], held.graph.node[-1]]
        del held.graph.node[:]
        held.graph.node.extend(kept)
        del held.graph.initializer[:]
    assert after.SerializeToString() == model.SerializeToString()


def test_new_nodes_say_what_they_replace() -> None:
    after = splice_all(parse("g (float[1,3,9,9] x) => (float[1,3,7,7] y) { [conv] y = Conv(x, W) }"))
    for node in after.graph.node:
        marks = {entry.key: entry.value for entry in node.metadata_props}
        assert marks["onnx_fft.replaces"] == "conv"
        assert marks["onnx_fft.lowering"] == "plain"
        assert marks["onnx_fft.version"]


def test_shared_weights_go_with_their_last_reader() -> None:
    text = """g (float[1,3,9,9] x) => (float[1,3,7,7] a, float[1,3,7,7] b, float[3] B) {
        a = Conv(x, W, B)
        b = Conv(x, W, B)
    }"""
    loaded = load_model(parse(text))
    first, second = find_convs(loaded)
    splice_site(first, *make_fragment(first, "p/"))
    assert names(loaded.model.graph.initializer) == ["W", "V", "B", "p/w", "p/b", "p/shape"]
    splice_site(second, *make_fragment(second, "q/"))
    # B is a graph output and V was read by nobody before; equal constants are stored once
    assert names(loaded.model.graph.initializer) == ["V", "B", "p/w", "p/b", "p/shape"]
    assert_same_function(parse(text), loaded.model)


def test_batch_normalization_goes_along() -> None:
    text = """g (float[1,3,9,9] x) => (float[1,3,7,7] y, float[1,3,7,7] z) <float[1,3,7,7] h, float[1,3,7,7] y> {
        h = Conv(x, W, B)
        z = Conv(x, V)
        y = BatchNormalization(h, B, B, B, B)
    }"""
    model = parse(text)
    model.graph.quantization_annotation.add(tensor_name="h")
    after = splice_all(model)
    assert "BatchNormalization" not in list_op_types(after)
    assert names(after.graph.value_info) == ["y"]
    assert not after.graph.quantization_annotation
    assert not {"W", "V", "B"} & set(names(after.graph.initializer))
    assert_same_function(model, after)


def test_constant_chains_go_along_and_no_further() -> None:
    text = """g (float[1,3,9,9] x) => (float[1,3,7,7] y, float[3,3,3,3] kept) {
        c = Constant<value_float = 2.0>()
        d = Identity(W)
        w = Mul(d, c)
        y = Conv(x, w)
        kept = Neg(d)
    }"""
    model = parse(text)
    after = splice_all(model)
    assert_same_function(model, after)
    assert [node.op_type for node in after.graph.node] == ["Identity", "Conv", "Reshape", "Neg"]
    assert "W" in names(after.graph.initializer)


def test_a_chain_with_another_reader_stays() -> None:
    text = """g (float[1,3,9,9] x) => (float[1,3,7,7] y, float[3,3,3,3] kept) {
        c = Concat<axis=1>(W, V)
        a, b = Split<axis=1>(c)
        y = Conv(x, a)
        kept = Neg(b)
    }"""
    model = parse(text)
    after = splice_all(model)
    assert [node.op_type for node in after.graph.node] == ["Concat", "Split", "Conv", "Reshape", "Neg"]
    assert_same_function(model, after)


def test_run_time_bias_is_read_by_the_fragment() -> None:
    text = "g (float[1,3,9,9] x) => (float[1,3,7,7] y) { b = ReduceMax<axes=[0,2,3], keepdims=0>(x) y = Conv(x, W, b) }"
    model = parse(text)
    after = splice_all(model)
    assert [node.op_type for node in after.graph.node] == ["ReduceMax", "Conv", "Reshape"]
    assert_same_function(model, after)


def test_old_models_keep_their_inputs() -> None:
    text = """g (float[1,3,9,9] x, float[3,3,3,3] W, float[3,3,3,3] V, float[3] B) => (float[1,3,5,5] z) {
        y = Conv(x, W, B)
        z = Conv(y, V)
    }"""
    model = parse(text, ir_version=3, opset=8)
    loaded = load_model(model)
    site = find_convs(loaded)[0]
    splice_site(site, *make_fragment(site, "p/"))
    assert names(loaded.model.graph.input) == ["x", "V", "p/w", "p/b", "p/shape"]
    assert names(loaded.model.graph.initializer) == ["V", "p/w", "p/b", "p/shape"]
    assert_same_function(model, loaded.model)


IF = """g (bool c, float[1,3,9,9] x) => (float[1,3,7,7] y) {
    U = Identity(V)
    y = If (c) <
        then_branch = t () => (float[1,3,7,7] a) { a = Conv(x, W, B) },
        else_branch = e () => (float[1,3,7,7] b) { b = Conv(x, U, B) }
    >
}"""


def test_bodies_of_old_models_keep_constants_outside() -> None:
    model = parse(IF, ir_version=3, opset=8)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    after = splice_all(model)
    assert names(body_of(after, "then_branch").initializer) == []
    for branch in (False, True):
        assert_same_function(model, after, c=np.array(branch))


def test_bodies_release_weights_of_the_scopes_around() -> None:
    model = parse(IF)
    after = splice_all(model)
    assert [node.op_type for node in after.graph.node] == ["If"]
    assert names(after.graph.initializer) == []
    assert names(body_of(after, "then_branch").initializer) == [f"onnx_fft/0/{name}" for name in ("w", "b", "shape")]
    for branch in (False, True):
        assert_same_function(model, after, c=np.array(branch))


def test_weights_that_a_body_reads_stay() -> None:
    text = IF.replace("U = Identity(V)", "U = Conv(V, W)").replace("Conv(x, U, B)", "Identity(x)")
    loaded = load_model(parse(text.replace("Conv(V, W)", "Conv(x, W)")))
    outer = find_convs(loaded)[0]
    splice_site(outer, *make_fragment(outer, "p/"))
    assert "W" in names(loaded.model.graph.initializer)


def test_functions_get_constant_nodes() -> None:
    text = """g (float[1,3,9,9] x) => (float[1,3,9,9] y) { y = local.F(x) }
    <opset_import: ["" : 17], domain: "local"> F (a) => (b) {
        k = Constant<value = float[3,3,1,1] {1, 2, 3, 4, 5, 6, 7, 8, 9}>()
        r = Relu(a)
        c = Conv(r, k)
        b = Conv(c, k)
    }"""
    model = parse(text)
    after = splice_all(model)
    (function,) = after.functions
    assert [node.op_type for node in function.node] == [
        "Constant",
        "Constant",
        "Relu",
        "Conv",
        "Reshape",
        "Conv",
        "Reshape",
    ]
    assert_same_function(model, after)


def test_prefix_avoids_every_name() -> None:
    model = parse(IF)
    assert unused_prefix(model) == "onnx_fft/"
    body_of(model, "then_branch").node[0].name = "onnx_fft/Conv"
    assert unused_prefix(model) == "onnx_fft_1/"
    body_of(model, "else_branch").output[0].name = body_of(model, "else_branch").node[0].output[0] = "onnx_fft_1/b"
    assert unused_prefix(model) == "onnx_fft_2/"


@pytest.mark.parametrize("case", [*conv_cases(), *converted_cases()], ids=lambda case: case.name)
def test_standard_cases_survive(case: Case) -> None:
    after = splice_all(case.model)
    onnx.checker.check_model(after, full_check=True)
    for output, expected in zip(run_model(after, case.feeds), case.expected, strict=True):
        np.testing.assert_allclose(output, expected, rtol=STANDARD_RTOL, atol=STANDARD_ATOL)


@pytest.mark.real_model
def test_silero_survives(real_model: Callable[[str], Path]) -> None:
    path = real_model("silero_vad")
    model = onnx.load(path)
    after = splice_all(model)
    onnx.checker.check_model(after, full_check=True)
    rng = np.random.default_rng(5)
    feeds = {
        "input": rng.standard_normal((1, 512)).astype(np.float32),
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(16000),
    }
    for a, b in zip(run_model(path, feeds), run_model(after, feeds), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
