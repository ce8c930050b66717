"""The cap on memory: what replacements hold is known before the model runs, and the least useful go first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from onnx_fft import inspect, rewrite
from onnx_fft.cli.hints import word_as_flag
from onnx_fft.cost.choose import Decision, Request, choose
from onnx_fft.cost.extents import ASSUMED_SIZES
from onnx_fft.cost.fourier import ASSUMED_LENGTHS, assume_length
from onnx_fft.cost.memory import Held, hold, limit_memory
from onnx_fft.errors import UsageError
from onnx_fft.hints import tell
from onnx_fft.lowering.base import FourierPlan
from onnx_fft.native.profile import find_rates
from onnx_fft.options import LEAST_MEMORY_BYTES
from onnx_fft.report.sentences import summarize_report
from onnx_fft.sites.fourier import DftSpec, MatMulSpec, StftSpec
from scripts.shared.layers import make_spec
from tests.commands import run
from tests.models import make_model
from tests.transposed import Transposed, spec_of

pytestmark = pytest.mark.usefixtures("native_library")

NATIVE = Request(target="native", select="all")
MIB = 1 << 20
DENSE, DEPTHWISE = make_spec((64, 64), (7, 7), (56, 56)), make_spec((64, 64), (31, 31), (56, 56), group=64)


def limit(cap: int) -> list[bool]:
    specs = [DENSE, None, DEPTHWISE]
    decisions = [choose(spec or DENSE, 17, NATIVE) for spec in specs]
    decisions[1] = replace(decisions[1], plan=None)
    return [each.plan is not None for each in limit_memory(specs, decisions, replace(NATIVE, max_memory_bytes=cap))]


def test_what_saves_most_a_byte_stays() -> None:
    """The depthwise layer holds little and saves much; the dense one holds a spectrum for each pair of channels."""
    dense, depthwise = (hold(spec, choose(spec, 17, NATIVE), find_rates()) for spec in (DENSE, DEPTHWISE))
    assert dense.weights > 4 * 64 * 64 * 49 > 64 * 31 * 31 * 4
    assert depthwise.weights < dense.weights and depthwise.run == 0 < dense.run
    both = dense.weights + depthwise.weights + dense.run
    assert limit(both) == [True, False, True]
    assert limit(both - 1) == [False, False, True]
    assert limit(depthwise.weights - 1) == [False, False, False]


def test_open_sizes_hold_the_spectra_of_several_tiles() -> None:
    spec = make_spec((32, 32), (11, 11), (None, None))
    decision = choose(spec, 17, NATIVE)
    alone = [hold(spec.at((side, side)), decision, find_rates()).weights for side in (64, 256, 512)]
    assert max(alone) <= hold(spec, decision, find_rates()).weights <= sum(alone)


def test_longer_inputs_of_the_same_tile_hold_no_more() -> None:
    spec = make_spec((256, 256), (7,), (None,))
    decision = choose(spec, 17, NATIVE)
    alone = [hold(spec.at((length,)), decision, find_rates()).weights for length in ASSUMED_SIZES[1]]
    assert len(set(alone)) < len(alone)
    assert hold(spec, decision, find_rates()).weights == sum(set(alone))


def test_an_open_size_that_costs_memory_has_a_next_step() -> None:
    for extents, told in (((None,), "state the size"), ((4096,), "")):
        spec = make_spec((256, 256), (7,), extents)
        (left,) = limit_memory([spec], [choose(spec, 17, NATIVE)], replace(NATIVE, max_memory_bytes=MIB))
        assert left.refusal is not None and left.refusal.code == "memory"
        assert tell(left.refusal.hint).startswith(told) and bool(left.refusal.hint) == bool(told)


def test_standard_operators_hold_nothing_here() -> None:
    decision = choose(DENSE, 17, Request(select="all"))
    (limited,) = limit_memory([DENSE], [decision], Request(select="all", max_memory_bytes=0))
    assert limited == decision


def test_tables_of_transforms_are_held() -> None:
    """A million points and three take a chirp and its spectrum; frames of a signal the tables of one frame."""
    fft = FourierPlan("fft", ())
    prime = DftSpec((1, 1_000_003, 1), 1, 1_000_003, False, True, "float32")
    stft = StftSpec(1, 16_000, 1, 400, 160, True, "float32")
    held = [hold(spec, Decision(fft), find_rates()) for spec in (prime, stft)]
    assert 3 * 8 * 1_000_003 < held[0].weights < 4 * 8 * 1_000_003
    assert 2 * 400 * 4 < held[1].weights < 40_000
    assert held[0].run > 16 * 1_000_003 and 0 < held[1].run < MIB
    wide = hold(replace(prime, dtype="float64"), Decision(fft), find_rates())
    assert wide.weights == pytest.approx(2 * held[0].weights, rel=0.1)
    half, single = (hold(replace(stft, dtype=dtype), Decision(fft), find_rates()) for dtype in ("float16", "float32"))
    assert half.weights == single.weights and half.run > single.run + 4 * 16_000
    assert hold(prime, Decision(FourierPlan("matmul", (1000,))), find_rates()) == Held()


def test_open_lengths_hold_the_tables_of_all_assumed() -> None:
    fft, spec = FourierPlan("fft", ()), DftSpec((8, None, 1), 1, None, False, True, "float32")
    alone = [hold(assume_length(spec, length), Decision(fft), find_rates()).weights for length in ASSUMED_LENGTHS]
    assert hold(spec, Decision(fft), find_rates()).weights == sum(alone)


def test_a_windowed_basis_holds_its_tables() -> None:
    """Not the spectra of a general plan, which are many times that, and not nothing."""
    general = make_spec((1, 402), (400,), (16_000,), strides=(160,), pads="valid")
    plan = choose(general, 17, NATIVE)
    plain, basis = (hold(spec, plan, find_rates()) for spec in (general, replace(general, basis_length=400)))
    assert 402 * 16 < basis.weights < 402 * 16 + 40_000 < plain.weights
    inverse = spec_of(Transposed((100,), (400,), 402, 1, 1, has_bias=False, attributes=(("strides", (160,)),)).model())
    plain, basis = (hold(spec, plan, find_rates()) for spec in (inverse, replace(inverse, basis_length=400)))
    assert 402 * 16 < basis.weights < 402 * 16 + 40_000 < plain.weights


def test_frames_hold_the_tables_of_a_basis_and_what_is_turned() -> None:
    """Of columns the weight is read as it stands. A node of them allocates 23 kB, or 28 in float64 (AVX2, glibc)."""
    fft = Decision(FourierPlan("fft"))
    for dtype, itemsize in (("float32", 4), ("float64", 8)):
        columns = MatMulSpec((400, 50), 402, dtype, 400, in_columns=True)
        rows = replace(columns, shape=(50, 400), in_columns=False)
        held, turned = (hold(spec, fft, find_rates()) for spec in (columns, rows))
        assert 402 * 16 < held.weights < 402 * 16 + 40_000
        assert turned.weights - held.weights == 400 * 402 * itemsize
        assert held.run == turned.run > 0


def test_the_cap_counts_transforms() -> None:
    node = helper.make_node("DFT", ["x"], ["y"], axis=1, onesided=1)
    model = make_model([node], {}, x=(1, 1_000_003, 1))
    (row,) = inspect(model, target="native", select="all").rows
    assert row.lowering == "fft" and row.memory_bytes > 24 * MIB
    (row,) = inspect(model, target="native", select="all", max_memory_bytes=64 * MIB).rows
    assert row.code == "memory"


def build_two() -> ModelProto:
    """A dense and a depthwise Conv of 7x7."""
    rng = np.random.default_rng(3)
    shapes = {"dense": (48, 48, 7, 7), "deep": (48, 1, 31, 31)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "dense"], ["c"], name="dense", pads=[3] * 4),
        helper.make_node("Conv", ["c", "deep"], ["y"], name="deep", pads=[15] * 4, group=48),
    ]
    return make_model(nodes, weights, x=(1, 48, 40, 40), y=(1, 48, 40, 40))


def test_the_report_shows_the_memory_and_what_the_cap_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = inspect(build_two(), target="native", select="all")
    assert (len(report.replaced), report.max_memory_bytes) == (2, LEAST_MEMORY_BYTES)
    assert report.memory_bytes == sum(row.memory_bytes for row in report.rows) + max(
        row.run_bytes for row in report.rows
    )
    assert f"{report.memory_bytes / MIB:.1f} MiB in memory" in summarize_report(report, word_as_flag)
    onnx.save(build_two(), tmp_path / "in.onnx")
    assert run("inspect", tmp_path / "in.onnx", "--target", "native", "--select", "all", "--max-memory", "1M") == 0
    said = capsys.readouterr().out
    assert "1 left alone because replacements may hold 1.0 MiB of memory at most: raise that with --max-memory" in said
    capped = rewrite(build_two(), target="native", select="all", max_memory_bytes=MIB, validate=False).report
    assert [row.code for row in capped.rows] == ["memory", ""]
    assert "of the 1.0 MiB that all may hold" in capped.rows[0].reason


@pytest.mark.parametrize("batch", [1, "N"])
def test_replacements_may_hold_what_the_original_takes_at_least(batch: int | str) -> None:
    """Its file, and the input and output of its largest Conv; of an open batch nothing is known."""
    weights = {"w": np.zeros((4, 4, 5, 5), np.float32)}
    large = helper.make_node("Conv", ["x", "w"], ["y"], pads=[2, 2, 2, 2])
    model = make_model([large], weights, x=(batch, 4, 4000, 4000), y=(batch, 4, 4000, 4000))
    tensors = 2 * 4 * 4 * 4000**2
    expected = model.ByteSize() + tensors if batch == 1 else LEAST_MEMORY_BYTES
    assert inspect(model, target="native").max_memory_bytes == expected
    assert inspect(model, target="native", max_memory_bytes=MIB).max_memory_bytes == MIB


def test_a_cap_below_zero_means_nothing() -> None:
    with pytest.raises(UsageError, match="memory limit of -1"):
        inspect(build_two(), target="native", max_memory_bytes=-1)
