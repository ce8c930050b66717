"""A page that shows what rewriting gains in the browser: writes it with a model and onnxruntime-web, and serves it.

    python -m scripts.serving.web                                   # models/large_kernel.onnx
    python -m scripts.serving.web model.onnx --input-shape x:1x16x8192
    python -m scripts.serving.web model.onnx --folder site          # only writes the folder, for any web server

The model is rewritten for the target `standard`, which is what runs in onnxruntime-web.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx

import onnx_fft
from onnx_fft.cli.values import parse_shape
from onnx_fft.errors import UsageError
from onnx_fft.inputs.feeds import fix_shapes, read_inputs
from scripts.conformance.browser import TYPES
from scripts.conformance.cases import write_feeds
from scripts.conformance.runtimes import FOLDER as CONFORMANCE
from scripts.conformance.runtimes import MissingRuntime, find_dist
from scripts.serving.paths import ENVIRONMENTS
from scripts.shared.conv_models import Array
from scripts.shared.paths import MODELS

PAGE = Path(__file__).with_name("page")
RUNTIME = "ort-wasm-simd-threaded.wasm"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", RUNTIME)
"""What the page needs of onnxruntime-web's folder `dist`."""
SEED = 0


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


def write_site(folder: Path, model: Path, shapes: Mapping[str, Sequence[int]], dist: Path) -> None:
    """The page and all that it loads. Raises UsageError for inputs it cannot make up, and what `rewrite` raises."""
    original = onnx.load(model)
    feeds = draw_feeds(original, shapes)
    rewritten = onnx_fft.rewrite(model, input_shapes=shapes)
    for source in (*PAGE.iterdir(), CONFORMANCE / "runner.mjs", *(dist / name for name in RUNTIME_FILES)):
        shutil.copy(source, folder)
    for name, written in (("original", original), ("rewritten", rewritten.model)):
        (folder / f"{name}.onnx").write_bytes(written.SerializeToString())
    tensors = [asdict(tensor) for tensor in write_feeds(folder, "feeds", feeds)]
    loaded = ["original.onnx", "rewritten.onnx", RUNTIME, *(tensor["file"] for tensor in tensors)]
    pair = {
        "name": model.stem,
        "replaced": f"{len(rewritten.report.replaced)} of {len(rewritten.report.rows)}",
        "original": "original.onnx",
        "rewritten": "rewritten.onnx",
        "runtime": RUNTIME,
        "feeds": tensors,
        "total_bytes": sum((folder / name).stat().st_size for name in loaded),
    }
    (folder / "pair.json").write_text(json.dumps(pair))


def draw_feeds(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """Random float32 numbers for each input. Raises UsageError for an input of another type, or of open shape."""
    rng = np.random.default_rng(SEED)
    feeds = {}
    for info in fix_shapes(read_inputs(model), shapes):
        dims = [dim for dim in info.dims or () if isinstance(dim, int)]
        if info.dtype != np.float32 or info.is_sequence:
            raise UsageError(f"got input {info.name!r} of type {info.dtype}", "inputs in float32")
        if info.dims is None or len(dims) < len(info.dims):
            hint = f"give its shape, as in --input-shape {info.name}:1x64x56x56"
            raise UsageError(f"got input {info.name!r} of open shape", "a shape to run it in", hint)
        feeds[info.name] = rng.standard_normal(dims, np.float32)
    return feeds


def serve(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the folder for this machine alone, on a port that is free if none is given."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=str(folder)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; serve it until interrupted, unless only the folder is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, nargs="?", default=MODELS / "large_kernel.onnx")
    parser.add_argument(
        "--input-shape", dest="shapes", action="append", default=[], type=parse_shape, metavar="NAME:DIMS"
    )
    parser.add_argument("--folder", type=Path, help="write the page there, and do not serve it")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="onnx-fft-") as scratch:
            folder = options.folder or Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            write_site(folder, options.model, dict(options.shapes), find_dist(ENVIRONMENTS))
            if options.folder is None:
                with serve(folder, options.port) as server:
                    print(f"open http://127.0.0.1:{server.server_port} in a browser; Ctrl-C ends it", flush=True)
                    server.serve_forever()
    except KeyboardInterrupt:
        return 0
    except (MissingRuntime, onnx_fft.OnnxFftError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
