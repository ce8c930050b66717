"""Blocks of a page that scripts write, between `<!-- name -->` and `<!-- /name -->`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def replace_block(text: str, name: str, lines: Sequence[str]) -> str:
    """The text with these lines between the marks of block `name`. Raises ValueError unless there is one such block."""
    begin, end = _make_marks(name)
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}" + "\n".join(lines) + f"\n{end}{after}"


def read_block(text: str, name: str) -> list[str]:
    """The lines between the marks. Raises ValueError as above."""
    begin, end = _make_marks(name)
    _, rest = text.split(begin)
    block, _ = rest.split(end)
    return block.splitlines()


def write_block(page: Path, name: str, lines: Sequence[str]) -> None:
    """Replace the block in the page."""
    page.write_text(replace_block(page.read_text(encoding="utf-8"), name, lines), encoding="utf-8")


def _make_marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
