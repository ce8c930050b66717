"""One process that tries inputs: seeds come in as lines, and lines of JSON go out.

`{"verb": ...}` says what begins, `{"seed": ..., "verbs": ..., "findings": ...}` what came of an input. The process may
crash or hang at any time: `workers.py` watches it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from scripts.fuzz.tried import Tell, Tried

MEMORY_BYTES = 12 << 30
"""Address space of the process. ONNX Runtime's libraries and thread stacks take 2 GiB of it."""

Try = Callable[[int, Path, Tell], Tried]


def _find_try(module: str, name: str) -> Try:
    attempt: Try = getattr(import_module(f"scripts.fuzz.{module}"), name)
    return attempt


TRIES: dict[str, Callable[[], Try]] = {
    "models": partial(_find_try, "tries", "try_input"),
    "alone": partial(_find_try, "tries", "try_alone"),
    "nodes": partial(_find_try, "nodes", "try_scenarios"),
    "wild": partial(_find_try, "wild", "try_set"),
}
"""What is done with a seed, by name; imported only if it is asked for."""

SANITIZED = ("nodes", "wild")
"""Those under sanitizers, which take more addresses than there are."""


def serve(attempt: Try, scratch: Path) -> None:
    """Try every seed of the standard input. What libraries print goes to the standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def answer(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=answers)

    for line in sys.stdin:
        seed = int(line)
        with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{seed}.", ignore_cleanup_errors=True) as folder:
            inside = Path(folder) / "input"
            inside.mkdir()
            tried = attempt(seed, inside, lambda verb: answer({"verb": verb}))
        answer(asdict(tried))


def run_one(attempt: Try, seed: int, folder: Path) -> int:
    """Try one seed in this process, keep its files, and print what came of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tried = attempt(seed, folder, lambda verb: print(f"{verb} ...", flush=True))
    print(json.dumps(tried.verbs, indent=2))
    for finding in tried.findings:
        print(f"{finding['kind']}: {finding['signature']}\n{finding['text']}")
    print(f"files: {folder}")
    return 1 if tried.findings else 0


def limit_memory() -> None:
    """Have allocations beyond the limit fail in this process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=TRIES)
    parser.add_argument("scratch", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.kind not in SANITIZED:
        limit_memory()
    serve(TRIES[given.kind](), given.scratch)
