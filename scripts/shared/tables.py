"""Tables in Markdown, and the text of their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx_fft.timing.stats import Ratio

LEFT_ALONE = "left alone"
"""In place of a ratio if nothing was replaced."""


@dataclass(frozen=True, slots=True)
class Table:
    """Column titles and rows of text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> list[str]:
        """A Markdown table; every column but the first is aligned to the right."""
        rule = ["---", *("---:" for _ in self.columns[1:])]
        return [f"| {' | '.join(cells)} |" for cells in (self.columns, rule, *self.rows)]


def read_table(text: str) -> dict[str, dict[str, str]]:
    """The rows of the one Markdown table in `text`, by their first cell: each cell by its column's title."""
    lines = [line.strip()[1:-1] for line in text.splitlines() if line.startswith("|")]
    columns, _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def format_shapes(shapes: Mapping[str, Sequence[int]]) -> str:
    """`frame 1x3x256x256, data 1x32`."""
    return ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in shapes.items())


def format_ratio(ratio: Ratio) -> str:
    """`1.62x (1.60-1.65)`."""
    return f"{ratio.value:.2f}x ({ratio.low:.2f}-{ratio.high:.2f})"


def list_losses(ratios: Sequence[tuple[str, float]], limit: float) -> str:
    """`slower on 1 of 4 (below 0.97x): name (0.71x)`, the worst first."""
    losses = sorted((ratio, name) for name, ratio in ratios if ratio < limit)
    names = ", ".join(f"{name} ({ratio:.2f}x)" for ratio, name in losses)
    return f"slower on {len(losses)} of {len(ratios)} (below {limit:g}x): {names or 'none'}"
