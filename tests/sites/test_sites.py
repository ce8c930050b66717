"""Every Conv is found, with the geometry ONNX Runtime computes, or with a reason why it is left alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_fft.errors import InvalidModelError
from onnx_fft.model.io import LoadedModel, load_model
from onnx_fft.model.scopes import Refused
from onnx_fft.sites.geometry import Dims, resolve_spec
from onnx_fft.sites.spec import Activation, ConvSpec, describe_spec
from scripts.shared.conv_models import Array
from scripts.shared.running import list_op_types, run_model
from scripts.shared.standard_cases import conv_cases, converted_cases, light_paths
from tests.sites.finding import find_convs, only_site, parse, spec_of

FLOAT = TensorProto.FLOAT


def resolve(*, weight: tuple[int, ...] = (4, 3, 3, 3), x: Dims | None = (1, 3, 8, 8), **attributes: Any) -> ConvSpec:
    return resolve_spec(helper.make_node("Conv", ["x", "w"], ["y"], **attributes), weight, FLOAT, x, has_bias=False)


def test_absent_attributes() -> None:
    spec = spec_of(parse("g (float[N,3,8,9] x) => (float[N,4,6,7] y) { y = Conv(x, W, B) }"))
    assert spec == ConvSpec(None, 3, 4, 1, (8, 9), (3, 3), (1, 1), (1, 1), (0, 0), (0, 0), "float32", has_bias=True)


def test_all_attributes() -> None:
    text = """g (float[2,6,20,20] x) => (float[2,4,N,M] y) {
        y = Conv<group=2, kernel_shape=[3,3], strides=[1,2], dilations=[2,1], pads=[1,2,3,4]>(x, W)
    }"""
    spec = spec_of(parse(text))
    assert spec == ConvSpec(2, 6, 4, 2, (20, 20), (3, 3), (1, 2), (2, 1), (1, 2), (3, 4), "float32")
    assert spec.output_extents == (20, 12)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_auto_pad_is_what_onnx_runtime_computes(mode: str) -> None:
    weight = np.array([1.0, 2.0, 4.0, 8.0], np.float32)
    for extent, kernel, stride in product(range(1, 8), range(1, 5), range(1, 4)):
        if kernel > extent if mode == "VALID" else (-(-extent // stride) - 1) * stride + kernel - extent < -1:
            continue  # no output, or refused
        x = np.arange(1, extent + 1, dtype=np.float32).reshape(1, 1, -1)
        stated: dict[str, Any] = {"auto_pad": mode, "strides": [stride]}
        spec = resolve(weight=(1, 1, kernel), x=(1, 1, extent), **stated)
        explicit = {"pads": [*spec.pads_begin, *spec.pads_end], "strides": [stride]}
        y, y_explicit = (run_conv(x, weight[:kernel], attributes) for attributes in (stated, explicit))
        np.testing.assert_array_equal(y, y_explicit, err_msg=f"{extent=} {kernel=} {stride=}")
        assert y.shape[2:] == spec.output_extents


def run_conv(x: Array, weight: Array, attributes: dict[str, Any]) -> Array:
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    x_info, y_info = (helper.make_tensor_value_info(name, FLOAT, [1, 1, None]) for name in "xy")
    weights = [numpy_helper.from_array(weight.reshape(1, 1, -1), "w")]
    graph = helper.make_graph([node], "conv", [x_info], [y_info], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    return run_model(model, {"x": x})[0]


def test_same_padding_of_dynamic_extents() -> None:
    spec = resolve(weight=(4, 3, 2, 2), x=(None, 3, None, None), auto_pad="SAME_UPPER")
    assert (spec.pads_begin, spec.pads_end, spec.extents) == ((0, 0), (1, 1), (None, None))
    assert spec.auto_pad == ""


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_same_padding_of_open_extents_is_that_of_each_extent(mode: str) -> None:
    stated: dict[str, Any] = {"weight": (4, 3, 5, 4), "auto_pad": mode, "strides": [3, 2]}
    spec = resolve(x=(None, 3, None, 9), **stated)
    assert spec.auto_pad == mode
    pads = "0x1:0x2" if mode == "SAME_UPPER" else "0x2:0x1"
    assert describe_spec(spec) == f"5x4 3->4 on ?x?x9 stride 3x2 pads {pads} {mode}"
    for extent in range(1, 20):
        assert spec.at((extent, 9)) == resolve(x=(None, 3, extent, 9), **stated)


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("bad-kernel-shape", {"kernel_shape": [3, 5]}),
        ("bad-kernel-shape", {"kernel_shape": [3]}),
        ("bad-strides", {"strides": [1]}),
        ("bad-strides", {"strides": [0, 1]}),
        ("bad-strides", {"strides": [1.5, 1.0]}),
        ("bad-dilations", {"dilations": [1, -1]}),
        ("bad-dilations", {"dilations": [1, 1, 1]}),
        ("bad-pads", {"pads": [1, 1]}),
        ("bad-pads", {"pads": [1, 1, -1, 1]}),
        ("bad-group", {"group": 3}),
        ("bad-group", {"group": 0}),
        ("bad-group", {"group": "two"}),
        ("bad-auto-pad", {"auto_pad": "SAME"}),
        ("bad-auto-pad", {"auto_pad": 1}),
        ("dilated-auto-pad", {"auto_pad": "SAME_LOWER", "dilations": [2, 1]}),
        ("cropping-auto-pad", {"auto_pad": "SAME_UPPER", "strides": [5, 1], "x": (1, 3, 10, 8)}),
        ("cropping-auto-pad", {"auto_pad": "SAME_LOWER", "strides": [5, 1], "x": (1, 3, None, 8)}),
        ("bad-channels", {"x": (1, 4, 8, 8)}),
        ("bad-rank", {"x": (1, 3, 8)}),
        ("zero-size", {"x": (0, 3, 8, 8)}),
        ("zero-size", {"weight": (0, 3, 3, 3)}),
        ("bad-weight", {"weight": (4, 3)}),
        ("kernel-too-large", {"x": (1, 3, 8, 2)}),
        ("kernel-too-large", {"x": (1, 3, 8, 4), "dilations": [1, 2]}),
        ("activation", {"activation": "Swish"}),
        ("activation", {"activation": "Clip", "activation_params": [1.0]}),
    ],
)
def test_contradictions_are_refused(code: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        resolve(**arguments)
    assert caught.value.refusal.code == code


def test_attribute_without_a_type_is_refused() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=1)
    node.attribute[0].ClearField("type")
    with pytest.raises(Refused) as caught:
        resolve_spec(node, (4, 3, 3), FLOAT, None, has_bias=False)
    assert caught.value.refusal.code == "bad-attribute"


def test_other_dtypes_are_refused() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    for elem_type in (TensorProto.BFLOAT16, TensorProto.INT8, TensorProto.UNDEFINED, 999):
        with pytest.raises(Refused) as caught:
            resolve_spec(node, (4, 3, 3), elem_type, None, has_bias=False)
        assert caught.value.refusal.code == "dtype"


def test_fused_conv() -> None:
    text = """g (float[1,3,8,8] x, float[1,4,6,6] z) => (float[1,4,6,6] y) {
        y = com.microsoft.FusedConv<activation="HardSigmoid", activation_params=[0.25, 0.5]>(x, W, B, z)
    }"""
    site = only_site(parse(text))
    assert site.spec is not None
    assert site.spec.activation == Activation("HardSigmoid", (0.25, 0.5))
    assert (site.spec.has_sum, site.sum_input, site.spec.has_bias) == (True, "z", True)


def test_shapes_pass_through_fused_conv() -> None:
    text = """g (float[1,3,8,8] x) => (float[1,4,6,6] y) <float[2,4,1,1] V = {1, 2, 3, 4, 5, 6, 7, 8}> {
        h = com.microsoft.FusedConv<activation="Relu">(x, W, B)
        y = Conv(h, V)
    }"""
    _, second = find_convs(load_model(parse(text)))
    assert second.spec is not None and second.spec.extents == (6, 6)


@pytest.mark.parametrize(
    "node",
    [
        "y = ConvInteger(x, W)",
        "y = QLinearConv(x, S, S, W, S, S, S, S)",
        "y = com.microsoft.NhwcConv(x, W)",
        "y = com.microsoft.nchwc.Conv(x, W)",
        "y = com.ms.internal.nhwc.Conv(x, W)",
    ],
)
def test_other_operators_are_listed(node: str) -> None:
    refusal = only_site(parse("g (float[1,3,8,8] x) => (float[N,4,H,V] y) {" + node + "}")).refusal
    assert refusal is not None
    assert refusal.code == "operator"
    assert node.split(" = ")[1].split("(")[0].replace(".", "") in refusal.reason.replace(":", "").replace(".", "")


def test_foreign_conv_is_not_ours() -> None:
    assert find_convs(load_model(parse("g (float[1,3,8,8] x) => (float[N] y) { y = plugin.Conv(x, W) }"))) == ()


NESTED = """g (bool c, float[1,3,8,8] x) => (float[1,4,H,W0] y) {
    y = If (c) <
        then_branch = t () => (float[1,4,H,W0] a) { a = Conv(x, W, B) },
        else_branch = e () => (float[1,4,H,W0] b) {
            [inner] b = If (c) <
                then_branch = tt () => (float[1,4,H,W0] p) { q = Identity(W) p = Conv<pads=[1,1,1,1]>(x, q) },
                else_branch = ee () => (float[1,4,H,W0] r) { [named] r = Conv<pads=[2,2,2,2]>(x, W) }
            >
        }
    >
}"""


def test_bodies_at_any_depth() -> None:
    model = parse(NESTED)
    sites = find_convs(load_model(model))
    assert [(site.name, site.spec and site.spec.extents) for site in sites] == [
        ("If#0.then_branch/Conv#0", (8, 8)),
        ("If#0.else_branch/inner.then_branch/Conv#1", (8, 8)),
        ("If#0.else_branch/inner.else_branch/named", (8, 8)),
    ]
    weight = numpy_helper.to_array(model.graph.initializer[0])
    for site in sites:
        np.testing.assert_array_equal(site.read_weights().weight, weight)


def test_functions_have_their_own_opset_and_no_extents() -> None:
    text = """g (float[1,3,8,8] x) => (float[1,4,6,6] y) { y = local.F(x, W) }
    <opset_import: ["" : 13], domain: "local"> F (a, w) => (b) {
        k = Constant<value = float[2,3,1] {1, 2, 3, 4, 5, 6}>()
        c = Conv(a, w)
        b = Conv(c, k)
    }"""
    runtime, constant = find_convs(load_model(parse(text)))
    assert runtime.refusal is not None and runtime.refusal.code == "runtime-weight"
    assert constant.name == "local:F/Conv#2"
    assert constant.opset == 13
    assert constant.spec is not None and constant.spec.extents == (None,)


def test_referenced_attribute_is_refused() -> None:
    text = """g (float[1,3,8,8] x) => (float[1,4,6,6] y) { y = local.F<p=[1,1,1,1]>(x, W) }
    <opset_import: ["" : 13], domain: "local"> F <p> (a, w) => (b) {
        k = Constant<value = float[2,3,1] {1, 2, 3, 4, 5, 6}>()
        b = Conv<pads: ints = @p>(a, k)
    }"""
    refusal = only_site(parse(text)).refusal
    assert refusal is not None and refusal.code == "referenced-attribute"


def test_names_are_unique_and_printable() -> None:
    text = """g (float[1,3,8,8] x) => (float[1,4,6,6] a, float[1,4,6,6] b, float[1,4,6,6] c) {
        [same] a = Conv(x, W)
        [same] b = Conv(x, W)
        c = Conv(x, W)
    }"""
    model = parse(text)
    model.graph.node[2].name = "new\nline"
    assert [site.name for site in find_convs(load_model(model))] == ["same", "same#1", "new?line"]


def test_stale_claims_and_minus_one() -> None:
    text = """g (float[N,3,H,8] x) => (float[N,4,H,6] y) <float[5,3,5,5] h, float[1,3,9,9] f> {
        h = Relu(x)
        y = Conv(h, W)
        f = plugin.Resample(x)
        z = Conv(f, W)
    }"""
    model = parse(text)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -1
    first, second = find_convs(load_model(model))
    assert first.spec is not None and (first.spec.batch, first.spec.extents) == (None, (None, 8))
    assert second.spec is not None and second.spec.extents == (9, 9)  # nobody else knows what plugin.Resample gives


def test_lengths_that_a_loop_body_or_an_output_claims_are_not_believed() -> None:
    text = """g (int64 n, bool c, float[1,3,H,8] x) => (float[1,3,5,8] h, float[1,3,6,6] z, float[1,4,3,6] y) {
        z = Loop(n, c, x) <body = b (int64 i, bool k, float[1,3,5,5] s) => (bool k, float[1,3,5,5] t) {
            u = Conv(s, V)
            t = Pad(u, P)
        }>
        h = Relu(x)
        y = Conv(h, W)
    }"""
    model = parse(text)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((3, 3, 3, 3), np.float32), "V"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "P"))
    plain, looped = find_convs(load_model(model))
    assert looped.spec is not None and looped.spec.extents == (None, None)
    assert plain.spec is not None and plain.spec.extents == (None, 8)


def test_a_body_does_not_inherit_the_shape_of_a_value_it_shadows() -> None:
    text = """g (int64 n, bool c, float[1,3,8,8] h, float[1,3,H,V] x) => (float[1,3,6,6] z) {
        z = Loop(n, c, x) <body = b (int64 i, bool k, float[1,3,A,B] h) => (bool k, float[1,3,C,D] t) {
            t = Conv(h, V)
        }>
    }"""
    model = parse(text)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((3, 3, 3, 3), np.float32), "V"))
    body = model.graph.node[0].attribute[0].g
    body.input[2].type.tensor_type.ClearField("shape")
    assert spec_of(model).extents == (None, None)


def test_the_default_domain_under_its_other_name() -> None:
    text = (
        "g (float[1,3,H,8] x) => (float[1,4,6,6] y) <float[1,3,40,40] h> { h = ai.onnx.Relu(x) y = ai.onnx.Conv(h, W) }"
    )
    model = parse(text.replace("ai.onnx.", ""))
    for node in model.graph.node:
        node.domain = "ai.onnx"
    assert spec_of(model).extents == (None, 8)


@pytest.mark.parametrize("inputs", [[], ["y"], ["", "y"]])
def test_operators_behind_it_that_lack_inputs_are_no_fault_of_a_convolution(inputs: list[str]) -> None:
    """The model is refused where it is read; if it were not, whoever looks at it would see more than a traceback."""
    operators = sorted({schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain})
    model = parse("g (float[1,3,8,8] x) => (float[1,4,6,6] y) { y = Conv(x, W) }")
    model.graph.node.extend(onnx.helper.make_node(name, inputs, [f"of_{name}"]) for name in operators)
    with pytest.raises(InvalidModelError, match="of operator"):
        load_model(model)
    first, *others = find_convs(LoadedModel(model))
    assert first.spec is not None
    assert all(other.refusal is not None for other in others)


def test_failed_inference_means_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("inference gave up")

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", fail)
    spec = spec_of(parse("g (float[1,3,8,8] x) => (float[1,4,6,6] y) { h = Relu(x) y = Conv(h, W) }"))
    assert (spec.batch, spec.extents) == (None, (None, None))


@pytest.mark.parametrize(("ir_version", "code"), [(3, None), (4, "overridable-weight")])
def test_initializers_that_are_inputs(ir_version: int, code: str | None) -> None:
    model = parse("g (float[1,3,8,8] x, float[4,3,3,3] W) => (float[1,4,6,6] y) { y = Conv(x, W) }")
    model.ir_version = ir_version
    refusal = only_site(model).refusal
    assert (refusal and refusal.code) == code


# --- models in the wild -------------------------------------------------------------------------------------------


def test_standard_cases_are_all_found() -> None:
    cases = [*conv_cases(), *converted_cases()]
    assert cases
    for case in cases:
        sites = find_convs(load_model(case.model))
        assert [site.spec is not None for site in sites] == [True] * list_op_types(case.model)["Conv"], case.name
        assert None not in {extent for site in sites if site.spec for extent in site.spec.extents}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(light_paths()))
def test_imagenet_graphs_are_all_found(name: str) -> None:
    loaded = load_model(light_paths()[name])
    sites = find_convs(loaded)
    assert len(sites) == list_op_types(loaded.model)["Conv"] > 0
    assert all(site.spec is not None and None not in site.spec.extents for site in sites)


@pytest.mark.real_model
@pytest.mark.parametrize(
    ("name", "count", "kernel_shape"),
    [
        ("rivagan_encoder", 4, (1, 11, 11)),
        ("silero_vad", 12, (256,)),
        ("nmp", 32, (1, 256)),
        ("multistyle26", 18, (9, 9)),
    ],
)
def test_real_models(real_model: Callable[[str], Path], name: str, count: int, kernel_shape: tuple[int, ...]) -> None:
    loaded: LoadedModel = load_model(real_model(name))
    before = loaded.model.SerializeToString()
    sites = find_convs(loaded)
    assert len({site.name for site in sites}) == len(sites) == count
    assert all(site.spec is not None for site in sites)
    assert kernel_shape in {site.spec.kernel_shape for site in sites if site.spec}
    assert loaded.model.SerializeToString() == before


def test_a_constant_input_is_left_to_constant_folding() -> None:
    """ONNX Runtime computes it when it loads the model: replaced, it would be computed in every run."""
    model = parse("g (float[N] n) => (float[N] y) { c = Conv(W, W) y = Add(n, n) }")
    (site,) = find_convs(load_model(model))
    assert site.refusal is not None and site.refusal.code == "constant-input"


def test_what_a_file_states_of_a_weight_takes_no_memory() -> None:
    model = parse("g (float[1, 3, 9, 9] x) => (float y) { c = Conv(x, W) y = Sqrt(c) }")
    model.graph.initializer[0].dims[0] = 1 << 40
    assert only_site(model).spec is not None
