"""A run that does not end is ended, and said to be the model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from onnx_fft import validate
from onnx_fft.errors import UsageError
from onnx_fft.model.io import LoadedModel
from onnx_fft.runtime import engines
from onnx_fft.runtime.opening import open_runner
from scripts.shared.conv_models import Array
from tests.commands import run
from tests.models import W1, body_graph, conv, info, make_model

X: Array = np.zeros((2, 3, 13, 11), np.float32)


def looping_model(condition: float) -> ModelProto:
    """A Conv, then a Loop that goes on while what it carries is below `condition`."""
    body = body_graph(
        "body",
        [helper.make_node("Sin", ["a"], ["b"]), helper.make_node("ReduceMax", ["b"], ["most"], keepdims=0),
         helper.make_node("Less", ["most", "limit"], ["on"])],
        [info("i", 7, ()), info("go", 9, ()), info("a")],
        [info("on", 9, ()), info("b")],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["", "yes", "c"], ["y"], body=body)
    constants = {"w1": W1, "limit": np.array(condition, np.float32), "yes": np.array(True)}
    return make_model([conv("x", "c"), loop], constants, y=None)


ENDLESS, ENDING = looping_model(2), looping_model(-2)


@pytest.fixture(autouse=True)
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "MAX_RUN_S", 0.3)


def test_a_run_without_an_end_is_ended_and_the_session_lives() -> None:
    runner = open_runner(LoadedModel(ENDLESS))
    for _ in range(2):
        with pytest.raises(UsageError, match="one run, or never ends"):
            runner.run({"x": X})
    assert open_runner(LoadedModel(ENDING)).run({"x": X})["y"].shape == (2, 4, 13, 11)


def test_validating_a_model_without_an_end_is_refused() -> None:
    with pytest.raises(UsageError, match="check its Loops"):
        validate(ENDLESS, ENDLESS)
    with pytest.raises(UsageError, match="check its Loops"):
        validate(ENDING, ENDLESS)


def test_the_command_ends_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(ENDLESS, tmp_path / "in.onnx")
    assert run("rewrite", tmp_path / "in.onnx", tmp_path / "out.onnx", "--select", "all") == 2
    assert "--input-shape" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()
