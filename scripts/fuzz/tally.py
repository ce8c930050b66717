"""What a run of the fuzzer counts, and how it is told and kept."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.fuzz.tried import Outcome

KEPT = 3
"""Findings of one signature whose seeds are listed; the rest are counted."""


@dataclass
class Tally:
    """Counts of all threads. `theirs` are inputs that end onnx or ONNX Runtime without this package."""

    inputs: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)
    theirs: dict[str, list[int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, verbs: Mapping[str, Outcome]) -> None:
        """One more input, with what came of each verb."""
        with self.lock:
            self.inputs += 1
            for verb, outcome in verbs.items():
                self.outcomes.setdefault(verb, Counter()).update([outcome] if isinstance(outcome, str) else outcome)

    def find(self, seed: int, kind: str, signature: str, text: str, out: Path) -> None:
        """Note a finding; the first of each signature are kept in `out`."""
        with self.lock:
            known = self.findings.setdefault(signature, {"kind": kind, "count": 0, "seeds": []})
            known["count"] += 1
            if len(known["seeds"]) < KEPT:
                known["seeds"].append(seed)
                out.mkdir(parents=True, exist_ok=True)
                path = out / f"{seed}.txt"
                path.write_text(f"{kind}: {signature}\n\n{text}\n", encoding="utf-8", errors="replace")
        print(f"seed {seed}: {kind}: {signature}", flush=True)

    def blame_others(self, seed: int, text: str) -> None:
        """Note an input that onnx or ONNX Runtime does not survive."""
        with self.lock:
            self.theirs.setdefault(text, []).append(seed)

    def to_dict(self, kind: str, seconds: float, first_seed: int, versions: str) -> dict[str, Any]:
        """As JSON types."""
        outcomes = {verb: dict(counts.most_common()) for verb, counts in sorted(self.outcomes.items())}
        return {
            "kind": kind,
            "versions": versions,
            "first_seed": first_seed,
            "seconds": round(seconds),
            "inputs": self.inputs,
            "outcomes": outcomes,
            "findings": self.findings,
            "theirs": {text: {"count": len(seeds), "seeds": seeds[:KEPT]} for text, seeds in self.theirs.items()},
        }


def print_result(result: Mapping[str, Any]) -> None:
    """The counts in words."""
    print(f"{result['versions']}; seed {result['first_seed']}")
    print(f"{result['inputs']} inputs in {result['seconds']} s")
    for verb, counts in result["outcomes"].items():
        print(f"  {verb}: " + ", ".join(f"{outcome} {count}" for outcome, count in counts.items()))
    for text, found in result["theirs"].items():
        print(f"  onnx or ONNX Runtime alone: {text}: {found['count']}, seeds {found['seeds']}")
    for signature, found in result["findings"].items():
        print(f"  FINDING {found['kind']}: {signature}: {found['count']}, seeds {found['seeds']}")
    if not result["findings"]:
        print("  no findings")


def append_result(path: Path, result: Mapping[str, Any]) -> None:
    """Add a run to those that the file holds, for the page."""
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    path.write_text(json.dumps([*runs, result], indent=1) + "\n", encoding="utf-8")
