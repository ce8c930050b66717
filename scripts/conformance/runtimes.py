"""The runtimes of the conformance matrix, each in an environment of its own that `scripts/conformance/run.sh` makes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.conformance.browser import BrowserError, run_page

FOLDER = Path(__file__).resolve().parent
LIMIT_S = 300.0
"""A runtime that takes longer for all cases has failed the rest of them; most take a few seconds."""
NODE, WEB = "onnxruntime-node", "onnxruntime-web"
MODULES = "node_modules"


@dataclass(frozen=True, slots=True)
class Runtime:
    """A row of the matrix. `environment` is its folder among the environments, "" for the Python that runs this.

    `suffix` follows the version in print.
    """

    key: str
    engine: str
    environment: str = ""
    suffix: str = ""


RUNTIMES: tuple[Runtime, ...] = (
    Runtime("oldest", "onnxruntime", "oldest", ", the oldest supported"),
    Runtime("newest", "onnxruntime"),
    Runtime("reference", "reference", suffix=", its ReferenceEvaluator"),
    Runtime("openvino", "openvino", "openvino", ", CPU plugin"),
    Runtime("node", NODE, MODULES),
    Runtime("web", WEB, MODULES, ", WASM"),
)


class MissingRuntime(RuntimeError):
    """An environment is missing, or the runtime did not start in it."""


def run_runtime(runtime: Runtime, environments: Path, folder: Path, out: Path) -> tuple[str, list[dict[str, Any]]]:
    """The version that ran, and a line for each entry it reached. Raises MissingRuntime."""
    out.mkdir()
    if runtime.engine == WEB:
        complaint = _run_web(environments, folder, out)
    else:
        complaint = _run_process(_make_command(runtime, environments, folder, out))
    if complaint:
        print(f"{runtime.key}: {complaint}", file=sys.stderr)
    results = out / "results.jsonl"
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    if not lines:
        raise MissingRuntime(f"{runtime.engine} ({runtime.key}) did not start; scripts/conformance/run.sh sets it up")
    return str(lines[0]["version"]), lines[1:]


def find_dist(environments: Path) -> Path:
    """The folder of onnxruntime-web that the browser loads. Raises MissingRuntime."""
    dist = environments / MODULES / WEB / "dist"
    if not dist.is_dir():
        raise MissingRuntime(f"{dist} is missing; expected {WEB}; scripts/conformance/run.sh sets it up")
    return dist


def _make_command(runtime: Runtime, environments: Path, folder: Path, out: Path) -> list[str]:
    environment = environments / runtime.environment
    if runtime.engine == NODE:
        return ["node", str(FOLDER / "node.mjs"), str(environment), str(folder), str(out)]
    python = str(environment / "bin" / "python") if runtime.environment else sys.executable
    return [python, "-P", str(FOLDER / "worker.py"), runtime.engine, str(folder), str(out)]


def _run_process(command: Sequence[str]) -> str:
    """Run the command to its end; returns what it said if it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except OSError as error:
        return str(error)
    except subprocess.TimeoutExpired:
        return f"took more than {LIMIT_S:.0f} s"
    return "" if done.returncode == 0 else done.stderr[-2000:] or f"ended with code {done.returncode}"


def _run_web(environments: Path, folder: Path, out: Path) -> str:
    try:
        run_page(find_dist(environments), folder, out, timeout_s=LIMIT_S)
    except BrowserError as error:
        return str(error)
    return ""
