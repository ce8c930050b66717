"""A model with one weight, large enough to be stored outside the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto
from onnx.external_data_helper import convert_model_to_external_data

from tests.models import parse_model

TEXT = "g (float[N,3,H,8] x) => (float[N,4,V,6] y) { [conv] y = Conv(x, W) }"
WEIGHT = np.random.default_rng(2).standard_normal((4, 3, 3, 40)).astype(np.float32)


def parse(text: str = TEXT, opset: int = 17, ir_version: int = 8) -> ModelProto:
    """A model from ONNX's text form with the weight `W`."""
    return parse_model(text, {"W": WEIGHT}, opset=opset, ir_version=ir_version)


def write_external(folder: Path, location: str = "m.bin", text: str = TEXT) -> Path:
    """A model in `folder` whose weight lies in another file."""
    folder.mkdir(exist_ok=True)
    (folder / location).parent.mkdir(exist_ok=True)
    model = parse(text)
    convert_model_to_external_data(model, location=location, size_threshold=0)
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"
