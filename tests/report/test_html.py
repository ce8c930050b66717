"""The report as a page: what it says, that nothing in a name gets out of its place, and how it looks in Chromium."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from onnx_fft.cli import main
from onnx_fft.cli.hints import word_as_flag
from onnx_fft.errors import UsageError
from onnx_fft.hints import Note, Option, word_in_python
from onnx_fft.measure.run import Measurement
from onnx_fft.report.html.page import open_templates, render_page
from onnx_fft.report.numbers import format_bytes, format_error, format_growth, format_time
from onnx_fft.report.plot import check_plot, plot_benchmark
from onnx_fft.results import Report
from onnx_fft.rewrite import dry_run
from onnx_fft.timing.stats import Ratio
from scripts.shared.browser import NAMES, Browser, find_chromium
from scripts.shared.paths import MODELS
from tests.report.results import HOST, make_benchmark, make_report, make_row, make_validation

NASTY = [
    "</script><script>alert(1)</script>",
    "\"' onmouseover='alert(1)' <img src=x onerror=alert(1)>&amp;",
    "a" * 3000,
    "wide 漢字 שלום \u202e reversed 🎛️ \x00\x07\ud800",
    "]]>--><!-- ${x} {x} %s",
    "",
]


def render_all(count: int = 3, name: str = "conv") -> str:
    names = tuple(row.name for row in make_report(count, name).replaced)
    plan = {"onnx_fft_plan": 1, "convs": [{"name": each, "lowering": "matmul"} for each in names]}
    return render_page(
        make_report(count, name),
        validation=make_validation(names),
        benchmark=make_benchmark(name=names[0]),
        plan=plan,
        model_name=f"{name}.onnx",
    )


class Outline(HTMLParser):
    """What a page is made of; fails where tags do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.headings: list[int] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data


# --- what it says ---------------------------------------------------------------------------------------------------


def test_page_has_a_title_a_language_and_headings_in_order() -> None:
    outline = Outline(render_all())
    assert outline.tags["title"] == outline.tags["h1"] == outline.tags["main"] == 1
    assert ("lang", "en") in outline.attributes
    assert outline.headings[0] == 1
    assert all(later <= earlier + 1 for earlier, later in zip(outline.headings, outline.headings[1:], strict=False))
    ids = [value for name, value in outline.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value for name, value in outline.attributes if name == "aria-labelledby"} <= set(ids)


def test_page_needs_nothing_but_itself() -> None:
    page = render_all()
    assert not re.search(r"https?://|url\(|@import|src=", page)
    assert any((value or "").startswith("default-src 'none'") for _, value in Outline(page).attributes)
    assert Outline(page).tags["script"] == 1


def test_headline_is_measured_where_it_can_be() -> None:
    report = make_report()
    text = Outline(render_page(report, benchmark=make_benchmark())).text
    assert "Measured speed2.00×faster (95% interval" in text
    measured = Measurement(60.0, 31.0, 4, ratio=Ratio(1.5, 1.4, 1.6, 9), accepted=True, host=HOST)
    assert "Measured speed1.50×faster" in Outline(render_page(replace(report, measurement=measured))).text
    text = Outline(render_page(report)).text
    assert "Predicted speed" in text and "not measured" in text
    assert "the two models were not run" in text


def test_a_measured_choice_is_told_with_its_notes() -> None:
    ratio = Ratio(0.9, 0.85, 0.95, 9)
    measured = Measurement(60.0, 31.0, 4, cached=1, unmeasured=2, ratio=ratio, notes=(Note("lengths were made up"),))
    text = Outline(render_page(replace(make_report(), measurement=measured))).text
    assert "Measured speed0.90×slower" in text
    assert "whole model 0.90×: slower (95% interval 0.85 to 0.95, 9 rounds); the original is kept" in text
    assert "4 distinct convolutions timed, 1 of them known from before; 2 judged by prediction; 31 of 60 s" in text
    assert "lengths were made up" in text


def test_losses_are_shown_as_losses() -> None:
    page = render_page(make_report(6), benchmark=make_benchmark(1.0, 2.0))
    assert "Measured speed0.50×slower" in Outline(page).text
    assert 'class="value bad"' in page and "run after lost" in page and "bar after lost" in page
    assert "lost" not in render_page(make_report(3), benchmark=make_benchmark()).partition("<body>")[2]


def test_nothing_replaced_is_said() -> None:
    text = Outline(render_page(Report((make_row("a", 1e-3),), 17, original_bytes=1 << 20))).text
    assert "nothing is replaced" in text and "0 of 1 convolution replaced" in text and "1.00 MiB" in text
    assert "The model holds no convolution" in Outline(render_page(Report((), 17))).text


def test_every_convolution_has_its_bars_and_reason() -> None:
    report = make_report(12)
    page = render_page(report)
    text = Outline(page).text
    assert page.count('class="bar before"') == page.count('class="bar after') == len(report.replaced)
    assert page.count('class="bar idle"') == len(report.rows) - len(report.replaced) - 1
    assert all(row.name in text for row in report.rows)
    assert (
        "predicted at 1.56× the speed" in text
        and "dft needs opset 17, the model has 13, set opset=17" in text
        and "is not rewritten" in text
    )
    assert page.count("<g>") == len(report.rows)


def test_measured_times_go_before_predicted_ones() -> None:
    row = make_row("a", 9e-3, 8e-3, measured_conv_s=2e-3, measured_s=1e-3)
    text = Outline(render_page(Report((row, make_row("b", 7e-3)), 17))).text
    assert "original 2.00 msrewritten 1.00 mspredicted 9.00 ms → 8.00 ms" in text
    assert "7.00 mspredicted, not measured" in text


def test_accuracy_and_probes() -> None:
    text = Outline(render_all()).text
    for part in (
        "3.0×10⁻⁷",
        "2.0×10⁻⁷",
        "1.0×10⁻⁵",
        "10 of 20",
        "not checked",
        "all equal",
        "One NaN",
        "One huge value",
    ):
        assert part in text
    assert "1 of 2 probes" in text
    failed = Outline(render_page(make_report(), validation=make_validation(ok=False))).text
    assert "do not compute the same" in failed and "does not run" in failed and "different output 'y'" in failed


def test_origin_is_told() -> None:
    text = Outline(render_all()).text
    for part in ("a CPU", "Seed7", "Opset17", "onnx-fft 0.", "numpy", "UTC", "x 1x3x12x12", "2 thread(s)"):
        assert part in text


def test_the_gpu_that_times_are_predicted_for_is_told() -> None:
    assert "Predicted forsome GPU" in Outline(render_page(replace(make_report(), predicted_for="some GPU"))).text
    assert "Predicted for" not in Outline(render_page(make_report())).text


def test_notes_of_a_benchmark_are_told() -> None:
    note = Note("x 1x3x64x64 was made up", ("pass ", Option("input_shapes", {"x": (1, 3, 8, 8)})))
    benchmark = replace(make_benchmark(), notes=(note,))
    said = "Notex 1x3x64x64 was made up; pass "
    assert f"{said}input_shapes={{'x': (1, 3, 8, 8)}}" in Outline(render_page(None, benchmark=benchmark)).text
    page = render_page(None, benchmark=benchmark, wording=word_as_flag)
    assert f"{said}--input-shape x:1x3x8x8" in Outline(page).text
    assert "Note" not in Outline(render_page(None, benchmark=make_benchmark())).text


def test_options_are_worded_for_the_reader() -> None:
    row = make_row("a", 1e-3, reason="dft needs opset 17", hint=("set ", Option("opset", 17)))
    texts = [
        Outline(render_page(Report((row,), 13), plan={}, wording=wording)).text
        for wording in (word_in_python, word_as_flag)
    ]
    assert "dft needs opset 17; set opset=17" in texts[0] and "pass plan='plan.json'." in texts[0]
    assert "dft needs opset 17; set --opset 17" in texts[1] and "pass --plan plan.json." in texts[1]


def test_benchmark_alone() -> None:
    text = Outline(render_page(None, benchmark=make_benchmark(), model_name="m.onnx")).text
    assert "Measured time" in text and "Convolutions" not in text
    assert "Conv → matmul, 12 nodes" in text and "Replaced operators, against all that took their place" in text


# --- nothing gets out of its place ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NASTY)
def test_names_are_text_and_nothing_else(name: str) -> None:
    harmless, page = Outline(render_all(name="x" * len(name))), render_all(name=name)
    outline = Outline(page)
    assert outline.tags == harmless.tags
    assert [key for key, _ in outline.attributes] == [key for key, _ in harmless.attributes]
    page.encode()
    assert "\x00" not in page
    assert re.sub("[\x00\x07\ud800]", "\ufffd", name) in outline.text


def test_templates_escape_in_text_and_attributes_and_refuse_what_is_missing() -> None:
    templates = open_templates()
    template = templates.from_string('<p title="{{ x }}">{{ x }}</p>')
    assert template.render(x="\"<&\x00'") == '<p title="&#34;&lt;&amp;\ufffd&#39;">&#34;&lt;&amp;\ufffd&#39;</p>'
    assert template.render(x=Markup("<b>&amp;</b>")).endswith("><b>&amp;</b></p>")
    with pytest.raises(UndefinedError):
        template.render()


def test_line_breaks_of_templates_are_no_gaps() -> None:
    source = "\n<p>one line\nand {{ x }} another</p>\n  {% if x %}\n  <b>{{ x }}</b>\n{% endif %}\n<i></i>\n"
    assert open_templates().from_string(source).render(x="y\nz") == (
        "<p>one line and y\nz another</p><b>y\nz</b><i></i>"
    )


def test_numbers() -> None:
    assert [format_time(s) for s in (None, 250.0, 3.5, 0.0123, 4e-5)] == ["–", "250 s", "3.50 s", "12.3 ms", "40 µs"]
    assert [format_error(e) for e in (0.0, 2.6e-7, float("nan"), float("inf"))] == ["0", "2.6×10⁻⁷", "–", "∞"]
    assert [format_growth(n) for n in (0, 3 << 20, -2048)] == ["±0", "+3.0 MiB", "−2.0 KiB"]


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_suffix_decides(tmp_path: Path) -> None:
    model = str(MODELS / "large_kernel.onnx")
    for name, start in (("r.html", "<!DOCTYPE html>"), ("r.json", "{"), ("r", "{")):
        assert main(["inspect", model, "--report", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text().startswith(start)
    page, plan = tmp_path / "w.html", tmp_path / "plan.json"
    done = main(["rewrite", model, str(tmp_path / "o.onnx"), "--report", str(page), "--save-plan", str(plan)])
    assert done == 0
    assert plan.read_text().strip() in Outline(page.read_text()).text
    assert "large_kernel.onnx" in page.read_text()


def test_the_page_needs_no_second_look_at_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, page = tmp_path / "m.onnx", tmp_path / "r.html"
    model.write_bytes((MODELS / "large_kernel.onnx").read_bytes())
    size = model.stat().st_size

    def run_and_delete(*arguments: Any) -> Any:
        found = dry_run(*arguments)
        model.unlink()
        return found

    monkeypatch.setattr("onnx_fft.cli.verbs.dry_run", run_and_delete)
    assert main(["inspect", str(model), "--report", str(page)]) == 0
    assert format_bytes(size) in Outline(page.read_text()).text


@pytest.mark.slow
def test_bench_writes_page_and_chart(tmp_path: Path) -> None:
    model, page, chart = str(MODELS / "large_kernel.onnx"), tmp_path / "b.html", tmp_path / "b.svg"
    assert main(["bench", model, model, "--budget", "0", "--report", str(page), "--plot", str(chart)]) == 0
    assert "Measured time" in Outline(page.read_text()).text
    assert "<svg" in chart.read_text()


# --- the chart ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".SVG", b"<?xml")])
def test_chart_files(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"chart{suffix}"
    plot_benchmark(make_benchmark(), path, title="$x_<&$ " + "long" * 99)
    assert path.read_bytes().startswith(start)


@pytest.mark.slow
def test_chart_says_the_verdict_and_the_operators(tmp_path: Path) -> None:
    plot_benchmark(make_benchmark(), tmp_path / "c.svg")
    drawn = (tmp_path / "c.svg").read_text()
    assert "2.00x: faster" in drawn and "Conv" in drawn and "quartiles" in drawn and "a CPU" in drawn


def test_another_suffix_is_bad_usage() -> None:
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        check_plot("chart.pdf")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"onnx-fft\[plot\]"):
        check_plot("chart.png")


@pytest.mark.slow
def test_the_command_line_needs_no_matplotlib() -> None:
    code = "import sys, onnx_fft.cli.verbs, onnx_fft.report.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- in Chromium ----------------------------------------------------------------------------------------------------

MIN_CONTRAST = 4.5
CONTRAST = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = color => color.slice(0, 3).map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const low = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const pair = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => b - a);
    const ratio = (pair[0] + .05) / (pair[1] + .05);
    if (ratio < LIMIT) low[node.className || node.tagName] = ratio;
  }
  return low;
})()
""".replace("LIMIT", str(MIN_CONTRAST))
OVERFLOW = """
[...document.querySelectorAll("body *")]
  .filter(node => node.checkVisibility() && !node.closest(".hidden, caption, thead, pre"))
  .filter(node => node.getBoundingClientRect().right > innerWidth + .5).map(node => node.outerHTML.slice(0, 200))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    started = Browser()
    yield started
    started.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("kind", ["small", "large", "nasty", "failed", "bench"])
def test_page_in_chromium(browser: Browser, tmp_path: Path, kind: str, width: int, scheme: str) -> None:
    """No complaint, no request, nothing wider than the page with everything opened, text that can be read."""
    pages = {
        "small": lambda: render_all(3),
        "large": lambda: render_all(70, "model_1/stage_2/block_3/"),
        "nasty": lambda: render_all(7, "".join(NASTY)),
        "failed": lambda: render_page(make_report(6), validation=make_validation(ok=False)),
        "bench": lambda: render_page(None, benchmark=make_benchmark(1.0, 2.0), model_name="m" * 300),
    }
    path = tmp_path / "report.html"
    path.write_text(pages[kind](), encoding="utf-8")
    browser.complaints.clear()
    browser.open(path, width=width, scheme=scheme)
    for opened in (False, True):
        if opened:
            browser.evaluate("document.querySelectorAll('details').forEach(node => { node.open = true; })")
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        assert browser.evaluate(OVERFLOW) == []
        assert browser.evaluate(CONTRAST) == {}
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (min(ground) > 200) if scheme == "light" else (max(ground) < 60)
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    assert browser.complaints == []


@pytest.mark.slow
def test_copy_button_copies_the_plan(browser: Browser, tmp_path: Path) -> None:
    """From a file, by the clipboard API and by the old command where that is missing."""
    path = tmp_path / "report.html"
    path.write_text(render_all(), encoding="utf-8")
    for remove in ("", "Object.defineProperty(navigator, 'clipboard', {value: undefined});"):
        browser.open(path, width=1400, scheme="light")
        script = """(async () => {
            let copied = '';
            document.addEventListener('copy', () => { copied = String(getSelection()); });
            const clipboard = navigator.clipboard;
            if (clipboard) clipboard.writeText = async text => { copied = text; };
            const button = document.querySelector('button');
            document.querySelectorAll('details').forEach(node => { node.open = true; });
            button.click();
            await new Promise(done => setTimeout(done, 50));
            return [button.hidden, button.textContent, copied];
        })()"""
        is_hidden, label, copied = browser.evaluate(remove + script, as_user=True)
        assert (is_hidden, label) == (False, "Copied")
        assert '"onnx_fft_plan": 1' in copied


@pytest.mark.slow
def test_browser_notices_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    """The checks above can fail: an error in a script, a script the policy forbids, a line too wide, grey on grey."""
    path = tmp_path / "bad.html"
    path.write_text("<p style='color:#999;background:#888;width:900px'>x</p><script>missing()</script>")
    browser.complaints.clear()
    browser.open(path, width=400, scheme="light")
    assert browser.evaluate("document.documentElement.scrollWidth") > 400
    assert len(browser.evaluate(OVERFLOW)) == 1
    assert browser.evaluate(CONTRAST).keys() == {"P"}
    assert "missing" in browser.complaints[0]
    path.write_text(render_all().replace("</body>", "<script>1</script></body>"))
    browser.complaints.clear()
    browser.open(path, width=400, scheme="light")
    assert "Content Security Policy" in browser.complaints[0]
    browser.complaints.clear()


def test_no_browser_is_a_failure_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONNX_FFT_CHROMIUM", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(RuntimeError, match=rf"{NAMES[0]}.*scripts/setup/chromium\.sh"):
        find_chromium()
