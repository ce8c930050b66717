"""The conformance matrix as Markdown, made from conformance.json alone, and what differs between two of them."""

from __future__ import annotations

import re
from typing import Any

from scripts.conformance.cases import LOWERINGS, ORIGINAL, REAL_MODEL
from scripts.conformance.judge import TOLERANCE, Cell, Known
from scripts.conformance.runtimes import RUNTIMES
from scripts.conformance.speed import describe_row
from scripts.shared.tables import Table

COLUMNS = (ORIGINAL, *LOWERINGS)


def render(found: dict[str, Any]) -> str:
    """The page's block: the matrix, its notes, and the speed in the browser."""
    cells = {(cell["runtime"], cell["lowering"]): Cell(**cell) for cell in found["cells"]}
    notes: list[str] = []
    rows = []
    for runtime in RUNTIMES:
        row = [found["versions"][runtime.key] + runtime.suffix]
        row += [_print_cell(cells[runtime.key, lowering], notes) for lowering in COLUMNS]
        rows.append(tuple(row))
    titles = ("runtime", *(f"`{lowering}`" if lowering != ORIGINAL else lowering for lowering in COLUMNS))
    lines = Table(titles, tuple(rows)).to_markdown()
    lines += [""] if notes else []
    lines += [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join([*lines, "", *_print_errors(list(cells.values())), "", *_print_speed(found["speed"])]) + "\n"


def _print_cell(cell: Cell, notes: list[str]) -> str:
    """`all 47`, or `**14 of 46** and the real model (note 1)`."""
    if not cell.failures:
        return f"all {cell.total}"
    is_real_right = REAL_MODEL not in cell.failures
    text = f"**{cell.passed - is_real_right} of {cell.total - 1}**" + (" and the real model" if is_real_right else "")
    own = [print_note(known) for known in cell.find_known()]
    notes += [note for note in own if note not in notes]
    numbers = [f"note {notes.index(note) + 1}" for note in own]
    numbers += ["unexplained"] if cell.list_unexplained() else []
    return f"{text} ({', '.join(numbers)})"


def print_note(known: Known) -> str:
    """A gap of a runtime, with the link to where it is discussed."""
    source = re.sub(r"([\w-]+/[\w-]+)#(\d+)", r"[\g<0>](https://github.com/\1/issues/\2)", known.source)
    return f"`{known.operator}`: {known.sentence} ({source})."


def _print_errors(cells: list[Cell]) -> list[str]:
    """How far the right cells are from the truth."""
    parts = []
    for dtype, limit in TOLERANCE.items():
        errors = [(cell.worst[dtype], cell.lowering != ORIGINAL) for cell in cells if dtype in cell.worst]
        rewritten = max(error for error, is_rewritten in errors if is_rewritten)
        original = max(error for error, is_rewritten in errors if not is_rewritten)
        parts.append(f"{rewritten:.1e} in {dtype} ({original:.1e} for the originals, {limit:.0e} allowed)")
    return [f"The largest error of an output that counts as right, in units of its RMS: {', '.join(parts)}."]


def _print_speed(speed: dict[str, Any]) -> list[str]:
    """The table of the browser."""
    columns = ("model", "input", "Convs replaced", "original ms", "rewritten ms", "ratio")
    load = "load average {} before and {} after".format(*speed["load_before_and_after"])
    where = f"{speed['version']}, one thread of WebAssembly, {speed['cpu']}, {load}, {speed['date']}"
    return [
        f"The speed of what `auto` makes in the browser, both models in turn, medians ({where}):",
        "",
        *Table(columns, tuple(describe_row(row) for row in speed["rows"])).to_markdown(),
    ]


def find_deviations(found: dict[str, Any], committed: dict[str, Any]) -> list[str]:
    """A line for each case that deviates from the committed table, is gone, or fails for no known reason.

    A new case, of a newer standard, has nothing to deviate from, and may pass.
    """
    lines = [f"{case} was not run" for case in committed["cases"] if case not in found["cases"]]
    before = {(cell["runtime"], cell["lowering"]): Cell(**cell) for cell in committed["cells"]}
    for now in (Cell(**cell) for cell in found["cells"]):
        where = f"{now.runtime} ({found['versions'][now.runtime]}), {now.lowering}"
        was = before[now.runtime, now.lowering]
        lines += [f"{where}: {case} fails: {text}" for case, text in now.failures.items() if case not in was.failures]
        lines += [f"{where}: {case} does not fail any more" for case in was.failures if case not in now.failures]
        unexplained = {case: text for case, text in now.list_unexplained().items() if case in was.failures}
        lines += [f"{where}: {case} fails, and nothing explains it: {text}" for case, text in unexplained.items()]
    return lines
