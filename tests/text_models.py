"""Small models from ONNX's text form, with data outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper, parser
from onnx.external_data_helper import convert_model_to_external_data

TEXT = "g (float[N,3,H,8] x) => (float[N,4,V,6] y) { [conv] y = Conv(x, W) }"


def parse(text: str = TEXT, opset: int = 17, ir_version: int = 8) -> ModelProto:
    """A model from ONNX's text form with a weight `W` of shape `[4, 3, 3, 20]`, large enough to be stored outside."""
    imports = f'opset_import: ["" : {opset}, "plugin" : 1, "local" : 1]'
    model: ModelProto = parser.parse_model(f"<ir_version: {ir_version}, {imports}> {text}")
    weight = np.random.default_rng(2).standard_normal((4, 3, 3, 40)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "W"))
    return model


def write_external(folder: Path, location: str = "m.bin") -> Path:
    """A model in `folder` whose weight lies in another file."""
    folder.mkdir(exist_ok=True)
    (folder / location).parent.mkdir(exist_ok=True)
    model = parse()
    convert_model_to_external_data(model, location=location, size_threshold=0)
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def list_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
