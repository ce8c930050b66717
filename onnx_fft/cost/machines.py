"""The machines that a target is judged on: those measured for ONNX Runtime's CPU provider, this very machine for the
native library, or GPUs by their datasheets.

Nothing of the GPUs is measured. `gpus.json` holds their peaks, and the pages that publish them. The rest is assumed:
the shares of the peaks that are reached, large ones for cuDNN's Conv, whose kernels for large kernel shapes are far
from any peak in practice, and smaller ones for what replaces it, so that the error goes Conv's way; and `operator_s`,
the few microseconds that launching a kernel takes. Conv is taken to run on tensor cores in TF32, or in float16, where
it is twice as fast; with fewer than `least_output_channels` a group it multiplies as much as with those. A 2-D
depthwise Conv does not use tensor cores.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnx_fft.cost.counts import ConvRates, FourierRates, OperatorRates, Rates
from onnx_fft.host import cpu_model
from onnx_fft.lowering import CUDA, NATIVE
from onnx_fft.native import planning, profile

CALIBRATION = Path(__file__).with_name("calibration.json")
"""Written by `scripts.bench.calibrate`: the machine, when and how it was measured, and `seconds_per` unit counted."""

FOURIER_CALIBRATION = CALIBRATION.with_name("calibration_fourier.json")
"""The same for DFTs and STFTs, by `scripts.bench.calibrate_fourier`."""

GPUS = Path(__file__).with_name("gpus.json")

BORDER_BYTES_S = 50e9
"""What leaving ONNX Runtime's blocked layout costs: tensors before and after are reordered, about 20 us a MiB (ONNX
Runtime 1.32, 2-core AVX-512 machine, autumn 2026), and fusions are lost."""

BUTTERFLY_FLOPS = 10
"""Of a radix-2 butterfly on complex numbers."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The rates of float32 on a CPU, with the threads they were measured with, or on a GPU.

    `library` has the rates by which the native library predicts its own times and those of ONNX Runtime's Conv; empty
    if it takes no part. `border_bytes_s` is the speed of what a replacement costs its neighbours, `float16_speed` how
    many times faster Conv is in float16, which a CPU computes in float32, `least_output_channels` how many a group Conv
    computes at least, wanted or not.
    """

    name: str
    rates: Rates
    library: planning.Rates = ()
    border_bytes_s: float = BORDER_BYTES_S
    float16_speed: float = 1.0
    least_output_channels: int = 1


def load_calibration(path: Path = CALIBRATION) -> Machine:
    """The machine that `scripts.bench.calibrate` measured."""
    data = json.loads(path.read_text(encoding="utf-8"))
    found = data["seconds_per"]
    fourier = json.loads(FOURIER_CALIBRATION.read_text(encoding="utf-8"))["seconds_per"]["fourier"]
    rates = Rates(OperatorRates(**found["operators"]), ConvRates(**found["conv"]), FourierRates(**fourier))
    return Machine(data["cpu"], rates)


def make_faster(machine: Machine) -> Machine:
    """A machine whose matrix products and Convs are faster and whose memory is not, so that FFTs gain less.

    The factors are those between `calibration.json` and the times of 15 Convs on another 2-core AVX-512 machine
    (250 GF/s a core; ONNX Runtime 1.32, 2 threads, autumn 2026).
    """
    operators, conv, fourier = machine.rates.operators, machine.rates.conv, machine.rates.fourier
    rates = Rates(
        replace(operators, gemm_flops=operators.gemm_flops * 0.43),
        replace(
            conv,
            nchwc_flops=conv.nchwc_flops * 0.46,
            depthwise_flops=conv.depthwise_flops * 0.73,
            im2col_flops=conv.im2col_flops * 0.43,
        ),
        replace(fourier, product_flops=fourier.product_flops * 0.43),
    )
    return Machine(f"{machine.name}, faster at arithmetic", rates)


def native_machine() -> Machine:
    """This very machine, as the native library measured it. Raises NativeUnavailable without the library."""
    return Machine(cpu_model(), CALIBRATED.rates, library=profile.find_rates())


def load_gpus(path: Path = GPUS) -> tuple[Machine, ...]:
    """The machines that `gpus.json` describes."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return tuple(_make_gpu(gpu, data) for gpu in data["gpus"])


def _make_gpu(gpu: dict[str, Any], data: dict[str, Any]) -> Machine:
    share = data["efficiency"]
    conv_flop_s = 1 / (share["conv"] * gpu["tensor_flops_s"])
    conv_byte_s = 1 / (share["conv_memory"] * gpu["memory_bytes_s"])
    byte_s = 1 / (share["memory"] * gpu["memory_bytes_s"])
    operators = OperatorRates(
        gemm_flops=1 / (share["product"] * gpu["tensor_flops_s"]),
        cached_bytes=byte_s,
        memory_bytes=byte_s,
        serial_bytes=byte_s,
        butterflies=BUTTERFLY_FLOPS / (share["transform"] * gpu["flops_s"]),
        operators=data["operator_s"],
    )
    conv = ConvRates(
        nchwc_flops=conv_flop_s,
        nchwc_bytes=conv_byte_s,
        depthwise_flops=1 / (share["depthwise_conv"] * gpu["flops_s"]),
        depthwise_bytes=conv_byte_s,
        im2col_flops=conv_flop_s,
        im2col_bytes=conv_byte_s,
    )
    rates = Rates(operators, conv, _make_gpu_fourier(operators))
    return Machine(gpu["name"], rates, (), 1 / byte_s, gpu["float16_speed"], data["least_output_channels"])


def _make_gpu_fourier(operators: OperatorRates) -> FourierRates:
    """Products and what stands between them; ONNX Runtime's own operators have no kernel there, and run on the CPU."""
    number_s = 4 * operators.memory_bytes
    return replace(
        CALIBRATED.rates.fourier,
        product_flops=operators.gemm_flops,
        products=0.0,
        packed_numbers=0.0,
        cached_numbers=number_s,
        memory_numbers=number_s,
        runs=0.0,
        serial_numbers=number_s,
        turned_numbers=2 * number_s,
        turned_pairs=4 * number_s,
        far_numbers=0.0,
        framed_numbers=2 * number_s,
        operators=operators.operators,
    )


CALIBRATED = load_calibration()

CPU_MACHINES = (CALIBRATED, make_faster(CALIBRATED))

GPU_MACHINES = load_gpus()


def machines_for(target: str) -> tuple[Machine, ...]:
    """A Conv is replaced only if that pays on all of them; times are reported for the first.

    Raises NativeUnavailable if the target is the native library, and there is none to ask.
    """
    if target == NATIVE:
        return (native_machine(),)
    return GPU_MACHINES if target == CUDA else CPU_MACHINES
