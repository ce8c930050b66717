"""What replacements hold in memory beside the model, and the cap on that.

A node of the native library keeps its weights in transformed form, which may take many times what the weights take: for
a tile of T points and small kernels, T over the kernel's taps. Of a DFT, an STFT or a windowed basis it keeps the
tables of a plan; nodes of one length share them, and each is counted all the same. What passes between the stages of a
run is shared by all nodes, so that only the largest counts. Lowerings to standard operators keep their constants in the
file, where `choose.limit_growth` caps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx_fft.cost.choose import Decision, Request, leave_after_all, saving_per_byte
from onnx_fft.cost.extents import assume_sizes, count_tensors
from onnx_fft.cost.fourier import judge_at
from onnx_fft.cost.frames import as_pointwise
from onnx_fft.cost.growth import ITEMSIZES
from onnx_fft.cost.lowerings import FFT
from onnx_fft.cost.native import ask_dft, predict_fftconv
from onnx_fft.cost.predict import FFTCONV
from onnx_fft.errors import NativeUnavailable, Refusal
from onnx_fft.hints import Option
from onnx_fft.native.planning import Rates, count_dft_bytes
from onnx_fft.sites.fourier import DftSpec, MatMulSpec, StftSpec
from onnx_fft.sites.site import FourierSpec, Spec, list_lengths
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec
from onnx_fft.units import format_size

MOST_TILE_SIZES = 4
"""Sizes of tiles that a node keeps transformed weights for: `kMostSpectra` in the library."""

STATE_SIZES = (
    "state the size that the model runs at by ",
    Option("input_shapes"),
    ": for open ones several tiles count",
)


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that one node holds for its weights from run to run, and those that a run takes beside that."""

    weights: int = 0
    run: int = 0


def hold(spec: Spec, decision: Decision, rates: Rates) -> Held:
    """What a replacement holds; if sizes are open, for the tiles of all those assumed.

    Nothing is held for shapes at which the node calls ONNX Runtime's Conv.
    """
    if decision.plan is None:
        return Held()
    if isinstance(spec, MatMulSpec):
        return _hold_frames(spec, rates)
    if isinstance(spec, DftSpec | StftSpec):
        return _hold_tables(spec) if decision.plan.lowering == FFT else Held()
    if decision.plan.lowering != FFTCONV:
        return Held()
    found = [predict_fftconv(known, rates) for known in assume_sizes(spec)]
    used = [each for each in found if each.seconds <= each.kernel_seconds] or found
    weights = sorted({each.tile: each.weight_bytes for each in used}.values())
    return Held(int(sum(weights[-MOST_TILE_SIZES:])), int(max(each.scratch_bytes for each in used)))


def _hold_frames(spec: MatMulSpec, rates: Rates) -> Held:
    """The tables of a basis, and the weight once more, turned, if its columns are the rows of the basis."""
    found = predict_fftconv(as_pointwise(spec), rates)
    turned = 0 if spec.in_columns else spec.taps * spec.rows * ITEMSIZES[spec.dtype]
    return Held(turned + int(found.weight_bytes), int(found.scratch_bytes))


def _hold_tables(spec: FourierSpec) -> Held:
    """Those of all lengths assumed."""
    found = [count_dft_bytes(ask_dft(known)) for known in judge_at(spec)]
    return Held(int(sum({tables for tables, _ in found})), int(max(run for _, run in found)))


def count_run_bytes(specs: Sequence[Spec | None]) -> int:
    """What a run of the original takes at least: the input and the output of its largest site, of known sizes."""
    known = (
        spec for spec in specs if isinstance(spec, ConvSpec | ConvTransposeSpec) and None not in list_lengths(spec)
    )
    return max((ITEMSIZES[spec.dtype] * sum(count_tensors(spec)) for spec in known), default=0)


def limit_memory(specs: Sequence[Spec | None], decisions: Sequence[Decision], request: Request) -> list[Decision]:
    """The decisions within `request.max_memory_bytes`, each with what it holds.

    Replacements are kept by the time they save a byte, the rest is left after all.
    """
    try:
        rates = request.machines[0].library
    except NativeUnavailable:
        return list(decisions)  # forced, and nobody to ask
    result = [
        decision if spec is None or not rates else _note(decision, hold(spec, decision, rates))
        for spec, decision in zip(specs, decisions, strict=True)
    ]
    replaced = [number for number, decision in enumerate(result) if decision.plan is not None]
    kept = Held()
    for number in sorted(replaced, key=lambda number: saving_per_byte(result[number]), reverse=True):
        decision = result[number]
        held = Held(decision.memory_bytes, decision.run_bytes)
        together = Held(kept.weights + held.weights, max(kept.run, held.run))
        if together.weights + together.run <= request.max_memory_bytes:
            kept = together
            continue
        left = max(0, request.max_memory_bytes - kept.weights - kept.run)
        sentence = (
            f"its replacement holds {format_size(held.weights + held.run)} of memory and {format_size(left)} are left "
            f"of the {format_size(request.max_memory_bytes)} that all may hold"
        )
        spec = specs[number]
        is_open = spec is not None and None in list_lengths(spec)
        result[number] = leave_after_all(decision, Refusal("memory", sentence, STATE_SIZES if is_open else ""))
    return result


def _note(decision: Decision, held: Held) -> Decision:
    return replace(decision, memory_bytes=held.weights, run_bytes=held.run)
