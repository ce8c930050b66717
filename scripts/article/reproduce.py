"""Repeats the article that started this, FFTs for the Convs of a small network, and compares it with ONNX Runtime.

    python -m scripts.article.reproduce          # five minutes; writes scripts/article/results and the page's tables
    python -m scripts.article.reproduce --train  # trains the network again first, into models/article_tumour.onnx

The article ("Fast - CNN", see `numpy_ways.py`) takes a network of three one-filter 3x3 Convs for brain scans and
replaces the Convs by FFTs in NumPy, 4.8 times faster than its Python loops. Here the same network, trained on synthetic
images, predicts 253 others, one by one as in the article: (a) by loops, (b) by the article's FFT, (c) by ONNX Runtime,
(d) with every Conv rewritten under each lowering, and (e) as the planner has it. After that come larger kernels, and a
VGG16 trained on brain scans.

ONNX Runtime's times are medians of one image, interleaved in one process on one thread pool, times 253. NumPy's are the
sums over all images, on which the ways take turns. Errors are against float64.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from onnx_fft.errors import NativeUnavailable
from scripts.article import vgg as article_vgg
from scripts.article.images import draw_images
from scripts.article.measure import KERNELS, SEED, measure_kernels, measure_ways
from scripts.article.network import TRAINED, build_network
from scripts.article.plot import draw_kernels
from scripts.article.results import AUTO, make_lines, write_text
from scripts.article.training import SEED_IMAGES, train
from scripts.models.fetch import FetchError, fetch
from scripts.shared.blocks import write_block
from scripts.shared.runs import describe_run, describe_target, refuse

PAGE = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).with_name("results")
IMAGES, SEED_TEST = 253, SEED_IMAGES + 1


def say(text: str) -> None:
    """Progress, with the seconds since the start."""
    print(f"{time.perf_counter() - STARTED:4.0f} s  {text}", file=sys.stderr)


STARTED = time.perf_counter()


def check_needs() -> list[str]:
    """Look first for everything that would fail minutes later; returns lines about the native library.

    Raises ImportError without matplotlib (the extra `plot`), FetchError without a network on the first call, and
    NativeUnavailable if the native library does not run.
    """
    importlib.import_module("matplotlib")
    fetch(article_vgg.NAME)
    return describe_target("native")


def measure(threads: int, budget_s: float, notes: Sequence[str]) -> dict[str, Any]:
    """Everything, as plain JSON types."""
    settings: dict[str, Any] = {"threads": threads, "budget_s": budget_s, "say": say}
    network, machine = measure_ways(onnx.load(TRAINED), draw_images(IMAGES, SEED_TEST), **settings)
    kernels, machines = measure_kernels(KERNELS, **settings)
    vgg = article_vgg.measure_vgg(AUTO.values(), **settings)
    header = [*describe_run([machine, *machines], SEED), *notes]
    return {"header": header, "network": network, "kernels": kernels, "vgg": vgg}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything and write the results; 2 if something that is needed is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--train", action="store_true", help="train the network again first (needs PyTorch)")
    parser.add_argument("--threads", type=int, default=2, help="threads of ONNX Runtime's pool (default: 2)")
    parser.add_argument("--budget", type=float, default=5.0, metavar="S", help="seconds of timed runs a comparison")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="write there instead, and leave the page alone")
    options = parser.parse_args(arguments)
    try:
        notes = check_needs()
    except (NativeUnavailable, FetchError, ImportError) as error:
        return refuse(str(error))
    if options.train:
        TRAINED.write_bytes(build_network(train(say)).SerializeToString(deterministic=True))
    content = measure(options.threads, options.budget, notes)
    print("\n".join(make_lines(content)))
    write_results(content, options.folder)
    return 0


def write_results(content: dict[str, Any], folder: Path = RESULTS) -> None:
    """Write the measurement into the folder as data, text and chart, and into the page if that is the usual folder."""
    lines = make_lines(content)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "article.json").write_text(json.dumps(content, indent=2) + "\n")
    write_text(lines, folder / "article.md")
    draw_kernels(content["kernels"], content["header"], folder / "article.svg")
    if folder == RESULTS:
        write_block(PAGE, "article", lines)


if __name__ == "__main__":
    sys.exit(main())
