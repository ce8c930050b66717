"""A model behind HTTP: the arrays of an .npz file in, an .npz file out.

    python -m scripts.serving.service native.onnx --port 8000
    curl --data-binary @feeds.npz http://127.0.0.1:8000/run > results.npz

One session serves all requests. A run has one thread, and there are as many runs at once as cores: that gives the most
answers a second. What comes in meanwhile waits its turn. An example of the calls, for a network that you trust: it asks
nobody who they are, and reads whatever size of body it gets.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import onnx_fft
from onnx_fft.errors import one_line
from scripts.serving.arrays import read_arrays, write_arrays
from scripts.serving.sessions import INVALID, open_session

HOST = "127.0.0.1"
MEDIA_TYPE = "application/octet-stream"


def build_app(session: Any, runs_at_once: int) -> Starlette:
    """`POST /run`: 200 and the outputs; 400 and a sentence for inputs that are not the model's."""
    names = [output.name for output in session.get_outputs()]
    limiter = CapacityLimiter(runs_at_once)

    async def run(request: Request) -> Response:
        try:
            feeds = read_arrays(await request.body())
            results = await to_thread.run_sync(session.run, None, feeds, limiter=limiter)
        except INVALID as error:
            return PlainTextResponse(one_line(error), 400)
        return Response(write_arrays(dict(zip(names, results, strict=True))), media_type=MEDIA_TYPE)

    return Starlette(routes=[Route("/run", run, methods=["POST"])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; the address is printed once requests are taken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, help="an original or a rewritten model")
    parser.add_argument("--port", type=int, default=0, help="by default one that is free")
    options = parser.parse_args(arguments)
    try:
        app = build_app(open_session(options.model, threads=1), os.cpu_count() or 1)
    except onnx_fft.OnnxFftError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    with socket.create_server((HOST, options.port)) as server:
        print(f"http://{HOST}:{server.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[server])
    return 0


if __name__ == "__main__":
    sys.exit(main())
