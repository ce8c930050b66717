"""Every error and refusal of the package.

An error says three things: what it got, what it expected, what to do next. A *refusal* is no error:
it is the reason why one convolution is left as it was, and the report prints it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a convolution is left alone: a stable code and one sentence naming the value that decided it."""

    code: str
    reason: str


class OnnxFftError(Exception):
    """Base of every error the package raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(OnnxFftError):
    """The call is wrong: an unknown flag value, a pattern that matches nothing, a missing file."""

    exit_code = 2


class InvalidModelError(OnnxFftError):
    """The file is not a valid ONNX model."""

    exit_code = 2


class ValidationFailedError(OnnxFftError):
    """The rewritten model does not compute what the original computes."""

    exit_code = 3


class OpsetError(OnnxFftError):
    """The model's opset is too old for what was asked and could not be converted."""

    exit_code = 4


class OutputError(OnnxFftError):
    """The output could not be written; whatever was there before is untouched."""

    exit_code = 5


class PluginUnavailable(OnnxFftError):
    """The native library is missing, or ONNX Runtime does not load it, or it computes something else."""

    exit_code = 6


class CudaUnavailable(OnnxFftError):
    """ONNX Runtime's CUDA provider is missing or does not compute FFTs here."""

    exit_code = 7
