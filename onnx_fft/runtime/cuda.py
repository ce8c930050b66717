"""ONNX Runtime's CUDA provider: which models are for it, whether it works here, and what is missing if it does not."""

from __future__ import annotations

import subprocess
from functools import cache
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from onnx_fft.errors import CudaUnavailable, one_line
from onnx_fft.lowering import CUDA
from onnx_fft.model.scopes import MICROSOFT_DOMAIN, walk_bodies
from onnx_fft.ort import import_ort, ort_version
from onnx_fft.provenance import TARGET_KEY
from onnx_fft.runtime.contrib import is_cuda_only

PROVIDER = "CUDAExecutionProvider"
DEVICE = "cuda"
"""What ONNX Runtime calls the memory of the GPU."""

TF32_OPTION_VERSION = (1, 18)
"""The first ONNX Runtime whose CUDA provider knows `use_tf32`."""

NEXT_STEP = "install onnxruntime-gpu with the CUDA, cuDNN and cuFFT it asks for, on a machine with an NVIDIA GPU"


def needs_cuda(model: ModelProto) -> bool:
    """Whether the model has nodes, at any depth, that only the CUDA provider runs."""
    return any(is_cuda_only(node.domain, node.op_type) for body in walk_bodies(model) for node in body.node)


def is_for_cuda(model: ModelProto) -> bool:
    """Whether the model has such nodes, or nodes that were written for the CUDA provider."""
    marks = (entry for body in walk_bodies(model) for node in body.node for entry in node.metadata_props)
    return needs_cuda(model) or any((mark.key, mark.value) == (TARGET_KEY, CUDA) for mark in marks)


def exact_providers() -> list[Any]:
    """The CUDA provider, then the CPU, for float32 in full.

    By default the provider computes float32 Conv and MatMul in TF32 on GPUs that have it (from Ampere on), with 10 bits
    of mantissa: an original and its rewrite then differ by 1e-3 although neither is wrong.
    """
    version = tuple(int(part) for part in ort_version().split(".")[:2])
    return [(PROVIDER, {"use_tf32": "0"} if version >= TF32_OPTION_VERSION else {}), "CPUExecutionProvider"]


def check_cuda(purpose: str) -> None:
    """Raise CudaUnavailable if the CUDA provider does not work; `purpose` is what it is needed for."""
    if problem := find_cuda_problem():
        raise CudaUnavailable(f"got {problem}", f"ONNX Runtime's {PROVIDER} {purpose}", NEXT_STEP)


@cache
def find_cuda_problem() -> str:
    """Why the CUDA provider does not compute FFTs here, "" if it does: one there and back is tried."""
    ort = import_ort()
    name, available = f"ONNX Runtime {ort.__version__}", ort.get_available_providers()
    if PROVIDER not in available:
        return f"{name} with no more than {', '.join(available)}"
    options = ort.SessionOptions()
    options.log_severity_level = 4
    x = np.arange(16, dtype=np.float32).reshape(2, 8)
    try:
        model = _make_round_trip().SerializeToString()
        (y,) = ort.InferenceSession(model, options, providers=exact_providers()).run(None, {"x": x})
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        return f"{name}, whose {PROVIDER} does not compute an FFT ({one_line(error)})"
    if y.shape != x.shape or not np.allclose(x, y, atol=1e-4):
        return f"{name}, whose {PROVIDER} computes Rfft or Irfft wrongly"
    return ""


def gpu_name() -> str:
    """The GPUs as nvidia-smi names them, "" without it."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ", ".join(dict.fromkeys(line.strip() for line in done.stdout.splitlines() if line.strip()))


def _make_round_trip() -> ModelProto:
    nodes = [
        helper.make_node("Rfft", ["x"], ["f"], domain=MICROSOFT_DOMAIN, signal_ndim=1, normalized=0, onesided=1),
        helper.make_node("Irfft", ["f"], ["y"], domain=MICROSOFT_DOMAIN, signal_ndim=1, normalized=0, onesided=1),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 8]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "round_trip", [x], [y])
    imports = [helper.make_opsetid("", 13), helper.make_opsetid(MICROSOFT_DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)
