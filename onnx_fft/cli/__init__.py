"""The command line: verbs, flags, printing. What a verb does is done by the library."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console

from onnx_fft.cli.arguments import make_parser
from onnx_fft.cli.console import open_console
from onnx_fft.cli.hints import word_as_flag
from onnx_fft.cli.verbs import VERBS
from onnx_fft.errors import OnnxFftError, OutputError

__all__ = ["main"]


BROKEN_PIPE = 128 + 13
"""The exit code of programs that end because nobody reads on, as a shell shows it (SIGPIPE is 13)."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says if a file cannot grow."""

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that ask a program to end; Windows has no SIGHUP."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parsed = make_parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name may hold bytes that no text has
            stream.reconfigure(errors="backslashreplace")
    console = open_console(stderr=True)
    try:
        with _ended_by_signals():
            code = VERBS[parsed.command](parsed, console) or 0
            sys.stdout.flush()
            return code
    except OnnxFftError as error:
        return _fail(console, error.tell(word_as_flag), error.exit_code)
    except BrokenPipeError:
        _silence()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in FULL:
            raise
        _silence()
        return _fail(console, f"got {error}; expected more space; free some", OutputError.exit_code)
    except KeyboardInterrupt:
        return _fail(console, "interrupted", 130)


def _fail(console: Console, message: str, code: int) -> int:
    with suppress(BrokenPipeError):
        console.print(f"onnx-fft: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    return code


def _silence() -> None:
    """Have what Python still holds for standard output go nowhere when it ends."""
    with suppress(OSError, ValueError):  # a stream of the caller's that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have the first of `ENDING` end the block as Ctrl-C does, so that temporary files go, and others wait for that.

    What is ignored already stays so, as under nohup. Python allows this in its main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    heard = [number for number in ENDING if before[number] not in (signal.SIG_IGN, None)]

    def end(_number: int, _frame: object) -> None:
        for number in heard:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
