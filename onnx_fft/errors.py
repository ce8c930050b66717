"""Every error and refusal of the package.

An error carries three things as data: the problem (what was got, or what is missing), what would be right, and a hint
at the next step. A *refusal* is not an error: it is the reason why one site is left alone, and the report prints it.
*Invalid* raises; *unsupported* is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx_fft.hints import Hint, Wording, tell, word_in_python


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a site is left alone: a stable code, one sentence naming the value that decided it, and what changes that."""

    code: str
    reason: str
    hint: Hint = ""


def one_line(error: Exception, most: int = 400) -> str:
    """What a foreign error says, on one line of at most so many characters; its type if it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


class OnnxFftError(Exception):
    """Base of every error the package raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1

    def __init__(self, problem: str, expected: str = "", hint: Hint = "") -> None:
        """`problem` is a clause such as "got opset 3" or "matplotlib is not installed", `expected` a noun phrase."""
        super().__init__(problem, expected, hint)
        self.problem, self.expected, self.hint = problem, expected, hint

    def tell(self, wording: Wording = word_in_python) -> str:
        """The whole message, options in the words of whoever prints it."""
        expected = f"expected {self.expected}" if self.expected else ""
        return "; ".join(filter(None, (self.problem, expected, tell(self.hint, wording))))

    def __str__(self) -> str:
        """The message for Python."""
        return self.tell()


class UsageError(OnnxFftError):
    """The call is wrong: an unknown value, a pattern that matches nothing, a missing file."""

    exit_code = 2


class PickleError(UsageError, TypeError):
    """What lives in one process was to be sent to another; a TypeError as well, like that of pickle."""


class InvalidModelError(OnnxFftError):
    """The file is not a valid ONNX model."""

    exit_code = 2


class ValidationFailed(OnnxFftError):
    """The rewritten model does not compute what the original computes.

    `rewritten` is the result that was refused, with its report, plan and validation; None if it came to none.
    """

    exit_code = 3

    def __init__(self, problem: str, expected: str = "", hint: Hint = "", *, rewritten: Any = None) -> None:
        """See `OnnxFftError`."""
        super().__init__(problem, expected, hint)
        self.rewritten = rewritten


class OpsetError(OnnxFftError):
    """The model's opset is too old for what was asked and could not be converted."""

    exit_code = 4


class OutputError(OnnxFftError):
    """The output could not be written; whatever was there before is untouched."""

    exit_code = 5


class NativeUnavailable(OnnxFftError):
    """The native library is missing, or ONNX Runtime does not load it, or it computes something else."""

    exit_code = 6


class CudaUnavailable(OnnxFftError):
    """ONNX Runtime's CUDA provider is missing or does not compute FFTs here."""

    exit_code = 7


class RuntimeUnavailable(OnnxFftError):
    """ONNX Runtime is not installed."""

    exit_code = 8
