"""ConvTranspose as a Conv and an interleave: every attribute, rank, dtype and lowering against float64."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from onnx_fft.errors import Refusal
from onnx_fft.fourier.oracle import TransposedGeometry, conv_transpose_direct, conv_transpose_maps
from onnx_fft.lowering import TARGETS, find_lowering
from onnx_fft.lowering.base import Ports
from onnx_fft.lowering.transposed import TransposedLowering
from onnx_fft.model.weights import ConvWeights
from onnx_fft.sites.transposed import ConvTransposeSpec
from scripts.shared.conv_models import TENSOR_TYPES, Array
from scripts.shared.running import run_model
from tests.lowered import TOLERANCES, run_fragment
from tests.models import build_model, info
from tests.transposed import Transposed, find_transposed, spec_of, transposed

KNOWN = [each for lowerings in TARGETS.values() for each in lowerings]
LOWERINGS = tuple(dict.fromkeys(each.name for each in KNOWN if isinstance(each, TransposedLowering)))

SOME = {
    "stride, group": Transposed(),
    "gaps, run-time batch": Transposed(kernel=(2, 3), open=(True,), attributes=(("strides", (3, 1)),)),
    "dilations": Transposed(attributes=(("strides", (2, 1)), ("dilations", (3, 2)), ("output_padding", (1, 0)))),
    "crop, open": Transposed(open=(True, True, True), attributes=(("strides", (2, 3)), ("pads", (3, 0, 4, 2)))),
    "pads beyond the kernel": Transposed((9,), (3,), attributes=(("strides", (2,)), ("pads", (5, 4)))),
    "depthwise, float16": Transposed(per_group=1, group=4, dtype="float16", has_bias=False),
    "one sample": Transposed((1, 1), (4, 3), attributes=(("strides", (2, 3)), ("output_padding", (0, 2)))),
    "one output": Transposed((3, 1), (1, 2), attributes=(("strides", (2, 1)), ("pads", (2, 0, 2, 1)))),
    "group of one, open": Transposed((1, 7), open=(False, True), attributes=(("dilations", (2, 3)),)),
    "output_shape beyond the kernel": Transposed(attributes=(("strides", (3, 2)), ("output_shape", (30, 9)))),
    "output_shape, SAME_LOWER": Transposed(
        attributes=(("strides", (3, 2)), ("output_shape", (26, 10)), ("auto_pad", "SAME_LOWER"))
    ),
    "SAME_UPPER, open": Transposed(
        open=(True, True), attributes=(("strides", (3, 2)), ("dilations", (1, 2)), ("auto_pad", "SAME_UPPER"))
    ),
    "4-D": Transposed((2, 3, 2, 4), (2, 1, 2, 3), attributes=(("strides", (1, 2, 1, 2)), ("pads", (0,) * 7 + (1,)))),
    "3-D, float64": Transposed((3, 4, 5), (2, 3, 1), dtype="float64", attributes=(("strides", (2, 1, 3)),)),
}


def lower(case: Transposed, name: str, number: int = 0, bias_input: bool = False) -> ModelProto:
    """The fragment by the plan of that `number` as a model of its own."""
    site = find_transposed(case.model())
    assert site.spec is not None
    lowering, weights = find_lowering(name, ConvTransposeSpec), site.read_weights()
    inputs = [info("x", TENSOR_TYPES[case.dtype], case.dims)]
    if bias_input:
        weights = ConvWeights(weights.weight, None, "b")
        inputs.append(info("b", TENSOR_TYPES[case.dtype], [site.spec.out_channels]))
    plans = lowering.candidates(site.spec)
    plan = plans[number % len(plans)]
    lowering.check_plan(site.spec, plan)
    opset = max(case.opset, lowering.min_opset(site.spec))
    fragment = lowering.build(site.spec, plan, weights, Ports("x", "y", "fft/", opset))
    model = build_model(fragment.nodes, inputs, [info("y", TENSOR_TYPES[case.dtype])], {}, opset=opset)
    model.graph.initializer.extend(fragment.initializers)
    return model


def assert_right(case: Transposed, x: Array, y: Array) -> None:
    """Every output against the sum in float64; errors are as large as the other outputs of a tile are."""
    held, spec = case.constants(), spec_of(case.model())
    truth = conv_transpose_direct(x, held["w"], held.get("b"), spec.at(x.shape[2:]).geometry)
    assert (y.shape, y.dtype) == (truth.shape, x.dtype)
    taps = held["w"].astype(np.float64).reshape(case.group, -1, *held["w"].shape[1:])
    norms = np.sqrt(np.square(taps).sum(axis=1).reshape(spec.out_channels, -1).sum(axis=1))
    scale = norms * np.sqrt(np.mean(np.square(x.astype(np.float64)))) + np.abs(held.get("b", np.zeros(1)))
    of_scale, of_output = TOLERANCES[case.dtype]
    limit = of_scale * scale.reshape(-1, *[1] * spec.rank) + 2 * of_output * (np.abs(truth) + np.abs(scale).max())
    assert (np.abs(y - truth) <= limit).all(), np.max(np.abs(y - truth) / limit)


@pytest.mark.parametrize("name", LOWERINGS)
@pytest.mark.parametrize("case", SOME, ids=str)
def test_some_are_right_by_every_lowering(case: str, name: str) -> None:
    for number, has_bias_input in ((0, False), (1, SOME[case].has_bias)):
        bias = {"b": SOME[case].constants()["b"]} if has_bias_input else {}
        x = SOME[case].draw()
        (y,) = run_fragment(lower(SOME[case], name, number, has_bias_input), {"x": x, **bias})
        assert_right(SOME[case], x, y)


@pytest.mark.parametrize("name", ["matmul", "dft"])  # cuFFT has no plan for an empty batch
@pytest.mark.parametrize("case", ["gaps, run-time batch", "SAME_UPPER, open"])
def test_an_empty_batch_has_no_outputs(case: str, name: str) -> None:
    x = replace(SOME[case], batch=0).draw()
    (y,) = run_fragment(lower(SOME[case], name), {"x": x})
    held, spec = SOME[case].constants(), spec_of(SOME[case].model()).at(x.shape[2:])
    truth = conv_transpose_direct(x, held["w"], held["b"], spec.geometry)
    assert y.shape == truth.shape == (0, spec.out_channels, *spec.output_extents)


@pytest.mark.slow
@given(transposed(), st.sampled_from(LOWERINGS), st.integers(0, 1000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_is_right_by_any_lowering(case: Transposed, name: str, number: int, has_bias_input: bool) -> None:
    site = find_transposed(case.model())
    assert site.spec is not None, site.refusal
    if find_lowering(name, ConvTransposeSpec).find_obstacle(site.spec):
        return
    has_bias_input = has_bias_input and case.has_bias
    model = lower(case, name, number, has_bias_input)
    bias = {"b": case.constants()["b"]} if has_bias_input else {}
    for seed, batch in ((1, case.batch), (2, case.batch + 1 if True in case.open[:1] else case.batch)):
        x = replace(case, batch=batch).draw(seed)
        (y,) = run_fragment(model, {"x": x, **bias})
        assert_right(case, x, y)


@pytest.mark.parametrize("name", LOWERINGS)
@pytest.mark.parametrize("has_bias_input", [False, True], ids=["constant", "run time"])
def test_float16_is_rounded_once(name: str, has_bias_input: bool) -> None:
    """A bias that nearly cancels the sums leaves what float16 would not hold of them."""
    case = Transposed((9,), (6,), 4, 1, 1, dtype="float16", attributes=(("strides", (3,)),))
    model, held = lower(case, name, 0, has_bias_input), case.constants()
    x = (case.draw() * np.float16(0.01) + np.float16(100)).astype(np.float16)
    bias, feeds = held["b"], {"x": x}
    if has_bias_input:
        bias = np.array([-100 * held["w"][..., ::3].astype(np.float64).sum()], np.float16)  # of one residue
        feeds["b"] = bias
    (y,) = run_fragment(model, feeds)
    truth = conv_transpose_direct(x, held["w"], bias, spec_of(case.model()).at(x.shape[2:]).geometry)
    assert (np.abs(y - truth) <= 0.51 * np.spacing(np.abs(truth).astype(np.float16)) + 5e-4).all()


def scatter(x: Array, weight: Array, geometry: TransposedGeometry) -> Array:
    """The definition, one product at a time, along one axis."""
    (count,) = geometry.output_extents(x.shape[2:], weight.shape[2:])
    per_in, per_out = len(weight) // geometry.group, weight.shape[1]
    y = np.zeros((len(x), per_out * geometry.group, count))
    places = product(range(len(x)), range(x.shape[1]), range(x.shape[2]), range(per_out), range(weight.shape[2]))
    for n, c, i, o, k in places:
        place = i * geometry.strides[0] + k * geometry.dilations[0] - geometry.pads_begin[0]
        if 0 <= place < count:
            y[n, c // per_in * per_out + o, place] += x[n, c, i] * weight[c, o, k]
    return y


def test_the_oracle_is_the_definition() -> None:
    rng = np.random.default_rng(5)
    for strides, dilations, begin, end, added in ((1, 1, 0, 0, 0), (3, 2, 2, 1, 2), (2, 1, 7, 0, 1), (4, 1, 0, 3, 3)):
        geometry = TransposedGeometry(2, (strides,), (dilations,), (begin,), (end,), (added,))
        x, weight = rng.standard_normal((2, 4, 6)), rng.standard_normal((4, 3, 5))
        truth = conv_transpose_direct(x, weight, None, geometry)
        np.testing.assert_allclose(truth, scatter(x, weight, geometry), atol=1e-13)
        sample, maps = conv_transpose_maps(x, weight, geometry, 200.0, 3)
        assert len(sample.batch) == 1 and len(sample.channels) < 6
        np.testing.assert_allclose(maps, sample.take(truth), atol=1e-13)


@pytest.mark.slow
@given(transposed())
@settings(max_examples=60, deadline=None)
def test_specs_say_what_onnxruntime_computes(case: Transposed) -> None:
    case = replace(case, dtype="float32")
    (y,) = run_model(case.model(), {"x": case.draw()})
    assert_right(case, case.draw(), y)


@pytest.mark.parametrize("name", ["matmul", "dft"])
def test_an_input_too_short_for_the_pads_fails_as_it_does_in_onnxruntime(name: str) -> None:
    case = Transposed((9,), (4,), open=(False, True), attributes=(("strides", (2,)), ("pads", (4, 4))))
    model, short = lower(case, name), case.draw()[..., :3]
    for each in (case.model(), model):
        assert run_model(each, {"x": case.draw()[..., :4]})[0].shape == (2, 6, 2)
        with pytest.raises(Exception, match=r"shorter_than_the_pads|dimension|up"):
            run_model(each, {"x": short})


REFUSED: dict[str, tuple[Transposed, str, str]] = {
    "stride 0": (Transposed(attributes=(("strides", (0, 1)),)), "bad-strides", "[0, 1]"),
    "dilation 0": (Transposed(attributes=(("dilations", (1, 0)),)), "bad-dilations", "[1, 0]"),
    "negative pads": (Transposed(attributes=(("pads", (0, -1, 0, 0)),)), "bad-pads", "-1"),
    "too few pads": (Transposed(attributes=(("pads", (1, 1)),)), "bad-pads", "expected 4 integers"),
    "output_padding of a stride": (
        Transposed(attributes=(("strides", (2, 2)), ("output_padding", (2, 0)))),
        "bad-output-padding",
        "[2, 0]",
    ),
    "output_padding of a dilation": (
        Transposed(attributes=(("strides", (1, 2)), ("dilations", (3, 3)), ("output_padding", (2, 0)))),
        "bad-output-padding",
        "[1, 2]",
    ),
    "negative output_padding": (Transposed(attributes=(("output_padding", (0, -1)),)), "bad-output-padding", "-1"),
    "output_shape with channels": (Transposed(attributes=(("output_shape", (6, 12, 9)),)), "bad-output-shape", "12"),
    "output_shape 0": (Transposed(attributes=(("output_shape", (0, 9)),)), "bad-output-shape", "[0, 9]"),
    "output_shape too long": (Transposed(attributes=(("output_shape", (13, 9)),)), "bad-output-shape", "[12, 9]"),
    "output_shape beyond the stride": (
        Transposed(attributes=(("strides", (3, 2)), ("output_shape", (31, 9)))),
        "bad-output-shape",
        "[31, 9]",
    ),
    "output_shape beyond the kernel, SAME": (
        Transposed(attributes=(("strides", (3, 2)), ("output_shape", (29, 9)), ("auto_pad", "SAME_UPPER"))),
        "bad-output-shape",
        "[28, 15]",
    ),
    "output_shape of open lengths": (
        Transposed(open=(False, True), attributes=(("output_shape", (12, 9)),)),
        "open-length",
        "open",
    ),
    "output_shape and other pads": (
        Transposed(attributes=(("output_shape", (10, 9)), ("pads", (0, 0, 2, 0)))),
        "bad-pads",
        "[1, 0, 1, 0]",
    ),
    "auto_pad and pads": (Transposed(attributes=(("auto_pad", "SAME_UPPER"), ("pads", (1,) * 4))), "bad-pads", "SAME"),
    "auto_pad unknown": (Transposed(attributes=(("auto_pad", "SAME"),)), "bad-auto-pad", "'SAME'"),
    "auto_pad with gaps": (
        Transposed(attributes=(("auto_pad", "SAME_LOWER"), ("strides", (5, 1)))),
        "short-auto-pad",
        "stride [5, 1]",
    ),
    "auto_pad and output_padding": (
        Transposed(attributes=(("auto_pad", "SAME_LOWER"), ("strides", (2, 2)), ("output_padding", (1, 0)))),
        "padded-auto-pad",
        "output_padding",
    ),
    "kernel_shape of another weight": (
        Transposed(attributes=(("kernel_shape", (4, 4)),)),
        "bad-kernel-shape",
        "[4, 3]",
    ),
    "group": (Transposed(group=3), "bad-group", "4 input channels"),
    "no input channels": (Transposed(in_channels=0), "zero-size", "[0, 3, 4, 3]"),
    "no taps": (Transposed(kernel=(4, 0)), "zero-size", "[4, 3, 4, 0]"),
    "nothing left": (Transposed(attributes=(("pads", (6, 0, 6, 0)),)), "empty-output", "[0, 9]"),
    "empty batch": (Transposed(batch=0), "zero-size", "[0, 4, 9, 7]"),
    "too long": (Transposed(attributes=(("strides", (1 << 40, 1)),)), "too-long", str(1 << 26)),
    "too large": (Transposed(attributes=(("strides", (1 << 22, 1 << 22)),)), "too-large", "numbers"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_contradiction_is_refused_with_the_value(case: str) -> None:
    given_case, code, said = REFUSED[case]
    refusal = find_transposed(given_case.model()).refusal
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert said in refusal.reason
