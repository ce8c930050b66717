"""Random nodes of the native library in ONNX Runtime: several sessions at once, some of them with nodes that are wrong.

    bash scripts/fuzz/native.sh --seconds 3600

That script builds the library with the address and undefined sanitizers and runs this module under them. Every input is
a set of sessions that are opened, run by several threads and closed at the same time. Results of valid nodes are held
against the sum by its definition; invalid ones have to end in an error of ONNX Runtime.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, helper, numpy_helper

from onnx_fft.fourier.oracle import ConvGeometry, conv_direct
from onnx_fft.native import register
from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.fuzz.driver import run
from scripts.fuzz.tried import Tell, Tried
from scripts.shared.conv_models import TENSOR_TYPES, Array

ACTIVATIONS: dict[str, tuple[dict[str, float], Callable[[Array], Array]]] = {
    "": ({}, lambda y: y),
    "Relu": ({}, lambda y: np.maximum(y, 0)),
    "LeakyRelu": ({"alpha": 0.25}, lambda y: np.where(y < 0, 0.25 * y, y)),
    "Clip": ({"alpha": -0.5, "beta": 1.5}, lambda y: np.clip(y, -0.5, 1.5)),
    "HardSigmoid": ({"alpha": 0.25, "beta": 0.5}, lambda y: np.clip(0.25 * y + 0.5, 0, 1)),
}
"""Suffix of the op type: attributes, and the function."""

RELATIVE_L2 = {"float16": 3e-3, "float32": 2e-6, "float64": 1e-13}
EXTREMES = (0, -1, 2, 3, 100, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))
LENGTHS = {1: 200, 2: 24, 3: 8}
FAULTS = ("attribute", "count", "missing", "extra", "rank", "channels", "dtype", "bias", "weights")
"""What can be wrong with a node: a value, the number of values, no attribute, an input too many, shapes, types."""


@dataclass
class Scenario:
    """One model of one node: whether it is valid, its feeds of several shapes, and what they give if it is."""

    model: ModelProto
    fault: str
    feeds: list[dict[str, Array]]
    geometry: ConvGeometry
    weights: tuple[Array, Array | None]
    activation: str


def draw_scenario(rng: Random) -> Scenario:
    """A convolution of any rank, constant weights or not, open shapes or not."""
    rank, dtype = rng.choice((1, 1, 2, 2, 3)), rng.choice(("float32", "float32", "float16", "float64"))
    group, inputs, outputs = rng.choice((1, 1, 2, 5)), rng.randint(1, 3), rng.randint(1, 3)
    kernel = [rng.randint(1, max(2, LENGTHS[rank] // 3)) for _ in range(rank)]
    strides, dilations = ([rng.choice((1, 1, 1, 2, 3)) for _ in range(rank)] for _ in range(2))
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    begin, end = ([rng.choice((0, span // 2, span - 1, span + 2, -1)) for span in spans] for _ in range(2))
    values = np.random.default_rng(rng.getrandbits(32))
    batches = [rng.choice((1, 1, 2, 3, 0)) for _ in range(3)]
    # As long as a kernel needs it to be, and at times one sample shorter.
    least = [max(0, s - b - e - (rng.random() < 0.05)) for s, b, e in zip(spans, begin, end, strict=True)]
    shapes = [[batch, inputs * group, *(rng.randint(n, n + LENGTHS[rank]) for n in least)] for batch in batches]
    weight = values.standard_normal((outputs * group, inputs, *kernel)).astype(dtype)
    bias = values.standard_normal(outputs * group).astype(dtype) if rng.random() < 0.5 else None
    geometry = ConvGeometry(group, tuple(strides), tuple(dilations), tuple(begin), tuple(end))
    feeds = [{"x": values.standard_normal(shape).astype(dtype)} for shape in shapes]
    scenario = Scenario(ModelProto(), "", feeds, geometry, (weight, bias), rng.choice(list(ACTIVATIONS)))
    _build(scenario, rng)
    return scenario


def _build(scenario: Scenario, rng: Random) -> None:
    """Make the model, and at times make it wrong."""
    geometry, (weight, bias) = scenario.geometry, scenario.weights
    attributes: dict[str, Any] = {
        "group": geometry.group,
        "kernel_shape": list(weight.shape[2:]),
        "strides": list(geometry.strides),
        "dilations": list(geometry.dilations),
        "pads": [*geometry.pads_begin, *geometry.pads_end],
        **ACTIVATIONS[scenario.activation][0],
    }
    constants = {"w": weight, **({} if bias is None else {"b": bias})}
    names = ["x", *constants]
    if rng.random() < 0.4:
        scenario.fault = rng.choice(FAULTS)
        _spoil(scenario, attributes, constants, names, rng)
    for name in [name for name in constants if rng.random() < 0.3]:  # weights that come at run time
        value = constants.pop(name)
        for feed in scenario.feeds:
            feed[name] = value
    if rng.random() < 0.3:
        del scenario.feeds[1:]
    is_fixed = len(scenario.feeds) == 1 and rng.random() < 0.7
    values = []
    for name, value in scenario.feeds[0].items():
        shape: list[int | str] = [length if is_fixed else f"{name}{i}" for i, length in enumerate(value.shape)]
        values.append(helper.make_tensor_value_info(name, TENSOR_TYPES[str(value.dtype)], shape))
    node = helper.make_node(f"FFTConv{scenario.activation}", names, ["y"], "conv", domain=OPERATOR_DOMAIN, **attributes)
    output = helper.make_tensor_value_info("y", values[0].type.tensor_type.elem_type, None)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "node", values, [output], tensors)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(OPERATOR_DOMAIN, 1)]
    scenario.model = helper.make_model(graph, opset_imports=imports, ir_version=8)


def _spoil(
    scenario: Scenario, attributes: dict[str, Any], constants: dict[str, Array], names: list[str], rng: Random
) -> None:
    fault, lists = scenario.fault, ["kernel_shape", "strides", "dilations", "pads"]
    if fault == "attribute":
        name = rng.choice([*lists, "group"])
        value = attributes[name]
        changed = rng.choice(EXTREMES)
        attributes[name] = changed if name == "group" else [rng.choice((each, changed)) for each in value]
    elif fault == "count":
        name = rng.choice(lists)
        attributes[name] = (attributes[name] * 4)[: rng.choice((1, 2, 3, 5, 12))]
    elif fault == "missing":
        del attributes[rng.choice(list(attributes))]
    elif fault == "extra":
        names.append("x")
    elif fault in ("rank", "channels", "dtype"):
        index = rng.randrange(len(scenario.feeds))
        x = scenario.feeds[index]["x"]
        spoilt = {"rank": x[0] if len(x) else x[None], "channels": x[:, :-1], "dtype": x.astype("float32")}
        scenario.feeds[index]["x"] = spoilt[fault]
    elif fault == "bias":
        constants["b"] = np.ones(rng.choice((0, 1, 7)), constants["w"].dtype)
        names[1:] = ["w", "b"]
    elif fault == "weights":
        constants["w"] = rng.choice(
            (constants["w"][:0], constants["w"][0], constants["w"][:, :0], constants["w"][..., :0])
        )


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
    except Exception:  # ORT's exceptions have no common base
        return "refused by the session", "" if scenario.fault else "a valid node is refused"
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
            if not scenario.fault and _is_long_enough(scenario, feed["x"]):
                wrong.append(f"on {feed['x'].shape}: {error}")
            continue
        if not scenario.fault and (problem := _judge(scenario, feed["x"], y)):
            wrong.append(f"on {feed['x'].shape}: {problem}")


def _is_long_enough(scenario: Scenario, x: Array) -> bool:
    return all(scenario.geometry.output_extents(x.shape[2:], scenario.weights[0].shape[2:]))


def _judge(scenario: Scenario, x: Array, y: Array) -> str:
    """How far the output is from the sum by its definition, in float64, if that is too far."""
    weight, bias = scenario.weights
    expected = conv_direct(x, weight, bias, scenario.geometry)
    expected = ACTIVATIONS[scenario.activation][1](expected)
    if y.shape != expected.shape:
        return f"{y.shape} in place of {expected.shape}"
    size = np.sqrt(expected.size * np.prod(weight.shape[1:]))
    error = float(np.linalg.norm(y.astype(np.float64) - expected)) / max(size, 1.0)
    return "" if error <= RELATIVE_L2[str(y.dtype)] else f"off by {error:.1e}"


if __name__ == "__main__":
    sys.exit(run(__doc__, "nodes"))
