"""ONNX Runtime and custom-op libraries: what is missing or refused is the call's fault, not the model's."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from onnx_fft.bench import bench
from onnx_fft.doctor import examine
from onnx_fft.errors import UsageError
from onnx_fft.native import library_path
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.report import describe
from onnx_fft.runtime.cuda import find_cuda_problem
from onnx_fft.runtime.libraries import find_libraries
from onnx_fft.session import InferenceSession
from onnx_fft.validate import validate
from scripts.shared.conv_models import Array
from tests.checks.pairs import flip, make_model, make_pair, replaced
from tests.models import W1, conv, relu


def open_session(before: ModelProto, _: ModelProto, custom_ops: list[Path]) -> object:
    return InferenceSession(before, custom_ops=custom_ops)


@pytest.mark.parametrize("call", [validate, bench, open_session])
def test_a_library_that_is_missing_or_refused_is_bad_usage(call: Any, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^got custom-op library '.*absent\.so', which is not a file; check the path$"
    ):
        call(*make_pair(), custom_ops=[tmp_path / "absent.so"])
    text = tmp_path / "text.so"
    text.write_text("not a library")
    with pytest.raises(
        UsageError, match=r"^got custom-op library '.*text\.so', which ONNX Runtime does not load \(.+\)"
    ):
        call(*make_pair(), custom_ops=[str(text)])


def test_a_library_in_the_working_directory_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left to the system, a name without a folder is looked for among the system's own libraries."""
    shutil.copy(library_path(), tmp_path / "mine.so")
    monkeypatch.chdir(tmp_path)
    assert find_libraries((), ["mine.so"]) == (tmp_path / "mine.so",)
    assert validate(*make_pair(), custom_ops=["mine.so"]).ok


def add_library_constant(model: ModelProto) -> ModelProto:
    """With bias `b` computed by our library from a constant: ONNX Runtime alone cannot fold it."""
    nodes = [
        helper.make_node("DFT", ["signal", "two"], ["bins"], domain=OPERATOR_DOMAIN, axis=1, inverse=0, onesided=0),
        helper.make_node("Reshape", ["bins", "four"], ["b"]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.opset_import.append(helper.make_opsetid(OPERATOR_DOMAIN, 1))
    return model


def test_a_single_conv_is_checked_with_the_libraries_in_both_models() -> None:
    constants: dict[str, Array] = {
        "signal": np.array([[[1], [2]]], np.float32),
        "two": np.array(2, np.int64),
        "four": np.array([4], np.int64),
    }
    before = make_model([conv("x", "c", "w", "b", name="conv"), relu("c", "y")], {"w": W1, **constants})
    swap = [replaced("x", "w", "c", site="conv", bias="b"), relu("c", "y")]
    after = make_model(swap, {"w": flip(W1), **constants})
    result = validate(add_library_constant(before), add_library_constant(after), custom_ops=[library_path()])
    (check,) = result.convs
    assert result.ok and check.ok, describe(result)
    assert check.relative_l2_original < 1e-6, "the original's own Conv ran alone as well"


@pytest.fixture
def no_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if ONNX Runtime were not installed."""
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return real(name, package)

    monkeypatch.setattr("onnx_fft.ort.importlib.import_module", import_module)
    find_cuda_problem.cache_clear()
    yield
    find_cuda_problem.cache_clear()


@pytest.mark.usefixtures("no_onnxruntime")
def test_doctor_says_that_onnxruntime_is_not_installed() -> None:
    diagnosis = examine()
    assert (diagnosis.onnxruntime, diagnosis.providers) == ("", ())
    assert diagnosis.problem.startswith("onnxruntime cannot be imported (No module")
    lines = [line.split() for line in describe(diagnosis).splitlines()]
    assert ["onnxruntime", "not", "installed"] in lines
    assert lines[-1][:6] == ["CUDA", "not", "here:", "onnxruntime", "cannot", "be"]
