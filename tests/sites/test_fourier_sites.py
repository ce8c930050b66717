"""Every DFT and STFT is found with what ONNX Runtime computes, or with a reason why it is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnx_fft.model.io import LoadedModel
from onnx_fft.sites.dft import FourierSite
from onnx_fft.sites.find import find_sites
from onnx_fft.sites.fourier import DftSpec, StftSpec, describe_fourier
from onnx_fft.sites.site import Site, Spec
from onnx_fft.sites.values import refuse_values
from scripts.shared.running import run_model
from tests.models import W1, conv, make_model
from tests.transforms import STFT, WINDOW, draw, parse


def only_site(model: ModelProto) -> FourierSite:
    (site,) = find_sites(LoadedModel(model))
    assert isinstance(site, FourierSite)
    return site


def spec_of(text: str, opset: int = 17) -> Spec:
    site = only_site(parse(text, opset=opset))
    assert site.refusal is None, site.refusal
    assert site.spec is not None
    return site.spec


@pytest.mark.parametrize(
    ("text", "opset", "spec"),
    [
        ("DFT(x)", 17, DftSpec((2, 24, 5, 1), 1, 24, False, False, "float32")),
        ("DFT<axis=2>(x)", 19, DftSpec((2, 24, 5, 1), 2, 5, False, False, "float32")),
        ("DFT<axis=-3, onesided=1>(x, n16)", 17, DftSpec((2, 24, 5, 1), 1, 16, False, True, "float32")),
        ("DFT(x)", 20, DftSpec((2, 24, 5, 1), 2, 5, False, False, "float32")),
        ("DFT<inverse=1>(x, , n1)", 20, DftSpec((2, 24, 5, 1), 1, 24, True, False, "float32")),
        ("DFT(x, n8, n-3)", 20, DftSpec((2, 24, 5, 1), 1, 8, False, False, "float32")),
    ],
)
def test_dft_in_every_opset(text: str, opset: int, spec: DftSpec) -> None:
    text = text.replace("n-3", "n_3")  # the text form has no names with a sign
    model = parse(f"g (float[2,24,5,1] x) => (float[a,b,c,d] y) {{ y = {text} }}", opset=opset)
    if "n_3" in text:
        model.graph.initializer.append(numpy_helper.from_array(np.array(-3), "n_3"))
    site = only_site(model)
    assert site.spec == spec
    (y,) = run_model(model, {"x": draw(2, 24, 5, 1)})
    assert spec.dft_length
    bins = spec.dft_length // 2 + 1 if spec.onesided else spec.dft_length
    assert y.shape == tuple(bins if axis == spec.axis else n for axis, n in enumerate((2, 24, 5, 2)))


@pytest.mark.parametrize("shape", ["", "[1]"])
def test_a_length_of_run_time(shape: str) -> None:
    site = only_site(
        parse(f"g (float[2,24,1] x, int64{shape} n) => (float[a,b,c] y) {{ m = Identity(n) y = DFT(x, m) }}")
    )
    assert site.spec == DftSpec((2, 24, 1), 1, None, False, False, "float32", has_late_length=True)
    assert site.length_input == "m"


def test_half_spectra() -> None:
    text = "g (float[2,L,2] x) => (float[a,b,c] y) { y = DFT<inverse=1, onesided=1>(x) }"
    spec = spec_of(text)
    assert spec == DftSpec((2, None, 2), 1, None, True, True, "float32")
    assert isinstance(spec, DftSpec) and spec.gives_real
    assert spec_of(text.replace("L", "13")) == DftSpec((2, 13, 2), 1, 24, True, True, "float32")
    assert spec_of(text.replace("(x)", "(x, n5)")) == DftSpec((2, None, 2), 1, 5, True, True, "float32")


@pytest.mark.parametrize("dtype", ["float", "double", "float16"])
def test_dtypes(dtype: str) -> None:
    spec = spec_of(f"g ({dtype}[N,24,2] x) => ({dtype}[a,b,c] y) {{ y = DFT(x) }}")
    assert spec == DftSpec(
        (None, 24, 2), 1, 24, False, False, {"float": "float32", "double": "float64"}.get(dtype, dtype)
    )


def test_stft() -> None:
    assert spec_of(STFT) == StftSpec(2, 64, 1, 16, 5, True, "float32")
    np.testing.assert_array_equal(only_site(parse(STFT)).read_window(), WINDOW)
    without = only_site(parse("g (float[2,L,2] x) => (float[a,b,c,d] y) { y = STFT<onesided=0>(x, n5, , n24) }"))
    assert without.spec == StftSpec(2, None, 2, 24, 5, False, "float32")
    assert (without.window, without.read_window()) == ("", None)


def test_stft_with_a_window_that_is_computed() -> None:
    text = "g (float[2,64,1] x, float[16] w) => (float[a,b,c,d] y) { v = Relu(w) y = STFT(x, n5, v) }"
    site = only_site(parse(text))
    assert site.spec == StftSpec(2, 64, 1, 16, 5, True, "float32")
    assert (site.window, site.read_window()) == ("v", None)
    folded = only_site(parse("g (float[2,64,1] x) => (float[a,b,c,d] y) { v = HannWindow(n16) y = STFT(x, n5, v) }"))
    window = folded.read_window()
    assert window is not None and window.shape == (16,)


X = "g (float[2,24,5,2] x) => (float[a,b,c,d] y)"
S = "g (float[2,64,1] x) => (float[a,b,c,d] y)"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("runtime-operand", "g (float[2,24,1] x, int64[2] n) => (float[a,b,c] y) { y = DFT(x, n) }"),
        ("runtime-operand", "g (float[2,24,1] x, int32 n) => (float[a,b,c] y) { y = DFT(x, n) }"),
        ("runtime-operand", "g (float[2,24,1] x, int64 n) => (float[a,b,c,d] y) { y = STFT(x, n, window) }"),
        ("runtime-operand", "g (float[2,24,1] x, int64 n) => (float[a,b,c,d] y) { y = STFT(x, n5, , n) }"),
        ("overridable-weight", "g (float[2,24,1] x, int64 n = {3}) => (float[a,b,c] y) { y = DFT(x, n) }"),
        ("unknown-input", "g (float[2,24,P] x) => (float[a,b,c] y) { y = DFT(x) }"),
        ("unknown-input", "g (float x) => (float y) { z = plugin.Op(x) y = DFT(z) }"),
        ("dtype", "g (int64[2,24,1] x) => (float[a,b,c] y) { y = DFT(x) }"),
        ("bad-rank", "g (float[24] x) => (float[a,b,c] y) { y = DFT(x) }"),
        ("bad-rank", "g (float[1,2,64,1] x) => (float[a,b,c,d] y) { y = STFT(x, n5, window) }"),
        ("bad-parts", "g (float[2,24,3] x) => (float[a,b,c] y) { y = DFT(x) }"),
        ("zero-size", "g (float[2,0,1] x) => (float[a,b,c] y) { y = DFT(x) }"),
        ("bad-axis", X + "{ y = DFT<axis=3>(x) }"),
        ("bad-axis", X + "{ y = DFT<axis=-1>(x) }"),
        ("bad-axis", X + "{ y = DFT<axis=4>(x) }"),
        ("bad-axis", X + "{ y = DFT<axis=-5>(x) }"),
        ("bad-length", X + "{ y = DFT(x, n0) }"),
        ("bad-length", "g (float[2,1,2] x) => (float[a,b,c] y) { y = DFT<inverse=1, onesided=1>(x) }"),
        ("too-long", X + "{ y = DFT(x, n134217728) }"),
        ("bad-operand", X + "{ y = DFT(x, real) }"),
        ("bad-operand", X + "{ y = DFT(x, many) }"),
        ("complex-onesided", X + "{ y = DFT<onesided=1>(x) }"),
        ("complex-onesided", "g (float[2,64,2] x) => (float[a,b,c,d] y) { y = STFT(x, n5, window) }"),
        ("real-half-spectrum", "g (float[2,24,1] x) => (float[a,b,c] y) { y = DFT<onesided=1, inverse=1>(x) }"),
        ("bad-step", S + "{ y = STFT(x, n0, window) }"),
        ("bad-node", S + "{ y = STFT(x, n5) }"),
        ("bad-window", S + "{ y = STFT(x, n5, window, n8) }"),
        ("bad-window", "g (float[2,64,1] x, float[W] w) => (float[a,b,c,d] y) { y = STFT(x, n5, w, n8) }"),
        ("signal-too-short", "g (float[2,15,1] x) => (float[a,b,c,d] y) { y = STFT(x, n5, window) }"),
        ("constant-input", "g (float[1] x) => (float[a,b,c,d] y) { v = Reshape(window, many3) y = DFT(v) }"),
    ],
)
def test_refusals(code: str, text: str) -> None:
    model = parse(text)
    if "many3" in text:
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 16, 1]), "many3"))
    site = only_site(model)
    assert (site.spec, site.refusal and site.refusal.code) == (None, code)
    assert site.refusal is not None and site.refusal.reason


def test_a_window_with_nan_is_refused_for_its_values() -> None:
    refusal = refuse_values(only_site(parse(STFT.replace("window", "nan"))))
    assert refusal is not None and refusal.code == "nonfinite"
    assert refuse_values(only_site(parse(STFT))) is None


def test_sites_of_all_kinds_are_in_the_order_of_the_nodes_under_names_of_their_own() -> None:
    nodes = [
        helper.make_node("DFT", ["x"], ["d"], name="same", axis=1),
        conv("c", "y", name="same"),
        helper.make_node("DFT", ["x"], ["e"], axis=2),
    ]
    model = make_model(
        nodes, {"w1": W1}, x=(2, 24, 24, 1), inputs=[helper.make_tensor_value_info("c", 1, [2, 3, 13, 11])]
    )
    sites = find_sites(LoadedModel(model))
    assert [(site.name, site.op_type) for site in sites] == [("same", "DFT"), ("same#1", "Conv"), ("DFT#2", "DFT")]
    assert all(isinstance(site, Site) and site.spec is not None for site in sites)


def test_what_turns_on_zeros_behind_an_stft_does_not_matter() -> None:
    """An all-zero frame gives exact zeros before and after; any other gives ONNX Runtime's own noise."""
    text = "g (float[2,64,1] x) => (float[a,b,c,d] z) { y = STFT(x, n5, window) w = Mul(y, y) v = Sqrt(w) z = Log(v) }"
    assert only_site(parse(text)).zero_reader == ""


def test_descriptions() -> None:
    assert describe_fourier(StftSpec(2, None, 1, 16, 5, True, "float32")) == "16 points step 5 on 2x?x1 onesided"
    dft = DftSpec((2, None, 2), 1, None, True, False, "float64")
    assert describe_fourier(dft) == "? points on 2x?x2 axis 1 inverse float64"
