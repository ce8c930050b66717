"""The measured choice on recorded timings: of one convolution, and taking back on a fake timer; no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from onnx_fft.measure.choice import Timings, align_rounds, choose_measured, is_settled
from onnx_fft.measure.takeback import ORIGINAL, Outcome, Variant, take_back
from tests.recorded import OPEN_SPEC, PLANS, make_test_contest, record

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
