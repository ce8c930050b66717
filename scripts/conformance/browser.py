"""onnxruntime-web in headless Chromium: a local server serves page, package and models, and takes the results.

The page, `index.html`, fetches the cases and posts its results. It runs on one thread of WebAssembly, which needs no
special headers.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from scripts.shared.browser import find_chromium

PAGES = Path(__file__).parent
TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm", ".html": "text/html"}


class BrowserError(RuntimeError):
    """The page did not finish; the message is what it said, or that it took too long."""


class Server(ThreadingHTTPServer):
    """What the page may fetch, by the first part of the path, and what it has sent."""

    daemon_threads = True

    def __init__(self, dist: Path, cases: Path, out: Path) -> None:
        self.roots = {"ort": dist, "cases": cases}
        self.out = out
        self.done = threading.Event()
        self.complaint = ""
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES
    server: Server

    def translate_path(self, path: str) -> str:
        """A file directly in one of the folders; nothing else is served."""
        first, _, name = path.partition("?")[0].lstrip("/").rpartition("/")
        return str(self.server.roots.get(first, PAGES) / (Path(name).name or "index.html"))

    def do_POST(self) -> None:
        """`/out/NAME`: a file, or more lines of one; `/done`: the end, with what went wrong."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/done":
            self.server.complaint = body.decode()
            self.server.done.set()
        else:
            name = Path(self.path).name
            with (self.server.out / name).open("ab" if name.endswith(".jsonl") else "wb") as file:
                file.write(body)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


def run_page(dist: Path, cases: Path, out: Path, *, query: str = "", timeout_s: float) -> None:
    """Run the page to its end. Raises BrowserError, and RuntimeError if there is no browser."""
    with serve(dist, cases, out) as (server, address), _open_browser(f"{address}/{query}") as browser:
        waited = 0.0
        while not server.done.wait(0.5) and browser.poll() is None and waited < timeout_s:
            waited += 0.5
    if not server.done.is_set():
        raise BrowserError(f"the page had not finished after {waited:.0f} s")
    if server.complaint:
        raise BrowserError(server.complaint)


@contextmanager
def serve(dist: Path, cases: Path, out: Path) -> Iterator[tuple[Server, str]]:
    """A server for the page on a free port of this machine, and its address."""
    server = Server(dist, cases, out)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _open_browser(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """Chromium without a window, with a profile of its own, ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="onnx-fft-chromium-", ignore_cleanup_errors=True) as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += [f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [find_chromium(), *flags, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)
