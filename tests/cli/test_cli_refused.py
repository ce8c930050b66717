"""The command line on bad usage, on files that are not models, and on Convs that mean nothing: code 2, or a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from scripts.shared.conv_models import build_conv_model
from scripts.shared.layers import make_spec
from scripts.shared.running import run_model, run_reference
from tests.commands import SPEC, list_files, run
from tests.comparing import dump


@pytest.mark.parametrize(
    "flags",
    [
        ["--lowering", "fourier"],
        ["--select", "some"],
        ["--include", "nothing like it"],
        ["--exclude", "("],
        ["--input-shape", "x"],
        ["--input-shape", "x:1x-3"],
        ["--input-shape", "z:1x3"],
        ["--input-shape", "x:1x6x30x31"],
        ["--max-growth", "big"],
        ["--plan", "no such file"],
        ["--no-such-flag"],
    ],
    ids=" ".join,
)
def test_bad_usage(flags: list[str], model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rewrite", model_path, model_path.with_name("out.onnx"), *flags) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "onnx-fft" in said
    assert list_files(model_path.parent) == {"in.onnx"}


def test_numbers_that_nothing_holds(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rewrite", model_path, model_path.with_name("out.onnx"), "--max-growth", "9" * 400) == 2
    for verb in ("validate", "bench"):
        assert run(verb, model_path, model_path, "--seed", "-1") == 2
        assert "got seed -1" in capsys.readouterr().err
    assert run("validate", model_path, model_path, "--atol", "inf") == 2


@pytest.mark.parametrize("arguments", [[], ["rewrite"], ["rewrite", "in.onnx"], ["paint", "in.onnx"]], ids=" ".join)
def test_missing_arguments(arguments: list[str]) -> None:
    assert run(*arguments) == 2


def make_cyclic() -> bytes:
    model = build_conv_model(SPEC)
    model.graph.node.append(helper.make_node("Relu", ["b"], ["a"]))
    model.graph.node.append(helper.make_node("Relu", ["a"], ["b"]))
    return dump(model)


def make_twice_defined() -> bytes:
    model = build_conv_model(SPEC)
    model.graph.node.append(helper.make_node("Relu", ["x"], ["y"]))
    return dump(model)


def make_empty_graph() -> bytes:
    model = build_conv_model(SPEC)
    del model.graph.node[:]
    return dump(model)


def make_graphless() -> bytes:
    model = build_conv_model(SPEC)
    model.ClearField("graph")
    return dump(model)


def make_short_weight() -> bytes:
    model = build_conv_model(SPEC)
    tensor = model.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-4]
    return dump(model)


def make_escaping_data() -> bytes:
    model = build_conv_model(SPEC)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    return dump(model)


def make_unknown_dtype() -> bytes:
    model = build_conv_model(SPEC)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_type, tensor.data_location = 99, onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="in.onnx")
    return dump(model)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"this is not a model\n" * 20,
    "zeros": lambda: bytes(1000),
    "truncated": lambda: dump(build_conv_model(SPEC))[:-100],
    "head only": lambda: dump(build_conv_model(SPEC))[:9],
    "a tensor": lambda: numpy_helper.from_array(np.ones((3, 3), np.float32), "w").SerializeToString(),
    "zip": lambda: b"PK\x03\x04" + bytes(range(256)),
    "no graph": make_graphless,
    "empty graph": make_empty_graph,
    "cyclic": make_cyclic,
    "twice defined": make_twice_defined,
    "short weight": make_short_weight,
    "data elsewhere": make_escaping_data,
    "unknown dtype": make_unknown_dtype,
}


@pytest.mark.parametrize("verb", ["rewrite", "inspect", "validate", "bench"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_not_a_model(kind: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    path.write_bytes(HOSTILE[kind]())
    arguments: dict[str, list[object]] = {
        "rewrite": [path, output, "--select", "all", "--no-validate"],
        "inspect": [path, "--select", "all"],
    }
    assert run(verb, *arguments.get(verb, [path, path])) == 2
    said = capsys.readouterr()
    assert said.err.startswith("onnx-fft: got ")
    assert "Traceback" not in said.err
    assert said.out == ""
    assert list_files(tmp_path) == {"in.onnx"}


def test_missing_files_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "missing.onnx", tmp_path):
        for arguments in (["inspect", path], ["rewrite", path, tmp_path / "out.onnx"], ["validate", path, path]):
            assert run(*arguments) == 2
            assert capsys.readouterr().err.startswith("onnx-fft: got ")
    assert list_files(tmp_path) == set()


ODD_CONVS: dict[str, tuple[dict[str, Any], str]] = {
    "zero batch": ({"x": (0, 3, 9, 9)}, "zero-size"),
    "zero extent": ({"x": (1, 3, 0, 9)}, "zero-size"),
    "zero kernel": ({"w": (4, 3, 0, 3)}, "zero-size"),
    "no channels": ({"w": (0, 3, 3, 3)}, "zero-size"),
    "large kernel": ({"w": (4, 3, 11, 3)}, "kernel-too-large"),
    "kernel_shape": ({"kernel_shape": [5, 5]}, "bad-kernel-shape"),
    "rank": ({"w": (4, 3, 3)}, "bad-rank"),
    "strides": ({"strides": [1]}, "bad-strides"),
    "no stride": ({"strides": [0, 1]}, "bad-strides"),
    "dilations": ({"dilations": [1, -2]}, "bad-dilations"),
    "pads": ({"pads": [1, 1]}, "bad-pads"),
    "negative pads": ({"pads": [-1, 0, 0, 0]}, "bad-pads"),
    "endless pads": ({"pads": [1 << 40, 0, 0, 0]}, "too-long"),
    "endless input": ({"x": (1, 3, (1 << 26) - 9, (1 << 26) - 9)}, "too-large"),
    "group": ({"group": 3}, "bad-group"),
    "no group": ({"group": 0}, "bad-group"),
    "channels": ({"x": (1, 5, 9, 9)}, "bad-channels"),
    "auto_pad": ({"auto_pad": "SOME"}, "bad-auto-pad"),
    "bias": ({"b": (3,)}, "bad-bias"),
    "integers": ({"dtype": "int32"}, "dtype"),
}


def make_odd_conv(options: dict[str, Any]) -> ModelProto:
    options = {"x": (1, 3, 9, 9), "w": (4, 3, 3, 3), "b": (4,), "dtype": "float32"} | options
    shapes = {name: options.pop(name) for name in ("x", "w", "b")}
    dtype = options.pop("dtype")
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="odd", **options)],
        "odd",
        [helper.make_tensor_value_info("x", elem_type, shapes["x"])],
        [helper.make_tensor_value_info("y", elem_type, None)],
        [numpy_helper.from_array(np.ones(shapes[name], dtype), name) for name in ("w", "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", ODD_CONVS)
def test_an_inconsistent_conv_is_untouched_with_a_reason(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, code = ODD_CONVS[kind]
    model = make_odd_conv(options)
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    path.write_bytes(model.SerializeToString())
    assert run("inspect", path, "--select", "all", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["lowering"], row["code"]) == (None, code)
    assert run("rewrite", path, output, "--select", "all") == 0
    assert onnx.load(output) == model


def test_duplicate_names_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_conv_model(make_spec((3, 3), (5, 5), (9, 9)))
    second = model.graph.node.add()
    second.CopyFrom(model.graph.node[0])
    second.input[0], second.output[0] = "y", "z"
    model.graph.output[0].name = "z"
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(model, path)
    assert run("inspect", path, "--json") == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert names == ["conv", "conv#1"]
    assert run("rewrite", path, output, "--lowering", "matmul", "--include", "#1") == 0
    assert onnx.load(output).graph.node[0] == model.graph.node[0]
    assert run("rewrite", path, output, "--lowering", "matmul") == 0
    names = [node.name for node in onnx.load(output).graph.node]
    assert len(set(names)) == len(names)
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 9, 9), np.float32)}
    (before,), (after,) = run_reference(model, feeds), run_model(output, feeds)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-4 * np.abs(before).max())
