"""Headless Chromium, driven through its DevTools protocol on a pipe: no package beyond the browser itself.

Messages are JSON, each ended by a NUL, written to the browser's file descriptor 3 and read from its 4.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str:
    """The browser's path, $ONNX_FFT_CHROMIUM before any other. Raises RuntimeError if there is none."""
    found = os.environ.get("ONNX_FFT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), "")
    if not found:
        raise RuntimeError(
            f"found no browser ({', '.join(NAMES)}); expected Chromium; "
            "run scripts/setup/chromium.sh as root, or set ONNX_FFT_CHROMIUM to its path"
        )
    return found


class Browser:
    """One browser with one page; the page's errors, messages and requests are collected in `complaints`."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._session: str | None = None
        self._count, self._loaded, self._rest = 0, False, b""
        self._profile = tempfile.TemporaryDirectory(prefix="onnx-fft-chromium-", ignore_cleanup_errors=True)
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        flags += ["--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={self._profile.name}"]
        # The shell puts the pipe's two ends where the browser looks for them.
        script = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", find_chromium(), *flags],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, page: Path | str, *, width: int, scheme: str) -> None:
        """Show a file or an address on a page of the given width under the colour scheme "light" or "dark"."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._loaded = False
        self.call("Page.navigate", url=page if isinstance(page, str) else page.absolute().as_uri())
        while not self._loaded:
            self._receive()

    def evaluate(self, script: str, *, as_user: bool = False) -> Any:
        """The value of a JavaScript expression, or of its promise."""
        parameters = {"returnByValue": True, "awaitPromise": True, "userGesture": as_user}
        answer = self.call("Runtime.evaluate", expression=script, **parameters)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1})
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self.call("Browser.close")
        self._process.wait(timeout=30)
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def _receive(self) -> dict[str, Any]:
        """The next message; events are noted on the way."""
        while b"\0" not in self._rest:
            chunk = os.read(self._read, 1 << 20)
            assert chunk, f"Chromium ended with code {self._process.wait(timeout=30)}"
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        method, parameters = message.get("method", ""), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(parameters))
        elif method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith(("file:", "data:")):
            self.complaints.append(f"request: {parameters['request']['url']}")
        return message
