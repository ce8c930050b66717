"""What serving gains: a model as it is and rewritten, by many clients and over many files, into results and page.

    python -m scripts.serving.measure c         # ONNX Runtime's C library
    python -m scripts.serving.measure node      # onnxruntime-node
    python -m scripts.serving.measure http      # the service of service.py
    python -m scripts.serving.measure cluster   # many_files.py on a cluster of two workers

Each takes one to two minutes on an idle machine. Exit code 1, and nothing is written, if a request fails, if an answer
is not what the original gives, or if memory grows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import inliner

import onnx_fft
from onnx_fft.host import cpu_model
from scripts.conformance.speed import MAX_RELATIVE_L2, compare_outputs
from scripts.native.soak import MOST_GROWTH_BYTES, measure_growth
from scripts.serving.cluster import measure_cluster
from scripts.serving.loads import (
    CLIENTS,
    FOLDER,
    Ask,
    Job,
    Load,
    LoadError,
    load_in_turn,
    serve_c,
    serve_http,
    serve_node,
)
from scripts.serving.paths import MODULES
from scripts.serving.tables import PAGE, RESULTS, render
from scripts.shared.blocks import write_block
from scripts.shared.paths import MODELS
from scripts.shared.running import run_model

MODEL, INPUT, SHAPE = MODELS / "large_kernel.onnx", "x", (1, 64, 56, 56)
SEED = 0
REQUESTS, ROUNDS = 1000, 5


def write_models(folder: Path) -> dict[str, Path]:
    """The original, and what `rewrite` makes of it for each target, by name."""
    models = {"original": MODEL}
    for target in ("standard", "native"):
        models[target] = folder / f"{target}.onnx"
        onnx_fft.rewrite(models["original"], target=target).save(models[target])
    return models


def inline(model: Path) -> Path:
    """The file with its functions written out, for runtimes that do not know any."""
    path = model.with_suffix(".inlined.onnx")
    onnx.save(inliner.inline_local_functions(onnx.load(model)), path)
    return path


def build_program(folder: Path) -> Path:
    """load_model of build.sh. Raises LoadError if it cannot be built."""
    command = ["bash", str(FOLDER / "build.sh"), str(folder)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LoadError(done.stderr)
    return folder / "load_model"


def describe_load(name: str, load: Load, relative_l2: float) -> dict[str, Any]:
    """A row of the results."""
    seconds = np.array(load.seconds)
    return {
        "model": name,
        "requests": len(seconds),
        "requests_per_s": len(seconds) / load.wall_s,
        "median_s": float(np.median(seconds)),
        "p99_s": float(np.percentile(seconds, 99)),
        "failed": load.failed,
        "different": load.different,
        "relative_l2": relative_l2,
        "held_bytes": max(load.held_bytes),
        "growth_bytes": measure_growth(load.held_bytes),
    }


def find_faults(row: dict[str, Any]) -> list[str]:
    """What is wrong with a row; such a speed means nothing."""
    faults = [
        f"{row[key]} requests {words}" for key, words in (("failed", "failed"), ("different", "differ")) if row[key]
    ]
    if not row["relative_l2"] <= MAX_RELATIVE_L2:
        faults.append(f"the answers are {row['relative_l2']:.0e} from the original's, allowed {MAX_RELATIVE_L2:.0e}")
    if row["growth_bytes"] > MOST_GROWTH_BYTES:
        faults.append(f"memory grew by {row['growth_bytes']} bytes")
    return [f"{row['model']}: {fault}" for fault in faults]


def measure_loads(runtime: str, folder: Path) -> dict[str, Any]:
    """Each model under the clients' load on one runtime. Raises LoadError if a request failed or memory grew."""
    models = write_models(folder)
    if runtime == "node":
        models["native, inlined"] = inline(models.pop("native"))
    inputs = np.random.default_rng(SEED).standard_normal((CLIENTS, *SHAPE), np.float32)
    inputs.tofile(folder / "inputs.bin")
    expected = [run_model(models["original"], {INPUT: x})[0].ravel() for x in inputs]
    np.concatenate(expected).tofile(folder / "expected.bin")
    serve = _choose_server(runtime, folder)
    outputs = [folder / f"{number}.bin" for number in range(len(models))]
    with ExitStack() as stack:
        pairs = zip(models.values(), outputs, strict=True)
        jobs = [Job(model, INPUT, SHAPE, folder / "inputs.bin", out) for model, out in pairs]
        loads = load_in_turn([stack.enter_context(serve(job)) for job in jobs], REQUESTS, ROUNDS)
    differences = [compare_outputs(folder / "expected.bin", out) for out in outputs]
    rows = [describe_load(*each) for each in zip(models, loads, differences, strict=True)]
    if faults := [fault for row in rows for fault in find_faults(row)]:
        raise LoadError("; ".join(faults))
    return {"version": loads[0].version, "clients": CLIENTS, "requests": REQUESTS, "rows": rows}


def _choose_server(runtime: str, folder: Path) -> Callable[[Job], AbstractContextManager[Ask]]:
    if runtime == "http":
        return serve_http
    if runtime == "node":
        return lambda job: serve_node(job, MODULES)
    program = build_program(folder)
    return lambda job: serve_c(job, program)


def measure(part: str, folder: Path) -> dict[str, Any]:
    """One part, with where and when it was measured, as plain JSON types. Raises LoadError."""
    before = os.getloadavg()[0]
    if part == "cluster":
        models = write_models(folder)
        found = measure_cluster({name: models[name] for name in ("original", "native")}, INPUT, SHAPE, folder)
    else:
        found = measure_loads(part, folder)
    return {
        "model": f"{MODEL.stem}, {INPUT} {'x'.join(map(str, SHAPE))}",
        "cpu": f"{cpu_model()}, {os.cpu_count() or 1} logical cores",
        "date": date.today().isoformat(),
        "load_before_and_after": [round(value, 1) for value in (before, os.getloadavg()[0])],
        **found,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one part, and write its results and the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", choices=("c", "node", "http", "cluster"))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="onnx-fft-") as scratch:
        try:
            found = measure(options.part, Path(scratch))
        except LoadError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    (RESULTS / f"{options.part}.json").write_text(json.dumps(found, indent=1) + "\n")
    for block, lines in render(RESULTS).items():
        write_block(PAGE, block, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
