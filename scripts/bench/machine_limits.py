"""What this machine reaches at most, measured with NumPy, and the least time a layer can take with the native library.

A layer's limit is `max(flops / peak, bytes / bandwidth)`: the flops of the tiles the library picks
(2.5 T log2 T a real DFT of T points, 8 a product of two bins or 6 by Gauss, 2 a tap summed directly) at the peak of a
float32 matrix product, or the bytes they move at the bandwidth of an array copy, whichever takes longer. What stays in
the caches may beat it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from onnx_fft.cost.native import predict_fftconv
from onnx_fft.native.profile import find_rates
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.paths import ROOT

SIDE = 1024
COPY_BYTES = 256 << 20
ROUNDS = 12
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Limits:
    """The machine's peak rates with so many threads."""

    flops_per_s: float
    bytes_per_s: float
    """Read and written bytes both count."""

    def least_seconds(self, spec: ConvSpec) -> float:
        """The seconds that the layer's tiles take at these rates."""
        found = predict_fftconv(spec, find_rates())
        is_dense = found.work["dense_products"] > 0  # counts tensors alone as bytes
        moved = found.work["bytes"] + (found.weight_bytes if is_dense else 0)
        return max(found.flops / self.flops_per_s, moved / self.bytes_per_s)

    def describe(self) -> str:
        """One line."""
        return (
            f"Limit: the share of max(flops / peak, bytes / bandwidth) that is reached; peak "
            f"{self.flops_per_s / 1e9:.0f} Gflop/s (float32 matrix product, {SIDE}x{SIDE}x{SIDE}), bandwidth "
            f"{self.bytes_per_s / 1e9:.1f} GB/s (copy of {COPY_BYTES >> 20} MiB), both NumPy's here; flops and bytes "
            "of the library's tiles, so that what stays in the caches may be beyond 100%."
        )


def measure_limits(threads: int) -> Limits:
    """Measure both rates in a process of its own: NumPy sets its number of threads when it starts."""
    command = [sys.executable, "-m", "scripts.bench.machine_limits", str(threads)]
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, cwd=ROOT)
    return Limits(**json.loads(done.stdout))


def _measure_here(threads: int) -> Limits:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, SIDE, SIDE), dtype=np.float32)
    product = np.empty_like(a)
    product_s = _time_best(lambda: np.matmul(a, b, out=product))
    source, target = (
        np.ones((threads, COPY_BYTES // threads), np.uint8),
        np.zeros((threads, COPY_BYTES // threads), np.uint8),
    )
    with ThreadPoolExecutor(threads) as pool:
        copy_s = _time_best(lambda: list(pool.map(np.copyto, target, source)))
    return Limits(2 * SIDE**3 / product_s, 2 * source.nbytes / copy_s)


def _time_best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    print(json.dumps(asdict(_measure_here(int(sys.argv[1])))))
