"""Sparse feeds: what each kind holds, for inputs of any type and number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_fft.inputs.sparse import BRIGHT, KINDS, PATCHES, PATCHWORKS, make_non_negative, make_sparse, scale_feed

RNG = np.random.default_rng(2)


def make(arrays: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(make_sparse(arrays, 0))


@pytest.mark.parametrize("shape", [(2, 3, 40, 30), (1, 4, 500), (1, 2, 9, 16, 17), (64,), (5, 100), (1, 32, 48, 3)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_each_kind_is_what_it_says(shape: tuple[int, ...], dtype: str) -> None:
    x = RNG.standard_normal(shape).astype(dtype)
    feeds = {kind: feed["x"] for kind, feed in make({"x": x}).items()}
    assert list(feeds) == list(KINDS)
    assert all((y.shape, y.dtype) == (x.shape, x.dtype) and np.isfinite(y).all() for y in feeds.values())
    assert not feeds["all zero"].any()
    assert len(np.unique(feeds["a constant"])) == 1 and feeds["a constant"].any()
    assert 1 <= np.count_nonzero(feeds["a few bright samples"]) <= 4
    assert feeds["a few bright samples"].max() == np.abs(x).max()
    border = feeds["a black border"]
    assert 0 < np.count_nonzero(border) < x.size / 2
    assert np.array_equal(border[border != 0], x[border != 0])
    assert not border[..., 0].any() or shape[-1] == 3
    for kind, like in (
        ("a bright image on black", "a black border"),
        ("a few glaring samples", "a few bright samples"),
    ):
        times = 16 if dtype == "float16" else 255
        assert np.isclose(feeds[kind].max(), times * np.abs(feeds[like]).max(), rtol=1e-2)
        assert feeds[kind].min() == 0
    assert feeds["a large offset"].mean() > 10 * x.std()


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 40, 70), 3), ((1, 3, 140, 64), 2), ((1, 1, 700), 2), ((70,), 0)])
def test_two_patchworks_hold_all_kinds_side_by_side(shape: tuple[int, ...], axis: int) -> None:
    x = RNG.standard_normal(shape).astype(np.float32)
    dim, bright = (feed["x"] for _, feed in make_sparse({"x": x}, 0, PATCHWORKS))
    assert sorted(kind for shares in PATCHES for kind in shares) == sorted(KINDS)
    assert all(y.shape == shape and y.dtype == x.dtype and np.isfinite(y).all() for y in (dim, bright))
    zero, spots, border, constant, offset = np.split(dim, np.cumsum([1, 2, 2, 1]) * shape[axis] // 7, axis)
    assert not zero.any()
    assert 1 <= np.count_nonzero(spots) <= 4
    assert 0 < np.count_nonzero(border) < border.size / 2
    assert len(np.unique(constant)) == 1 and constant.any()
    assert offset.mean() > 10 * x.std()
    glaring, image = np.split(bright, 2, axis)
    assert 1 <= np.count_nonzero(glaring) <= 4 and glaring.max() > 100
    assert 0 < np.count_nonzero(image) < image.size / 2 and image.max() > 100


def test_numbers_of_the_bright_patchwork_alone_are_not_held_to_tolerances() -> None:
    assert [label.startswith(BRIGHT) for label in PATCHWORKS] == [False, True]


def test_a_patchwork_of_few_samples_holds_the_kinds_that_fit() -> None:
    x = RNG.standard_normal((1, 3, 3)).astype(np.float32)
    assert all(feed["x"].shape == x.shape for _, feed in make_sparse({"x": x}, 0, PATCHWORKS))


def test_pixels_and_audio_are_samples_and_other_integers_are_not() -> None:
    pixels, audio = RNG.integers(0, 256, (1, 3, 20, 20)).astype(np.uint8), np.full((1, 400), -(1 << 15), np.int16)
    others = {"length": np.arange(40), "rate": np.array(16000), "mask": np.ones(50, bool), "name": np.array(["a"] * 30)}
    for feed in make({"pixels": pixels, "audio": audio, **others}).values():
        assert feed["pixels"].dtype == np.uint8 and feed["audio"].dtype == np.int16
        assert not np.array_equal(feed["pixels"], pixels)
        assert all(feed[name] is value for name, value in others.items())
    assert not make(others)


def test_small_inputs_are_parameters_unless_there_is_nothing_else() -> None:
    x, scale = RNG.standard_normal((1, 1, 30)).astype(np.float32), np.array([0.5], np.float32)
    assert all(feed["scale"] is scale and feed["x"] is not x for feed in make({"x": x, "scale": scale}).values())
    assert not make({"scale": scale})["all zero"]["scale"].any()


def test_sequences_are_changed_item_by_item() -> None:
    items = [RNG.standard_normal((2, 40)).astype(np.float32) for _ in range(2)]
    feed = make({"items": items})["all zero"]
    assert [item.shape for item in feed["items"]] == [(2, 40), (2, 40)]
    assert not any(item.any() for item in feed["items"])


def test_scaling_changes_floats_only() -> None:
    feed = scale_feed({"x": np.ones(3, np.float16), "i": np.ones(3, int), "s": [np.ones(2)]}, 0.25)
    assert feed["x"].dtype == np.float16 and feed["x"].tolist() == [0.25] * 3
    assert feed["i"].tolist() == [1, 1, 1] and feed["s"][0].tolist() == [0.25, 0.25]


def test_signs_are_taken_from_floats_only() -> None:
    feed = make_non_negative({"x": -np.ones(3, np.float16), "i": -np.ones(3, int), "s": [-np.ones(2)]})
    assert feed["x"].dtype == np.float16 and feed["x"].tolist() == [1] * 3
    assert feed["i"].tolist() == [-1] * 3 and feed["s"][0].tolist() == [1, 1]
