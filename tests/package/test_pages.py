"""The pages are true of the code: what they link to and the files they name are there, and their Python runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.shared.paths import ROOT

PACKAGE = ROOT / "onnx_fft"
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md", "models/README.md")
    ),
    PACKAGE / "README.md",
    PACKAGE / "native" / "README.md",
    *sorted((ROOT / "scripts").glob("*/README.md")),
]
CODE_PAGES = [page for page in PAGES if PACKAGE in page.parents or page.name == "CONTRIBUTING.md"]
"""Those that say which file holds what."""

PLACEHOLDER = "NAME"
"""Stands in a path for a name that the reader chooses."""

MOST_LINES = 150
"""Of the front page, which is read in two minutes."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def find_anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def find_missing_links(page: Path) -> Iterator[str]:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in find_anchors(target)):
            yield link


def find_missing_files(page: Path) -> Iterator[str]:
    """Files and folders named in code font that are neither beside the page or one folder down, nor in the package,
    nor in the project."""
    text = page.read_text(encoding="utf-8")
    folders = [page.parent, *filter(Path.is_dir, page.parent.iterdir()), PACKAGE, ROOT]
    for name in re.findall(r"`([\w./-]+(?:\.(?:py|h|cpp|sh|json|txt|toml|html)|/))`", text):
        if PLACEHOLDER not in name and not any((folder / name).exists() for folder in folders):
            yield name


def find_missing_programs(text: str) -> Iterator[str]:
    """Scripts in commands that the project does not have."""
    modules = re.findall(r"python[\d.]* (?:-P )?-m (scripts(?:\.\w+)+)", text)
    paths = re.findall(r"(?:python[\d.]*|bash) (scripts/[\w./-]+\.(?:py|sh))", text)
    for path in (*(f"{module.replace('.', '/')}.py" for module in modules), *paths):
        if not (ROOT / path).is_file():
            yield path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_programs_of_its_commands_are_there(page: Path) -> None:
    assert list(find_missing_programs(page.read_text(encoding="utf-8"))) == []


def test_programs_that_are_not_there_are_found() -> None:
    text = (
        "python -m scripts.bench.models\npython3 -m scripts.gone.away 1\nbash scripts/gone.sh\nbash scripts/test.sh\n"
    )
    assert list(find_missing_programs(text)) == ["scripts/gone/away.py", "scripts/gone.sh"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    assert list(find_missing_links(page)) == []


@pytest.mark.parametrize("page", CODE_PAGES, ids=name_of)
def test_the_files_a_page_names_are_there(page: Path) -> None:
    assert list(find_missing_files(page)) == []


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](#here) [b](gone.md) [c](#gone) `rewrite.py` `gone.py` `gone/` `lowering/NAME.py`\n")
    assert list(find_missing_links(page)) == ["gone.md", "#gone"]
    assert list(find_missing_files(page)) == ["gone.py", "gone/"]


def test_every_room_is_on_the_architecture_page() -> None:
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    rooms = [path for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    modules = [path for path in PACKAGE.glob("*.py") if not path.name.startswith("_")]
    missing = [path.name for path in (*rooms, *modules) if f"`{path.name}{'/' * path.is_dir()}`" not in text]
    assert rooms and modules and missing == []


def test_the_front_page_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MOST_LINES
