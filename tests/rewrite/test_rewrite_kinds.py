"""In which models the pass works: kinds of Conv, bodies and functions, external data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_fft import rewrite
from onnx_fft.errors import InvalidModelError
from onnx_fft.model.saving import save_model
from scripts.shared.conv_models import build_conv_model
from scripts.shared.layers import make_spec
from scripts.shared.running import list_op_types, run_model
from tests.comparing import assert_same, dump
from tests.marks import with_addends
from tests.models import (
    B1,
    BODIES,
    BOTH,
    FLOAT,
    W1,
    X,
    Y,
    conv,
    info,
    make_model,
    two_convs,
)

# --- kinds of Conv ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowering", BOTH)
@pytest.mark.parametrize("has_sum", [pytest.param(False, id=""), pytest.param(True, id="sum", marks=with_addends)])
@pytest.mark.parametrize(
    ("activation", "params"),
    [
        ("", ()),
        ("Relu", ()),
        ("Tanh", ()),
        ("Sigmoid", ()),
        ("LeakyRelu", (0.3,)),
        ("Clip", (-0.25, 0.5)),
        ("HardSigmoid", (0.3, 0.4)),
    ],
)
def test_fused_conv(activation: str, params: tuple[float, ...], has_sum: bool, lowering: str) -> None:
    fused: dict[str, Any] = {"activation": activation} if activation else {}
    fused |= {"activation_params": params} if params else {}
    operands = ["x", "w1", "b1", *(["z"] if has_sum else [])]
    node = helper.make_node("FusedConv", operands, ["y"], domain="com.microsoft", pads=[2] * 4, **fused)
    extra = [helper.make_tensor_value_info("z", FLOAT, Y)] if has_sum else []
    model = make_model([node], inputs=extra)
    result = rewrite(model, lowering=lowering, validate=False)
    assert "FusedConv" not in list_op_types(result.model)
    feeds = {"x": X} | ({"z": np.random.default_rng(3).standard_normal(Y, np.float32)} if has_sum else {})
    assert_same(model, result.model, feeds)


@pytest.mark.parametrize("lowering", BOTH)
def test_a_convolution_that_is_added_to_its_own_input(lowering: str, capsys: pytest.CaptureFixture[str]) -> None:
    square = np.random.default_rng(4).standard_normal((3, 3, 5, 5)).astype(np.float32)
    node = helper.make_node("FusedConv", ["x", "w1", "", "x"], ["y"], domain="com.microsoft", pads=[2] * 4)
    model = make_model([node], {"w1": square}, y=X.shape)
    result = rewrite(model, lowering=lowering, validate=False)
    assert "FusedConv" not in list_op_types(result.model)
    assert_same(model, result.model)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("bias", [(), ("b1",)], ids=["", "bias"])
def test_batch_normalization_is_folded(bias: tuple[str, ...]) -> None:
    rng = np.random.default_rng(8)
    norm = {name: rng.uniform(0.5, 2, 4).astype(np.float32) for name in ("scale", "shift", "mean", "variance")}
    nodes = [conv("x", "c", "w1", *bias), helper.make_node("BatchNormalization", ["c", *norm], ["y"], epsilon=1e-3)]
    model = make_model(nodes, {"w1": W1, "b1": B1, **norm} if bias else {"w1": W1, **norm})
    for lowering in BOTH:
        result = rewrite(model, lowering=lowering, validate=False)
        assert not {"Conv", "BatchNormalization"} & list_op_types(result.model).keys()
        assert not {tensor.name for tensor in result.model.graph.initializer} & norm.keys()
        assert_same(model, result.model)


def test_a_bias_computed_at_run_time() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0, 1, 2, 3], keepdims=0),
        helper.make_node("Add", ["m", "b1"], ["b"]),
        conv("x", "y", "w1", "b"),
    ]
    model = make_model(nodes)
    for lowering in BOTH:
        result = rewrite(model, lowering=lowering, validate=False)
        assert "Conv" not in list_op_types(result.model)
        assert_same(model, result.model)


def test_two_convs_share_input_weight_and_bias() -> None:
    nodes = [
        conv("x", "a", "w1", "b1"),
        conv("x", "b", "w1", "b1"),
        conv("x", "c", "w1", name="strided", strides=[2, 1]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("Sum", ["a", "r"], ["y"]),
    ]
    model = make_model(nodes)
    model.graph.output.append(helper.make_tensor_value_info("c", FLOAT, (2, 4, 7, 11)))
    for lowering in BOTH:
        all_three = rewrite(model, lowering=lowering, validate=False)
        assert not {"w1", "b1"} & {tensor.name for tensor in all_three.model.graph.initializer}
        assert_same(model, all_three.model)
        one = rewrite(model, lowering=lowering, include=["#1"], validate=False)
        assert {"w1", "b1"} <= {tensor.name for tensor in one.model.graph.initializer}
        assert_same(model, one.model)


def test_weights_that_are_a_graph_output_stay() -> None:
    model = make_model([conv("x", "y", "w1")])
    model.graph.output.append(helper.make_tensor_value_info("w1", FLOAT, W1.shape))
    result = rewrite(model, lowering="matmul")
    assert len(result.report.replaced) == 1
    assert_same(model, result.model)


def test_dynamic_shapes() -> None:
    model = make_model([conv("x", "y")], x=("n", 3, "h", "w"), y=("n", 4, "h", "w"))
    for lowering in BOTH:
        result = rewrite(model, lowering=lowering, validate=False)
        for shape in ((1, 3, 1, 1), (2, 3, 13, 11), (1, 3, 70, 5), (3, 3, 33, 64)):
            feeds = {"x": np.random.default_rng(4).standard_normal(shape, np.float32)}
            assert_same(model, result.model, feeds)


# --- bodies and functions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowering", BOTH)
@pytest.mark.parametrize("kind", BODIES)
def test_bodies_and_functions(kind: str, lowering: str) -> None:
    make, feeds, convs = BODIES[kind]
    model = make()
    before = dump(model)
    assert list_op_types(model)["Conv"] == convs
    result = rewrite(model, lowering=lowering, validate=False)
    assert dump(model) == before
    assert "Conv" not in list_op_types(result.model)
    assert len({row.name for row in result.report.rows}) == convs
    onnx.checker.check_model(result.model, full_check=True)
    for feed in feeds:
        assert_same(model, result.model, {"x": X, **feed})


# --- external data ------------------------------------------------------------------------------------------------


@pytest.fixture
def external_model(tmp_path: Path) -> Path:
    """A model whose weights lie in weights.bin beside it."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "model.onnx"
    model = two_convs()
    model.graph.initializer.append(numpy_helper.from_array(np.arange(2000, dtype=np.float32), "kept"))
    model.graph.node.append(helper.make_node("ReduceSum", ["kept"], ["total"]))
    model.graph.output.append(info("total", FLOAT, (1,)))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_external_data_is_read_and_copied(external_model: Path, tmp_path: Path) -> None:
    result = rewrite(external_model, lowering="matmul")
    assert len(result.report.replaced) == 2
    (kept,) = [tensor for tensor in result.model.graph.initializer if tensor.name == "kept"]
    assert kept.data_location == TensorProto.EXTERNAL
    output = tmp_path / "out"
    output.mkdir()
    save_model(result.model, output / "model.onnx", result.base_dir)
    assert (output / "weights.bin").read_bytes() == (external_model.parent / "weights.bin").read_bytes()
    assert_same_files(external_model, output / "model.onnx")
    save_model(result.model, external_model.with_name("beside.onnx"), result.base_dir)
    assert_same_files(external_model, external_model.with_name("beside.onnx"))


def assert_same_files(before: Path, after: Path) -> None:
    for reference, value in zip(run_model(before, {"x": X}), run_model(after, {"x": X}), strict=True):
        np.testing.assert_allclose(value, reference, rtol=0, atol=1e-4 * np.abs(reference).max())


def test_missing_external_data_is_an_error(external_model: Path) -> None:
    (external_model.parent / "weights.bin").unlink()
    with pytest.raises(InvalidModelError, match="cannot be read"):
        rewrite(external_model, lowering="matmul")
    with pytest.raises(InvalidModelError, match="without a directory"):
        rewrite(onnx.load(external_model, load_external_data=False), lowering="matmul")


def test_a_result_too_large_for_one_message_is_split(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = build_conv_model(make_spec((8, 8), (11, 11), (40, 40)))
    result = rewrite(model, lowering="matmul")
    before = dump(result.model)
    monkeypatch.setattr("onnx_fft.model.saving.MAX_MODEL_BYTES", 20_000)
    output = tmp_path / "big.onnx"
    result.save(output)
    (data,) = tmp_path.glob("big.onnx.*.data")
    assert output.stat().st_size < 20_000 < data.stat().st_size
    assert dump(result.model) == before
    feeds = {"x": np.random.default_rng(2).standard_normal((1, 8, 40, 40), np.float32)}
    for reference, value in zip(run_model(model, feeds), run_model(output, feeds), strict=True):
        np.testing.assert_allclose(value, reference, rtol=0, atol=1e-4 * np.abs(reference).max())
