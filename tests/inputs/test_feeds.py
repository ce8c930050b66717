"""Feeds: shapes that fit, ranges that make sense, never empty; wrong ones refused with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from onnx_fft.errors import UsageError
from onnx_fft.inputs.feeds import (
    Feed,
    find_selectors,
    fix_shapes,
    load_feed,
    read_inputs,
)
from onnx_fft.inputs.search import EASY_ELEMENTS, MAX_ATTEMPTS, search
from onnx_fft.runtime.engines import EngineError, Value

Dims = list[int | str | None]


def make_inputs(**inputs: tuple[int, Dims]) -> ModelProto:
    """A model that is only its inputs."""
    values = [helper.make_tensor_value_info(name, kind, dims) for name, (kind, dims) in inputs.items()]
    return helper.make_model(helper.make_graph([], "inputs", values, []))


def find_feeds(
    model: ModelProto, accept: Any = lambda shapes: True, seed: int = 0, **shapes: tuple[int, ...]
) -> list[Feed]:
    """Feeds for a model that runs where `accept` says so of the shapes by name."""

    def run(feeds: Mapping[str, Value]) -> dict[str, Value]:
        if not accept({name: np.shape(value) for name, value in feeds.items()}):
            raise EngineError("refused")
        return {"y": np.ones(1)}

    infos = fix_shapes(read_inputs(model), shapes)
    return search(infos, run, seed, find_selectors(model, infos))


FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def test_the_same_symbol_has_the_same_value_and_no_feed_is_empty() -> None:
    model = make_inputs(a=(FLOAT, ["n", 3, "h", "w"]), b=(FLOAT, ["n", "k"]), c=(FLOAT, [0, None, "w"]))
    feeds = find_feeds(model)
    assert len(feeds) >= 3
    for feed in feeds:
        shapes = {name: value.shape for name, value in feed.arrays.items()}
        assert shapes["a"][0] == shapes["b"][0]
        assert shapes["a"][3] == shapes["c"][2]
        assert all(np.prod(shape) > 0 for shape in shapes.values())


def test_shapes_vary_with_odd_lengths_and_another_batch() -> None:
    shapes = [feed.arrays["a"].shape for feed in find_feeds(make_inputs(a=(FLOAT, ["n", 3, "h", "w"])))]
    assert len(set(shapes)) == len(shapes) == 3
    assert any(h % 2 and w % 2 and h != w for _, _, h, w in shapes)
    assert {n for n, *_ in shapes} == {1, 2}


@pytest.mark.parametrize(
    ("dims", "accept"),
    [
        (["n", 3, "h", "w"], lambda s: s["a"][2] % 32 == 0 and s["a"][3] % 32 == 0),
        (["n", "c", "h", "w"], lambda s: s["a"][1] == 3),
        ([None, "t"], lambda s: s["a"][1] >= 500),
        (["n", 1, "t", "f"], lambda s: s["a"][3] == 128 and s["a"][2] != 128),
        (["n", "t"], lambda s: s["a"][0] == s["a"][1]),
    ],
)
def test_finds_what_the_model_accepts(dims: Dims, accept: Any) -> None:
    feeds = find_feeds(make_inputs(a=(FLOAT, dims)), accept)
    assert all(accept({"a": feed.arrays["a"].shape}) for feed in feeds)


def test_two_symbols_with_sizes_of_their_own() -> None:
    model = make_inputs(frame=(FLOAT, ["n", 3, 1, "h", "w"]), data=(FLOAT, ["n", "bits"]))
    feeds = find_feeds(model, lambda s: s["data"][1] == 32 and s["frame"][3] >= 32)
    assert len(feeds) >= 2


def test_no_fit_is_an_error_with_a_next_step() -> None:
    with pytest.raises(UsageError, match=r"last: refused.*a:nx7.*input_shapes=\{'a': \(64, 7\)\}"):
        find_feeds(make_inputs(a=(FLOAT, ["n", 7])), lambda s: False)


def test_ranges_follow_the_dtype() -> None:
    kinds: dict[str, int] = {"u8": TensorProto.UINT8, "i16": TensorProto.INT16, "i64": INT64, "i32": TensorProto.INT32}
    dims: Dims = [400]
    model = make_inputs(
        **{name: (kind, dims) for name, kind in kinds.items()},
        flag=(TensorProto.BOOL, dims),
        text=(TensorProto.STRING, [5]),
        half=(TensorProto.FLOAT16, dims),
    )
    [feed] = find_feeds(model)
    values = feed.arrays
    assert values["u8"].dtype == np.uint8
    assert values["u8"].max() > 200
    assert values["i16"].min() < -1000
    for name in ("i64", "i32"):
        assert 0 <= values[name].min() < values[name].max() < 8
    assert set(values["flag"].tolist()) == {True, False}
    assert all(isinstance(word, str) and word for word in values["text"])
    assert values["half"].dtype == np.float16


def test_seeds_repeat_and_differ() -> None:
    model = make_inputs(a=(FLOAT, ["n", 8]))
    first, again, other = (find_feeds(model, seed=seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.arrays["a"], again.arrays["a"])
    assert not np.array_equal(first.arrays["a"], other.arrays["a"])
    assert "seed 3" in first.label


def test_branch_selectors_take_each_value() -> None:
    model = make_inputs(x=(FLOAT, [4]), sr=(INT64, []), flag=(TensorProto.BOOL, [1]))
    wanted = helper.make_tensor("wanted", INT64, [], [16000])
    model.graph.node.extend(
        [
            helper.make_node("Constant", [], ["wanted"], value=wanted),
            helper.make_node("Identity", ["sr"], ["rate"]),
            helper.make_node("Equal", ["rate", "wanted"], ["is_wide"]),
        ]
    )
    feeds = find_feeds(model)
    chosen = {(int(feed.arrays["sr"]), bool(feed.arrays["flag"][0])) for feed in feeds}
    assert chosen == {(16000, True), (16000, False), (1, True), (1, False)}
    assert all("sr=" in feed.label for feed in feeds)


def test_input_shapes_are_taken_and_checked() -> None:
    model = make_inputs(a=(FLOAT, ["n", 3, "h"]), b=(FLOAT, ["n"]))
    [feed] = find_feeds(model, a=(2, 3, 17))
    assert feed.arrays["a"].shape == (2, 3, 17)
    assert feed.arrays["b"].shape == (2,)
    infos = read_inputs(model)
    for wrong in ({"z": (1,)}, {"a": (1, 3)}, {"a": (1, 4, 8)}, {"a": (0, 3, 8)}, {"a": (1, 3, 8), "b": (2,)}):
        with pytest.raises(UsageError, match=r"^got input shape .*; expected .*; correct"):
            fix_shapes(infos, wrong)


def test_an_input_without_a_rank_needs_a_shape() -> None:
    infos = read_inputs(make_inputs(a=(FLOAT, None)))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"without a number of axes.*input_shapes=\{'a': \(1, 3"):
        fix_shapes(infos, {})
    assert fix_shapes(infos, {"a": (2, 5)})[0].dims == (2, 5)


def test_the_rewritten_models_fixed_shape_wins() -> None:
    infos = read_inputs(make_inputs(a=(FLOAT, ["n", 3, "h"])))
    fixed = fix_shapes(infos, {}, read_inputs(make_inputs(a=(FLOAT, ["n", 3, 50]))))
    assert fixed[0].dims == ("n", 3, 50)


def test_given_inputs(tmp_path: Path) -> None:
    infos = read_inputs(make_inputs(a=(FLOAT, ["n", 3]), b=(INT64, [1])))
    good: dict[str, Any] = {"a": np.ones((2, 3), np.float32), "b": np.array([4])}
    path = tmp_path / "feeds.npz"
    np.savez(path, **good)
    assert load_feed(path, infos).arrays["a"].shape == (2, 3)
    assert load_feed(good, infos).arrays["b"].tolist() == [4]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"a": good["a"]}, "without b"),
        ({**good, "c": good["a"]}, "with c"),
        ({**good, "a": good["a"].astype(np.float64)}, r"float64.*expected float32"),
        ({**good, "a": good["a"][:0]}, "empty"),
        ({**good, "a": np.ones((2, 4), np.float32)}, "declares it"),
        ({**good, "a": np.ones(3, np.float32)}, "declares it"),
    ]
    for feeds, message in wrong:
        with pytest.raises(UsageError, match=message):
            load_feed(feeds, infos)
    (tmp_path / "no.npz").write_bytes(b"not an archive")
    for name in ("no.npz", "missing.npz"):
        with pytest.raises(UsageError, match=r"does not read as an \.npz"):
            load_feed(tmp_path / name, infos)


class Trap:
    """Makes a file wherever it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_given_inputs_run_no_code(tmp_path: Path) -> None:
    np.savez(tmp_path / "feeds.npz", x=np.array([Trap(tmp_path / "trapped")], object))
    with pytest.raises(UsageError, match=r"feeds\.npz"):
        load_feed(tmp_path / "feeds.npz", read_inputs(make_inputs(x=(TensorProto.FLOAT, [1]))))
    assert not (tmp_path / "trapped").exists()


def test_an_input_too_large_for_memory_and_one_of_no_type() -> None:
    for kind in (FLOAT, INT64, TensorProto.BOOL, TensorProto.COMPLEX64, TensorProto.STRING):
        with pytest.raises(UsageError, match="got 'x' of shape 1152921504606846976, which is too large"):
            find_feeds(make_inputs(x=(kind, [1 << 60])))
    with pytest.raises(UsageError, match="data type 99, which ONNX does not have"):
        read_inputs(make_inputs(x=(99, [1])))


def test_small_inputs_come_first_if_running_is_slow() -> None:
    tried: list[int] = []

    def run(feeds: Mapping[str, Value]) -> dict[str, Value]:
        tried.append(np.size(feeds["x"]))
        if np.shape(feeds["x"])[2] not in accepted:
            raise EngineError("refused")
        return {"y": np.ones(1)}

    infos = read_inputs(make_inputs(x=(FLOAT, [1, 4, "d", "h", "w"])))
    for accepted in (range(1, 20), range(40, 60)):
        tried.clear()
        search(infos, run, 0, {}, vary=False, is_slow=True)
        first_large = next((place for place, size in enumerate(tried) if size > EASY_ELEMENTS), len(tried))
        assert all(size > EASY_ELEMENTS for size in tried[first_large:]) and (first_large == len(tried)) == (
            accepted[0] == 1
        )
        assert len(tried) < 2 * MAX_ATTEMPTS
