"""The command line, run in-process: what is printed and written, flags, help and progress."""

from __future__ import annotations

import inspect
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from rich.console import Console

import onnx_fft
import onnx_fft.lowering.matmul
from onnx_fft import native
from onnx_fft.cli.arguments import VERB_CODES, make_parser, read_options
from onnx_fft.cli.hints import word_as_flag
from onnx_fft.native import LIBRARY_VARIABLE
from onnx_fft.report.sentences import summarize_report
from onnx_fft.report.text.drawing import print_result
from onnx_fft.report.text.report import FULL_COLUMNS
from onnx_fft.results import Report, Row
from scripts.shared.conv_models import build_conv_model
from scripts.shared.layers import make_spec
from scripts.shared.running import list_op_types, open_session
from tests.commands import SPEC, list_files, run
from tests.models import parse_model

VERBS = tuple(VERB_CODES)
GAINING = make_spec((64, 64), (31, 31), (56, 56), group=64)
ESCAPE = "\x1b"


def test_rewrite_validate_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(build_conv_model(GAINING), path)
    assert run("rewrite", path, output) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "1 of 1 convolutions replaced" in said.err
    assert "same: " in said.err
    assert "1 of 1 replaced operators held against float64" in said.err
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


def test_what_standard_leaves_alone_may_gain_by_the_library(
    model_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, native_library: Path
) -> None:
    gaining, small, bare = (model_path.with_name(f"{name}.onnx") for name in ("gaining", "small", "bare"))
    onnx.save(build_conv_model(GAINING), gaining)
    onnx.save(build_conv_model(make_spec((3, 4), (3, 3), (8, 8))), small)
    onnx.save(parse_model("g (float[4] x) => (float[4] y) { y = Relu(x) }", {}), bare)

    def find_hints(*arguments: object) -> list[str]:
        assert run(*arguments) == 0
        said = capsys.readouterr()
        return [line for line in (said.out + said.err).splitlines() if line.startswith("hint: ")]

    hint = "hint: the native library is installed; --target native gains on more models"
    assert find_hints("inspect", small) == [hint]
    assert find_hints("rewrite", small, model_path.with_name("out.onnx")) == [hint]
    assert find_hints("inspect", small, "--json") == []
    assert find_hints("inspect", small, "--target", "native") == []
    assert find_hints("inspect", small, "--lowering", "matmul") == []
    assert find_hints("inspect", gaining) == find_hints("inspect", bare) == []
    monkeypatch.setenv(LIBRARY_VARIABLE, str(model_path))
    assert find_hints("inspect", small) == []
    monkeypatch.delenv(LIBRARY_VARIABLE)
    native._check_loads.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert find_hints("inspect", small) == []


def test_the_original_is_never_written_over(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = model_path.read_bytes()
    link = model_path.with_name("link.onnx")
    link.symlink_to(model_path)
    for output in (model_path, link):
        assert run("rewrite", model_path, output, "--select", "all") == 2
        assert "expected different files" in capsys.readouterr().err
    assert model_path.read_bytes() == before
    assert list_files(model_path.parent) == {"in.onnx", "link.onnx"}


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


def test_rewrite_on_given_inputs(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, feeds, report = (model_path.with_name(name) for name in ("out.onnx", "feeds.npz", "report.json"))
    np.savez(feeds, x=np.ones((1, 6, 30, 30), np.float32))
    command = ("rewrite", model_path, output, "--select", "all", "--inputs", feeds)
    assert run(*command, "--report", report) == 0
    data = json.loads(report.read_text())["validation"]
    assert data["feeds"][0]["label"] == "inputs of feeds.npz"
    assert all("inputs of feeds.npz" in feed["label"] for feed in data["sparse"])
    output.unlink()
    np.savez(feeds, x=np.ones((1, 5, 30, 30), np.float32))
    capsys.readouterr()
    assert run(*command) == 2
    assert "got 'x' as float32 [1, 5, 30, 30]; expected [1, 6, 30, 30]" in capsys.readouterr().err
    assert run("inspect", model_path, "--inputs", feeds) == 2
    assert run("rewrite", model_path, output, "--report", feeds, "--inputs", feeds) == 2
    assert not output.exists()


@pytest.mark.slow
def test_bench_says_how_many_times_faster_the_second_model_is(
    model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    light = model_path.with_name("light.onnx")
    onnx.save(build_conv_model(make_spec((6, 6), (1, 1), (30, 30))), light)
    flags = ("--budget", "0.3", "--threads", "1")
    assert run("bench", model_path, light, *flags, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    before, after = (float(np.median(found[model]["samples_s"])) for model in ("original", "rewritten"))
    assert found["ratio"]["value"] == pytest.approx(before / after)
    assert 1 < found["ratio"]["low"] <= found["ratio"]["value"] <= found["ratio"]["high"]
    assert run("bench", light, model_path, *flags) == 0
    assert re.match(r"0\.\d+x: slower ", capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("verb", VERBS)
def test_help_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--help") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: onnx-fft {verb}")
    assert ("the next --select measure goes on" in said) == (verb in ("rewrite", "inspect"))
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


def test_commands_and_functions_have_the_same_defaults() -> None:
    parser = make_parser()
    for command in (["rewrite", "a", "b"], ["inspect", "a"]):
        options = read_options(parser.parse_args(command))
        assert replace(options, custom_ops=tuple(options.custom_ops)) == onnx_fft.RewriteOptions()
    for function, command, names in (
        (onnx_fft.bench, ["bench", "a", "b"], ("threads", "budget_s", "seed")),
        (onnx_fft.validate, ["validate", "a", "b"], ("seed", "rtol", "atol")),
    ):
        parameters, arguments = inspect.signature(function).parameters, parser.parse_args(command)
        assert {name: parameters[name].default for name in names} == {name: getattr(arguments, name) for name in names}


# --- the table and the summary --------------------------------------------------------------------------------------


def make_long_report(**changes: Any) -> Report:
    """A name, a geometry and a reason as long as real ones are."""
    row = Row(
        name="/encoder/stages.2/blocks.7/depthwise_conv/Conv",
        op_type="Conv",
        geometry="31x31 dw 128->128 on 1x56x56 pads 15x15",
        lowering="matmul",
        code="",
        reason="predicted at 1.56x the speed",
        predicted_conv_s=6e-3,
        predicted_s=4e-3,
        growth_bytes=31 << 10,
    )
    return Report((replace(row, **changes), replace(row, measured_conv_s=5e-3, measured_s=3e-3)), 17)


def tell(report: Report) -> str:
    return summarize_report(report, word_as_flag)


def render(report: Report, columns: int) -> list[str]:
    console = Console(width=columns, file=io.StringIO())
    print_result(report, console, word_as_flag)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_the_table_is_readable_at_80_columns_and_a_row_is_a_line_when_piped(
    model_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = render(make_long_report(), 80)
    assert lines[0].split() == ["convolution", "becomes", "Conv", "ms", "FFT", "ms", "why"]
    assert len(lines) <= 1 + 2 * 2 + 2, "no row takes more than two lines"
    assert "columns" in lines[-2], "what is left out is told, before the summary"
    assert "geometry" in render(make_long_report(), FULL_COLUMNS)[0]
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "a/rather/long/name/" * 8
    model = onnx.load(model_path)
    model.graph.node[0].name = name
    onnx.save(model, model_path)
    assert run("inspect", model_path) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(name)]
    assert "11x11" in line and "predicted at" in line


def test_small_growth_is_in_kib_and_the_cap_is_named() -> None:
    assert "+62.0 KiB" in tell(make_long_report())
    assert any("+31.0 KiB" in line for line in render(make_long_report(), 200))
    report = replace(make_long_report(lowering=None, code="growth"), max_growth_bytes=40 << 10)
    assert "1 left alone because the file may grow by 40.0 KiB at most: raise that with --max-growth" in (tell(report))
    assert "--max-growth" not in tell(replace(make_long_report(), max_growth_bytes=1 << 20))


def test_the_cap_reaches_the_summary(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", model_path, "--select", "all", "--max-growth", "1K") == 0
    assert "1 left alone because the file may grow by 1.0 KiB at most" in capsys.readouterr().out


def test_models_that_differ_in_their_inputs_are_not_run(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = onnx.load(model_path)
    other.graph.input[0].name = other.graph.node[0].input[0] = "z"
    onnx.save(other, model_path.with_name("other.onnx"))
    assert run("validate", model_path, model_path.with_name("other.onnx")) == 3
    assert capsys.readouterr().out.startswith("seed 0; neither model was run\n")
