"""One node of the native library as a model, valid or spoilt, and what it has to give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import TENSOR_TYPES, Array

RELATIVE_L2 = {"float16": 3e-3, "float32": 2e-6, "float64": 1e-13}
ELEMENT_TYPES = TENSOR_TYPES | {"int64": TensorProto.INT64}
EXTREMES = (0, -1, 2, 3, 100, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))
FAULTS = ("attribute", "count", "missing", "extra", "rank", "channels", "dtype", "operand", "operand")
"""What can be wrong: a value, the number of values, no attribute, an input too many, shapes, types, another input."""
OPERAND_FAULTS = FAULTS[FAULTS.index("extra") :]
Inputs = Mapping[str, Array]


@dataclass
class Scenario:
    """One node, its operands behind `x`, its feeds of several shapes, and what they give if it is valid.

    `operands` are constants, or inputs that all feeds share; `inputs` are the names of all that the node reads, in
    order, with those that differ with `x`.
    """

    op_type: str
    attributes: dict[str, Any]
    inputs: list[str]
    operands: dict[str, Array]
    feeds: list[dict[str, Array]]
    compute: Callable[[Inputs], Array]
    """The truth in float64, of all inputs."""
    fits: Callable[[Array], bool]
    """Whether the node takes an `x` of this length."""
    measure: Callable[[Inputs, Array], float]
    """How large the terms of the truth are, in L2, by which an error is judged."""
    constant: tuple[str, ...] = ()
    """Operands that must not come at run time."""
    fault: str = ""
    model: ModelProto = field(default_factory=ModelProto)

    def judge(self, feed: Inputs, y: Array) -> str:
        """How far the output is from the truth, if that is too far."""
        inputs = {**self.operands, **feed}
        expected = self.compute(inputs)
        if y.shape != expected.shape:
            return f"{y.shape} in place of {expected.shape}"
        error = float(np.linalg.norm(y.astype(np.float64) - expected)) / max(self.measure(inputs, expected), 1.0)
        return "" if error <= RELATIVE_L2[str(y.dtype)] else f"off by {error:.1e}"


def build(scenario: Scenario, rng: Random) -> None:
    """Make the model, and at times make it wrong."""
    operands, names = dict(scenario.operands), list(scenario.inputs)
    attributes = dict(scenario.attributes)
    if rng.random() < 0.4:
        scenario.fault = rng.choice(FAULTS if attributes else OPERAND_FAULTS)
        _spoil(scenario, attributes, operands, names, rng)
    for name in [name for name in operands if name not in scenario.constant and rng.random() < 0.3]:
        value = operands.pop(name)
        for feed in scenario.feeds:
            feed[name] = value
    if rng.random() < 0.3:
        del scenario.feeds[1:]
    is_fixed = len(scenario.feeds) == 1 and rng.random() < 0.7
    values = []
    for name, value in scenario.feeds[0].items():
        shape: list[int | str] = [length if is_fixed else f"{name}{i}" for i, length in enumerate(value.shape)]
        values.append(helper.make_tensor_value_info(name, ELEMENT_TYPES[str(value.dtype)], shape))
    node = helper.make_node(scenario.op_type, names, ["y"], "node", domain=OPERATOR_DOMAIN, **attributes)
    output = helper.make_tensor_value_info("y", values[0].type.tensor_type.elem_type, None)
    tensors = [numpy_helper.from_array(value, name) for name, value in operands.items()]
    graph = helper.make_graph([node], "node", values, [output], tensors)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(OPERATOR_DOMAIN, 1)]
    scenario.model = helper.make_model(graph, opset_imports=imports, ir_version=8)


def _spoil(
    scenario: Scenario, attributes: dict[str, Any], operands: dict[str, Array], names: list[str], rng: Random
) -> None:
    fault, lists = scenario.fault, [name for name, value in attributes.items() if isinstance(value, Sequence)]
    if fault == "count" and lists:
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
    elif fault == "operand" and operands:
        name = rng.choice(list(operands))
        operands[name] = _spoil_operand(operands[name], rng)
    else:
        name = rng.choice(list(attributes))
        value, changed = attributes[name], rng.choice(EXTREMES)
        if isinstance(value, float):
            attributes[name] = rng.choice((float("nan"), float("inf"), -1.0, 0.0))
        else:
            attributes[name] = changed if isinstance(value, int) else [rng.choice((each, changed)) for each in value]


def _spoil_operand(value: Array, rng: Random) -> Array:
    """Of another shape, or another number if it is one."""
    if value.dtype == np.int64 and rng.random() < 0.7:
        return np.array(rng.choice((0, -1, 1, 7, 1000, 1 << 40, (1 << 63) - 1, -(1 << 63))), np.int64)
    shapes = [value[None], np.ones(rng.choice((0, 1, 7)), value.dtype)]
    shapes += [value[:0], value[0], value[..., :0]] if value.ndim else []
    return rng.choice(shapes)


def measure_sum(terms: float, gain: float = 1.0) -> Callable[[Inputs, Array], float]:
    """Of sums of that many products of normal numbers, that much as large after what follows them."""
    return lambda _, expected: float(np.sqrt(expected.size * terms)) * gain
