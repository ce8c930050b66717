"""What the tests run on: the standard's own Conv cases, single-Conv models, real models, and proof of what ran.

Nothing here knows the package's rewriting; `tests/test_corpus.py` holds that every case is right as it stands.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnx_fft.sites.spec import ConvSpec
from scripts.shared.layers import input_shape, weight_shape

Array = NDArray[Any]
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
STANDARD_RTOL, STANDARD_ATOL = 1e-3, 1e-7
"""The tolerance with which ONNX judges its own cases."""

MIN_CONV_CASES, MIN_CAUSAL_CASES, MIN_CONVERTED_CASES, MIN_LIGHT_MODELS = 6, 13, 27, 9
"""How many cases onnx 1.23 ships; fewer means that the collection is broken."""

WEIGHT_INPUTS = ("W", "B", "weight", "bias")
"""Names under which the standard's Conv cases take weights and bias as graph inputs."""

NODE_CASE_MODULES = ("conv", "causal_conv_with_state", "convtranspose", "convinteger", "qlinearconv")
TENSOR_TYPES = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


@dataclass(frozen=True, eq=False)
class Case:
    """A model, what to feed it and what it must give, in the order of its graph outputs."""

    name: str
    model: ModelProto
    feeds: dict[str, Array]
    expected: tuple[Array, ...]

    def copy_model(self) -> ModelProto:
        """A model of one's own, to be changed at will."""
        copy = ModelProto()
        copy.CopyFrom(self.model)
        return copy


# --- the standard's cases -----------------------------------------------------------------------------------------


@lru_cache
def conv_cases() -> tuple[Case, ...]:
    """The Conv node cases of the standard, weights and bias baked into initializers."""
    return tuple(_bake_weights(case) for case in _node_cases("Conv") if len(case.model.graph.node) == 1)


@lru_cache
def causal_cases() -> tuple[Case, ...]:
    """The standard's CausalConvWithState cases expanded to primitive operators: a Conv among others, opset 27."""
    return tuple(_bake_weights(case) for case in _node_cases("Conv") if len(case.model.graph.node) > 1)


@lru_cache
def other_cases() -> tuple[Case, ...]:
    """Node cases of the operators that are to be left alone: ConvTranspose, ConvInteger, QLinearConv."""
    return tuple(case for kind in ("ConvTranspose", "ConvInteger", "QLinearConv") for case in _node_cases(kind))


def _node_cases(op_type: str) -> Iterator[Case]:
    """The node cases whose main graph holds an `op_type`, as the standard gives them."""
    for module in NODE_CASE_MODULES:
        try:
            importlib.import_module(f"onnx.backend.test.case.node.{module}")  # registers its cases
        except ModuleNotFoundError:
            if module != "causal_conv_with_state":  # newer than onnx 1.22
                raise
    registered: Any = importlib.import_module("onnx.backend.test.case.node")
    for case in registered._NodeTestCases:
        if any(node.op_type == op_type for node in case.model.graph.node):
            (inputs, outputs), *_ = case.data_sets
            names = [value.name for value in case.model.graph.input]
            feeds = {name: np.asarray(value) for name, value in zip(names, inputs, strict=True)}
            yield Case(case.name, case.model, feeds, tuple(np.asarray(value) for value in outputs))


def _bake_weights(case: Case) -> Case:
    """The same case with the inputs called like weights turned into initializers."""
    baked = [name for name in case.feeds if name in WEIGHT_INPUTS]
    if not baked:
        raise AssertionError(f"{case.name}: inputs {list(case.feeds)} hold none of {WEIGHT_INPUTS}")
    model = case.copy_model()
    kept = [value for value in model.graph.input if value.name not in baked]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(case.feeds[name], name) for name in baked)
    feeds = {name: value for name, value in case.feeds.items() if name not in baked}
    return Case(case.name, model, feeds, case.expected)


@lru_cache
def converted_cases() -> tuple[Case, ...]:
    """The PyTorch-converted Conv models of the standard: IR 3, opset 6, weights as initializers and graph inputs."""
    folders = [*DATA.glob("pytorch-converted/test_Conv*"), *DATA.glob("pytorch-operator/test_operator_conv*")]
    cases = (_load_case(folder) for folder in sorted(folders))
    return tuple(case for case in cases if any(node.op_type == "Conv" for node in case.model.graph.node))


def _load_case(folder: Path) -> Case:
    """A case stored as model.onnx with one data set of .pb tensors."""
    model = onnx.load(folder / "model.onnx")
    initialized = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in initialized]
    data = folder / "test_data_set_0"
    feeds = {name: read_tensor(data / f"input_{index}.pb") for index, name in enumerate(names)}
    expected = [read_tensor(data / f"output_{index}.pb") for index in range(len(model.graph.output))]
    return Case(folder.name, model, feeds, tuple(expected))


def read_tensor(path: Path) -> Array:
    """The array of a serialized TensorProto."""
    tensor = TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


@lru_cache
def light_paths() -> dict[str, Path]:
    """The ImageNet graphs of the onnx wheel by name ("resnet50", ...); their weights come from ConstantOfShape."""
    return {path.stem.removeprefix("light_"): path for path in sorted((DATA / "light").glob("light_*.onnx"))}


def load_light_case(name: str) -> Case:
    """An ImageNet graph with the input and the output the standard gives for it."""
    path = light_paths()[name]
    model = onnx.load(path)
    initialized = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name not in initialized:
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            count = int(np.prod(shape))
            feeds[value.name] = (np.arange(count).reshape(shape) / count).astype(np.float32)
    outputs = [path.with_name(f"{path.stem}_output_{index}.pb") for index in range(len(model.graph.output))]
    return Case(f"light_{name}", model, feeds, tuple(read_tensor(output) for output in outputs))


# --- single Convs -------------------------------------------------------------------------------------------------


def draw_weights(spec: ConvSpec, seed: int = 0) -> tuple[Array, Array | None]:
    """A weight and, where the spec has one, a bias, of the spec's dtype; outputs have a variance near 1."""
    rng = np.random.default_rng(seed)
    shape = weight_shape(spec)
    fan_in = max(1, int(np.prod(shape[1:])))
    weight = (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(spec.dtype)
    bias = rng.standard_normal(spec.out_channels).astype(spec.dtype) if spec.has_bias else None
    return weight, bias


def draw_input(spec: ConvSpec, seed: int = 1, batch: int = 1, extent: int = 32) -> Array:
    """An input `[batch, in_channels, *extents]` of the spec's dtype; `batch`, `extent` stand in for dynamic dims."""
    shape = input_shape(spec, batch, extent)
    return np.random.default_rng(seed).standard_normal(shape).astype(spec.dtype)


def build_conv_model(
    spec: ConvSpec,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    opset: int = 17,
    dynamic: Sequence[int] = (),
    ir_version: int = 8,
    **attributes: Any,
) -> ModelProto:
    """A model of one Conv "conv", `x -> y`, with the spec's geometry.

    Weights are drawn where none are given. Dims the spec leaves open, and the axes of the input in `dynamic` (0 is the
    batch), are symbolic. `attributes` override those of the Conv; one given as None is left out (`pads=None`,
    `auto_pad="SAME_UPPER"`).
    """
    if weight is None:
        weight, bias = draw_weights(spec)
    tensors = [numpy_helper.from_array(weight, "weight")]
    tensors += [] if bias is None else [numpy_helper.from_array(bias, "bias")]
    full: dict[str, Any] = {
        "kernel_shape": spec.kernel_shape,
        "strides": spec.strides,
        "dilations": spec.dilations,
        "pads": (*spec.pads_begin, *spec.pads_end),
        "group": spec.group,
        **attributes,
    }
    given = {name: value for name, value in full.items() if value is not None}
    node = helper.make_node("Conv", ["x", *(tensor.name for tensor in tensors)], ["y"], name="conv", **given)
    return _make_single(spec, node, tensors, opset, dynamic, ir_version)


def _make_single(
    spec: ConvSpec, node: onnx.NodeProto, tensors: list[TensorProto], opset: int, dynamic: Sequence[int], ir: int
) -> ModelProto:
    """The checked model around the node."""
    dims = (spec.batch, spec.in_channels, *spec.extents)
    open_axes = {axis for axis, dim in enumerate(dims) if dim is None} | set(dynamic)
    symbols = ("batch", "channels", *(f"extent{axis}" for axis in range(spec.rank)))
    x_shape = [symbols[axis] if axis in open_axes else dim for axis, dim in enumerate(dims)]
    lengths = (spec.batch, spec.out_channels, *spec.output_extents)
    y_shape = [f"{symbols[axis]}_out" if axis in open_axes - {0, 1} else dim for axis, dim in enumerate(lengths)]
    y_shape[0] = x_shape[0]
    dtype = TENSOR_TYPES[spec.dtype]
    graph = helper.make_graph(
        [node],
        "single_conv",
        [helper.make_tensor_value_info("x", dtype, x_shape)],
        [helper.make_tensor_value_info("y", dtype, y_shape)],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.checker.check_model(model, full_check=True)
    return model


# --- running ------------------------------------------------------------------------------------------------------


def open_session(model: ModelProto | Path, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """A session on the CPU provider with all optimizations, quiet about warnings."""
    options = options or ort.SessionOptions()
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_model(model: ModelProto | Path, feeds: Mapping[str, Array]) -> list[Array]:
    """All graph outputs, in order."""
    return list(open_session(model).run(None, dict(feeds)))


@contextmanager
def _profiling() -> Iterator[ort.SessionOptions]:
    """Session options that write a profile into a folder that goes away afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        yield options


def executed_op_types(model: ModelProto | Path, feeds: Mapping[str, Array]) -> Counter[str]:
    """How often each operator type ran in one run, read from ONNX Runtime's profile: proof of the path taken.

    Nodes inside If, Loop and Scan bodies count too, once an execution. Folded and fused nodes do not: they did not run.
    """
    with _profiling() as options:
        session = open_session(model, options)
        session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text())
    names = [event["args"]["op_name"] for event in events if event.get("name", "").endswith("_kernel_time")]
    if not names:
        raise AssertionError("the profile holds no kernel: nothing ran, or its format changed")
    return Counter(names)


def list_op_types(model: ModelProto) -> Counter[str]:
    """How often each operator type occurs, in the main graph, bodies of any depth and model-local functions."""
    counted: Counter[str] = Counter()
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        counted[node.op_type] += 1
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending.extend(graph.node)
    return counted
