"""What the scripts that measure say about a run, and how they open a model in ONNX Runtime alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from onnx_fft.doctor import examine
from onnx_fft.errors import NativeUnavailable
from onnx_fft.model.io import LoadedModel
from onnx_fft.report.sentences import describe_host
from onnx_fft.runtime.cuda import check_cuda
from onnx_fft.runtime.engines import EngineError, Runner
from onnx_fft.runtime.libraries import find_libraries
from onnx_fft.runtime.opening import open_runner
from onnx_fft.timing.launch import Host

METHOD = (
    "Times are medians of interleaved runs in one process on ONNX Runtime's global thread pool; a ratio is original "
    "over rewritten, of medians (below 1 is a loss), with a bootstrapped 95% interval."
)


def describe_run(machines: Sequence[Host], seed: int) -> list[str]:
    """The header: the busiest of `machines` (one a row), versions, threads, date, seed, and the method."""
    busiest = sorted(machines, key=lambda machine: -(machine.busy_cores or 0.0))[:1]
    versions = ", ".join(f"{package} {version(package)}" for package in ("onnx-fft", "onnx", "numpy"))
    return [*map(describe_host, busiest), f"{versions}; seed {seed}", METHOD]


def describe_target(target: str) -> list[str]:
    """Header lines: which kernels of the native library run, or how the GPU is timed.

    Raises NativeUnavailable or CudaUnavailable if what the target needs does not run here.
    """
    if target == "cuda":
        check_cuda("to time layers on")
        return ["CUDA provider with its defaults (TF32 if the GPU has it); inputs and outputs stay on the GPU"]
    if target != "native":
        return []
    found = examine()
    if found.problem:
        raise NativeUnavailable(found.problem)
    return [f"Native library with its {found.isa} kernels, which passed the self-test of `onnx-fft doctor`"]


def open_in_ort(source: LoadedModel, expose: Sequence[str] = ()) -> Runner:
    """The model in ONNX Runtime, with the native library if it needs that. Raises EngineError if that refuses it."""
    runner = open_runner(source, expose=expose, custom_ops=find_libraries([source.model]))
    if runner.note:
        raise EngineError(runner.note)
    return runner


def refuse(problem: str) -> int:
    """Print the error and return the exit code of a script that cannot begin."""
    print(f"error: {problem}", file=sys.stderr)
    return 2
