"""Blocks of the README that scripts write, between `<!-- name -->` and `<!-- /name -->`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.shared.paths import ROOT

README = ROOT / "README.md"


def replace_block(text: str, name: str, lines: Sequence[str]) -> str:
    """The text with these lines between the marks of block `name`; ValueError where there are none, or more."""
    begin, end = _marks(name)
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}" + "\n".join(lines) + f"\n{end}{after}"


def read_block(text: str, name: str) -> list[str]:
    """The lines between the marks; ValueError as above."""
    begin, end = _marks(name)
    _, rest = text.split(begin)
    block, _ = rest.split(end)
    return block.splitlines()


def write_block(name: str, lines: Sequence[str], path: Path = README) -> None:
    """Replace the block in the README."""
    path.write_text(replace_block(path.read_text(encoding="utf-8"), name, lines), encoding="utf-8")


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
