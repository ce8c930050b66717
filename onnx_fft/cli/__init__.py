"""The command line: verbs, flags, printing. What a verb does is done by the library."""

from __future__ import annotations

from collections.abc import Sequence

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
        return VERBS[parsed.command](parsed, console) or 0
    except OnnxFftError as error:
        console.print(
            f"onnx-fft: {error.tell(word_as_flag)}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        return error.exit_code
    except KeyboardInterrupt:
        console.print("onnx-fft: interrupted", style="red")
        return 130
