"""The numbers of the article's tables: the network computed in each way, timed, and held against float64.

The measurements are plain JSON types, which `scripts.article.results` prints.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from onnx_fft.model.io import load_model
from onnx_fft.options import RewriteOptions
from onnx_fft.results import Report
from onnx_fft.rewrite import rewrite
from onnx_fft.runtime.libraries import find_libraries
from onnx_fft.timing.launch import Host, ModelTiming, time_models
from onnx_fft.timing.stats import compare
from scripts.article.images import SIZE, Images, draw_images
from scripts.article.network import INPUT, LOGIT, Tensors, build_network, draw_tensors, read_tensors
from scripts.article.numpy_ways import (
    Conv,
    conv_as_in_article,
    conv_by_fft,
    conv_by_loops,
    conv_by_oracle,
    pool_by_slices,
    predict_logit,
    sigmoid,
)
from scripts.article.results import AUTO, FORCED
from scripts.shared.runs import open_in_ort

Logits = npt.NDArray[np.float64]
Say = Callable[[str], None]

CONV = "conv"
NUMPY_WAYS: dict[str, Conv] = {"loops": conv_by_loops, "article": conv_as_in_article, "right": conv_by_fft}
KERNELS = (3, 7, 15, 31, 63)
UNLIMITED_BYTES = 1 << 40
SEED = 0


@dataclass(frozen=True, slots=True)
class Variant:
    """A model and what became of its Convs; `report` is None for the original."""

    model: ModelProto
    report: Report | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        rows = () if self.report is None else self.report.rows
        return {
            "convs": [{"name": row.name, "lowering": row.lowering, "reason": row.reason} for row in rows],
            "replaced": sum(row.lowering is not None for row in rows),
        }


def make_variants(model: ModelProto) -> dict[str, Variant]:
    """`model` itself as "conv", under each lowering, forced, and as the planner has it, for one image at a time."""
    defaults = RewriteOptions(input_shapes={INPUT: (1, 1, SIZE, SIZE)}, validate=False)  # errors are measured below
    forced = replace(defaults, select="all", max_growth_bytes=UNLIMITED_BYTES)
    options = {name: replace(forced, lowering=name, target=target) for name, target in FORCED.items()}
    options |= {name: replace(defaults, target=target) for name, target in AUTO.items()}
    results = {name: rewrite(model, options=chosen) for name, chosen in options.items()}
    return {CONV: Variant(model), **{name: Variant(result.model, result.report) for name, result in results.items()}}


def find_same(variants: Mapping[str, Variant]) -> dict[str, str]:
    """For each variant the first that is the same model; a model in which nothing is replaced is the original."""
    first: dict[bytes, str] = {}
    same = {}
    for name, variant in variants.items():
        is_original = variant.report is not None and not variant.report.replaced
        same[name] = (
            CONV if is_original else first.setdefault(variant.model.SerializeToString(deterministic=True), name)
        )
    return same


# --- the article's table ----------------------------------------------------------------------------------------------


def measure_ways(
    model: ModelProto, images: Images, *, threads: int, budget_s: float, say: Say
) -> tuple[dict[str, Any], Host]:
    """The trained `model` on `images`, in every way: seconds for all, and logits held against float64."""
    tensors, pixels = read_tensors(model), images.scale()
    say("float64 truth")
    truth = np.array([predict_logit(image, tensors, conv_by_oracle, pool_by_slices) for image in pixels])
    variants = make_variants(model)
    same = find_same(variants)
    say("ONNX Runtime: timing")
    timings, machine = _time_variants(variants, pixels[:1], threads, budget_s)
    found: dict[str, tuple[float, Logits]] = {}
    for name, variant in variants.items():
        if same[name] == name:
            say(f"ONNX Runtime: {len(images)} predictions, {name}")
            found[name] = len(images) * timings[name].run_s.median, predict_all(variant.model, pixels)
    found |= {name: found[first] for name, first in same.items()}
    found |= run_numpy_ways(tensors, pixels, say)
    conv_logits = found[CONV][1]
    ways = {
        name: {
            "seconds": seconds,
            **(variants[name].to_dict() if name in variants else {}),
            **judge(logits, conv_logits, truth, images.labels),
        }
        for name, (seconds, logits) in found.items()
    }
    return {"images": len(images), "with_tumour": int(images.labels.sum()), "ways": ways}, machine


def run_numpy_ways(tensors: Tensors, pixels: npt.NDArray[np.float64], say: Say) -> dict[str, tuple[float, Logits]]:
    """Seconds for all images and their logits, in each of NUMPY_WAYS, which take turns image by image."""
    seconds = dict.fromkeys(NUMPY_WAYS, 0.0)
    logits: dict[str, list[float]] = {name: [] for name in NUMPY_WAYS}
    for number, image in enumerate(pixels):
        if number % 25 == 0:
            say(f"NumPy: image {number + 1} of {len(pixels)}")
        for name, conv in NUMPY_WAYS.items():
            started = time.perf_counter()
            logits[name].append(predict_logit(image, tensors, conv))
            seconds[name] += time.perf_counter() - started
    return {name: (seconds[name], np.array(logits[name])) for name in NUMPY_WAYS}


def judge(logits: Logits, conv: Logits, truth: Logits, labels: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """How many predictions agree with `conv`, how many are right, and the largest errors against `truth`."""
    return {
        "same_bits": bool(np.array_equal(logits, conv)),
        "agreeing": int(np.sum((logits >= 0) == (conv >= 0))),
        "accuracy": float(np.mean((logits >= 0) == labels)),
        "probability_error": float(np.max(np.abs(sigmoid(logits) - sigmoid(truth)))),
        "logit_error": float(np.max(np.abs(logits - truth)) / np.sqrt(np.mean(truth**2))),
    }


def predict_all(model: ModelProto, pixels: npt.NDArray[np.float64]) -> Logits:
    """The logits of `pixels` `[count, SIZE, SIZE]` from ONNX Runtime, image by image, `[count]`."""
    runner = open_in_ort(load_model(model), expose=[LOGIT])
    feeds = (image.astype(np.float32)[None, None] for image in pixels)
    return np.array([float(runner.run({INPUT: feed})[LOGIT][0, 0]) for feed in feeds])


def _time_variants(
    variants: Mapping[str, Variant], pixels: npt.NDArray[np.float64], threads: int, budget_s: float
) -> tuple[dict[str, ModelTiming], Host]:
    """Each variant on the one image of `pixels`, in turn; the same model once."""
    same = find_same(variants)
    timed = list(dict.fromkeys(same.values()))
    models = [variants[name].model for name in timed]
    feed = {INPUT: pixels.astype(np.float32)[:, None]}
    sources, libraries = [load_model(model) for model in models], find_libraries(models)
    timings, machine = time_models(sources, feed, threads=threads, budget_s=budget_s, custom_ops=libraries)
    found = dict(zip(timed, timings, strict=True))
    return {name: found[first] for name, first in same.items()}, machine


# --- larger kernels ---------------------------------------------------------------------------------------------------


def measure_kernels(
    kernels: Sequence[int], *, threads: int, budget_s: float, say: Say
) -> tuple[list[dict[str, Any]], list[Host]]:
    """The network with padded Convs of each kernel, untrained: the speed over its Convs, one image a run."""
    rows, machines = [], []
    image = draw_images(1, SEED).scale()
    for kernel in kernels:
        say(f"kernels {kernel} x {kernel}")
        variants = make_variants(build_network(draw_tensors(kernel, SEED), is_padded=True))
        timings, machine = _time_variants(variants, image, threads, budget_s)
        conv = timings[CONV]
        ways = {
            name: {**variant.to_dict(), "ratio": compare(conv.samples_s, timings[name].samples_s).to_dict()}
            for name, variant in variants.items()
            if name != CONV
        }
        rows.append({"kernel": kernel, "conv_s": conv.run_s.median, "ways": ways})
        machines.append(machine)
    return rows, machines
