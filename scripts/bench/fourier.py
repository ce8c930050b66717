"""DFT, STFT and ConvTranspose: the native library beside ONNX Runtime's own operators, SciPy and PyTorch.

    python -m scripts.bench.fourier

All of them run in one process with equally many threads and take turns in short blocks, so that what slows the machine
slows all. A block gives one sample, the median of its runs; times are medians over the blocks. What is not installed
has an empty column. Results are compared with NumPy's in float64: a contender that computes something else is an error.
"""

from __future__ import annotations

import argparse
import platform
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from onnx_fft.doctor import read_isa
from onnx_fft.report.numbers import format_ms
from onnx_fft.timing.stats import compare, summarize
from scripts.bench.fourier_rows import CONTENDERS, ROWS, Row, Run, as_complex
from scripts.bench.options import write_results
from scripts.bench.transposed_rows import TRANSPOSED_CONTENDERS, TRANSPOSED_ROWS, TransposedRow
from scripts.shared.conv_models import Array
from scripts.shared.tables import Table

BLOCK_S = 0.02
MIN_BLOCKS = 5
WRONG = 1e-2
"""ONNX Runtime's DFT of 65,000 points is off by half of this."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="time DFT, STFT and ConvTranspose")
    parser.add_argument("--select", metavar="REGEX", default="", help="only rows whose name matches")
    parser.add_argument("--threads", type=int, default=2, help="threads of each (default: 2)")
    parser.add_argument("--budget", type=float, default=3.0, metavar="S", help="seconds of timed runs a row")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    options = parser.parse_args(arguments)
    columns = ("case", "native ms", *(f"over {name}" for name in list(CONTENDERS)[1:]), "error (operator's)")
    chosen = [row for row in (*ROWS, *TRANSPOSED_ROWS) if re.search(options.select, row.name)]
    rows = [make_row(row, options.threads, options.budget) for row in chosen]
    header = [
        f"ONNX Runtime {ort.__version__}, {options.threads} threads, kernels for {read_isa()}, {platform.machine()}; "
        "how many times faster the native operator is than each; errors are relative L2 against float64."
    ]
    write_results(options, "DFT, STFT and ConvTranspose", header, Table(columns, tuple(rows)), [])


def make_row(row: Row | TransposedRow, threads: int, budget_s: float) -> tuple[str, ...]:
    """The cells of one row."""
    if isinstance(row, Row):
        opened = {name: open_contender(row, threads) for name, open_contender in CONTENDERS.items()}
    else:
        opened = {name: open_contender(row, threads) for name, open_contender in TRANSPOSED_CONTENDERS.items()}
    runs = {name: run for name, run in opened.items() if run is not None}
    truth = row.expect(row.draw())
    results = {name: as_complex(row, run()) if isinstance(row, Row) else run() for name, run in runs.items()}
    errors = {name: measure_error(result, truth) for name, result in results.items()}
    if wrong := {name: error for name, error in errors.items() if not error < WRONG}:
        raise ValueError(f"got errors of {wrong} for {row.name}; expected below {WRONG}")
    samples = take_turns(runs, budget_s)
    native, *others = CONTENDERS
    ratios = [f"{compare(samples[name], samples[native]).value:.2f}x" if name in samples else "" for name in others]
    found = [format_ms(summarize(samples[native]).median), *ratios]
    return (row.name, *found, f"{errors[native]:.0e} ({errors[others[0]]:.0e})")


def take_turns(runs: dict[str, Run], budget_s: float) -> dict[str, list[float]]:
    """Median seconds of a run in each block, of all in turn, every other time in reverse."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    turns, started = list(runs.items()), time.perf_counter()
    while len(samples[turns[0][0]]) < MIN_BLOCKS or time.perf_counter() - started < budget_s:
        for name, run in turns:
            samples[name].append(time_block(run))
        turns.reverse()
    return samples


def time_block(run: Run) -> float:
    """The median of as many runs as take BLOCK_S; the first, which warms up, counts only if it is alone."""
    found: list[float] = []
    while not found or sum(found) < BLOCK_S:
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return float(np.median(found[1:] or found))


def measure_error(result: Array, truth: Array) -> float:
    """The relative L2 difference."""
    if result.shape != truth.shape:
        return float("inf")
    return float(np.linalg.norm(result - truth) / np.linalg.norm(truth))


if __name__ == "__main__":
    main()
