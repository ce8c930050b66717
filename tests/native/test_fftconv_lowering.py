"""`--target native` on one convolution: by the library, and by the functions that stand in for it elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator

import onnx_fft
from onnx_fft import rewrite
from onnx_fft.cost.choose import Request, choose
from onnx_fft.cost.predict import CALIBRATED, lowering_seconds
from onnx_fft.lowering import TARGETS, find_lowering
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.lowering.fftconv import DOMAIN
from onnx_fft.report import describe
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.corpus import Array, build_conv_model, draw_input, executed_op_types, list_op_types, run_model
from scripts.shared.layers import FIELD, LAYERS, TRAPS, Layer, make_spec
from tests.small_models import B1, W1, X, assert_same, conv, dump, make_model, own_nodes

SPECS = {
    "dense": make_spec((6, 5), (5, 4), (15, 13)),
    "bias": make_spec((6, 5), (5, 4), (15, 13), has_bias=True),
    "batch": make_spec((3, 4), (3, 7), (9, 20), batch=3),
    "group": make_spec((6, 4), (5, 5), (15, 13), group=2, has_bias=True),
    "depthwise": make_spec((6, 6), (7, 7), (15, 13), group=6),
    "multiplier": make_spec((3, 6), (7, 7), (15, 13), group=3, has_bias=True),
    "1-D": make_spec((4, 4), (31,), (100,), has_bias=True),
    "3-D": make_spec((2, 3), (3, 2, 4), (7, 8, 9)),
    "3-D form": make_spec((4, 3), (1, 5, 5), (1, 12, 12)),
    "strides": make_spec((3, 4), (5, 6), (17, 19), strides=(2, 3)),
    "dilations": make_spec((3, 4), (3, 4), (20, 21), dilations=(2, 3)),
    "strides and dilations": make_spec((3, 4), (3, 4), (20, 21), strides=(2, 1), dilations=(3, 2), has_bias=True),
    "uneven pads": make_spec((3, 4), (5, 4), (11, 12), pads=((3, 0), (1, 2))),
    "valid": make_spec((3, 4), (5, 4), (11, 12), pads="valid"),
    "open": make_spec((3, 4), (5, 4), (None, None), batch=None, has_bias=True),
    "float16": make_spec((4, 4), (5, 5), (12, 12), dtype="float16", has_bias=True),
    "float64": make_spec((4, 4), (5, 5), (12, 12), dtype="float64", has_bias=True),
}
by_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)

RTOL = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-13}
"""Of the largest value of the output, by dtype."""

ACTIVATIONS: dict[str, tuple[dict[str, float], int]] = {
    "Relu": ({}, 17),
    "LeakyRelu": ({"alpha": 0.25}, 17),
    "HardSigmoid": ({"alpha": 0.25, "beta": 0.375}, 17),
    "Clip": ({"min": -0.5, "max": 0.75}, 10),
}
by_activation = pytest.mark.parametrize("op_type", ACTIVATIONS)


def forced(model: ModelProto, **options: Any) -> ModelProto:
    """The model with every convolution replaced, checked by onnx's checker."""
    rewritten = rewrite(model, target="native", select="all", **options).model
    onnx.checker.check_model(rewritten, full_check=True)
    return rewritten


def native_nodes(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.domain == DOMAIN]


def run_library(model: ModelProto, feeds: dict[str, Array]) -> list[Array]:
    return list(onnx_fft.InferenceSession(model.SerializeToString()).run(None, feeds))


def assert_close(values: Sequence[Array], references: Sequence[Array]) -> None:
    assert len(values) == len(references) > 0
    for value, reference in zip(values, references, strict=True):
        assert (value.dtype, value.shape) == (reference.dtype, reference.shape)
        scale = float(np.abs(reference.astype(np.float64)).max())
        assert scale > 0.1
        np.testing.assert_allclose(value, reference, rtol=0, atol=RTOL[str(reference.dtype)] * scale)


# --- the same numbers ---------------------------------------------------------------------------------------------


@by_spec
def test_the_functions_compute_the_same(spec: ConvSpec) -> None:
    original = build_conv_model(spec)
    rewritten = forced(original)
    assert [(node.domain, node.op_type) for node in rewritten.graph.node] == [(DOMAIN, "FFTConv")]
    feeds = {"x": draw_input(spec)}
    assert_close(ReferenceEvaluator(rewritten).run(None, feeds), ReferenceEvaluator(original).run(None, feeds))
    if spec.dtype != "float64":  # ONNX Runtime has no Conv for it
        assert_close(run_model(rewritten, feeds), run_model(original, feeds))
        assert executed_op_types(rewritten, feeds) == executed_op_types(original, feeds)


@by_spec
def test_the_library_computes_the_same(spec: ConvSpec) -> None:
    original = build_conv_model(spec)
    feeds = {"x": draw_input(spec)}
    assert_close(run_library(forced(original), feeds), ReferenceEvaluator(original).run(None, feeds))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)], ids=["stride 1", "strides"])
def test_auto_pad_is_resolved(auto_pad: str, strides: tuple[int, int]) -> None:
    node = helper.make_node("Conv", ["x", "w1"], ["y"], auto_pad=auto_pad, strides=strides)
    original = make_model([node], y=("n", 4, "h", "w"))
    rewritten = forced(original)
    (replaced,) = native_nodes(rewritten)
    assert {attribute.name for attribute in replaced.attribute} == {
        "group", "kernel_shape", "strides", "dilations", "pads",
    }  # fmt: skip
    assert_same(original, rewritten, rtol=0)
    assert_close(run_library(rewritten, {"x": X}), run_model(original, {"x": X}))


# --- what is absorbed ---------------------------------------------------------------------------------------------


def activated_model(op_type: str, dtype: str = "float32", **attributes: float) -> ModelProto:
    """`x -> Conv -> activation -> y`; the bounds of a Clip as attributes in opset 10, as constants in opset 17."""
    opset = ACTIVATIONS[op_type][1] if attributes else 17
    node = helper.make_node(op_type, ["c"], ["y"], name="act", **attributes)
    constants = {"w1": W1.astype(dtype), "b1": B1.astype(dtype)}
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return make_model([conv("x", "c", "w1", "b1"), node], constants, opset=opset, dtype=elem_type)


def clip_model(*bounds: float | None, dtype: str = "float32", opset: int = 17) -> ModelProto:
    """`x -> Conv -> Clip -> y` with bounds as initializers, None for an absent one."""
    names = ["" if bound is None else f"bound{number}" for number, bound in enumerate(bounds)]
    node = helper.make_node("Clip", ["c", *names], ["y"], name="act")
    constants = {"w1": W1.astype(dtype), "b1": B1.astype(dtype)}
    constants |= {name: np.array(bound, dtype) for name, bound in zip(names, bounds, strict=True) if bound is not None}
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return make_model([conv("x", "c", "w1", "b1"), node], constants, opset=opset, dtype=elem_type)


@by_activation
def test_an_activation_is_absorbed(op_type: str) -> None:
    original = activated_model(op_type, **ACTIVATIONS[op_type][0])
    rewritten = forced(original)
    (node,) = rewritten.graph.node
    assert (node.domain, node.op_type) == (DOMAIN, f"FFTConv{op_type}")
    given = {attribute.name: attribute.f for attribute in node.attribute}
    parameters = list(ACTIVATIONS[op_type][0].values())
    assert [given[name] for name in ("alpha", "beta")[: len(parameters)]] == parameters
    assert_same(original, rewritten, rtol=0)
    assert executed_op_types(rewritten, {"x": X}) == executed_op_types(original, {"x": X})
    assert_close(ReferenceEvaluator(rewritten).run(None, {"x": X}), run_model(original, {"x": X}))
    assert_close(run_library(rewritten, {"x": X}), run_model(original, {"x": X}))


@by_activation
def test_default_parameters_are_onnxs(op_type: str) -> None:
    if op_type != "Clip":
        original = activated_model(op_type)
        assert_same(original, forced(original), rtol=0)


@pytest.mark.parametrize("bounds", [(-0.5, 0.75), (None, 0.5), (0.25,), ()], ids=str)
@pytest.mark.parametrize(("dtype", "opset"), [("float32", 11), ("float32", 13), ("float16", 13), ("float16", 17)])
def test_the_bounds_of_clip_may_be_constant_inputs(bounds: tuple[float | None, ...], dtype: str, opset: int) -> None:
    original = clip_model(*bounds, dtype=dtype, opset=opset)
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConvClip"]
    assert not {t.name for t in rewritten.graph.initializer} - {"w1", "b1"}
    feeds = {"x": X.astype(dtype)}
    assert_close(run_model(rewritten, feeds), run_model(original, feeds))
    assert_close(run_library(rewritten, feeds), run_model(original, feeds))


def test_bounds_that_float32_does_not_hold_stay() -> None:
    rewritten = forced(clip_model(-0.1, 0.1, dtype="float64"))
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConv", "Clip"]


def test_bounds_computed_at_run_time_stay() -> None:
    nodes = [conv("x", "c"), helper.make_node("Clip", ["c", "low"], ["y"])]
    low = helper.make_tensor_value_info("low", 1, [])
    original = make_model(nodes, inputs=[low])
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == ["FFTConv", "Clip"]
    assert_same(original, rewritten, {"x": X, "low": np.array(-0.25, np.float32)}, rtol=0)


def test_a_second_reader_or_an_output_keeps_the_activation() -> None:
    relu = helper.make_node("Relu", ["c"], ["r"])
    twice = [conv("x", "c"), relu, helper.make_node("Add", ["c", "r"], ["y"])]
    seen = make_model([conv("x", "c"), helper.make_node("Relu", ["c"], ["y"])])
    seen.graph.output.append(helper.make_tensor_value_info("c", 1, (2, 4, 13, 11)))
    for original in (make_model(twice), seen):
        rewritten = forced(original)
        assert [node.op_type for node in rewritten.graph.node][:2] == ["FFTConv", "Relu"]
        assert_same(original, rewritten, rtol=0)


def test_other_parameters_of_the_same_activation_stay_a_node() -> None:
    nodes = [
        conv("x", "c", "w1", name="first"),
        helper.make_node("LeakyRelu", ["c"], ["l"], alpha=0.25),
        conv("l", "d", "w2", pads=1, name="second"),
        helper.make_node("LeakyRelu", ["d"], ["m"], alpha=0.5),
        conv("m", "e", "w2", pads=1, name="third"),
        helper.make_node("LeakyRelu", ["e"], ["y"], alpha=0.25),
    ]
    original = make_model(nodes)
    rewritten = forced(original)
    types = [node.op_type for node in rewritten.graph.node]
    assert types == ["FFTConvLeakyRelu", "FFTConv", "LeakyRelu", "FFTConvLeakyRelu"]
    assert sorted(function.name for function in rewritten.functions) == ["FFTConv", "FFTConvLeakyRelu"]
    assert_same(original, rewritten, rtol=1e-6)
    assert_close(ReferenceEvaluator(rewritten).run(None, {"x": X}), run_model(original, {"x": X}))
    assert_close(run_library(rewritten, {"x": X}), run_model(original, {"x": X}))
    assert dump(forced(rewritten)) == dump(rewritten)


@pytest.mark.parametrize("bias", [(), ("b1",)], ids=["", "bias"])
def test_batch_normalization_and_activation_are_folded(bias: tuple[str, ...]) -> None:
    rng = np.random.default_rng(8)
    norm = {name: rng.standard_normal(4).astype(np.float32) for name in ("scale", "shift", "mean")}
    constants = {"w1": W1, "b1": B1, **norm, "variance": rng.uniform(0.5, 2, 4).astype(np.float32)}
    nodes = [
        conv("x", "c", "w1", *bias),
        helper.make_node("BatchNormalization", ["c", *norm, "variance"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    original = make_model(nodes, constants if bias else {k: v for k, v in constants.items() if k != "b1"})
    rewritten = forced(original)
    (node,) = rewritten.graph.node
    assert node.op_type == "FFTConvRelu"
    assert all(node.input)
    assert {tensor.name for tensor in rewritten.graph.initializer} == set(node.input[1:])
    assert_same(original, rewritten, rtol=1e-6)
    assert_close(ReferenceEvaluator(rewritten).run(None, {"x": X}), run_model(original, {"x": X}))
    assert_close(run_library(rewritten, {"x": X}), run_model(original, {"x": X}))
    validation = onnx_fft.validate(original, rewritten)
    assert validation.ok, describe(validation)
    assert [check.ok for check in validation.convs] == [True]


@by_activation
def test_fused_conv_becomes_the_same_operator(op_type: str) -> None:
    params = list(ACTIVATIONS[op_type][0].values())
    fused: dict[str, Any] = {"activation": op_type} | ({"activation_params": params} if params else {})
    node = helper.make_node("FusedConv", ["x", "w1", "b1"], ["y"], domain="com.microsoft", pads=[2] * 4, **fused)
    original = make_model([node])
    rewritten = forced(original)
    assert [node.op_type for node in rewritten.graph.node] == [f"FFTConv{op_type}"]
    assert_same(original, rewritten, rtol=1e-6)
    assert_close(run_library(rewritten, {"x": X}), run_model(original, {"x": X}))


# --- the plan and the choice --------------------------------------------------------------------------------------


def test_a_plan_is_replayed_and_has_no_axes() -> None:
    original = activated_model("Relu")
    planned = rewrite(original, target="native", select="all")
    assert [(entry["lowering"], entry["axes"]) for entry in planned.plan["convs"]] == [("fftconv", [])]
    replayed = rewrite(original, plan=planned.plan)
    assert dump(replayed.model) == dump(planned.model)
    planned.plan["convs"][0]["axes"] = [{"dft_length": 16, "tile_step": 12}]
    with pytest.raises(onnx_fft.OnnxFftError, match=r"got an impossible plan .*axes must be empty.*"):
        rewrite(original, plan=planned.plan)


def test_what_the_operator_has_not_is_left_with_the_reason() -> None:
    node = helper.make_node("FusedConv", ["x", "w1", "b1", "z"], ["y"], domain="com.microsoft", pads=[2] * 4)
    addend = helper.make_tensor_value_info("z", 1, (2, 4, 13, 11))
    four = build_conv_model(make_spec((2, 2), (3, 3, 3, 3), (6, 6, 6, 6)))
    for model, words in ((make_model([node], inputs=[addend]), "fourth input"), (four, "1 to 3 axes")):
        result = rewrite(model, target="native", select="all")
        (row,) = result.report.rows
        assert (row.lowering, row.code) == (None, "no-lowering")
        assert words in row.reason
        assert dump(result.model) == dump(model)


def test_the_target_decides_which_lowerings_there_are() -> None:
    spec = make_spec((64, 64), (31, 31), (112, 112), group=64)
    for target, lowerings in TARGETS.items():
        decision = choose(spec, 17, Request(select="all", target=target))
        assert {option.lowering for option in decision.options} == {lowering.name for lowering in lowerings}
    assert list_op_types(rewrite(build_conv_model(SPECS["dense"]), select="all").model).keys() & {"FFTConv"} == set()
    for options, words in (
        ({"target": "tpu"}, "got target 'tpu'; expected one of standard, native"),
        ({"lowering": "fftconv"}, "got lowering 'fftconv' for target 'standard'; .*pass --target native"),
        ({"target": "native", "lowering": "dft"}, "got lowering 'dft' for target 'native'; .*pass --target standard"),
    ):
        with pytest.raises(onnx_fft.OnnxFftError, match=words):
            rewrite(build_conv_model(SPECS["dense"]), **options)


PAYS = ("dw 31x31 128x56x56", "dw 51x51 96x56x56", "11x11 64->64 112x112", "1-D k=1024 64->64 L=16000")
LOSES = ("1x1 256->256 56x56", "dw 7x7 96x56x56", "dw 13x13 512x14x14", "96x3 on height 96", "STFT k=512 stride 160")


@pytest.mark.parametrize(
    "layer", [layer for layer in (*LAYERS, *TRAPS, *FIELD) if layer.name in PAYS + LOSES], ids=lambda layer: layer.name
)
def test_large_kernels_are_handed_over_and_small_ones_are_not(layer: Layer) -> None:
    decision = choose(layer.spec, 17, Request(target="native"))
    assert (decision.plan is not None) is (layer.name in PAYS), decision.reason
    assert decision.growth_bytes == 0


@by_spec
def test_any_geometry_has_a_cost(spec: ConvSpec) -> None:
    lowering = find_lowering("fftconv")
    plan = ConvPlan("fftconv", ())
    lowering.check_plan(spec, plan)
    work = lowering.count_work(spec, plan)
    assert (work.native_transform_flops > 0) != (work.native_sliding_flops > 0)
    assert (work.native_product_flops > 0) == (work.native_transform_flops > 0)
    larger = replace(spec, batch=(spec.batch or 1) * 16)
    assert lowering_seconds(larger, plan, CALIBRATED) > lowering_seconds(spec, plan, CALIBRATED)


def test_short_kernels_slide_and_long_ones_are_transformed() -> None:
    lowering, plan = find_lowering("fftconv"), ConvPlan("fftconv", ())
    depthwise = make_spec((64, 64), (15,), (4000,), group=64)
    assert lowering.count_work(depthwise, plan).native_sliding_flops == 2 * 64 * 4000 * 15
    assert lowering.count_work(make_spec((64, 64), (1023,), (4000,), group=64), plan).native_sliding_flops == 0
    assert lowering.count_work(make_spec((64, 64), (15,), (4000,)), plan).native_sliding_flops == 0


def test_new_nodes_are_marked_and_weights_are_not_copied() -> None:
    original = build_conv_model(make_spec((8, 8), (31, 31), (40, 40), has_bias=True))
    rewritten = forced(original)
    assert [node.input for node in own_nodes(rewritten)] == [["x", "weight", "bias"]]
    assert [tensor.name for tensor in rewritten.graph.initializer] == ["weight", "bias"]
    assert rewritten.ByteSize() - original.ByteSize() < 1000
