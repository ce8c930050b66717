"""The page that shows both times in the browser: in headless Chromium, with onnxruntime-web."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnx_fft.errors import UsageError
from scripts.conformance.runtimes import MissingRuntime, find_dist
from scripts.serving import web
from scripts.serving.paths import ENVIRONMENTS
from scripts.shared.browser import Browser
from scripts.shared.paths import MODELS
from tests.models import two_convs

MODEL = MODELS / "large_kernel.onnx"
LIMIT_S = 120.0
RECORD = """
window.said = [];
addEventListener("DOMContentLoaded", () => {
  const [status, bar] = ["#status", "#progress"].map((name) => document.querySelector(name));
  new MutationObserver(() => said.push([status.textContent, bar.value])).observe(status, { childList: true });
});
"""
"""Notes what the page says, and how far its bar is then."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for a model; skipped without onnxruntime-web, except in CI, which has it."""
    try:
        dist = find_dist(ENVIRONMENTS)
    except MissingRuntime as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    folder = tmp_path_factory.mktemp("site")
    web.write_site(folder, MODEL, {}, dist)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser = Browser()
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=RECORD)
    yield browser
    browser.close()


def show(browser: Browser, folder: Path) -> tuple[list[tuple[str, float]], dict[str, Any]]:
    """What the page said with how far its bar was, and the end: its state, both times, the verdict, the last status."""
    with web.serve(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{server.server_port}/", width=900, scheme="light")
        until = time.monotonic() + LIMIT_S
        while (state := browser.evaluate("document.body.dataset.state")) not in ("done", "failed"):
            assert time.monotonic() < until, browser.evaluate("said")
            time.sleep(0.1)
        times = browser.evaluate("[...document.querySelectorAll('.time')].map((time) => parseFloat(time.textContent))")
        end = {"state": state, "times": times}
        for name in ("verdict", "status"):
            end[name] = browser.evaluate(f"document.querySelector('#{name}').textContent")
        said = [(text, share) for text, share in browser.evaluate("said")]
        server.shutdown()
    return said, end


@pytest.mark.slow
def test_both_times_are_shown(site: Path, browser: Browser) -> None:
    said, end = show(browser, site)
    assert end["state"] == "done", end
    assert len(end["times"]) == 2 and min(end["times"]) > 0
    assert end["verdict"].startswith("The rewritten model is ") and "the outputs differ by " in end["verdict"]
    shares = [share for text, share in said if text.startswith("Loading ")]
    assert shares == sorted(shares) and 0 < shares[0] < shares[-1] == 1
    assert any(text.startswith("Timing, ") and 0 < share < 1 for text, share in said)
    assert said[-1] == ("Done", 1)
    assert [line for line in browser.complaints if "Exception" in line] == []
    assert browser.evaluate("document.querySelector('h1').textContent").endswith("with 1 of 3 Convs replaced")


@pytest.mark.slow
def test_another_model_is_refused(site: Path, browser: Browser, tmp_path: Path) -> None:
    """Its outputs are compared in the browser: a speed of what is wrong means nothing."""
    for file in site.iterdir():
        (tmp_path / file.name).symlink_to(file)
    model = onnx.load(MODEL)
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weight), weight.name))
    (tmp_path / "rewritten.onnx").unlink()
    onnx.save(model, tmp_path / "rewritten.onnx")
    _, end = show(browser, tmp_path)
    assert end["state"] == "failed"
    assert "the outputs differ by" in end["status"]


@pytest.mark.slow
def test_a_missing_file_is_named(site: Path, browser: Browser, tmp_path: Path) -> None:
    for file in site.iterdir():
        if file.name != "rewritten.onnx":
            (tmp_path / file.name).symlink_to(file)
    _, end = show(browser, tmp_path)
    assert end["state"] == "failed"
    assert "got status 404 for rewritten.onnx" in end["status"]


def test_the_inputs_are_of_the_shapes_given() -> None:
    long_filter = onnx.load(MODELS / "long_filter.onnx")
    feeds = web.draw_feeds(long_filter, {"x": (1, 16, 512)})
    assert {name: x.shape for name, x in feeds.items()} == {"x": (1, 16, 512)}
    with pytest.raises(UsageError, match=r"got input 'x' of open shape.*--input-shape x:1x64x56x56"):
        web.draw_feeds(long_filter, {})
    doubles = two_convs()
    doubles.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(UsageError, match="got input 'x' of type float64"):
        web.draw_feeds(doubles, {})


def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(web, "ENVIRONMENTS", tmp_path)
    assert web.main([str(MODEL), "--folder", str(tmp_path / "site")]) == 2
    assert "onnxruntime-web; scripts/conformance/run.sh sets it up" in capsys.readouterr().err


@pytest.mark.slow
def test_the_size_of_all_files_is_told(site: Path) -> None:
    """The bar needs it to end at its end."""
    pair = json.loads((site / "pair.json").read_text())
    names = [pair["runtime"], pair["original"], pair["rewritten"], *(feed["file"] for feed in pair["feeds"])]
    assert pair["total_bytes"] == sum((site / name).stat().st_size for name in names)
    assert np.prod(pair["feeds"][0]["shape"]) * 4 == (site / pair["feeds"][0]["file"]).stat().st_size
