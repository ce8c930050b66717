"""A constant folds to the value ONNX Runtime computes; what only run time knows is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, SparseTensorProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from onnx_fft.errors import InvalidModelError, Refusal
from onnx_fft.model.io import LoadedModel, load_model
from onnx_fft.model.resolving import densify
from onnx_fft.model.scopes import find_scopes
from onnx_fft.model.weights import TensorType, resolve_constant, resolve_type
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model
from tests.marks import since_onnxruntime
from tests.models import parse_model


def parse(body: str, opset: int = 17, tensors: str = "", ir_version: int = 9) -> ModelProto:
    """A model `x -> w` whose nodes are `body`, of the newest IR version that every supported ONNX Runtime reads."""
    text = f"g (float[2,3] x) => (float[N] w) <{tensors}> {{ {body} }}"
    model = parse_model(text, {}, opset=opset, ir_version=ir_version)
    model.graph.output[0].type.Clear()
    return model


def resolve(model: ModelProto, base_dir: Path | None = None) -> Array | Refusal:
    return resolve_constant("w", find_scopes(model, base_dir)[0])


def assert_folds(model: ModelProto) -> Array:
    """The folded value of `w`, once it is that of ONNX Runtime in dtype, shape and every bit."""
    value = resolve(model)
    assert not isinstance(value, Refusal), value
    expected = run_model(model, {"x": np.zeros((2, 3), np.float32)})[0]
    assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(value, expected)
    assert resolve_type("w", find_scopes(model, None)[0]) == TensorType(
        value.shape, helper.np_dtype_to_tensor_dtype(value.dtype)
    )
    return value


def assert_refused(model: ModelProto, code: str, word: str) -> None:
    for found in (resolve(model), resolve_type("w", find_scopes(model, None)[0])):
        assert isinstance(found, Refusal)
        assert found.code == code
        assert word in found.reason


@pytest.mark.parametrize(
    "constant",
    [
        "value = float[2,2] {1, 2, 3, 4}",
        "value = double[1] {1.5}",
        "value_float = 2.5",
        "value_floats = [1.0, 0.1]",
        "value_int = 7",
        "value_ints = [7, 8]",
    ],
)
def test_constant_forms(constant: str) -> None:
    assert_folds(parse(f"w = Constant<{constant}>()"))


CHAINS = {
    "identity": "v = Identity(c) w = Identity(v)",
    "cast": "w = Cast<to=10>(c)",
    "reshape": "s = Constant<value_ints=[3, -1]>() w = Reshape(c, s)",
    "transpose": "w = Transpose<perm=[1, 0]>(c)",
    "unsqueeze": "a = Constant<value_ints=[0, 3]>() u = Unsqueeze(c, a) v = Squeeze(u) w = Unsqueeze(v, a)",
    "constant-of-shape": "s = Shape(c) w = ConstantOfShape<value = float[1] {0.25}>(s)",
    "weight-norm": "q = Mul(c, c) r = ReduceSum<keepdims=1>(q, one) n = Sqrt(r) d = Div(c, n) w = Mul(d, c)",
    "split": "a, b = Split<axis=1>(e) w = Add(b, a)",
    "concat": "w = Concat<axis=0>(c, c)",
    "slice": "w = Slice(c, one, two, one)",
    "gather": "w = Gather<axis=1>(c, one)",
    "expand": "s = Constant<value_ints=[4, 2, 3]>() w = Expand(c, s)",
    "pad": "p = Constant<value_ints=[0, 1, 0, 2]>() w = Pad(c, p)",
    "where": "z = Constant<value_float=0.0>() m = Cast<to=9>(c) w = Where(m, c, z)",
}


@pytest.mark.parametrize("body", CHAINS.values(), ids=CHAINS.keys())
def test_chains(body: str) -> None:
    tensors = "float[2,3] c = {1, 2, 3, 4, 5, 7}, float[2,2] e = {1, 2, 3, 4}, int64[1] one = {1}, int64[1] two = {2}"
    assert_folds(parse(body, tensors=tensors))


QUANTIZED = {
    "per tensor": (13, "DequantizeLinear(q, s, z)", "float s = {0.5}, int8 z = {3}"),
    "no zero point": (10, "DequantizeLinear(q, s)", "float s = {0.1}"),
    "per axis": (13, "DequantizeLinear<axis=0>(q, s, z)", "float[2] s = {0.5, 0.1}, int8[2] z = {3, -4}"),
    "last axis": (13, "DequantizeLinear<axis=-1>(q, s)", "float[4] s = {0.5, 0.1, 3, 4}"),
    "blocked": (21, "DequantizeLinear<axis=1, block_size=2>(q, s)", "float[2,2] s = {0.5, 0.1, 3, 4}"),
    "of ONNX Runtime": (13, "com.microsoft.DequantizeLinear(q, s, z)", "float s = {0.5}, int8 z = {3}"),
}


since_21 = since_onnxruntime(19, "knows opsets up to 20")


@pytest.mark.parametrize(
    ("opset", "node", "tensors"),
    [pytest.param(*case, id=name, marks=since_21 if case[0] > 20 else ()) for name, case in QUANTIZED.items()],
)
def test_dequantize_linear(opset: int, node: str, tensors: str) -> None:
    values = "int8[2,4] q = {-128, -7, 0, 1, 2, 99, 100, 127}, " + tensors
    assert assert_folds(parse(f"w = {node}", opset, values)).dtype == np.float32


@pytest.mark.parametrize("coordinates", [False, True])
def test_sparse(coordinates: bool) -> None:
    values = numpy_helper.from_array(np.array([5, 6], np.float32), "w")
    indices = np.array([[0, 2], [1, 1]] if coordinates else [2, 4])
    sparse = SparseTensorProto(values=values, indices=numpy_helper.from_array(indices), dims=[2, 3])
    model = parse("y = Identity(x)")
    model.graph.sparse_initializer.append(sparse)
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse)
    from_node = parse("y = Identity(x)")
    from_node.graph.node.append(node)
    for held in (model, from_node):
        np.testing.assert_array_equal(resolve(held), [[0, 0, 5], [0, 6, 0]])


@pytest.mark.parametrize(
    ("dims", "indices"),
    [
        ([2, 3], np.array([1, 6])),
        ([2, 3], np.array([1, -1])),
        ([2, 3], np.array([1, 2, 3])),
        ([2, 3], np.array([0.0, 1.0])),
        ([2, 3], np.array([[0, 0, 0], [1, 1, 1]])),
        ([-2, 3], np.array([0, 1])),
        ([1 << 60, 3], np.array([0, 1])),
    ],
)
def test_sparse_tensors_that_contradict_themselves(dims: list[int], indices: Array) -> None:
    values = numpy_helper.from_array(np.ones(2, np.float32), "w")
    sparse = SparseTensorProto(values=values, indices=numpy_helper.from_array(indices), dims=dims)
    with pytest.raises(InvalidModelError, match="sparse tensor 'w' of shape"):
        densify(sparse, None)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("w = Identity(x)", "'x' is an input"),
        ("c = Constant<value_float=1.0>() w = Add(c, x)", "'x'"),
        ("s = Constant<value_ints=[2]>() w = RandomNormal<shape=[2]>()", "RandomNormal"),
        ("c = Constant<value_float=1.0>() w = com.microsoft.Gelu(c)", "Gelu"),
        (
            "c = Constant<value_floats=[1.0, 2.0]>() d = Constant<value_floats=[1.0, 2.0, 3.0]>() w = Add(c, d)",
            "folded",
        ),
        ('c = Constant<value_string="a">() w = Identity(c)', "Constant"),
    ],
)
def test_run_time_values_are_refused(body: str, word: str) -> None:
    assert_refused(parse(body), "runtime-weight", word)


def test_long_chains_are_refused() -> None:
    nodes = " ".join(f"v{i + 1} = Identity(v{i})" for i in range(100))
    assert_refused(parse(f"{nodes} w = Identity(v100)", tensors="float[1] v0 = {1}"), "runtime-weight", "Identity")


def test_shared_operands_are_computed_once() -> None:
    doubling = " ".join(f"v{i + 1} = Add(v{i}, v{i})" for i in range(60))  # 2^60 visits otherwise
    assert float(assert_folds(parse(f"{doubling} w = Identity(v60)", tensors="float[1] v0 = {1}"))[0]) == 2.0**60


def test_broadcast_of_old_opsets_is_refused() -> None:
    body = "w = Add<broadcast=1, axis=0>(a, b)"
    model = parse(body, 6, "float[2,2] a = {1, 2, 3, 4}, float[2] b = {1, 2}")
    assert_refused(model, "runtime-weight", "broadcasting")


@pytest.mark.parametrize("ir_version", [3, 8])
def test_initializer_that_is_an_input(ir_version: int) -> None:
    model = parse("w = Identity(c)", tensors="float[1] c = {1}", ir_version=ir_version)
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1]))
    if ir_version == 3:
        np.testing.assert_array_equal(resolve(model), [1])
    else:
        assert_refused(model, "overridable-weight", "'c'")


# --- external data ------------------------------------------------------------------------------------------------


def save_external(folder: Path) -> LoadedModel:
    values = np.arange(3000, dtype=np.float32)
    model = parse("w = Identity(c)", tensors="float[1] pad = {1}")
    model.graph.initializer.append(numpy_helper.from_array(values, "c"))
    convert_model_to_external_data(model, location="m.bin", size_threshold=0)
    onnx.save(model, folder / "m.onnx")
    return load_model(folder / "m.onnx")


def test_external_data_is_read_on_demand(tmp_path: Path) -> None:
    loaded = save_external(tmp_path)
    assert len(loaded.model.SerializeToString()) < 3000
    np.testing.assert_array_equal(resolve(loaded.model, loaded.base_dir), np.arange(3000))
    assert len(loaded.model.SerializeToString()) < 3000


@pytest.mark.parametrize("location", ["../m.bin", "/etc/hostname", "a/../../m.bin", ""])
def test_external_data_stays_in_its_directory(tmp_path: Path, location: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "m.bin").write_bytes(bytes(12000))
    loaded = save_external(tmp_path / "in")
    loaded.model.graph.initializer[1].external_data[0].value = location
    with pytest.raises(InvalidModelError, match="relative path"):
        resolve(loaded.model, loaded.base_dir)


def test_unreadable_data_is_a_clear_error(tmp_path: Path) -> None:
    loaded = save_external(tmp_path)
    with pytest.raises(InvalidModelError, match="without a directory"):
        resolve(loaded.model, None)
    (tmp_path / "m.bin").write_bytes(bytes(100))
    with pytest.raises(InvalidModelError, match="cannot be read"):
        resolve(loaded.model, loaded.base_dir)
    (tmp_path / "m.bin").unlink()
    with pytest.raises(InvalidModelError, match="cannot be read"):
        resolve(loaded.model, loaded.base_dir)
    broken = parse("w = Identity(c)", tensors="float[4] c = {1, 2, 3, 4}")
    broken.graph.initializer[0].raw_data = b"abc"
    with pytest.raises(InvalidModelError, match="'c'"):
        resolve(broken)
