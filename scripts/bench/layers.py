"""The layer table: ONNX Runtime's own Conv against each lowering and against what `auto` does.

    python -m scripts.bench.layers                                   # every layer, matmul and auto, two threads
    python -m scripts.bench.layers --select 'dw|FIR' --lowering dft  # some layers, dft and auto
    python -m scripts.bench.layers --peers                           # PyTorch, OpenVINO and others beside them
    python -m scripts.bench.layers --target native                   # the native library, and its own promises
    python -m scripts.bench.layers --target cuda --dtype float16     # on an NVIDIA GPU, against cuDNN's Conv
    python -m scripts.bench.layers --markdown layers.md --json layers.json --plot layers.svg

The Conv and our models take turns in one process (`onnx_fft.timing`). Each peer has a process of its own and takes
turns with another Conv: `peers.py` says how, `requirements-peers.txt` what to install.

Errors are relative L2 against a float64 oracle, on a seeded sample of the outputs if all of them would take too long.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from onnx import ModelProto

from onnx_fft.errors import CudaUnavailable, NativeUnavailable
from onnx_fft.fourier.oracle import Sample, conv_direct, conv_direct_at, sample_conv
from onnx_fft.lowering import LOWERING_NAMES, list_lowerings
from onnx_fft.model.io import load_model
from onnx_fft.options import RewriteOptions
from onnx_fft.rewrite import rewrite
from onnx_fft.runtime.libraries import find_libraries
from onnx_fft.runtime.opening import open_runner
from onnx_fft.sites.spec import SUPPORTED_DTYPES, ConvSpec
from onnx_fft.timing.launch import Host, time_models
from onnx_fft.timing.stats import compare
from scripts.bench.layer_results import Measured, Variant, make_table, summarize_rows
from scripts.bench.machine_limits import Limits, measure_limits
from scripts.bench.options import make_parser, write_json, write_results
from scripts.bench.peers import INSTALL, describe_peers, measure_peers
from scripts.bench.plot import draw_layers
from scripts.shared.conv_models import Array, build_conv_model, draw_input, draw_weights
from scripts.shared.layers import CUDA_LAYERS, FIELD, LAYERS, NATIVE_LAYERS, TRAPS, Layer
from scripts.shared.runs import describe_run, describe_target, refuse

TITLES = {
    "standard": "Layers with standard operators",
    "native": "Layers with the native library",
    "cuda": "Layers on ONNX Runtime's CUDA provider",
}
TABLES = {"standard": LAYERS, "native": NATIVE_LAYERS, "cuda": CUDA_LAYERS}
SEED = 0
OPSET = 17
ORACLE_BUDGET = 2e8
"""Multiply-adds the oracle may cost a layer: a second or two in NumPy."""
UNLIMITED_BYTES = 1 << 40


def measure_layer(
    layer: Layer, target: str, lowerings: Sequence[str], *, threads: int, budget_s: float
) -> tuple[Measured, Host]:
    """Time and check one layer under "auto" and under the given lowerings of `target`."""
    weight, bias = draw_weights(layer.spec, SEED)
    original = build_conv_model(layer.spec, weight, bias, opset=OPSET)
    x = draw_input(layer.spec, SEED + 1)
    variants = _make_variants(original, target, lowerings)
    changed = _drop_equal(variants)
    judge = _make_judge(layer.spec, x, weight, bias)
    models = [original, *(v.model for v in changed)]
    errors = [judge(model) for model in models]
    sources, libraries = [load_model(model) for model in models], find_libraries(models)
    timings, machine = time_models(
        sources,
        {"x": x},
        threads=threads,
        budget_s=budget_s,
        custom_ops=libraries,
        cuda=target == "cuda",
        in_place=True,
    )
    conv, *others = timings
    found: dict[bytes, Variant] = {}
    for variant, timing, error in zip(changed, others, errors[1:], strict=True):
        found[_content(variant.model)] = Variant(
            variant.name,
            variant.model,
            variant.lowering,
            variant.reason,
            compare(conv.samples_s, timing.samples_s),
            timing.run_s,
            timing.file_bytes - conv.file_bytes,
            error,
        )
    measured = {v.name: found.get(_content(v.model), v) if v.lowering else v for v in variants}
    return Measured(layer, conv.run_s, errors[0], measured), machine


def _make_variants(original: ModelProto, target: str, lowerings: Sequence[str]) -> list[Variant]:
    """The model under each of `lowerings`, forced, and under auto with its defaults."""
    variants = []
    defaults = RewriteOptions(target=target, validate=False)  # what each is off by is measured below
    for name in (*lowerings, "auto"):
        forced = replace(defaults, lowering=name, max_growth_bytes=UNLIMITED_BYTES)
        result = rewrite(original, options=defaults if name == "auto" else forced)
        (row,) = result.report.rows
        variants.append(Variant(name, result.model, row.lowering, row.reason))
    return variants


def _drop_equal(variants: Sequence[Variant]) -> list[Variant]:
    """The variants that replace the Conv, equal models once."""
    return list({_content(v.model): v for v in reversed(variants) if v.lowering}.values())


def _content(model: ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _make_judge(spec: ConvSpec, x: Array, weight: Array, bias: Array | None) -> Callable[[ModelProto], float]:
    """A function that gives a model's relative L2 error against float64."""
    geometry = spec.geometry
    sample: Sample | None = sample_conv(x.shape, weight.shape, geometry, ORACLE_BUDGET, SEED)
    if sample is None:
        truth = conv_direct(x, weight, bias, geometry)
    else:
        truth = conv_direct_at(x, weight, bias, geometry, sample)

    def judge(model: ModelProto) -> float:
        output = open_runner(load_model(model), custom_ops=find_libraries([model])).run({"x": x})["y"]
        taken = np.asarray(output if sample is None else sample.take(output), np.float64)
        return float(np.linalg.norm(taken - truth) / np.linalg.norm(truth))

    return judge


def add_peers(measured: Measured, *, threads: int, budget_s: float) -> Measured:
    """The same row with other libraries on the same layer."""
    spec = measured.layer.spec
    weight, bias = draw_weights(spec, SEED)
    model = build_conv_model(spec, weight, bias, opset=OPSET)
    x = draw_input(spec, SEED + 1)
    return replace(measured, peers=measure_peers(spec, model, x, weight, bias, threads=threads, budget_s=budget_s))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; `lowering` is a list of the target's."""
    parser = make_parser((__doc__ or "").split("\n")[0], budget_s=3.0)
    parser.add_argument(
        "--lowering",
        action="append",
        choices=LOWERING_NAMES,
        help="time this lowering beside auto; may be given again (default: the target's first)",
    )
    parser.add_argument(
        "--traps", action="store_true", help="also the layers that only look like gains, and layers of models in use"
    )
    parser.add_argument("--dtype", choices=SUPPORTED_DTYPES, default="float32", help="of the layers (default: float32)")
    parser.add_argument("--peers", action="store_true", help=f"also time other libraries ({INSTALL})")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the speed-ups into this file, .svg or .png")
    options = parser.parse_args(arguments)
    names = [lowering.name for lowering in list_lowerings(options.target)]
    options.lowering = list(dict.fromkeys(options.lowering or names[:1]))
    if others := [name for name in options.lowering if name not in names]:
        parser.error(f"got --lowering {others[0]} for --target {options.target}; expected {' or '.join(names)}")
    return options


def list_layers(target: str, traps: bool) -> list[Layer]:
    """The target's table, and with `traps` all other layers."""
    table = TABLES[target]
    names = {layer.name for layer in table}
    return [*table, *(layer for layer in (*TRAPS, *FIELD) if traps and layer.name not in names)]


def set_dtype(layer: Layer, dtype: str) -> Layer:
    """The layer in `dtype`; promises are for float32 only."""
    least = layer.at_least if dtype == layer.spec.dtype else None
    return replace(layer, spec=replace(layer.spec, dtype=dtype), at_least=least)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the selected layers and write the results; 2 if the bench cannot begin."""
    options = parse_arguments(arguments)
    layers = list_layers(options.target, options.traps)
    selected = [set_dtype(layer, options.dtype) for layer in layers if re.search(options.select, layer.name)]
    if not selected:
        return refuse(f"--select {options.select!r} matches none of: {', '.join(layer.name for layer in layers)}")
    try:
        notes = describe_target(options.target)
    except (NativeUnavailable, CudaUnavailable) as error:
        return refuse(str(error))
    limits: Limits | None = None
    if options.target == "native":
        limits = measure_limits(options.threads)
        notes.append(limits.describe())
    measured, machines = [], []
    for layer in selected:
        print(f"{layer.name} ...", file=sys.stderr)
        settings = {"threads": options.threads, "budget_s": options.budget}
        row, machine = measure_layer(layer, options.target, options.lowering, **settings)
        row = replace(row, least_s=limits.least_seconds(layer.spec) if limits else None)
        measured.append(add_peers(row, **settings) if options.peers else row)
        machines.append(machine)
    header = [*describe_run(machines, SEED), *notes, *(describe_peers() if options.peers else ())]
    write_all(options, header, measured, machines)
    return 0


def write_all(
    options: argparse.Namespace, header: Sequence[str], measured: Sequence[Measured], machines: Sequence[Host]
) -> None:
    """Print the table, and write it, the measurements and the chart if that was asked for."""
    table = make_table(measured, options.lowering)
    write_results(options, TITLES[options.target], header, table, summarize_rows(measured))
    layers = [m.to_dict() for m in measured]
    machine = list(map(asdict, machines))
    write_json(options, {"target": options.target, "machines": machine, "header": header, "layers": layers})
    if options.plot is not None:
        draw_layers(layers, header, options.plot)


if __name__ == "__main__":
    sys.exit(main())
