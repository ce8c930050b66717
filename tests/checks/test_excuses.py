"""What rounding excuses: near ties that the disturbed original turns itself, and nothing beside them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnx_fft.checks.compare import Comparison, compare_outputs
from onnx_fft.checks.excuses import MOST_DRAWS, excuse_outputs
from onnx_fft.runtime.engines import Value
from scripts.shared.conv_models import Array

TINY = 1e-5
"""How far the disturbed original moves."""


def draw_values(size: int = 4000, ties: int = 6) -> Array:
    """Floats of which the first few are as near to a half as rounding goes."""
    values = np.random.default_rng(3).uniform(0, 200, size)
    values = np.round(values) + np.clip(values - np.round(values), -0.4, 0.4)
    values[:ties] = np.arange(ties) * 10 + 0.5 - TINY / 8
    return values


def excuse(
    decide: Callable[[Array], Value], values: Array, candidate: Value, *, moved: float = TINY, sparse: bool = False
) -> list[Comparison]:
    """How `candidate` compares with `decide(values)` if rounding moves `values` by about `moved`."""

    def run(draw: int) -> dict[str, Value]:
        return {"y": decide(values + moved * np.random.default_rng([1, draw]).standard_normal(values.shape))}

    reference = {"y": decide(values)}
    compared = compare_outputs("y", reference["y"], candidate)
    return list(excuse_outputs(compared, reference, {"y": candidate}, run, sparse=sparse))


def to_pixels(values: Array) -> Array:
    return np.round(values).astype(np.uint8)


def set_values(values: Array, *changes: tuple[int, float]) -> Array:
    changed = values.copy()
    for place, value in changes:
        changed[place] = value
    return changed


def test_pixels_at_a_tie_are_excused_and_counted() -> None:
    values = draw_values()
    nudged = set_values(values, (0, values[0] + TINY), (3, values[3] + TINY))
    (found,) = excuse(to_pixels, values, to_pixels(nudged))
    assert found.ok, found.sentence
    assert found.excused == 2
    assert not found.rounding_noise_only
    assert "2 of 4000 values differ" in found.sentence


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda y: set_values(y, (0, y[0] + 40)), id="40 grey levels at a tie"),
        pytest.param(lambda y: set_values(y, (50, y[50] + 1)), id="one level where nothing is near"),
        pytest.param(lambda y: set_values(y, (1, y[1] + 1), (77, 0 if y[77] else 9)), id="one tie and one fault"),
        pytest.param(lambda y: y + 1, id="all pixels one up"),
    ],
)
def test_other_pixels_are_not(change: Callable[[Array], Array]) -> None:
    values = draw_values()
    (found,) = excuse(to_pixels, values, change(to_pixels(values)))
    assert not found.ok
    assert found.excused == 0
    assert "not the rest" in found.sentence


def rank(values: Array) -> Array:
    """As TopK gives indices."""
    return np.argsort(-values, kind="stable")[:50]


def test_two_ranks_within_noise_may_swap_and_no_others() -> None:
    values = np.random.default_rng(5).permutation(np.linspace(1, 2, 100))
    order = rank(values)
    values[order[7]] = values[order[8]] + TINY / 4
    swapped = rank(set_values(values, (order[7], values[order[8]] - TINY / 4)))
    assert not np.array_equal(swapped, rank(values))
    (found,) = excuse(rank, values, swapped)
    assert found.ok and found.excused == 2, found.sentence
    wrong = rank(values)
    wrong[[20, 21]] = wrong[[21, 20]]
    assert not excuse(rank, values, wrong)[0].ok
    elsewhere = set_values(rank(values), (7, int(np.argmin(values))))
    assert not excuse(rank, values, elsewhere)[0].ok


def find_large(values: Array) -> Array:
    """As NonZero of a mask: `[1, n]`, n by the values."""
    return np.stack(np.nonzero(values > 100.5))


def test_lists_of_other_lengths_are_excused_row_by_row() -> None:
    values = set_values(draw_values(), (10, 100.5 - TINY / 4), (20, 100.5 - TINY / 4))
    one_more = find_large(set_values(values, (10, 101)))
    assert one_more.shape != find_large(values).shape
    (found,) = excuse(find_large, values, one_more)
    assert found.ok and found.excused == 1, found.sentence
    assert not excuse(find_large, values, find_large(values)[:, 1:])[0].ok
    assert not excuse(find_large, values, np.append(one_more, [[4]], axis=1))[0].ok


@pytest.mark.parametrize("axes", [0, 1])
def test_a_list_that_is_empty_on_one_side(axes: int) -> None:
    def find(is_found: Array) -> Array:
        found = np.flatnonzero(is_found)
        return found[None] if axes else found

    values = np.full(20, -1.0)
    values[3] = -TINY / 4
    assert excuse(lambda v: find(v > 0), values, find(np.arange(20) == 3))[0].ok
    assert not excuse(lambda v: find(v > 0), values, find(np.arange(20) == 4))[0].ok


def test_one_row_for_another_in_a_list_of_one_length() -> None:
    values = set_values(draw_values(), (10, 100.5 + TINY / 4), (3000, 100.5 - TINY / 4))
    other = find_large(set_values(values, (10, 100), (3000, 101)))
    assert other.shape == find_large(values).shape
    assert excuse(find_large, values, other)[0].ok
    wrong = find_large(set_values(values, (10, 100), (2999, 101 if values[2999] < 100.5 else 100)))
    assert not excuse(find_large, values, wrong)[0].ok


def test_masks_strings_and_sequences() -> None:
    values = draw_values()
    nudged = set_values(values, (2, values[2] + TINY))
    names = np.array(["a", "b"], object)
    for decide in (
        lambda v: v > 20.5,
        lambda v: names[(v > 20.5).astype(int)],
        lambda v: [np.flatnonzero(v > 20.5), v > 20.5],
        lambda v: [np.ones(2, np.float32)] * (1 + int(v[2] > 20.5)),
    ):
        assert all(found.ok for found in excuse(decide, values, decide(nudged))), decide(values)
        far = set_values(values, (70, 0.0 if values[70] > 20.5 else 50.0), (2, values[2] - 1))
        if not isinstance(decide(values), list):
            assert not excuse(decide, values, decide(far))[0].ok


def test_nan_is_excused_only_where_the_original_gives_it_too() -> None:
    values = set_values(draw_values(), (5, TINY / 4))

    def root(v: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return np.sqrt(v).astype(np.float32)

    assert excuse(root, values, set_values(root(values), (5, np.nan)))[0].ok
    assert not excuse(root, values, set_values(root(values), (6, np.nan)))[0].ok
    assert not excuse(root, values, set_values(root(values), (5, np.nan), (9, 3.0)))[0].ok


def test_floats_are_excused_no_farther_than_a_few_times_the_original_moves() -> None:
    values = draw_values()

    def amplify(v: Array) -> Array:
        return (1e5 * np.sin(1e3 * v)).astype(np.float32)

    noise = np.random.default_rng(9).standard_normal(values.shape)
    (found,) = excuse(amplify, values, amplify(values + TINY * noise))
    assert found.ok and found.rounding_noise_only, found.sentence
    assert not excuse(amplify, values, amplify(values + 40 * TINY * noise))[0].ok
    assert not excuse(amplify, values, -amplify(values))[0].ok


def test_what_rounding_decides_alone_is_excused() -> None:
    flat = np.ones(500)

    def pick(v: Array) -> Array:
        return np.array([np.argmax(v)])

    assert excuse(pick, flat, np.array([123]))[0].ok  # any of 500 equal values may be the largest
    values = set_values(flat, (3, 2.0))
    assert not excuse(pick, values, np.array([123]))[0].ok
    tied = np.concatenate([np.linspace(3, 2, 30), np.ones(500)])
    order = rank(tied)
    order[30:] = order[30:][::-1]
    (found,) = excuse(rank, tied, order)  # 30 indices are right, the others are any
    assert found.ok and not found.rounding_noise_only
    assert not excuse(rank, tied, order[::-1])[0].ok


def test_indices_of_a_sparse_feed_say_nothing_if_it_is_full_of_ties() -> None:
    tied = np.concatenate([np.linspace(3, 2, 30), np.ones(500)])
    order = rank(tied)
    wrong = np.concatenate([order[:10][::-1], order[10:30], order[30:][::-1]])
    (found,) = excuse(rank, tied, wrong, sparse=True)
    assert found.ok and found.rounding_noise_only
    assert not excuse(rank, tied, wrong)[0].ok  # the first 30 never move
    assert not excuse(rank, tied, set_values(wrong, (40, 530)), sparse=True)[0].ok  # there is no such index


def test_a_pixel_that_noise_moves_by_some_levels_is_not_excused_for_any() -> None:
    values = draw_values()
    (found,) = excuse(to_pixels, values, set_values(to_pixels(values), (9, to_pixels(values)[9] + 40)), moved=1.0)
    assert not found.ok
    assert excuse(to_pixels, values, to_pixels(values + 1), moved=1.0)[0].ok


def test_a_mask_that_is_mostly_noise_says_nothing() -> None:
    values = np.zeros(400)

    def decide(v: Array) -> Array:
        return v > 0

    some, most = np.arange(400) % 4 == 0, np.arange(400) % 4 != 0
    (found,) = excuse(decide, values, some)
    assert found.ok and not found.rounding_noise_only
    (found,) = excuse(decide, values, most)
    assert found.ok and found.rounding_noise_only


def test_values_that_flip_do_not_excuse_their_neighbours() -> None:
    rng = np.random.default_rng(4)
    values = np.where(np.arange(4000) % 3, rng.standard_normal(4000) * 100, 0.0)

    def flip(v: Array) -> Array:
        return np.where(np.arange(v.size) % 3, v, np.sign(v) * 100)

    noise = TINY * rng.standard_normal(values.shape)
    assert excuse(flip, values, flip(values + noise))[0].ok
    assert not excuse(flip, values, np.where(values == 0, flip(values + noise), 1.5 * values))[0].ok


def test_a_model_that_does_not_move_excuses_nothing_and_is_not_run_for_ever() -> None:
    runs = []

    def run(draw: int) -> dict[str, Value]:
        runs.append(draw)
        return {"y": np.arange(9)}

    compared = compare_outputs("y", np.arange(9), np.arange(9) + 1)
    (found,) = excuse_outputs(compared, {"y": np.arange(9)}, {"y": np.arange(9) + 1}, run)
    assert not found.ok
    assert len(runs) < MOST_DRAWS
