"""What the bench scripts share: options, header lines, Markdown, and where the results go."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from onnx_fft.doctor import examine
from onnx_fft.errors import NativeUnavailable
from onnx_fft.lowering import TARGETS
from onnx_fft.report.sentences import describe_host
from onnx_fft.runtime.cuda import check_cuda
from onnx_fft.timing.launch import Host
from onnx_fft.timing.stats import Ratio

LEFT_ALONE = "left alone"
"""In place of a ratio, where nothing was replaced."""

METHOD = (
    "Times are medians of interleaved runs in one process on ONNX Runtime's global thread pool; a ratio is original "
    "over rewritten, of medians (below 1 is a loss), with a bootstrapped 95% interval."
)


@dataclass(frozen=True, slots=True)
class Table:
    """Column titles and rows of text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> list[str]:
        """A Markdown table, numbers to the right: every column but the first."""
        rule = ["---", *("---:" for _ in self.columns[1:])]
        return [f"| {' | '.join(cells)} |" for cells in (self.columns, rule, *self.rows)]


def make_parser(description: str, *, budget_s: float) -> argparse.ArgumentParser:
    """A parser with the options both scripts have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--select", metavar="REGEX", default="", help="only rows whose name matches")
    parser.add_argument("--threads", type=int, default=2, help="threads of ONNX Runtime's pool (default: 2)")
    parser.add_argument("--budget", type=float, default=budget_s, metavar="S", help="seconds of timed runs a row")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    return parser


def add_target(parser: argparse.ArgumentParser) -> None:
    """The option that says what the models are rewritten for."""
    parser.add_argument(
        "--target", choices=tuple(TARGETS), default="standard", help="what models are rewritten for (default: ort)"
    )


def describe_target(target: str) -> list[str]:
    """Header lines: which kernels of the native library run, what the GPU is timed with.

    Raises NativeUnavailable or CudaUnavailable where what the target needs does not run here.
    """
    if target == "cuda":
        check_cuda("to time layers on")
        return ["CUDA provider with its defaults (TF32 where the GPU has it); inputs and outputs stay on the GPU"]
    if target != "native":
        return []
    found = examine()
    if found.problem:
        raise NativeUnavailable(found.problem)
    return [f"Native library with its {found.isa} kernels, which passed the self-test of `onnx-fft doctor`"]


def refuse(problem: str) -> int:
    """Print the error; the exit code of a script that cannot begin."""
    print(f"error: {problem}", file=sys.stderr)
    return 2


def describe_run(machines: Sequence[Host], seed: int) -> list[str]:
    """The header: machine (of `machines`, one a row, the busiest), versions, threads, date, seed, and the method."""
    busiest = sorted(machines, key=lambda machine: -(machine.busy_cores or 0.0))[:1]
    versions = ", ".join(f"{package} {version(package)}" for package in ("onnx-fft", "onnx", "numpy"))
    return [*(describe_host(machine) for machine in busiest), f"{versions}; seed {seed}", METHOD]


def write_results(
    options: argparse.Namespace, title: str, header: Sequence[str], table: Table, rest: Sequence[str]
) -> None:
    """Print the table, and write it as Markdown where that was asked for."""
    print("\n".join([*header, "", *table.to_markdown(), "", *rest]))
    if options.markdown is not None:
        lines = [f"# {title}", "", *(f"{line}  " for line in header), "", *table.to_markdown(), ""]
        options.markdown.write_text("\n".join([*lines, *(f"- {line}" for line in rest)]) + "\n")


def write_json(options: argparse.Namespace, content: dict[str, Any]) -> None:
    """Write the measurement as JSON where that was asked for."""
    if options.json is not None:
        options.json.write_text(json.dumps(content, indent=2) + "\n")


def format_shapes(shapes: Mapping[str, Sequence[int]]) -> str:
    """`frame 1x3x256x256, data 1x32`."""
    return ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in shapes.items())


def format_ratio(ratio: Ratio) -> str:
    """`1.62x (1.60-1.65)`."""
    return f"{ratio.value:.2f}x ({ratio.low:.2f}-{ratio.high:.2f})"


def list_losses(ratios: Sequence[tuple[str, float]], limit: float) -> str:
    """`slower on 1 of 4 (below 0.97x): name (0.71x)`, the worst first."""
    losses = sorted((ratio, name) for name, ratio in ratios if ratio < limit)
    names = ", ".join(f"{name} ({ratio:.2f}x)" for ratio, name in losses)
    return f"slower on {len(losses)} of {len(ratios)} (below {limit:g}x): {names or 'none'}"
