"""The files that a command reads and writes: can they be written, and is none of them another one?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from onnx_fft.cli.hints import name_flag
from onnx_fft.errors import UsageError
from onnx_fft.model.io import list_files, load_model
from onnx_fft.model.staging import check_output, is_same_file
from onnx_fft.rewrite import check_destination

MODELS = ("input", "original", "rewritten")
POSITIONAL = (*MODELS, "output")


def check_files(arguments: argparse.Namespace, *, reads: Sequence[str], writes: Sequence[str]) -> None:
    """Before any work, raise UsageError or OutputError for a file that must not or cannot be written."""
    given = {name: path for name in (*reads, *writes) if (path := getattr(arguments, name, None)) is not None}
    others = {name: given[name] for name in reads if name in given}
    protected: list[Path] | None = None
    for name in (name for name in writes if name in given):
        check_output(given[name])
        for other, path in others.items():
            if is_same_file(given[name], path):
                raise UsageError(
                    f"got {str(given[name])!r} as {_print_name(name)} and as {_print_name(other)}",
                    "different files",
                    "choose another name",
                )
        if given[name].exists():
            if protected is None:  # a model is read only if there is something to lose
                protected = [
                    file for other in reads if other in MODELS for file in list_files(load_model(given[other]))
                ]
            check_destination(given[name], protected)
        others[name] = given[name]


def _print_name(name: str) -> str:
    return name if name in POSITIONAL else name_flag(name)
