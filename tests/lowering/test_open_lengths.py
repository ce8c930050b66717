"""Open lengths against ONNX Runtime's own Conv: pads that depend on them, and inputs that are too short for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

import onnx_fft
from onnx_fft.fourier.axis import Axis
from onnx_fft.fourier.oracle import conv_direct
from onnx_fft.model.io import load_model
from onnx_fft.runtime.opening import open_runner
from onnx_fft.sites.spec import ConvSpec
from scripts.shared.conv_models import Array, build_conv_model, draw_weights
from scripts.shared.running import open_session
from tests.marks import mark_slow
from tests.strategies import make_spec

Run = Callable[[dict[str, Array]], Array]


def open_with_onnxruntime(model: ModelProto) -> Run:
    session = open_session(model)
    return lambda feeds: session.run(None, feeds)[0]


def open_with_library(model: ModelProto) -> Run:
    session = onnx_fft.InferenceSession(model)
    return lambda feeds: session.run(None, feeds)[0]


def open_with_numpy(model: ModelProto) -> Run:
    runner = open_runner(load_model(model))
    return lambda feeds: runner.run(feeds)["y"]


WAYS: dict[str, tuple[str, str, Callable[[ModelProto], Run]]] = {
    "matmul": ("standard", "matmul", open_with_onnxruntime),
    "dft": ("standard", "dft", open_with_onnxruntime),
    "rfft": ("cuda", "rfft", open_with_numpy),
    "fftconv": ("native", "fftconv", open_with_library),
    "fallback": ("native", "fftconv", open_with_onnxruntime),
}
"""Target and lowering, and what runs the result."""

by_way = pytest.mark.parametrize("way", WAYS)

UPPER, LOWER = "SAME_UPPER", "SAME_LOWER"
DENSE, GROUPED, DEPTHWISE = (2, 3, 1), (4, 6, 2), (3, 3, 3)

SPECS = {
    "stride": make_spec([Axis(5, stride=4)], DENSE, batch=None),
    "one stride is enough": make_spec([Axis(7, stride=10)], DEPTHWISE, batch=None),
    "long kernel": make_spec([Axis(31, stride=3)], DENSE),
    "pads": make_spec([Axis(5, pad_begin=2, pad_end=1)], DEPTHWISE, batch=None, has_bias=True),
    "no input but pads": make_spec([Axis(3, stride=2, pad_begin=2, pad_end=3)], DENSE, batch=None),
    "dilation": make_spec([Axis(3, dilation=3, pad_end=1)], GROUPED, batch=None),
    "stride and dilation": make_spec([Axis(3, 2, 2, 1, 1)], DENSE, batch=None),
    "two axes": make_spec([Axis(3), Axis(4, stride=3)], GROUPED, batch=None),
    "beside a fixed axis": make_spec([Axis(3, extent=6), Axis(4, stride=2)], DEPTHWISE),
    "one tap along an axis": make_spec([Axis(1), Axis(3, pad_begin=1)], DENSE, batch=None),
    "three axes": make_spec([Axis(2), Axis(1), Axis(3, stride=2)], DENSE, batch=None),
    "same": make_spec([Axis(4, pad_begin=1, pad_end=2)], DENSE, batch=None),
    "upper": make_spec([Axis(7, 3, auto_pad=UPPER)], DENSE, batch=None, has_bias=True),
    "lower": make_spec([Axis(6, 4, auto_pad=LOWER)], DEPTHWISE, batch=None),
    "upper, kernel shorter than the stride": make_spec([Axis(3, 4, auto_pad=UPPER)], GROUPED, batch=None),
    "lower, one tap": make_spec([Axis(1, 2, auto_pad=LOWER), Axis(3, 2, auto_pad=LOWER)], DENSE, batch=None),
    "upper, two axes": make_spec([Axis(4, 2, auto_pad=UPPER), Axis(5, 3, auto_pad=UPPER)], GROUPED, batch=None),
    "lower beside stride 1": make_spec([Axis(4, 1, 1, 2, 1), Axis(5, 2, auto_pad=LOWER)], DEPTHWISE, batch=None),
    "upper beside a fixed axis": make_spec([Axis(5, 3, auto_pad=UPPER), Axis(4, 3, 1, 0, 1, 9)], DENSE),
    "lower, three axes": make_spec(
        [Axis(2, 2, auto_pad=LOWER), Axis(3, 1, 1, 1, 1), Axis(3, 2, auto_pad=LOWER)], DEPTHWISE, batch=None
    ),
}
by_name = pytest.mark.parametrize("name", mark_slow(SPECS, lambda name: SPECS[name].rank > 1 and name != "two axes"))


def list_extents(spec: ConvSpec) -> Iterable[tuple[int, ...]]:
    """From none on to more than the kernel spans: along one axis all of them, along more axes some."""
    longest = spec.effective_kernel_shape[0] + 4
    lengths = range(longest) if spec.rank == 1 else (0, 1, 2, 3, 4, 6, 9) if spec.rank == 2 else (0, 1, 2, 5)
    return product(*(lengths if extent is None else [extent] for extent in spec.extents))


def rewrite(model: ModelProto, way: str) -> Run:
    target, lowering, start = WAYS[way]
    options: dict[str, Any] = {"select": "all", "max_growth_bytes": 1 << 30, "validate": False}
    rewritten = onnx_fft.rewrite(model, target=target, lowering=lowering, **options)
    assert [row.lowering for row in rewritten.report.rows] == [lowering]
    return start(rewritten.model)


def run_or_fail(run: Run, x: Array) -> Array | None:
    """The output, None if the input is refused."""
    try:
        return run({"x": x})
    except Exception:
        return None


@pytest.mark.parametrize("way", ["matmul", "dft", "fallback"])
def test_lengths_come_again(way: str, rng: np.random.Generator, native_library: None) -> None:
    """From the second run of a shape on, ONNX Runtime takes its memory as it did in the first."""
    model = build_conv_model(SPECS["stride"])
    own, new = open_with_onnxruntime(model), rewrite(model, way)
    for batch, extent in ((2, 6), (2, 6), (1, 6), (2, 26), (1, 6), (2, 26), (2, 6)):
        x = rng.standard_normal((batch, 2, extent)).astype(np.float32)
        np.testing.assert_allclose(new({"x": x}), own({"x": x}), atol=2e-5, rtol=0)


@by_name
@by_way
def test_every_length_gives_what_conv_gives_or_fails_as_it_does(
    name: str, way: str, rng: np.random.Generator, native_library: None
) -> None:
    spec = SPECS[name]
    model = build_conv_model(spec)
    own, new = open_with_onnxruntime(model), rewrite(model, way)
    outcomes = set()
    for extents in list_extents(spec):
        for batch in (2, 0) if spec.batch is None and way != "rfft" else (1,):
            x = rng.standard_normal((batch, spec.in_channels, *extents)).astype(np.float32)
            expected, got = run_or_fail(own, x), run_or_fail(new, x)
            outcomes.add(expected is None)
            assert (got is None) == (expected is None), f"{extents}: {got if expected is None else 'fails'}"
            if expected is not None and got is not None:
                assert got.shape == expected.shape
                np.testing.assert_allclose(got, expected, atol=2e-5, rtol=0, err_msg=str(extents))
    assert outcomes == ({False} if name == "no input but pads" else {False, True})


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("way", [way for way in WAYS if way != "fallback"])
def test_pads_of_run_time_in_other_dtypes(way: str, dtype: str, rng: np.random.Generator, native_library: None) -> None:
    axes = [Axis(4, 2, auto_pad=LOWER), Axis(5, 3, auto_pad=LOWER)]
    spec = make_spec(axes, GROUPED, batch=None, dtype=dtype)
    weight, _ = draw_weights(spec)
    new = rewrite(build_conv_model(spec, weight), way)
    for extents in product((1, 5, 8), (2, 7, 30)):
        x = rng.standard_normal((2, spec.in_channels, *extents)).astype(dtype)
        expected = conv_direct(x, weight, None, spec.at(extents).geometry)
        y = new({"x": x})
        assert (y.dtype, y.shape) == (np.dtype(dtype), expected.shape)
        np.testing.assert_allclose(y, expected, atol={"float16": 5e-3, "float64": 1e-13}[dtype], rtol=0)


@pytest.mark.parametrize("way", ["matmul", "dft"])
def test_the_error_names_the_axis(way: str) -> None:
    run = rewrite(build_conv_model(SPECS["two axes"]), way)
    with pytest.raises(Exception, match=r"conv/axis_3_is_shorter_than_the_kernel"):
        run({"x": np.zeros((1, 4, 3, 3), np.float32)})


def test_pads_of_run_time_take_opset_11() -> None:
    model = build_conv_model(SPECS["upper"], opset=10)
    (row,) = onnx_fft.inspect(model, lowering="matmul").rows
    assert row.lowering == "matmul"
    converted = onnx_fft.rewrite(model, lowering="matmul", max_growth_bytes=1 << 30)
    assert converted.report.converted_from == 10 and converted.report.opset >= 11
    (row,) = onnx_fft.inspect(model).rows
    assert row.lowering is None
    assert "needs opset 11" in row.reason
