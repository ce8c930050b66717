"""The machines that a target is judged on: those measured for ONNX Runtime's CPU provider, or GPUs by their datasheets.

Nothing of the GPUs is measured. `gpus.json` holds their peaks and where they are published. The rest is assumed: the
shares of the peaks that are reached, large ones for cuDNN's Conv, whose kernels for large kernel shapes are far from
any peak in practice, and smaller ones for what replaces it, so that the error goes Conv's way; and `operator_s`, the
few microseconds that launching a kernel takes. Conv is taken to run on tensor cores in TF32, or in float16, where it is
twice as fast; with fewer than `least_output_channels` a group it multiplies as much as with those. A 2-D depthwise Conv
does not use tensor cores.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onnx_fft.cost.conv import Work
from onnx_fft.cost.predict import MACHINES, Machine
from onnx_fft.lowering import CUDA

GPUS = Path(__file__).with_name("gpus.json")

BUTTERFLY_FLOPS = 10
"""Of a radix-2 butterfly on complex numbers."""


def machines_for(target: str) -> tuple[Machine, ...]:
    """A Conv is replaced where that pays on all of them; times are reported for the first."""
    return GPU_MACHINES if target == CUDA else MACHINES


def load_gpus(path: Path = GPUS) -> tuple[Machine, ...]:
    """The machines that `gpus.json` describes."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return tuple(_make_machine(gpu, data) for gpu in data["gpus"])


def _make_machine(gpu: dict[str, Any], data: dict[str, Any]) -> Machine:
    share = data["efficiency"]
    conv_flop_s = 1 / (share["conv"] * gpu["tensor_flops_s"])
    conv_byte_s = 1 / (share["conv_memory"] * gpu["memory_bytes_s"])
    byte_s = 1 / (share["memory"] * gpu["memory_bytes_s"])
    seconds_per = Work(
        gemm_flops=1 / (share["product"] * gpu["tensor_flops_s"]),
        cached_bytes=byte_s,
        memory_bytes=byte_s,
        serial_bytes=byte_s,
        butterflies=BUTTERFLY_FLOPS / (share["transform"] * gpu["flops_s"]),
        operators=data["operator_s"],
        nchwc_flops=conv_flop_s,
        nchwc_bytes=conv_byte_s,
        depthwise_flops=1 / (share["depthwise_conv"] * gpu["flops_s"]),
        depthwise_bytes=conv_byte_s,
        im2col_flops=conv_flop_s,
        im2col_bytes=conv_byte_s,
    )
    return Machine(gpu["name"], seconds_per, 1 / byte_s, gpu["float16_speed"], data["least_output_channels"])


GPU_MACHINES = load_gpus()
