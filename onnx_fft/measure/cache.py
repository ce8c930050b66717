"""Timings kept in the user's cache directory: one small JSON file a convolution, named by the digest of its key.

The key holds all that a timing depends on: the convolution, the shapes, the plans, threads, ONNX Runtime, processor and
this package's version. A file that cannot be read, or that does not hold what its name says, counts as absent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any

from onnx_fft.errors import OutputError
from onnx_fft.host import user_folder
from onnx_fft.measure.choice import Contest, Timings
from onnx_fft.model.staging import write_text

FORMAT = 1
PATTERN = "[0-9a-f]" * 64 + ".json"


@dataclass(frozen=True, slots=True)
class Environment:
    """What timings depend on beside the convolution; `threads` is 0 if ONNX Runtime chooses.

    `library` tells builds of the native library apart, "" if it takes no part; so does `gpu` what models ran on.
    """

    threads: int
    onnxruntime: str
    cpu: str
    cores: int
    onnx_fft: str
    library: str = ""
    gpu: str = ""


def cache_folder(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """`timings` in the user's folder for caches."""
    return user_folder(environ, platform) / "timings"


@dataclass(slots=True)
class Cache:
    """The timings of one environment under `folder`; `notes` collects what went wrong, which is never an error."""

    environment: Environment
    folder: Path = field(default_factory=cache_folder)
    notes: list[str] = field(default_factory=list)

    def read(self, contest: Contest) -> tuple[Timings, float] | None:
        """The timings of a contest and the seconds spent on them; None if there are none."""
        path = self.path(contest)
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            if entry["key"] != self._key(contest):
                raise ValueError("it was written for another key")
            return _check(entry["seconds"], contest), float(entry["spent_s"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError) as error:
            self.notes.append(f"cache file {path} cannot be used ({error or type(error).__name__}); measured again")
            return None

    def write(self, contest: Contest, timings: Timings, spent_s: float) -> None:
        """Store timings, as a whole or not at all."""
        entry = {"key": self._key(contest), "spent_s": spent_s, "seconds": timings.seconds}
        path = self.path(contest)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(entry) + "\n")
        except (OSError, OutputError) as error:
            self.notes.append(f"timings were not cached: {error}")

    def path(self, contest: Contest) -> Path:
        """Where the timings of a contest are, or would be."""
        key = json.dumps(self._key(contest), sort_keys=True)
        return self.folder / f"{sha256(key.encode()).hexdigest()}.json"

    def _key(self, contest: Contest) -> dict[str, Any]:
        key = {
            "format": FORMAT,
            "spec": asdict(contest.spec),
            "opset": contest.opset,
            "shapes": contest.shapes,
            "plans": [asdict(candidate.plan) for candidate in contest.candidates],
            **asdict(self.environment),
        }
        plain: dict[str, Any] = json.loads(json.dumps(key))  # tuples as lists, as a file gives them back
        return plain


def list_entries(folder: Path | None = None) -> list[Path]:
    """The files of the cache; nothing else in the folder is ours."""
    return sorted((folder or cache_folder()).glob(PATTERN))


def delete_entries(entries: Iterable[Path]) -> None:
    """Delete these files. Raises OutputError if that is not allowed."""
    for path in entries:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"got {error}", f"permission to delete {path}", "delete it by hand") from error


def _check(seconds: Any, contest: Contest) -> Timings:
    """Timings of as many options and shapes as the contest has, all of them positive."""
    timings = Timings(tuple(tuple(tuple(map(float, rounds)) for rounds in cases) for cases in seconds))
    shape = (len(timings.seconds), len(timings.seconds[0]))
    if shape != (1 + len(contest.candidates), len(contest.shapes)):
        raise ValueError(f"it holds {shape[0]} options on {shape[1]} shapes")
    if not all(isfinite(s) and s > 0 for cases in timings.seconds for rounds in cases for s in rounds):
        raise ValueError("it holds times that are not positive")
    return timings
