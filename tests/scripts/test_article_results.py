"""The article's tables and sentences say what was measured, and what is stored is of one run."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.article.measure import CONV, KERNELS
from scripts.article.plot import draw_kernels
from scripts.article.reproduce import PAGE, RESULTS
from scripts.article.results import OURS, make_lines, make_ways_table, summarize_kernels, write_text
from scripts.shared.blocks import read_block
from scripts.shared.paths import MODELS


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / "article.json").read_text())
    return content


def make_content(results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The results with `way__key=value` set."""
    content = copy.deepcopy(results)
    for name, value in changes.items():
        way, key = name.split("__")
        content["network"]["ways"][way][key] = value
    return content


def test_tables_and_sentences_say_what_was_measured(results: dict[str, Any]) -> None:
    changes = {"loops__seconds": 90.0, "article__seconds": 30.0, "conv__seconds": 0.5, "matmul__seconds": 2.0}
    text = "\n".join(make_lines(make_content(results, **changes)))
    assert "(b) is 3.0x as fast as (a); the article has 4.8x" in text
    assert "`matmul`, forced, is slower than ONNX Runtime's Conv, at 0.25x." in text
    assert "| (b) the article's FFT |  | 30.0 | 3.00x |" in text
    fast = "\n".join(make_lines(make_content(results, conv__seconds=4.0, matmul__seconds=2.0)))
    assert "`matmul`, forced, is faster than ONNX Runtime's Conv, at 2.00x." in fast


def test_predictions_that_differ_are_not_said_to_agree(results: dict[str, Any]) -> None:
    text = "\n".join(make_lines(make_content(results, dft__agreeing=251, article__agreeing=200)))
    assert "Ours agree with (c) on no fewer than 251 of 253 images." in text
    assert "(b) predicts 53 of 253 images differently from (c), because it does not compute the Conv" in text
    agreeing = make_content(results, **{f"{name}__agreeing": 253 for name in OURS})
    assert "Ours agree with (c) on all 253 images." in "\n".join(make_lines(agreeing))


def test_what_is_left_alone_is_said_with_its_reason(results: dict[str, Any]) -> None:
    convs = [{"name": "conv1", "lowering": None, "reason": "too small"}, {"name": "b", "lowering": "dft", "reason": ""}]
    content = make_content(results, auto__convs=convs, auto__replaced=1)
    assert "`auto` leaves 1 of 2 Convs alone. Its report: conv1: too small." in "\n".join(make_lines(content))
    (row,) = (row for row in make_ways_table(content["network"]).rows if row[0] == "(e) `auto`")
    assert row[1] == "1 of 2" and row[4] != "left alone"
    content = make_content(results, auto__convs=convs[:1], auto__replaced=0)
    (row,) = (row for row in make_ways_table(content["network"]).rows if row[0] == "(e) `auto`")
    assert row[4] == "left alone"


@pytest.mark.parametrize(
    ("ratios", "where"),
    [
        ([0.1, 2.0], "from 7x7 on"),
        ([0.1, 0.5], "with none of these kernels"),
        ([2.0, 0.5], "with none of these kernels"),
    ],
)
def test_a_lowering_wins_from_the_kernel_on_after_which_it_never_loses(ratios: Sequence[float], where: str) -> None:
    names = ("dft", "matmul", "fftconv")
    rows = [
        {"kernel": kernel, "ways": {name: {"ratio": {"value": ratio}} for name in names}}
        for kernel, ratio in zip((3, 7), ratios, strict=True)
    ]
    assert summarize_kernels(rows) == [f"`{name}` is faster than the Convs {where}." for name in names]


def test_the_chart_is_drawn(results: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "article.svg"
    draw_kernels(results["kernels"], results["header"], path)
    assert "</svg>" in path.read_text()


# --- what is stored ---------------------------------------------------------------------------------------------------


def test_stored_results_and_the_page_are_of_one_run(results: dict[str, Any], tmp_path: Path) -> None:
    lines = make_lines(results)
    write_text(lines, tmp_path / "article.md")
    assert (RESULTS / "article.md").read_text() == (tmp_path / "article.md").read_text()
    assert read_block(PAGE.read_text(encoding="utf-8"), "article") == lines
    assert "</svg>" in (RESULTS / "article.svg").read_text()
    assert results["network"]["images"] == 253
    assert [row["kernel"] for row in results["kernels"]] == list(KERNELS)
    assert f"{results['network']['ways'][CONV]['accuracy']:.1%}" in (MODELS / "README.md").read_text(encoding="utf-8")
