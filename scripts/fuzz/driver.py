"""What both fuzzers do: read the arguments, try seeds in processes that may crash, count, and tell."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from scripts.fuzz.tally import Tally, append_result, print_result
from scripts.fuzz.worker import SANITIZED, TRIES, limit_memory, run_one
from scripts.fuzz.workers import Ended, Queue, Worker, read_tail, run_workers
from scripts.shared.paths import ROOT

OUT = ROOT / "build" / "fuzz"
SEED = 20260101


def run(description: str | None, kind: str, arguments: Sequence[str] | None = None) -> int:
    """Fuzz by the attempt of this name in `TRIES`; returns 1 if anything was found."""
    given = _make_parser(description).parse_args(arguments)
    if given.one:
        warnings.simplefilter("ignore")
        if kind not in SANITIZED:
            limit_memory()
        return run_one(TRIES[kind](), given.seed, given.out / str(given.seed))
    start, tally = time.monotonic(), Tally()
    with tempfile.TemporaryDirectory(prefix="onnx-fft-fuzz.") as scratch:
        workers = [_make_worker(kind, Path(scratch), number, given.hang_s) for number in range(given.workers)]

        def take(worker: Worker, seed: int) -> None:
            try:
                answer = worker.run(seed)
            except Ended as ended:
                _judge_end(worker, seed, ended, kind, tally, given.out)
                return
            tally.count(answer["verbs"])
            for finding in answer["findings"]:
                tally.find(seed, finding["kind"], finding["signature"], finding["text"], given.out)

        run_workers(workers, Queue(given.seed, given.seconds, given.count), take)
    return _finish(kind, tally, time.monotonic() - start, given)


def _make_parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to go on")
    parser.add_argument("--count", type=int, help="how many inputs to try, however long it takes")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first input")
    parser.add_argument("--workers", type=int, default=2, help="how many processes")
    parser.add_argument("--hang-s", type=float, default=60.0, help="a verb that computes longer hangs")
    parser.add_argument("--out", type=Path, default=OUT, help="where findings go")
    parser.add_argument("--json", type=Path, help="add the counts to those in this file")
    parser.add_argument("--one", action="store_true", help="try the input of --seed here, and keep its files")
    return parser


def _make_worker(kind: str, scratch: Path, number: int, hang_s: float) -> Worker:
    command = [sys.executable, "-m", "scripts.fuzz.worker", kind, str(scratch)]
    return Worker(command, scratch / f"{kind}{number}.log", hang_s)


def _judge_end(worker: Worker, seed: int, ended: Ended, kind: str, tally: Tally, out: Path) -> None:
    """Whose fault a crash or a hang is: theirs if the model does the same to onnx or ONNX Runtime alone."""
    tally.count({worker.verb: ended.kind})
    said = read_tail(worker.log)
    if "AddressSanitizer: out-of-memory" in said and "libonnx_fft" not in said:
        # An output that the node says is huge. Without the sanitizer, ONNX Runtime reports it as an error.
        tally.blame_others(seed, "no memory for an output")
        return
    if kind == "models":
        alone = _make_worker("alone", worker.log.parent, seed, worker.hang_s)
        try:
            alone.run(seed)
        except Ended as theirs:
            tally.blame_others(seed, str(theirs))
            return
        finally:
            alone.close()
    tally.find(seed, ended.kind, str(ended), said, out)


def _finish(kind: str, tally: Tally, seconds: float, given: argparse.Namespace) -> int:
    """Tell the counts; returns the exit code."""
    packages = [f"{package} {version(package)}" for package in ("onnx-fft", "onnx", "onnxruntime", "numpy")]
    result = tally.to_dict(kind, seconds, given.seed, ", ".join([*packages, f"Python {platform.python_version()}"]))
    print_result(result)
    if given.json is not None:
        append_result(given.json, result)
    return 1 if tally.findings else 0
