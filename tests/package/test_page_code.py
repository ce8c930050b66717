"""The code on the pages runs: Python as it stands, `onnx-fft` commands on a small model."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.shared.paths import MODELS, ROOT
from tests.commands import run

PAGES = sorted(
    page
    for pattern in ("*.md", ".github/*.md", "models/*.md", "onnx_fft/**/*.md", "scripts/*/*.md")
    for page in ROOT.glob(pattern)
)
MODEL = MODELS / "large_kernel.onnx"
QUICK = ("--budget", "0.5")
"""Appended to commands that would take their time."""


def name_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


def find_blocks(page: Path, *languages: str) -> list[str]:
    """The text of each fenced block in one of these languages."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    return [text for language, text in blocks if language in languages]


def find_commands(page: Path) -> list[list[str]]:
    """The arguments of each `onnx-fft`, in order."""
    text = "\n".join(find_blocks(page, "bash", "sh", "console", "shell")).replace("\\\n", " ")
    lines = (shlex.split(line.removeprefix("$ "), comments=True) for line in text.splitlines())
    return [words[1:] for words in lines if words[:1] == ["onnx-fft"]]


PYTHON_PAGES = [page for page in PAGES if find_blocks(page, "python")]
COMMAND_PAGES = [page for page in PAGES if find_commands(page)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place with what the pages take for granted: `model.onnx`, `models/` and `build/`."""
    shutil.copy(MODEL, tmp_path / "model.onnx")
    (tmp_path / "models").symlink_to(MODELS)
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_the_front_page_shows_code() -> None:
    front = ROOT / "README.md"
    assert front in PYTHON_PAGES
    assert {"rewrite", "inspect"} <= {command[0] for command in find_commands(front)}


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON_PAGES, ids=name_page)
def test_python_runs(page: Path, folder: Path) -> None:
    for block in find_blocks(page, "python"):
        done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", COMMAND_PAGES, ids=name_page)
@pytest.mark.usefixtures("folder")
def test_commands_run(page: Path) -> None:
    for command in find_commands(page):
        is_long = command[0] == "bench" or "measure" in command
        assert run(*command, *(QUICK if is_long and "--budget" not in command else ())) == 0, shlex.join(command)
