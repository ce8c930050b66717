"""The custom ops in ONNX Runtime: results, errors, threads, leaks. `test_edges.py` tests the kernels."""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from scripts.shared.conv_models import Array
from tests.native.convolutions import PARALLEL
from tests.native_models import ACTIVATIONS, RELATIVE_L2, Conv, assert_close, conv_model, make_model, open_session

pytestmark = pytest.mark.usefixtures("native_library")

ORT = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])

CONVS = {
    "plain": Conv(),
    "1-D": Conv(extents=(50,), kernel=(7,), pads=(3, 2), strides=(2,)),
    "3-D": Conv(extents=(5, 9, 11), kernel=(2, 3, 4), pads=(1, 0, 2, 0, 1, 1), dilations=(2, 1, 2)),
    "depthwise": Conv(channels=(8, 16), group=8, strides=(2, 3)),
    "dense": Conv(channels=(20, 36), group=1, dilations=(3, 2), pads=(4, 5, 6, 3)),
    "cropped": Conv(pads=(-1, 2, 1, -2)),
    "no bias": Conv(bias=False),
    "one output": Conv(extents=(5, 4), pads=(0,) * 4),
    "fewer outputs than the dilation": Conv(extents=(5, 8), kernel=(2, 3), dilations=(3, 3), pads=(0,) * 4),
    "large": Conv(extents=(70, 90), kernel=(21, 21), group=1, pads=(10,) * 4),
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "open"])
@pytest.mark.parametrize("name", CONVS)
def test_result(name: str, fixed: bool, dtype: str) -> None:
    conv = Conv(**{**vars(CONVS[name]), "dtype": dtype})
    arrays = conv.arrays()
    (y,) = open_session(conv_model(conv, arrays, fixed=fixed)).run(None, {"x": arrays["x"]})
    assert_close(y, conv.expect(arrays), dtype)


@pytest.mark.parametrize("kernel", [(1, 1), (9, 9)], ids=["onnxruntime", "fft"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str, kernel: tuple[int, int]) -> None:
    conv = Conv(activation=activation, kernel=kernel, extents=(40, 170))
    arrays = conv.arrays()
    (y,) = open_session(conv_model(conv, arrays)).run(None, {"x": arrays["x"]})
    before = Conv(kernel=kernel, extents=(40, 170)).expect(arrays)
    assert_close(y, conv.expect(arrays), "float32", before)


STEPS = [
    (adds, activation, normalizes)
    for adds in (False, True)
    for activation in (*ACTIVATIONS, "PRelu")
    for normalizes in (False, True)
]
"""Every operator that there is."""


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kernel", [(1, 1), (9, 9)], ids=["onnxruntime", "fft"])
@pytest.mark.parametrize(("adds", "activation", "normalizes"), STEPS)
def test_what_follows_the_sum(
    adds: bool, activation: str, normalizes: bool, kernel: tuple[int, int], dtype: str
) -> None:
    conv = Conv(activation=activation, adds=adds, normalizes=normalizes, kernel=kernel, extents=(20, 33), dtype=dtype)
    arrays = conv.arrays()
    feeds = {name: arrays[name] for name in ("x", "z") if name in arrays}
    (y,) = open_session(conv_model(conv, arrays)).run(None, feeds)
    gain = 3.0 if normalizes else 1.0  # scale / sqrt(variance) makes errors larger, and so does a steep slope
    np.testing.assert_allclose(np.linalg.norm(y - conv.expect(arrays)), 0, atol=gain * limit_of(conv, arrays))
    assert (y.dtype, y.shape) == (dtype, conv.expect(arrays).shape)


def limit_of(conv: Conv, arrays: dict[str, Array]) -> float:
    """How far from float64 all outputs together may be."""
    residual = np.abs(arrays["z"].astype(np.float64)) if conv.adds else 0.0
    return RELATIVE_L2[conv.dtype] * float(np.linalg.norm(conv.size(arrays) + residual + 1))


@pytest.mark.parametrize(
    "run_time", [("w",), ("slope",), ("scale", "mean"), ("w", "b", "slope", "variance")], ids="+".join
)
def test_operands_at_run_time(run_time: tuple[str, ...]) -> None:
    conv = Conv(activation="PRelu", adds=True, normalizes=True)
    model = conv_model(conv, conv.arrays(), run_time=run_time)
    session = open_session(model)
    for seed in (1, 2):
        arrays = {**conv.arrays(), **{name: conv.arrays(seed)[name] for name in ("x", "z", *run_time)}}
        (y,) = session.run(None, {name: arrays[name] for name in ("x", "z", *run_time)})
        assert_close(y, conv.expect(arrays), "float32")


@pytest.mark.parametrize("shape", [(1,), (1, 1, 1), (6, 1, 1), (1, 6, 1, 1)], ids=str)
def test_a_slope_is_one_or_one_a_channel(shape: tuple[int, ...]) -> None:
    conv = Conv(activation="PRelu")
    arrays = conv.arrays()
    arrays["slope"] = arrays["slope"].ravel()[: math.prod(shape)].reshape(shape)
    (y,) = open_session(conv_model(conv, arrays)).run(None, {"x": arrays["x"]})
    expected = {**arrays, "slope": np.broadcast_to(arrays["slope"].reshape(-1, 1, 1), (6, 1, 1))}
    assert_close(y, conv.expect(expected), "float32")


WRONG_OPERANDS: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "one slope too many": ({"slope": (7, 1, 1)}, "a slope of shape 7x1x1; expected one for all, or one for each of 6"),
    "slopes along the width": ({"slope": (6,)}, "a slope of shape 6; expected one for all, or one for each of 6"),
    "scale": ({"scale": (1,)}, "an operand of BatchNormalization of shape 1; expected 6"),
    "residual": ({"z": (2, 6, 17, 1)}, "a residual of shape 2x6x17x1; expected 2x6x17x22, the shape of the outputs"),
}


@pytest.mark.parametrize("name", WRONG_OPERANDS)
def test_wrong_operands_are_errors(name: str) -> None:
    shapes, sentence = WRONG_OPERANDS[name]
    conv = Conv(activation="PRelu", adds=True, normalizes=True)
    arrays = {**conv.arrays(), **{name: np.ones(shape, np.float32) for name, shape in shapes.items()}}
    with pytest.raises(Exception, match="FFTConvAddPReluBatchNormalization 'conv': got ") as error:
        open_session(conv_model(conv, arrays)).run(None, {"x": arrays["x"], "z": arrays["z"]})
    assert sentence in str(error.value)


SPECIAL = np.array([np.nan, np.inf, -np.inf, -104, -20, -3, -1, -0.0, 0, 1e-30, 0.5, 3, 6, 20, 104, 3e38], np.float32)


CONTRADICTION = {"alpha": 1.5, "beta": -0.5}


@pytest.mark.parametrize(
    ("activation", "extra"),
    [*((name, {}) for name in ACTIVATIONS if name not in ("", "Swish")), ("Clip", CONTRADICTION)],
    ids=str,
)
def test_nan_and_infinities_are_as_in_onnxruntime(activation: str, extra: dict[str, float]) -> None:
    """A kernel of one tap of 1 changes no number, and ONNX Runtime computes it: what follows is ours."""
    conv = Conv(activation=activation, kernel=(1, 1), channels=(1, 1), group=1, batch=1, pads=(0,) * 4, extra=extra)
    x = np.tile(SPECIAL, 5)[:77].reshape(1, 1, 7, 11)  # vectors, and what is left over
    arrays = {"x": x, "w": np.ones((1, 1, 1, 1), np.float32), "b": np.zeros(1, np.float32)}
    (y,) = open_session(conv_model(conv, arrays)).run(None, {"x": x})
    parameters = {name: value for name, value in conv.attributes().items() if name in ("alpha", "beta")}
    bounds = {name: np.float32(value) for name, value in parameters.items()} if activation == "Clip" else {}
    node = helper.make_node(activation, ["x", *bounds], ["y"], **({} if bounds else parameters))
    plain = make_model([node], {"x": ("float32", x.shape)}, {name: np.asarray(value) for name, value in bounds.items()})
    (expected,) = open_session(plain).run(None, {"x": x})
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


def test_a_convolution_that_gains_nothing_is_left_to_onnxruntime() -> None:
    """An FFT gains nothing on a 1x1 kernel: the result is bit for bit that of Conv if ORT may not change its layout."""
    conv = Conv(kernel=(1, 1), extents=(30, 30), pads=(0,) * 4)
    arrays = conv.arrays()
    ours = conv_model(conv, arrays)
    theirs = conv_model(conv, arrays)
    theirs.graph.node[0].op_type, theirs.graph.node[0].domain = "Conv", ""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(theirs.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": arrays["x"]})
    (y,) = open_session(ours).run(None, {"x": arrays["x"]})
    np.testing.assert_array_equal(y, expected)


def test_one_session_takes_any_shape() -> None:
    session = open_session(conv_model(Conv(), Conv().arrays()))
    for batch, extents in ((1, (9, 9)), (3, (40, 8)), (1, (64, 65)), (1, (9, 9)), (2, (5, 200))):
        conv = Conv(batch=batch, extents=extents)
        arrays = {**conv.arrays(seed=batch), **{name: Conv().arrays()[name] for name in "wb"}}
        assert_close(session.run(None, {"x": arrays["x"]})[0], conv.expect(arrays), "float32")


@pytest.mark.parametrize("run_time", [("w",), ("b",), ("w", "b")], ids="+".join)
def test_weights_and_bias_at_run_time(run_time: tuple[str, ...]) -> None:
    session = open_session(conv_model(Conv(), Conv().arrays(), run_time=run_time))
    for seed in (1, 2):
        arrays = {**Conv().arrays(), **{name: Conv().arrays(seed)[name] for name in ("x", *run_time)}}
        (y,) = session.run(None, {name: arrays[name] for name in ("x", *run_time)})
        assert_close(y, Conv().expect(arrays), "float32")


def test_channels_may_change_with_weights_of_run_time() -> None:
    session = open_session(conv_model(Conv(bias=False), Conv().arrays(), run_time=["w"]))
    for channels in ((4, 6), (8, 2), (4, 6)):
        conv = Conv(bias=False, channels=channels)
        arrays = conv.arrays()
        (y,) = session.run(None, {"x": arrays["x"], "w": arrays["w"]})
        assert_close(y, conv.expect(arrays), "float32")


def test_a_bias_may_be_left_out() -> None:
    conv = Conv(bias=False)
    arrays = conv.arrays()
    model = make_model([conv.node(["x", "w", ""])], {"x": ("float32", arrays["x"].shape)}, {"w": arrays["w"]})
    assert_close(open_session(model).run(None, {"x": arrays["x"]})[0], conv.expect(arrays), "float32")


def test_weights_of_a_constant_node_and_of_an_outer_scope() -> None:
    conv = Conv()
    arrays = conv.arrays()
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(arrays["w"]))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    branch = helper.make_graph([conv.node()], "branch", [], [output])
    always = numpy_helper.from_array(np.array(True), "always")
    choose = helper.make_node("If", ["always"], ["y"], then_branch=branch, else_branch=branch)
    model = make_model([constant, choose], {"x": ("float32", arrays["x"].shape)}, {"b": arrays["b"]})
    model.graph.initializer.append(always)
    assert_close(open_session(model).run(None, {"x": arrays["x"]})[0], conv.expect(arrays), "float32")


SHAPES: dict[tuple[int | str | None, ...], list[int | str]] = {
    (2, 4, 19, 23): [2, 6, 9, 22],
    ("n", 4, 19, 23): ["n", 6, 9, 22],
    ("n", 4, 19, "w"): [],  # the width is known when the model runs
    (None, 4, 19, 23): [],
}


@pytest.mark.skipif(ORT < (1, 24), reason="the library does not infer shapes there, see op.cpp")
@pytest.mark.parametrize("shape", SHAPES)
def test_output_shape_is_inferred(shape: tuple[int | str | None, ...]) -> None:
    conv = Conv(strides=(2, 1))
    model = conv_model(conv, conv.arrays())
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert open_session(model).get_outputs()[0].shape == SHAPES[shape]


@pytest.mark.skipif(ORT < (1, 24), reason="the library does not infer shapes there, see op.cpp")
def test_a_length_that_stays_keeps_its_name() -> None:
    conv = Conv(kernel=(5, 3), pads=(2, 1, 2, 1))
    model = conv_model(conv, conv.arrays())
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert open_session(model).get_outputs()[0].shape == ["x0", 6, "x2", "x3"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "open"])
@pytest.mark.parametrize("run_time", [(), ("w", "b")], ids=["constant", "run time"])
def test_nothing_in_nothing_out(run_time: tuple[str, ...], fixed: bool, dtype: str) -> None:
    for conv in (Conv(batch=0, dtype=dtype), Conv(batch=0, dtype=dtype, activation="Relu").lifted()):
        arrays = conv.arrays()
        session = open_session(conv_model(conv, arrays, fixed=fixed, run_time=run_time))
        (y,) = session.run(None, {name: arrays[name] for name in ("x", *run_time)})
        assert y.shape == conv.expect(arrays).shape
        assert y.dtype == dtype


WRONG = {
    "no group": (Conv(extra={"group": None}), "no attribute 'group'"),
    "group 0": (Conv(extra={"group": 0}), "'group' 0; expected at least 1"),
    "group does not divide": (Conv(extra={"group": 4}), "6 output channels in 4 groups"),
    "no kernel_shape": (Conv(extra={"kernel_shape": None}), "no attribute 'kernel_shape'"),
    "four axes": (Conv(extra={"kernel_shape": [1] * 4}), "'kernel_shape' of 4 values; expected 1 to 3"),
    "another kernel": (Conv(extra={"kernel_shape": [5, 5]}), "weights of shape 6x2x5x4; expected ?x?x5x5"),
    "no strides": (Conv(extra={"strides": None}), "no attribute 'strides'"),
    "stride 0": (Conv(strides=(1, 0)), "'strides' with 0; expected at least 1"),
    "strides of another number": (Conv(strides=(1,)), "'strides' of 1 values; expected 2"),
    "strides as a float": (Conv(extra={"strides": 1.5}), "'strides'"),
    "dilation -1": (Conv(extra={"dilations": [-1, 1]}), "'dilations' with -1; expected at least 1"),
    "a dilation that overflows": (Conv(extra={"dilations": [1, 1 << 62]}), "expected at most 2147483648"),
    "a group that overflows": (Conv(extra={"group": 1 << 62}), "expected at most 2147483648"),
    "one pad an axis": (Conv(extra={"pads": [1, 1]}), "'pads' of 2 values; expected 4"),
    "no alpha": (Conv(activation="LeakyRelu", extra={"alpha": None}), "no attribute 'alpha'"),
    "no beta": (Conv(activation="Clip", extra={"beta": None}), "no attribute 'beta'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_attributes_are_errors(name: str) -> None:
    conv, sentence = WRONG[name]
    model = conv_model(conv, Conv().arrays())
    with pytest.raises(Exception, match=f"FFTConv{conv.activation} 'conv': got ") as error:
        open_session(model)
    assert sentence in str(error.value)
    assert "expected" in str(error.value)


WRONG_SHAPES: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "channels": ({"x": (1, 5, 19, 23)}, "an input of 5 channels; expected 4"),
    "dimensions of x": ({"x": (1, 4, 19)}, "an input of shape 1x4x19; expected 4 dimensions"),
    "scalar": ({"x": ()}, "an input of shape a scalar; expected 4 dimensions"),
    "too small": ({"x": (1, 4, 2, 23)}, "an input of 1x4x2x23"),
    "empty axis": ({"x": (1, 4, 0, 23)}, "an input of 1x4x0x23"),
    "dimensions of w": ({"w": (6, 2, 5)}, "weights of shape 6x2x5; expected ?x?x5x4"),
    "kernel": ({"w": (6, 2, 5, 5)}, "weights of shape 6x2x5x5; expected ?x?x5x4"),
    "out channels": ({"w": (5, 2, 5, 4), "b": (5,)}, "5 output channels in 2 groups"),
    "no weights": ({"w": (0, 2, 5, 4)}, "weights of shape 0x2x5x4"),
    "bias": ({"b": (5,)}, "a bias of shape 5; expected 6"),
    "dimensions of bias": ({"b": (6, 1)}, "a bias of shape 6x1; expected 6"),
}


@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_wrong_shapes_are_errors_at_run_time(name: str) -> None:
    shapes, sentence = WRONG_SHAPES[name]
    arrays = Conv().arrays()
    model = conv_model(Conv(), arrays, run_time=["w", "b"])
    for value in model.graph.input:  # not even the number of dimensions is known
        value.type.tensor_type.ClearField("shape")
    session = open_session(model)
    feeds = {key: np.zeros(shapes[key], np.float32) if key in shapes else arrays[key] for key in "xwb"}
    with pytest.raises(Exception, match="FFTConv 'conv': got ") as error:
        session.run(None, feeds)
    assert sentence in str(error.value)
    assert_close(session.run(None, arrays)[0], Conv().expect(arrays), "float32")  # and the session still works


def test_wrong_shapes_are_errors_at_load_if_they_are_known() -> None:
    arrays = Conv().arrays()
    with pytest.raises(Exception, match="an input of 6 channels; expected 4"):
        open_session(conv_model(Conv(), {**arrays, "x": np.zeros((1, 6, 19, 23))}, fixed=True))


def test_dtypes_do_not_mix() -> None:
    arrays = Conv().arrays()
    with pytest.raises(Exception, match="FFTConv"):
        open_session(conv_model(Conv(), {**arrays, "w": arrays["w"].astype(np.float64)}))


by_weights = pytest.mark.parametrize(
    "run_time", [pytest.param((), id="constant"), pytest.param(("w",), id="run time", marks=pytest.mark.slow)]
)


@pytest.mark.slow
@by_weights
@pytest.mark.parametrize("name", PARALLEL)
def test_threads_do_not_change_a_bit(name: str, run_time: tuple[str, ...]) -> None:
    conv = PARALLEL[name]
    arrays = conv.arrays()
    model = conv_model(conv, arrays, run_time=run_time)
    feeds = {key: arrays[key] for key in ("x", *run_time)}
    first, *others = (open_session(model, threads).run(None, feeds)[0] for threads in (1, 2, 4))
    assert_close(first, conv.expect(arrays), conv.dtype, conv.sum(arrays))
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.slow
@by_weights
@pytest.mark.parametrize("name", PARALLEL)
def test_concurrent_runs_do_not_disturb_each_other(name: str, run_time: tuple[str, ...]) -> None:
    """Four callers of one session of two threads, with shapes that no one has prepared, against one of one thread."""
    conv = PARALLEL[name]
    arrays = conv.arrays()
    model = conv_model(conv, arrays, run_time=run_time)
    shapes = [replace(conv, extents=(*conv.extents[:-1], conv.extents[-1] - i % 4)) for i in range(8)]
    feeds = [
        {"x": shape.arrays(seed=i)["x"], **{key: arrays[key] for key in run_time}} for i, shape in enumerate(shapes)
    ]
    session, alone = open_session(model, threads=2), open_session(model, threads=1)
    with ThreadPoolExecutor(4) as callers:
        together = list(callers.map(lambda feed: session.run(None, feed)[0], feeds))
    for feed, y in zip(feeds, together, strict=True):
        np.testing.assert_array_equal(y, alone.run(None, feed)[0])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_thousand_sessions_leak_nothing() -> None:
    """Each holds 256 KiB of weights and more of spectra: one forgotten in ten would show."""
    conv = Conv(extents=(48, 48), kernel=(32, 32), channels=(64, 64), group=64, batch=1)
    arrays = conv.arrays()
    model = conv_model(conv, arrays, fixed=True)

    def use(count: int) -> None:
        for _ in range(count):
            open_session(model).run(None, {"x": arrays["x"]})

    use(100)
    before = _resident_bytes()
    use(900)
    assert _resident_bytes() - before < 20 << 20


def _resident_bytes() -> int:
    status: Any = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) * 1024
