"""The measured choice: what is worth timing, and the whole with faked and with real sessions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onnx_fft import rewrite
from onnx_fft.cli import main
from onnx_fft.cost.choose import Request, choose
from onnx_fft.errors import UsageError
from onnx_fft.hints import Option
from onnx_fft.lowering import list_lowerings
from onnx_fft.measure.cache import Cache, cache_folder, list_entries
from onnx_fft.measure.candidates import HOPELESS, MAX_CANDIDATES, are_distinct, make_contest
from onnx_fft.measure.choice import Candidate
from onnx_fft.measure.shapes import MAX_FEEDS, find_feeds, find_shapes
from onnx_fft.measure.single import make_feeds, make_models
from onnx_fft.model.io import LoadedModel, load_model
from onnx_fft.options import RewriteOptions
from onnx_fft.report import describe
from onnx_fft.sites.find import find_sites
from onnx_fft.sites.spec import Activation, ConvSpec
from onnx_fft.timing.launch import Host, ModelTiming
from scripts.shared.conv_models import build_conv_model
from scripts.shared.layers import LAYERS, make_spec
from scripts.shared.paths import MODELS
from scripts.shared.running import run_model
from tests.marks import by_layer, with_addends
from tests.recorded import ENVIRONMENT, NOISE, OPEN_SPEC, SETTLED, SPEC, make_test_contest

# --- what is worth timing -------------------------------------------------------------------------------------------


@pytest.mark.slow
@by_layer(LAYERS)
def test_candidates_are_few_distinct_and_promising(layer: Any) -> None:
    request = Request(select="measure", max_growth_bytes=1 << 40)
    spec = layer.spec
    shape = (spec.batch or 1, spec.in_channels, *(extent or 256 for extent in spec.extents))
    contest = make_contest(spec, 17, (shape,), request)
    candidates = contest.candidates
    assert len(candidates) <= MAX_CANDIDATES
    assert all(candidate.predicted_s <= HOPELESS * contest.conv_s for candidate in candidates)
    pairs = [(a, b) for a in candidates for b in candidates if a is not b]
    assert all(are_distinct(a.plan, b.plan) for a, b in pairs)
    predicted = choose(spec, 17, Request(max_growth_bytes=1 << 40)).plan
    if predicted is not None and None not in (spec.batch, *spec.extents):
        assert candidates[0].plan == predicted


def test_opset_growth_and_lowering_limit_the_candidates() -> None:
    shapes = ((1, 8, 40, 40),)
    assert not make_contest(SPEC, 17, shapes, Request(select="measure", max_growth_bytes=1)).candidates
    assert not make_contest(SPEC, 16, shapes, Request("dft", "measure")).candidates
    assert make_contest(SPEC, 7, shapes, Request("matmul", "measure")).candidates


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        pytest.param(
            replace(OPEN_SPEC, has_bias=True, activation=Activation("LeakyRelu", (0.1,)), has_sum=True),
            marks=with_addends,
        ),
        pytest.param(replace(SPEC, has_sum=True, strides=(2, 1)), marks=with_addends),
        replace(SPEC, dtype="float16", has_bias=True),
        pytest.param(
            replace(OPEN_SPEC, strides=(3, 2), pads_begin=(0, 0), pads_end=(0, 0), has_sum=True, auto_pad="SAME_LOWER"),
            marks=with_addends,
        ),
    ],
    ids=["plain", "open and fused", "sum and stride", "half", "padded at run time"],
)
def test_the_options_of_a_contest_compute_the_same(spec: ConvSpec) -> None:
    shape = (2 if spec.batch is None else 1, 8, 40, 40)
    contest = make_contest(spec, 17, (shape,), Request(select="measure", max_growth_bytes=1 << 30))
    if not contest.candidates:
        contest = replace(contest, candidates=(Candidate(list_lowerings("standard")[0].candidates(spec)[0], 1.0, 0),))
    feeds = make_feeds(spec, shape)
    (conv,), *lowered = [run_model(model, feeds) for model in make_models(contest)]
    assert lowered
    for (y,) in lowered:
        np.testing.assert_allclose(y, conv, rtol=1e-3, atol=1e-2 if spec.dtype == "float16" else 1e-4)
        assert np.std(y.astype(np.float64)) > 0.1


def test_shapes_are_recorded_where_the_model_leaves_them_open() -> None:
    loaded = load_model(MODELS / "long_filter.onnx")
    source, sites = LoadedModel(loaded.model, loaded.base_dir), find_sites(loaded)
    feeds = find_feeds(source, RewriteOptions())
    shapes = find_shapes(source, sites, feeds)
    assert 1 < len(feeds) <= MAX_FEEDS
    assert shapes == {sites[0].name: tuple(dict.fromkeys(np.shape(feed.arrays["x"]) for feed in feeds))}
    given = find_feeds(source, RewriteOptions(inputs={"x": np.ones((1, 16, 777), np.float32)}))
    assert find_shapes(source, sites, given) == {sites[0].name: ((1, 16, 777),)}
    static = load_model(MODELS / "large_kernel.onnx")
    found = find_shapes(LoadedModel(static.model), find_sites(static), [])
    assert set(found.values()) == {((1, 64, 56, 56),)}


# --- the whole, with faked and with real sessions -------------------------------------------------------------------


def fake_time_models(
    monkeypatch: pytest.MonkeyPatch, seconds: Sequence[Sequence[float]], interrupt_at: int = 99
) -> list[int]:
    """Every call returns the first of `seconds` with as many options; the call of that number is interrupted."""
    calls: list[int] = []

    def time_models(sources: Sequence[LoadedModel], *_: Any, **__: Any) -> tuple[tuple[ModelTiming, ...], Host]:
        calls.append(len(sources))
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        options = next(options for options in seconds if len(options) == len(sources))
        timed = tuple(ModelTiming(tuple(s * n for n in NOISE), 0.1, 1000) for s in options)
        return timed, Host("some CPU", 2, "Linux", "1.32.0", 2, "2026-01-01")

    for module in ("contests", "models"):
        monkeypatch.setattr(f"onnx_fft.measure.{module}.time_models", time_models)
    return calls


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own cache is never touched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return cache_folder()


def make_model() -> ModelProto:
    return build_conv_model(make_spec((32, 32), (11, 11), (112, 112)))


GAINS = ([9e-3, 3e-3, 4e-3, 5e-3], [9e-3, 3e-3, 4e-3], [9e-3, 3e-3])
LOSES_IN_MODEL = (*GAINS[:2], [9e-3, 10e-3])


@pytest.mark.slow
def test_a_measured_gain_is_replaced_and_reported(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    fake_time_models(monkeypatch, GAINS)
    rewritten = rewrite(make_model(), select="measure", threads=2, validate=False)
    (row,) = rewritten.report.rows
    assert row.lowering == "matmul"
    assert row.measured_conv_s == pytest.approx(9e-3) and row.measured_s == pytest.approx(3e-3)
    assert row.predicted_s is not None
    (entry,) = rewritten.plan["convs"]
    assert entry["measured_s"] == row.measured_s and entry["predicted_s"] == row.predicted_s
    measurement = rewritten.report.measurement
    assert measurement is not None and measurement.accepted and measurement.ratio is not None
    assert measurement.ratio.value == pytest.approx(3.0)
    assert len(measurement.feeds) == 1
    assert "whole model 3.00x: faster (95% interval" in describe(rewritten.report)
    assert json.loads(json.dumps(rewritten.report.to_dict()))["measurement"]["ratio"]["value"] == pytest.approx(3.0)
    assert len(list_entries(own_cache)) == 1
    replayed = rewrite(make_model(), plan=json.loads(json.dumps(rewritten.plan)), validate=False)
    assert replayed.model == rewritten.model
    (again,) = replayed.report.rows
    assert (again.measured_conv_s, again.measured_s) == (row.measured_conv_s, row.measured_s)
    assert "measured 9.00 -> 3.00 ms" in describe(replayed.report)
    assert replayed.plan["convs"][0]["measured_s"] == row.measured_s, "and a plan saved again has them still"


@pytest.mark.slow
def test_a_loss_in_the_model_leaves_the_original_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_time_models(monkeypatch, LOSES_IN_MODEL)
    model = make_model()
    rewritten = rewrite(model, select="measure")
    assert rewritten.model == model
    (row,) = rewritten.report.rows
    assert (row.lowering, row.code) == (None, "taken-back")
    assert row.measured_s == pytest.approx(3e-3), "what it gained alone stays known"
    assert "the original is kept" in describe(rewritten.report)


@pytest.mark.slow
def test_known_timings_are_used_unless_asked_not_to(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    calls = fake_time_models(monkeypatch, GAINS)
    rewrite(make_model(), select="measure", validate=False, use_cache=False)
    assert list_entries(own_cache) == []
    first = len(calls)
    rewrite(make_model(), select="measure", validate=False)
    again = rewrite(make_model(), select="measure", validate=False)
    assert len(calls) == 3 * first - 1
    assert again.report.measurement is not None and again.report.measurement.cached == 1


def test_without_a_budget_the_prediction_is_judged_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_time_models(monkeypatch, GAINS)
    rewritten = rewrite(make_model(), select="measure", budget_s=0.0, validate=False)
    assert calls == [2], "one comparison with the original, whatever the budget"
    (row,) = rewritten.report.rows
    assert row.lowering == "matmul" and row.measured_s is None
    assert row.reason.endswith("; not measured: the 0 s to measure in were spent")


@pytest.mark.slow
def test_lengths_that_were_made_up_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_time_models(monkeypatch, GAINS)
    model = build_conv_model(make_spec((32, 32), (11, 11), (112, 112)), dynamic=(0,))
    made_up = rewrite(model, select="measure", validate=False).report.measurement
    assert made_up is not None and len(made_up.feeds) == 2
    assert "made up: x 1x32x112x112 and 2x32x112x112" in made_up.notes[0].text
    assert Option("input_shapes", {"x": (1, 32, 112, 112)}) in made_up.notes[0].hint
    given = rewrite(model, select="measure", input_shapes={"x": (3, 32, 112, 112)}, validate=False).report.measurement
    assert given is not None and given.notes == ()
    assert [*given.feeds] == ["random feed 0 of seed 0 (x 3x32x112x112)"]


def test_a_model_without_convolutions_to_weigh_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_time_models(monkeypatch, GAINS)
    rewritten = rewrite(make_model(), select="measure", exclude=[".*"])
    assert calls == []
    assert rewritten.report.measurement is not None and rewritten.report.measurement.ratio is None


@pytest.mark.slow
def test_an_interrupt_leaves_no_file_and_what_was_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(tmp_path.rglob("*"))
    fake_time_models(monkeypatch, GAINS, interrupt_at=2)
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    command = ["rewrite", str(MODELS / "large_kernel.onnx"), str(output), "--select", "measure"]
    assert main([*command, "--save-plan", str(plan), "--report", str(tmp_path / "report.json")]) == 130
    assert "interrupted" in capsys.readouterr().err
    entries = list_entries(own_cache)
    assert len(entries) == 1, "the next run goes on from there"
    assert {path for path in tmp_path.rglob("*") if path.is_file()} - before == set(entries)


@pytest.mark.parametrize("wrong", [{"budget_s": -1.0}, {"budget_s": float("nan")}, {"threads": 0}, {"select": "best"}])
def test_a_wrong_setting_is_bad_usage(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"got .*; expected"):
        rewrite(make_model(), **({"select": "measure"} | wrong))


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("1h", 3600.0)])
def test_budgets_have_units(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[float] = []

    def note(*_: Any, options: RewriteOptions, **__: Any) -> None:
        given.append(options.budget_s)
        raise KeyboardInterrupt

    monkeypatch.setattr("onnx_fft.cli.verbs.rewrite", note)
    main(["rewrite", "in.onnx", str(tmp_path / "out.onnx"), "--select", "measure", "--budget", text])
    assert given == [seconds]
    with pytest.raises(SystemExit):
        main(["rewrite", "in.onnx", "out.onnx", "--budget", "soon"])


@pytest.mark.parametrize("flags", [["--budget", "5s"], ["--threads", "1"], ["--no-cache"]], ids=" ".join)
def test_what_only_measuring_heeds_is_refused_without(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, output = str(MODELS / "large_kernel.onnx"), tmp_path / "out.onnx"
    for more, step in ([], "set --select measure as well"), (["--plan", "plan.json"], "only; leave it out"):
        assert main(["rewrite", model, str(output), *flags, *more]) == 2
        said = capsys.readouterr().err
        assert "nothing to measure; expected" in said and step in said
    assert not output.exists()


def test_the_cache_is_shown_and_cleared(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Cache(ENVIRONMENT).write(make_test_contest(), SETTLED, 1.0)
    profile = own_cache.parent / "machines" / f"{'0' * 16}.txt"
    profile.parent.mkdir()
    profile.write_text("of another machine")
    stranger = profile.with_name("notes.txt")
    stranger.write_text("mine")
    kept = f"{own_cache.parent}: 1 timing, 1 machine profile"
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == f"{kept}\n"
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out == f"{kept} deleted\n"
    assert list_entries(own_cache) == [] and not profile.exists() and stranger.exists()


@pytest.mark.slow
def test_measuring_end_to_end(tmp_path: Path, own_cache: Path) -> None:
    """With real sessions: what comes out has the right form; which side wins is the machine's business."""
    output, plan, report = (tmp_path / name for name in ("out.onnx", "plan.json", "report.json"))
    command = ["rewrite", str(MODELS / "large_kernel.onnx"), str(output), "--select", "measure", "--budget", "4s"]
    assert main([*command, "--threads", "1", "--save-plan", str(plan), "--report", str(report)]) == 0
    found = json.loads(report.read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {"expand", "large", "project"}
    assert rows["large"]["measured_conv_s"] > 0 and rows["large"]["measured_s"] > 0
    assert rows["large"]["code"] in ("", "no-gain", "taken-back")
    assert found["measurement"]["contests"] >= 1 and found["measurement"]["budget_s"] == 4.0
    assert len(list_entries(own_cache)) >= 1
    again = tmp_path / "again.onnx"
    assert main(["rewrite", str(MODELS / "large_kernel.onnx"), str(again), "--plan", str(plan)]) == 0
    assert again.read_bytes() == output.read_bytes()
