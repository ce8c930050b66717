"""Where the command line prints: tables and messages, and how far the work is."""

from __future__ import annotations

import os

from rich import progress as bars
from rich.console import Console

from onnx_fft.progress import Progress
from onnx_fft.report.text.drawing import PIPED_COLUMNS

BAR_COLUMNS = 16


class PlainConsole(Console):
    """A console that leaves it to `main` what to do if nobody reads on."""

    def on_broken_pipe(self) -> None:
        """Rich, from 13.8 on, would end the program, as if it had failed."""
        raise BrokenPipeError


def open_console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; without one, wide enough for any row."""
    console = PlainConsole(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    return console


class ShowProgress:
    """A spinner, the current step and a bar on a terminal; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        """Nothing is shown before the `with` block begins."""
        text = bars.TextColumn("{task.description}", markup=False)
        columns = (bars.SpinnerColumn(), text, bars.BarColumn(BAR_COLUMNS), bars.TimeElapsedColumn())
        self._progress = bars.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def __enter__(self) -> Progress:
        """Something to call with each step."""
        self._progress.start()
        task = self._progress.add_task("", total=None)

        def show(what: str, share: float | None = None) -> None:
            self._progress.update(task, description=what, total=1.0 if share else None, completed=share or 0.0)

        return show

    def __exit__(self, *_: object) -> None:
        """Take it off the screen."""
        if not self._progress.disable:  # or rich before 14 prints an empty line
            self._progress.stop()
