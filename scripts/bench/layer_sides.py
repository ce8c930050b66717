"""The sides of a comparison that compute a layer from its weights, for `peer_worker.py`.

FOLDER holds what `model_sides.py` reads, with one input, x, and the layer beside it: `weights.npz` (weight, bias) and
`layer.json` (group, strides, dilations, pads_begin, pads_end).

Each side is called as its users call it: weights and input are ready, the output stays where the side puts it. If a
side has no uneven padding, the run includes padding the input. `scipy.signal.oaconvolve` knows no channels: a depthwise
layer is one call over all of them, any other is one call an output channel and a sum over the input channels.
`fft-conv-pytorch` transforms its weights in each run, because that is how it works.

Imports only the standard library, NumPy and its own side.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scripts.bench.model_sides import Array, Run, load_feeds, load_ncnn

Layer = Mapping[str, Any]


def open_torch(folder: Path, threads: int) -> Run:
    """`torch.nn.functional.conv1d`, `conv2d` or `conv3d`."""
    functional: Any = importlib.import_module("torch.nn.functional")

    def make(layer: Layer, weight: Any, bias: Any) -> Callable[[Any], Any]:
        convolve = getattr(functional, f"conv{len(layer['strides'])}d")
        geometry = (layer["strides"], _make_padding(layer), layer["dilations"], layer["group"])
        return lambda x: convolve(x, weight, bias, *geometry)

    return _run_in_torch(folder, threads, make)


def open_fft_conv(folder: Path, threads: int) -> Run:
    """`fft_conv_pytorch.fft_conv`."""
    package: Any = importlib.import_module("fft_conv_pytorch")

    def make(layer: Layer, weight: Any, bias: Any) -> Callable[[Any], Any]:
        options = {
            "padding": _make_padding(layer),
            "stride": layer["strides"],
            "dilation": layer["dilations"],
            "groups": layer["group"],
        }
        return lambda x: package.fft_conv(x, weight, bias=bias, **options)

    return _run_in_torch(folder, threads, make)


def _run_in_torch(folder: Path, threads: int, make: Callable[[Layer, Any, Any], Callable[[Any], Any]]) -> Run:
    """Uneven padding, if there is any, and what `make` makes of layer, weight and bias, without gradients."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)
    functional: Any = importlib.import_module("torch.nn.functional")
    layer = _load_layer(folder)
    x, weight, bias = (None if a is None else torch.from_numpy(a) for a in _load_arrays(folder))
    convolve = make(layer, weight, bias)
    pairs = list(zip(layer["pads_begin"], layer["pads_end"], strict=True))
    uneven = [] if _is_even(layer) else [pad for pair in reversed(pairs) for pad in pair]

    def run() -> list[Any]:
        with torch.inference_mode():
            return [convolve(functional.pad(x, uneven) if uneven else x)]

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

    def run() -> list[Array]:
        with fft.set_workers(threads):
            y = convolve()
        return [y if bias is None else y + bias.reshape(-1, *(1 for _ in axes))]

    return run


def open_nnpack(folder: Path, threads: int) -> Run:
    """NNPACK, which PyTorch ships: Winograd and FFT convolutions of 2-D layers."""
    torch: Any = importlib.import_module("torch")
    if not torch._nnpack_available():  # which prepares it as well
        raise ValueError("NNPACK does not run on this machine")
    torch.set_num_threads(threads)
    layer = _load_layer(folder)
    x, weight, bias = (None if a is None else torch.from_numpy(a) for a in _load_arrays(folder))

    def run() -> list[Any]:
        with torch.inference_mode():
            return [torch._nnpack_spatial_convolution(x, weight, bias, layer["pads_begin"], layer["strides"])]

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
    net = load_ncnn(folder / "layer.param", folder / "layer.bin", threads)

    def run() -> list[Array]:
        extractor = net.create_extractor()
        extractor.input("x", ncnn.Mat(x[0]))
        code, y = extractor.extract("y")
        return [np.asarray(y)[None] if code == 0 else np.empty(0)]

    return run


LAYER_SIDES: dict[str, Callable[[Path, int], Run]] = {
    "torch": open_torch,
    "fft_conv_pytorch": open_fft_conv,
    "scipy": open_oaconvolve,
    "nnpack": open_nnpack,
    "ncnn": open_ncnn,
}
"""By the name of the module that computes; NNPACK is a part of PyTorch."""


def _load_layer(folder: Path) -> dict[str, Any]:
    layer: dict[str, Any] = json.loads((folder / "layer.json").read_text())
    return layer


def _load_arrays(folder: Path) -> tuple[Any, Array | None, Array | None]:
    """The input, the weight and the bias."""
    with np.load(folder / "weights.npz") as stored:
        return load_feeds(folder)["x"], stored["weight"], stored.get("bias")
