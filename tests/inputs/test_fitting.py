"""Sizes that a model's constants fix are found: each of these models runs on no size that is likely by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from onnx_fft import rewrite
from onnx_fft.errors import UsageError
from onnx_fft.inputs.feeds import Feed, fix_shapes, read_inputs
from onnx_fft.inputs.fitting import Fitting
from onnx_fft.inputs.requirements import find_violation
from onnx_fft.inputs.search import search_model
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import find_scopes
from onnx_fft.runtime.opening import open_original
from scripts.shared.conv_models import Array
from tests.models import parse_model

RNG = np.random.default_rng(11)
Shapes = dict[str, tuple[int, ...]]


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


MODELS: dict[str, tuple[str, dict[str, Array], Callable[[Shapes], bool]]] = {
    "flatten to Gemm": (
        """(float[n, 3, h, w] x) => (float[n, k] y) {
            a = Conv<strides=[2, 2]>(x, c3) b = Relu(a) p = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(b)
            f = Flatten(p) y = Gemm<transB=1>(f, g) }""",
        {"c3": floats(4, 3, 3, 3), "g": floats(10, 4 * 29 * 29)},
        lambda s: 117 <= s["x"][2] <= 120,
    ),
    "flatten by Reshape to MatMul": (
        """(float[n, 3, h, w] x) => (float[n, k] y) {
            a = Conv<strides=[4, 4]>(x, c3) s = Shape(a) i = Gather(s, zero) u = Unsqueeze(i, zeros)
            t = Concat<axis=0>(u, rest) f = Reshape(a, t) y = MatMul(f, g) }""",
        {"c3": floats(4, 3, 3, 3), "zero": np.array(0), "zeros": ints(0), "rest": ints(-1), "g": floats(4 * 49, 5)},
        lambda s: s["x"][2:] == (27, 27),
    ),
    "audio of so many frames": (
        """(float[n, 1, t] x) => (float[n, k] y) {
            a = Conv<strides=[160]>(x, c400) f = Flatten(a) y = Gemm(f, g) }""",
        {"c400": floats(8, 1, 400), "g": floats(8 * 77, 3)},
        lambda s: (s["x"][2] - 400) // 160 == 76,
    ),
    "a table of positions": (
        "(float[n, t, 16] x) => (float[n, t, 16] y) { a = Add(x, table) y = MatMul(a, m) }",
        {"table": floats(1, 77, 16), "m": floats(16, 16)},
        lambda s: s["x"][1] in (1, 77),
    ),
    "as many frames as the audio has": (
        """(float[n, 1, t] x, float[n, 8, f] z) => (float[n, 8, f] y) {
            a = Conv<strides=[100]>(x, c400) y = Concat<axis=1>(a, z) }""",
        {"c400": floats(8, 1, 400)},
        lambda s: (s["x"][2] - 400) // 100 + 1 == s["z"][2],
    ),
    "square images of patches": (
        """(float[n, 3, h, w] x) => (float[n, t, k] y) {
            a = Conv<strides=[14, 14]>(x, c14) f = Reshape(a, flat) v = Transpose<perm=[0, 2, 1]>(f)
            y = Add(v, table) }""",
        {"c14": floats(6, 3, 14, 14), "flat": ints(0, 6, -1), "table": floats(1, 121, 6)},
        lambda s: s["x"][2] // 14 * (s["x"][3] // 14) == 121,
    ),
    "a length that 30 divides": (
        "(float[n, t, 7] x) => (float[a, 30, 7] y) { y = Reshape(x, groups) }",
        {"groups": ints(-1, 30, 7)},
        lambda s: s["x"][0] * s["x"][1] % 30 == 0,
    ),
    "all sizes of a Reshape": (
        "(float[n, t] x) => (float[6, 7, 11] y) { y = Reshape(x, sizes) }",
        {"sizes": ints(6, 7, 11)},
        lambda s: s["x"][0] * s["x"][1] == 462,
    ),
    "a batch that a Reshape fixes": (
        "(float[n, 3, 5] x) => (float[2, 15] y) { y = Reshape(x, sizes) }",
        {"sizes": ints(6, 15)},
        lambda s: s["x"][0] == 6,
    ),
    "channels of a Conv and a BatchNormalization": (
        """(float[n, c, h, w] x) => (float[n, 4, p, q] y) {
            b = BatchNormalization(x, five, five, five, five) y = Conv(b, c5) }""",
        {"five": np.abs(floats(5)), "c5": floats(4, 5, 3, 3)},
        lambda s: s["x"][1] == 5,
    ),
    "a recurrent state": (
        """(float[t, n, f] x, float[1, n, h] state) => (float[t, 1, n, h] y) {
            y = GRU<hidden_size=7>(x, w, r, "", "", state) }""".replace('""', ""),
        {"w": floats(1, 21, 13), "r": floats(1, 21, 7)},
        lambda s: s["x"][2] == 13 and s["state"][2] == 7,
    ),
    "heads and a mask": (
        """(float[n, t, e] x) => (float[n, t, 24] y) {
            q = MatMul(x, m) r = Reshape(q, heads)
            v = Transpose<perm=[0, 2, 1, 3]>(r) k = Transpose<perm=[0, 2, 3, 1]>(r) s = MatMul(v, k)
            a = Add(s, mask) p = Softmax(a) o = MatMul(p, v) b = Transpose<perm=[0, 2, 1, 3]>(o)
            y = Reshape(b, joined) }""",
        {"m": floats(24, 24), "heads": ints(0, 0, 3, 8), "mask": floats(50, 50), "joined": ints(0, 0, -1)},
        lambda s: s["x"][1:] == (50, 24),
    ),
    "two towers": (
        """(float[n, 1, t] x, float[n, c, s] z) => (float[n, 9] y) {
            a = Conv<strides=[10]>(x, c30) f = Flatten(a) b = MatMul(f, g)
            d = Flatten(z) e = MatMul(d, h) y = Add(b, e) }""",
        {"c30": floats(2, 1, 30), "g": floats(2 * 41, 9), "h": floats(3 * 19, 9)},
        lambda s: s["x"][2] // 10 == 43 and s["z"][1] * s["z"][2] == 57,
    ),
    "parts of a Split": (
        "(float[n, t] x) => (float[n, 30] y) { y, z = Split<axis=1>(x, parts) }",
        {"parts": ints(30, 41)},
        lambda s: s["x"][1] == 71,
    ),
    "a target with the model's own batch": (
        """(float[n, 3, h, w] x) => (float[n, k] y) {
            a = Conv<strides=[2, 2]>(x, c3) s = Shape(a) i = Gather(s, zero) u = Unsqueeze(i, zeros)
            t = Concat<axis=0>(u, rest) y = Reshape(a, t) }""",
        {"c3": floats(4, 3, 3, 3), "zero": np.array(0), "zeros": ints(0), "rest": ints(4 * 23 * 23)},
        lambda s: s["x"][2:] == (47, 47),
    ),
    "chunks counted by the model": (
        """(float[n, t] x) => (float[n, a, b] y) {
            s = Shape(x) n1 = Slice(s, zeros, ones) t1 = Slice(s, ones, twos) q = Div(t1, chunk)
            t = Concat<axis=0>(n1, q, chunk) y = Reshape(x, t) }""",
        {"zeros": ints(0), "ones": ints(1), "twos": ints(2), "chunk": ints(1050)},
        lambda s: s["x"][1] % 1050 == 0,
    ),
    "patches and a class token": (
        """(float[n, 3, h, w] x) => (float[n, t, 6] y) {
            a = Conv<strides=[16, 16]>(x, c16) f = Reshape(a, flat) v = Transpose<perm=[0, 2, 1]>(f)
            c = Concat<axis=1>(token, v) y = Add(c, table) }""",
        {"c16": floats(6, 3, 16, 16), "flat": ints(1, 6, -1), "token": floats(1, 1, 6), "table": floats(1, 26, 6)},
        lambda s: s["x"][2:] == (80, 80),
    ),
    "features that a vector completes": (
        """(float[n, 3, h, w] x, float[n, d] z) => (float[n, k] y) {
            a = Conv(x, c3) p = GlobalAveragePool(a) f = Flatten(p) c = Concat<axis=1>(f, z) y = Gemm(c, g) }""",
        {"c3": floats(4, 3, 3, 3), "g": floats(17, 5)},
        lambda s: s["z"][1] == 13,
    ),
    "a matrix from the left": (
        "(float[n, t, 5] x) => (float[n, k, 5] y) { y = MatMul(m, x) }",
        {"m": floats(20, 333)},
        lambda s: s["x"][1] == 333,
    ),
    "labels of an Einsum": (
        '(float[n, t, d] x) => (float[n, t, k] y) { y = Einsum<equation="btd,dk->btk">(x, m) }',
        {"m": floats(37, 4)},
        lambda s: s["x"][2] == 37,
    ),
    "queries, keys and a mask": (
        """(float[n, q, d] x, float[n, k, e] z) => (float[n, q, d] y) {
            a = MatMul(x, wq) b = MatMul(z, wk) t = Transpose<perm=[0, 2, 1]>(b) s = MatMul(a, t)
            m = Add(s, mask) p = Softmax(m) y = MatMul(p, b) }""",
        {"wq": floats(20, 16), "wk": floats(48, 16), "mask": floats(33, 77)},
        lambda s: s["x"][2] == 20 and s["x"][1] in (1, 33) and s["z"][1:] == (77, 48),
    ),
    "an oblong image": (
        "(float[n, 3, h, w] x) => (float[n, k] y) { a = Conv<strides=[2, 2]>(x, c3) f = Flatten(a) y = Gemm(f, g) }",
        {"c3": floats(2, 3, 3, 3), "g": floats(2 * 39 * 63, 2)},
        lambda s: (s["x"][2] - 1) // 2 * ((s["x"][3] - 1) // 2) == 39 * 63,
    ),
    "images in groups of three": (
        """(float[n, 8, h, w] x) => (float[a, 3, 8, h, w] y) {
            s = Shape(x) r = Slice(s, one, four) t = Concat<axis=0>(groups, r) y = Reshape(x, t) }""",
        {"one": ints(1), "four": ints(4), "groups": ints(-1, 3)},
        lambda s: s["x"][0] % 3 == 0,
    ),
    "a column far to the right": (
        "(float[n, f] x) => (float[n] y) { y = Gather<axis=1>(x, column) }",
        {"column": np.array(70_000)},
        lambda s: s["x"][1] > 70_000,
    ),
    "a kernel longer than any likely input": (
        "(float[n, 1, t] x) => (float[n, 1, f] y) { y = Conv(x, long) }",
        {"long": floats(1, 1, 50_000)},
        lambda s: s["x"][2] >= 50_000,
    ),
}


def make_model(name: str) -> ModelProto:
    text, constants, _ = MODELS[name]
    return parse_model(f"g {text}", constants)


def find_feeds(model: ModelProto) -> list[Feed]:
    loaded = LoadedModel(model)
    return search_model(loaded, open_original(loaded), 0, {})


@pytest.mark.parametrize("name", MODELS)
def test_sizes_that_the_constants_fix(name: str) -> None:
    feeds = find_feeds(make_model(name))
    assert feeds
    for feed in feeds:
        shapes = {key: value.shape for key, value in feed.arrays.items()}
        assert MODELS[name][2](shapes), shapes


def test_constants_that_exclude_each_other_are_an_error_with_a_next_step() -> None:
    text = "g (float[n, t] x) => (float[n, k] y) { a = MatMul(x, one) b = MatMul(x, other) y = Add(a, b) }"
    model = parse_model(text, {"one": floats(24, 3), "other": floats(25, 3)})
    with pytest.raises(UsageError, match=r"no random input was found .*expected one for x:nxt; pass shapes as in"):
        find_feeds(model)


def test_a_model_that_runs_on_likely_sizes_needs_no_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "g (float[n, 3, h, w] x) => (float[n, 4, p, q] y) { y = Conv(x, c) }"
    model = parse_model(text, {"c": floats(4, 3, 3, 3)})
    monkeypatch.setattr("onnx_fft.inputs.fitting.infer_shapes", None)
    assert find_feeds(model)[0].arrays["x"].shape == (1, 3, 64, 64)


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnx_fft.inputs.fitting.MAX_FIT_S", 0.0)
    loaded = LoadedModel(make_model("parts of a Split"))
    fitting = Fitting(loaded, fix_shapes(read_inputs(loaded.model), {}))
    assert fitting.fit({"n": 1, "t": 64}) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flatten to Gemm", "audio of so many frames", "patches and a class token"])
def test_a_rewrite_is_validated_on_them(name: str) -> None:
    result = rewrite(make_model(name), select="all")
    assert result.report.replaced and result.validation is not None and result.validation.ok


def test_an_attribute_that_nobody_gives_asks_for_nothing() -> None:
    model = parse_model("g (float[n, 3] x) => (float[n, 6] y) { y = Concat<axis=1>(x, x) }", {})
    node = model.graph.node[0]
    (scope,) = find_scopes(model, None)
    shapes = {"x": (1, 3), "y": (1, 6)}
    assert find_violation(node, scope, {**shapes, "y": (1, 0)}) != []
    node.attribute[0].ref_attr_name = "nobody"
    assert find_violation(node, scope, shapes) == []
