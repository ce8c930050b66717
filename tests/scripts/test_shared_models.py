"""The models that tests run on are right as they stand: each gives what it is said to give, and none is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from scripts.article import network as article_network
from scripts.models import crepe
from scripts.models import fetch as fetch_models
from scripts.models import make as make_models
from scripts.shared import layers
from scripts.shared.conv_models import Array, build_conv_model, draw_input
from scripts.shared.paths import MODELS
from scripts.shared.running import executed_op_types, list_op_types, run_model, run_reference
from scripts.shared.standard_cases import (
    MIN_CAUSAL_CASES,
    MIN_CONV_CASES,
    MIN_CONVERTED_CASES,
    MIN_LIGHT_MODELS,
    STANDARD_ATOL,
    STANDARD_RTOL,
    WEIGHT_INPUTS,
    Case,
    causal_cases,
    conv_cases,
    converted_cases,
    light_paths,
    load_light_case,
    other_cases,
    transposed_cases,
)
from tests.marks import ONNX_VERSION
from tests.real_models import by_graph, by_model

ORT_GAPS = ("test_convinteger_with_padding",)
"""Cases that ONNX Runtime 1.32 refuses (zero points per channel): they go to ONNX's reference evaluator."""


def run_original(case: Case) -> list[Array]:
    """The outputs of the case's model as given."""
    if case.name in ORT_GAPS:
        return run_reference(case.model, case.feeds)
    return run_model(case.model, case.feeds)


def assert_expected(case: Case) -> None:
    """The case's model gives the expected outputs: dtype, shape and values at the standard's tolerance."""
    outputs = run_original(case)
    assert len(outputs) == len(case.expected) > 0
    assert outputs[0].size > 0
    for output, expected in zip(outputs, case.expected, strict=True):
        assert (output.dtype, output.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(output, expected, rtol=STANDARD_RTOL, atol=STANDARD_ATOL)


def name_case(case: Case) -> str:
    """The test id of a case."""
    return case.name


def test_no_case_is_missing() -> None:
    assert len(conv_cases()) >= MIN_CONV_CASES
    assert len(causal_cases()) >= (MIN_CAUSAL_CASES if ONNX_VERSION >= (1, 18) else 0)  # added with opset 22's cases
    assert len(converted_cases()) >= MIN_CONVERTED_CASES
    assert len(light_paths()) >= MIN_LIGHT_MODELS
    assert {node.op_type for case in other_cases() for node in case.model.graph.node} == {
        "ConvInteger",
        "QLinearConv",
    }
    assert {node.op_type for case in transposed_cases() for node in case.model.graph.node} == {"ConvTranspose"}


@pytest.mark.parametrize("case", conv_cases(), ids=name_case)
def test_conv_case(case: Case) -> None:
    assert list(case.feeds) == ["x"]
    assert [tensor.name for tensor in case.model.graph.initializer] == ["W"]
    assert_expected(case)


@pytest.mark.parametrize("case", causal_cases(), ids=name_case)
def test_causal_case(case: Case) -> None:
    assert not set(case.feeds) & set(WEIGHT_INPUTS)
    assert_expected(case)


@pytest.mark.parametrize("case", converted_cases(), ids=name_case)
def test_converted_case(case: Case) -> None:
    assert len(case.feeds) == 1
    assert_expected(case)


@pytest.mark.parametrize("case", other_cases(), ids=name_case)
def test_other_case(case: Case) -> None:
    assert_expected(case)


@by_graph
def test_light_case(name: str) -> None:
    assert_expected(load_light_case(name))


@pytest.mark.parametrize("name", make_models.MODEL_MAKERS)
def test_shipped_models_are_what_the_script_makes(name: str) -> None:
    shipped = MODELS / f"{name}.onnx"
    made = make_models.MODEL_MAKERS[name]().SerializeToString(deterministic=True)
    assert hashlib.sha256(shipped.read_bytes()).hexdigest() == hashlib.sha256(made).hexdigest()
    assert shipped.stat().st_size < 2_000_000


def test_every_shipped_model_is_made_by_a_script() -> None:
    made = {*make_models.MODEL_MAKERS, article_network.TRAINED.stem}
    assert {path.stem for path in MODELS.glob("*.onnx")} == made


@pytest.mark.real_model
@by_model
def test_real_model_is_a_valid_model_with_sites(name: str, real_model: Callable[[str], Path]) -> None:
    model = onnx.load(real_model(name))
    onnx.checker.check_model(model)
    assert list_op_types(model).keys() & {"Conv", "STFT"}


@pytest.mark.real_model
@pytest.mark.parametrize("frequency_hz", [110.0, 440.0, 880.0])
def test_crepe_hears_the_pitch_of_a_sine(frequency_hz: float, real_model: Callable[[str], Path]) -> None:
    frame = np.sin(2 * np.pi * frequency_hz * np.arange(crepe.FRAME) / 16000)
    frame = (frame - frame.mean()) / frame.std()
    (activations,) = run_model(real_model("crepe_tiny"), {"frames": frame[None].astype(np.float32)})
    assert activations.shape == (1, crepe.PITCH_BINS)
    heard_cents = 20 * int(activations.argmax()) + 1997.3794084376191  # above 10 Hz; bin 0 is at 31.7 Hz
    assert abs(heard_cents - 1200 * np.log2(frequency_hz / 10)) <= 20  # one bin


def test_an_unknown_model_is_an_error() -> None:
    with pytest.raises(fetch_models.FetchError, match="expected one of rivagan_encoder"):
        fetch_models.fetch("no_such_model")


def test_a_wrong_hash_is_an_error() -> None:
    with pytest.raises(fetch_models.FetchError, match="expected"):
        fetch_models._check_hash("0" * 64, "1" * 64, "wheel")


def small_layers() -> list[layers.Layer]:
    """The layers that run in well under a second each on one core."""
    heavy = ("31x31 3->64", "k=1024", "dw k=4096", "k=16384", "CREPE")
    table = (*layers.LAYERS, *layers.TRAPS, *layers.FIELD)
    return [layer for layer in table if not any(word in layer.name for word in heavy)]


def test_layer_names_are_unique() -> None:
    names = [layer.name for layer in (*layers.LAYERS, *layers.TRAPS, *layers.FIELD)]
    assert len(set(names)) == len(names) >= 25


@pytest.mark.parametrize("layer", small_layers(), ids=lambda layer: layer.name)
def test_layer_runs_and_gives_the_shape_of_its_spec(layer: layers.Layer) -> None:
    spec = layer.spec
    model = build_conv_model(spec)
    feeds = {"x": draw_input(spec)}
    (output,) = run_model(model, feeds)
    assert output.shape == (spec.batch, spec.out_channels, *spec.output_extents)
    assert 0.3 < output.std() < 1.5


def test_dynamic_dims_are_symbolic() -> None:
    spec = layers.make_spec((2, 4), (3, 5), (None, 16), batch=None, strides=(2, 1), has_bias=True)
    model = build_conv_model(spec, dynamic=[3])
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 2, "extent0", "extent1"]
    (output,) = run_model(model, {"x": draw_input(spec, batch=3, extent=11)})
    assert output.shape == (3, 4, 6, 16)


def test_attributes_are_overridden_and_left_out() -> None:
    spec = layers.make_spec((1, 1), (3,), (8,))
    model = build_conv_model(spec, pads=None, strides=None, kernel_shape=None, auto_pad="SAME_UPPER")
    (node,) = model.graph.node
    assert {attribute.name for attribute in node.attribute} == {"dilations", "group", "auto_pad"}


def test_executed_op_types_sees_what_ran() -> None:
    spec = layers.make_spec((2, 2), (3,), (8,))
    counted = executed_op_types(build_conv_model(spec), {"x": draw_input(spec)})
    assert counted["Conv"] == 1
    assert counted["MatMul"] == 0
