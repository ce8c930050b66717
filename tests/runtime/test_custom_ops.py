"""Operators of somebody else: every verb and function that runs a model takes their library."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fft
from onnx_fft.errors import OnnxFftError
from scripts.shared.paths import ROOT
from tests.commands import run
from tests.compiling import find_compiler

SHAPE = (1, 8, 32, 32)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`somebody::Negate`, compiled."""
    path = tmp_path_factory.mktemp("foreign") / "libforeign.so"
    source = Path(__file__).with_name("foreign.cpp")
    include = f"-I{ROOT / 'onnx_fft' / 'native'}"
    command = [find_compiler(), "-std=c++17", "-O1", "-shared", "-fPIC", include, str(source), "-o", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A large depthwise Conv, then the foreign operator."""
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.standard_normal((8, 1, 15, 15)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[7] * 4, group=8),
        helper.make_node("Negate", ["c"], ["y"], domain="somebody"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("somebody", 1)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.parametrize("target", ["standard", "native"])
def test_functions_take_the_library(target: str, model: Path, library: Path, native_library: Path) -> None:
    rewritten = onnx_fft.rewrite(model, target=target, select="all", custom_ops=[library])
    assert rewritten.validation is not None and rewritten.validation.ok
    assert len(rewritten.report.replaced) == 1
    validation = onnx_fft.validate(model, rewritten.model, custom_ops=[library])
    assert validation.ok and validation.convs[0].ok
    benchmark = onnx_fft.bench(model, rewritten.model, custom_ops=[library], budget_s=0.1, memory=False)
    assert benchmark.ratio.value > 0
    session = onnx_fft.InferenceSession(model, rewrite=True, custom_ops=[library])
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    plain = onnx_fft.InferenceSession(model, custom_ops=[library])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], plain.run(None, {"x": x})[0], rtol=1e-3, atol=1e-4)


def test_measuring_takes_the_library(model: Path, library: Path) -> None:
    options = onnx_fft.RewriteOptions(select="measure", budget_s=0, use_cache=False, custom_ops=[library])
    assert onnx_fft.inspect(model, options=options).measurement is not None


@pytest.mark.slow
def test_commands_take_the_library(model: Path, library: Path) -> None:
    output, flags = model.with_name("out.onnx"), ("--custom-ops", library)
    assert run("rewrite", model, output, "--select", "all", *flags) == 0
    assert "Conv" not in {node.op_type for node in onnx.load(output).graph.node}
    assert run("inspect", model, *flags) == 0
    assert run("validate", model, output, *flags) == 0
    assert run("bench", model, output, "--budget", "0.1s", *flags) == 0


def test_without_the_library_each_front_end_names_its_own_option(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OnnxFftError, match=r"somebody:Negate.*custom_ops") as caught:
        onnx_fft.rewrite(model, select="all")
    assert "--" not in str(caught.value)
    assert run("rewrite", model, model.with_name("out.onnx"), "--select", "all") == 2
    said = capsys.readouterr().err
    assert "--custom-ops LIBRARY" in said and "custom_ops" not in said
    assert not model.with_name("out.onnx").exists()


def test_a_model_that_is_given_as_an_object(model: Path, library: Path) -> None:
    loaded: ModelProto = onnx.load(model)
    assert onnx_fft.rewrite(loaded, select="all", custom_ops=[library]).report.replaced
