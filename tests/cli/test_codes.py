"""Every exit code that the help of a command documents, returned by that command."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
from onnx import helper

from onnx_fft.cli import verbs
from onnx_fft.cli.arguments import EXIT_CODES, VERB_CODES
from onnx_fft.measure.cache import cache_folder
from onnx_fft.native import LIBRARY_VARIABLE
from onnx_fft.runtime import cuda
from scripts.shared.conv_models import build_conv_model
from scripts.shared.layers import make_spec
from tests.commands import run
from tests.gpu import rewrite_for_cuda
from tests.models import two_convs, write_two_convs

VERBS = tuple(VERB_CODES)
SEEN_BY_ALL = (0, 1, 2, 130)
UNFORESEEN = """
import sys
from onnx_fft.cli import main, verbs
def fail(*_): raise RuntimeError("a bug")
verbs.VERBS["cache"] = fail
sys.exit(main(["cache"]))
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command runs: `folder` holds `in.onnx`, which has two Convs."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    break_matmul: Callable[[float], None]

    @property
    def model(self) -> Path:
        return self.folder / "in.onnx"

    @property
    def output(self) -> Path:
        return self.folder / "out.onnx"

    @property
    def nowhere(self) -> Path:
        """A file in a folder that does not exist."""
        return self.folder / "missing" / "file"

    def lose_library(self) -> None:
        self.monkeypatch.setenv(LIBRARY_VARIABLE, str(self.nowhere))

    def lose_runtime(self) -> None:
        self.monkeypatch.setitem(sys.modules, "onnxruntime", None)

    def lose_cuda(self) -> None:
        self.monkeypatch.setattr(cuda, "find_cuda_problem", lambda: "no CUDA provider")

    def write_bound(self) -> Path:
        """A model with a model-local function of opset 12 that cannot be converted."""
        model = build_conv_model(make_spec((6, 6), (11, 11), (30, 30)), opset=12)
        mode = "tf_half_pixel_for_nn"
        node = helper.make_node("Resize", ["a", "b", "b"], ["c"], coordinate_transformation_mode=mode)
        model.functions.append(helper.make_function("f", "F", ["a", "b"], ["c"], [node], [helper.make_opsetid("", 12)]))
        model.opset_import.append(helper.make_opsetid("f", 1))
        onnx.save(model, self.folder / "bound.onnx")
        return self.folder / "bound.onnx"

    def write_other(self) -> Path:
        """A model that computes something else."""
        model = two_convs()
        model.graph.node[0].op_type, model.graph.node[0].domain = "FusedConv", "com.microsoft"
        model.graph.node[0].attribute.append(helper.make_attribute("activation", "Tanh"))
        onnx.save(model, self.folder / "other.onnx")
        return self.folder / "other.onnx"

    def write_for_cuda(self) -> Path:
        onnx.save(rewrite_for_cuda(two_convs()).model, self.folder / "cuda.onnx")
        return self.folder / "cuda.onnx"


def rewrite_wrongly(place: Place) -> int:
    place.break_matmul(2.0)
    return run("rewrite", place.model, place.output, "--lowering", "matmul")


def measure_without_library(place: Place, *command: object) -> int:
    place.lose_library()
    return run(*command, "--target", "native", "--select", "measure")


def measure_without_cuda(place: Place, *command: object) -> int:
    place.lose_cuda()
    return run(*command, "--target", "cuda", "--select", "measure")


def bench_without_cuda(place: Place) -> int:
    written = place.write_for_cuda()
    place.lose_cuda()
    return run("bench", place.model, written)


def run_without_runtime(place: Place, *command: object) -> int:
    place.lose_runtime()
    return run(*command)


def clear_what_stays(place: Place) -> int:
    """A folder in place of an entry of the cache: it cannot be unlinked."""
    (cache_folder() / f"{'0' * 64}.json").mkdir(parents=True)
    return run("cache", "--clear")


def diagnose_without_library(place: Place) -> int:
    place.lose_library()
    return run("doctor")


WAYS: dict[tuple[str, int], Callable[[Place], int]] = {
    ("rewrite", 2): lambda place: run("rewrite", place.nowhere, place.output),
    ("rewrite", 3): rewrite_wrongly,
    ("rewrite", 4): lambda place: run("rewrite", place.write_bound(), place.output, "--lowering", "dft"),
    ("rewrite", 5): lambda place: run("rewrite", place.model, place.nowhere),
    ("rewrite", 6): lambda place: measure_without_library(place, "rewrite", place.model, place.output),
    ("rewrite", 7): lambda place: measure_without_cuda(place, "rewrite", place.model, place.output),
    ("rewrite", 8): lambda place: run_without_runtime(place, "rewrite", place.model, place.output, "--select", "all"),
    ("inspect", 2): lambda place: run("inspect", place.nowhere),
    ("inspect", 4): lambda place: run("inspect", place.write_bound(), "--lowering", "dft"),
    ("inspect", 5): lambda place: run("inspect", place.model, "--report", place.nowhere),
    ("inspect", 6): lambda place: measure_without_library(place, "inspect", place.model),
    ("inspect", 7): lambda place: measure_without_cuda(place, "inspect", place.model),
    ("inspect", 8): lambda place: run_without_runtime(place, "inspect", place.model, "--select", "measure"),
    ("validate", 2): lambda place: run("validate", place.model, place.nowhere),
    ("validate", 3): lambda place: run("validate", place.model, place.write_other()),
    ("validate", 8): lambda place: run_without_runtime(place, "validate", place.model, place.model),
    ("bench", 2): lambda place: run("bench", place.model, place.nowhere),
    ("bench", 5): lambda place: run("bench", place.model, place.model, "--report", place.nowhere),
    ("bench", 7): bench_without_cuda,
    ("bench", 8): lambda place: run_without_runtime(place, "bench", place.model, place.model),
    ("cache", 2): lambda _: run("cache", "--no-such-flag"),
    ("cache", 5): clear_what_stays,
    ("doctor", 2): lambda _: run("doctor", "--no-such-flag"),
    ("doctor", 6): diagnose_without_library,
    ("doctor", 8): lambda place: run_without_runtime(place, "doctor"),
}
"""How a command comes to end with a code; 0, 1 and 130 have tests of their own."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, break_matmul: Callable[[float], None]) -> Place:
    write_two_convs(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Place(tmp_path, monkeypatch, break_matmul)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_documents_what_happens(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--help") == 0
    listed = capsys.readouterr().out.partition("exit codes:")[2]
    codes = [int(code) for code in re.findall(r"^  (\d+) ", listed, re.MULTILINE)]
    assert codes == sorted({*SEEN_BY_ALL, *(code for name, code in WAYS if name == verb)})
    assert set(codes) <= set(EXIT_CODES)


@pytest.mark.parametrize(("verb", "code"), WAYS)
def test_a_command_ends_with_its_code(verb: str, code: int, place: Place) -> None:
    assert WAYS[verb, code](place) == code


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["rewrite", "inspect", "validate", "bench", "cache"])
def test_success_is_zero(verb: str, place: Place) -> None:
    flags: dict[str, tuple[object, ...]] = {
        "rewrite": (place.model, place.output),
        "inspect": (place.model,),
        "validate": (place.model, place.model),
        "bench": (place.model, place.model, "--budget", "0.1s"),
        "cache": (),
    }
    assert run(verb, *flags[verb]) == 0


@pytest.mark.parametrize("verb", VERBS)
def test_an_interrupt_is_130(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(verbs.VERBS, verb, interrupt)
    files = {"rewrite": ("a", "b"), "inspect": ("a",), "validate": ("a", "b"), "bench": ("a", "b")}
    assert run(verb, *files.get(verb, ())) == 130


@pytest.mark.slow
def test_a_bug_is_one() -> None:
    done = subprocess.run([sys.executable, "-c", UNFORESEEN], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: a bug" in done.stderr


def test_all_documented_codes_are_returned_by_some_command() -> None:
    assert set(EXIT_CODES) == {*SEEN_BY_ALL, *(code for _, code in WAYS)}
