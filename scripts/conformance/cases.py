"""What the conformance matrix runs: models, inputs and the float64 truth, in a folder that any runtime can read.

A case is one of the standard's own Conv, ConvTranspose, DFT and STFT cases, or a real model; it is run as it is
("original") and once for each lowering that takes its operator, with every one of these replaced. The folder holds
`manifest.json`, the models, and the inputs as raw little-endian tensors.

The standard stamps its newest cases with opsets that older runtimes refuse, whatever operators they contain. Those
are stamped OPSET here, or AXIS_INPUT_OPSET if the axis of a DFT is an input, in which the same operators mean the
same; each case's truth is held to the outputs that the standard gives. The real model is converted to OPSET: it is
older than the opset in which Softmax got its present meaning, the only one that onnx's reference evaluator knows. Its
truth is held to what ONNX Runtime makes of the original file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from onnx_fft.model.opset import convert_opset
from onnx_fft.rewrite import rewrite
from onnx_fft.sites.dft import AXIS_INPUT_OPSET, is_fourier
from scripts.conformance.truth import compute_truth
from scripts.models.fetch import fetch
from scripts.shared.conv_models import Array
from scripts.shared.running import run_model
from scripts.shared.standard_cases import (
    STANDARD_ATOL,
    Case,
    bake_inputs,
    causal_cases,
    conv_cases,
    converted_cases,
    fourier_cases,
    transposed_cases,
)

ORIGINAL = "original"
LOWERINGS = {"dft": "standard", "matmul": "standard", "fftconv": "native"}
"""Each lowering and its target; "fftconv" runs here without the native library, by its functions."""
FOURIER_LOWERINGS = {"matmul": "matmul", "fftconv": "fft"}
"""The column of each lowering of a DFT or STFT: the library's operators for those and for Conv share one."""
CONVS, TRANSFORMS = ("Conv", "ConvTranspose"), ("DFT", "STFT")
"""What is replaced; a case has operators of one kind."""
WITH_LIBRARY = "native"
"""How cells name "fftconv" with the native library, which `versions.py` runs."""
OPSET, IR_VERSION = 17, 8
REAL_MODEL = "rivagan_encoder"
"""Four 3-D Convs, two of them 1x11x11; 0.6 MiB, every input dimension open."""
REAL_SHAPES = {"frame": (1, 3, 1, 70, 45), "data": (1, 32)}
SEED = 20261124
STANDARD_RTOL = {"float32": 1e-3, "float16": 1e-2}
"""For the truth against what the standard gives, which is rounded to the dtype of the case."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A raw tensor in a file of the folder; `dtype` is NumPy's name."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One model to run: of which case, by which lowering, and how many Convs or transforms that replaced: all."""

    name: str
    case: str
    lowering: str
    model: str
    feeds: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    replaced: int
    is_fourier: bool = False


def collect_cases() -> Iterator[Case]:
    """The standard's cases, in the order of `tests/rewrite/test_standard_cases.py`, and last the real model."""
    for case in (*conv_cases(), *transposed_cases(), *causal_cases(), *converted_cases()):
        yield Case(case.name, stamp_opset(case.copy_model()), case.feeds, case.expected)
    for case in fourier_cases():
        baked = bake_inputs(case, list(case.feeds)[1:])
        yield Case(case.name, stamp_opset(baked.copy_model()), baked.feeds, case.expected)
    rng = np.random.default_rng(SEED)
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in REAL_SHAPES.items()}
    path = fetch(REAL_MODEL)
    yield Case(REAL_MODEL, convert_opset(onnx.load(path), OPSET), feeds, tuple(run_model(path, feeds)))


def stamp_opset(model: ModelProto) -> ModelProto:
    """The model with the oldest opset in which its operators mean the same in place of a newer one; checked in full."""
    for entry in model.opset_import:
        has_axis = any(node.op_type == "DFT" for node in model.graph.node) and entry.version >= AXIS_INPUT_OPSET
        oldest, ir_version = (AXIS_INPUT_OPSET, 9) if has_axis else (OPSET, IR_VERSION)
        if entry.domain == "" and entry.version > oldest:
            entry.version, model.ir_version = oldest, ir_version
            onnx.checker.check_model(model, full_check=True)
    return model


def find_truth(case: Case) -> list[Array]:
    """The float64 outputs of a case. Raises AssertionError if they are not those that the case expects."""
    truth = compute_truth(case.model, case.feeds)
    for values, expected in zip(truth, case.expected, strict=True):
        assert values.shape == expected.shape, case.name
        rounding = STANDARD_ATOL * float(np.abs(expected).max(initial=1.0))  # of bins in which all cancels
        np.testing.assert_allclose(values, expected, STANDARD_RTOL[str(expected.dtype)], rounding, err_msg=case.name)
    return truth


def list_columns(model: ModelProto) -> tuple[str, ...]:
    """The columns of the matrix that have a model like this one."""
    lowerings = FOURIER_LOWERINGS if _has_fourier(model) else LOWERINGS
    return (ORIGINAL, *(column for column in LOWERINGS if column in lowerings))


def replace_sites(model: ModelProto, column: str) -> tuple[ModelProto, int]:
    """The model with every Conv or transform replaced, or as it is, and how many were replaced."""
    if column == ORIGINAL:
        return model, 0
    lowering = FOURIER_LOWERINGS[column] if _has_fourier(model) else column
    # Without validation, so that a wrong model reaches the matrix and turns a cell red.
    rewritten = rewrite(model, target=LOWERINGS[column], lowering=lowering, select="all", validate=False)
    return rewritten.model, len(rewritten.report.replaced)


def write_cases(folder: Path, cases: Iterable[Case]) -> tuple[list[Entry], dict[str, list[Array]]]:
    """Fill the folder; the entries of its manifest, and the truth by case."""
    entries: list[Entry] = []
    truths: dict[str, list[Array]] = {}
    for case in cases:
        truths[case.name] = find_truth(case)
        feeds = write_feeds(folder, case.name, case.feeds)
        for lowering in list_columns(case.model):
            model, replaced = replace_sites(case.model, lowering)
            entries.append(_write_entry(folder, case, lowering, model, feeds, replaced))
    (folder / "manifest.json").write_text(json.dumps({"entries": [asdict(entry) for entry in entries]}))
    return entries, truths


def write_feeds(folder: Path, name: str, feeds: Mapping[str, Array]) -> tuple[Tensor, ...]:
    """The inputs as files."""
    tensors = []
    for number, (key, value) in enumerate(feeds.items()):
        file = f"{name}.input{number}.bin"
        (folder / file).write_bytes(np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<")).tobytes())
        tensors.append(Tensor(key, str(value.dtype), value.shape, file))
    return tuple(tensors)


def _write_entry(
    folder: Path, case: Case, lowering: str, model: ModelProto, feeds: tuple[Tensor, ...], replaced: int
) -> Entry:
    name = f"{case.name}.{lowering}"
    kinds = TRANSFORMS if _has_fourier(case.model) else CONVS
    left, sites = (
        sum(node.domain == "" and node.op_type in kinds for node in each.graph.node) for each in (model, case.model)
    )
    if (replaced, left) != ((0, sites) if lowering == ORIGINAL else (sites, 0)):
        raise AssertionError(f"{name}: of {sites} sites {replaced} were replaced, {left} are left; expected all")
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    outputs = tuple(value.name for value in model.graph.output)
    return Entry(name, case.name, lowering, f"{name}.onnx", feeds, outputs, replaced, _has_fourier(case.model))


def _has_fourier(model: ModelProto) -> bool:
    return any(map(is_fourier, model.graph.node))
