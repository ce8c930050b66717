"""The options that both bench scripts have, and the results written to the files these name."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnx_fft.lowering import TARGETS
from scripts.shared.tables import Table


def make_parser(description: str, *, budget_s: float) -> argparse.ArgumentParser:
    """A parser with the options both scripts have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--select", metavar="REGEX", default="", help="only rows whose name matches")
    parser.add_argument("--threads", type=int, default=2, help="threads of ONNX Runtime's pool (default: 2)")
    parser.add_argument("--budget", type=float, default=budget_s, metavar="S", help="seconds of timed runs a row")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements to this file")
    parser.add_argument(
        "--target",
        choices=tuple(TARGETS),
        default="standard",
        help="what the models are rewritten for (default: standard)",
    )
    return parser


def write_results(
    options: argparse.Namespace, title: str, header: Sequence[str], table: Table, rest: Sequence[str]
) -> None:
    """Print the table, and write it as Markdown if that was asked for."""
    print("\n".join([*header, "", *table.to_markdown(), "", *rest]))
    if options.markdown is not None:
        lines = [f"# {title}", "", *(f"{line}  " for line in header), "", *table.to_markdown(), ""]
        options.markdown.write_text("\n".join([*lines, *(f"- {line}" for line in rest)]) + "\n")


def write_json(options: argparse.Namespace, content: dict[str, Any]) -> None:
    """Write the measurement as JSON if that was asked for."""
    if options.json is not None:
        options.json.write_text(json.dumps(content, indent=2) + "\n")
