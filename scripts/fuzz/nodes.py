"""Random nodes of the native library in ONNX Runtime: several sessions at once, some of them with nodes that are wrong.

    bash scripts/fuzz/native.sh --seconds 3600

That script builds the library with the address and undefined sanitizers and runs this module under them. Every input is
a set of sessions that are opened, run by several threads and closed at the same time. Results of valid nodes are held
against the definition in float64; invalid ones have to end in an error of ONNX Runtime.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import onnxruntime

from onnx_fft.native import register
from scripts.fuzz.conv_nodes import draw_conv, draw_matmul, draw_stft_by_conv, draw_transposed
from scripts.fuzz.driver import run
from scripts.fuzz.fourier_nodes import draw_dft, draw_stft
from scripts.fuzz.scenario import Scenario, build
from scripts.fuzz.tried import Tell, Tried

KINDS = (
    *(draw_conv, draw_conv, draw_conv, draw_transposed, draw_transposed),
    *(draw_stft_by_conv, draw_matmul, draw_stft, draw_dft),
)


def draw_scenario(rng: Random) -> Scenario:
    """Any node of the library, constant weights or not, open shapes or not."""
    scenario = rng.choice(KINDS)(rng)
    build(scenario, rng)
    return scenario


def try_scenarios(seed: int, _folder: Path, tell: Tell) -> Tried:
    """Open, run and close sessions in several threads at once; crashes end the process."""
    tell("draw")
    rng, tried, lock = Random(seed), Tried(seed), threading.Lock()
    scenarios = [draw_scenario(rng) for _ in range(rng.randint(1, 4))]
    outcomes: list[str] = []
    tell("run")

    def serve_scenario(scenario: Scenario, order: int) -> None:
        for _ in range(order % 2 + 1):
            outcome, wrong = _run_scenario(scenario, Random(seed + order))
            with lock:
                outcomes.append(outcome)
                if wrong:
                    tried.find("differs", "a node computes something else", f"{wrong}\n{scenario.model.graph.node}")

    threads = [threading.Thread(target=serve_scenario, args=pair) for pair in zip(scenarios, range(9), strict=False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tried.verbs["session"] = dict(Counter(outcomes))
    return tried


def _run_scenario(scenario: Scenario, rng: Random) -> tuple[str, str]:
    """What came of it, and what is wrong, if anything is."""
    options = register(onnxruntime.SessionOptions())
    options.log_severity_level = 4
    options.intra_op_num_threads = rng.choice((1, 2, 5))
    try:
        session = onnxruntime.InferenceSession(scenario.model.SerializeToString(), options)
    except Exception as error:  # ORT's exceptions have no common base
        is_right = scenario.fault or not scenario.fits(scenario.feeds[0]["x"])  # which may be a shape that is fixed
        return "refused by the session", "" if is_right else f"a valid node is refused: {error}"
    wrong: list[str] = []
    threads = [threading.Thread(target=_run_feeds, args=(session, scenario, wrong)) for _ in range(rng.choice((1, 3)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ("ran with a fault" if scenario.fault else "ran"), "; ".join(wrong[:1])


def _run_feeds(session: Any, scenario: Scenario, wrong: list[str]) -> None:
    for feed in scenario.feeds:
        try:
            (y,) = session.run(None, feed)
        except Exception as error:
            if not scenario.fault and scenario.fits(feed["x"]):
                wrong.append(f"on {feed['x'].shape}: {error}")
            continue
        if not scenario.fault and (problem := scenario.judge(feed, y)):
            wrong.append(f"on {feed['x'].shape}: {problem}")


if __name__ == "__main__":
    sys.exit(run(__doc__, "nodes"))
