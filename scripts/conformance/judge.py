"""A runtime's outputs, held against the float64 truth: cells of the matrix, and the failures that are known.

An output is right if it has the truth's shape and the case's dtype, is finite, and no element is further from the truth
than TOLERANCE times the root mean square of the output. If a runtime says what it executed, that counts too: no Conv
or ConvTranspose in "dft" and "matmul", a DFT in "dft", a Conv or ConvTranspose in "fftconv", whose functions it has to
inline, and nothing but our own operator in WITH_LIBRARY. Of a DFT or STFT: none in "matmul", one elsewhere, in
WITH_LIBRARY our own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.conformance.cases import ORIGINAL, WITH_LIBRARY, Entry

Array = NDArray[Any]

TOLERANCE = {"float32": 1e-5, "float16": 5e-3}
"""Largest error of an element in units of the output's RMS. Seen at most: 1.4e-6 and 1.2e-3, Conv's own included."""
CONVS = ("Conv", "FusedConv", "NhwcFusedConv", "Convolution", "ConvTranspose", "Deconvolution")
"""As ONNX Runtime, the evaluator (which runs a function's body behind the node) and OpenVINO name what they execute."""
MESSAGE_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Known:
    """A runtime's gap: the cell it shows in, words of its message, the operator, and where that is discussed.

    `runtime` is a row of the matrix or a version, as `versions.py` names it.
    """

    runtime: str
    lowering: str
    message: str
    operator: str
    sentence: str
    source: str


KNOWN: tuple[Known, ...] = (
    Known(
        "openvino",
        "fftconv",
        "No conversion rule found for operations: onnx_fft.",
        "onnx_fft::FFTConv, FFTConvTranspose, DFT, STFT",
        "the ONNX frontend does not know model-local functions; `onnx.inliner.inline_local_functions` makes a file "
        "that it takes",
        "no issue is known to us; the inliner is of onnx/onnx#5105",
    ),
    *(
        Known(
            runtime,
            lowering,
            "Op (DFT) [ShapeInferenceError]",
            "DFT",
            "up to ONNX Runtime 1.24, shape inference refuses inverse and onesided together; `matmul` and the library "
            "compute it",
            "no issue is known to us",
        )
        for runtime in (
            "oldest",
            *(f"ONNX Runtime 1.{version}" for version in ("17.3", "18.1", "20.1", "22.1", "24.4")),
        )
        for lowering in (ORIGINAL, "fftconv")
    ),
    *(
        Known(
            "ONNX Runtime 1.26.0",
            lowering,
            "10, 2], expected float32 [1, 10, 10, 1]",
            "DFT",
            "in ONNX Runtime 1.26, inverse and onesided together give complex numbers",
            "no issue is known to us",
        )
        for lowering in (ORIGINAL, "fftconv")
    ),
    *(
        Known("openvino", ORIGINAL, message, "DFT", sentence, "no issue is known to us")
        for message, sentence in (
            ("[1, 6, 10, 1, 2], expected", "onesided, the result keeps the last dimension of a real input"),
            ("[1, 10, 10], expected", "inverse and onesided, the result lacks its last dimension"),
            ("error 8e+00 of the RMS", "an axis that is an input is not heeded"),
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One lowering on one runtime: `failures` by case, and `replaced`, the Convs replaced in the cases that passed."""

    runtime: str
    lowering: str
    passed: int
    total: int
    replaced: int
    worst: dict[str, float]
    failures: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    def find_known(self) -> list[Known]:
        """The gaps that explain failures of the cell."""
        return [known for known in KNOWN if any(self._is_explained(known, text) for text in self.failures.values())]

    def list_unexplained(self) -> dict[str, str]:
        """The failures that no known gap explains."""
        return {
            case: text
            for case, text in self.failures.items()
            if not any(self._is_explained(known, text) for known in KNOWN)
        }

    def _is_explained(self, known: Known, text: str) -> bool:
        return (known.runtime, known.lowering) == (self.runtime, self.lowering) and known.message in text


def judge(
    runtime: str,
    entries: Sequence[Entry],
    lines: Sequence[Mapping[str, Any]],
    truths: Mapping[str, list[Array]],
    out: Path,
) -> list[Cell]:
    """The runtime's cells, in the order of the lowerings. An entry without a line failed: the process ended early."""
    by_name = {line["name"]: line for line in lines}
    cells: dict[str, list[tuple[Entry, str, dict[str, float]]]] = defaultdict(list)
    for entry in entries:
        line = by_name.get(entry.name, {"error": "the runtime ended before it answered"})
        cells[entry.lowering].append((entry, *judge_entry(entry, line, truths[entry.case], out)))
    return [_sum_up(runtime, lowering, judged) for lowering, judged in cells.items()]


def judge_entry(
    entry: Entry, line: Mapping[str, Any], truth: Sequence[Array], out: Path
) -> tuple[str, dict[str, float]]:
    """What is wrong, "" if nothing is, and by dtype the largest error in units of the RMS."""
    if line["error"]:
        return _shorten(line["error"]), {}
    if len(line["outputs"]) != len(truth):
        return f"{len(line['outputs'])} outputs, expected {len(truth)}", {}
    worst: dict[str, float] = {}
    dtype = entry.feeds[0].dtype
    for output, expected in zip(line["outputs"], truth, strict=True):
        if (output["dtype"], tuple(output["shape"])) != (dtype, expected.shape):
            return f"got {output['dtype']} {output['shape']}, expected {dtype} {list(expected.shape)}", {}
        values = np.fromfile(out / output["file"], dtype).reshape(expected.shape).astype(np.float64)
        worst[dtype] = max(worst.get(dtype, 0.0), measure_error(values, expected))
    if not worst[dtype] <= TOLERANCE[dtype]:
        return f"error {worst[dtype]:.0e} of the RMS, allowed {TOLERANCE[dtype]:.0e}", worst
    find = find_strange_fourier if entry.is_fourier else find_strange
    return find(entry.lowering, line["ran"]) if "ran" in line else "", worst


def measure_error(values: Array, truth: Array) -> float:
    """The largest error in units of the truth's RMS; infinity if a value is not finite, 0 for an empty output."""
    if values.size == 0:
        return 0.0
    error = float(np.abs(values - truth).max()) / max(float(np.sqrt(np.mean(np.square(truth)))), 1e-300)
    return error if np.isfinite(error) else float("inf")


def find_strange(lowering: str, ran: Mapping[str, int]) -> str:
    """What was executed and should not have been, or the reverse; "" if all is as it should be."""
    if not ran:
        return "nothing was executed"
    convs = sum(count for kind, count in ran.items() if kind in CONVS)
    own = sum(count for kind, count in ran.items() if kind.startswith("FFTConv"))  # with what follows in the name
    if lowering == WITH_LIBRARY:
        return "" if own and not convs else "FFTConv was not executed, or was not alone"
    if lowering in (ORIGINAL, "fftconv"):
        return "" if convs + own else "no Conv was executed"
    if convs + own:
        return f"{convs + own} Convs were executed"
    return "no DFT was executed" if lowering == "dft" and not any("DFT" in kind for kind in ran) else ""


def find_strange_fourier(lowering: str, ran: Mapping[str, int]) -> str:
    """The same of a DFT or STFT."""
    transforms = sum(count for kind, count in ran.items() if kind in ("DFT", "STFT"))
    if not ran:
        return "nothing was executed"
    if lowering == "matmul":
        return f"{transforms} transforms were executed" if transforms else ""
    if lowering == ORIGINAL:
        return ""  # a runtime may have its own way, and its own names
    return "" if transforms else "no DFT or STFT was executed"


def _sum_up(runtime: str, lowering: str, judged: Sequence[tuple[Entry, str, dict[str, float]]]) -> Cell:
    right = [(entry, worst) for entry, wrong, worst in judged if not wrong]
    errors = {dtype: [w[dtype] for _, w in right if dtype in w] for dtype in TOLERANCE}
    return Cell(
        runtime,
        lowering,
        len(right),
        len(judged),
        sum(entry.replaced for entry, _ in right),
        {dtype: max(found) for dtype, found in errors.items() if found},
        {entry.case: wrong for entry, wrong, _ in judged if wrong},
    )


def _shorten(message: str) -> str:
    """The words by which a known gap is recognised, or the beginning."""
    for known in KNOWN:
        if known.message in message:
            return known.message
    return " ".join(message.split())[:MESSAGE_LENGTH]
