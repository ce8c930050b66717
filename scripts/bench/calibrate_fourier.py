"""Measures random DFTs and STFTs on this machine and fits to them the rates by which they are judged.

    python -m scripts.bench.calibrate_fourier measure   # for --seconds; writes results/calibration_fourier.jsonl
    python -m scripts.bench.calibrate_fourier again     # measures what something else disturbed once more
    python -m scripts.bench.calibrate_fourier fit       # writes onnx_fft/cost/calibration_fourier.json, and how good

`measure` draws sites from a grid of real-world sizes (seeded) and times, in turns, ONNX Runtime's own operator, every
plan of matrix products and the native library's operator; it goes on where it was. `again` is for sites of which
something took much longer than predicted, and keeps the lesser time of each. `fit` finds the seconds that one of
everything counted takes. On each fifth of the sites, with rates fitted on the others, it says what `auto` would
replace, whether any of that loses, and what share of all the time that could be saved is. Needs SciPy.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, helper, numpy_helper

import onnx_fft
from onnx_fft.cost.counts import FourierRates, Rates
from onnx_fft.cost.fourier import count_original_fourier
from onnx_fft.cost.gains import least_gain, predict_gain
from onnx_fft.cost.growth import growth_bytes
from onnx_fft.cost.lowerings import FFT, count_lowering
from onnx_fft.cost.machines import CALIBRATED, FOURIER_CALIBRATION, Machine, make_faster
from onnx_fft.cost.plan_file import TRANSFORMS, VERSION
from onnx_fft.cost.predict import lowering_seconds
from onnx_fft.host import cpu_model
from onnx_fft.lowering import NATIVE, list_lowerings
from onnx_fft.lowering.base import FourierPlan
from onnx_fft.sites.fourier import DftSpec, StftSpec, describe_fourier
from onnx_fft.sites.site import FourierSpec
from scripts.bench.fitting import FOLDS, LEAST_RATE, fit_rates, read_fields
from scripts.bench.fourier import REST_S, time_block
from scripts.bench.fourier_rows import OPSET, bind
from scripts.shared.conv_models import Array

RESULTS = Path(__file__).with_name("results") / "calibration_fourier.jsonl"
SEED = 3
STANDARD = "standard"
MAX_GROWTH_BYTES = 64 << 20
BLOCKS, BLOCK_S = 5, 0.008
SESSION_S = 3e-6
"""To start a run of a session, which a site within a model does not."""

LATE = 0.1
"""See `fit_rates`: a machine that is never quite idle."""

DISTURBED = 1.5
"""Times this many times longer than predicted are measured again."""

MOST_BUTTERFLIES = 2.5e7
"""Sites whose own operator does more take too long."""

Entry = tuple[FourierSpec, float, list[tuple[FourierPlan, float]]]
"""A site, the seconds of its own operator, and of each plan."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["measure", "again", "fit"])
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to measure (default: 300)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.verb == "measure":
        measure(options.seconds, options.threads)
    elif options.verb == "again":
        measure_again(options.seconds, options.threads)
    else:
        fit()


def measure(seconds: float, threads: int) -> None:
    """Append one line a site; the first line says on what machine."""
    end = time.monotonic() + seconds
    RESULTS.parent.mkdir(exist_ok=True)
    if not RESULTS.exists():
        machine = {"cpu": cpu_model(), "onnxruntime": ort.__version__, "threads": threads, "seed": SEED}
        RESULTS.write_text(json.dumps({**machine, "date": time.strftime("%Y-%m-%d")}) + "\n")
    done = len(RESULTS.read_text().splitlines()) - 1
    for number, spec in enumerate(draw_sites(SEED)):
        if time.monotonic() > end:
            return
        if number < done:
            continue
        entry = measure_site(spec, threads)
        with RESULTS.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(f"{number + 1}: {describe_fourier(spec)}", flush=True)


def measure_again(seconds: float, threads: int) -> None:
    """Measure sites once more whose times are the farthest above the predicted ones, and keep what is less."""
    end = time.monotonic() + seconds
    header, *lines = RESULTS.read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    machine = solve([read_entry(entry) for entry in entries])
    slow = {number: _disturbance(read_entry(entry), machine) for number, entry in enumerate(entries)}
    for number in sorted((each for each in slow if slow[each] > DISTURBED), key=lambda each: -slow[each]):
        if time.monotonic() > end:
            break
        entry, found = entries[number], measure_site(read_entry(entries[number])[0], threads)
        entry["own_seconds"] = min(entry["own_seconds"], found["own_seconds"])
        for plan, other in zip(entry["plans"], found["plans"], strict=True):
            plan["seconds"] = min(plan["seconds"], other["seconds"])
        print(f"{slow[number]:.1f} -> {_disturbance(read_entry(entry), machine):.1f}", flush=True)
    RESULTS.write_text("\n".join([header, *map(json.dumps, entries)]) + "\n")


def _disturbance(entry: Entry, machine: Machine) -> float:
    """How many times longer than predicted something of a site took, at most."""
    spec, own_s, plans = entry
    own = own_s / (count_original_fourier(spec) * machine.rates)
    return max([own, *(s / lowering_seconds(spec, plan, machine) for plan, s in plans)])


def measure_site(spec: FourierSpec, threads: int) -> dict[str, Any]:
    """Seconds of the operator and of each plan, the least of some blocks in turns: what disturbs lasts for seconds."""
    model, plans = make_model(spec), list_plans(spec)
    models = [model, *(replay(model, spec, plan) for plan in plans)]
    feed = draw_input(model)
    runs = [bind(each, feed, threads) for each in models]
    samples: list[list[float]] = [[] for _ in runs]
    for _ in range(BLOCKS):
        for run, found in zip(runs, samples, strict=True):
            time.sleep(REST_S)
            found.append(time_block(run, BLOCK_S))
    own_s, *seconds = map(min, samples)
    options = [{**asdict(plan), "seconds": s} for plan, s in zip(plans, seconds, strict=True)]
    return {"kind": type(spec).__name__, "spec": asdict(spec), "own_seconds": own_s, "plans": options}


def list_plans(spec: FourierSpec) -> list[FourierPlan]:
    """All plans of matrix products whose constants are not too large, and the native library's one."""
    plans: list[FourierPlan] = []
    for target in (STANDARD, NATIVE):
        for lowering in list_lowerings(target, type(spec)):
            plans += [plan for plan in lowering.candidates(spec) if growth_bytes(spec, plan) <= MAX_GROWTH_BYTES]
    return list(dict.fromkeys(plans))


def draw_input(model: ModelProto) -> Array:
    """What the model reads."""
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)


def make_model(spec: FourierSpec) -> ModelProto:
    """One node."""
    constants: dict[str, Array]
    if isinstance(spec, StftSpec):
        window = np.hanning(spec.frame_length + 1)[:-1].astype(np.float32)
        constants = {"step": np.array(spec.step), "window": window, "length": np.array(spec.frame_length)}
        node = helper.make_node("STFT", ["x", *constants], ["y"], name="site", onesided=int(spec.onesided))
        shape: tuple[int | None, ...] = (spec.batch, spec.length, spec.parts)
    else:
        constants = {"length": np.array(spec.dft_length)}
        flags: dict[str, Any] = {"axis": spec.axis, "inverse": int(spec.inverse), "onesided": int(spec.onesided)}
        node = helper.make_node("DFT", ["x", *constants], ["y"], name="site", **flags)
        shape = spec.shape
    x, y = helper.make_tensor_value_info("x", 1, shape), helper.make_tensor_value_info("y", 1, None)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "site", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def replay(model: ModelProto, spec: FourierSpec, plan: FourierPlan) -> ModelProto:
    """The model rewritten by this very plan."""
    (row,) = onnx_fft.inspect(model).rows
    entry = {"name": row.name, "geometry": describe_fourier(spec), **asdict(plan)}
    target = NATIVE if plan.lowering == FFT else STANDARD
    file = {"onnx_fft_plan": VERSION, "target": target, "convs": [], TRANSFORMS: [entry]}
    return onnx_fft.rewrite(model, plan=file, validate=False).model


def draw_sites(seed: int) -> Iterator[FourierSpec]:
    """Random DFTs and STFTs of sizes that models have, without end."""
    rng = np.random.default_rng(seed)
    while True:
        spec = _draw_stft(rng) if rng.random() < 0.35 else _draw_dft(rng)
        if count_original_fourier(spec).fourier.butterflies < MOST_BUTTERFLIES and list_plans(spec):
            yield spec


def _draw_length(rng: np.random.Generator, most: int) -> int:
    kind = rng.integers(5)
    if kind < 2:
        return 1 << int(rng.integers(2, most.bit_length()))
    if kind == 2:
        return int(rng.integers(3, 65))
    return int(np.exp(rng.uniform(np.log(16), np.log(most))))


def _draw_stft(rng: np.random.Generator) -> StftSpec:
    length = int(rng.choice([100, 200, 240, 256, 320, 400, 512, 512, 640, 960, 1024, 2048, _draw_length(rng, 2048)]))
    step = max(1, length // int(rng.choice([1, 2, 3, 4, 4, 5, 8, 10])))
    batch, parts, onesided = int(rng.choice([1, 1, 2, 8])), int(rng.choice([1, 1, 1, 2])), bool(rng.random() < 0.8)
    samples = length + int(np.exp(rng.uniform(np.log(step), np.log(300_000 / batch + step))))
    return StftSpec(batch, samples, parts, length, step, onesided and parts == 1, "float32")


def _draw_dft(rng: np.random.Generator) -> DftSpec:
    length = _draw_length(rng, 65536 if rng.random() < 0.2 else 2048)
    parts, inverse = [(1, False), (1, False), (2, False), (2, True)][rng.integers(4)]
    onesided = bool(rng.random() < 0.7) and (parts == 1 or inverse)
    others = max(1, int(2.0 ** rng.uniform(0, 19)) // length)
    outer = 2 ** int(rng.integers(0, max(1, others.bit_length())))
    inner = max(1, others // outer)
    extent = length // 2 + 1 if onesided and inverse else length
    shape = (others, extent, parts) if rng.random() < 0.5 else (outer, extent, inner, parts)
    return DftSpec(shape, 1, length, inverse, onesided, "float32")


def fit() -> None:
    """Fit and judge; write all constants."""
    header, *lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    entries = [read_entry(line) for line in lines]
    judged = []
    for fold in range(FOLDS):
        machine = solve([entry for number, entry in enumerate(entries) if number % FOLDS != fold])
        judged += [(entry, machine) for entry in entries[fold::FOLDS]]
    machine = solve(entries)
    data = {
        **header,
        "sites": len(entries),
        "held_out": {target: judge(judged, target) for target in (STANDARD, NATIVE)},
        "seconds_per": {"fourier": {key: float(f"{s:.4g}") for key, s in asdict(machine.rates.fourier).items()}},
    }
    FOURIER_CALIBRATION.write_text(json.dumps(data, indent=2) + "\n")
    print(json.dumps(data, indent=2))


def solve(entries: list[Entry]) -> Machine:
    """The calibrated machine with the rates that explain these times best."""
    samples = [(count_original_fourier(spec), s) for spec, s, _ in entries]
    samples += [(count_lowering(spec, plan), s) for spec, _, plans in entries for plan, s in plans]
    counts = np.array([list(asdict(each.fourier).values()) for each, _ in samples])
    found = fit_rates(counts, np.array([s for _, s in samples]), LATE)
    rates, least = CALIBRATED.rates, FourierRates(*np.maximum(found, LEAST_RATE).tolist())
    return replace(CALIBRATED, rates=Rates(rates.operators, rates.conv, least))


def judge(judged: list[tuple[Entry, Machine]], target: str) -> dict[str, Any]:
    """What `auto` does with sites that its rates were not fitted on."""
    gains, ratios, saved, possible, left = [], [], 0.0, 0.0, 0
    for (spec, own_s, plans), machine in judged:
        ours = [(plan, s) for plan, s in plans if (plan.lowering == FFT) == (target == NATIVE)]
        if not ours:
            continue
        ratios += [lowering_seconds(spec, plan, machine) / s for plan, s in ours]
        best, best_s = min(ours, key=lambda pair: lowering_seconds(spec, pair[0], machine))
        possible += max(0.0, own_s - min(s for _, s in ours))
        if predict_gain(spec, best, (machine, make_faster(machine))) >= least_gain(target):
            gains.append(own_s / best_s)
            saved += own_s - best_s
        else:
            left += own_s > 1.1 * min(s for _, s in ours)
    return {
        "sites": len(judged),
        "predicted_over_measured": [round(float(each), 2) for each in np.percentile(ratios, [1, 10, 50, 90, 99])],
        "auto_replaces": len(gains),
        "auto_slower_than_0.97": sum(gain < 0.97 for gain in gains),
        "auto_least_speed": round(min(gains), 2),
        "auto_median_speed": round(median(gains), 2),
        "left_though_faster_by_a_tenth": left,
        "share_of_the_time_that_could_be_saved": round(saved / possible, 4),
    }


def read_entry(entry: dict[str, Any]) -> Entry:
    """One line."""
    fields = read_fields(entry["spec"])
    spec: FourierSpec = StftSpec(**fields) if entry["kind"] == StftSpec.__name__ else DftSpec(**fields)
    plans = [
        (FourierPlan(each["lowering"], tuple(each["lengths"])), _in_model(each["seconds"])) for each in entry["plans"]
    ]
    return spec, _in_model(entry["own_seconds"]), plans


def _in_model(seconds: float) -> float:
    """What a site takes between others, of what a session of it alone takes."""
    return max(seconds - SESSION_S, seconds / 4)


if __name__ == "__main__":
    main()
