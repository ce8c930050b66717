"""What a file grows by is what the report says, however the file holds its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

import onnx_fft
from onnx_fft import rewrite
from onnx_fft.checks.conformity import find_nonconformity
from onnx_fft.errors import UsageError
from onnx_fft.lowering import find_lowering
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import walk_nodes
from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model, run_with_library
from tests.marks import mark_slow
from tests.models import build_model, info, two_convs

RNG = np.random.default_rng(11)
WEIGHT: Array = (RNG.standard_normal((16, 16, 9, 9)) / 40).astype(np.float32)
SHAPE = (1, 16, 30, 30)
X: Array = RNG.standard_normal(SHAPE).astype(np.float32)
INTEGERS: Array = np.round(WEIGHT * 1000).clip(-127, 127).astype(np.int8)
SCALE = np.array(0.001, np.float32)
LOWERINGS = (("standard", "matmul"), ("standard", "dft"), ("cuda", "rfft"), ("native", "fftconv"))


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def convolve(x: str = "x", y: str = "y", w: str = "w") -> NodeProto:
    return node("Conv", f"{x} {w}", y, name=y, pads=[4] * 4)


def make(*nodes: NodeProto, outputs: str = "y", **constants: Any) -> ModelProto:
    values = [info(name, TensorProto.FLOAT, [None] * 4) for name in outputs.split()]
    return build_model(nodes, [info("x", TensorProto.FLOAT, SHAPE)], values, constants)


def sparse(name: str = "") -> SparseTensorProto:
    """Every hundredth value of the weight."""
    places = np.arange(0, WEIGHT.size, 100)
    values = numpy_helper.from_array(WEIGHT.ravel()[places], name)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(places), WEIGHT.shape)


def with_sparse_initializer() -> ModelProto:
    model = make(convolve())
    model.graph.sparse_initializer.append(sparse("w"))
    return model


def in_function(*nodes: NodeProto) -> ModelProto:
    """`nodes` make the weight."""
    function = helper.make_function("local", "F", ["x"], ["y"], [*nodes, convolve()], [helper.make_opsetid("", 17)])
    model = make(node("F", "x", "y", domain="local"))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def constant(value: Array, name: str = "w") -> NodeProto:
    return node("Constant", "", name, value=numpy_helper.from_array(value))


def dequantize(y: str = "w") -> NodeProto:
    return node("DequantizeLinear", "q s", y)


HALF = WEIGHT.astype(np.float16)
CAST = node("Cast", "h", "w", to=TensorProto.FLOAT)
NORM: dict[str, Any] = {name: np.full(16, 1.5, np.float32) for name in ("scale", "shift", "mean", "variance")}
ONES = node("ConstantOfShape", "shape", "ones", value=numpy_helper.from_array(np.ones(1, np.float32)))

READABLE: dict[str, Callable[[], ModelProto]] = {
    "float32": lambda: make(convolve(), w=WEIGHT),
    "Constant node": lambda: make(constant(WEIGHT), convolve()),
    "float16": lambda: make(CAST, convolve(), h=HALF),
    "float64": lambda: make(CAST, convolve(), h=WEIGHT.astype(np.float64)),
    "8 bits by Cast and Mul": lambda: make(
        node("Cast", "q", "f", to=TensorProto.FLOAT), node("Mul", "f s", "w"), convolve(), q=INTEGERS, s=SCALE
    ),
    "sparse": with_sparse_initializer,
    "sparse Constant node": lambda: make(node("Constant", "", "w", sparse_value=sparse()), convolve()),
    "Expand": lambda: make(node("Expand", "h shape", "w"), convolve(), h=WEIGHT[:1], shape=np.array(WEIGHT.shape)),
    "Tile": lambda: make(node("Tile", "h times", "w"), convolve(), h=WEIGHT[:1], times=np.array([16, 1, 1, 1])),
    "ConstantOfShape": lambda: make(
        ONES, node("Mul", "ones s", "w"), convolve(), shape=np.array(WEIGHT.shape), s=SCALE
    ),
    "shared": lambda: make(convolve(), convolve("y", "z"), outputs="y z", w=WEIGHT),
    "shared float16": lambda: make(CAST, convolve(), convolve("y", "z"), outputs="y z", h=HALF),
    "an output as well": lambda: make(convolve(), node("Neg", "w", "z"), outputs="y z", w=WEIGHT),
    "in a function": lambda: in_function(constant(WEIGHT)),
    "float16 in a function": lambda: in_function(constant(HALF, "h"), CAST),
}
"""Weights that another node can read where they stand."""

OTHERS: dict[str, Callable[[], ModelProto]] = {
    "8 bits": lambda: make(dequantize(), convolve(), q=INTEGERS, s=SCALE),
    "8 bits, shared": lambda: make(dequantize(), convolve(), convolve("y", "z"), outputs="y z", q=INTEGERS, s=SCALE),
    "8 bits, twice": lambda: make(
        dequantize(), dequantize("v"), convolve(), convolve("y", "z", "v"), outputs="y z", q=INTEGERS, s=SCALE
    ),
    "8 bits, an output as well": lambda: make(
        dequantize(), convolve(), node("Neg", "w", "z"), outputs="y z", q=INTEGERS, s=SCALE
    ),
    "8 bits in a function": lambda: in_function(constant(INTEGERS, "q"), constant(SCALE, "s"), dequantize()),
    "BatchNormalization": lambda: make(
        convolve(y="c"), node("BatchNormalization", "c scale shift mean variance", "y"), w=WEIGHT, **NORM
    ),
    "BatchNormalization, float16": lambda: make(
        CAST, convolve(y="c"), node("BatchNormalization", "c scale shift mean variance", "y"), h=HALF, **NORM
    ),
    "BatchNormalization, shared": lambda: make(
        convolve(y="c"),
        node("BatchNormalization", "c scale shift mean variance", "y"),
        convolve("y", "z"),
        outputs="y z",
        w=WEIGHT,
        **NORM,
    ),
}
"""Weights that ONNX Runtime computes in each run, or that something is folded into."""

STORED = READABLE | OTHERS


def size_on_disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def text_bytes(model: ModelProto) -> int:
    """Bytes of a model without its constants."""
    kept = ModelProto()
    kept.CopyFrom(model)
    del kept.graph.initializer[:], kept.graph.sparse_initializer[:]
    for each in walk_nodes(kept):
        for attribute in each.attribute:
            attribute.ClearField("t")
            attribute.ClearField("sparse_tensor")
    return int(kept.ByteSize())


def replace_all(model: ModelProto | Path, target: str, lowering: str, **options: Any) -> onnx_fft.Rewritten:
    most = {"max_growth_bytes": 1 << 30, "opset": 17} | options
    return rewrite(model, target=target, lowering=lowering, select="all", validate=False, **most)


FAST = ("float16", "8 bits")
CASES = mark_slow(
    [(name, *lowering) for name in STORED for lowering in LOWERINGS],
    lambda case: case[0] not in FAST and case[2] != "fftconv",
    lambda case: f"{case[0]}, {case[2]}",
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[2]}")
def test_the_report_says_what_the_file_grows_by(case: tuple[str, str, str], tmp_path: Path) -> None:
    name, target, lowering = case
    original = STORED[name]()
    rewritten = replace_all(original, target, lowering)
    rewritten.save(tmp_path / "out.onnx")
    grown = size_on_disk(tmp_path) - original.ByteSize()
    report = rewritten.report
    assert all(row.lowering == lowering for row in report.rows)
    assert report.growth_bytes == pytest.approx(grown, rel=0.01, abs=100)
    predicted = sum(row.growth_bytes for row in report.rows)
    constants = grown - (text_bytes(rewritten.model) - text_bytes(original))
    names = 2500  # of constants, and what is said about them
    assert predicted >= constants - names, "it may count twice what is shared"
    if len(report.rows) == 1:
        assert predicted == pytest.approx(constants, rel=0.01, abs=names)


@pytest.mark.parametrize("name", STORED)
def test_native_files_keep_small_weights_or_stay_within_the_cap(name: str) -> None:
    original = STORED[name]()
    rewritten = replace_all(original, "native", "auto", max_growth_bytes=0)
    grown = rewritten.model.ByteSize() - original.ByteSize()
    assert grown <= 2500 * len(rewritten.report.rows)
    if name in READABLE:
        assert all(row.lowering == "fftconv" and row.growth_bytes == 0 for row in rewritten.report.rows)
    elif "8 bits" in name:
        assert {row.code for row in rewritten.report.rows} <= {"growth", ""}
        assert "growth" in {row.code for row in rewritten.report.rows}
        assert "KiB" in rewritten.report.rows[0].reason


@pytest.mark.parametrize("name", STORED)
def test_weights_that_are_kept_compute_the_same_and_are_constant_once_loaded(name: str, tmp_path: Path) -> None:
    """Without the library by the original's own Conv, with it by weights that ONNX Runtime has computed at load."""
    original = STORED[name]()
    rewritten = replace_all(original, "native", "auto").model
    assert not find_nonconformity(LoadedModel(original, None), LoadedModel(rewritten, None))
    expected = run_model(original, {"x": X})
    for values in (run_model(rewritten, {"x": X}), run_with_library(rewritten, {"x": X})):
        for value, reference in zip(values, expected, strict=True):
            np.testing.assert_allclose(value, reference, rtol=0, atol=1e-5 * float(np.abs(reference).max()))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnx_fft.InferenceSession(rewritten, options)
    optimized = onnx.load(tmp_path / "optimized.onnx")
    constants = {tensor.name for tensor in optimized.graph.initializer}
    constants |= {tensor.values.name for tensor in optimized.graph.sparse_initializer}
    nodes = [each for each in optimized.graph.node if each.domain == OPERATOR_DOMAIN]
    assert nodes and all(each.input[1] in constants for each in nodes)


@pytest.mark.parametrize(("target", "lowering"), LOWERINGS, ids=[name for _, name in LOWERINGS])
def test_data_outside_the_file_counts(target: str, lowering: str, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    path = before / "in.onnx"
    onnx.save(STORED["float16"](), path, save_as_external_data=True, location="in.data", size_threshold=0)
    rewritten = replace_all(path, target, lowering)
    rewritten.save(after / "out.onnx")
    grown = size_on_disk(after) - size_on_disk(before)
    assert rewritten.report.growth_bytes == pytest.approx(grown, rel=0.01, abs=100)


def test_a_replacement_that_does_not_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError("Unable to allocate 16.0 GiB")

    monkeypatch.setattr(find_lowering("matmul"), "build", fail)
    with pytest.raises(UsageError, match=r"whose replacement takes more memory.*16.0 GiB.*max_growth_bytes"):
        rewrite(two_convs(), lowering="matmul", include=["first"])
