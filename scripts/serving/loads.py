"""A load on each runtime that serves models: many clients at once on one model.

Each client sends its share of the requests, the next one once the last is answered, and has an input of its own, all of
them in one file of raw numbers. The answers come back as such a file, the first that each client got. What was seen
comes in one form, whichever runtime it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np

from onnx_fft.native import library_path
from onnx_fft.timing.worker import read_memory
from scripts.serving.arrays import read_arrays, write_arrays
from scripts.shared.paths import ROOT

FOLDER = Path(__file__).parent
CLIENTS = 8
SAMPLE_EVERY = 10
"""Requests between two looks at the memory."""


class LoadError(RuntimeError):
    """A runtime did not start, or ended before all was answered; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Job:
    """A model of one input and one output in float32, and what the clients send and get."""

    model: Path
    input_name: str
    shape: tuple[int, ...]
    inputs: Path
    outputs: Path
    clients: int = CLIENTS

    def list_arguments(self) -> list[str]:
        """The arguments of load_model and of load.mjs."""
        shape = "x".join(map(str, self.shape))
        return [*map(str, (self.model, shape, self.inputs, self.outputs, self.clients))]


@dataclass(slots=True)
class Load:
    """What the clients saw: seconds of every request, what the server held in memory meanwhile, and what went wrong.

    `different` counts answers that were not bit for bit the client's first, `failed` requests without an answer.
    """

    version: str
    wall_s: float = 0.0
    different: int = 0
    failed: int = 0
    seconds: list[float] = field(default_factory=list)
    held_bytes: list[int] = field(default_factory=list)

    def add(self, other: Load) -> None:
        """Count in what was seen in another round."""
        for name in ("wall_s", "different", "failed", "seconds", "held_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


Ask = Callable[[int], Load]
"""Puts so many requests on a server, shared among the clients. Raises LoadError if it ended."""


def load_in_turn(servers: Sequence[Ask], requests: int, rounds: int) -> list[Load]:
    """So many requests for each server, a share of them a round, so that all meet the same moods of the machine."""
    loads = [ask(requests // rounds) for ask in servers]
    pairs = list(zip(servers, loads, strict=True))
    for _ in range(rounds - 1):
        pairs.reverse()
        for ask, load in pairs:
            load.add(ask(requests // rounds))
    return loads


@contextmanager
def serve_c(job: Job, program: Path) -> Iterator[Ask]:
    """ONNX Runtime's C library, by the program that build.sh makes."""
    with _run_program([str(program), *job.list_arguments(), str(library_path())]) as ask:
        yield ask


@contextmanager
def serve_node(job: Job, modules: Path) -> Iterator[Ask]:
    """The package onnxruntime-node in the folder `modules`."""
    command = ["node", "--expose-gc", str(FOLDER / "load.mjs"), str(modules), *job.list_arguments()]
    with _run_program(command) as ask:
        yield ask


@contextmanager
def serve_http(job: Job) -> Iterator[Ask]:
    """The service of service.py in a process of its own, and clients in this one. Raises LoadError."""
    command = [sys.executable, "-m", "scripts.serving.service", str(job.model)]
    with _start(command) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().strip()
        if not address:
            raise LoadError(process.stderr.read())
        with httpx2.Client(base_url=address, timeout=60.0) as http:
            yield HttpClients(job, http, Path(f"/proc/{process.pid}/status")).ask


class HttpClients:
    """The clients of the service, and the first answer that each got."""

    def __init__(self, job: Job, http: httpx2.Client, status: Path) -> None:
        self.job, self.http, self.status = job, http, status
        inputs = np.fromfile(job.inputs, np.float32).reshape(job.clients, *job.shape)
        self.bodies = [write_arrays({job.input_name: x}) for x in inputs]
        self.firsts = [b""] * job.clients
        self.lock = threading.Lock()

    def ask(self, requests: int) -> Load:
        """One round of requests."""
        load = Load(f"Starlette on uvicorn, Python {sys.version.split()[0]}")
        started = time.perf_counter()
        with ThreadPoolExecutor(self.job.clients) as pool:
            each = [pool.submit(self._ask_on, *one, requests, load) for one in enumerate(self.bodies)]
            for one in each:
                one.result()
        load.wall_s = time.perf_counter() - started
        arrays = (next(iter(read_arrays(first).values())) for first in self.firsts)
        np.concatenate([array.ravel() for array in arrays]).tofile(self.job.outputs)
        return load

    def _ask_on(self, client: int, body: bytes, requests: int, load: Load) -> None:
        """What one client does."""
        for _ in range(requests // self.job.clients):
            started = time.perf_counter()
            answer = self.http.post("/run", content=body)
            taken = time.perf_counter() - started
            self.firsts[client] = self.firsts[client] or answer.content
            with self.lock:
                load.failed += answer.status_code != 200
                load.different += answer.content != self.firsts[client]
                load.seconds.append(taken)
                if len(load.seconds) % SAMPLE_EVERY == 0:
                    load.held_bytes.append(read_memory(self.status)[0] or 0)


@contextmanager
def _run_program(command: Sequence[str]) -> Iterator[Ask]:
    """A program that is told by lines how many requests to make, and answers with lines of JSON."""
    with _start(command) as process:

        def ask(requests: int) -> Load:
            assert process.stdin is not None and process.stdout is not None and process.stderr is not None
            try:
                process.stdin.write(f"{requests}\n")
                process.stdin.flush()
            except BrokenPipeError:
                pass  # it has ended, and says why
            line = process.stdout.readline()
            if not line:
                raise LoadError(process.stderr.read()[-2000:])
            return Load(**json.loads(line))

        yield ask


@contextmanager
def _start(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
