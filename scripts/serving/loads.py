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
from collections.abc import Iterator, Sequence
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
CLIENTS, REQUESTS = 8, 1000
SAMPLE_EVERY = 10
"""Requests between two looks at the memory."""
LIMIT_S = 600.0


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
    requests: int = REQUESTS

    def list_arguments(self) -> list[str]:
        """The arguments of load_model and of load.mjs."""
        shape = "x".join(map(str, self.shape))
        return [*map(str, (self.model, shape, self.inputs, self.outputs, self.clients, self.requests))]


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


def load_c(job: Job, program: Path) -> Load:
    """ONNX Runtime's C library, by the program that build.sh makes. Raises LoadError."""
    return _run_program([str(program), *job.list_arguments(), str(library_path())])


def load_node(job: Job, modules: Path) -> Load:
    """The package onnxruntime-node in the folder `modules`. Raises LoadError."""
    return _run_program(["node", str(FOLDER / "load.mjs"), str(modules), *job.list_arguments()])


def _run_program(command: Sequence[str]) -> Load:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadError(str(error)) from error
    if done.returncode:
        raise LoadError(done.stderr[-2000:] or f"{command[0]} ended with code {done.returncode}")
    return Load(**json.loads(done.stdout))


def load_http(job: Job) -> Load:
    """The service of service.py in a process of its own, and clients in this one. Raises LoadError."""
    load, lock = Load(f"Starlette on uvicorn, Python {sys.version.split()[0]}"), threading.Lock()
    inputs = np.fromfile(job.inputs, np.float32).reshape(job.clients, *job.shape)
    with _serve(job.model) as (address, status), httpx2.Client(base_url=address, timeout=60.0) as http:

        def ask_on(client: int) -> bytes:
            """What client number `client` does; returns its first answer."""
            body, first = write_arrays({job.input_name: inputs[client]}), b""
            for _ in range(job.requests // job.clients):
                started = time.perf_counter()
                answer = http.post("/run", content=body)
                taken = time.perf_counter() - started
                first = first or answer.content
                with lock:
                    load.failed += answer.status_code != 200
                    load.different += answer.content != first
                    load.seconds.append(taken)
                    if len(load.seconds) % SAMPLE_EVERY == 0:
                        load.held_bytes.append(read_memory(status)[0] or 0)
            return first

        started = time.perf_counter()
        with ThreadPoolExecutor(job.clients) as pool:
            answers = list(pool.map(ask_on, range(job.clients)))
        load.wall_s = time.perf_counter() - started
    arrays = (next(iter(read_arrays(answer).values())) for answer in answers)
    np.concatenate([array.ravel() for array in arrays]).tofile(job.outputs)
    return load


@contextmanager
def _serve(model: Path) -> Iterator[tuple[str, Path]]:
    """The service's address, and where the system says what memory it holds."""
    command = [sys.executable, "-m", "scripts.serving.service", str(model)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            address = process.stdout.readline().strip()
            if not address:
                raise LoadError(process.stderr.read())
            yield address, Path(f"/proc/{process.pid}/status")
        finally:
            process.terminate()
