"""What texts are made of: lines, and tables without frames."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich.table import Table
from rich.text import Text

Drawing = Text | Table
"""A line, which the terminal breaks, or a table, which folds its cells to fit the terminal."""


def make_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    numbers: Collection[str] = (),
    caption: str | None = None,
) -> Table:
    """A table; columns whose heading is among `numbers` are set flush right and never folded. No heading, no header."""
    table = Table(
        box=None,
        pad_edge=False,
        show_header=any(headings),
        header_style="bold",
        caption=caption,
        caption_justify="left",
    )
    for heading in headings:
        is_number = heading in numbers
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return table


def make_lines(lines: Iterable[str]) -> list[Drawing]:
    """Each as it is, without markup."""
    return [Text(line) for line in lines]
