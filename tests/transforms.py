"""Models of DFT and STFT nodes, in ONNX's text form, which the tests of several rooms rewrite."""

from __future__ import annotations

import re

import numpy as np
from onnx import ModelProto

from scripts.shared.conv_models import Array
from tests.models import parse_model

WINDOW: Array = np.hanning(16).astype(np.float32) + np.float32(0.1)
CONSTANTS: dict[str, Array] = {
    "window": WINDOW,
    **{f"n{value}": np.array(value) for value in (0, 1, 2, 3, 5, 8, 16, 24, 1 << 27)},
    "real": np.array(1.5, np.float32),
    "many": np.arange(2),
    "nan": np.full(16, np.nan, np.float32),
    "short": np.ones(8, np.float32),
}

STFT = "g (float[2,64,1] x) => (float[a,b,c,d] y) { [stft] y = STFT(x, n5, window) }"
DFT = "g (float[6,24,1] x) => (float[a,b,c] y) { [dft] y = DFT<onesided=1>(x) }"


def parse(text: str, *, opset: int = 17) -> ModelProto:
    """The model, with those of `CONSTANTS` as initializers that it reads and does not make."""
    words = set(re.findall(r"\w+", text))
    read = {name: value for name, value in CONSTANTS.items() if name in words}
    return parse_model(text, read, opset=opset)


def draw(*shape: int, dtype: str = "float32") -> Array:
    """A signal."""
    return np.random.default_rng(5).standard_normal(shape).astype(dtype)
