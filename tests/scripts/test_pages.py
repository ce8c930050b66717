"""The pages under scripts/ and models/: tables are those of the results, and what they name and run is there."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from scripts.bench import pages
from scripts.shared.blocks import read_block, replace_block
from scripts.shared.paths import MODELS, ROOT

PAGES = [*sorted((ROOT / "scripts").glob("*/README.md")), MODELS / "README.md"]


def test_the_tables_are_those_of_the_results() -> None:
    assert read_block(pages.PAGE.read_text(encoding="utf-8"), "layers") == pages.make_layers_block()
    assert read_block(pages.PAGE.read_text(encoding="utf-8"), "models") == pages.make_models_block()
    assert read_block(pages.FRONT_PAGE.read_text(encoding="utf-8"), "models") == pages.make_front_block()


def test_a_block_is_replaced_between_its_marks_only() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert replace_block(text, "x", ["new", "lines"]) == "a\n<!-- x -->\nnew\nlines\n<!-- /x -->\nb\n"
    for broken in ("a\n", text + text):
        with pytest.raises(ValueError):
            replace_block(broken, "x", [])


@pytest.mark.parametrize("page", PAGES, ids=[page.parent.name for page in PAGES])
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("$results", "scripts/bench/results")
    for module in re.findall(r"python -m (scripts\.[\w.]+)", text):
        assert find_spec(module), module
    for path in re.findall(r"(?<![\w/.])(?:scripts|models|onnx_fft)/[\w./-]*\w", text):
        assert (ROOT / path).exists(), path


def test_every_room_that_has_results_or_programs_has_a_page() -> None:
    assert {page.parent.name for page in PAGES} >= {"article", "bench", "conformance", "serving", "models"}
