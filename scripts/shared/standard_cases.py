"""The standard's own cases as onnx ships them: Conv by Conv, converted from PyTorch, and whole ImageNet graphs.

Nothing here knows how the package rewrites. `tests/scripts/test_shared_models.py` checks that every case is right as it
stands.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from scripts.shared.conv_models import Array

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
STANDARD_RTOL, STANDARD_ATOL = 1e-3, 1e-7
"""The tolerance with which ONNX judges its own cases."""

MIN_CONV_CASES, MIN_CAUSAL_CASES, MIN_CONVERTED_CASES, MIN_LIGHT_MODELS = 6, 13, 27, 9
"""How many cases onnx 1.23 ships; fewer means that the collection is broken."""

WEIGHT_INPUTS = ("W", "B", "weight", "bias")
"""Names under which the standard's Conv cases take weights and bias as graph inputs."""

NODE_CASE_MODULES = ("conv", "causal_conv_with_state", "convtranspose", "convinteger", "qlinearconv", "dft", "stft")


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


@lru_cache
def fourier_cases() -> tuple[Case, ...]:
    """The node cases of DFT and STFT; lengths, axes and windows are graph inputs."""
    return tuple(case for kind in ("DFT", "STFT") for case in _node_cases(kind) if len(case.model.graph.node) == 1)


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
    return bake_inputs(case, baked)


def bake_inputs(case: Case, baked: Sequence[str]) -> Case:
    """The same case with these inputs turned into initializers."""
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
