"""Fixtures and settings of every test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, settings

import onnx_fft.lowering.matmul
from onnx_fft.errors import NativeUnavailable
from onnx_fft.fourier.spectrum import product_spectrum
from onnx_fft.native import library_path
from scripts.models.fetch import fetch
from scripts.shared.conv_models import build_conv_model
from tests.commands import SPEC

os.environ.setdefault("ONNX_FFT_PROFILE", "amd")  # predictions must not depend on how busy a machine is


class SleepingOptions(onnxruntime.SessionOptions):  # type: ignore[misc]
    """Threads that have nothing to do sleep: spinning, they would take the core that another worker computes on."""

    def __init__(self) -> None:
        super().__init__()
        self.add_session_config_entry("session.intra_op.allow_spinning", "0")


onnxruntime.SessionOptions = SleepingOptions

SEED = int(os.environ.get("ONNX_FFT_SEED", "20260101"))

settings.register_profile(
    "onnx-fft",
    deadline=None,  # a session takes its time on a shared machine
    print_blob=True,  # a failure prints what reproduces it
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("onnx-fft")


def pytest_report_header() -> str:
    """The versions and the seed that a failure has to be read with."""
    versions = f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, numpy {np.__version__}"
    return f"{versions}; ONNX_FFT_SEED={SEED}"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator of the run's seed, the same for a test however the tests are ordered."""
    print(f"{request.node.nodeid}: ONNX_FFT_SEED={SEED}")
    return np.random.default_rng(SEED)


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """`real_model(name)`: the path of a model of scripts/fetch_models.py. No network and no cache: the test fails."""
    return fetch


@pytest.fixture(scope="session")
def native_library() -> Path:
    """The native library; a test is skipped where none was built, and fails in CI, which has a compiler."""
    try:
        return library_path()
    except NativeUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    """A model of one Conv, `in.onnx` in a folder of its own."""
    path = tmp_path / "in.onnx"
    onnx.save(build_conv_model(SPEC), path)
    return path


@pytest.fixture
def break_matmul(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes the `matmul` lowering wrong by a factor."""

    def scale(factor: float) -> None:
        def wrong(*args: Any, **kwargs: Any) -> Any:
            return product_spectrum(*args, **kwargs) * factor

        monkeypatch.setattr(onnx_fft.lowering.matmul, "product_spectrum", wrong)

    return scale


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output as into a pipe: workers of pytest-xdist pass on the width of the terminal they were started from."""
    monkeypatch.delenv("COLUMNS", raising=False)
