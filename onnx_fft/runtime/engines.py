"""Who runs a model: ONNX Runtime if it can, ONNX's reference evaluator if it cannot, or both in pieces.

What ONNX Runtime says goes into errors, not to the terminal.

Runtime gaps met here: ONNX Runtime 1.32 has no Conv for float64 on CPU and does not promise opsets below 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Timer
from time import monotonic
from typing import Any

import numpy as np

from onnx_fft.errors import UsageError, one_line
from onnx_fft.hints import Option
from onnx_fft.ort import import_ort
from onnx_fft.runtime.contrib import NAMES
from onnx_fft.runtime.cuda import PROVIDER

Value = Any
"""What a graph input or output holds: an array, a list of arrays (sequence), a dict (map), or None (optional)."""

ORT = "onnxruntime"
REFERENCE = "onnx.reference"
PIECES = "onnxruntime and NumPy"
CPU_PROVIDERS = ("CPUExecutionProvider",)
STAND_IN = (
    f"NumPy computed {' and '.join([', '.join(NAMES[:-1]), NAMES[-1]])}, ONNX Runtime on the CPU the rest, "
    "except for bodies and functions that hold them, which ONNX's evaluator ran"
)
"""Who computes what under `PIECES`."""

WITHOUT_GPU = {
    PIECES: "NumPy stood in for cuFFT",
    ORT: "ONNX Runtime computed on the CPU",
    REFERENCE: "ONNX's evaluator computed",
}
"""By engine, who computes a model for the CUDA provider if that does not take part."""

MAX_RUN_S = 600.0
"""Longest that ONNX Runtime may take for one run: a Loop may have no end. It looks at the time between two nodes."""

ORT_QUIET = 4
"""ORT's log level "fatal": an error we catch and report must not be printed as well."""


class EngineError(Exception):
    """No engine could load or run the model; the message holds what each of them said, one line each."""


class Runner:
    """A loaded model. `engine` says who runs it, `note` why it is not ONNX Runtime alone ("" if it is).

    Under `PIECES`, only a run shows whether ONNX Runtime runs a piece: if it does not, the engine becomes `REFERENCE`.
    """

    def __init__(self, engine: str, impl: Any, output_names: Sequence[str], note: str = "") -> None:
        """`impl` has `run(output_names, feeds)`."""
        self.engine = engine
        self.note = note
        self.output_names = list(output_names)
        self.refusals: list[str] = []
        self.longest_s = 0.0
        """Seconds of the longest run so far."""
        self._impl = impl

    @property
    def is_on_gpu(self) -> bool:
        """Whether the CUDA provider takes part."""
        return self.engine == ORT and PROVIDER in self._impl.get_providers()

    def run(self, feeds: Mapping[str, Value]) -> dict[str, Value]:
        """All outputs by name.

        Raises EngineError with the engine's own words, and UsageError for a run that takes longer than `MAX_RUN_S`.
        """
        started = monotonic()
        try:
            if self.engine == ORT:
                values = _run_in_time(self._impl, self.output_names, dict(feeds))
            else:
                with np.errstate(all="ignore"):
                    values = self._impl.run(self.output_names, dict(feeds))
        except UsageError:
            raise
        except Exception as error:  # ORT's exceptions have no common base; the evaluator raises whatever NumPy does
            raise EngineError(f"{self.engine}: {one_line(error)}") from error
        self.longest_s = max(self.longest_s, monotonic() - started)
        if self.refusals:
            self.engine, self.note = REFERENCE, self.refusals[0]
        return dict(zip(self.output_names, values, strict=True))


def _run_in_time(session: Any, names: Sequence[str], feeds: dict[str, Value]) -> list[Value]:
    """As the session runs it; UsageError if that takes longer than `MAX_RUN_S`."""
    options = import_ort().RunOptions()
    options.log_severity_level = ORT_QUIET

    def stop() -> None:
        options.terminate = True

    timer = Timer(MAX_RUN_S, stop)
    timer.daemon = True
    timer.start()
    try:
        return list(session.run(names, feeds, options))
    except Exception as error:
        if not options.terminate:
            raise
        raise UsageError(
            f"got a model that takes more than {MAX_RUN_S:g} s for one run, or never ends",
            "one that ends earlier",
            ("check its Loops, or give it smaller inputs by ", Option("input_shapes")),
        ) from error
    finally:
        timer.cancel()
