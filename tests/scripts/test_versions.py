"""The table of ONNX Runtime versions: what runs in it, what counts as right, and that the page shows what was seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnx_fft.native import library_path
from scripts.conformance import versions
from scripts.conformance.cases import LOWERINGS, ORIGINAL, WITH_LIBRARY, write_cases
from scripts.conformance.judge import Cell, find_strange
from scripts.shared.blocks import read_block
from tests.scripts.test_conformance import find_case

CELLS = [Cell(**cell) for cell in json.loads(versions.JSON.read_text())]


@pytest.mark.slow
@pytest.mark.usefixtures("native_library")
def test_a_version_runs_the_standard_target_and_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNX_FFT_LIBRARY", str(library_path()))
    (tmp_path / "cases").mkdir()
    entries, truths = write_cases(tmp_path / "cases", [find_case()])
    cells = versions.judge_version(versions.NEWEST, tmp_path, tmp_path, entries, truths)
    assert [cell.lowering for cell in cells] == [ORIGINAL, *LOWERINGS, WITH_LIBRARY]
    assert [cell.failures for cell in cells] == [{}] * len(cells)
    assert cells[-1].replaced == 1


@pytest.mark.parametrize(
    ("ran", "is_strange"),
    [
        ({"FFTConv": 2, "Relu": 1}, False),
        ({"FFTConvLeakyReluBatchNormalization": 2}, False),
        ({"Conv": 2}, True),
        ({"FFTConvRelu": 1, "Conv": 1}, True),
        ({"Relu": 1}, True),
    ],
)
def test_the_library_and_not_the_function_must_have_run(ran: dict[str, int], is_strange: bool) -> None:
    assert bool(find_strange(WITH_LIBRARY, ran)) == is_strange


def test_what_was_committed_is_whole_and_what_the_page_shows() -> None:
    names = list(dict.fromkeys(cell.runtime for cell in CELLS))
    assert [name.removeprefix("ONNX Runtime ") for name in names[:-1]] == list(versions.VERSIONS[:-1])
    assert [cell.lowering for cell in CELLS] == len(names) * [ORIGINAL, *LOWERINGS, WITH_LIBRARY]
    newest = [cell for cell in CELLS if cell.runtime == names[-1]]
    for cell in CELLS:
        assert [cell.total] == [each.total for each in newest if each.lowering == cell.lowering]
        assert cell.passed == cell.total - len(cell.failures) > 1
        assert cell.list_unexplained() == {}
        assert not cell.failures or cell.lowering in (ORIGINAL, "fftconv")
    assert all(not cell.failures for cell in newest)
    assert read_block(versions.PAGE.read_text(encoding="utf-8"), "versions") == versions.render(CELLS)


def test_a_failure_shows_in_the_table() -> None:
    cell = Cell("ONNX Runtime 9", ORIGINAL, 1, 2, 0, {"float32": float(np.float32(1e-7))}, {"case": "wrong"})
    assert "**1 of 2**" in versions.render([cell])[-1]
    assert cell.list_unexplained() == {"case": "wrong"}


def test_a_known_gap_is_said_below_the_table() -> None:
    failures = {"case": "Op (DFT) [ShapeInferenceError] words"}
    cell = Cell("ONNX Runtime 1.18.1", ORIGINAL, 1, 2, 0, {}, failures)
    *_, row, empty, note = versions.render([cell])
    assert "**1 of 2**" in row and empty == "" and note.startswith("`DFT`: up to ONNX Runtime 1.24")
    assert cell.list_unexplained() == {}
    assert Cell("ONNX Runtime 1.32.0", ORIGINAL, 1, 2, 0, {}, failures).list_unexplained() == failures


def test_the_newest_needs_no_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert versions.main(["--list", "1.20.1", versions.NEWEST]) == 0
    assert capsys.readouterr().out.split() == ["1.20.1"]
