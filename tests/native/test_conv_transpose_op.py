"""The native library's FFTConvTranspose in ONNX Runtime: results, inputs that do not fit, threads.

`driver/transposed.cpp` tries many more geometries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from onnx_fft.native.planning import TransposedQuestion, find_basis_length, predict_transposed, read_rates
from onnx_fft.provenance import OPERATOR_DOMAIN
from scripts.shared.conv_models import Array
from tests.native_models import RELATIVE_L2, make_model, open_session

pytestmark = pytest.mark.usefixtures("native_library")

ORT = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])


@dataclass(frozen=True)
class Transposed:
    """One transposed convolution `[batch, channels[0], *extents]` -> `[batch, channels[1], ...]`."""

    extents: tuple[int, ...] = (9, 11)
    kernel: tuple[int, ...] = (5, 4)
    channels: tuple[int, int] = (4, 6)
    group: int = 2
    batch: int = 2
    dtype: str = "float32"
    bias: bool = True
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    """Attributes in place of the right ones; None leaves one out."""

    def attributes(self) -> dict[str, Any]:
        ones = (1,) * len(self.kernel)
        found = {
            "group": self.group,
            "kernel_shape": self.kernel,
            "strides": self.strides or ones,
            "dilations": self.dilations or ones,
            "pads": self.pads or (0,) * (2 * len(ones)),
            "output_padding": self.output_padding or (0,) * len(ones),
        }
        return {name: value for name, value in {**found, **self.extra}.items() if value is not None}

    def arrays(self, seed: int = 1) -> dict[str, Array]:
        """x, w and b."""
        cin, cout = self.channels
        shapes = {"x": (self.batch, cin, *self.extents), "w": (cin, cout // self.group, *self.kernel), "b": (cout,)}
        rng = np.random.default_rng(seed)
        return {name: rng.standard_normal(shape).astype(self.dtype) for name, shape in shapes.items()}

    def expect(self, arrays: dict[str, Array]) -> Array:
        """In float64, tap by tap."""
        found = self.attributes()
        strides, dilations, pads = (np.array(found[name]) for name in ("strides", "dilations", "pads"))
        x, w = (arrays[name].astype(np.float64) for name in "xw")
        rank, extents, kernel = len(self.kernel), np.array(x.shape[2:]), np.array(w.shape[2:])
        inputs = self.channels[0] // self.group
        x = x.reshape(len(x), self.group, inputs, *extents)
        w = w.reshape(self.group, inputs, *w.shape[1:])
        full = strides * (extents - 1) + dilations * (kernel - 1) + 1 + np.array(found["output_padding"])
        y = np.zeros((len(x), self.group, w.shape[2], *full))
        for tap in np.ndindex(*kernel):
            first = np.array(tap) * dilations
            places: tuple[Any, ...] = tuple(
                slice(a, a + s * n, s) for a, s, n in zip(first, strides, extents, strict=True)
            )
            taps: tuple[Any, ...] = (..., *tap)
            y[(..., *places)] += np.einsum("ngi...,gio->ngo...", x, w[taps])
        crop: tuple[Any, ...] = tuple(slice(pads[axis], full[axis] - pads[axis + rank]) for axis in range(rank))
        y = y.reshape(len(x), self.channels[1], *full)[(..., *crop)]
        return y + arrays["b"].astype(np.float64).reshape(-1, *[1] * rank) if self.bias else y

    def model(self, arrays: dict[str, Array], *, fixed: bool = False, run_time: Sequence[str] = ()) -> ModelProto:
        """`fixed`: the input's shape stands in the model; `run_time`: names of w and b that are inputs.

        A bias that is left out is an empty name, for which no kernel of ONNX Runtime is called: the library computes.
        """
        x = arrays["x"]
        inputs: dict[str, Any] = {"x": (self.dtype, x.shape if fixed else [f"x{axis}" for axis in range(x.ndim)])}
        inputs |= {name: (self.dtype, [f"{name}{axis}" for axis in range(arrays[name].ndim)]) for name in run_time}
        names = ["x", "w", "b" if self.bias else ""]
        node = helper.make_node(
            "FFTConvTranspose", names, ["y"], name="up", domain=OPERATOR_DOMAIN, **self.attributes()
        )
        return make_model([node], inputs, {name: arrays[name] for name in names[1:] if name and name not in run_time})

    def ask(self, **others: Any) -> TransposedQuestion:
        found, rank = self.attributes(), len(self.kernel)
        return TransposedQuestion(
            self.batch,
            *self.channels,
            self.group,
            self.extents,
            self.kernel,
            found["strides"],
            found["dilations"],
            found["pads"][:rank],
            found["pads"][rank:],
            found["output_padding"],
            **others,
        )


def check(case: Transposed, arrays: dict[str, Array], y: Array) -> None:
    """An error is judged by the terms of the sums: where few taps reach an output, they are as small as around it."""
    expected = case.expect(arrays)
    assert y.shape == expected.shape
    assert y.dtype == case.dtype
    assert np.isfinite(y).all()
    terms = case.channels[0] / case.group
    size = max(np.linalg.norm(expected), np.sqrt(expected.size * terms))
    assert np.linalg.norm(y - expected) <= RELATIVE_L2[case.dtype] * size


def run(case: Transposed, arrays: dict[str, Array], *, threads: int = 1, **options: Any) -> Array:
    feeds = {name: arrays[name] for name in ("x", *options.get("run_time", ()))}
    y: Array = open_session(case.model(arrays, **options), threads).run(None, feeds)[0]
    return y


CASES = {
    "1-D": Transposed((40,), (9,)),
    "1-D, stride": Transposed((40,), (9,), strides=(3,), pads=(4, 2), output_padding=(2,)),
    "long taps": Transposed((300,), (128,), strides=(8,), pads=(60, 60)),
    "dilation": Transposed((50,), (7,), dilations=(3,), pads=(5, 4)),
    "stride and dilation": Transposed((50,), (7,), strides=(4,), dilations=(6,), output_padding=(5,)),
    "stride beyond the kernel": Transposed((30,), (3,), strides=(5,), output_padding=(4,)),
    "2-D": Transposed(),
    "2-D, stride 2": Transposed(strides=(2, 2), pads=(2, 1, 1, 2), output_padding=(1, 0)),
    "2-D, strides": Transposed(strides=(3, 2), dilations=(1, 2)),
    "one by one": Transposed(kernel=(1, 1), strides=(2, 3), output_padding=(1, 2)),
    "3-D": Transposed((5, 6, 7), (3, 3, 3), strides=(2, 1, 3), pads=(1, 0, 1, 1, 2, 0), output_padding=(1, 0, 2)),
    "3-D, dilations": Transposed((5, 4, 6), (3, 2, 3), dilations=(2, 3, 1), pads=(1, 1, 1, 1, 1, 1)),
    "depthwise": Transposed((60,), (16,), (6, 6), 6, strides=(4,), pads=(6, 6)),
    "pads beyond the kernel": Transposed((40,), (5,), strides=(2,), pads=(9, 12)),
    "one output": Transposed((8,), (6,), strides=(2,), pads=(9, 10)),
    "one sample": Transposed((1, 1), (6, 5), strides=(2, 2)),
    "wide": Transposed((2000,), (4,), (16, 16), 1, batch=1, strides=(2,), pads=(1, 1)),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", RELATIVE_L2)
@pytest.mark.parametrize("name", CASES)
def test_result(name: str, dtype: str, bias: bool) -> None:
    """Without a bias, the library computes what ONNX Runtime would be faster for, too."""
    case = replace(CASES[name], dtype=dtype, bias=bias)
    arrays = case.arrays()
    check(case, arrays, run(case, arrays, fixed=name != "2-D"))


@pytest.mark.parametrize("run_time", [("w",), ("b",), ("w", "b")])
@pytest.mark.parametrize("name", ["2-D, stride 2", "depthwise", "dilation"])
def test_operands_at_run_time(name: str, run_time: tuple[str, ...]) -> None:
    for dtype in ("float32", "float64"):
        case = replace(CASES[name], dtype=dtype)
        arrays = case.arrays()
        check(case, arrays, run(case, arrays, run_time=run_time))


def test_one_session_takes_any_shape() -> None:
    case = replace(CASES["2-D, stride 2"], bias=False)
    session = open_session(case.model(case.arrays()))
    for batch, extents in ((1, (3, 4)), (2, (30, 5)), (3, (1, 40)), (1, (3, 4))):
        other = replace(case, batch=batch, extents=extents)
        arrays = {**case.arrays(), "x": other.arrays()["x"]}
        check(other, arrays, session.run(None, {"x": arrays["x"]})[0])


def test_channels_may_change_with_weights_of_run_time() -> None:
    case = replace(CASES["1-D, stride"], bias=False)
    session = open_session(case.model(case.arrays(), run_time=["w"]))
    for channels in ((4, 6), (2, 10), (4, 6)):
        other = replace(case, channels=channels)
        arrays = other.arrays()
        check(other, arrays, session.run(None, {name: arrays[name] for name in "xw"})[0])


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("dtype", RELATIVE_L2)
def test_an_empty_batch_has_no_outputs(dtype: str, fixed: bool) -> None:
    case = Transposed(batch=0, dtype=dtype, strides=(2, 2))
    arrays = case.arrays()
    y = run(case, arrays, fixed=fixed)
    assert y.shape == case.expect(arrays).shape
    assert y.dtype == dtype


def test_both_ways_are_among_the_cases() -> None:
    """ONNX Runtime's kernel, called from within the node, and the library: what the prediction says."""
    rates = read_rates(measure=False)
    found = {name: predict_transposed(case.ask(), rates) for name, case in {**CASES, **LARGE}.items()}
    assert {each.kernel_seconds < each.seconds for each in found.values()} == {True, False}


LARGE = {
    "2-D": Transposed((24, 24), (15, 15), (16, 16), 1, batch=1, pads=(7, 7, 7, 7)),
    "1-D": Transposed((500,), (256,), (16, 16), 1, batch=1, strides=(8,)),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_kernels(name: str) -> None:
    case = LARGE[name]
    found = predict_transposed(case.ask(), read_rates(measure=False))
    assert found.seconds < found.kernel_seconds
    arrays = case.arrays()
    check(case, arrays, run(case, arrays))


@st.composite
def draw_cases(draw: st.DrawFn) -> Transposed:
    rank = draw(st.integers(1, 3))
    longest = (60, 14, 6)[rank - 1]

    def axes(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(least, most)) for _ in range(rank))

    extents, kernel, strides, dilations = axes(1, longest), axes(1, longest // 2), axes(1, 4), axes(1, 3)
    paddings = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(strides, dilations, strict=True))
    begins, ends = [], []
    for n, k, s, d, more in zip(extents, kernel, strides, dilations, paddings, strict=True):
        full = s * (n - 1) + d * (k - 1) + 1 + more
        begins.append(draw(st.integers(0, min(full - 1, 2 * k))))
        ends.append(draw(st.integers(0, min(full - 1 - begins[-1], 2 * k))))
    group = draw(st.integers(1, 3))
    channels = (group * draw(st.integers(1, 4)), group * draw(st.integers(1, 4)))
    dtype = draw(st.sampled_from(tuple(RELATIVE_L2)))
    return Transposed(
        extents, kernel, channels, group, draw(st.integers(1, 2)), dtype, draw(st.booleans()), strides, dilations,
        (*begins, *ends), paddings,
    )  # fmt: skip


@pytest.mark.slow
@settings(max_examples=200)
@given(draw_cases())
def test_any_transposed_convolution(case: Transposed) -> None:
    arrays = case.arrays()
    check(case, arrays, run(case, arrays))


@pytest.mark.parametrize("name", ["long taps", "2-D, stride 2", "3-D", "depthwise", "wide"])
def test_threads_do_not_change_a_bit(name: str) -> None:
    case = replace(CASES[name], bias=False)
    arrays = case.arrays()
    first, *others = (run(case, arrays, threads=threads) for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(other, first)


# --- what does not fit ----------------------------------------------------------------------------------------------

WRONG = {
    "no group": (Transposed(extra={"group": None}), "no attribute 'group'"),
    "group 0": (Transposed(extra={"group": 0}), "'group' 0; expected at least 1"),
    "group does not divide": (Transposed(extra={"group": 3}), "4 input channels in 3 groups"),
    "four axes": (Transposed(extra={"kernel_shape": [1] * 4}), "'kernel_shape' of 4 values; expected 1 to 3"),
    "another kernel": (Transposed(extra={"kernel_shape": [5, 5]}), "weights of shape 4x3x5x4; expected ?x?x5x5"),
    "stride 0": (Transposed(strides=(1, 0)), "'strides' with 0; expected at least 1"),
    "dilation 0": (Transposed(dilations=(0, 1)), "'dilations' with 0; expected at least 1"),
    "a stride that overflows": (Transposed(strides=(1 << 62, 1)), "expected at most 2147483648"),
    "a negative pad": (Transposed(pads=(0, -1, 0, 0)), "'pads' with -1; expected at least 0"),
    "one pad an axis": (Transposed(extra={"pads": [1, 1]}), "'pads' of 2 values; expected 4"),
    "no output_padding": (Transposed(extra={"output_padding": None}), "no attribute 'output_padding'"),
    "negative output_padding": (Transposed(output_padding=(0, -1)), "'output_padding' with -1; expected at least 0"),
    "output_padding of a stride": (
        Transposed(strides=(2, 3), output_padding=(1, 3)),
        "'output_padding' with 3; expected less than the stride or the dilation, of which the larger is 3",
    ),
    "output_padding of another number": (Transposed(output_padding=(0,)), "'output_padding' of 1 values; expected 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_attributes_are_errors(name: str) -> None:
    case, sentence = WRONG[name]
    with pytest.raises(Exception, match="FFTConvTranspose 'up': got ") as error:
        open_session(case.model(Transposed().arrays()))
    assert sentence in str(error.value)


WRONG_SHAPES: dict[str, tuple[Transposed, dict[str, tuple[int, ...]], str]] = {
    "channels": (Transposed(), {"x": (1, 6, 9, 11)}, "an input of 6 channels; expected 4"),
    "dimensions of x": (Transposed(), {"x": (1, 4, 9)}, "an input of shape 1x4x9; expected 4 dimensions"),
    "scalar": (Transposed(), {"x": ()}, "an input of shape a scalar; expected 4 dimensions"),
    "no samples": (Transposed(), {"x": (1, 4, 0, 11)}, "an input of 1x4x0x11; expected at least one sample"),
    "pads beyond the output": (
        Transposed(pads=(7, 0, 7, 0)),
        {"x": (1, 4, 9, 11)},
        "an input of 1x4x9x11, whose axis 2 would have -1 outputs; expected smaller 'pads'",
    ),
    "an output of any size": (
        Transposed(strides=(1 << 31, 1 << 31)),
        {"x": (1, 4, 3, 3)},
        "which is more than any memory holds",
    ),
    "dimensions of w": (Transposed(), {"w": (4, 3, 5)}, "weights of shape 4x3x5; expected ?x?x5x4"),
    "no weights": (Transposed(), {"w": (0, 3, 5, 4)}, "weights of shape 0x3x5x4"),
    "bias": (Transposed(), {"b": (5,)}, "a bias of shape 5; expected 6"),
}


@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_wrong_shapes_are_errors_at_run_time(name: str) -> None:
    case, shapes, sentence = WRONG_SHAPES[name]
    arrays = case.arrays()
    model = case.model(arrays, run_time=["w", "b"])
    for value in model.graph.input:  # not even the number of dimensions is known
        value.type.tensor_type.ClearField("shape")
    session = open_session(model)
    feeds = {key: np.zeros(shapes[key], np.float32) if key in shapes else arrays[key] for key in "xwb"}
    with pytest.raises(Exception, match="FFTConvTranspose 'up': got ") as error:
        session.run(None, feeds)
    assert sentence in str(error.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_taps_far_apart_are_left_to_onnxruntime_or_refused(dtype: str) -> None:
    """As a convolution of stride 1, they would have billions of zeros between them."""
    case = Transposed((1,), (2,), (1, 1), 1, 1, dtype, strides=(2,), dilations=(1 << 29,), pads=(0, (1 << 29) - 9))
    arrays = case.arrays()
    session = open_session(case.model(arrays))
    if dtype == "float64":
        with pytest.raises(Exception, match="FFTConvTranspose 'up': got taps or strides so far apart"):
            session.run(None, {"x": arrays["x"]})


SHAPES: dict[tuple[int | str | None, ...], list[int | str | None]] = {
    (2, 4, 9, 11): [2, 6, 21, 14],
    ("n", 4, 9, 11): ["n", 6, 21, 14],
}


@pytest.mark.skipif(ORT < (1, 24), reason="the library does not infer shapes there, see op.cpp")
@pytest.mark.parametrize("shape", SHAPES)
def test_output_shape_is_inferred(shape: tuple[int | str | None, ...]) -> None:
    case = Transposed(strides=(2, 1))
    model = case.model(case.arrays())
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert open_session(model).get_outputs()[0].shape == SHAPES[shape]


# --- inverse STFT ---------------------------------------------------------------------------------------------------


def write_inverse(length: int, taps: int, dtype: str = "float32") -> Array:
    """An inverse DFT times a window, cosines first: `[rows, 1, taps]`."""
    bins, k = np.arange(length // 2 + 1), np.arange(taps)
    angles = 2 * np.pi / length * (np.outer(bins, k) % length)
    scales = np.where((bins == 0) | (2 * bins == length), 1, 2)[:, None] / length
    rows: Array = np.hanning(taps + 2)[1:-1] * np.concatenate([scales * np.cos(angles), -scales * np.sin(angles)])
    return rows[:, None].astype(dtype)


def change(w: Array, kind: str) -> Array:
    """The basis as some model writes it."""
    rng = np.random.default_rng(3)
    if kind == "permuted":
        return w[rng.permutation(len(w))]
    if kind == "scaled":
        scales = rng.uniform(0.1, 10, len(w)) * rng.choice([-1, 1], len(w))
        w = w * scales[:, None, None]
    if kind == "a part":
        return w[10:90]
    return np.concatenate([w, w[5:9]]) if kind == "twice" else w


STFTS = {
    "as it is": (128, 128, 32, (100, 100)),
    "without pads": (128, 128, 32, (0, 0)),
    "hop 1": (64, 64, 1, (0, 10)),
    "gaps": (64, 64, 80, (3, 0)),
    "odd": (101, 101, 25, (50, 0)),
    "shorter frames": (128, 100, 50, (0, 0)),
    "half a prime": (202, 202, 64, (0, 7)),
}
"""Length, taps, hop and pads."""


def stft_case(name: str, rows: int, dtype: str, frames: int = 50, batch: int = 2) -> Transposed:
    _, taps, hop, pads = STFTS[name]
    case = Transposed((frames,), (taps,), (rows, 1), 1, batch, dtype, strides=(hop,), pads=pads)
    return replace(case, output_padding=(min(2, hop - 1),))


@pytest.mark.parametrize("dtype", RELATIVE_L2)
@pytest.mark.parametrize("name", STFTS)
def test_inverse_stfts(name: str, dtype: str) -> None:
    length, taps, _, _ = STFTS[name]
    w = write_inverse(length, taps, dtype)
    assert find_basis_length(w[:, 0]) == length
    for frames in (1, 50, 300):
        case = stft_case(name, len(w), dtype, frames)
        if case.expect({**case.arrays(), "w": w}).size:
            arrays = {**case.arrays(), "w": w}
            assert_close(case, arrays, run(case, arrays))


def assert_close(case: Transposed, arrays: dict[str, Array], y: Array) -> None:
    expected = case.expect(arrays)
    assert y.shape == expected.shape
    assert y.dtype == case.dtype
    assert np.linalg.norm(y - expected) <= RELATIVE_L2[case.dtype] * np.linalg.norm(expected)


@pytest.mark.parametrize("dtype", RELATIVE_L2)
@pytest.mark.parametrize("kind", ["permuted", "scaled", "a part", "twice"])
def test_any_rows(kind: str, dtype: str) -> None:
    w = change(write_inverse(128, 128, "float64"), kind).astype(dtype)
    assert find_basis_length(w[:, 0]) == 128
    case = stft_case("as it is", len(w), dtype)
    arrays = {**case.arrays(), "w": w}
    assert_close(case, arrays, run(case, arrays))


@pytest.mark.parametrize("dtype", RELATIVE_L2)
@pytest.mark.parametrize(("second", "length"), [("as it is", 128), ("permuted", 128), ("scaled", 128), ("other", 0)])
def test_inverse_stfts_of_groups(second: str, length: int, dtype: str) -> None:
    """Each of its own rows, in its own order; two windows are no basis."""
    w = write_inverse(128, 128, "float64")
    other = change(w, second) if second != "other" else w * np.linspace(1, 2, 128)
    both = np.concatenate([w, other]).astype(dtype)
    assert find_basis_length(both[:, 0]) == length
    case = replace(stft_case("as it is", len(both), dtype), channels=(len(both), 2), group=2)
    arrays = {**case.arrays(), "w": both}
    check(case, arrays, run(case, arrays))


def test_a_pseudoinverse_is_a_basis_if_frames_are_as_long_as_the_transform() -> None:
    """As modules for PyTorch write it: of shorter frames, the pseudoinverse mixes the rows."""
    for length, taps, expected in ((128, 128, 128), (128, 100, 0)):
        bins, k = np.arange(length // 2 + 1), np.arange(taps)
        angles = 2 * np.pi / length * np.outer(bins, k)
        forward = np.concatenate([np.cos(angles), -np.sin(angles)])
        w = (np.linalg.pinv(forward).T * np.hanning(taps + 2)[1:-1]).astype(np.float32)
        assert find_basis_length(w) == expected


def test_a_basis_with_one_entry_that_is_off_is_none() -> None:
    w = write_inverse(128, 128)
    w[17, 0, 60] += 1e-3 * np.abs(w).max()
    assert find_basis_length(w[:, 0]) == 0
    case = stft_case("as it is", len(w), "float64")
    arrays = {**case.arrays(), "w": w.astype(np.float64)}
    assert_close(case, arrays, run(case, arrays))


def test_an_inverse_stft_is_predicted_by_frames() -> None:
    case = stft_case("as it is", 130, "float32")
    rates = read_rates(measure=False)
    found, plain = predict_transposed(case.ask(basis_length=128), rates), predict_transposed(case.ask(), rates)
    assert found.plan == "inverse frames 128, 100 frames, in lanes"
    assert found.seconds < min(plain.seconds, found.kernel_seconds)
    assert found.kernel_seconds == plain.kernel_seconds == found.model_seconds


def test_a_silent_frame_is_exactly_silent() -> None:
    w = write_inverse(128, 128)
    case = replace(stft_case("gaps", len(w), "float32"), kernel=(128,), strides=(130,), pads=(0, 0))
    x = case.arrays()["x"]
    x[:, :, 7] = 0
    y = run(replace(case, bias=False), {"x": x, "w": w})
    assert not y[:, :, 7 * 130 : 7 * 130 + 128].any()
    assert y[:, :, 6 * 130 : 7 * 130].any()


def test_one_bad_value_stays_in_its_frame() -> None:
    w = write_inverse(64, 64)
    case = replace(stft_case("gaps", len(w), "float32"), pads=(0, 0), bias=False)
    x = case.arrays()["x"]
    x[1, 3, 7] = np.nan
    bad = np.isnan(run(case, {"x": x, "w": w}))
    assert bad[1, 0, 7 * 80 : 7 * 80 + 64].all()
    assert bad.sum() == 64


@pytest.mark.parametrize("name", ["as it is", "hop 1"])
def test_threads_do_not_change_a_bit_of_frames(name: str) -> None:
    length, taps, _, _ = STFTS[name]
    w = write_inverse(length, taps)
    case = stft_case(name, len(w), "float32", frames=3000)
    arrays = {**case.arrays(), "w": w}
    first, *others = (run(case, arrays, threads=threads) for threads in (1, 2, 4))
    for other in others:
        np.testing.assert_array_equal(other, first)
