"""The standard target and the native library on versions of ONNX Runtime from the oldest supported to the newest.

    bash scripts/conformance/versions.sh                        # every version; writes the results and the page
    bash scripts/conformance/versions.sh --check 1.17.3 newest  # these; writes nothing; exit code 1 if a case fails

Cases, truth and judge are those of the conformance matrix (`run.py`). The library is the one that this Python has: one
file for all versions. Each version but the newest, which is this Python's, has an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx_fft.errors import NativeUnavailable
from onnx_fft.native import LIBRARY_VARIABLE, library_path
from scripts.conformance.cases import LOWERINGS, ORIGINAL, WITH_LIBRARY, Entry, collect_cases, write_cases
from scripts.conformance.judge import Cell, judge
from scripts.conformance.runtimes import MissingRuntime, Runtime, run_runtime
from scripts.conformance.table import print_note
from scripts.shared.blocks import write_block
from scripts.shared.paths import CACHE
from scripts.shared.runs import refuse
from scripts.shared.tables import Table

PAGE = Path(__file__).with_name("README.md")
JSON = Path(__file__).with_name("results") / "versions.json"
NEWEST = "newest"
VERSIONS = ("1.17.3", "1.18.1", "1.20.1", "1.22.1", "1.24.4", "1.26.0", "1.28.0", "1.30.0", NEWEST)
COLUMNS = (ORIGINAL, *LOWERINGS, WITH_LIBRARY)
Truths = dict[str, list[Any]]


def judge_version(version: str, environments: Path, scratch: Path, entries: list[Entry], truths: Truths) -> list[Cell]:
    """The cells of one version, its own number in each. Raises MissingRuntime."""
    environment = "" if version == NEWEST else f"onnxruntime-{version}"
    fftconv = [replace(entry, lowering=WITH_LIBRARY) for entry in entries if entry.lowering == "fftconv"]
    cells = []
    for engine, chosen in (("onnxruntime", entries), ("native", fftconv)):
        out = scratch / f"{version}-{engine}"
        ran, lines = run_runtime(Runtime(version, engine, environment), environments, scratch / "cases", out)
        cells += judge(ran, chosen, lines, truths, out)
    return cells


def run_versions(versions: Sequence[str], environments: Path, scratch: Path) -> Iterator[Cell]:
    """The cells of all versions, in order. Raises MissingRuntime."""
    (scratch / "cases").mkdir()
    entries, truths = write_cases(scratch / "cases", collect_cases())
    for version in versions:
        print(f"onnxruntime {version} ...", file=sys.stderr)
        yield from judge_version(version, environments, scratch, entries, truths)


def render(cells: Sequence[Cell]) -> list[str]:
    """The table: a row for each version, how many cases came out right in each column; and the gaps that are known."""
    rows: dict[str, dict[str, str]] = {}
    for cell in cells:
        right = f"all {cell.total}" if not cell.failures else f"**{cell.passed} of {cell.total}**"
        rows.setdefault(cell.runtime, {})[cell.lowering] = right
    titles = ("version", ORIGINAL, *(f"`{lowering}`" for lowering in LOWERINGS), "`fftconv` with the library")
    lines = tuple((version, *(row.get(name, "") for name in COLUMNS)) for version, row in rows.items())
    notes = dict.fromkeys(print_note(known) for cell in cells for known in cell.find_known())
    return [*Table(titles, lines).to_markdown(), *(line for note in notes for line in ("", note))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the versions; 1 if a case fails for no known reason, 2 if an environment or the library is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"of {', '.join(VERSIONS)} (default: all)")
    parser.add_argument("--environments", type=Path, default=CACHE / "conformance", metavar="FOLDER")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--list", action="store_true", help="print the versions that need an environment, run nothing")
    options = parser.parse_args(arguments)
    versions = options.versions or VERSIONS
    if options.list:
        print("\n".join(version for version in versions if version != NEWEST))
        return 0
    with tempfile.TemporaryDirectory(prefix="onnx-fft-") as scratch:
        try:
            os.environ[LIBRARY_VARIABLE] = str(library_path())
            cells = list(run_versions(versions, options.environments, Path(scratch)))
        except (MissingRuntime, NativeUnavailable) as error:
            return refuse(str(error))
    print("\n".join(render(cells)))
    failures = [
        f"{cell.runtime}, {cell.lowering}: {case}: {why}"
        for cell in cells
        for case, why in cell.list_unexplained().items()
    ]
    print("\n".join(failures) or "every case is right, or fails for a reason that is known", file=sys.stderr)
    if not options.check:
        JSON.write_text(json.dumps([cell.to_dict() for cell in cells], indent=1) + "\n")
        write_block(PAGE, "versions", render(cells))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
