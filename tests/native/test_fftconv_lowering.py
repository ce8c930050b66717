"""`--target native` on one convolution, computed by the library and by the functions that replace it elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from onnx import helper

import onnx_fft
from onnx_fft import rewrite
from onnx_fft.cost.choose import Request, choose
from onnx_fft.cost.machines import native_machine
from onnx_fft.cost.native import predict_fftconv
from onnx_fft.cost.predict import lowering_seconds
from onnx_fft.lowering import TARGETS, find_lowering, list_lowerings
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.native.profile import find_rates
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.conv_models import build_conv_model, draw_input
from scripts.shared.layers import FIELD, LAYERS, TRAPS, Layer, make_spec
from scripts.shared.running import executed_op_types, list_op_types, run_model, run_reference, run_with_library
from tests.comparing import assert_same, dump, own_nodes
from tests.models import X, conv, make_model
from tests.native.rewritten import assert_close, forced, native_nodes

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

# --- the same numbers ---------------------------------------------------------------------------------------------


@by_spec
def test_the_functions_compute_the_same(spec: ConvSpec) -> None:
    original = build_conv_model(spec)
    rewritten = forced(original)
    assert [(node.domain, node.op_type) for node in rewritten.graph.node] == [(OPERATOR_DOMAIN, "FFTConv")]
    feeds = {"x": draw_input(spec)}
    assert_close(run_reference(rewritten, feeds), run_reference(original, feeds))
    if spec.dtype != "float64":  # ONNX Runtime has no Conv for it
        assert_close(run_model(rewritten, feeds), run_model(original, feeds))
        assert executed_op_types(rewritten, feeds) == executed_op_types(original, feeds)


@by_spec
def test_the_library_computes_the_same(spec: ConvSpec) -> None:
    original = build_conv_model(spec)
    feeds = {"x": draw_input(spec)}
    assert_close(run_with_library(forced(original), feeds), run_reference(original, feeds))


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
    assert_close(run_with_library(rewritten, {"x": X}), run_model(original, {"x": X}))


# --- the plan and the choice --------------------------------------------------------------------------------------


def test_a_plan_is_replayed_and_has_no_axes() -> None:
    original = make_model([conv("x", "c", "w1", "b1"), helper.make_node("Relu", ["c"], ["y"])])
    planned = rewrite(original, target="native", select="all")
    assert [(entry["lowering"], entry["axes"]) for entry in planned.plan["convs"]] == [("fftconv", [])]
    replayed = rewrite(original, plan=planned.plan)
    assert dump(replayed.model) == dump(planned.model)
    planned.plan["convs"][0]["axes"] = [{"dft_length": 16, "tile_step": 12}]
    with pytest.raises(onnx_fft.OnnxFftError, match=r"got an impossible plan .*axes must be empty.*"):
        rewrite(original, plan=planned.plan)


def test_what_the_operator_does_not_compute_is_left_with_the_reason() -> None:
    model = build_conv_model(make_spec((2, 2), (3, 3, 3, 3), (6, 6, 6, 6)))
    result = rewrite(model, target="native", select="all")
    (row,) = result.report.rows
    assert (row.lowering, row.code) == (None, "no-lowering")
    assert "1 to 3 axes" in row.reason
    assert dump(result.model) == dump(model)


@pytest.mark.slow
def test_the_target_decides_which_lowerings_there_are() -> None:
    spec = make_spec((64, 64), (31, 31), (112, 112), group=64)
    for target in TARGETS:
        decision = choose(spec, 17, Request(select="all", target=target))
        assert {option.lowering for option in decision.options} == {
            lowering.name for lowering in list_lowerings(target)
        }
    standard = rewrite(build_conv_model(SPECS["dense"]), select="all", validate=False).model
    assert "FFTConv" not in list_op_types(standard)
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"target": "tpu"}, "got target 'tpu'; expected one of standard, native"),
        ({"lowering": "fftconv"}, "got lowering 'fftconv' for target 'standard'; .*set target='native' to use it"),
        (
            {"target": "native", "lowering": "dft"},
            "got lowering 'dft' for target 'native'; .*set target='standard'",
        ),
    )
    for options, words in refused:
        with pytest.raises(onnx_fft.OnnxFftError, match=words):
            rewrite(build_conv_model(SPECS["dense"]), **options)


PAYS = ("dw 31x31 128x56x56", "dw 51x51 96x56x56", "11x11 64->64 112x112", "1-D k=1024 64->64 L=16000")
LOSES = ("1x1 256->256 56x56", "dw 7x7 96x56x56", "96x3 on height 96", "STFT k=512 stride 160")


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
    found = predict_fftconv(spec, find_rates())
    ways = [found.work[unit] > 0 for unit in ("transform_flops", "direct_flops", "dense_transforms")]
    assert sum(ways) == 1
    products = found.work["product_flops"] + found.work["dense_products"]
    assert (products > 0) == (found.work["direct_flops"] == 0)
    assert found.weight_bytes > 0
    larger = replace(spec, batch=(spec.batch or 1) * 16)
    assert lowering_seconds(larger, plan, native_machine()) > lowering_seconds(spec, plan, native_machine())


def test_short_kernels_are_direct_and_long_ones_are_transformed() -> None:
    def count_direct(spec: ConvSpec) -> float:
        return predict_fftconv(spec, find_rates()).work["direct_flops"]

    assert count_direct(make_spec((64, 64), (15,), (4000,), group=64)) == 2 * 64 * 4000 * 15
    assert count_direct(make_spec((64, 64), (1023,), (4000,), group=64)) == 0
    assert count_direct(make_spec((64, 64), (15,), (4000,))) == 0


def test_new_nodes_are_marked_and_weights_are_not_copied() -> None:
    original = build_conv_model(make_spec((8, 8), (31, 31), (40, 40), has_bias=True))
    rewritten = forced(original)
    assert [node.input for node in own_nodes(rewritten)] == [["x", "weight", "bias"]]
    assert [tensor.name for tensor in rewritten.graph.initializer] == ["weight", "bias"]
    assert rewritten.ByteSize() - original.ByteSize() < 1000
