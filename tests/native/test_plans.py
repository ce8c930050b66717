"""How the native library cuts convolutions into tiles: tests try every way.

The library's own planner, onnx_fft/native/planner, is compiled into a small program, driver/plans.cpp, that prints it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from onnx_fft import native
from onnx_fft.fourier.oracle import ConvGeometry
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.layers import ORDINARY, make_spec
from tests.compiling import find_compiler
from tests.native.convolutions import DENSE, EDGES, PARALLEL, SWEEPS, sweep
from tests.native_models import Conv

DRIVER = Path(__file__).parent / "driver" / "plans.cpp"
SOURCES = Path(native.__file__).resolve().parent

LANES = 16
"""Of an AVX-512 vector."""

KINDS = {f"{way} {lanes}" for way in ("direct", "elementwise", "summed") for lanes in ("channels", "tiles")}


@dataclass(frozen=True)
class Plan:
    """What is done with a tile, what runs along the lanes; for each axis the samples, outputs and number of tiles."""

    kind: str
    lengths: tuple[int, ...]
    steps: tuple[int, ...]
    tiles: tuple[int, ...]
    dense: tuple[int, ...] = ()
    """The lengths of the DFTs along all three axes, if the dense engine computes it in place of all this."""


Request = tuple[int, tuple[int, int], tuple[int, ...], tuple[int, ...], ConvGeometry]
"""Batch, channels in and out, extents, kernel, the rest."""

Planner = Callable[[Iterable[Request], int], list[Plan]]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    """The library's plans for vectors of so many lanes."""
    program = tmp_path_factory.mktemp("plans") / "plans"
    sources = [str(DRIVER), *map(str, SOURCES.glob("planner/*.cpp"))]
    subprocess.run([find_compiler(), "-std=c++17", "-O1", f"-I{SOURCES}", *sources, "-o", str(program)], check=True)

    def run(requests: Iterable[Request], lanes: int) -> list[Plan]:
        text = "\n".join(_write(request, lanes) for request in requests)
        done = subprocess.run([str(program)], input=text, capture_output=True, text=True, check=True)
        return [_read(line) for line in done.stdout.splitlines()]

    return run


def _write(request: Request, lanes: int) -> str:
    batch, (inner, outer), extents, kernel, g = request
    axes = zip(extents, kernel, g.strides, g.dilations, g.pads_begin, g.pads_end, strict=True)
    numbers = (
        lanes,
        batch,
        inner // g.group,
        outer // g.group,
        g.group,
        len(kernel),
        *(n for axis in axes for n in axis),
    )
    return " ".join(map(str, numbers))


def _read(line: str) -> Plan:
    tiles, _, dense = line.partition("|")
    way, lanes, *numbers = tiles.split()
    values = tuple(map(int, numbers))
    return Plan(f"{way} {lanes}", values[::3], values[1::3], values[2::3], tuple(map(int, dense.split())))


def of_conv(conv: Conv) -> Request:
    return conv.batch, conv.channels, conv.extents, conv.kernel, conv.geometry


def of_spec(spec: ConvSpec) -> Request:
    extents = tuple(extent for extent in spec.extents if extent is not None)
    return spec.batch or 1, (spec.in_channels, spec.out_channels), extents, spec.kernel_shape, spec.geometry


# --- what tests try -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_the_edges_are_of_every_kind(plan: Planner, lanes: int) -> None:
    """For each length of vectors: those of float32 in baseline, AVX2 and AVX-512; two of them are of float64 as well.

    If other constants in plan.cpp take a kind away, the edges need another convolution.
    """
    assert {found.kind for found in plan(map(of_conv, EDGES.values()), lanes)} == KINDS
    ways = {found.kind.split()[0] for found in plan(map(of_conv, PARALLEL.values()), lanes)}
    assert ways == {"direct", "elementwise", "summed"}


@pytest.mark.slow
def test_the_sweeps_cross_the_ends_of_tiles(plan: Planner) -> None:
    """The last of several tiles has all its outputs, all but one, or only one."""
    for is_direct in (False, True):
        seen = {lanes: set(find_last_outputs(plan, lanes, is_direct)) for lanes in (4, 8, 16)}
        assert all({"all", "all but one"} <= found for found in seen.values()), seen
        assert "one" in set.union(*seen.values()), seen


def find_last_outputs(plan: Planner, lanes: int, is_direct: bool) -> Iterator[str]:
    """How many outputs the last of several tiles along an axis has."""
    for name in SWEEPS:
        convs = [conv.lifted() for conv in sweep(name)]
        for conv, found in zip(convs, plan(map(of_conv, convs), lanes), strict=True):
            outputs = conv.geometry.output_extents(conv.extents, conv.kernel)
            for count, step, tiles in zip(outputs, found.steps, found.tiles, strict=True):
                if found.kind.startswith("direct") is is_direct and tiles == -(-count // step) > 1 and step > 2:
                    yield {0: "all", 1: "one", step - 1: "all but one"}.get(count % step, "some")


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_ordinary_layers_are_dense(plan: Planner, lanes: int) -> None:
    """What the tests of the dense engine try is computed by it, and most of its lengths are among that."""
    tried = {name: of_conv(conv) for name, conv in DENSE.items()} | {one.name: of_spec(one.spec) for one in ORDINARY}
    found = {name: one.dense for name, one in zip(tried, plan(tried.values(), lanes), strict=True)}
    assert [name for name, lengths in found.items() if not lengths] == []
    assert {length for lengths in found.values() for length in lengths} >= {1, 8, 10, 16, 48}


def test_what_the_dense_engine_does_not_compute(plan: Planner) -> None:
    """Nothing is summed over channels, or along the last axis; kernels above the longest DFT."""
    convs = [
        Conv(extents=(40, 40), kernel=(3, 3), channels=(16, 16), group=16),
        Conv(extents=(40, 40), kernel=(3, 1), channels=(16, 16), group=1),
        Conv(extents=(400,), kernel=(49,), channels=(16, 16), group=1),
        Conv(extents=(400,), kernel=(5,), channels=(16, 16), group=1, strides=(2,), dilations=(2,)),
    ]
    assert [found.dense for found in plan(map(of_conv, convs), LANES)] == [()] * len(convs)


# --- what has been wrong before -----------------------------------------------------------------------------------


def test_the_longest_kernels_are_transformed(plan: Planner) -> None:
    """Even if their spectra exceed what the library likes to keep: sums of so many taps take minutes."""
    taps = (200_003, 500_009, 900_001)
    convs = [Conv(extents=(1_000_003,), kernel=(k,), group=1, channels=(1, 1), batch=1, pads=(0, 0)) for k in taps]
    assert [found.kind.split()[0] for found in plan(map(of_conv, convs), LANES)] == ["elementwise"] * 3


@pytest.mark.parametrize("stride", [2, 4, 16])
def test_strides_run_across_channels(plan: Planner, stride: int) -> None:
    """Tiles in lanes would load each sample alone: 128->8 channels took 29 ms so, and 24 ms across channels."""
    spec = make_spec((128, 8), (2048,), (48_000,), strides=(stride,))
    assert [found.kind for found in plan([of_spec(spec)], LANES)] == ["summed channels"]


def test_axes_of_one_sample_change_nothing(plan: Planner) -> None:
    """CREPE has its weights as images."""
    line, image = make_spec((16, 8), (64,), (191,)), make_spec((16, 8), (64, 1), (191, 1))
    one, other = plan([of_spec(line), of_spec(image)], LANES)
    assert (other.kind, other.lengths, other.tiles) == (one.kind, (1, *one.lengths), (1, *one.tiles))
