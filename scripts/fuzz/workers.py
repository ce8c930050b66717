"""Processes that try inputs, watched from outside: a crash or a hang ends one of them, and is a finding."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 10
"""A process that uses no time of the processor hangs after so many times the limit, since others may be using it."""

INPUTS_A_PROCESS = 200
"""After so many a process makes way for a fresh one, so that what one input leaves behind reaches few others."""


class Ended(Exception):
    """The process crashed or hung; its text says which, `kind` in a word."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass
class Worker:
    """A process that answers as `worker.py` does. `log` takes what it prints to its standard error.

    A verb that takes longer than `hang_s` seconds hangs, if it spent them computing: the machine may be busy.
    """

    command: Sequence[str]
    log: Path
    hang_s: float
    environment: Mapping[str, str] | None = None
    process: subprocess.Popen[bytes] | None = None
    tried: int = 0
    verb: str = "start"

    def run(self, seed: int) -> dict[str, Any]:
        """What came of this seed. Raises Ended; the next call starts a new process."""
        if self.process is None or self.tried >= INPUTS_A_PROCESS:
            self.close()
            self._start()
        assert self.process is not None and self.process.stdin is not None
        self.tried += 1
        try:
            self.process.stdin.write(f"{seed}\n".encode())
            while True:
                answer = self._read_line()
                if "seed" in answer:
                    return answer
                self.verb = answer["verb"]
        except Ended:
            self.close()
            raise

    def close(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # with what it started
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()
        self.process, self.tried = None, 0

    def _start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                env=self.environment,
                start_new_session=True,
            )
        self.verb = "start"

    def _read_line(self) -> dict[str, Any]:
        assert self.process is not None and self.process.stdout is not None
        start, start_cpu_s = time.monotonic(), _read_cpu_s(self.process.pid)
        while not select.select([self.process.stdout], [], [], min(1.0, self.hang_s))[0]:
            waited_s, cpu_s = time.monotonic() - start, _read_cpu_s(self.process.pid) - start_cpu_s
            if cpu_s > self.hang_s or waited_s > PATIENCE * self.hang_s:
                raise Ended("hang", f"{self.verb}: more than {self.hang_s:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise Ended("crash", f"{self.verb}: {name}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _read_cpu_s(pid: int) -> float:
    """Seconds that all threads of a process have computed."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Queue:
    """Seeds from `first` on until the time is over, or `count` of them, for several threads."""

    first: int
    seconds: float
    count: int | None = None
    start: float = field(default_factory=time.monotonic)
    given: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __iter__(self) -> Iterator[int]:
        while True:
            with self.lock:
                is_over = time.monotonic() - self.start > self.seconds if self.count is None else False
                if is_over or self.given == self.count:
                    return
                self.given += 1
                seed = self.first + self.given - 1
            yield seed


def run_workers(workers: Sequence[Worker], queue: Queue, take: Callable[[Worker, int], None]) -> None:
    """Call `take` with every seed and the worker that is free for it, a thread for each worker."""

    def serve(worker: Worker) -> None:
        for seed in queue:
            take(worker, seed)
        worker.close()

    threads = [threading.Thread(target=serve, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def read_tail(log: Path, most: int = 6000) -> str:
    """The end of what a process printed."""
    return log.read_bytes()[-most:].decode(errors="replace") if log.exists() else ""
