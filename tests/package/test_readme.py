"""What the README tells to run, run: its Python as it stands, its commands on a small model."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from onnx_fft.cli import main
from scripts.shared.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL = ROOT / "models" / "large_kernel.onnx"
QUICK = ("--budget", "0.5")
"""Appended to commands that would take their time."""


def find_blocks(*languages: str) -> list[str]:
    """The text of each fenced block in one of these languages."""
    return [
        text for language, text in re.findall(r"^```(\w+)\n(.*?)^```", README, re.M | re.S) if language in languages
    ]


def find_commands() -> list[list[str]]:
    """The arguments of each `onnx-fft`, in order."""
    text = "\n".join(find_blocks("bash", "sh", "console", "shell")).replace("\\\n", " ")
    lines = (shlex.split(line.removeprefix("$ "), comments=True) for line in text.splitlines())
    return [words[1:] for words in lines if words[:1] == ["onnx-fft"]]


def test_python_blocks_run() -> None:
    blocks = find_blocks("python")
    assert blocks, "the README has no Python"
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = find_commands()
    assert {"inspect", "rewrite"} <= {command[0] for command in commands}, "the README shows no commands"
    shutil.copy(MODEL, tmp_path / "model.onnx")
    (tmp_path / "models").symlink_to(MODEL.parent)
    (tmp_path / "build").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for command in commands:
        is_slow = command[0] == "bench" or "measure" in command
        assert main([*command, *(QUICK if is_slow and "--budget" not in command else ())]) == 0, shlex.join(command)


def test_what_it_points_to_is_there() -> None:
    targets = re.findall(r"\]\(((?!https?:|#)[^)#]+)", README) + re.findall(
        r"\b(?:bash|python) ((?:scripts|tests)/\S+)", README
    )
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target
