"""The library's planner as Python calls it: its predictions are what nodes do, on rates that fit the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onnx_fft import OnnxFftError, inspect, rewrite
from onnx_fft.cost.choose import Request, choose
from onnx_fft.cost.extents import assume_sizes
from onnx_fft.cost.gains import LEAST_GAIN, MIN_GAIN_NATIVE, predict_gain
from onnx_fft.cost.machines import native_machine
from onnx_fft.cost.native import ask, predict_fftconv
from onnx_fft.errors import NativeUnavailable
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.native import planning, profile
from onnx_fft.native.planning import predict, read_rates, unit_names
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.conv_models import Array, build_conv_model, draw_input
from scripts.shared.layers import make_spec
from scripts.shared.running import run_with_library
from tests.commands import run
from tests.native.rewritten import forced

pytestmark = pytest.mark.usefixtures("native_library")

FFTCONV = ConvPlan("fftconv", ())


def run_kernel(spec: ConvSpec, x: Array) -> Array:
    """By ONNX Runtime's own Conv, unfolded: what a node calls."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = build_conv_model(spec).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    y: Array = session.run(None, {"x": x})[0]
    return y


BASIS = replace(make_spec((1, 402), (400,), (4000,), strides=(160,), pads="valid"), basis_length=400)
SHAPES = {
    "1x1": make_spec((16, 16), (1, 1), (40, 40)),
    "3x3, few channels": make_spec((3, 8), (3, 3), (40, 40)),
    "5x5": make_spec((32, 32), (5, 5), (40, 40)),
    "1-D, short": make_spec((8, 8), (3,), (500,)),
    "1-D, long": make_spec((8, 8), (301,), (2000,)),
    "3-D": make_spec((4, 8), (5, 5, 5), (16, 16, 16)),
    "depthwise": make_spec((16, 16), (9, 9), (40, 40), group=16),
    "stride": make_spec((8, 8), (7, 7), (40, 40), strides=(2, 2)),
}


@pytest.mark.parametrize("spec", [*SHAPES.values(), BASIS, replace(BASIS, extents=(400,))], ids=str)
def test_what_has_no_images_is_predicted_to_take_no_longer(spec: ConvSpec) -> None:
    rates = read_rates(measure=False)
    none, one = (predict(replace(ask(spec), batch=batch), rates) for batch in (0, 1))
    assert 0 < none.seconds <= one.seconds and 0 < none.kernel_seconds <= one.kernel_seconds


@pytest.mark.parametrize("name", SHAPES)
def test_a_node_calls_onnxruntime_where_the_prediction_says_so(name: str) -> None:
    """Its result is then the same bit for bit, and else it is not."""
    spec = SHAPES[name]
    found = predict_fftconv(spec, read_rates(measure=False))
    x = draw_input(spec)
    outputs = run_with_library(forced(build_conv_model(spec)), {"x": x})
    is_same = np.array_equal(outputs[0], run_kernel(spec, x))
    assert is_same is (found.kernel_seconds < found.seconds), found.plan


def test_both_ways_are_among_those_shapes() -> None:
    found = [predict_fftconv(spec, read_rates(measure=False)) for spec in SHAPES.values()]
    assert {each.kernel_seconds < each.seconds for each in found} == {True, False}


def test_seconds_are_work_times_rates() -> None:
    rates = read_rates(measure=False)
    found = predict_fftconv(SHAPES["5x5"], rates)
    assert found.seconds == pytest.approx(sum(map(lambda a, b: a * b, found.work.values(), rates)))
    twice = predict_fftconv(SHAPES["5x5"], tuple(2 * rate for rate in rates))
    assert twice.seconds == pytest.approx(2 * found.seconds)
    assert twice.plan == found.plan


def test_memory_is_predicted() -> None:
    """Spectra of 16 tiles a bin at least take as much as the weights do."""
    found = predict_fftconv(SHAPES["5x5"], read_rates(measure=False))
    assert found.weight_bytes > 4 * 32 * 32 * 25
    assert 0 < found.scratch_bytes <= 48 << 20


@pytest.mark.parametrize(("vector_bytes", "most"), [(32, 48), (64, 28)])
def test_blocks_of_wide_vectors_have_fewer_tiles(vector_bytes: int, most: int) -> None:
    """Their products take less time, so that spectra must be nearer. On rates at which no thread shares a block."""
    question = replace(ask(make_spec((64, 64), (3, 3), (224, 224))), vector_bytes=vector_bytes)
    rates = {"calls": 1e-4, "bytes": 1e-10, "dense_transforms": 5e-10, "dense_products": 5e-10, "dense_bytes": 4e-11}
    plan = predict(question, tuple(rates.get(name, 1e-8) for name in unit_names())).plan
    assert plan.startswith("dense") and int(plan.rsplit(" ", 1)[1]) <= most


def test_what_the_library_cannot_plan_is_an_error() -> None:
    question = planning.Question(1, 1, 1, 1, (2,), (5,), (1,), (1,), (0,), (0,))
    with pytest.raises(ValueError, match="shorter than the kernel"):
        predict(question, read_rates(measure=False))
    with pytest.raises(ValueError, match="got 1 rates"):
        predict(question, (1.0,))


# --- open sizes ---------------------------------------------------------------------------------------------------


def test_open_sizes_are_judged_over_a_range_and_the_node_decides() -> None:
    """Alone at batch 1 it does not gain; in a batch it does, and at batch 1 the node calls Conv."""
    spec = make_spec((256, 32), (64, 1), (65, 1), batch=None)
    machine = native_machine()
    gains = [predict_gain(known, FFTCONV, (machine,)) for known in assume_sizes(spec)]
    assert len(gains) == 3 and gains == sorted(gains)
    assert predict_gain(spec, FFTCONV, (machine,)) == (max(gains) if gains[0] >= LEAST_GAIN else gains[0])
    decision = choose(spec, 17, Request(target="native"))
    assert (decision.plan is not None) is (min(gains) >= LEAST_GAIN and max(gains) >= MIN_GAIN_NATIVE)


def test_the_report_says_for_which_sizes_it_is() -> None:
    decision = choose(make_spec((8, 8), (31,), (None,), batch=None), 17, Request(target="native"))
    assert "at the best of 9 sizes from 1x256 to 32x65536" in decision.reason


# --- profiles -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no profile given."""
    monkeypatch.delenv(profile.PROFILE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def find_again() -> planning.Rates:
    """As another process would."""
    profile._find_measured.cache_clear()
    return profile.find_rates()


def test_a_machine_is_measured_once(folder: Path) -> None:
    first = find_again()
    assert profile.profile_path().is_relative_to(folder)
    assert find_again() == pytest.approx(first, rel=1e-5)
    assert all(rate > 0 for rate in first) and len(first) == len(unit_names())


def change_processor(text: str) -> str:
    return text.replace("# processor: ", "# processor: another ", 1)


@pytest.mark.parametrize(
    "damage",
    [
        change_processor,
        lambda text: text.replace("# library: ", "# library: 0"),
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("transform_flops ", "transform_flops -"),
        lambda text: text + "more 1\n",
        lambda text: "",
        lambda text: "no profile at all",
    ],
    ids=["processor", "library", "cut off", "negative", "too much", "empty", "something else"],
)
def test_a_profile_that_is_damaged_or_of_something_else_is_measured_anew(
    folder: Path, damage: Callable[[str], str]
) -> None:
    find_again()
    path = profile.profile_path()
    right = path.read_text()
    path.write_text(damage(right))
    find_again()
    assert path.read_text().splitlines()[:3] == right.splitlines()[:3]
    assert [line.split()[0] for line in path.read_text().splitlines()[3:]] == list(unit_names())


def test_a_cache_that_cannot_be_written_is_no_error(folder: Path) -> None:
    (folder / "onnx-fft").write_text("a file where the folder should be")
    assert len(find_again()) == len(unit_names())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["absent", "cut off", "wrong", "right"])
def test_a_profile_that_is_given_must_be_whole(tmp_path: Path, kind: str) -> None:
    """In a process of its own, because the library reads it once."""
    path = tmp_path / "profile.txt"
    lines = [f"{name} 1e-10" for name in unit_names()]
    if kind != "absent":
        extra = ["bytes fast"] if kind == "wrong" else []
        path.write_text("\n".join(["# mine", *lines[: len(lines) - (kind == "cut off")], *extra]))
    code = "import onnx_fft, onnxruntime; onnx_fft.register(onnxruntime.SessionOptions())"
    environment = os.environ | {profile.PROFILE_VARIABLE: str(path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if kind == "right":
        assert done.returncode == 0, done.stderr
    else:
        assert f"got ONNX_FFT_PROFILE={path}" in done.stderr and "NativeUnavailable" in done.stderr


# --- without the library ------------------------------------------------------------------------------------------


@pytest.fixture
def no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNX_FFT_LIBRARY", str(tmp_path / "absent.so"))


@pytest.mark.usefixtures("no_library")
def test_planning_for_the_library_needs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_conv_model(SHAPES["5x5"])
    for act in (rewrite, inspect):
        with pytest.raises(NativeUnavailable, match=r"absent.so, which is not a file; .*correct it"):
            act(model, target="native")
    onnx.save(model, tmp_path / "in.onnx")
    assert run("inspect", tmp_path / "in.onnx", "--target", "native") == NativeUnavailable.exit_code
    assert run("rewrite", tmp_path / "in.onnx", tmp_path / "out.onnx", "--target", "native") == 6
    assert "absent.so" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.usefixtures("no_library")
def test_what_is_forced_or_planned_needs_no_library() -> None:
    result = rewrite(build_conv_model(SHAPES["5x5"]), target="native", select="all", validate=False)
    (row,) = result.report.rows
    assert (row.lowering, row.predicted_s) == ("fftconv", None)
    again = rewrite(build_conv_model(SHAPES["5x5"]), plan=result.plan, validate=False)
    assert again.model == result.model


def test_a_library_that_lacks_the_functions_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.so"
    other.write_bytes(b"not a library")
    monkeypatch.setenv("ONNX_FFT_LIBRARY", str(other))
    with pytest.raises(OnnxFftError, match="which cannot be used"):
        inspect(build_conv_model(SHAPES["5x5"]), target="native")
