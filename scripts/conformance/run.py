"""Where rewritten models run: every lowering on every runtime, against float64.

    bash scripts/conformance/run.sh            # sets up the runtimes, runs the matrix, writes the results and the page
    bash scripts/conformance/run.sh --speed    # also measures the speed in the browser again
    bash scripts/conformance/run.sh --check    # writes nothing; exit code 1 if a case deviates from the committed table

`cases.py` has the cases, `truth.py` the truth, and `judge.py` says what counts as right. Each runtime has its own
environment under --environments: `oldest` and `openvino` are virtual environments, and `node_modules` holds what
`package.json` names. The Python that runs this has the newest ONNX Runtime and onnx.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.conformance.browser import BrowserError
from scripts.conformance.cases import collect_cases, write_cases
from scripts.conformance.judge import judge
from scripts.conformance.runtimes import RUNTIMES, MissingRuntime, find_dist, run_runtime
from scripts.conformance.speed import time_pairs
from scripts.conformance.table import find_deviations, render
from scripts.shared.blocks import write_block
from scripts.shared.paths import CACHE

PAGE = Path(__file__).with_name("README.md")
JSON = Path(__file__).with_name("results") / "conformance.json"
MARKDOWN = JSON.with_suffix(".md")


def run_matrix(environments: Path, scratch: Path) -> dict[str, Any]:
    """Every cell, as plain JSON types. Raises MissingRuntime."""
    folder = scratch / "cases"
    folder.mkdir()
    entries, truths = write_cases(folder, collect_cases())
    versions, cells = {}, []
    for runtime in RUNTIMES:
        print(f"{runtime.key} ...", file=sys.stderr)
        out = scratch / runtime.key
        versions[runtime.key], lines = run_runtime(runtime, environments, folder, out)
        cells += [cell.to_dict() for cell in judge(runtime.key, entries, lines, truths, out)]
    return {"versions": versions, "cases": list(truths), "cells": cells}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix; 1 if a case deviates under --check, 2 if a runtime is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--environments",
        type=Path,
        default=CACHE / "conformance",
        metavar="FOLDER",
        help="made by scripts/conformance/run.sh",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare with the committed table instead of writing it")
    what.add_argument("--speed", action="store_true", help="also measure the speed in the browser again")
    options = parser.parse_args(arguments)
    committed = json.loads(JSON.read_text())
    with tempfile.TemporaryDirectory(prefix="onnx-fft-") as scratch:
        folder = Path(scratch)
        try:
            speed = (
                time_pairs(find_dist(options.environments), folder / "speed") if options.speed else committed["speed"]
            )
            found = {**run_matrix(options.environments, folder), "speed": speed}
        except (MissingRuntime, BrowserError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    print(render(found))
    if options.check:
        deviations = find_deviations(found, committed)
        print("\n".join(deviations) or "every cell is as in the committed table", file=sys.stderr)
        return 1 if deviations else 0
    JSON.write_text(json.dumps(found, indent=1) + "\n")
    MARKDOWN.write_text(render(found))
    write_block(PAGE, "conformance", render(found).splitlines())
    return 0


if __name__ == "__main__":
    sys.exit(main())
