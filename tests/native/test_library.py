"""The library as a file: how Python finds it, what it exports, which kernels it picks, and what `doctor` says of it."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import ModelProto

import onnx_fft
import onnx_fft.doctor
from onnx_fft import native
from onnx_fft.doctor import examine
from onnx_fft.errors import NativeUnavailable
from onnx_fft.native.planning import read_isa
from scripts.shared.paths import ROOT
from tests.commands import run
from tests.native.isa import ISA_FLAGS, runs_here
from tests.native_models import Conv, assert_close, conv_model

SOURCES = Path(native.__file__).resolve().parent
OLDEST_API = 17

ROOMS = ("planner", "kernels", "engine", "ops")
"""The folders of the sources: each includes from itself and from those before it."""

needs_library = pytest.mark.usefixtures("native_library")


@needs_library
def test_session_takes_what_onnxruntime_takes(tmp_path: Path) -> None:
    conv = Conv()
    arrays = conv.arrays()
    model = conv_model(conv, arrays)
    onnx.save(model, tmp_path / "conv.onnx")
    options = onnxruntime.SessionOptions()
    for given in (tmp_path / "conv.onnx", str(tmp_path / "conv.onnx"), model.SerializeToString()):
        session = onnx_fft.InferenceSession(given, providers=["CPUExecutionProvider"])
        assert_close(session.run(None, {"x": arrays["x"]})[0], conv.expect(arrays), "float32")
    assert onnx_fft.register(options) is options
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert native.is_available()


@needs_library
def test_only_the_listed_symbols_are_exported(native_library: Path) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm")
    command = [nm, "-D", "--defined-only", str(native_library)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exports = re.findall(r"^ +([A-Za-z]+);$", (SOURCES / "ops" / "exports.map").read_text(), re.MULTILINE)
    assert "RegisterCustomOps" in exports
    assert {line.split()[-1] for line in listed.splitlines()} == set(exports)


def test_every_slot_of_the_header_is_called() -> None:
    """The sources call it, and so do the tests that run them: nobody would notice if an unused slot were wrong."""
    header = (SOURCES / "ops" / "abi.h").read_text()
    slots = re.findall(r"constexpr (?:Call|Slot)<(\d+)[^;]*>\s+(\w+);", header)
    assert len(slots) == len(re.findall(r"^constexpr (?:Call|Slot)<", header, re.MULTILINE))
    code = "".join(path.read_text() for name in ("*.cpp", "ort.h") for path in SOURCES.glob(f"ops/{name}"))
    assert [name for _, name in slots if not re.search(rf"\b{name}\(", code)] == []
    assert max(int(number) for number, _ in slots) < int(re.findall(r"slots\[(\d+)\]", header)[0])


def test_each_room_includes_from_below_only() -> None:
    """So only `ops` knows ONNX Runtime."""
    assert {path.parent.name for path in SOURCES.glob("*/*.cpp")} == set(ROOMS)
    for number, room in enumerate(ROOMS):
        allowed = ROOMS[: number + 1]
        for path in (SOURCES / room).iterdir():
            included = re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE)
            wrong = [name for name in included if Path(name).parent.name not in allowed]
            assert not wrong, f"got {wrong} in {room}/{path.name}; expected headers of {', '.join(allowed)}"
            assert room == "ops" or "Ort" not in path.read_text(), f"{room}/{path.name} knows ONNX Runtime"


class _ApiBase(ctypes.Structure):
    _fields_ = (("get_api", ctypes.c_void_p), ("get_version_string", ctypes.c_void_p))


@needs_library
def test_an_onnxruntime_too_old_gets_an_error(native_library: Path) -> None:
    """Its GetApi does not know version 17."""
    messages: list[bytes] = []

    def keep(_code: int, message: bytes) -> int:
        messages.append(message)
        return 1

    create_status = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)(keep)
    table = (ctypes.c_void_p * 300)(ctypes.cast(create_status, ctypes.c_void_p).value)
    get_api = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)(
        lambda version: ctypes.addressof(table) if version < OLDEST_API else None
    )
    version = ctypes.c_char_p(b"1.16.3")
    get_version = ctypes.CFUNCTYPE(ctypes.c_void_p)(lambda: ctypes.cast(version, ctypes.c_void_p).value)
    base = _ApiBase(*(ctypes.cast(function, ctypes.c_void_p).value for function in (get_api, get_version)))
    register = ctypes.CDLL(str(native_library)).RegisterCustomOps
    register.restype = ctypes.c_void_p
    assert register(None, ctypes.byref(base)) == 1
    assert messages == [b"onnx_fft: got ONNX Runtime 1.16.3; expected 1.17 or newer; install a newer one"]


def test_no_library_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(native.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr(native, "__path__", [str(tmp_path)])
    assert not native.is_available()
    calls: tuple[Callable[[], Any], ...] = (
        native.library_path,
        lambda: native.register(None),
        lambda: onnx_fft.InferenceSession(b""),
    )
    for call in calls:
        with pytest.raises(NativeUnavailable, match=r"\w+\.\w+ is not in .*; expected .*; install a wheel"):
            call()
    assert run("doctor") == NativeUnavailable.exit_code


def test_a_chosen_library_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(native.LIBRARY_VARIABLE, str(tmp_path / "gone.so"))
    with pytest.raises(NativeUnavailable, match=r"got ONNX_FFT_LIBRARY=.*gone.so, which is not a file"):
        native.library_path()
    (tmp_path / "text.so").write_text("no library")
    monkeypatch.setenv(native.LIBRARY_VARIABLE, str(tmp_path / "text.so"))
    assert not native.is_available()
    with pytest.raises(NativeUnavailable, match=r"text.so, which ONNX Runtime \S+ refuses"):
        native.register(onnxruntime.SessionOptions())


@pytest.mark.slow
@needs_library
@pytest.mark.parametrize("isa", ISA_FLAGS)
def test_each_instruction_set(isa: str) -> None:
    """In a process of its own, which chooses when it loads the library."""
    command = [sys.executable, "-m", "onnx_fft.cli", "doctor", "--json"]
    environment = {**os.environ, "ONNX_FFT_ISA": isa}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = json.loads(done.stdout)
    if runs_here(isa):
        assert done.returncode == 0, done.stderr
        assert found["isa"] == isa
        assert found["ok"] is True
    else:
        assert done.returncode == NativeUnavailable.exit_code
        assert f"got ONNX_FFT_ISA={isa}" in found["problem"]


@pytest.mark.slow
@needs_library
def test_an_unknown_instruction_set_is_an_error() -> None:
    environment = {**os.environ, "ONNX_FFT_ISA": "mmx"}
    command = [sys.executable, "-m", "onnx_fft.cli", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == NativeUnavailable.exit_code
    assert "got ONNX_FFT_ISA=mmx; this CPU runs baseline" in done.stderr


@needs_library
def test_doctor_finds_the_library_well(capsys: pytest.CaptureFixture[str], native_library: Path) -> None:
    assert run("doctor") == 0
    printed = capsys.readouterr().out
    assert str(native_library) in printed
    assert read_isa() in printed
    assert re.search(r"^built +(compiled here|ready-made for \S+), by \w+ [\d.]+ *$", printed, re.MULTILINE)
    assert "computed by the library" in printed
    assert run("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["onnxruntime"] == onnxruntime.__version__
    assert found["ok"] is True
    assert found["relative_l2"] < onnx_fft.doctor.RELATIVE_L2


@needs_library
def test_doctor_is_not_content_with_a_right_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the model's own function computes the same; doctor also finds a wrong result."""

    def plain(model: ModelProto, options: object = None) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnx_fft.doctor, "read_isa", lambda: "avx2")
    with monkeypatch.context() as patch:
        patch.setattr(onnx_fft.doctor, "RELATIVE_L2", 1e-12)
        assert "got a relative L2 error of" in examine().problem
    monkeypatch.setattr(onnx_fft.doctor, "InferenceSession", plain)
    found = examine()
    assert found.relative_l2 is not None
    assert found.relative_l2 < onnx_fft.doctor.RELATIVE_L2
    assert re.search(r"got the nodes \w.* in the profile of the self-test; expected FFTConv", found.problem)


@pytest.mark.slow
@needs_library
@pytest.mark.parametrize("isa", ISA_FLAGS)
def test_random_convolutions_on_each_instruction_set(isa: str) -> None:
    if not runs_here(isa):
        pytest.skip(f"this CPU has no {isa}; test_each_instruction_set holds that it is refused")
    seed = 0
    command = [sys.executable, "-m", "tests.native.trials_worker", str(seed), "400"]
    environment = {**os.environ, "ONNX_FFT_ISA": isa}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
