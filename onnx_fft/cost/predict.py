"""What a convolution costs, in seconds, in ONNX Runtime: its own Conv, and each lowering under a plan.

A cost is a count of work (`work.py`) times the seconds each unit takes on one machine. Predictions need not be right to
the percent: a Conv is replaced only where they leave a margin (`choose.MIN_GAIN`).
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, replace
from math import prod
from pathlib import Path

from onnx_fft.cost.conv import ASSUMED_EXTENTS, Work, assume_extents, conv_work, lowering_work
from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import ConvPlan
from onnx_fft.sites.spec import ConvSpec

CALIBRATION = Path(__file__).with_name("calibration.json")
"""Written by scripts/calibrate.py: the machine, when and how it was measured, and `seconds_per` unit of work."""

BORDER_BYTES_S = 50e9
"""What leaving ONNX Runtime's blocked layout costs: tensors before and after are reordered, about 20 us a MiB (ONNX
Runtime 1.32, 2-core AVX-512 machine, autumn 2026), and fusions are lost."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The seconds one unit of each kind of work takes in float32, on a CPU with the threads it was measured with or
    on a GPU.

    `border_bytes_s` is the speed of what a replacement costs its neighbours, `float16_speed` how many times faster
    Conv is in float16, which a CPU computes in float32, `least_output_channels` how many a group Conv computes at
    least, wanted or not.
    """

    name: str
    seconds_per: Work
    border_bytes_s: float = BORDER_BYTES_S
    float16_speed: float = 1.0
    least_output_channels: int = 1


def load_calibration(path: Path = CALIBRATION) -> Machine:
    """The machine that scripts/calibrate.py measured."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return Machine(data["cpu"], Work(**data["seconds_per"]))


def make_faster(machine: Machine) -> Machine:
    """A machine whose matrix products and Convs are faster and whose memory is not, so that FFTs gain less.

    The factors are those between `calibration.json` and the times of 15 Convs on another 2-core AVX-512 machine
    (250 GF/s a core; ONNX Runtime 1.32, 2 threads, autumn 2026). Those of the native library are no measurements: its
    products are matrix products, its transforms wait for the cache as well.
    """
    factors = {"gemm_flops": 0.43, "nchwc_flops": 0.46, "depthwise_flops": 0.73, "im2col_flops": 0.43}
    factors |= {"native_product_flops": 0.5, "native_transform_flops": 0.75}
    seconds = machine.seconds_per
    scaled = {key: getattr(seconds, key) * factor for key, factor in factors.items()}
    return Machine(f"{machine.name}, faster at arithmetic", replace(seconds, **scaled))


CALIBRATED = load_calibration()

MACHINES = (CALIBRATED, make_faster(CALIBRATED))
"""A Conv is replaced where that pays on all of them."""


def conv_seconds(spec: ConvSpec, machine: Machine) -> float:
    """ONNX Runtime's own Conv, all optimizations on."""
    seconds = _seconds(conv_work(spec, machine.least_output_channels), machine)
    return seconds / (machine.float16_speed if spec.dtype == "float16" else 1.0)


def lowering_seconds(spec: ConvSpec, plan: ConvPlan, machine: Machine) -> float:
    """The lowering named in `plan`, alone."""
    return _seconds(lowering_work(spec, plan), machine)


def border_seconds(spec: ConvSpec, machine: Machine) -> float:
    """What a replacement costs its neighbours in a model, on top of its own time."""
    known = assume_extents(spec, ASSUMED_EXTENTS[-1])
    inputs = spec.in_channels * prod(extent or 1 for extent in known.extents)
    outputs = spec.out_channels * prod(extent or 1 for extent in known.output_extents)
    return 4 * (spec.batch or 1) * (inputs + outputs) / machine.border_bytes_s


def _seconds(work: Work, machine: Machine) -> float:
    pairs: zip[tuple[float, float]] = zip(astuple(work), astuple(machine.seconds_per), strict=True)
    return sum(count * seconds for count, seconds in pairs)


def growth_bytes(spec: ConvSpec, plan: ConvPlan) -> int:
    """Bytes the constants of a fragment add to the file, the Conv's own weight taken off."""
    return find_lowering(plan.lowering).growth_bytes(spec, plan)
