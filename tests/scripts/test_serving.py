"""scripts/serving: a program in ONNX Runtime's C interface, built and run with the native library and without it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import onnx_fft
from onnx_fft.fourier.oracle import conv_direct
from scripts.shared.conv_models import Array, build_conv_model, draw_weights
from scripts.shared.layers import make_spec
from scripts.shared.paths import ROOT
from tests.native_models import make_model

SERVING = ROOT / "scripts" / "serving"
ORT = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
OLDEST_WITH_LIBRARY = (1, 19)
ORT_VARIABLE = "ONNX_FFT_TEST_ORT"
"""The environment variable that names a libonnxruntime.so to test in place of the Python package's."""

SPEC = make_spec((8, 8), (15, 15), (40, 50), has_bias=True)  # so large that the library transforms
RELATIVE_L2 = {"library": 5e-7, "function": 1e-6}
"""Against float64: an FFT, and ONNX Runtime's sum of 1,800 products."""


@dataclass(frozen=True)
class Files:
    """A model with FFTConv nodes, its input, and the output in float64."""

    model: Path
    x: Path
    expected: Array

    @property
    def shape(self) -> str:
        return "x".join(str(length) for length in self.expected.shape)


@pytest.fixture(scope="module")
def ort_library() -> str:
    """The argument of build.sh: empty for the library in the Python package."""
    chosen = os.environ.get(ORT_VARIABLE, "")
    if not chosen and ORT < OLDEST_WITH_LIBRARY:
        pytest.skip(
            f"the package onnxruntime {onnxruntime.__version__} has no C library, and {ORT_VARIABLE} names none"
        )
    return chosen


@pytest.fixture(scope="module", params=["g++", pytest.param("clang++", marks=pytest.mark.slow)])
def run_model(request: pytest.FixtureRequest, ort_library: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, as each compiler builds it without a warning."""
    if shutil.which(request.param) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{request.param} is missing; scripts/setup/compilers.sh installs it")
        pytest.skip(f"no {request.param}")
    folder = tmp_path_factory.mktemp("serving")
    command = ["bash", str(SERVING / "build.sh"), str(folder), *([ort_library] if ort_library else [])]
    environment = {**os.environ, "PYTHON": sys.executable, "CXX": request.param, "CXXFLAGS": "-Werror"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return folder / "run_model"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("model")
    weight, bias = draw_weights(SPEC)
    rewritten = onnx_fft.rewrite(build_conv_model(SPEC, weight, bias), target="native", select="all").model
    onnx.save(rewritten, folder / "native.onnx")
    x = np.random.default_rng(5).standard_normal((1, 8, 40, 50)).astype(np.float32)
    x.tofile(folder / "x.bin")
    geometry = SPEC.geometry
    return Files(folder / "native.onnx", folder / "x.bin", conv_direct(x, weight, bias, geometry))


def call(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(program), *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def compute(program: Path, files: Files, folder: Path, library: Path | None) -> tuple[Array, str]:
    """The output, and what the program said of it."""
    output = folder / ("function.bin" if library is None else "library.bin")
    done = call(program, files.model, files.shape, files.x, output, *([] if library is None else [library]))
    assert done.returncode == 0, done.stderr
    return np.fromfile(output, np.float32).reshape(files.expected.shape), done.stdout


def relative_l2(y: Array, expected: Array) -> float:
    return float(np.linalg.norm(y - expected) / np.linalg.norm(expected))


@pytest.mark.slow
def test_with_the_library(run_model: Path, files: Files, tmp_path: Path, native_library: Path) -> None:
    """The last bits show that the library computed: they are those it gives in Python, not the function's."""
    y, said = compute(run_model, files, tmp_path, native_library)
    assert relative_l2(y, files.expected) < RELATIVE_L2["library"]
    assert said.startswith(f"{files.shape} in ")
    assert said.endswith(" with the library\n")
    x = np.fromfile(files.x, np.float32).reshape(files.expected.shape)
    (in_python,) = onnx_fft.InferenceSession(files.model).run(None, {"x": x})
    np.testing.assert_array_equal(y, in_python)
    assert (y != compute(run_model, files, tmp_path, None)[0]).any()


def test_without_the_library(run_model: Path, files: Files, tmp_path: Path) -> None:
    y, said = compute(run_model, files, tmp_path, None)
    assert relative_l2(y, files.expected) < RELATIVE_L2["function"]
    assert said.endswith(" alone\n")


def test_errors_are_sentences(run_model: Path, files: Files, tmp_path: Path) -> None:
    output, whole_numbers = tmp_path / "y.bin", tmp_path / "whole.onnx"
    model = make_model([helper.make_node("Shape", ["x"], ["y"])], {"x": ("float32", [1, 8, 40, 50])}, {})
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, whole_numbers)
    for arguments, sentence in (
        ((files.model, files.shape, files.x, output, tmp_path / "gone.so"), r"gone\.so"),
        ((tmp_path / "gone.onnx", files.shape, files.x, output), r"gone\.onnx"),
        ((files.model, "1x8x40", files.x, output), "got 64000 bytes in .*; expected 1280 bytes, 1x8x40 of float32"),
        ((whole_numbers, files.shape, files.x, output), "got an output of type 7; expected float32"),
        ((files.model, "40x50x8", files.x, output), "rank"),
        ((files.model, "1x?", files.x, output), r"got the shape '1x\?'; expected lengths such as"),
        ((files.model, files.shape, tmp_path / "gone.bin", output), "cannot read .*gone.bin; expected 64000 bytes"),
        ((files.model, files.shape, files.x, tmp_path / "gone" / "y.bin"), "cannot write .*y.bin"),
    ):
        done = call(run_model, *arguments)
        assert done.returncode == 1, arguments
        assert re.search(f"^run_model: .*{sentence}", done.stderr), done.stderr
        assert not output.exists()
    assert call(run_model).returncode == 2


@pytest.mark.slow
@pytest.mark.usefixtures("native_library")
def test_what_the_page_says(ort_library: str, tmp_path: Path) -> None:
    """Its commands, on the model that it names; with the library and without it they give the same."""
    if ort_library:
        pytest.skip("the page takes the library in the Python package")
    blocks = re.findall(r"^```sh\n(.*?)^```", (SERVING / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    (block,) = (block for block in blocks if "run_model" in block)
    for folder in ("scripts", "models"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHON": sys.executable}
    command = ["bash", "-euc", block]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    ours, theirs = (np.fromfile(tmp_path / "build" / name, np.float32) for name in ("y.bin", "y_by_function.bin"))
    assert 0 < relative_l2(ours, theirs) < 1e-5


def test_a_package_without_the_library_is_an_error(tmp_path: Path) -> None:
    """One as onnxruntime 1.17.3."""
    (tmp_path / "onnxruntime.py").write_text("__version__ = '1.17.3'\n")
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(tmp_path)}
    command = ["bash", str(SERVING / "build.sh"), str(tmp_path / "build")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "got onnxruntime 1.17.3, whose package holds no libonnxruntime.so; give the path of one" in done.stderr
    assert not (tmp_path / "build").exists()


def test_every_place_of_the_header_is_used() -> None:
    """By the program, and so by the tests that run it: a wrong place that is not used would go unnoticed."""
    header = (SERVING / "standin" / "onnxruntime_c_api.h").read_text()
    members = re.findall(r"\(\*(\w+)\)\(", header)
    assert len(members) > 20
    code = "".join((SERVING / name).read_text() for name in ("ort_session.h", "run_model.cpp", "load_model.cpp"))
    assert [name for name in members if not re.search(rf"->{name}\b", code)] == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_caller_may_close_the_library(native_library: Path) -> None:
    """As ONNX Runtime's Java interface does with its SessionOptions, while sessions still run the kernels."""
    code = (
        "import _ctypes, ctypes, sys\n"
        "_ctypes.dlclose(ctypes.CDLL(sys.argv[1])._handle)\n"
        "sys.exit(sys.argv[1] not in open('/proc/self/maps').read())\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(native_library.resolve())], check=False).returncode == 0
