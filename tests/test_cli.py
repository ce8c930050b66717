"""The command line, run in-process: exit codes, what is printed and written, and files that are no models."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from corpus import build_conv_model, list_op_types, open_session, run_model
from layers import make_spec
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from rich.console import Console

import onnx_fft
import onnx_fft.lowering.matmul
from onnx_fft.arguments import EXIT_CODES, make_parser
from onnx_fft.cli import main
from onnx_fft.model.io import save_model
from onnx_fft.validate import validate

VERBS = ("rewrite", "inspect", "validate", "bench", "cache")
SPEC = make_spec((6, 6), (11, 11), (30, 30), has_bias=True)
GAINING = make_spec((64, 64), (31, 31), (56, 56), group=64)
ESCAPE = "\x1b"


def run(*arguments: object) -> int:
    """The exit code of one command; argparse's own errors leave by SystemExit."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        assert isinstance(exit_.code, int)
        return exit_.code


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    path = tmp_path / "in.onnx"
    onnx.save(build_conv_model(SPEC), path)
    return path


@pytest.fixture
def break_matmul(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes the `matmul` lowering wrong by a factor."""
    right = onnx_fft.lowering.matmul.product_spectrum

    def scale(factor: float) -> None:
        def wrong(*args: Any, **kwargs: Any) -> Any:
            return right(*args, **kwargs) * factor

        monkeypatch.setattr(onnx_fft.lowering.matmul, "product_spectrum", wrong)

    return scale


def list_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- code 0 -------------------------------------------------------------------------------------------------------


def test_rewrite_validate_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(build_conv_model(GAINING), path)
    assert run("rewrite", path, output) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "1 of 1 convolutions replaced" in said.err
    assert "same: " in said.err
    assert "1 of 1 replaced Convs held against float64" in said.err
    assert "Conv" not in list_op_types(onnx.load(output))
    open_session(output)
    assert run("validate", path, output) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].startswith("same: ")
    assert run("inspect", path) == 0
    said = capsys.readouterr()
    assert "matmul" in said.out
    assert "31x31" in said.out
    assert list_files(tmp_path) == {"in.onnx", "out.onnx"}


def test_rewrite_without_a_gain_writes_the_same_model(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = model_path.with_name("small.onnx")
    onnx.save(build_conv_model(make_spec((3, 4), (3, 3), (8, 8))), small)
    output = model_path.with_name("out.onnx")
    assert run("rewrite", small, output) == 0
    assert onnx.load(output) == onnx.load(small)
    assert "0 of 1 convolutions replaced" in capsys.readouterr().err


def test_a_model_can_be_rewritten_in_place(model_path: Path) -> None:
    before = onnx.load(model_path)
    assert run("rewrite", model_path, model_path, "--select", "all") == 0
    after = onnx.load(model_path)
    assert (list_op_types(before)["Conv"], list_op_types(after)["Conv"]) == (1, 0)
    assert list_files(model_path.parent) == {"in.onnx"}


def test_flags_reach_the_pass(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, lowering in (
        (["--lowering", "dft"], "dft"),
        (["--lowering", "matmul", "--max-growth", "2G"], "matmul"),
        (["--select", "all", "--max-growth", "0"], None),
        (["--select", "all", "--max-growth", "1K"], None),
        (["--select", "all", "--exclude", "conv"], None),
        (["--select", "all", "--include", "^conv$", "--lowering", "dft"], "dft"),
        (["--opset", "18", "--lowering", "dft"], "dft"),
    ):
        capsys.readouterr()
        assert run("inspect", model_path, "--json", *flags) == 0
        report = json.loads(capsys.readouterr().out)
        assert [row["lowering"] for row in report["rows"]] == [lowering]
        assert report["opset"] == (18 if "--opset" in flags else 17)


def test_input_shape_reaches_model_and_validation(tmp_path: Path) -> None:
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(build_conv_model(SPEC, dynamic=(0, 2, 3)), path)
    assert run("rewrite", path, output, "--select", "all", "--input-shape", "x:2x6x30x17") == 0
    dims = onnx.load(output).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [2, 6, 30, 17]
    assert run("validate", path, output, "--input-shape", "x:2x6x30x17", "--seed", "5") == 0


def test_report_and_plan_files(model_path: Path) -> None:
    folder = model_path.parent
    report, plan, output, again = (folder / name for name in ("report.json", "plan.json", "out.onnx", "again.onnx"))
    arguments = ("--select", "all", "--report", report, "--save-plan", plan)
    assert run("rewrite", model_path, output, *arguments) == 0
    data = json.loads(report.read_text())
    assert data["validation"]["ok"] is True
    assert data["rows"][0]["name"] == "conv"
    assert run("rewrite", model_path, again, "--plan", plan, "--no-validate", "--report", report) == 0
    assert again.read_bytes() == output.read_bytes()
    assert json.loads(report.read_text())["validation"] is None
    edited = json.loads(plan.read_text())
    edited["convs"][0]["lowering"] = None
    plan.write_text(json.dumps(edited))
    assert run("rewrite", model_path, again, "--plan", plan) == 0
    assert list_op_types(onnx.load(again))["Conv"] == 1


def test_the_page_of_inspect_has_the_plan(model_path: Path) -> None:
    page = model_path.with_name("page.html")
    assert run("inspect", model_path, "--select", "all", "--report", page) == 0
    assert "Copy the plan" in page.read_text()
    assert "dft_length" in page.read_text()


def test_validate_on_given_inputs(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, feeds = model_path.with_name("out.onnx"), model_path.with_name("feeds.npz")
    assert run("rewrite", model_path, output, "--select", "all", "--no-validate") == 0
    np.savez(feeds, x=np.ones((1, 6, 30, 30), np.float32))
    capsys.readouterr()
    assert run("validate", model_path, output, "--inputs", feeds, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] is True
    assert "feeds.npz" in data["feeds"][0]["label"]
    np.savez(feeds, x=np.ones((1, 5, 30, 30), np.float32))
    assert run("validate", model_path, output, "--inputs", feeds) == 2


def test_bench_prints_a_ratio(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", model_path, model_path, "--budget", "1", "--threads", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("verb", VERBS)
def test_help_explains_itself_and_the_exit_codes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--help") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: onnx-fft {verb}")
    assert EXIT_CODES.strip() in said
    assert not re.search(r"^  --[a-z-]+( [A-Z]+)?$\n(?! {10})", said, re.MULTILINE), "a flag without help"


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    said = capsys.readouterr().out
    assert all(verb in said for verb in VERBS)
    assert run("--version") == 0
    assert re.fullmatch(r"onnx-fft \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_progress_is_shown_on_a_terminal_only(
    model_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = model_path.with_name("out.onnx")
    assert run("rewrite", model_path, output, "--select", "all") == 0
    quiet = capsys.readouterr().err
    assert ESCAPE not in quiet
    assert "comparing on" not in quiet
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: True))
    monkeypatch.setenv("TERM", "xterm")
    assert run("rewrite", model_path, output, "--select", "all") == 0
    assert ESCAPE in capsys.readouterr().err


def test_names_are_printed_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brackets in paths and node names are no markup, on a terminal neither."""
    folder = tmp_path / "a[red]["
    folder.mkdir()
    model = build_conv_model(SPEC)
    model.graph.node[0].name = "[/bold]conv[red]"
    onnx.save(model, folder / "b].onnx")
    output = folder / "[blue]out].onnx"
    monkeypatch.setenv("COLUMNS", "200")
    assert run("rewrite", folder / "b].onnx", output, "--select", "all") == 0
    said = capsys.readouterr().err
    assert "[/bold]conv[red]" in said
    assert f"wrote {output}" in said
    assert run("rewrite", folder / "c].onnx", output) == 2
    assert f"got {str(folder / 'c].onnx')!r}" in capsys.readouterr().err
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: True))
    assert run("rewrite", folder / "b].onnx", output, "--select", "all") == 0


# --- code 2: usage and files that are no models -------------------------------------------------------------------


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


@pytest.mark.parametrize("arguments", [[], ["rewrite"], ["rewrite", "in.onnx"], ["paint", "in.onnx"]], ids=" ".join)
def test_missing_arguments(arguments: list[str]) -> None:
    assert run(*arguments) == 2


def make_cyclic() -> bytes:
    model = build_conv_model(SPEC)
    model.graph.node.append(helper.make_node("Relu", ["b"], ["a"]))
    model.graph.node.append(helper.make_node("Relu", ["a"], ["b"]))
    return model.SerializeToString()


def make_twice_defined() -> bytes:
    model = build_conv_model(SPEC)
    model.graph.node.append(helper.make_node("Relu", ["x"], ["y"]))
    return model.SerializeToString()


def make_empty_graph() -> bytes:
    model = build_conv_model(SPEC)
    del model.graph.node[:]
    return model.SerializeToString()


def make_graphless() -> bytes:
    model = build_conv_model(SPEC)
    model.ClearField("graph")
    return model.SerializeToString()


def make_short_weight() -> bytes:
    model = build_conv_model(SPEC)
    tensor = model.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-4]
    return model.SerializeToString()


def make_escaping_data() -> bytes:
    model = build_conv_model(SPEC)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    return model.SerializeToString()


def make_unknown_dtype() -> bytes:
    model = build_conv_model(SPEC)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_type, tensor.data_location = 99, onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="in.onnx")
    return model.SerializeToString()


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"this is no model\n" * 20,
    "zeros": lambda: bytes(1000),
    "truncated": lambda: build_conv_model(SPEC).SerializeToString()[:-100],
    "head only": lambda: build_conv_model(SPEC).SerializeToString()[:9],
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
def test_what_is_no_model(kind: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    path.write_bytes(HOSTILE[kind]())
    if verb == "inspect":
        if kind in ("short weight", "data elsewhere"):
            return  # inspect reads no weights: that they are broken shows when they are needed
        arguments: list[object] = [path]
    elif verb == "rewrite":
        arguments = [path, output, "--select", "all", "--no-validate"]
    else:
        arguments = [path, path]
    assert run(verb, *arguments) == 2
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
    (before,), (after,) = ReferenceEvaluator(model).run(None, feeds), run_model(output, feeds)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-4 * np.abs(before).max())


# --- code 3: wrong results ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, 1.01, -1.0, float("nan")])
def test_a_wrong_lowering_is_caught_and_nothing_is_written(
    factor: float, model_path: Path, break_matmul: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    break_matmul(factor)
    folder = model_path.parent
    output, report, plan = (folder / name for name in ("out.onnx", "report.json", "plan.json"))
    arguments = ("--lowering", "matmul", "--report", report, "--save-plan", plan)
    assert run("rewrite", model_path, output, *arguments) == 3
    said = capsys.readouterr().err
    assert "different: " in said
    assert "was not written" in said
    assert list_files(folder) == {"in.onnx", "report.json"}
    assert json.loads(report.read_text())["validation"]["ok"] is False
    output.write_bytes(b"here before")
    assert run("rewrite", model_path, output, "--lowering", "matmul") == 3
    assert output.read_bytes() == b"here before"
    before = model_path.read_bytes()
    assert run("rewrite", model_path, model_path, "--lowering", "matmul") == 3
    assert model_path.read_bytes() == before
    assert run("rewrite", model_path, output, "--lowering", "dft") == 0


@pytest.mark.parametrize("original_passes", [True, False])
def test_what_the_checker_newly_refuses_is_not_written(
    original_passes: bool, model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime runs it all the same."""
    model = onnx.load(model_path)
    if not original_passes:
        model.graph.doc_string = "refused"
        onnx.save(model, model_path)
    module = sys.modules["onnx_fft.rewrite"]  # the package has the function under that name
    splice = module.splice

    def splice_wrong(site: Any, nodes: Any, initializers: Any, lowering: str) -> None:
        splice(site, nodes, initializers, lowering)
        site.scope.body.doc_string = "refused"

    def refuse(path: Path, **_options: object) -> None:
        if onnx.load(path).graph.doc_string:
            raise onnx.checker.ValidationError("not like this")

    monkeypatch.setattr("onnx_fft.model.io.check_model", refuse)
    monkeypatch.setattr(module, "splice", splice_wrong)
    code = run("rewrite", model_path, model_path.with_name("out.onnx"), "--select", "all")
    assert code == (3 if original_passes else 0)
    assert ("not like this" in capsys.readouterr().err) == original_passes
    assert ("out.onnx" in list_files(model_path.parent)) != original_passes


def test_validate_fails_on_another_model(
    model_path: Path, break_matmul: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    output = model_path.with_name("out.onnx")
    break_matmul(1.001)
    assert run("rewrite", model_path, output, "--lowering", "matmul", "--no-validate") == 0
    capsys.readouterr()
    assert run("validate", model_path, output) == 3
    assert "different: " in capsys.readouterr().out
    assert run("validate", model_path, output, "--json") == 3
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert run("validate", model_path, output, "--rtol", "0.5") == 3  # the Conv by itself is still wrong


# --- codes 4 and 5 ------------------------------------------------------------------------------------------------


def test_an_opset_that_cannot_be_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_conv_model(SPEC, opset=13)
    identity = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("f", "F", ["a"], ["b"], [identity], [helper.make_opsetid("", 13)]))
    model.opset_import.append(helper.make_opsetid("f", 1))
    path = tmp_path / "in.onnx"
    onnx.save(model, path)
    assert run("rewrite", path, tmp_path / "out.onnx", "--lowering", "dft") == 4
    assert "matmul" in capsys.readouterr().err
    assert run("rewrite", path, tmp_path / "out.onnx", "--opset", "12") == 4
    assert list_files(tmp_path) == {"in.onnx"}


def test_an_output_that_cannot_be_written(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model_path.parent
    existing = folder / "folder.onnx"
    existing.mkdir()
    for output in (existing, folder / "missing" / "out.onnx", model_path / "out.onnx"):
        assert run("rewrite", model_path, output, "--select", "all") == 5
        assert "got output path" in capsys.readouterr().err.replace("\n", " ")
    for flag in ("--report", "--save-plan"):
        assert run("rewrite", model_path, folder / "out.onnx", flag, folder / "missing" / "file.json") == 5
    assert list_files(folder) == {"in.onnx", "folder.onnx"}
    assert list_files(existing) == set()


def test_no_file_of_the_command_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output, plan = tmp_path / "in.onnx", tmp_path / "out.onnx", tmp_path / "plan.json"
    onnx.save(build_conv_model(SPEC), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert run("rewrite", path, output, "--select", "all", "--no-validate", "--save-plan", plan) == 0
    linked = tmp_path / "linked.json"
    linked.symlink_to("in.onnx")
    before = {name: (tmp_path / name).read_bytes() for name in list_files(tmp_path)}
    for flags in (
        ["--report", path],
        ["--save-plan", linked],
        ["--report", output],
        ["--save-plan", tmp_path / "w.bin"],
        ["--report", plan, "--save-plan", plan],
        ["--report", tmp_path / "new.json", "--save-plan", tmp_path / "." / "new.json"],
        ["--plan", plan, "--report", plan],
    ):
        capsys.readouterr()
        assert run("rewrite", path, output, *flags) == 2, flags
        assert "got " in capsys.readouterr().err
    for arguments in (
        ["inspect", path, "--report", path],
        ["rewrite", path, plan, "--plan", plan],
        ["rewrite", path, tmp_path / "w.bin", "--select", "all"],  # though the output would not need it
        ["bench", path, output, "--report", output],
        ["bench", path, output, "--plot", tmp_path / "c.svg", "--report", tmp_path / "c.svg"],
    ):
        assert run(*arguments) == 2, arguments
    assert {name: (tmp_path / name).read_bytes() for name in list_files(tmp_path)} == before


def test_paths_are_checked_before_the_work(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("began to work")

    for name in ("rewrite", "dry_run"):
        monkeypatch.setattr(f"onnx_fft.cli.{name}", work)
    monkeypatch.setattr(sys.modules["onnx_fft.bench"], "bench", work)
    missing, output = model_path.parent / "missing", model_path.with_name("out.onnx")
    for arguments in (
        ["rewrite", model_path, missing / "out.onnx"],
        ["rewrite", model_path, output, "--report", missing / "r.json"],
        ["rewrite", model_path, output, "--save-plan", model_path.parent],
        ["inspect", model_path, "--report", missing / "r.html"],
        ["bench", model_path, model_path, "--report", missing / "r.html"],
    ):
        assert run(*arguments) == 5
        assert "got output path" in capsys.readouterr().err


def test_the_model_is_written_before_plan_and_report(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_path.parent

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    files = ("--save-plan", folder / "plan.json", "--report", folder / "report.html")
    assert run("rewrite", model_path, folder / "out.onnx", "--select", "all", "--no-validate", *files) == 5
    assert list_files(folder) == {"in.onnx"}


def test_a_model_of_more_than_one_message_is_validated(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a file, with its constants beside it, for as one message it cannot be handed over."""
    monkeypatch.setattr("onnx_fft.model.io.MAX_MODEL_BYTES", 40_000)
    seen: list[object] = []

    def watch(original: object, rewritten: object, **options: Any) -> Any:
        seen.append(rewritten)
        return validate(original, rewritten, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("onnx_fft.cli.validate", watch)
    assert run("rewrite", model_path, model_path.with_name("out.onnx"), "--select", "all") == 0
    assert "same: " in capsys.readouterr().err
    assert isinstance(seen[0], Path) and seen[0].parent == model_path.parent
    names = sorted(list_files(model_path.parent))
    assert [names[0], names[1]] == ["in.onnx", "out.onnx"]
    assert re.fullmatch(r"out\.onnx\.[0-9a-f]{16}\.data", names[2])


def test_a_wrong_model_leaves_no_data_behind(tmp_path: Path, break_matmul: Callable[[float], None]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    model = build_conv_model(SPEC)
    onnx.save(model, tmp_path / "in" / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    break_matmul(1.5)
    assert run("rewrite", tmp_path / "in" / "m.onnx", tmp_path / "out" / "m.onnx", "--lowering", "matmul") == 3
    assert list_files(tmp_path / "out") == set()


def test_a_full_disk_leaves_what_was_there(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = model_path.with_name("out.onnx")
    output.write_bytes(b"here before")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    assert run("rewrite", model_path, output, "--select", "all", "--no-validate") == 5
    assert "No space left" in capsys.readouterr().err
    assert output.read_bytes() == b"here before"
    assert list_files(model_path.parent) == {"in.onnx", "out.onnx"}


def test_an_interrupt_writes_nothing(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnx_fft.cli.validate", interrupt)
    assert run("rewrite", model_path, model_path.with_name("out.onnx"), "--select", "all") == 130
    assert "interrupted" in capsys.readouterr().err
    assert list_files(model_path.parent) == {"in.onnx"}


def test_commands_and_functions_have_the_same_defaults() -> None:
    parser = make_parser()
    bench_defaults = parser.parse_args(["bench", "a", "b"])
    rewrite_defaults = parser.parse_args(["rewrite", "a", "b"])
    for function, options, names in (
        (onnx_fft.bench, bench_defaults, {"threads": "threads", "budget_s": "budget", "seed": "seed"}),
        (
            onnx_fft.rewrite,
            rewrite_defaults,
            {name: name for name in ("lowering", "select", "plan", "opset", "threads")},
        ),
        (onnx_fft.rewrite, rewrite_defaults, {"budget_s": "budget", "max_growth_bytes": "max_growth"}),
        (
            onnx_fft.validate,
            parser.parse_args(["validate", "a", "b"]),
            {name: name for name in ("seed", "rtol", "atol")},
        ),
    ):
        parameters = inspect.signature(function).parameters
        assert {n: parameters[n].default for n in names} == {n: getattr(options, o) for n, o in names.items()}


def test_every_documented_code_is_one_that_is_tested() -> None:
    assert re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE) == ["0", "1", "2", "3", "4", "5", "130"]


def test_external_data_goes_along(tmp_path: Path) -> None:
    folder, target = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    target.mkdir()
    model = build_conv_model(SPEC)
    model.graph.node.append(helper.make_node("Add", ["x", "kept"], ["sum"]))
    model.graph.output.append(helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, (1, 6, 30, 30)))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((6, 30, 30), np.float32), "kept"))
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    assert run("rewrite", folder / "m.onnx", target / "m.onnx", "--select", "all") == 0
    assert list_files(target) == {"m.onnx", "m.bin"}
    assert run("validate", folder / "m.onnx", target / "m.onnx") == 0
    loaded = onnx.load(target / "m.onnx")
    save_model(loaded, tmp_path / "whole.onnx")
    assert "Conv" not in list_op_types(loaded)
