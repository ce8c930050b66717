"""The files that a command reads and writes: can they be written, is none of them another one; and writing them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from onnx_fft.cli.hints import name_flag
from onnx_fft.errors import UsageError
from onnx_fft.model.io import list_files, load_model
from onnx_fft.model.staging import check_output, commit_all, is_same_file, staged_bytes
from onnx_fft.rewrite import Rewritten, check_destination

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


def write_files(contents: Mapping[Path, bytes], rewritten: Rewritten | None = None, output: Path | None = None) -> None:
    """Write a model to `output`, if there is one, and these files: all of them, or none. Raises OutputError."""
    with ExitStack() as stack:
        stagings = []
        if rewritten is not None and output is not None:
            stagings.append(stack.enter_context(rewritten.stage(output)))
        stagings += [stack.enter_context(staged_bytes(path, data)) for path, data in contents.items()]
        commit_all(stagings)


def _print_name(name: str) -> str:
    return name if name in POSITIONAL else name_flag(name)
