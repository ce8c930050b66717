"""Running the command line in-process, and what its tests have in common."""

from __future__ import annotations

from pathlib import Path

from onnx_fft.cli import main
from scripts.shared.layers import make_spec

SPEC = make_spec((6, 6), (11, 11), (30, 30), has_bias=True)


def run(*arguments: object) -> int:
    """The exit code of one command; argparse's own errors leave by SystemExit."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as exit_:
        assert isinstance(exit_.code, int)
        return exit_.code


def list_files(folder: Path) -> set[str]:
    """The names in a folder."""
    return {path.name for path in folder.iterdir()}


def list_paths(folder: Path) -> list[str]:
    """The files of a folder and of those in it, by their sorted paths."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
