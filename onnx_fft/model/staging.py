"""Writing files as a whole or not at all: complete under a temporary name beside the output first, then renamed."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from onnx_fft.errors import OutputError, UsageError

COPY_BYTES = 1 << 20
"""Files are copied in pieces of this size."""


@dataclass(slots=True)
class Staging:
    """The output, complete as `path` beside it, and the data files it reads, which have their places already.

    Links would need no copies, but onnx loads no data through a link, nor from a file that has one elsewhere.
    """

    output: Path
    path: Path
    placed: list[Path] = field(default_factory=list)
    """Files and folders that were not there before."""

    def write(self, data: bytes) -> None:
        """Write the output, under its temporary name, down to the disk."""
        with self.path.open("xb") as file:
            file.write(data)
            _flush(file)

    @contextmanager
    def open_file(self) -> Iterator[BinaryIO]:
        """A nameless file beside the output, to write, to read and to `place`."""
        path = _temporary_name(self.output)
        with path.open("x+b") as file:
            try:
                yield file
            finally:
                path.unlink(missing_ok=True)

    def place(self, file: BinaryIO, name: str) -> None:
        """Give a file this name, relative to the output; OutputError if that is the name of another content."""
        _flush(file)
        target = self.output.parent / name
        if target.exists():
            return _check_same(Path(file.name), target)
        missing = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        self.placed += reversed(missing)
        os.replace(file.name, target)
        self.placed.append(target)

    def add(self, source: Path, name: str) -> None:
        """Have an existing file beside the output under this name: a copy, unless it is there."""
        target = self.output.parent / name
        if target.exists():
            return _check_same(source, target)
        with source.open("rb") as original, self.open_file() as copy:
            shutil.copyfileobj(original, copy, COPY_BYTES)
            self.place(copy, name)

    def commit(self) -> None:
        """Put the output in its place; OutputError if that fails."""
        commit_all([self])

    def discard(self) -> None:
        """Remove what was not committed."""
        self.path.unlink(missing_ok=True)
        for path in reversed(self.placed):
            with suppress(OSError):  # a folder that someone else has put something into
                path.rmdir() if path.is_dir() else path.unlink()


@contextmanager
def staging(output: str | Path) -> Iterator[Staging]:
    """A place to prepare `output` for as long as the block lasts; OutputError if it could not be written."""
    output = Path(output)
    check_output(output)
    output = output.absolute()
    staged = Staging(output, _temporary_name(output))
    try:
        yield staged
    finally:
        staged.discard()


def commit_all(stagings: Sequence[Staging]) -> None:
    """Put outputs in their places, in this order; if that fails, OutputError says which are there already.

    Only a rename is left to do by then, which takes no space and no permission that was not there before.
    """
    done: list[str] = []
    for staged in stagings:
        try:
            os.replace(staged.path, staged.output)
        except OSError as error:
            problem = f"got {error} while putting {str(staged.output)!r} in place"
            there = f"{', '.join(done)} was written before" if done else "nothing changed"
            raise OutputError(problem, "that to be possible", there) from error
        staged.placed.clear()
        done.append(repr(str(staged.output)))


@contextmanager
def reporting(output: Path) -> Iterator[None]:
    """What the file system refuses inside the block becomes an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"got {error} while writing {str(output)!r}", "space and permission", "free some; nothing changed"
        ) from error


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead, or would lead, to one file; a name that no file can have leads nowhere."""
    try:
        return one.samefile(other) if one.exists() and other.exists() else one.resolve() == other.resolve()
    except OSError:
        return False


def shorten_path(path: Path, most: int = 120) -> str:
    """A path fit for a message: of a very long one the end, which tells names apart."""
    text = str(path)
    return text if len(text) <= most else f"...{text[-most:]}"


def check_output(path: Path) -> None:
    """Raise OutputError if no file of this name can be written, UsageError if no file can have the name."""
    if "\0" in str(path):
        raise UsageError(f"got output path {shorten_path(path)!r}, which has a NUL in it", "a file name", "correct it")
    try:
        is_taken = path.exists() and not path.is_file()
    except OSError as error:  # a name that is too long, a loop of links
        problem = f"got output path {shorten_path(path)!r}, which cannot be a file ({error.strerror})"
        raise OutputError(problem, "a file name", "choose another") from error
    if is_taken:
        problem, expected, hint = "which is not a regular file", "a file name", "choose another"
    elif not path.parent.is_dir():
        problem, expected, hint = "whose directory does not exist", "an existing one", "create it first"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        problem, expected, hint = "whose directory cannot be written to", "one that can", "choose another"
    else:
        return
    raise OutputError(f"got output path {str(path)!r}, {problem}", expected, hint)


def _temporary_name(output: Path) -> Path:
    return output.with_name(f".onnx_fft-{uuid4().hex}.tmp")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _check_same(source: Path, target: Path) -> None:
    """Raise OutputError for an existing `target` that is not what `source` is: nothing says that it is ours."""
    if not source.samefile(target) and not filecmp.cmp(source, target, shallow=False):
        problem = f"got the existing file {str(target)!r}, which differs from the model's data"
        raise OutputError(problem, "the same content, or no such file", "choose another output directory")


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as a whole or not at all; OutputError if that fails. What UTF-8 cannot hold is escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file as a whole or not at all; OutputError if that fails."""
    with staged_bytes(path, data) as staged:
        staged.commit()


@contextmanager
def staged_bytes(path: str | Path, data: bytes) -> Iterator[Staging]:
    """`data` complete beside `path`, to commit; gone after the block if it is not. OutputError if that fails."""
    with staging(path) as staged:
        with reporting(staged.output):
            staged.write(data)
        yield staged
