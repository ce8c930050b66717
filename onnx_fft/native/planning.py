"""The library's own planner, called for predictions: what a node will do for a shape, and how long that takes.

Layouts and functions are those of `native/ops/planning.h`. The rates that predictions rest on are `profile`'s.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_fft.errors import NativeUnavailable
from onnx_fft.native import NEXT_STEP, library_path

MAX_RANK = 3
TEXT_BYTES = 256

Rates = tuple[float, ...]
"""Seconds that one core takes for one of each unit of work, in the order of `unit_names`."""

_Axes = ctypes.c_int64 * MAX_RANK


class _Conv(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rank", "group", "batch", "in_channels", "out_channels")),
        *((name, _Axes) for name in ("extents", "kernel", "strides", "dilations", "pads_begin", "pads_end")),
        ("element_bytes", ctypes.c_int64),
        ("vector_bytes", ctypes.c_int64),
        ("basis_length", ctypes.c_int64),
    )


class _ConvTranspose(ctypes.Structure):
    _fields_ = (("conv", _Conv), ("output_padding", _Axes))


class _Dft(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int64) for name in ("length", "parts", "inverse", "onesided")) + tuple(
        (name, ctypes.c_int64) for name in ("outer", "inner", "samples", "element_bytes", "vector_bytes")
    )


class _Prediction(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_double) for name in ("seconds", "kernel_seconds", "model_seconds", "border_seconds")),
        *((name, ctypes.c_double) for name in ("weight_bytes", "scratch_bytes", "flops")),
        ("work", ctypes.c_double * 32),
        ("plan", ctypes.c_char * 128),
    )


@dataclass(frozen=True, slots=True)
class Question:
    """A convolution `[batch, in_channels, *extents]` of known shape; `pads_begin` and `pads_end` as in Conv."""

    group: int
    batch: int
    in_channels: int
    out_channels: int
    extents: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    element_bytes: int = 4
    vector_bytes: int = 0
    """Of the instruction set to predict for; 0 for the one in use here."""
    basis_length: int = 0
    """Of the DFT whose windowed basis the weights are, as `find_basis_length` says."""


@dataclass(frozen=True, slots=True)
class TransposedQuestion:
    """A transposed convolution `[batch, in_channels, *extents]` of known shape; pads crop the output."""

    batch: int
    in_channels: int
    out_channels: int
    group: int
    extents: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    output_padding: tuple[int, ...]
    element_bytes: int = 4
    vector_bytes: int = 0
    """Of the instruction set to predict for; 0 for the one in use here."""
    basis_length: int = 0
    """Of the DFT whose windowed basis the weights are, as `find_basis_length` says of them as `[in_channels, taps]`.
    Only of one output channel a group, and of taps along one axis."""


@dataclass(frozen=True, slots=True)
class DftQuestion:
    """DFTs of `length` points of lines `[outer, samples, inner, parts]`; of an STFT the frames are the lines."""

    length: int
    parts: int
    inverse: bool
    onesided: bool
    outer: int
    inner: int
    samples: int
    element_bytes: int = 4
    vector_bytes: int = 0
    """Of the instruction set to predict for; 0 for the one in use here."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a node does for one shape. Seconds are those of one core."""

    seconds: float
    """The library's own way."""
    kernel_seconds: float
    """ONNX Runtime's Conv or ConvTranspose, which the node can call instead."""
    model_seconds: float
    """The same in a model, where a Conv may run in ONNX Runtime's blocked layout."""
    border_seconds: float
    """What a node in its place costs its neighbours, whose blocked layout ends there."""
    weight_bytes: float
    """What is kept for the weights from run to run."""
    scratch_bytes: float
    """What a run takes beside that and the tensors."""
    flops: float
    """Of the library's transforms (2.5 T log2 T a real DFT of T points), products (8 a pair of bins) and taps."""
    work: dict[str, float]
    """The library's, by unit."""
    plan: str
    """How it computes, in words: the kind and the tile, the number of tiles, what runs along the lanes."""

    @property
    def tile(self) -> str:
        """What the form of the weights depends on: not how many tiles there are, or how many a block takes."""
        kind, _, lanes = self.plan.split(", ")
        return kind if kind.startswith("dense") else f"{kind}, {lanes}"


def predict(question: Question, rates: Rates) -> Prediction:
    """The prediction for a machine of these rates. Raises NativeUnavailable without the library."""
    return _ask(_load().OnnxFftPredict, _fill(question), rates)


def predict_transposed(question: TransposedQuestion, rates: Rates) -> Prediction:
    """The same of a transposed convolution.

    Raises ValueError for one that has no outputs or more than fit any memory, NativeUnavailable without the library.
    """
    asked = _ConvTranspose(_fill(question), _Axes(*question.output_padding))
    return _ask(_load().OnnxFftPredictTransposed, asked, rates)


def count_dft_bytes(question: DftQuestion) -> tuple[float, float]:
    """Bytes of a node's tables, which it keeps, and those that a run takes beside them and the tensors.

    Raises ValueError for a DFT that no node computes, NativeUnavailable without the library.
    """
    found = (ctypes.c_double * 2)()
    if _load().OnnxFftDftBytes(ctypes.byref(_Dft(*astuple(question))), found):
        raise ValueError(f"got a DFT of {question.length} points; expected at least 1")
    return found[0], found[1]


def find_basis_length(weights: NDArray[Any]) -> int:
    """Of the DFT whose windowed basis weights `[rows, taps]` are; 0 if they are none.

    A node knows such weights by the same numbers, when a session is made, and transforms frames of the signal. Raises
    NativeUnavailable without the library.
    """
    wide = np.ascontiguousarray(weights, np.float64)
    return int(_load().OnnxFftBasisLength(wide.ctypes.data, *wide.shape, weights.dtype.itemsize))


@cache
def unit_names() -> tuple[str, ...]:
    """What is counted, in the order of rates."""
    names: list[str] = []
    while name := _load().OnnxFftUnitName(len(names)):
        names.append(name.decode())
    return tuple(names)


def read_isa() -> str:
    """The instruction set whose kernels the library uses here: "baseline", "avx2", "avx512", "neon"."""
    text = ctypes.create_string_buffer(TEXT_BYTES)
    _check(_load().OnnxFftIsa(text, TEXT_BYTES), text)
    return text.value.decode()


def read_rates(*, measure: bool) -> Rates:
    """Rates measured now, on one core, or those that nodes of this process decide by."""
    found = (ctypes.c_double * len(unit_names()))()
    text = ctypes.create_string_buffer(TEXT_BYTES)
    _check(_load().OnnxFftRates(int(measure), found, text, TEXT_BYTES), text)
    return tuple(found)


def _check(failed: int, text: Any) -> None:
    if failed:
        raise NativeUnavailable(text.value.decode())


def _ask(function: Any, asked: ctypes.Structure, rates: Rates) -> Prediction:
    names = unit_names()
    if len(rates) != len(names):
        raise ValueError(f"got {len(rates)} rates; expected {len(names)}")
    found = _Prediction()
    given = (ctypes.c_double * len(rates))(*rates)
    if function(ctypes.byref(asked), given, ctypes.byref(found)):
        raise ValueError(found.plan.decode())
    return Prediction(
        found.seconds,
        found.kernel_seconds,
        found.model_seconds,
        found.border_seconds,
        found.weight_bytes,
        found.scratch_bytes,
        found.flops,
        dict(zip(names, found.work, strict=False)),
        found.plan.decode(),
    )


def _fill(question: Question | TransposedQuestion) -> _Conv:
    def axes(values: Sequence[int]) -> Any:
        return _Axes(*values)

    return _Conv(
        len(question.kernel),
        question.group,
        question.batch,
        question.in_channels,
        question.out_channels,
        axes(question.extents),
        axes(question.kernel),
        axes(question.strides),
        axes(question.dilations),
        axes(question.pads_begin),
        axes(question.pads_end),
        question.element_bytes,
        question.vector_bytes,
        question.basis_length,
    )


def _load() -> ctypes.CDLL:
    return _open(library_path())


@cache
def _open(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
        library.OnnxFftUnitName.restype = ctypes.c_char_p
        library.OnnxFftUnitName.argtypes = [ctypes.c_int32]
        library.OnnxFftBasisLength.restype = ctypes.c_int64
        library.OnnxFftBasisLength.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64]
        for function in (library.OnnxFftPredict, library.OnnxFftPredictTransposed):
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        library.OnnxFftDftBytes.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        library.OnnxFftRates.argtypes = [ctypes.c_int32, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64]
        library.OnnxFftIsa.argtypes = [ctypes.c_char_p, ctypes.c_int64]
    except (OSError, AttributeError) as error:
        raise NativeUnavailable(f"got {path}, which cannot be used ({error})", "the library", NEXT_STEP) from error
    return library
