"""Measures random convolutions on this machine and fits the cost model's constants to them.

    python -m scripts.bench.calibrate measure   # about 25 minutes; writes scripts/bench/results/calibration.jsonl
    python -m scripts.bench.calibrate fit       # writes onnx_fft/cost/calibration.json, prints the accuracy
    python -m scripts.bench.calibrate again     # measures what something else disturbed once more; then fit again

`measure` draws convolutions from a grid of real-world sizes (seeded) and times, interleaved on one thread pool, ONNX
Runtime's Conv, the two `matmul` plans that the present rates like best, and the best `dft` plan if that is not
hopeless. `fit` finds the seconds that one of everything counted takes; on each fifth of the convolutions, with rates
fitted on the others, it says how often the model's favourite is the fastest of all options measured, or within 10% of
it, and whether anything that `auto` would replace loses. `again` is for convolutions of which every option, Conv
included, was much slower than predicted: then it was not the option. Of the two measurements it keeps the one with the
faster Conv. Needs SciPy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from onnx import ModelProto

from onnx_fft.cost.growth import growth_bytes
from onnx_fft.cost.machines import CALIBRATED, CALIBRATION
from onnx_fft.cost.plan_file import VERSION
from onnx_fft.cost.predict import conv_seconds, lowering_seconds
from onnx_fft.lowering import TARGETS, list_lowerings
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.model.io import load_model
from onnx_fft.native import library_path
from onnx_fft.rewrite import inspect, rewrite
from onnx_fft.sites.spec import ConvSpec, describe_spec
from onnx_fft.timing.launch import time_models
from scripts.bench.fitting import fit_cases, read_cases, read_entry
from scripts.bench.random_convs import draw_large
from scripts.shared.conv_models import build_conv_model, draw_input, draw_weights

RESULTS = Path(__file__).with_name("results") / "calibration.jsonl"
COUNT = 500
SEED = 1
FFTCONV = ConvPlan("fftconv", ())
MAX_GROWTH_BYTES = 120 << 20
DISTURBED = 1.3
"""Every option this many times slower than predicted: something else was running."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["measure", "fit", "again"])
    parser.add_argument("--count", type=int, default=COUNT, help=f"convolutions (default: {COUNT})")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.verb == "measure":
        specs = (spec for spec in draw_large(SEED) if pick_plans(spec))
        measure(RESULTS, SEED, islice(specs, options.count), options.threads, pick_plans)
    elif options.verb == "again":
        measure_again(options.threads)
    else:
        fit()


def measure(
    path: Path, seed: int, specs: Iterator[ConvSpec], threads: int, pick: Callable[[ConvSpec], list[ConvPlan]]
) -> None:
    """Append one line a convolution; the first line says on what machine. An interrupted run goes on where it was."""
    path.parent.mkdir(exist_ok=True)
    done = len(path.read_text().splitlines()) - 1 if path.exists() else -1
    with path.open("a") as file:
        for number, spec in enumerate(specs):
            if number < done:
                continue
            entry, machine = measure_spec(spec, threads, pick(spec))
            if done < 0:
                file.write(json.dumps({"machine": asdict(machine), "seed": seed}) + "\n")
                done = 0
            file.write(json.dumps(entry) + "\n")
            file.flush()
            print(f"{number + 1}: {describe_spec(spec)}", flush=True)


def measure_again(threads: int) -> None:
    """Measure disturbed convolutions once more, keep the quieter measurement, write the file as a whole."""
    header, *entries = RESULTS.read_text().splitlines()
    for number, line in enumerate(entries):
        spec, conv_s, plans = read_entry(json.loads(line))
        slow = [conv_s / conv_seconds(spec, CALIBRATED)]
        slow += [s / lowering_seconds(spec, plan, CALIBRATED) for plan, s in plans]
        if min(slow) > DISTURBED:
            entry, _ = measure_spec(spec, threads, pick_plans(spec))
            print(f"{describe_spec(spec)}: Conv {conv_s:.2e} s, now {entry['conv_seconds']:.2e} s", flush=True)
            if entry["conv_seconds"] < conv_s:
                entries[number] = json.dumps(entry)
    RESULTS.write_text("\n".join([header, *entries]) + "\n")


def measure_spec(spec: ConvSpec, threads: int, plans: list[ConvPlan]) -> tuple[dict[str, Any], Any]:
    """Seconds of Conv and of each plan, medians of interleaved rounds."""
    conv = build_conv_model(spec, *draw_weights(spec, SEED))
    sources = [load_model(model) for model in (conv, *(replay(conv, spec, plan) for plan in plans))]
    custom_ops = [library_path()] if FFTCONV in plans else []
    feed = {"x": draw_input(spec, SEED)}
    timings, machine = time_models(sources, feed, threads=threads, budget_s=1.5, custom_ops=custom_ops, in_place=True)
    seconds = [median(timing.samples_s) for timing in timings]
    options = [{**asdict(plan), "seconds": s} for plan, s in zip(plans, seconds[1:], strict=True)]
    return {"spec": asdict(spec), "conv_seconds": seconds[0], "plans": options}, machine


def replay(conv: ModelProto, spec: ConvSpec, plan: ConvPlan) -> ModelProto:
    """The model of one Conv, rewritten by this very plan."""
    (row,) = inspect(conv).rows
    entry = {"name": row.name, "geometry": describe_spec(spec), **asdict(plan)}
    target = next(name for name, lowerings in TARGETS.items() if plan.lowering in {each.name for each in lowerings})
    return rewrite(conv, plan={"onnx_fft_plan": VERSION, "target": target, "convs": [entry]}, validate=False).model


def pick_plans(spec: ConvSpec) -> list[ConvPlan]:
    """The plans of `matmul` that look best and second best, and the best of `dft` unless it is hopeless."""
    chosen: list[ConvPlan] = []
    for lowering, count in zip(list_lowerings("standard"), (2, 1), strict=True):
        plans = [plan for plan in lowering.candidates(spec) if growth_bytes(spec, plan) <= MAX_GROWTH_BYTES]
        plans.sort(key=lambda plan: lowering_seconds(spec, plan, CALIBRATED))
        chosen += plans[:count]
    slow = 4 * min([conv_seconds(spec, CALIBRATED), *(lowering_seconds(spec, plan, CALIBRATED) for plan in chosen)])
    return [plan for plan in chosen if plan.lowering != "dft" or lowering_seconds(spec, plan, CALIBRATED) < slow]


def fit() -> None:
    """Fit and judge the lowerings of plain ONNX Runtime; write all constants."""
    header, cases = read_cases(RESULTS)
    rates, accuracy = fit_cases(cases)
    data = {
        **header["machine"],
        "convolutions": len(cases),
        "accuracy": accuracy,
        "seconds_per": {
            family: {key: float(f"{value:.4g}") for key, value in found.items()}
            for family, found in asdict(rates).items()
            if any(found.values())  # those of `calibrate_fourier` have a file of their own
        },
    }
    CALIBRATION.write_text(json.dumps(data, indent=2) + "\n")
    print(json.dumps(data, indent=2))


if __name__ == "__main__":
    main()
