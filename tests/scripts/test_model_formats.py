"""Models that are read from other formats, and those that are built: they compute what they should."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from scripts.models import checkpoint, ncnn
from scripts.models.published import PUBLISHED
from scripts.shared.running import list_op_types, run_model

PARAM = """7767517
6 7
Input in 0 1 data
Split copies 1 2 data kept passed
Convolution conv 1 1 passed sums 0=4 1=1 4=0 5=1 6=12
PReLU slopes 1 1 sums bent 0=4
PixelShuffle shuffle 1 1 bent large 0=2
Interp resize 1 1 kept wide 0=1 1=2.0e+00 2=2.0e+00
BinaryOp add 2 1 large wide output 0=0
"""


@pytest.mark.parametrize("flag", [ncnn.STORED_AS_FLOAT16, ncnn.STORED_AS_FLOAT32])
def test_a_network_in_ncnns_format(flag: int, tmp_path: Path) -> None:
    weight, bias, slope = np.arange(12) / 4 - 1, np.arange(4) / 8, np.array([0.5, 0.25, 2, 1])
    stored = weight.astype("<f2" if flag else "<f4").tobytes()
    content = np.array(flag, "<u4").tobytes() + stored + bias.astype("<f4").tobytes() + slope.astype("<f4").tobytes()
    (tmp_path / "net.param").write_text(PARAM)
    (tmp_path / "net.bin").write_bytes(content)
    x = np.random.default_rng(3).standard_normal((1, 3, 2, 5)).astype(np.float32)
    (y,) = run_model(ncnn.convert(tmp_path / "net.param"), {"data": x})
    sums = np.einsum("oi,nihw->nohw", weight.reshape(4, 3), x) + bias[:, None, None]
    bent = np.where(sums < 0, slope[:, None, None] * sums, sums)
    large = bent.reshape(1, 1, 2, 2, 2, 5).transpose(0, 1, 4, 2, 5, 3).reshape(1, 1, 4, 10)
    np.testing.assert_allclose(y, large + x.repeat(2, 2).repeat(2, 3), rtol=1e-5, atol=1e-5)


def test_weights_that_nobody_reads_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "net.param").write_text("7767517\n1 1\nInput in 0 1 data\n")
    (tmp_path / "net.bin").write_bytes(bytes(4))
    with pytest.raises(ValueError, match="got 4 bytes of weights; expected 0"):
        ncnn.convert(tmp_path / "net.param")


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bad/data.pkl", pickle.dumps(print))
    with pytest.raises(pickle.UnpicklingError, match="expected tensors only"):
        checkpoint.read_checkpoint(path)


SHAPES = {
    "dncnn": (1, 1, 24, 40),
    "unet3d": (1, 1, 16, 32, 16),
    "hifigan": (1, 80, 6),
    "resnet50": (1, 3, 224, 224),
    "mobilenet_v2": (1, 3, 224, 224),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_of_the_literature_runs(name: str) -> None:
    model = PUBLISHED[name]()
    assert list_op_types(model)["Conv"] == {"dncnn": 17, "unet3d": 19, "hifigan": 74, "resnet50": 53}.get(name, 52)
    (value,) = model.graph.input
    (y,) = run_model(model, {value.name: np.random.default_rng(4).standard_normal(SHAPES[name]).astype(np.float32)})
    assert 0.05 < y.std() < 50
    if name == "hifigan":
        assert y.shape == (1, 1, 6 * 256)


@pytest.mark.real_model
def test_video_frames_are_enlarged(real_model: Callable[[str], Path]) -> None:
    ramp = np.linspace(0.2, 0.8, 32)
    frame = np.stack([np.outer(ramp, ramp), ramp[None].repeat(32, 0), 0.5 + 0 * np.outer(ramp, ramp)])[None]
    (large,) = run_model(real_model("realesr_x2"), {"data": frame.astype(np.float32)})
    assert large.shape == (1, 3, 64, 64)
    assert abs(large[:, :, ::2, ::2] - frame).mean() < 0.05


@pytest.mark.real_model
def test_a_scan_has_a_background(real_model: Callable[[str], Path]) -> None:
    model = onnx.load(real_model("deepbet"))
    (found,) = run_model(model, {"scan": np.zeros((1, 1, 32, 64, 32), np.float32)})
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert found[0, 0].mean() > 0.5
