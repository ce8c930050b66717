"""The command line: verbs, flags, printing. What a verb does is done by the library."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from onnx_fft.cli.arguments import make_parser
from onnx_fft.cli.console import open_console
from onnx_fft.cli.hints import word_as_flag
from onnx_fft.cli.verbs import VERBS
from onnx_fft.errors import OnnxFftError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parsed = make_parser().parse_args(arguments)
    console = open_console(stderr=True)
    try:
        with _interrupted_by_termination():
            return VERBS[parsed.command](parsed, console) or 0
    except OnnxFftError as error:
        console.print(
            f"onnx-fft: {error.tell(word_as_flag)}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        return error.exit_code
    except KeyboardInterrupt:
        console.print("onnx-fft: interrupted", style="red")
        return 130


@contextmanager
def _interrupted_by_termination() -> Iterator[None]:
    """Have SIGTERM end the block as Ctrl-C does, so that temporary files go; Python allows that in its main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
