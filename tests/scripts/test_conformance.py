"""The conformance matrix: a wrong result turns a cell red, and the page shows what was committed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest

from onnx_fft.fourier.oracle import conv_direct
from scripts.conformance import run as conformance
from scripts.conformance.browser import PAGES, serve
from scripts.conformance.cases import (
    LOWERINGS,
    ORIGINAL,
    REAL_MODEL,
    Entry,
    Tensor,
    collect_cases,
    list_columns,
    write_cases,
)
from scripts.conformance.judge import Cell, judge
from scripts.conformance.runtimes import RUNTIMES, MissingRuntime, run_runtime
from scripts.conformance.speed import compare_outputs
from scripts.conformance.table import find_deviations, render
from scripts.conformance.worker import RUNTIMES as ENGINES
from scripts.conformance.worker import run_entry
from scripts.models.wheels import WHEELS
from scripts.shared.blocks import read_block
from scripts.shared.conv_models import Array
from scripts.shared.paths import MODELS
from scripts.shared.standard_cases import Case

CASE, TRANSPOSED = "test_Conv2d_depthwise_padded", "test_convtranspose_dilations"
COMMITTED: dict[str, Any] = json.loads(conformance.JSON.read_text())
CELLS = [Cell(**cell) for cell in COMMITTED["cells"]]
TRUTH = np.random.default_rng(0).standard_normal((2, 3, 5))


def find_case(name: str = CASE) -> Case:
    return next(case for case in collect_cases() if case.name == name)


def run_case(folder: Path, engine: str = "onnxruntime", name: str = CASE) -> dict[str, Cell]:
    """One case as the driver runs it, in this process: cells by lowering."""
    entries, truths = write_cases(folder, [find_case(name)])
    _, run = ENGINES[engine]()
    written = json.loads((folder / "manifest.json").read_text())["entries"]
    lines = [run_entry(entry, folder, folder, run) for entry in written]
    return {cell.lowering: cell for cell in judge("newest", entries, lines, truths, folder)}


def judge_outputs(folder: Path, *values: Array, lowering: str = "matmul", **line: Any) -> Cell:
    """The cell of a runtime that gave `values` when TRUTH was right, and whatever else is in `line`."""
    entry = Entry("name", "case", lowering, "", (Tensor("x", "float32", (1,), ""),), ("y",), 1)
    outputs = []
    for number, value in enumerate(values):
        (folder / f"{number}.bin").write_bytes(np.ascontiguousarray(value).tobytes())
        outputs.append({"dtype": str(value.dtype), "shape": list(value.shape), "file": f"{number}.bin"})
    (cell,) = judge(
        "web", [entry], [{"name": "name", "error": "", "outputs": outputs, **line}], {"case": [TRUTH]}, folder
    )
    return cell


@pytest.mark.parametrize("name", [CASE, TRANSPOSED])
@pytest.mark.parametrize("engine", ["onnxruntime", "reference"])
def test_each_lowering_is_right_and_its_operators_ran(engine: str, name: str, tmp_path: Path) -> None:
    cells = run_case(tmp_path, engine, name)
    assert list(cells) == [ORIGINAL, *LOWERINGS]
    for cell in cells.values():
        assert cell.failures == {}
        assert cell.replaced == (0 if cell.lowering == ORIGINAL else 1)
        assert 0 <= cell.worst["float32"] < 1e-5


def test_a_broken_lowering_turns_its_cell_red_and_no_other(
    tmp_path: Path, break_matmul: Callable[[float], None]
) -> None:
    break_matmul(1.0001)
    cells = run_case(tmp_path)
    assert {lowering: cell.passed for lowering, cell in cells.items()} == {
        ORIGINAL: 1,
        "dft": 1,
        "matmul": 0,
        "fftconv": 1,
    }
    assert "of the RMS" in cells["matmul"].failures[CASE]


def test_the_right_output_passes(tmp_path: Path) -> None:
    cell = judge_outputs(tmp_path, TRUTH.astype(np.float32))
    assert (cell.passed, cell.total, cell.replaced) == (1, 1, 1)


def spoil_one(value: float) -> Array:
    spoilt = TRUTH.astype(np.float32)
    spoilt[1, 2, 3] = value
    return spoilt


@pytest.mark.parametrize(
    "values",
    [
        (),
        (TRUTH.astype(np.float32), TRUTH.astype(np.float32)),
        (TRUTH,),
        (TRUTH.astype(np.float16),),
        (TRUTH.astype(np.float32)[None],),
        (np.empty((2, 3, 0), np.float32),),
        (np.zeros_like(TRUTH, np.float32),),
        ((2 * TRUTH).astype(np.float32),),
        ((-TRUTH).astype(np.float32),),
        (spoil_one(float("nan")),),
        (spoil_one(float("inf")),),
        (spoil_one(float(TRUTH[1, 2, 3]) + 2e-5),),
    ],
    ids=["none", "two", "float64", "float16", "shape", "empty", "zeros", "twice", "sign", "nan", "inf", "one-off"],
)
def test_a_wrong_output_fails(values: Sequence[Array], tmp_path: Path) -> None:
    cell = judge_outputs(tmp_path, *values)
    assert (cell.passed, cell.total, cell.replaced) == (0, 1, 0)
    assert cell.list_unexplained() == cell.failures != {}


@pytest.mark.parametrize(
    ("lowering", "ran", "strange"),
    [
        ("matmul", {"MatMul": 2, "Conv": 1}, True),
        ("dft", {"MatMul": 2}, True),
        ("dft", {"DFT": 2, "FusedConv": 1}, True),
        ("matmul", {"MatMul": 2, "ConvTranspose": 1}, True),
        ("fftconv", {"Add": 1}, True),
        ("matmul", {}, True),
        (ORIGINAL, {"MatMul": 2}, True),
        ("dft", {"RDFT": 1, "Convert": 2}, False),
        ("fftconv", {"FusedConv": 1}, False),
        ("fftconv", {"Deconvolution": 1}, False),
    ],
)
def test_what_ran_counts(lowering: str, ran: dict[str, int], strange: bool, tmp_path: Path) -> None:
    cell = judge_outputs(tmp_path, TRUTH.astype(np.float32), lowering=lowering, ran=ran)
    assert bool(cell.failures) == strange


def test_an_entry_that_was_not_reached_fails(tmp_path: Path) -> None:
    entries, truths = write_cases(tmp_path, [find_case()])
    cells = judge("node", entries, [], truths, tmp_path)
    assert [cell.passed for cell in cells] == [0] * len(entries)


def test_a_gap_explains_its_own_failure_only(tmp_path: Path) -> None:
    words = "No conversion rule found for operations: onnx_fft.FFTConv"
    failures = {"case": words}
    assert Cell("openvino", "fftconv", 0, 1, 0, {}, failures).list_unexplained() == {}
    assert Cell("openvino", "matmul", 0, 1, 0, {}, failures).list_unexplained() == failures
    assert Cell("newest", "fftconv", 0, 1, 0, {}, failures).list_unexplained() == failures


def test_the_truth_is_the_oracle_and_the_standard_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("scripts.conformance.truth.conv_direct", lambda *operands: 1.01 * conv_direct(*operands))
    with pytest.raises(AssertionError, match=CASE):
        write_cases(tmp_path, [find_case()])


def test_a_missing_runtime_is_said(tmp_path: Path) -> None:
    for runtime in RUNTIMES:
        if runtime.environment:
            with pytest.raises(MissingRuntime, match=r"scripts/conformance/run\.sh"):
                run_runtime(runtime, tmp_path / "nothing", tmp_path, tmp_path / runtime.key)


@pytest.mark.slow
def test_the_worker_runs_in_an_environment_without_this_project(tmp_path: Path) -> None:
    """As far as this environment can show: it starts as a file, and `-P` hides the folder of that file."""
    folder = tmp_path / "cases"
    folder.mkdir()
    entries, truths = write_cases(folder, [find_case()])
    for runtime in (runtime for runtime in RUNTIMES if runtime.key in ("newest", "reference")):
        version, lines = run_runtime(runtime, tmp_path, folder, tmp_path / runtime.key)
        assert version.startswith(("ONNX Runtime ", "onnx "))
        cells = judge(runtime.key, entries, lines, truths, tmp_path / runtime.key)
        assert [cell.failures for cell in cells] == [{}] * len(entries)


def test_the_page_in_the_browser_gets_what_it_asks_for(tmp_path: Path) -> None:
    page = (PAGES / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'["`]/(\w+)/', page)) == {"ort", "cases", "out"}
    for name in ("ort", "cases"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.mjs").write_text(name)
    with serve(tmp_path / "ort", tmp_path / "cases", tmp_path) as (server, address):
        for path, expected in (("ort/file.mjs", "ort"), ("cases/file.mjs", "cases"), ("", page)):
            with urlopen(f"{address}/{path}") as answer:
                assert answer.read().decode() == expected
        urlopen(Request(f"{address}/out/y.bin", b"values", method="POST")).close()
        assert (tmp_path / "y.bin").read_bytes() == b"values"
        urlopen(Request(f"{address}/done", b"all is well", method="POST")).close()
        assert server.done.is_set() and server.complaint == "all is well"


def test_deviations_are_found_both_ways() -> None:
    assert find_deviations(COMMITTED, COMMITTED) == []
    changed = deepcopy(COMMITTED)
    full = next(cell for cell in changed["cells"] if not cell["failures"] and cell["lowering"] == "matmul")
    full["failures"] = {CASE: "error 1e+00 of the RMS"}
    (fails,) = find_deviations(changed, COMMITTED)
    assert CASE in fails
    (unexplained,) = find_deviations(changed, changed)
    assert "nothing explains" in unexplained
    (mended,) = find_deviations(COMMITTED, changed)
    assert "does not fail any more" in mended
    (gone,) = find_deviations({**COMMITTED, "cases": COMMITTED["cases"][1:]}, COMMITTED)
    assert COMMITTED["cases"][0] in gone
    assert find_deviations({**COMMITTED, "cases": [*COMMITTED["cases"], "new"]}, COMMITTED) == []


def test_a_fast_but_wrong_output_is_no_result(tmp_path: Path) -> None:
    right = TRUTH.astype(np.float32)
    for name, values in {
        "right": right,
        "near": right * np.float32(1 + 1e-6),
        "short": right[:1],
        "nan": right * np.nan,
    }.items():
        (tmp_path / name).write_bytes(values.tobytes())
    assert compare_outputs(tmp_path / "right", tmp_path / "near") == pytest.approx(1e-6, rel=0.1)
    for name in ("short", "nan"):
        assert compare_outputs(tmp_path / "right", tmp_path / name) == float("inf")


# --- what was committed -------------------------------------------------------------------------------------------


@pytest.mark.real_model
def test_the_committed_matrix_is_whole_and_explained() -> None:
    assert [(cell.runtime, cell.lowering) for cell in CELLS] == [
        (runtime.key, lowering) for runtime in RUNTIMES for lowering in (ORIGINAL, *LOWERINGS)
    ]
    names = COMMITTED["cases"]
    columns = {case.name: list_columns(case.model) for case in collect_cases() if case.name in names}
    assert columns.keys() == set(names) >= {REAL_MODEL, TRANSPOSED}
    for cell in CELLS:
        assert cell.total == sum(cell.lowering in each for each in columns.values())
        assert cell.passed == cell.total - len(cell.failures)
        assert cell.list_unexplained() == {}
        assert (cell.replaced > 0) == (cell.lowering != ORIGINAL and cell.passed > 0)


def test_the_tables_say_what_was_measured() -> None:
    assert conformance.MARKDOWN.read_text() == render(COMMITTED)
    assert read_block(conformance.PAGE.read_text(encoding="utf-8"), "conformance") == render(COMMITTED).splitlines()


def test_every_model_has_its_origin_written_down() -> None:
    text = (MODELS / "README.md").read_text(encoding="utf-8")
    rows = text.splitlines()
    for wheel in WHEELS:
        for name in wheel.members:
            (row,) = [row for row in rows if row.startswith("| ") and f"`{name}`" in row.split("|")[1]]
            assert f"| {wheel.package} {wheel.version} | {wheel.licence} |" in row
    for path in MODELS.glob("*.onnx"):
        assert f"`{path.name}`" in text


def test_javascript_is_pinned_to_what_was_measured() -> None:
    package = json.loads(conformance.PAGE.with_name("package.json").read_text())
    for key, name in (("node", "onnxruntime-node"), ("web", "onnxruntime-web")):
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["dependencies"][name])
        assert COMMITTED["versions"][key].startswith(f"{name} {package['dependencies'][name]}")
