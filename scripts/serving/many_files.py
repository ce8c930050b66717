"""A model over a folder of inputs, on the workers of a Dask cluster.

    python -m scripts.serving.many_files native.onnx inputs outputs                             # two processes here
    python -m scripts.serving.many_files native.onnx inputs outputs --scheduler tcp://head:8786  # many machines

Every inputs/NAME.npz, an array for each input of the model, becomes outputs/NAME.npz, an array for each output. A
worker opens the model once, with the native library, when it joins; it is sent the path only, since a session cannot be
pickled. Results come in the order of the files' names, and few are on their way at a time, so that a million files need
no more memory than a hundred. If a worker dies, Dask gives its files to the others, and starts another one. A file that
the model does not take is named at the end, as are those of a batch that ended several workers: exit code 1.

Paths have to mean the same on all machines, and the workers run from a checkout such as this one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, KilledWorker, LocalCluster, Worker, WorkerPlugin, get_worker
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from onnx_fft.errors import OnnxFftError, one_line
from scripts.serving.arrays import read_arrays, write_arrays
from scripts.serving.sessions import INVALID, open_session

WORKERS = 2
BATCH = 16
"""Files that a worker gets at a time, because each time costs milliseconds; they are run anew if it dies meanwhile."""
AHEAD = 3
"""Batches on their way for each worker: one that it runs, and some so that it need not wait for the next."""


@dataclass(frozen=True, slots=True)
class Done:
    """A file, the process that ran it, and why there is no result ("" if there is one)."""

    source: Path
    process: int
    problem: str = ""


class Model(WorkerPlugin):
    """Opens the model in each worker that joins, also in one that replaces another."""

    name = "onnx-fft-model"

    def __init__(self, path: Path, threads: int) -> None:
        self.path, self.threads = path, threads
        self.session: Any = None

    def setup(self, worker: Worker) -> None:
        """Called in the worker's process, before its first file."""
        self.session = open_session(self.path, threads=self.threads)


def run_file(session: Any, source: Path, folder: Path) -> Done:
    """Run one file; the result appears whole or not at all."""
    try:
        outputs = session.run(None, read_arrays(source.read_bytes()))
    except INVALID as error:
        return Done(source, os.getpid(), one_line(error))
    names = (output.name for output in session.get_outputs())
    part = folder / f".{source.name}.{os.getpid()}"
    part.write_bytes(write_arrays(dict(zip(names, outputs, strict=True))))
    part.replace(folder / source.name)
    return Done(source, os.getpid())


def run_batch(sources: Sequence[Path], folder: Path) -> list[Done]:
    """Run files one after another with the session of the worker that this is called on."""
    model: Any = get_worker().plugins[Model.name]
    return [run_file(model.session, source, folder) for source in sources]


def run_files(
    client: Client, model: Path, sources: Sequence[Path], folder: Path, *, threads: int = 1
) -> Iterator[Done]:
    """Run the files on the client's workers, with so many threads a run; yields in the order of `sources`."""
    client.register_plugin(Model(model.resolve(), threads))
    most = AHEAD * max(1, sum(client.nthreads().values()))
    ahead: deque[Any] = deque()
    for first in range(0, len(sources), BATCH):
        batch = [source.resolve() for source in sources[first : first + BATCH]]
        ahead.append((batch, client.submit(run_batch, batch, folder.resolve(), pure=False)))
        if len(ahead) == most:
            yield from _wait(*ahead.popleft())
    while ahead:
        yield from _wait(*ahead.popleft())


def _wait(batch: Sequence[Path], future: Any) -> list[Done]:
    """What became of a batch, also if it ended every worker that tried it."""
    try:
        done: list[Done] = future.result()
        return done
    except KilledWorker:
        return [Done(source, 0, "one of these files ended every worker that tried it") for source in batch]


def open_cluster(workers: int) -> LocalCluster:
    """Processes on this machine that nothing else can reach, each with one thread."""
    return LocalCluster(n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)


def run_shown(client: Client, model: Path, sources: Sequence[Path], folder: Path) -> list[Done]:
    """Run the files with a progress bar; returns those without a result."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    failed = []
    with Progress(*columns) as progress:
        task = progress.add_task("files", total=len(sources))
        for done in run_files(client, model, sources, folder):
            progress.update(task, advance=1, description=done.source.name)
            failed += [done] if done.problem else []
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a folder; 1 if a file has no result, 2 if there is none to run, and the codes of `onnx-fft`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("inputs", type=Path, help="a folder of .npz files")
    parser.add_argument("outputs", type=Path, help="the folder for the results; made if it is absent")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=WORKERS, help="how many processes to start here")
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that runs already")
    options = parser.parse_args(arguments)
    sources = sorted(options.inputs.glob("*.npz"))
    if not sources:
        print(f"error: got {options.inputs}, which holds no .npz file", file=sys.stderr)
        return 2
    options.outputs.mkdir(parents=True, exist_ok=True)
    cluster = nullcontext(options.scheduler) if options.scheduler else open_cluster(options.workers)
    try:
        with cluster as address, Client(address) as client:
            failed = run_shown(client, options.model, sources, options.outputs)
    except OnnxFftError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for done in failed:
        print(f"error: {done.source}: {done.problem}", file=sys.stderr)
    print(f"{len(sources) - len(failed)} of {len(sources)} files have a result in {options.outputs}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
