"""The dense engine: convolutions of ordinary networks, against float64 and the library itself on other threads.

`test_plans.py` proves that these are computed by that engine; `driver/dense.cpp` tries any way to cut one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scripts.shared.running import executed_op_types
from tests.marks import mark_slow
from tests.native.convolutions import DENSE
from tests.native_models import ACTIVATIONS, RELATIVE_L2, Conv, assert_close, conv_model, open_session

pytestmark = pytest.mark.usefixtures("native_library")


def lift(conv: Conv) -> Conv:
    """What ONNX Runtime's own Conv does not compute, so that the library has to."""
    return conv.lifted() if len(conv.kernel) < 3 else replace(conv, pads=(*conv.geometry.pads_begin, 0, 0, -1))


@pytest.mark.parametrize("dtype", mark_slow(tuple(RELATIVE_L2), lambda dtype: dtype == "float64"))
@pytest.mark.parametrize("name", DENSE)
def test_against_float64(name: str, dtype: str) -> None:
    conv = replace(lift(DENSE[name]), dtype=dtype)
    arrays = conv.arrays()
    (y,) = open_session(conv_model(conv, arrays), threads=2).run(None, {"x": arrays["x"]})
    assert_close(y, conv.expect(arrays), dtype, conv.size(arrays))


def test_the_library_computes_them() -> None:
    conv = lift(DENSE["3x3"])
    arrays = conv.arrays()
    executed = executed_op_types(conv_model(conv, arrays), {"x": arrays["x"]}, with_library=True)
    assert executed == {"FFTConv": 1}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str) -> None:
    """In rows that end within a vector, and in rows shorter than one."""
    for extents in ((9, 23), (10, 5)):
        conv = replace(DENSE["3x3, no multiple of a vector"], extents=extents, activation=activation).lifted()
        arrays = conv.arrays()
        (y,) = open_session(conv_model(conv, arrays)).run(None, {"x": arrays["x"]})
        assert_close(y, conv.expect(arrays), "float32", conv.size(arrays))


@pytest.mark.parametrize("name", DENSE)
def test_threads_change_no_bit(name: str) -> None:
    conv = lift(DENSE[name])
    arrays = conv.arrays()
    model = conv_model(conv, arrays)
    one, *others = (open_session(model, threads).run(None, {"x": arrays["x"]})[0] for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(one, other)


def test_any_number_of_channels() -> None:
    for inputs in range(1, 41):
        conv = Conv(extents=(8, 11), kernel=(3, 3), channels=(inputs, 41 - inputs), group=1, batch=1).lifted()
        arrays = conv.arrays()
        (y,) = open_session(conv_model(conv, arrays)).run(None, {"x": arrays["x"]})
        assert_close(y, conv.expect(arrays), "float32", conv.size(arrays))


def test_any_width() -> None:
    """Rows and tiles end at every place within a vector; a batch may be empty."""
    first = Conv(extents=(4, 1), kernel=(3, 3), channels=(5, 9), group=1, batch=1).lifted()
    weights = {key: first.arrays()[key] for key in "wb"}
    session = open_session(conv_model(first, first.arrays()), threads=2)
    for width in range(1, 70):
        conv = replace(first, extents=(3, 4, width))
        arrays = {**conv.arrays(), **weights}
        (y,) = session.run(None, {"x": arrays["x"]})
        assert_close(y, conv.expect(arrays), "float32", conv.size(arrays))
    (empty,) = session.run(None, {"x": np.zeros((0, 5, 3, 4, 20), np.float32)})
    assert empty.shape == (0, 9, 1, 4, 20)


def draw_ordinary(seed: int) -> Conv:
    """A layer as networks have it: small kernels, channels in multiples of 8 or not, rarely a stride or a dilation."""
    rng = np.random.default_rng(seed)
    rank = int(rng.choice([1, 2, 2, 3]))
    longest = (600, 48, 16)[rank - 1]
    kernel = (*(int(rng.choice([1, 2, 3, 3, 3, 5, 7])) for _ in range(rank - 1)), int(rng.integers(2, 8)))
    strides = tuple(int(s) for s in rng.choice([1, 1, 1, 2, 3], rank))
    dilations = tuple(int(rng.choice([1, 1, 2, 3, 5])) if s == 1 else 1 for s in strides)
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    extents = tuple(int(rng.integers(span, span + longest)) for span in spans)
    channels = (int(rng.choice([3, 8, 16, 33, 64, 130])), int(rng.choice([5, 16, 24, 40, 64, 100])))
    pads = tuple(int(rng.integers(0, span)) for span in spans)
    return Conv(extents, kernel, 1, channels, 1, strides=strides, dilations=dilations, pads=(*pads, *pads))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_random_layers(seed: int) -> None:
    conv = lift(draw_ordinary(seed))
    arrays = conv.arrays(seed)
    (y,) = open_session(conv_model(conv, arrays), threads=2).run(None, {"x": arrays["x"]})
    assert_close(y, conv.expect(arrays), "float32", conv.size(arrays))
