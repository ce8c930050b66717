"""One side of a comparison, in a process of its own: `python -m scripts.bench.peer_worker SIDE FOLDER THREADS`.

`model_sides.py` and `layer_sides.py` say what FOLDER holds. The answers are JSON, one a line: the first after a run
whose outputs are in `SIDE.npz`, in order, then one for each line read, which says how many seconds to measure. An
answer is `{"seconds": ...}` or `{"error": ...}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scripts.bench.layer_sides import LAYER_SIDES
from scripts.bench.model_sides import MODEL_SIDES, Run

SIDES: dict[str, Callable[[Path, int], Run]] = {**MODEL_SIDES, **LAYER_SIDES}


def measure_block(run: Callable[[], object], block_s: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median seconds of the runs within about `block_s`. The first does not count: it finds the other side's caches.

    A run that takes longer than the block counts as it is: caches hardly matter to it.
    """
    first = _time_run(run, clock)
    if first >= block_s:
        return first
    seconds: list[float] = []
    while not seconds or sum(seconds) < block_s:
        seconds.append(_time_run(run, clock))
    return float(np.median(seconds))


def to_array(output: Any) -> Any:
    """A tensor's or an ORT value's numbers, as an array."""
    return output.numpy() if hasattr(output, "numpy") else np.asarray(output)


def _time_run(run: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    run()
    return clock() - started


def main(side: str, folder: str, threads: str) -> None:
    """Answer until the input ends; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        run = SIDES[side](Path(folder), int(threads))
        np.savez(Path(folder) / f"{side}.npz", *map(to_array, run()))
        answer({"seconds": None})
        for line in sys.stdin:
            answer({"seconds": measure_block(run, float(line))})
    except Exception as error:  # whatever the side raises is its answer
        answer({"error": " ".join(str(error).split())[:200] or type(error).__name__})


if __name__ == "__main__":
    main(*sys.argv[1:])
