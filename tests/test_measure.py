"""The measured choice: pure functions on recorded timings, taking back on a fake timer, the cache, one real run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import build_conv_model, run_model
from layers import LAYERS, make_spec
from onnx import ModelProto

from onnx_fft import rewrite
from onnx_fft.cli import main
from onnx_fft.errors import UsageError
from onnx_fft.lowering import LOWERINGS
from onnx_fft.measure.budget import CONV_SHARE, Budget
from onnx_fft.measure.cache import Cache, Environment, cache_folder, clear_cache, list_entries
from onnx_fft.measure.candidates import HOPELESS, MAX_CANDIDATES, are_distinct, make_contest
from onnx_fft.measure.choice import Candidate, Contest, Timings, align_rounds, choose_measured, is_settled
from onnx_fft.measure.contests import run_contests
from onnx_fft.measure.shapes import MAX_FEEDS, find_feeds, find_shapes
from onnx_fft.measure.single import make_feeds, make_models
from onnx_fft.measure.takeback import ORIGINAL, Outcome, Variant, take_back
from onnx_fft.model.io import load_model
from onnx_fft.model.sites import find_sites
from onnx_fft.model.spec import Activation, ConvSpec
from onnx_fft.plan.choose import Request, choose
from onnx_fft.runtime import EngineError, Source
from onnx_fft.timing.launch import Machine, ModelTiming

MODELS = Path(__file__).resolve().parent.parent / "models"
SPEC = make_spec((8, 8), (11, 11), (40, 40))
OPEN_SPEC = make_spec((8, 8), (11, 11), (None, None), batch=None)
ENVIRONMENT = Environment(2, "1.32.0", "some CPU", 2, "0.1.0")
PLANS = tuple(LOWERINGS[0].candidates(SPEC)[:2])
NOISE = (1.0, 1.02, 0.98, 1.01, 0.99, 1.03, 0.97)


def make_test_contest(shapes: int = 1, spec: ConvSpec = SPEC) -> Contest:
    """Two candidates, the second smaller; `shapes` inputs, ever larger."""
    sizes = tuple((1, 8, 40 + size, 40 + size) for size in range(shapes))
    return Contest(spec, 17, sizes, 5e-3, (Candidate(PLANS[0], 2e-3, 2000), Candidate(PLANS[1], 3e-3, 1000)))


def record(*options: float | Sequence[float], noise: Sequence[float] = NOISE) -> Timings:
    """Timings with these medians in ms by option, or by option and case; the machine slows all options at once."""
    cases = [option if isinstance(option, Sequence) else [option] for option in options]
    return Timings(tuple(tuple(tuple(1e-3 * ms * n for n in noise) for ms in case) for case in cases))


# --- the choice, on recorded timings --------------------------------------------------------------------------------


def test_the_fastest_plan_is_taken_with_its_times() -> None:
    decision = choose_measured(make_test_contest(), record(5.0, 2.0, 3.0))
    assert decision.plan == PLANS[0]
    assert decision.refusal is None
    assert decision.measured_conv_s == pytest.approx(5e-3)
    assert decision.measured_s == pytest.approx(2e-3)
    assert decision.saved_s == pytest.approx(3e-3)
    assert (decision.conv_seconds, decision.seconds, decision.growth_bytes) == (5e-3, 2e-3, 2000)
    assert decision.reason.startswith("measured at 2.50x the speed (95% interval ")
    assert [option.measured_s for option in decision.options] == pytest.approx([2e-3, 3e-3])


def test_of_plans_as_good_as_each_other_the_smaller_is_taken() -> None:
    assert choose_measured(make_test_contest(), record(5.0, 2.0, 2.05)).plan == PLANS[1]


def test_a_gain_within_noise_is_no_gain() -> None:
    noisy = Timings((((5e-3,) * 8,), ((4.9e-3, 5.3e-3) * 4,), ((9e-3,) * 8,)))
    decision = choose_measured(make_test_contest(), noisy)
    assert decision.plan is None
    assert decision.refusal is not None and decision.refusal.code == "no-gain"
    assert decision.measured_s is not None and decision.measured_conv_s == 5e-3
    assert "95% interval" in decision.reason


def test_a_plan_slower_than_the_conv_is_not_taken_even_where_it_was_predicted_to_gain() -> None:
    assert choose_measured(make_test_contest(), record(2.0, 3.0, 4.0)).plan is None


def test_a_loss_on_one_shape_rules_a_plan_out() -> None:
    contest = make_test_contest(2, OPEN_SPEC)
    both = choose_measured(contest, record([1.0, 20.0], [1.5, 5.0], [0.9, 15.0]))
    assert both.plan == PLANS[1], "the first is faster over both shapes and slower on one"
    assert both.reason.endswith("on 1x8x40x40, 1x8x41x41")
    none = choose_measured(contest, record([1.0, 20.0], [1.5, 5.0], [1.2, 15.0]))
    assert none.plan is None
    assert "0.67x the speed" in none.reason and "on 1x8x40x40" in none.reason


def test_the_larger_shape_weighs_more() -> None:
    decision = choose_measured(make_test_contest(2), record([1.0, 20.0], [1.0, 10.0], [0.5, 19.0]))
    assert decision.plan == PLANS[0]
    assert decision.measured_conv_s == pytest.approx(10.5e-3)


def test_settled_once_nothing_that_matters_can_change() -> None:
    assert is_settled(record(5.0, 2.0, 3.0))
    assert is_settled(record(5.0, 2.0, 2.0)), "a tie within a few percent needs no decision"
    rising, falling = (1.0, 1.4, 0.7, 1.1, 0.9), (1.2, 0.7, 1.4, 0.8, 1.0)
    first, second = (tuple(2e-3 * n for n in noise) for noise in (rising, falling))
    assert not is_settled(Timings(((first,), (second,))))


def test_timings_align() -> None:
    timings = align_rounds([[(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)], [(7.0, 8.0), (9.0, 10.0)]])
    assert timings.seconds == (((1.0, 2.0), (7.0, 8.0)), ((4.0, 5.0), (9.0, 10.0)))
    assert timings.total(0) == (8.0, 10.0)
    assert timings.join(timings).rounds == 4
    for wrong in ((((1.0,),), ((1.0, 2.0),)), (((1.0,),), ((1.0,), (1.0,))), (((),), ((),))):
        with pytest.raises(ValueError, match="expected the same cases and rounds"):
            Timings(wrong)


# --- what is worth timing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
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


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        replace(OPEN_SPEC, has_bias=True, activation=Activation("LeakyRelu", (0.1,)), has_sum=True),
        replace(SPEC, has_sum=True, strides=(2, 1)),
        replace(SPEC, dtype="float16", has_bias=True),
    ],
    ids=["plain", "open and fused", "sum and stride", "half"],
)
def test_the_options_of_a_contest_compute_the_same(spec: ConvSpec) -> None:
    shape = (2 if spec.batch is None else 1, 8, 40, 40)
    contest = make_contest(spec, 17, (shape,), Request(select="measure", max_growth_bytes=1 << 30))
    if not contest.candidates:
        contest = replace(contest, candidates=(Candidate(LOWERINGS[0].candidates(spec)[0], 1.0, 0),))
    feeds = make_feeds(spec, shape)
    (conv,), *lowered = [run_model(model, feeds) for model in make_models(contest)]
    assert lowered
    for (y,) in lowered:
        np.testing.assert_allclose(y, conv, rtol=1e-3, atol=1e-2 if spec.dtype == "float16" else 1e-4)
        assert np.std(y.astype(np.float64)) > 0.1


def test_shapes_are_recorded_where_the_model_leaves_them_open() -> None:
    loaded = load_model(MODELS / "long_filter.onnx")
    source, sites = Source(loaded.model, loaded.base_dir), find_sites(loaded)
    feeds = find_feeds(source, {}, 0)
    shapes = find_shapes(source, sites, feeds)
    assert 1 < len(feeds) <= MAX_FEEDS
    assert shapes == {sites[0].name: tuple(dict.fromkeys(np.shape(feed.arrays["x"]) for feed in feeds))}
    static = load_model(MODELS / "large_kernel.onnx")
    found = find_shapes(Source(static.model), find_sites(static), [])
    assert set(found.values()) == {((1, 64, 56, 56),)}


# --- taking back, on a fake timer -----------------------------------------------------------------------------------


class FakeTimer:
    """A model that takes the sum of what its replacements do to it, on one feed or several; no clock."""

    def __init__(self, base_ms: Sequence[float], effects_ms: Mapping[str, Sequence[float]], calls: int = 99) -> None:
        self.base_ms, self.effects_ms, self.calls_left = base_ms, effects_ms, calls
        self.asked: list[tuple[Variant, ...]] = []

    def has_time(self, comparisons: int) -> bool:
        return self.calls_left >= comparisons

    def time(self, variants: Sequence[Variant]) -> Timings:
        self.calls_left -= 1
        self.asked.append(tuple(variants))
        return record(*(self._run_ms(variant) for variant in variants))

    def _run_ms(self, variant: Variant) -> list[float]:
        effects = [self.effects_ms[label] for label in variant]
        return [base + sum(effect[feed] for effect in effects) for feed, base in enumerate(self.base_ms)]


def test_a_replacement_that_wins_alone_and_loses_in_the_model_is_taken_back() -> None:
    outcome = take_back({"good": 3e-3, "bad": 5e-3}, FakeTimer([20.0], {"good": [-3.0], "bad": [1.0]}))
    assert outcome.kept == {"good"}
    assert list(outcome.taken_back) == ["bad"]
    assert "without it the whole model runs at 1.06x the speed" in outcome.taken_back["bad"]
    assert outcome.ratio is not None and outcome.ratio.value == pytest.approx(20 / 17)


def test_where_nothing_pays_the_original_is_kept() -> None:
    outcome = take_back({"a": 1e-3, "b": 2e-3}, FakeTimer([20.0], {"a": [1.0], "b": [2.0]}))
    assert outcome.kept == ORIGINAL
    assert set(outcome.taken_back) == {"a", "b"}
    single = take_back({"a": 1e-3}, FakeTimer([20.0], {"a": [0.1]}))
    assert single.kept == ORIGINAL
    assert single.taken_back["a"].endswith("no gain shown")
    assert single.ratio is not None and single.ratio.value < 1


def test_the_smallest_gain_is_asked_first_and_the_result_is_compared_with_the_original() -> None:
    timer = FakeTimer([20.0], {"small": [1.0], "large": [-5.0]})
    take_back({"large": 5e-3, "small": 1e-3}, timer)
    both, large = frozenset(("small", "large")), frozenset(("large",))
    assert timer.asked[0] == (ORIGINAL, both)
    assert timer.asked[1] == (both, large)
    assert timer.asked[-1] == (ORIGINAL, large)


def test_a_model_slower_on_one_input_is_not_taken() -> None:
    outcome = take_back({"a": 1e-3}, FakeTimer([20.0, 1.0], {"a": [-5.0, 0.5]}))
    assert outcome.kept == ORIGINAL
    assert "on one of the inputs at 0.67x the speed" in outcome.taken_back["a"]
    assert len(outcome.cases) == 2


def test_without_time_the_last_comparison_is_made_and_no_other() -> None:
    effects = {"a": [-1.0], "b": [-2.0]}
    timer = FakeTimer([20.0], effects, calls=1)
    outcome = take_back({"a": 1e-3, "b": 2e-3}, timer)
    assert timer.asked == [(ORIGINAL, frozenset("ab"))]
    assert outcome == Outcome(frozenset("ab"), {}, outcome.ratio, outcome.cases, ("a", "b"))


def test_an_undecided_comparison_goes_on_while_there_is_time() -> None:
    class Noisy(FakeTimer):
        def time(self, variants: Sequence[Variant]) -> Timings:
            super().time(variants)
            return Timings((((20e-3, 19e-3, 21e-3),), ((20.5e-3, 19.5e-3, 20e-3),)))

    timer = Noisy([20.0], {"a": [0.0]}, calls=5)
    outcome = take_back({"a": 1e-3}, timer)
    assert len(timer.asked) == 5
    assert outcome.kept == ORIGINAL
    assert outcome.ratio is not None and outcome.ratio.rounds == 15


# --- the budget, on a fake clock ------------------------------------------------------------------------------------


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class FakeContests:
    """Times contests by moving the clock; `timings` are those of every contest."""

    def __init__(self, clock: FakeClock, timings: Timings, seconds: float) -> None:
        self.clock, self.timings, self.seconds = clock, timings, seconds
        self.asked: list[Contest] = []

    def __call__(self, contest: Contest, budget_s: float) -> Timings:
        assert budget_s >= 0
        self.asked.append(contest)
        self.clock.now_s += self.seconds
        return self.timings


SETTLED = record(5.0, 2.0, 3.0)
UNSETTLED = Timings((((1.0, 2.0, 0.5),), ((2.0, 0.5, 1.0),), ((0.5, 1.0, 2.0),)))


def silent(_what: str, _share: float) -> None:
    """No progress."""


def make_contests(count: int) -> dict[Contest, int]:
    """Contests that differ in what they are predicted to save, the smallest first."""
    return {replace(make_test_contest(), conv_s=4e-3 + 1e-3 * number): 1 for number in range(count)}


def test_the_most_promising_contests_come_first_and_the_budget_ends_the_rest() -> None:
    clock = FakeClock()
    budget = Budget(10.0, clock)
    counts = make_contests(9)
    timer = FakeContests(clock, SETTLED, 2.0)
    results = run_contests(counts, timer, None, budget, silent)
    promising = sorted(counts, key=lambda contest: -contest.predicted_saving_s)
    assert timer.asked == promising[:3], "three fit into the share of 6 s"
    assert [results[contest].timings is None for contest in promising] == [False] * 3 + [True] * 6
    assert results[promising[-1]].reason == "the 10 s to measure in were spent"
    assert clock.now_s <= CONV_SHARE * budget.total_s


def test_what_stands_for_many_convolutions_comes_before_what_stands_for_one() -> None:
    clock = FakeClock()
    counts = make_contests(2)
    rarer, common = reversed(counts)
    counts[common] = 10
    timer = FakeContests(clock, SETTLED, 1.0)
    run_contests(counts, timer, None, Budget(60.0, clock), silent)
    assert timer.asked == [common, rarer]


def test_an_unsettled_ranking_is_timed_until_its_part_of_the_budget_is_spent() -> None:
    clock = FakeClock()
    timer = FakeContests(clock, UNSETTLED, 1.0)
    results = run_contests(make_contests(1), timer, None, Budget(10.0, clock), silent)
    assert len(timer.asked) == 6
    (result,) = results.values()
    assert result.timings is not None and result.timings.rounds == 18


def test_no_budget_times_nothing() -> None:
    clock = FakeClock()
    timer = FakeContests(clock, SETTLED, 1.0)
    assert all(
        result.timings is None
        for result in run_contests(make_contests(2), timer, None, Budget(0.0, clock), silent).values()
    )
    assert timer.asked == []


def test_a_contest_that_does_not_run_is_no_reason_to_stop() -> None:
    def fail(_contest: Contest, _budget_s: float) -> Timings:
        raise EngineError("onnxruntime: NOT_IMPLEMENTED")

    results = run_contests(make_contests(2), fail, None, Budget(60.0, FakeClock()), silent)
    assert all(result.failed and "NOT_IMPLEMENTED" in result.reason for result in results.values())


def test_progress_says_what_is_timed_and_the_time_left() -> None:
    clock = FakeClock()
    said: list[str] = []
    timer = FakeContests(clock, SETTLED, 5.0)
    run_contests(make_contests(2), timer, None, Budget(60.0, clock), lambda what, _share: said.append(what))
    assert said[0] == "at most 60 s left: timing 11x11 8->8 on 1x40x40 pads 5x5 (1 of 2)"
    assert said[1].startswith("at most 55 s left") and said[1].endswith("(2 of 2)")


# --- the cache ------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(ENVIRONMENT, tmp_path / "cache")


def test_cached_timings_come_back(cache: Cache) -> None:
    contest = make_test_contest()
    assert cache.read(contest) is None
    cache.write(contest, SETTLED, 1.5)
    assert cache.read(contest) == (SETTLED, 1.5)
    assert cache.notes == []
    assert [path.name for path in cache.folder.iterdir()] == [cache.path(contest).name], "nothing temporary is left"


@pytest.mark.parametrize(
    "change", [{"threads": 1}, {"onnxruntime": "1.33.0"}, {"cpu": "x"}, {"cores": 4}, {"onnx_fft": "0.2.0"}]
)
def test_another_environment_has_other_timings(cache: Cache, change: dict[str, Any]) -> None:
    cache.write(make_test_contest(), SETTLED, 1.0)
    assert Cache(replace(ENVIRONMENT, **change), cache.folder).read(make_test_contest()) is None


def test_another_contest_has_other_timings(cache: Cache) -> None:
    contest = make_test_contest()
    cache.write(contest, SETTLED, 1.0)
    for other in (
        replace(contest, spec=OPEN_SPEC),
        replace(contest, opset=18),
        replace(contest, shapes=((2, 8, 40, 40),)),
        replace(contest, candidates=contest.candidates[::-1]),
    ):
        assert cache.read(other) is None
    assert cache.read(replace(contest, conv_s=1.0)) is not None, "a prediction is no part of the key"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"key": 1}',
        b"\xff\xfe",
        "other key",
        "no rounds",
        "missing option",
        "negative",
        "not finite",
        "text",
    ],
)
def test_a_corrupt_entry_is_measured_again_with_a_note(cache: Cache, text: str | bytes) -> None:
    contest = make_test_contest()
    cache.write(contest, SETTLED, 1.0)
    path = cache.path(contest)
    entry = json.loads(path.read_text())
    seconds = entry["seconds"]
    changed = {
        "other key": {"key": {}},
        "no rounds": {"seconds": [[[]]] * 3},
        "missing option": {"seconds": seconds[:2]},
        "negative": {"seconds": [[[-1.0] * 7]] * 3},
        "not finite": {"seconds": [[[float("nan")] * 7]] * 3},
        "text": {"seconds": [[["fast"] * 7]] * 3},
    }
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(json.dumps(entry | changed[text]) if text in changed else text)
    clock = FakeClock()
    timer = FakeContests(clock, SETTLED, 1.0)
    results = run_contests({contest: 1}, timer, cache, Budget(60.0, clock), silent)
    assert timer.asked == [contest]
    assert not results[contest].cached
    assert len(cache.notes) == 1 and "cannot be used" in cache.notes[0]
    assert cache.read(contest) == (SETTLED, 1.0), "the entry is whole again"


def test_cached_timings_are_used_where_they_decide_or_took_as_long(cache: Cache) -> None:
    contest = make_test_contest()
    for timings, spent_s, expected in ((SETTLED, 0.1, True), (UNSETTLED, 20.0, True), (UNSETTLED, 1.0, False)):
        cache.write(contest, timings, spent_s)
        timer = FakeContests(FakeClock(), SETTLED, 0.0)
        results = run_contests({contest: 1}, timer, cache, Budget(60.0, timer.clock), silent)
        assert results[contest].cached is expected


def test_a_folder_that_cannot_be_written_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(ENVIRONMENT, tmp_path / "file" / "cache")
    cache.write(make_test_contest(), SETTLED, 1.0)
    assert len(cache.notes) == 1 and "not cached" in cache.notes[0]


def test_clearing_deletes_timings_and_nothing_else(cache: Cache) -> None:
    cache.write(make_test_contest(), SETTLED, 1.0)
    cache.write(make_test_contest(2), record([1.0, 2.0], [1.0, 2.0], [1.0, 2.0]), 1.0)
    stranger = cache.folder / "notes.json"
    stranger.write_text("mine")
    assert len(list_entries(cache.folder)) == 2
    assert clear_cache(cache.folder) == 2
    assert list(cache.folder.iterdir()) == [stranger]
    assert clear_cache(cache.folder / "nowhere") == 0


def test_the_cache_is_where_the_platform_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    tail = Path("onnx-fft") / "timings"
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path / "x")}, "linux") == tmp_path / "x" / tail
    assert cache_folder({"XDG_CACHE_HOME": "relative"}, "linux") == tmp_path / ".cache" / tail
    assert cache_folder({}, "darwin") == tmp_path / "Library" / "Caches" / tail
    assert cache_folder({"LOCALAPPDATA": str(tmp_path / "l")}, "win32") == tmp_path / "l" / tail


# --- the whole, with faked and with real sessions -------------------------------------------------------------------


def fake_time_models(
    monkeypatch: pytest.MonkeyPatch, seconds: Sequence[Sequence[float]], interrupt_at: int = 99
) -> list[int]:
    """Every call returns the first of `seconds` with as many options; the call of that number is interrupted."""
    calls: list[int] = []

    def time_models(sources: Sequence[Source], *_: Any, **__: Any) -> tuple[tuple[ModelTiming, ...], Machine]:
        calls.append(len(sources))
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        options = next(options for options in seconds if len(options) == len(sources))
        timed = tuple(ModelTiming(tuple(s * n for n in NOISE), 0.1, 1000) for s in options)
        return timed, Machine("some CPU", 2, "Linux", "1.32.0", 2, "2026-01-01")

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


def test_a_measured_gain_is_replaced_and_reported(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    fake_time_models(monkeypatch, GAINS)
    rewritten = rewrite(make_model(), select="measure", threads=2)
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
    assert "whole model 3.00x: faster (95% interval" in rewritten.report.summarize()
    assert json.loads(json.dumps(rewritten.report.to_dict()))["measurement"]["ratio"]["value"] == pytest.approx(3.0)
    assert len(list_entries(own_cache)) == 1
    replayed = rewrite(make_model(), plan=json.loads(json.dumps(rewritten.plan)))
    assert replayed.model == rewritten.model


def test_a_loss_in_the_model_leaves_the_original_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_time_models(monkeypatch, LOSES_IN_MODEL)
    model = make_model()
    rewritten = rewrite(model, select="measure")
    assert rewritten.model == model
    (row,) = rewritten.report.rows
    assert (row.lowering, row.code) == (None, "taken-back")
    assert row.measured_s == pytest.approx(3e-3), "what it gained alone stays known"
    assert "the original is kept" in rewritten.report.summarize()


def test_known_timings_are_used_unless_asked_not_to(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    calls = fake_time_models(monkeypatch, GAINS)
    rewrite(make_model(), select="measure", use_cache=False)
    assert list_entries(own_cache) == []
    first = len(calls)
    rewrite(make_model(), select="measure")
    again = rewrite(make_model(), select="measure")
    assert len(calls) == 3 * first - 1
    assert again.report.measurement is not None and again.report.measurement.cached == 1


def test_without_a_budget_the_prediction_is_judged_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_time_models(monkeypatch, GAINS)
    rewritten = rewrite(make_model(), select="measure", budget_s=0.0)
    assert calls == [2], "one comparison with the original, whatever the budget"
    (row,) = rewritten.report.rows
    assert row.lowering == "matmul" and row.measured_s is None
    assert row.reason.endswith("; not measured: the 0 s to measure in were spent")


def test_lengths_that_were_made_up_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_time_models(monkeypatch, GAINS)
    model = build_conv_model(make_spec((32, 32), (11, 11), (112, 112)), dynamic=(0,))
    made_up = rewrite(model, select="measure").report.measurement
    assert made_up is not None and len(made_up.feeds) == 2
    assert "x 1x32x112x112" in made_up.notes[0] and "x 2x32x112x112" in made_up.notes[0]
    given = rewrite(model, select="measure", input_shapes={"x": (3, 32, 112, 112)}).report.measurement
    assert given is not None and given.notes == ()
    assert [*given.feeds] == ["random feed 0 of seed 0 (x 3x32x112x112)"]


def test_a_model_without_convolutions_to_weigh_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_time_models(monkeypatch, GAINS)
    rewritten = rewrite(make_model(), select="measure", exclude=[".*"])
    assert calls == []
    assert rewritten.report.measurement is not None and rewritten.report.measurement.ratio is None


def test_an_interrupt_leaves_no_file_and_what_was_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(tmp_path.rglob("*"))
    fake_time_models(monkeypatch, GAINS, interrupt_at=2)
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    command = ["rewrite", str(MODELS / "large_kernel.onnx"), str(output), "--select", "measure"]
    assert main([*command, "--save-plan", str(plan), "--report", str(tmp_path / "report.json")]) == 130
    assert "nothing was written" in capsys.readouterr().err
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

    def note(*_: Any, budget_s: float, **__: Any) -> None:
        given.append(budget_s)
        raise KeyboardInterrupt

    monkeypatch.setattr("onnx_fft.cli.rewrite", note)
    main(["rewrite", "in.onnx", str(tmp_path / "out.onnx"), "--select", "measure", "--budget", text])
    assert given == [seconds]
    with pytest.raises(SystemExit):
        main(["rewrite", "in.onnx", "out.onnx", "--budget", "soon"])


def test_the_cache_is_shown_and_cleared(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Cache(ENVIRONMENT).write(make_test_contest(), SETTLED, 1.0)
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == f"{own_cache}: 1 timings\n"
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out == f"{own_cache}: 1 timings deleted\n"
    assert list_entries(own_cache) == []


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
