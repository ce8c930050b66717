"""Which convolutions of quantized models are left alone: those that ONNX Runtime computes in integers.

ONNX Runtime itself is the oracle, by the model it makes of one when it loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto

from onnx_fft import rewrite
from onnx_fft.model.scopes import walk_nodes
from scripts.shared.conv_models import Array
from scripts.shared.running import open_session, run_model
from tests.marks import ORT_VERSION
from tests.models import info, parse_model
from tests.sites.finding import only_site

RNG = np.random.default_rng(5)
FLOAT_WEIGHT = (RNG.standard_normal((4, 4, 3, 3)) / 8).astype(np.float32)
CONSTANTS: dict[str, Any] = {
    "sx": np.float32(0.02),
    "zx": np.uint8(128),
    "sy": np.float32(0.05),
    "zy": np.uint8(128),
    "q": RNG.integers(-100, 100, (4, 4, 3, 3)).astype(np.int8),
    "sw": np.float32(0.01),
    "zw": np.int8(0),
    "f": FLOAT_WEIGHT,
    "h": FLOAT_WEIGHT.astype(np.float16),
    "four": np.full(4, 1.5, np.float32),
    "channels": np.full((4, 1, 1), 1.5, np.float32),
    "number": np.float32(2),
    "low": np.float32(-100),
    "high": np.float32(100),
    "shape": np.array([1, 4, 12, 12]),
    "zeros": np.zeros(4, np.int64),
    "ends": np.array([1, 4, 8, 8]),
    "first": np.array([0]),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "bias8": np.ones(4, np.int8),
    "bias32": np.ones(4, np.int32),
    "sb": np.float32(0.02) * np.float32(0.01),
}
ZERO_AT_LEAST = {"zy": np.uint8(0)}
SIGNED = {"zx": np.int8(0), "zy": np.int8(0)}
PER_AXIS = {"sx": np.full(4, 0.02, np.float32), "zx": np.full(4, 128, np.uint8)}
PER_AXIS_OUT = {"sy": np.full(4, 0.05, np.float32), "zy": np.full(4, 128, np.uint8)}

IS_NEWEST = ORT_VERSION >= (1, 32)

DEQUANTIZED = "w = DequantizeLinear(q, sw, zw)"
FLOAT = "w = Identity(f)"
MAX_POOL = "MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"


@dataclass(frozen=True)
class Pattern:
    """A Conv with what stands around it. `_` is the value before, and `x` reads the dequantized input."""

    before: tuple[str, ...] = ()
    weight: str = DEQUANTIZED
    bias: str = ""
    behind: tuple[str, ...] = ()
    is_input_quantized: bool = True
    is_output_quantized: bool = True
    constants: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 17
    more: str = ""
    """Other nodes; `x`, `c` and `y` are what the Conv and the last node read and write."""
    outputs: str = ""
    op_type: str = "Conv"

    def model(self) -> ModelProto:
        """`x [1, 4, 12, 12] -> y`."""
        quantize = "v = QuantizeLinear(i, sx, zx) x = DequantizeLinear(v, sx, zx)"
        lines = [quantize if self.is_input_quantized else "x = Neg(i)", self.weight]
        value = "x"
        for number, step in enumerate(self.before):
            lines.append(f"b{number} = {step.replace('(_', f'({value}', 1)}")
            value = f"b{number}"
        bias = ", b" if self.bias else ""
        lines += [self.bias, f"c = {self.op_type}<pads = [1, 1, 1, 1]>({value}, w{bias})"]
        value = "c"
        for number, step in enumerate(self.behind):
            lines.append(f"a{number} = {step.replace('(_', f'({value}', 1)}")
            value = f"a{number}"
        tail = f"r = QuantizeLinear({value}, sy, zy) y = DequantizeLinear(r, sy, zy)"
        lines += [tail if self.is_output_quantized else f"y = Identity({value})", self.more]
        text = f"g (float[1, 4, 12, 12] i) => (float[a, b, c, d] y{self.outputs}) {{ {' '.join(lines)} }}"
        return build(text, self.constants, self.opset)


def build(text: str, constants: Mapping[str, Any] | None = None, opset: int = 17) -> ModelProto:
    """A model of this text, with those of the constants that it reads."""
    model = parse_model(text, {}, opset=opset)
    read = {name for node in walk_nodes(model) for name in node.input}
    values: dict[str, Array] = {name: np.asarray(value) for name, value in (CONSTANTS | dict(constants or {})).items()}
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in values.items() if name in read]
    model.graph.initializer.extend(tensors)
    for output in model.graph.output:
        output.CopyFrom(info(output.name, TensorProto.FLOAT))
    return model


IN_INTEGERS: dict[str, Pattern] = {
    "unsigned": Pattern(),
    "signed": Pattern(constants=SIGNED),
    "unsigned weight": Pattern(constants={"q": CONSTANTS["q"].astype(np.uint8), "zw": np.uint8(100)}),
    "signed output": Pattern(constants={"zy": np.int8(0)}),
    "weight by channels": Pattern(
        weight="w = DequantizeLinear<axis = 0>(q, sw, zw)",
        constants={"sw": np.full(4, 0.01, np.float32), "zw": np.zeros(4, np.int8)},
    ),
    "weight moved": Pattern(weight="u = DequantizeLinear(q, sw, zw) w = Transpose<perm = [1, 0, 2, 3]>(u)"),
    "no zero point": Pattern(weight="w = DequantizeLinear(q, sw)"),
    "input by channels": Pattern(constants=PER_AXIS),
    "output by channels": Pattern(constants=PER_AXIS_OUT),
    "opset 12": Pattern(opset=12),
    "bias": Pattern(bias="b = DequantizeLinear(bias32, sb)"),
    "bias of another scale": Pattern(bias="b = DequantizeLinear(bias32, sw)"),
    "float bias": Pattern(bias="b = Identity(four)"),
    "float weight": Pattern(weight=FLOAT),
    "float weight and bias": Pattern(weight=FLOAT, bias="b = Identity(four)"),
    "float16 weight": Pattern(weight="w = Cast<to = 1>(h)"),
    "float weight, computed": Pattern(weight="w = Mul(f, number)"),
    "MaxPool": Pattern(before=(f"{MAX_POOL}(_)",)),
    "MaxPool, float weight": Pattern(before=(f"{MAX_POOL}(_)",), weight=FLOAT),
    "Transpose": Pattern(before=("Transpose<perm = [0, 1, 3, 2]>(_)",)),
    "Reshape": Pattern(before=("Reshape(_, shape)",)),
    "Slice": Pattern(before=("Slice(_, zeros, ends)",)),
    "Squeeze, Unsqueeze": Pattern(before=("Squeeze(_, first)", "Unsqueeze(_, first)")),
    "MaxPool, Transpose": Pattern(before=(f"{MAX_POOL}(_)", "Transpose<perm = [0, 1, 3, 2]>(_)")),
    "Identity": Pattern(before=("Identity(_)",), behind=("Identity(_)",)),
    "Dropout": Pattern(before=("Dropout(_)",), behind=("Dropout(_)",)),
    "Cast to what it is": Pattern(before=("Cast<to = 1>(_)",)),
    "Pad": Pattern(before=("Pad(_, pads)",)),
    "Relu": Pattern(behind=("Relu(_)",), constants=ZERO_AT_LEAST),
    "Relu, signed": Pattern(behind=("Relu(_)",), constants={"zx": np.int8(0), "zy": np.int8(-128)}),
    "Relu, float weight": Pattern(behind=("Relu(_)",), weight=FLOAT, constants=ZERO_AT_LEAST),
    "wide Clip": Pattern(behind=("Clip(_, low, high)",)),
    "wide Clip, Relu": Pattern(behind=("Clip(_, low, high)", "Relu(_)"), constants=ZERO_AT_LEAST),
    "MaxPool behind": Pattern(behind=(f"{MAX_POOL}(_)",)),
    "Transpose behind": Pattern(behind=("Transpose<perm = [0, 1, 3, 2]>(_)",)),
    "Reshape behind": Pattern(behind=("Reshape(_, shape)",)),
    "Slice behind": Pattern(behind=("Slice(_, zeros, ends)",)),
    "Relu, MaxPool": Pattern(behind=("Relu(_)", f"{MAX_POOL}(_)"), constants=ZERO_AT_LEAST),
    "MaxPool, Relu": Pattern(behind=(f"{MAX_POOL}(_)", "Relu(_)"), constants=ZERO_AT_LEAST),
    "BatchNormalization of a float weight": Pattern(
        weight=FLOAT, behind=("BatchNormalization(_, four, four, four, four)",)
    ),
    "Add to a float weight": Pattern(weight=FLOAT, behind=("Add(_, channels)",)),
    "Mul by a number": Pattern(weight=FLOAT, behind=("Mul(_, number)",)),
    "two readers of the input": Pattern(more="z = Neg(x)", outputs=", float z"),
    "two equal readers": Pattern(
        more="s = QuantizeLinear(c, sy, zy) z = DequantizeLinear(s, sy, zy)", outputs=", float z"
    ),
}
"""What some version of ONNX Runtime from 1.17.3 to 1.32 computes in integers."""

ALMOST: dict[str, Pattern] = {
    "an output of the graph": Pattern(outputs=", float c"),
    "bias of 8 bits": Pattern(bias="b = DequantizeLinear(bias8, sw)"),
    "bias computed from 32 bits": Pattern(bias="d = DequantizeLinear(bias32, sb) b = Mul(d, number)"),
    "dequantized bias, float weight": Pattern(weight=FLOAT, bias="b = DequantizeLinear(bias32, sb)"),
    "weight computed from 8 bits": Pattern(weight="u = DequantizeLinear(q, sw, zw) w = Mul(u, number)"),
    "MaxPool, by channels": Pattern(before=(f"{MAX_POOL}(_)",), constants=PER_AXIS),
    "float weight, by channels": Pattern(weight=FLOAT, constants=PER_AXIS),
    "Relu that matters": Pattern(behind=("Relu(_)",)),
    "narrow Clip": Pattern(behind=("Clip(_, number, high)",)),
    "Relu that matters, float weight": Pattern(behind=("Relu(_)",), weight=FLOAT),
    "BatchNormalization": Pattern(behind=("BatchNormalization(_, four, four, four, four)",)),
    "Add": Pattern(behind=("Add(_, channels)",)),
    "Add behind MaxPool": Pattern(weight=FLOAT, behind=(f"{MAX_POOL}(_)", "Add(_, channels)")),
    "FusedConv": Pattern(op_type="com.microsoft.FusedConv", constants=ZERO_AT_LEAST),
}
"""What all compute in float, but newer ones with a weight of 8 bits, if it is stored in float32, now or later."""

IN_FLOAT: dict[str, Pattern] = {
    "no quantized output": Pattern(is_output_quantized=False),
    "no quantized output, float weight": Pattern(weight=FLOAT, is_output_quantized=False),
    "no quantized input": Pattern(is_input_quantized=False),
    "bias computed in each run": Pattern(bias="b = ReduceMean<axes = [0, 2, 3], keepdims = 0>(x)"),
    "weight alone": Pattern(is_input_quantized=False, is_output_quantized=False),
    "MaxPool of an older opset": Pattern(before=(f"{MAX_POOL}(_)",), opset=11),
    "Flatten": Pattern(before=("Flatten(_)", "Reshape(_, shape)")),
    "Gather": Pattern(before=("Gather<axis = 0>(_, first)",)),
    "AveragePool": Pattern(before=("AveragePool<kernel_shape = [3, 3]>(_)",)),
    "Relu before": Pattern(before=("Relu(_)",)),
    "Mul before": Pattern(before=("Mul(_, number)",)),
    "Concat before": Pattern(before=("Concat<axis = 1>(_)",)),
    "Pad by reflection": Pattern(before=('Pad<mode = "reflect">(_, pads)',)),
    "Pad by ones": Pattern(before=("Pad(_, pads, number)",)),
    "LeakyRelu": Pattern(behind=("LeakyRelu(_)",)),
    "Sigmoid": Pattern(behind=("Sigmoid(_)",)),
    "Flatten behind": Pattern(behind=("Flatten(_)",)),
    "Add of a number to a float weight": Pattern(weight=FLOAT, behind=("Add(_, number)",)),
    "residual Add": Pattern(behind=("Add(_, x)",)),
    "two readers": Pattern(more="z = Neg(c)", outputs=", float z"),
    "two unlike readers": Pattern(
        more="s = QuantizeLinear(c, sw, zy) z = DequantizeLinear(s, sw, zy)", outputs=", float z"
    ),
}
"""What none of them does."""


def quantizes(model: ModelProto, folder: Path) -> bool:
    """Whether this ONNX Runtime makes a convolution of integers of it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    open_session(model, options)
    optimized = onnx.load(folder / "optimized.onnx")
    (operator,) = {node.op_type for node in walk_nodes(optimized)} & {"QLinearConv", "Conv", "FusedConv"}
    return operator == "QLinearConv"


def left_alone(model: ModelProto) -> bool:
    refusal = only_site(model).refusal
    assert refusal is None or refusal.code == "quantized", refusal
    return refusal is not None


@pytest.mark.parametrize("pattern", (IN_INTEGERS | ALMOST).values(), ids=IN_INTEGERS | ALMOST)
def test_what_some_runtime_computes_in_integers_is_left_alone(pattern: Pattern) -> None:
    assert left_alone(pattern.model())


@pytest.mark.parametrize("pattern", IN_FLOAT.values(), ids=IN_FLOAT)
def test_what_no_runtime_computes_in_integers_may_be_replaced(pattern: Pattern, tmp_path: Path) -> None:
    model = pattern.model()
    assert not left_alone(model)
    assert not quantizes(model, tmp_path)


NEWER = ("float", "BatchNormalization", "Add", "Mul", "Slice")
"""Words of patterns that only newer versions quantize."""

OLDER = ("MaxPool, Relu", "bias of another scale")
"""Patterns that only older versions quantize."""


@pytest.mark.parametrize("name", IN_INTEGERS)
def test_the_runtime_agrees(name: str, tmp_path: Path) -> None:
    agrees = quantizes(IN_INTEGERS[name].model(), tmp_path)
    if name in OLDER if IS_NEWEST else any(word in name for word in NEWER):
        return
    assert agrees


@pytest.mark.parametrize("pattern", IN_FLOAT.values(), ids=IN_FLOAT)
def test_without_the_library_a_replacement_is_not_quantized(pattern: Pattern, tmp_path: Path) -> None:
    rewritten = rewrite(pattern.model(), target="native", select="all", validate=False)
    assert [row.lowering for row in rewritten.report.rows] == ["fftconv"]
    assert not quantizes(rewritten.model, tmp_path)
    optimized = onnx.load(tmp_path / "optimized.onnx")
    weights = [tensor for tensor in optimized.graph.initializer if len(tensor.dims) == 4]
    assert [tensor.data_type for tensor in weights] == [TensorProto.FLOAT]


HEAD = "v = QuantizeLinear(i, sx, zx) x = DequantizeLinear(v, sx, zx)"
CONV = "c = Conv<pads = [1, 1, 1, 1]>(x, w)"
TAIL = "r = QuantizeLinear(c, sy, zy) y = DequantizeLinear(r, sy, zy)"


def branch(inside: str, outside: str, behind: str, result: str) -> str:
    """A model whose Conv stands in a branch."""
    return f"""g (float[1, 4, 12, 12] i, bool k) => (float y) {{
        {outside}
        {result} = If (k) <
            then_branch = t () => (float[1, 4, 12, 12] t0) {{ {inside} }},
            else_branch = e () => (float[1, 4, 12, 12] e0) {{ e0 = Identity(i) }}
        >
        {behind}
    }}"""


BODIES = {
    "all inside": (branch(f"{HEAD} {DEQUANTIZED} {CONV} {TAIL.replace('y =', 't0 =')}", "", "", "y"), True, True),
    "weight outside": (branch(f"{HEAD} {CONV} {TAIL.replace('y =', 't0 =')}", DEQUANTIZED, "", "y"), True, False),
    "input outside": (branch(f"{DEQUANTIZED} {CONV} {TAIL.replace('y =', 't0 =')}", HEAD, "", "y"), False, False),
    "output outside": (branch(f"{HEAD} {DEQUANTIZED} {CONV.replace('c =', 't0 =')}", "", TAIL, "c"), False, False),
}
"""Text, whether the Conv is left alone, and whether ONNX Runtime computes it in integers."""


@pytest.mark.parametrize(("text", "is_left", "in_integers"), BODIES.values(), ids=BODIES)
def test_a_body_is_a_model_of_its_own(text: str, is_left: bool, in_integers: bool, tmp_path: Path) -> None:
    model = build(text)
    assert left_alone(model) is is_left
    assert quantizes(model, tmp_path) is in_integers


@pytest.mark.skipif(not IS_NEWEST, reason="an older ONNX Runtime leaves float weights alone")
@pytest.mark.parametrize("name", ["Relu that matters, float weight"])
def test_a_float_weight_is_quantized_even_if_the_conv_is_not(name: str, tmp_path: Path) -> None:
    """Why a Conv of any weight is left alone there: its replacement would hold a float weight."""
    assert not quantizes(ALMOST[name].model(), tmp_path)
    optimized = onnx.load(tmp_path / "optimized.onnx")
    weights = [tensor for tensor in optimized.graph.initializer if tuple(tensor.dims) == FLOAT_WEIGHT.shape]
    assert [tensor.data_type for tensor in weights] == [TensorProto.INT8]


def test_functions_are_looked_into(tmp_path: Path) -> None:
    """A Conv in a function between quantized callers, and quantization by functions."""
    weight = "w = Constant<value = float[4, 4, 1, 1] {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}>()"
    inside = f"""g (float[1, 4, 12, 12] i) => (float y) {{ {HEAD} c = local.F(x) {TAIL} }}
        <opset_import: ["" : 17], domain: "local"> F (a) => (b) {{ {weight} b = Conv(a, w) }}"""
    outside = f"""g (float[1, 4, 12, 12] i) => (float y) {{
            x = local.Q(i, sx, zx) {DEQUANTIZED} {CONV} y = local.Q(c, sy, zy)
        }}
        <opset_import: ["" : 17], domain: "local"> Q (a, s, z) => (b) {{
            q = QuantizeLinear(a, s, z) b = DequantizeLinear(q, s, z)
        }}"""
    plain = inside.replace(TAIL, "y = Neg(c)")
    assert left_alone(build(inside))
    assert left_alone(build(outside)) and quantizes(build(outside), tmp_path)
    assert not left_alone(build(plain)) and not quantizes(build(plain), tmp_path)


@pytest.mark.parametrize("target", ["standard", "native"])
def test_a_float_conv_of_a_quantized_model_is_replaced_and_the_rest_stays(target: Any) -> None:
    """The first Conv stays in integers, the second, whose result is not quantized, is computed in float."""
    text = f"""g (float[1, 4, 12, 12] i) => (float z) {{
        {HEAD} {DEQUANTIZED} {CONV} {TAIL}
        z = Conv<pads = [1, 1, 1, 1]>(y, w)
    }}"""
    model = build(text)
    result = rewrite(model, target=target, select="all", lowering="matmul" if target == "standard" else "auto")
    assert [row.code for row in result.report.rows] == ["quantized", ""]
    assert [node.op_type for node in result.model.graph.node][:6] == [node.op_type for node in model.graph.node][:6]
    feeds = {"i": RNG.standard_normal((1, 4, 12, 12)).astype(np.float32)}
    before, after = run_model(model, feeds)[0], run_model(result.model, feeds)[0]
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * float(np.abs(before).max()))
