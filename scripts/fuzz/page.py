"""The results on the page: what the runs in `results/runs.json` tried, and what came of it.

python -m scripts.fuzz.page
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.shared.blocks import write_block
from scripts.shared.tables import Table

PAGE = Path(__file__).with_name("README.md")
JSON = Path(__file__).with_name("results") / "runs.json"
INPUTS = {
    "models": "models",
    "wild": "sets of 100 convolutions in the test driver",
    "nodes": "sets of up to four sessions",
}
"""By kind of run, what its inputs are."""

Run = Mapping[str, Any]


def load_runs() -> list[Run]:
    """The runs that were kept, the oldest first."""
    runs: list[Run] = json.loads(JSON.read_text(encoding="utf-8"))
    return runs


def render(runs: Sequence[Run]) -> list[str]:
    """The block: how many inputs of each kind, what came of each verb, and findings."""
    kinds = {kind: [run for run in runs if run["kind"] == kind] for kind in INPUTS}
    rows = [row for chosen in kinds.values() for row in _list_outcomes(chosen)]
    theirs, findings = _count(runs, "theirs"), _count(runs, "findings")
    return [
        *(_describe(INPUTS[kind], chosen) for kind, chosen in kinds.items()),
        "",
        *Table(("step", "what came of it"), tuple(rows)).to_markdown(),
        "",
        f"Models that onnx or ONNX Runtime alone does not survive: {sum(theirs.values())}. Findings, and how often:",
        "",
        *([f"- {signature}: {count}" for signature, count in findings.items()] or ["- none"]),
    ]


def _describe(inputs: str, runs: Sequence[Run]) -> str:
    tried, minutes = sum(run["inputs"] for run in runs), sum(run["seconds"] for run in runs) / 60
    seeds = ", ".join(str(run["first_seed"]) for run in runs)
    return f"- {tried:,} {inputs} in {minutes:.0f} minutes; first seeds: {seeds}"


def _list_outcomes(runs: Sequence[Run]) -> list[tuple[str, str]]:
    outcomes: dict[str, Counter[str]] = {}
    for run in runs:
        for verb, counts in run["outcomes"].items():
            outcomes.setdefault(verb, Counter()).update(counts)
    return [
        (verb, ", ".join(f"{outcome} {count:,}" for outcome, count in counts.most_common()))
        for verb, counts in outcomes.items()
    ]


def _count(runs: Sequence[Run], what: str) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for run in runs:
        counted.update({text: found["count"] for text, found in run[what].items()})
    return dict(counted)


if __name__ == "__main__":
    write_block(PAGE, "results", render(load_runs()))
