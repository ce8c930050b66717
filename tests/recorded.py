"""A contest of two candidates and recorded timings, for the tests of the measured choice."""

from __future__ import annotations

from collections.abc import Sequence

from onnx_fft.lowering import list_lowerings
from onnx_fft.measure.cache import Environment
from onnx_fft.measure.choice import Candidate, Contest, Timings
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.layers import make_spec

SPEC = make_spec((8, 8), (11, 11), (40, 40))
OPEN_SPEC = make_spec((8, 8), (11, 11), (None, None), batch=None)
ENVIRONMENT = Environment(2, "1.32.0", "some CPU", 2, "0.1.0")
PLANS = tuple(list_lowerings("standard")[0].candidates(SPEC)[:2])
NOISE = (1.0, 1.02, 0.98, 1.01, 0.99, 1.03, 0.97)


def make_test_contest(shapes: int = 1, spec: ConvSpec = SPEC) -> Contest:
    """Two candidates, the second smaller; `shapes` inputs, ever larger."""
    sizes = tuple((1, 8, 40 + size, 40 + size) for size in range(shapes))
    return Contest(spec, 17, sizes, 5e-3, (Candidate(PLANS[0], 2e-3, 2000), Candidate(PLANS[1], 3e-3, 1000)))


def record(*options: float | Sequence[float], noise: Sequence[float] = NOISE) -> Timings:
    """Timings with these medians in ms by option, or by option and case; the machine slows all options at once."""
    cases = [option if isinstance(option, Sequence) else [option] for option in options]
    return Timings(tuple(tuple(tuple(1e-3 * ms * n for n in noise) for ms in case) for case in cases))


SETTLED = record(5.0, 2.0, 3.0)
"""The first candidate is the fastest, beyond doubt."""
