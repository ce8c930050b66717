"""How right the library's predictions are of STFTs and inverse STFTs that are written as other operators.

    python -m scripts.bench.calibrate_frames measure FILE   # for --seconds; goes on where it was
    python -m scripts.bench.calibrate_frames judge FILE     # by this machine's rates

`measure` draws Convs, pointwise Convs, MatMuls and ConvTransposes by a windowed DFT basis (seeded), and ConvTransposes
of other weights, and times ONNX Runtime's operator beside a node that never leaves anything to it. `judge` says for
each kind how many times as long as measured both were predicted, what `auto` takes, and what of that loses. The
constants are in `frames.cpp`, `overlap.cpp`, `fourier_plan.cpp` and `ort_cost.cpp` of onnx_fft/native/planner, and in
onnx_fft/cost/frames.py. Needs SciPy.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, helper, numpy_helper

import onnx_fft
from onnx_fft.cost.frames import fftmatmul_seconds
from onnx_fft.cost.gains import LEAST_GAIN, MIN_GAIN_NATIVE, predict_gain
from onnx_fft.cost.lowerings import FFT
from onnx_fft.cost.machines import CALIBRATED
from onnx_fft.cost.native import THREADS, predict_fftconv
from onnx_fft.cost.predict import original_seconds
from onnx_fft.host import cpu_model
from onnx_fft.lowering.base import FourierPlan, Plan
from onnx_fft.native.planning import Rates, find_basis_length
from onnx_fft.native.profile import find_rates
from onnx_fft.sites.fourier import MatMulSpec
from onnx_fft.sites.site import describe_site
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec
from scripts.bench.calibrate import FFTCONV
from scripts.bench.calibrate_native import CONV_UNITS, rule_out
from scripts.bench.fitting import read_fields
from scripts.bench.fourier import REST_S, time_block
from scripts.bench.fourier_rows import OPSET, bind
from scripts.shared.conv_models import Array

SEED = 1
BLOCKS, BLOCK_S = 6, 0.025
MOST_FLOPS, MOST_SAMPLES = 5e9, 6_000_000
"""Of the operator's own products, and of all frames together: what does more takes too long."""

FrameSpec = ConvSpec | MatMulSpec | ConvTransposeSpec
Site = tuple[FrameSpec, Array]
"""What a node computes, and its weight."""
Draw = Callable[[np.random.Generator], Site | None]
Case = tuple[str, FrameSpec, float, float]
"""A kind, a site of it, and the seconds of ONNX Runtime's operator and of the library's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["measure", "judge"])
    parser.add_argument("file", type=Path, help="of measurements, JSON lines")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to measure (default: 300)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the sites (default: {SEED})")
    options = parser.parse_args()
    if options.verb == "measure":
        with rule_out(CONV_UNITS):
            measure(options.file, options.seconds, options.threads, options.seed)
    else:
        judge(options.file)


def measure(path: Path, seconds: float, threads: int, seed: int) -> None:
    """Append one line a site; the first line says on what machine."""
    end = time.monotonic() + seconds
    if not path.exists():
        machine = {"cpu": cpu_model(), "onnxruntime": ort.__version__, "threads": threads, "seed": seed}
        path.write_text(json.dumps({**machine, "date": time.strftime("%Y-%m-%d")}) + "\n", encoding="utf-8")
    done = len(path.read_text(encoding="utf-8").splitlines()) - 1
    for number, (kind, spec, weight) in enumerate(draw_sites(seed)):
        if time.monotonic() > end:
            return
        if number < done:
            continue
        own_s, node_s = time_both(make_model(spec, weight), threads)
        line = {"kind": kind, "spec": asdict(spec), "own_seconds": own_s, "node_seconds": node_s}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def time_both(model: ModelProto, threads: int) -> tuple[float, float]:
    """Medians of blocks in turns."""
    rewritten = onnx_fft.rewrite(model, target="native", select="all", validate=False).model
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)
    runs = [bind(each, x, threads) for each in (model, rewritten)]
    samples: tuple[list[float], list[float]] = ([], [])
    for block in range(BLOCKS):
        for n in (0, 1) if block % 2 else (1, 0):
            time.sleep(REST_S)
            samples[n].append(time_block(runs[n], BLOCK_S))
    return float(np.median(samples[0])), float(np.median(samples[1]))


def make_model(spec: FrameSpec, weight: Array) -> ModelProto:
    """One node."""
    attributes: dict[str, Any] = {}
    operands, shape = ["x", "w"], []
    if isinstance(spec, MatMulSpec):
        op_type, shape = "MatMul", list(spec.shape)
        operands = operands[::-1] if spec.in_columns else operands
    else:
        op_type = "Conv" if isinstance(spec, ConvSpec) else "ConvTranspose"
        attributes = {"strides": spec.strides, "group": spec.group}
        shape = [spec.batch, spec.in_channels, *spec.extents]
    node = helper.make_node(op_type, operands, ["y"], name="site", **attributes)
    x, y = helper.make_tensor_value_info("x", 1, shape), helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph([node], "site", [x], [y], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def draw_sites(seed: int) -> Iterator[tuple[str, FrameSpec, Array]]:
    """Kinds, sites and weights, without end: as wide as models have them, and wider."""
    rng = np.random.default_rng(seed)
    kinds = list(KINDS.items())
    while True:
        kind, draw = _pick(rng, *kinds)
        if (site := draw(rng)) is not None:
            yield kind, *site


def _pick(rng: np.random.Generator, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def _draw_size(rng: np.random.Generator, least: float, most: float) -> int:
    return round(float(np.exp(rng.uniform(np.log(least), np.log(max(least + 1, most))))))


def _draw_basis(rng: np.random.Generator, share: float) -> tuple[Array, int, int, int] | None:
    """A basis `[rows, taps]` under a Hann window, a batch, frames of each signal, and a step; None if it is none."""
    common = (64, 100, 128, 160, 200, 240, 256, 320, 400, 480, 512, 600, 800, 1000, 1024, 1200, 2048)
    length = int(_pick(rng, *common)) if rng.random() < 0.5 else _draw_size(rng, 12, 2500)
    bins = max(1, int((length // 2 + 1) * share))
    batch = int(_pick(rng, 1, 1, 1, 2, 4, 6))
    frames, step = _draw_size(rng, 4, MOST_SAMPLES / length / batch), max(1, int(length * _pick(rng, 0.1, 0.25, 0.5)))
    turns = np.outer(np.arange(bins), np.arange(length)) % length / length * 2 * np.pi
    weight = (np.concatenate([np.cos(turns), -np.sin(turns)]) * np.hanning(length + 2)[1:-1]).astype(np.float32)
    if 4 * batch * frames * weight.size > 2 * MOST_FLOPS or find_basis_length(weight) != length:
        return None
    return weight, batch, frames, step


def _by_basis(make: Callable[[Array, int, int, int], Site], *shares: float) -> Draw:
    """Draws a basis of one of these shares of the bins, and what `make` says of it; None if it is no basis."""

    def draw(rng: np.random.Generator) -> Site | None:
        drawn = _draw_basis(rng, _pick(rng, *shares))
        return None if drawn is None else make(*drawn)

    return draw


def _make_stft(weight: Array, batch: int, frames: int, step: int) -> Site:
    rows, taps = weight.shape
    ones, none = (1,), (0,)
    spec = ConvSpec(
        batch, 1, rows, 1, (taps + step * (frames - 1),), (taps,), (step,), ones, none, none, "float32",
        basis_length=taps,
    )  # fmt: skip
    return spec, weight[:, None]


def _make_pointwise(weight: Array, batch: int, frames: int, _: int) -> Site:
    rows, taps = weight.shape
    ones, none = (1,), (0,)
    spec = ConvSpec(batch, taps, rows, 1, (frames,), ones, ones, ones, none, none, "float32", basis_length=taps)
    return spec, weight[:, :, None]


def _make_rows(weight: Array, batch: int, frames: int, _: int) -> Site:
    rows, taps = weight.shape
    return MatMulSpec((batch, frames, taps), rows, "float32", taps), weight.T.copy()


def _make_columns(weight: Array, batch: int, frames: int, _: int) -> Site:
    rows, taps = weight.shape
    return MatMulSpec((batch, taps, frames), rows, "float32", taps, in_columns=True), weight


def _make_inverse(weight: Array, batch: int, frames: int, step: int) -> Site:
    rows, taps = weight.shape
    ones, none = (1,), (0,)
    spec = ConvTransposeSpec(
        batch, rows, 1, 1, (frames,), (taps,), (step,), ones, none, none, none, "float32", basis_length=taps
    )
    return spec, weight[:, None]


def _draw_transposed(rng: np.random.Generator) -> Site | None:
    rank = int(_pick(rng, 1, 1, 2, 2, 3))
    inputs, outputs, group = _draw_size(rng, 1, 256), _draw_size(rng, 1, 256), 1
    if rng.random() < 1 / 3:
        inputs = outputs = group = _draw_size(rng, 4, 256)
    kernel, extent = _draw_size(rng, 2, (512, 15, 5)[rank - 1]), _draw_size(rng, 4, (8000, 128, 32)[rank - 1])
    stride = int(_pick(rng, 1, 2, 2, 4, 8))
    flops = 2 * extent**rank * inputs * outputs // group * kernel**rank
    if stride > kernel or not 2e5 < flops < MOST_FLOPS:
        return None
    extents, kernels, strides = (extent,) * rank, (kernel,) * rank, (stride,) * rank
    ones, none = (1,) * rank, (0,) * rank
    spec = ConvTransposeSpec(1, inputs, outputs, group, extents, kernels, strides, ones, none, none, none, "float32")
    return spec, rng.standard_normal(spec.weight_shape, dtype=np.float32)


SHARES = (1, 1, 0.5, 0.25, 0.1)
"""Of all bins, which a model may not want."""

KINDS: dict[str, Draw] = {
    "Conv": _by_basis(_make_stft, *SHARES),
    "pointwise Conv": _by_basis(_make_pointwise, *SHARES),
    "MatMul": _by_basis(_make_rows, *SHARES),
    "MatMul of columns": _by_basis(_make_columns, *SHARES),
    "inverse": _by_basis(_make_inverse, 1),
    "ConvTranspose": _draw_transposed,
}


def judge(path: Path) -> None:
    """Print how right this machine's rates are for each kind, and what `auto` would do with them."""
    _, *lines = path.read_text(encoding="utf-8").splitlines()
    machine = replace(CALIBRATED, library=find_rates())
    cases = [read_case(json.loads(line)) for line in lines]
    for kind in KINDS:
        found = [(spec, own_s, node_s) for name, spec, own_s, node_s in cases if name == kind]
        if not found:
            continue
        own = [original_seconds(spec, machine) / own_s for spec, own_s, _ in found]
        node = [_node_seconds(spec, machine.library) / node_s for spec, _, node_s in found]
        print(
            f"{kind}: {len(found)}; predicted over measured, 10, 50 and 90%: own {_tenths(own)}, node {_tenths(node)}"
        )
        taken = [predict_gain(spec, _plan(spec), [machine]) >= MIN_GAIN_NATIVE for spec, _, _ in found]
        gains = [own_s / node_s for _, own_s, node_s in found]
        lost = [
            (gain, spec)
            for gain, take, (spec, *_) in zip(gains, taken, found, strict=True)
            if take and gain < LEAST_GAIN
        ]
        left = sum(not take and gain > 1.3 for gain, take in zip(gains, taken, strict=True))
        print(f"  auto takes {sum(taken)}, of which {len(lost)} lose; it leaves {left} that gain 1.3x or more")
        for gain, spec in lost:
            print(f"    {gain:.2f}x {describe_site(spec)}")


def _tenths(ratios: list[float]) -> str:
    return " ".join(f"{each:.2f}" for each in np.percentile(ratios, [10, 50, 90]))


def _node_seconds(spec: FrameSpec, rates: Rates) -> float:
    """Of the library's own way, even if that leaves a site to ONNX Runtime."""
    if isinstance(spec, MatMulSpec):
        return fftmatmul_seconds(spec, rates)
    return predict_fftconv(spec, rates).seconds / THREADS


def _plan(spec: FrameSpec) -> Plan:
    return FourierPlan(FFT) if isinstance(spec, MatMulSpec) else FFTCONV


def read_case(line: dict[str, Any]) -> Case:
    """One line."""
    fields = read_fields(line["spec"])
    make = MatMulSpec if "rows" in fields else ConvTransposeSpec if "output_padding" in fields else ConvSpec
    return line["kind"], make(**fields), line["own_seconds"], line["node_seconds"]


if __name__ == "__main__":
    main()
