"""Measures random convolutions on this machine and fits the cost model's constants to them.

    python -m scripts.bench.calibrate measure   # about 25 minutes; writes scripts/bench/results/calibration.jsonl
    python -m scripts.bench.calibrate fit       # writes onnx_fft/cost/calibration.json, prints the accuracy
    python -m scripts.bench.calibrate again     # measures what something else disturbed once more; then fit again
    python -m scripts.bench.calibrate native    # about 5 minutes; writes results/calibration_native.jsonl

`measure` draws convolutions from a grid of real-world sizes (seeded) and times, interleaved on one thread pool, ONNX
Runtime's Conv, the two `matmul` plans that the present rates like best, and the best `dft` plan if that is not
hopeless. `fit` finds the seconds that one of everything counted takes; on each fifth of the convolutions, with rates
fitted on the others, it says how often the model's favourite is the fastest of all options measured, or within 10% of
it, and whether anything that `auto` would replace loses. `again` is for convolutions of which every option, Conv
included, was much slower than predicted: then it was not the option. Of the two measurements it keeps the one with the
faster Conv. `native` times Conv and the native library on some other convolutions, for `native_rates`. Needs SciPy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
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
from scripts.shared.conv_models import build_conv_model, draw_input, draw_weights
from scripts.shared.layers import make_spec

RESULTS = Path(__file__).with_name("results") / "calibration.jsonl"
COUNT = 500
SEED = 1
NATIVE_RESULTS = RESULTS.with_name("calibration_native.jsonl")
NATIVE_COUNT = 150
NATIVE_SEED = 2
FFTCONV = ConvPlan("fftconv", ())
FLOPS = (1e6, 3e10)
"""Direct sums of fewer flops are noise, of more flops take too long."""
MAX_GROWTH_BYTES = 120 << 20
DISTURBED = 1.3
"""Every option this many times slower than predicted: something else was running."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["measure", "fit", "again", "native"])
    parser.add_argument("--count", type=int, help=f"convolutions (default: {COUNT}, for native {NATIVE_COUNT})")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.verb == "measure":
        measure(RESULTS, SEED, options.count or COUNT, options.threads, pick_plans)
    elif options.verb == "again":
        measure_again(options.threads)
    elif options.verb == "native":
        measure(NATIVE_RESULTS, NATIVE_SEED, options.count or NATIVE_COUNT, options.threads, lambda _: [FFTCONV])
    else:
        fit()


def measure(path: Path, seed: int, count: int, threads: int, pick: Callable[[ConvSpec], list[ConvPlan]]) -> None:
    """Append one line a convolution; the first line says on what machine. An interrupted run goes on where it was."""
    path.parent.mkdir(exist_ok=True)
    done = len(path.read_text().splitlines()) - 1 if path.exists() else -1
    with path.open("a") as file:
        for number, spec in zip(range(count), draw_specs(seed), strict=False):
            if number < done:
                continue
            entry, machine = measure_spec(spec, threads, pick(spec))
            if done < 0:
                file.write(json.dumps({"machine": asdict(machine), "seed": seed}) + "\n")
                done = 0
            file.write(json.dumps(entry) + "\n")
            file.flush()
            print(f"{number + 1}/{count}", flush=True)


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
    timings, machine = time_models(sources, feed, threads=threads, budget_s=1.5, custom_ops=custom_ops)
    seconds = [median(timing.samples_s) for timing in timings]
    options = [{**asdict(plan), "seconds": s} for plan, s in zip(plans, seconds[1:], strict=True)]
    return {"spec": asdict(spec), "conv_seconds": seconds[0], "plans": options}, machine


def replay(conv: ModelProto, spec: ConvSpec, plan: ConvPlan) -> ModelProto:
    """The model of one Conv, rewritten by this very plan."""
    (row,) = inspect(conv).rows
    entry = {"name": row.name, "geometry": describe_spec(spec), **asdict(plan)}
    target = next(name for name, lowerings in TARGETS.items() if plan.lowering in {each.name for each in lowerings})
    return rewrite(conv, plan={"onnx_fft_plan": VERSION, "target": target, "convs": [entry]}).model


def pick_plans(spec: ConvSpec) -> list[ConvPlan]:
    """The plans of `matmul` that look best and second best, and the best of `dft` unless it is hopeless."""
    chosen: list[ConvPlan] = []
    for lowering, count in zip(list_lowerings("standard"), (2, 1), strict=True):
        plans = [plan for plan in lowering.candidates(spec) if growth_bytes(spec, plan) <= MAX_GROWTH_BYTES]
        plans.sort(key=lambda plan: lowering_seconds(spec, plan, CALIBRATED))
        chosen += plans[:count]
    slow = 4 * min([conv_seconds(spec, CALIBRATED), *(lowering_seconds(spec, plan, CALIBRATED) for plan in chosen)])
    return [plan for plan in chosen if plan.lowering != "dft" or lowering_seconds(spec, plan, CALIBRATED) < slow]


def draw_specs(seed: int) -> Iterator[ConvSpec]:
    """Random convolutions of sizes that models have, without end."""
    rng = np.random.default_rng(seed)
    while True:
        spec = _draw_spec(rng)
        taps = prod(spec.kernel_shape) * spec.in_channels // spec.group
        extents = [extent or 0 for extent in spec.output_extents]
        flops = 2 * (spec.batch or 1) * prod(extents) * spec.out_channels * taps
        if min(extents) > 0 and FLOPS[0] < flops < FLOPS[1] and pick_plans(spec):
            yield spec


def _draw_spec(rng: np.random.Generator) -> ConvSpec:
    def pick(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    def channels() -> int:
        return int(pick(1, 3, 8, 16, 32, 64, 64, 128, 256))

    kind = pick("dense 2-D", "dense 2-D", "grouped 2-D", "3-D form", "depthwise 2-D", "depthwise 2-D", "dense 1-D",
                "dense 1-D", "depthwise 1-D", "depthwise 1-D", "3-D")  # fmt: skip
    if kind == "depthwise 2-D":
        width = int(pick(16, 32, 64, 96, 128, 256, 512))
        kernel, side = int(pick(3, 5, 7, 9, 11, 13, 17, 21, 27, 31, 41, 51)), int(pick(14, 20, 28, 56, 80, 112, 160))
        strides = (int(pick(1, 1, 1, 2)),) * 2
        return make_spec((width, width), (kernel, kernel), (side, side), group=width, strides=strides)
    if kind == "dense 1-D":
        kernel, length = (
            int(pick(15, 31, 64, 127, 255, 512, 1024, 2048)),
            int(pick(500, 1000, 4000, 8000, 16000, 48000)),
        )
        pads, stride, batch = pick("same", "causal"), int(pick(1, 1, 1, 2, 4, 16)), int(pick(1, 1, 4))
        return make_spec((channels(), channels()), (kernel,), (length,), strides=(stride,), pads=pads, batch=batch)
    if kind == "depthwise 1-D":
        width, kernel = (
            int(pick(1, 1, 2, 8, 64, 256, 512)),
            int(pick(15, 31, 64, 127, 255, 512, 1024, 2048, 4096, 16384)),
        )
        length = int(pick(500, 1000, 4000, 8000, 16000, 48000, 160000))
        return make_spec((width, width), (kernel,), (length,), group=width, pads=pick("same", "causal"))
    if kind == "3-D":
        kernel, side = int(pick(3, 5, 7, 9)), int(pick(8, 16, 32))
        return make_spec((int(pick(1, 4, 8, 16)), int(pick(1, 4, 8, 16))), (kernel,) * 3, (side,) * 3)
    kernel, side = int(pick(3, 5, 7, 9, 11, 13, 15, 21, 31)), int(pick(14, 28, 56, 80, 112, 160, 224, 256))
    shape = pick((kernel, kernel), (kernel, kernel), (kernel, kernel), (1, kernel), (kernel, 1), (3, kernel))
    group = int(pick(2, 4)) if kind == "grouped 2-D" else 1
    pair = (group * channels(), group * channels())
    if kind == "3-D form":
        return make_spec(pair, (1, *shape), (1, side, side))
    stride = int(pick(1, 1, 1, 1, 2, 4))
    return make_spec(pair, shape, (side, side), group=group, strides=(stride, stride), pads=pick("same", "valid"))


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
