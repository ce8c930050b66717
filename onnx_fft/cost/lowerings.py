"""What each lowering does under a plan, by its name; a new lowering is a line here and one in `growth`.

Of convolutions, the native library counts by itself, see `native`.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx_fft.cost.counts import Counts
from onnx_fft.cost.dft import count_dft
from onnx_fft.cost.extents import know_extents
from onnx_fft.cost.fourier import count_fft, know_lengths
from onnx_fft.cost.matmul import count_matmul
from onnx_fft.cost.matmul_fourier import count_matmul_fourier
from onnx_fft.cost.rfft import count_rfft
from onnx_fft.cost.transposed import add_interleaving
from onnx_fft.lowering.base import ConvPlan, FourierPlan, Plan
from onnx_fft.lowering.transposed import as_conv
from onnx_fft.sites.fourier import DftSpec, StftSpec
from onnx_fft.sites.site import FourierSpec, Spec
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec

COUNTS: dict[str, Callable[[ConvSpec, ConvPlan], Counts]] = {
    "matmul": count_matmul,
    "dft": count_dft,
    "rfft": count_rfft,
}
"""Every open extent is the longest assumed one. A ConvTranspose is counted as the Conv that stands for it."""


FFT = "fft"

FOURIER_COUNTS: dict[str, Callable[[FourierSpec, FourierPlan], Counts]] = {
    "matmul": count_matmul_fourier,
    FFT: lambda spec, _: count_fft(spec),
}
"""The same for a DFT or STFT."""


def count_lowering(spec: Spec, plan: Plan) -> Counts:
    """What the fragment of `plan` does in one run."""
    if isinstance(spec, ConvSpec) and isinstance(plan, ConvPlan):
        return COUNTS[plan.lowering](spec, plan)
    if isinstance(spec, ConvTransposeSpec) and isinstance(plan, ConvPlan):
        known = know_extents(spec)
        return add_interleaving(known, COUNTS[plan.lowering](as_conv(known), plan))
    assert isinstance(plan, FourierPlan) and isinstance(spec, DftSpec | StftSpec)
    return FOURIER_COUNTS[plan.lowering](know_lengths(spec), plan)
