"""Timing contests on a fake clock, and the cache of what was timed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnx_fft.measure.budget import CONV_SHARE, Budget
from onnx_fft.measure.cache import Cache, cache_folder, delete_entries, list_entries
from onnx_fft.measure.choice import Contest, Timings
from onnx_fft.measure.contests import run_contests
from onnx_fft.progress import no_progress
from onnx_fft.runtime.engines import EngineError
from tests.recorded import ENVIRONMENT, OPEN_SPEC, SETTLED, make_test_contest, record

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


UNSETTLED = Timings((((1.0, 2.0, 0.5),), ((2.0, 0.5, 1.0),), ((0.5, 1.0, 2.0),)))


def make_contests(count: int) -> dict[Contest, int]:
    """Contests that differ in what they are predicted to save, the smallest first."""
    return {replace(make_test_contest(), conv_s=4e-3 + 1e-3 * number): 1 for number in range(count)}


def test_the_most_promising_contests_come_first_and_the_budget_ends_the_rest() -> None:
    clock = FakeClock()
    budget = Budget(10.0, clock)
    counts = make_contests(9)
    timer = FakeContests(clock, SETTLED, 2.0)
    results = run_contests(counts, timer, None, budget, no_progress)
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
    run_contests(counts, timer, None, Budget(60.0, clock), no_progress)
    assert timer.asked == [common, rarer]


def test_an_unsettled_ranking_is_timed_until_its_part_of_the_budget_is_spent() -> None:
    clock = FakeClock()
    timer = FakeContests(clock, UNSETTLED, 1.0)
    results = run_contests(make_contests(1), timer, None, Budget(10.0, clock), no_progress)
    assert len(timer.asked) == 6
    (result,) = results.values()
    assert result.timings is not None and result.timings.rounds == 18


def test_no_budget_times_nothing() -> None:
    clock = FakeClock()
    timer = FakeContests(clock, SETTLED, 1.0)
    assert all(
        result.timings is None
        for result in run_contests(make_contests(2), timer, None, Budget(0.0, clock), no_progress).values()
    )
    assert timer.asked == []


def test_a_contest_that_does_not_run_is_no_reason_to_stop() -> None:
    def fail(_contest: Contest, _budget_s: float) -> Timings:
        raise EngineError("onnxruntime: NOT_IMPLEMENTED")

    results = run_contests(make_contests(2), fail, None, Budget(60.0, FakeClock()), no_progress)
    assert all(result.failed and "NOT_IMPLEMENTED" in result.reason for result in results.values())


def test_progress_says_what_is_timed_and_the_time_left() -> None:
    clock = FakeClock()
    said: list[str] = []
    timer = FakeContests(clock, SETTLED, 5.0)

    def note(what: str, share: float | None = None) -> None:
        said.append(what)

    run_contests(make_contests(2), timer, None, Budget(60.0, clock), note)
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
    results = run_contests({contest: 1}, timer, cache, Budget(60.0, clock), no_progress)
    assert timer.asked == [contest]
    assert not results[contest].cached
    assert len(cache.notes) == 1 and "cannot be used" in cache.notes[0]
    assert cache.read(contest) == (SETTLED, 1.0), "the entry is whole again"


def test_cached_timings_are_used_where_they_decide_or_took_as_long(cache: Cache) -> None:
    contest = make_test_contest()
    for timings, spent_s, expected in ((SETTLED, 0.1, True), (UNSETTLED, 20.0, True), (UNSETTLED, 1.0, False)):
        cache.write(contest, timings, spent_s)
        timer = FakeContests(FakeClock(), SETTLED, 0.0)
        results = run_contests({contest: 1}, timer, cache, Budget(60.0, timer.clock), no_progress)
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
    delete_entries(list_entries(cache.folder))
    assert list(cache.folder.iterdir()) == [stranger]
    assert list_entries(cache.folder / "nowhere") == []


def test_the_cache_is_where_the_platform_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    tail = Path("onnx-fft") / "timings"
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path / "x")}, "linux") == tmp_path / "x" / tail
    assert cache_folder({"XDG_CACHE_HOME": "relative"}, "linux") == tmp_path / ".cache" / tail
    assert cache_folder({}, "darwin") == tmp_path / "Library" / "Caches" / tail
    assert cache_folder({"LOCALAPPDATA": str(tmp_path / "l")}, "win32") == tmp_path / "l" / tail
