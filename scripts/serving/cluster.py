"""Files a second of many_files.py on a cluster of two workers, beside one process, and after a worker was killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from scripts.conformance.speed import MAX_RELATIVE_L2
from scripts.serving.arrays import read_arrays, write_arrays
from scripts.serving.loads import LoadError
from scripts.serving.many_files import WORKERS, Done, open_cluster, run_file, run_files
from scripts.serving.sessions import open_session

FILES, ROUNDS = 160, 3


def write_inputs(folder: Path, name: str, shape: tuple[int, ...], count: int) -> list[Path]:
    """So many files of random numbers."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:06}.npz" for number in range(count)]
    for path in paths:
        path.write_bytes(write_arrays({name: rng.standard_normal(shape, np.float32)}))
    return paths


def run_in_one(model: Path, sources: Sequence[Path], folder: Path) -> Iterator[Done]:
    """All files in this process, one after another, each run on all cores."""
    session = open_session(model, threads=0)
    for source in sources:
        yield run_file(session, source, folder)


def run_with_a_kill(client: Client, model: Path, sources: Sequence[Path], folder: Path) -> Iterator[Done]:
    """All files on the workers; the one that ran the file in the middle is killed then."""
    for number, done in enumerate(run_files(client, model, sources, folder)):
        if number == len(sources) // 2:
            os.kill(done.process, signal.SIGKILL)
        yield done


def find_worst(expected: Path, found: Path, sources: Sequence[Path]) -> tuple[int, float]:
    """How many results are missing, and the largest relative L2 difference of those that are there."""
    lost, worst = 0, 0.0
    for source in sources:
        if not (found / source.name).exists():
            lost += 1
            continue
        before, after = (
            np.concatenate([array.ravel() for array in read_arrays((folder / source.name).read_bytes()).values()])
            for folder in (expected, found)
        )
        worst = max(worst, float(np.linalg.norm(after - before) / np.linalg.norm(before)))
    return lost, worst


@dataclass
class Row:
    """A model run by one way, all rounds together."""

    model: str
    way: str
    folder: Path
    taken_s: float = 0.0
    files: int = 0
    relative_l2: float = 0.0

    def prepare_folder(self) -> Path:
        """The folder for results, empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self.folder

    def measure(self, run: Iterator[Done], sources: Sequence[Path], expected: Path) -> None:
        """Time one round. Raises LoadError as `measure_cluster` does."""
        started = time.perf_counter()
        order = [done.source.name for done in run]
        self.taken_s += time.perf_counter() - started
        self.files += len(order)
        lost, worst = find_worst(expected, self.folder, sources)
        self.relative_l2 = max(self.relative_l2, worst)
        if lost or not worst <= MAX_RELATIVE_L2 or order != [source.name for source in sources]:
            raise LoadError(f"{self.model}, {self.way}: {lost} lost, {worst:.0e} from the original's, or not in order")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        speed = self.files / self.taken_s
        return {"model": self.model, "way": self.way, "files_per_s": speed, "relative_l2": self.relative_l2}


def measure_cluster(models: dict[str, Path], name: str, shape: tuple[int, ...], folder: Path) -> dict[str, Any]:
    """Each model by each way, as plain JSON types; the first model is the original.

    Raises LoadError if a file has no result or another than the original's in one process, or comes out of order.
    """
    (folder / "inputs").mkdir()
    sources = write_inputs(folder / "inputs", name, shape, FILES)
    with open_cluster(WORKERS) as cluster, Client(cluster) as client:
        ways = {
            "one process": run_in_one,
            "workers": lambda *job: run_files(client, *job),
            "workers, one killed": lambda *job: run_with_a_kill(client, *job),
        }
        expected = folder / next(iter(models)) / next(iter(ways))
        rows = [Row(model, way, folder / model / way) for model in models for way in ways]
        for row in rows * ROUNDS:
            client.wait_for_workers(WORKERS)
            row.measure(ways[row.way](models[row.model], sources, row.prepare_folder()), sources, expected)
    return {"files": FILES, "rounds": ROUNDS, "workers": WORKERS, "rows": [row.to_dict() for row in rows]}
