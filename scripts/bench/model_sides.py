"""The sides of a comparison that read a model from a file, for `peer_worker.py`.

FOLDER holds `model.onnx`, `model.json` (the names of its "inputs" and "outputs", in order) and `feeds.npz` (the inputs'
arrays, in that order). Who does not read ONNX converts it first, with its own tool and for the shapes of the feeds; a
side that cannot raises an error, or ends. All compute in float32.

Imports only the standard library, NumPy and its own side.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Run = Callable[[], Sequence[Any]]
"""One run: the outputs, in the model's order, where the side has them; they last until the next run."""

PNNX_TYPES = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64"}


def load_feeds(folder: Path) -> dict[str, Array]:
    """The inputs by name."""
    with np.load(folder / "feeds.npz") as stored:
        return {name: stored[f"arr_{index}"] for index, name in enumerate(_load_names(folder)["inputs"])}


def _load_names(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = json.loads((folder / "model.json").read_text())
    return names


def open_onnxruntime(folder: Path, threads: int) -> Run:
    """ONNX Runtime with all optimizations."""
    ort: Any = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in load_feeds(folder).items():
        binding.bind_cpu_input(name, array)  # keeps the array, which an OrtValue would read but not keep
    for output in session.get_outputs():
        binding.bind_output(output.name)

    def run() -> Sequence[Any]:
        session.run_with_iobinding(binding)
        outputs: Sequence[Any] = binding.get_outputs()
        return outputs

    return run


def open_openvino(folder: Path, threads: int) -> Run:
    """OpenVINO in float32: by default it computes in bfloat16 if the processor has it."""
    openvino: Any = importlib.import_module("openvino")
    wishes = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    core, feeds = openvino.Core(), load_feeds(folder)
    model = core.read_model(folder / "model.onnx")
    model.reshape({name: list(array.shape) for name, array in feeds.items()})
    request = core.compile_model(model, "CPU", wishes).create_infer_request()
    for name, array in feeds.items():
        request.set_tensor(name, openvino.Tensor(array))
    count = len(model.outputs)

    def run() -> list[Array]:
        request.infer()
        return [request.get_output_tensor(index).data for index in range(count)]

    return run


def open_mnn(folder: Path, threads: int) -> Run:
    """MNN, which its own tool converts for. The tool's command would also report the model's size to its makers."""
    mnn: Any = importlib.import_module("MNN")
    expressions: Any = importlib.import_module("MNN.expr")
    files = ["--modelFile", str(folder / "model.onnx"), "--MNNModel", str(folder / "model.mnn")]
    importlib.import_module("_tools").mnnconvert(["mnnconvert", "-f", "ONNX", *files])
    if not (folder / "model.mnn").is_file():
        raise ValueError("mnnconvert makes no file")
    feeds, outputs = load_feeds(folder), _load_names(folder)["outputs"]
    runtime = mnn.nn.create_runtime_manager(({"backend": "CPU", "numThread": threads, "precision": "high"},))
    net = mnn.nn.load_module_from_file(str(folder / "model.mnn"), list(feeds), outputs, runtime_manager=runtime)

    def make_input(array: Array) -> Any:
        whole = np.issubdtype(array.dtype, np.integer)
        kind, dtype = (expressions.int, np.int32) if whole else (expressions.float, np.float32)
        return expressions.const(array.astype(dtype), list(array.shape), expressions.NCHW, kind)

    given = [make_input(array) for array in feeds.values()]

    rows: list[Any] = []  # which own what they show

    def run() -> list[Array]:
        rows[:] = [expressions.convert(y, expressions.NCHW) for y in net.forward(given)]
        return [row.read() for row in rows]

    return run


def open_pnnx(folder: Path, threads: int) -> Run:
    """ncnn, which pnnx converts for. It takes float32 only."""
    ncnn: Any = importlib.import_module("ncnn")
    feeds = load_feeds(folder)
    if others := [str(array.dtype) for array in feeds.values() if array.dtype != np.float32]:
        raise ValueError(f"ncnn takes float32 inputs, got {others[0]}")
    batch_axes = _convert_by_pnnx(folder, feeds)
    net = load_ncnn(folder / "model.ncnn.param", folder / "model.ncnn.bin", threads)
    names = [f"in{index}" for index in range(len(feeds))]
    given = {
        name: ncnn.Mat(array, **batch_axes.get(name, {})).clone()
        for name, array in zip(names, feeds.values(), strict=True)
    }
    outputs = [f"out{index}" for index in range(len(_load_names(folder)["outputs"]))]

    def run() -> list[Array]:
        extractor, found = net.create_extractor(), []
        for name, mat in given.items():
            extractor.input(name, mat)
        for name in outputs:
            code, y = extractor.extract(name)
            if code:
                raise ValueError(f"ncnn does not compute {name}")
            found.append(np.array(y.numpy(**batch_axes.get(name, {}))))
        return found

    return run


def _convert_by_pnnx(folder: Path, feeds: dict[str, Array]) -> dict[str, dict[str, int]]:
    """Write ncnn's two files, numbers in float32. Returns which axis of an input or output is its batch, as keywords.

    That is only in the example that pnnx writes beside them.
    """
    package = find_spec("pnnx")
    assert package is not None and package.origin is not None
    shapes = ",".join(f"[{','.join(map(str, array.shape))}]{PNNX_TYPES[str(array.dtype)]}" for array in feeds.values())
    command = [str(Path(package.origin).with_name("pnnx")), "model.onnx", f"inputshape={shapes}", "fp16=0"]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    example = (folder / "model_ncnn.py").read_text()
    found = re.findall(r"\b((?:in|out)\d+)\.numpy\((?:\), )?batch_index=(\d+)\)", example)
    return {name: {"batch_index": int(axis)} for name, axis in found}


def load_ncnn(param: Path, numbers: Path, threads: int) -> Any:
    """ncnn's net of the two files, in float32."""
    ncnn: Any = importlib.import_module("ncnn")
    net = ncnn.Net()
    net.opt.num_threads = threads
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    if net.load_param(str(param)) or net.load_model(str(numbers)):
        raise ValueError("ncnn does not load its own files")
    return net


MODEL_SIDES: dict[str, Callable[[Path, int], Run]] = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "MNN": open_mnn,
    "pnnx": open_pnnx,
}
"""By the name of the module that reads the model."""
