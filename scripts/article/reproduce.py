"""Does what the article did that started this, and holds it against ONNX Runtime: a small network, FFT for its Convs.

    python scripts/reproduce_article.py          # five minutes; writes scripts/results/article.* and the README's table
    python scripts/reproduce_article.py --train  # trains the network anew first, into models/article_tumour.onnx

The article ("Fast - CNN", see article_numpy.py) takes a network of three one-filter 3x3 Convs for brain scans and
replaces the Convs by FFTs in NumPy, 4.8 times faster than its Python loops. Here the same network, trained on synthetic
images, predicts 253 other ones, one by one as in the article: (a) by loops, (b) by the article's FFT, (c) by ONNX
Runtime, (d) with every Conv rewritten under each lowering, and (e) as the planner has it. Then with larger kernels, and
last a VGG16 trained on brain scans.

ONNX Runtime's times are medians of one image, interleaved in one process on one thread pool, times 253; NumPy's are the
sums over all images, where the ways take turns. Errors are against float64.
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
from scripts.bench.tables import describe_run, describe_target, refuse
from scripts.models.fetch import FetchError, fetch
from scripts.shared.blocks import write_block

RESULTS = Path(__file__).resolve().parent / "results"
IMAGES, SEED_TEST = 253, SEED_IMAGES + 1


def say(text: str) -> None:
    """Progress, with the seconds since the start."""
    print(f"{time.perf_counter() - STARTED:4.0f} s  {text}", file=sys.stderr)


STARTED = time.perf_counter()


def check_needs() -> list[str]:
    """What would fail minutes later, first; lines about the native library.

    Raises ImportError without matplotlib (the extra `plot`), FetchError without a network on the first call, and
    NativeUnavailable where the native library does not run.
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--train", action="store_true", help="train the network anew first (needs PyTorch)")
    parser.add_argument("--threads", type=int, default=2, help="threads of ONNX Runtime's pool (default: 2)")
    parser.add_argument("--budget", type=float, default=5.0, metavar="S", help="seconds of timed runs a comparison")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="write there instead, and leave the README alone")
    options = parser.parse_args(arguments)
    try:
        notes = check_needs()
    except (NativeUnavailable, FetchError, ImportError) as error:
        return refuse(str(error))
    if options.train:
        TRAINED.write_bytes(build_network(train(say)).SerializeToString(deterministic=True))
    content = measure(options.threads, options.budget, notes)
    lines = make_lines(content)
    print("\n".join(lines))
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "article.json").write_text(json.dumps(content, indent=2) + "\n")
    write_text(lines, options.folder / "article.md")
    draw_kernels(content["kernels"], content["header"], options.folder / "article.svg")
    if options.folder == RESULTS:
        write_block("article", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
