"""How long `validate` takes on models of many replaced Convs, where the time goes, and its peak memory.

`feeds` counts ordinary and sparse ones: a model that takes long gets fewer.

    python -m scripts.bench.validation_time --convs 300

Each row is a process of its own, because a peak counts for a whole process. CPU seconds are those of all threads.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnx_fft import rewrite, validate
from scripts.shared.conv_models import Array
from scripts.shared.paths import ROOT
from scripts.shared.tables import Table

FLOAT = TensorProto.FLOAT
TARGETS = ("standard", "native")
"""What runs on any machine."""
DEPTH = 8
"""Convs of both sizes after which chains of large layers begin again."""
STAGES = {
    "truth": ("maps.py", "compute_maps"),
    "opening": ("opening.py", "open_runner"),
    "running": ("engines.py", "run"),
    "cutting": ("fragments.py", "cut_fragment"),
}
"""What the share of the time is printed of: a function, by its file."""


def make_chain(convs: int, dims: Sequence[int | str] = (1, 16, 40, 40)) -> ModelProto:
    """Conv after Conv, each with a Relu: dense 7x7 and depthwise 15x15 in turn, each with a weight of its own."""
    nodes, tensors = list[NodeProto](), list[TensorProto]()
    for number in range(convs):
        group, side = (1, 7) if number % 2 else (16, 15)
        tensors.append(_draw_weight(f"w{number}", (16, 16 // group, side, side), number))
        nodes += _make_block(f"x{number}", f"x{number + 1}", f"w{number}", f"conv{number}", group, side)
    return _make_model(nodes, tensors, dims, f"x{convs}")


def make_open_chain(convs: int) -> ModelProto:
    """As `make_chain`, with an open batch and open lengths."""
    return make_chain(convs, ("n", 16, "h", "w"))


def make_wide(convs: int) -> ModelProto:
    """Large layers: 11x11 over 64 channels of 56x56, and 31x31 depthwise over 64 channels of 112x112; few weights.

    Chains are short, because one weight, applied often, doubles its largest channel each time, and each begins with a
    factor of its own, or ONNX Runtime would compute only one.
    """
    nodes = [helper.make_node("AveragePool", ["x0"], ["small"], kernel_shape=[2, 2], strides=[2, 2])]
    tensors = [_draw_weight(f"w{kind}", shape, kind) for kind, shape in enumerate([(64, 1, 31, 31), (64, 64, 11, 11)])]
    last, means = ["", ""], list[str]()
    for number in range(convs):
        kind, y = number % 2, f"y{number}"
        if number % DEPTH < 2:
            tensors.append(numpy_helper.from_array(np.array(1 + number / 1024, np.float32), f"factor{number}"))
            last[kind] = f"scaled{number}"
            nodes.append(helper.make_node("Mul", [("x0", "small")[kind], f"factor{number}"], [last[kind]]))
        nodes += _make_block(last[kind], y, f"w{kind}", f"conv{number}", (64, 1)[kind], (31, 11)[kind])
        last[kind] = y
        if number % DEPTH >= DEPTH - 2 or number >= convs - 2:
            means.append(f"mean{number}")
            nodes.append(helper.make_node("GlobalAveragePool", [y], [means[-1]]))
    nodes.append(helper.make_node("Sum", means, ["y"]))
    return _make_model(nodes, tensors, (1, 64, 112, 112), "y")


def make_bodies(convs: int) -> ModelProto:
    """Ten Convs in each function, branch of an If and body of a Loop; each function is called three times."""
    nodes, functions, x = list[NodeProto](), list[FunctionProto](), "x0"
    for place in range(max(1, convs // 10)):
        inner, first, last = _make_inner(place, min(10, convs))
        if place % 3 == 0:
            imports = [helper.make_opsetid("", 17)]
            functions.append(helper.make_function("local", f"f{place}", [first], [last], inner, imports))
            for call in range(3):
                nodes.append(helper.make_node(f"f{place}", [x], [f"{x}_{call}"], domain="local"))
                x = f"{x}_{call}"
        else:
            wrap = _wrap_in_if if place % 3 == 1 else _wrap_in_loop
            nodes.append(wrap(place, inner, first, last, x))
            x = nodes[-1].output[0]
    tensors = [numpy_helper.from_array(np.array(2), "times"), numpy_helper.from_array(np.array(True), "cond")]
    return _make_model(nodes, tensors, (1, 16, 40, 40), x, functions)


MODELS: dict[str, Callable[[int], ModelProto]] = {
    "chain": make_chain,
    "open chain": make_open_chain,
    "wide": make_wide,
    "bodies": make_bodies,
}


def measure(name: str, target: str, convs: int) -> dict[str, Any]:
    """Seconds, shares of stages and the peak of one validation in this process."""
    original = MODELS[name](convs)
    options: dict[str, Any] = {"target": target, "select": "all", "validate": False, "max_growth_bytes": 1 << 40}
    options["max_memory_bytes"] = 1 << 40
    rewritten = rewrite(original, **options).model
    profile = cProfile.Profile()
    before_s, before_cpu_s = time.perf_counter(), time.process_time()
    result = profile.runcall(validate, original, rewritten)
    found: dict[str, Any] = {"s": time.perf_counter() - before_s, "cpu_s": time.process_time() - before_cpu_s}
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for stage, (file, function) in STAGES.items():
        timed = [row[3] for (path, _, called), row in stats.items() if path.endswith(file) and called == function]
        found[stage] = sum(timed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    outputs = [sum(counts) for counts in zip(*((c.checked_outputs, c.all_outputs) for c in result.convs), strict=True)]
    checked = sum(conv.ok is True for conv in result.convs)
    found["feeds"] = f"{len(result.feeds)} + {len(result.sparse)}"
    return {**found, "peak_mib": peak, "verdict": result.verdict, "checked": checked, "outputs": outputs}


def make_row(name: str, target: str, convs: int, found: dict[str, Any]) -> tuple[str, ...]:
    """One row of the table."""
    checked, outputs = found["outputs"] or (0, 1)
    shares = (f"{found[stage] / found['s']:.0%}" for stage in STAGES)
    verdict = found["verdict"].split(":")[0]
    seconds = (f"{found['s']:.1f}", f"{found['cpu_s']:.1f}")
    counts = (f"{found['checked']} of {convs}", f"{checked / max(1, outputs):.0%}")
    return (f"{name}, {target}", *seconds, *shares, f"{found['peak_mib']:.0f}", found["feeds"], *counts, verdict)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="time validate on models of many replaced Convs")
    parser.add_argument("--convs", type=int, default=300, help="replaced Convs in each model (default: 300)")
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=tuple(MODELS))
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--here", action="store_true", help="measure the first model and target, and print JSON")
    options = parser.parse_args(arguments)
    if options.here:
        print(json.dumps(measure(options.models[0], options.targets[0], options.convs)))
        return
    rows = []
    for name in options.models:
        for target in options.targets:
            command = [sys.executable, "-m", "scripts.bench.validation_time", "--here", "--convs", str(options.convs)]
            command += ["--models", name, "--targets", target]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
            rows.append(make_row(name, target, options.convs, json.loads(done.stdout)))
    columns = ("model", "s", "CPU s", *STAGES, "peak MiB", "feeds", "Convs checked", "outputs checked", "verdict")
    print("\n".join(Table(columns, tuple(rows)).to_markdown()))


def _make_block(x: str, y: str, weight: str, name: str, group: int, side: int) -> list[NodeProto]:
    pads = [side // 2] * 4
    conv = helper.make_node("Conv", [x, weight], [f"{y}_sum"], name, group=group, pads=pads, kernel_shape=[side, side])
    return [conv, helper.make_node("Relu", [f"{y}_sum"], [y])]


def _make_inner(place: int, convs: int) -> tuple[list[NodeProto], str, str]:
    """A chain of Convs with one weight, a Constant node; its first and its last tensor."""
    constant = helper.make_node("Constant", [], [f"v{place}"], value=_draw_weight("", (16, 1, 15, 15), place))
    names = [f"t{place}_{number}" for number in range(convs + 1)]
    blocks = [_make_block(x, y, f"v{place}", f"c_{y}", 16, 15) for x, y in pairwise(names)]
    return [constant, *(node for block in blocks for node in block)], names[0], names[-1]


def _wrap_in_if(place: int, inner: list[NodeProto], first: str, last: str, x: str) -> NodeProto:
    other = f"idle{place}"
    then_nodes = [helper.make_node("Identity", [x], [first]), *inner]
    then_branch = helper.make_graph(then_nodes, "then", [], [helper.make_tensor_value_info(last, FLOAT, None)])
    else_nodes = [helper.make_node("Identity", [x], [other])]
    else_branch = helper.make_graph(else_nodes, "else", [], [helper.make_tensor_value_info(other, FLOAT, None)])
    bodies = {"then_branch": then_branch, "else_branch": else_branch}
    return helper.make_node("If", ["cond"], [f"x{place + 1}"], f"if{place}", **bodies)


def _wrap_in_loop(place: int, inner: list[NodeProto], first: str, last: str, x: str) -> NodeProto:
    number, go, on = f"i{place}", f"go{place}", f"on{place}"
    inputs = [
        helper.make_tensor_value_info(number, TensorProto.INT64, []),
        helper.make_tensor_value_info(go, TensorProto.BOOL, []),
        helper.make_tensor_value_info(first, FLOAT, None),
    ]
    outputs = [
        helper.make_tensor_value_info(on, TensorProto.BOOL, []),
        helper.make_tensor_value_info(last, FLOAT, None),
    ]
    body = helper.make_graph([*inner, helper.make_node("Identity", [go], [on])], "body", inputs, outputs)
    return helper.make_node("Loop", ["times", "", x], [f"x{place + 1}"], f"loop{place}", body=body)


def _draw_weight(name: str, shape: tuple[int, ...], seed: int) -> TensorProto:
    """Outputs stay near the size of the inputs through any number of layers with Relus."""
    values: Array = np.random.default_rng(seed).standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    return numpy_helper.from_array(values.astype(np.float32), name)


def _make_model(
    nodes: list[NodeProto],
    tensors: list[TensorProto],
    dims: Sequence[int | str],
    y: str,
    functions: Sequence[FunctionProto] = (),
) -> ModelProto:
    inputs = [helper.make_tensor_value_info("x0", FLOAT, dims)]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info(y, FLOAT, None)], tensors)
    imports = [helper.make_opsetid("", 17), *([helper.make_opsetid("local", 1)] if functions else [])]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=8)


if __name__ == "__main__":
    main()
