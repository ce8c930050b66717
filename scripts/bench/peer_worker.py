"""One side of a comparison with a peer, in a process of its own: `python -P peer_worker.py SIDE FOLDER THREADS`.

FOLDER holds the layer: `arrays.npz` (x, weight, bias), `model.onnx` and `layer.json` (group, strides, dilations,
pads_begin, pads_end, output_shape). The answers are JSON, one a line: the first after a run whose output is in
`SIDE.npy`, then one for each line read, which says how many seconds to measure. An answer is `{"seconds": ...}` or
`{"error": ...}`.

Each side is called as its users call it: weights and input are ready, the output is new in each run. If a side has no
uneven padding, the run includes padding the input. `scipy.signal.oaconvolve` knows no channels: a depthwise layer is
one call over all of them, any other is one call an output channel and a sum over the input channels.
`fft-conv-pytorch` transforms its weights in each run, because that is how it works.

Imports only the standard library, NumPy and its own side.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Run = Callable[[], Any]
Layer = Mapping[str, Any]


def measure_block(run: Run, block_s: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median seconds of the runs within about `block_s`. The first does not count: it finds the other side's caches.

    A run that takes longer than the block counts as it is: caches hardly matter to it.
    """
    first = _time_run(run, clock)
    if first >= block_s:
        return first
    seconds: list[float] = []
    while not seconds or sum(seconds) < block_s:
        seconds.append(_time_run(run, clock))
    return float(np.median(seconds))


def _time_run(run: Run, clock: Callable[[], float]) -> float:
    started = clock()
    run()
    return clock() - started


def open_onnxruntime(folder: Path, threads: int) -> Run:
    """The Conv of `model.onnx`, with all optimizations."""
    ort: Any = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: _load_arrays(folder)[0]}
    return lambda: session.run(None, feeds)[0]


def open_openvino(folder: Path, threads: int) -> Run:
    """The same model, in float32: by default OpenVINO computes in bfloat16 if the processor has it."""
    openvino: Any = importlib.import_module("openvino")
    wishes = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(folder / "model.onnx"), "CPU", wishes).create_infer_request()
    request.set_input_tensor(openvino.Tensor(_load_arrays(folder)[0]))

    def run() -> Any:
        request.infer()
        return request.get_output_tensor().data

    return run


def open_torch(folder: Path, threads: int) -> Run:
    """`torch.nn.functional.conv1d`, `conv2d` or `conv3d`."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)
    functional: Any = importlib.import_module("torch.nn.functional")
    layer = _load_layer(folder)
    x, weight, bias = (None if a is None else torch.from_numpy(a) for a in _load_arrays(folder))
    convolve = getattr(functional, f"conv{len(layer['strides'])}d")
    geometry = (layer["strides"], _make_padding(layer), layer["dilations"], layer["group"])
    return _run_in_torch(torch, functional, x, layer, lambda padded: convolve(padded, weight, bias, *geometry))


def open_fft_conv(folder: Path, threads: int) -> Run:
    """`fft_conv_pytorch.fft_conv`."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)
    package: Any = importlib.import_module("fft_conv_pytorch")
    layer = _load_layer(folder)
    x, weight, bias = (None if a is None else torch.from_numpy(a) for a in _load_arrays(folder))
    options = {
        "padding": _make_padding(layer),
        "stride": layer["strides"],
        "dilation": layer["dilations"],
        "groups": layer["group"],
    }
    functional: Any = importlib.import_module("torch.nn.functional")
    return _run_in_torch(
        torch, functional, x, layer, lambda padded: package.fft_conv(padded, weight, bias=bias, **options)
    )


def _run_in_torch(torch: Any, functional: Any, x: Any, layer: Layer, convolve: Callable[[Any], Any]) -> Run:
    """Uneven padding, if there is any, and the convolution, without gradients."""
    pairs = list(zip(layer["pads_begin"], layer["pads_end"], strict=True))
    uneven = [] if _is_even(layer) else [pad for pair in reversed(pairs) for pad in pair]

    def run() -> Any:
        with torch.inference_mode():
            return convolve(functional.pad(x, uneven) if uneven else x)

    return run


def _is_even(layer: Layer) -> bool:
    return bool(layer["pads_begin"] == layer["pads_end"])


def _make_padding(layer: Layer) -> list[int]:
    """The padding the convolution itself does."""
    begin: list[int] = layer["pads_begin"]
    return begin if _is_even(layer) else [0] * len(begin)


def open_oaconvolve(folder: Path, threads: int) -> Run:
    """`scipy.signal.oaconvolve`, which has no stride and no dilation: the caller leaves such layers out."""
    signal: Any = importlib.import_module("scipy.signal")
    fft: Any = importlib.import_module("scipy.fft")
    layer = _load_layer(folder)
    x, weight, bias = _load_arrays(folder)
    if weight is None:
        raise ValueError(f"got no weight in {folder}")
    axes = tuple(range(2, x.ndim))
    pads = [(0, 0), (0, 0), *zip(layer["pads_begin"], layer["pads_end"], strict=True)]
    flipped = np.flip(weight, axes)
    out_channels, share = weight.shape[0], weight.shape[0] // layer["group"]
    depthwise = weight.shape[1] == 1 and share == 1

    def convolve() -> Array:
        padded = np.pad(x, pads) if any(map(any, pads)) else x
        if depthwise:
            return np.asarray(signal.oaconvolve(padded, flipped.swapaxes(0, 1), mode="valid", axes=axes))
        channels = []
        for o in range(out_channels):
            start = o // share * weight.shape[1]
            part = padded[:, start : start + weight.shape[1]]
            channels.append(signal.oaconvolve(part, flipped[o : o + 1], mode="valid", axes=axes).sum(1))
        return np.stack(channels, 1)

    def run() -> Array:
        with fft.set_workers(threads):
            y = convolve()
        return y if bias is None else y + bias.reshape(-1, *(1 for _ in axes))

    return run


def open_nnpack(folder: Path, threads: int) -> Run:
    """NNPACK, which PyTorch ships: Winograd and FFT convolutions of 2-D layers."""
    torch: Any = importlib.import_module("torch")
    if not torch._nnpack_available():  # which prepares it as well
        raise ValueError("NNPACK does not run on this machine")
    torch.set_num_threads(threads)
    layer = _load_layer(folder)
    x, weight, bias = (None if a is None else torch.from_numpy(a) for a in _load_arrays(folder))

    def run() -> Any:
        with torch.inference_mode():
            return torch._nnpack_spatial_convolution(x, weight, bias, layer["pads_begin"], layer["strides"])

    return run


def open_ncnn(folder: Path, threads: int) -> Run:
    """ncnn's layer, from its two files: text, and behind a flag (0 for float32) the numbers."""
    ncnn: Any = importlib.import_module("ncnn")
    layer = _load_layer(folder)
    x, weight, bias = _load_arrays(folder)
    assert weight is not None
    rank = weight.ndim - 2
    keys = {1: weight.shape[2:], 2: layer["dilations"], 3: layer["strides"], 4: layer["pads_begin"]}
    values = {0: weight.shape[0], 5: int(bias is not None), 6: weight.size, 7: layer["group"]}
    for key, lengths in keys.items():  # the last axis has the plain key, the one before 10 more, the one before that 20
        values |= {key + 10 * axis: length for axis, length in enumerate(reversed(lengths))}
    values |= dict(zip((15, 16, 17), reversed(layer["pads_end"]), strict=False))
    kind = ("Convolution1D", "Convolution", "Convolution3D")[rank - 1]
    if layer["group"] > 1:
        kind = kind.replace("Convolution", "ConvolutionDepthWise")
    settings = " ".join(f"{key}={value}" for key, value in values.items())
    (folder / "layer.param").write_text(f"7767517\n2 2\nInput x 0 1 x\n{kind} conv 1 1 x y {settings}\n")
    numbers = [np.zeros(1, np.float32), weight, *([] if bias is None else [bias])]
    (folder / "layer.bin").write_bytes(b"".join(array.tobytes() for array in numbers))
    net = ncnn.Net()
    net.opt.num_threads = threads
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    if net.load_param(str(folder / "layer.param")) or net.load_model(str(folder / "layer.bin")):
        raise ValueError("ncnn does not load the layer")

    def run() -> Array:
        extractor = net.create_extractor()
        extractor.input("x", ncnn.Mat(x[0]))
        code, y = extractor.extract("y")
        return np.array(y)[None] if code == 0 else np.empty(0)

    return run


def open_mnn(folder: Path, threads: int) -> Run:
    """MNN on the same model, converted by its own tool."""
    mnn: Any = importlib.import_module("MNN")
    expressions: Any = importlib.import_module("MNN.expr")
    code = "from MNN.tools.mnnconvert import main; main()"
    files = ["--modelFile", str(folder / "model.onnx"), "--MNNModel", str(folder / "model.mnn")]
    subprocess.run([sys.executable, "-c", code, "-f", "ONNX", *files], check=True, capture_output=True)
    runtime = mnn.nn.create_runtime_manager(({"backend": "CPU", "numThread": threads, "precision": "high"},))
    net = mnn.nn.load_module_from_file(str(folder / "model.mnn"), ["x"], ["y"], runtime_manager=runtime)
    x, shape = _load_arrays(folder)[0], _load_layer(folder)["output_shape"]
    given = expressions.const(x, list(x.shape), expressions.NCHW)

    def run() -> Array:
        (y,) = net.forward([given])
        rows = expressions.convert(y, expressions.NCHW)  # which owns what it shows
        return np.array(rows.read()).reshape(shape)

    return run


SIDES: dict[str, Callable[[Path, int], Run]] = {
    "onnxruntime": open_onnxruntime,
    "torch": open_torch,
    "openvino": open_openvino,
    "fft_conv_pytorch": open_fft_conv,
    "scipy": open_oaconvolve,
    "nnpack": open_nnpack,
    "ncnn": open_ncnn,
    "MNN": open_mnn,
}
"""By the name of the module that computes; NNPACK is a part of PyTorch."""


def _load_layer(folder: Path) -> dict[str, Any]:
    layer: dict[str, Any] = json.loads((folder / "layer.json").read_text())
    return layer


def _load_arrays(folder: Path) -> tuple[Any, Array | None, Array | None]:
    with np.load(folder / "arrays.npz") as stored:
        return stored["x"], stored["weight"], stored.get("bias")


def main(side: str, folder: str, threads: str) -> None:
    """Answer until the input ends; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        run = SIDES[side](Path(folder), int(threads))
        np.save(Path(folder) / f"{side}.npy", np.asarray(run()))
        answer({"seconds": None})
        for line in sys.stdin:
            answer({"seconds": measure_block(run, float(line))})
    except Exception as error:  # whatever the side raises is its answer
        answer({"error": " ".join(str(error).split())[:200] or type(error).__name__})


if __name__ == "__main__":
    main(*sys.argv[1:])
