"""The article's reproduction: what its FFT gets wrong, the shipped network, and how the ways are measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from onnx_fft.errors import NativeUnavailable
from scripts.article import measure as article_measure
from scripts.article import network as article_network
from scripts.article import reproduce as reproduce_article
from scripts.article import training as article_training
from scripts.article import vgg as article_vgg
from scripts.article.images import SIZE, draw_images
from scripts.article.measure import CONV, KERNELS, Variant, find_same, judge, make_variants, predict_all
from scripts.article.network import TRAINED, build_network, draw_tensors, read_tensors
from scripts.article.numpy_ways import (
    Array,
    conv_as_in_article,
    conv_by_fft,
    conv_by_loops,
    conv_by_oracle,
    convolve_circular,
    pool_by_loops,
    pool_by_slices,
    predict_logit,
    sigmoid,
    swap_quadrants,
)
from scripts.article.results import OURS
from scripts.models.fetch import FetchError


@pytest.fixture(scope="module")
def trained() -> ModelProto:
    return onnx.load(TRAINED)


def make_case(rng: np.random.Generator, side: int) -> tuple[Array, Array, float]:
    return rng.standard_normal((side, side)), rng.standard_normal((3, 3)), float(rng.standard_normal())


# --- the Convs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [9, 10, 225])
def test_loops_and_the_corrected_fft_compute_the_conv(rng: np.random.Generator, side: int) -> None:
    image, weight, bias = make_case(rng, side)
    truth = conv_by_oracle(image, weight, bias)
    assert truth.shape == (side - 2, side - 2)
    np.testing.assert_allclose(conv_by_fft(image, weight, bias), truth, atol=1e-12)
    if side < 100:
        np.testing.assert_allclose(conv_by_loops(image, weight, bias), truth, atol=1e-12)


def describe_article(image: Array, weight: Array, bias: float) -> Array:
    """What `numpy_ways.py` says that the article computes, by the definition, output by output.

    Along an axis of odd side L = 2 h + 1, output i (from 0) is a convolution around pixel i + 1 up to the middle, and
    around pixel i + 2 past it, with indices modulo L.
    """
    valid, odd = len(image) - 2, len(image) - (len(image) + 1) % 2
    output = np.empty((valid, valid))
    centers = [i + 1 if i < odd // 2 else i + 2 for i in range(valid)]
    for i, row in enumerate(centers):
        for j, column in enumerate(centers):
            rows, columns = ([(center + 1 - k) % odd for k in range(3)] for center in (row, column))
            output[i, j] = bias + np.sum(weight * image[np.ix_(rows, columns)])
    return output


@pytest.mark.parametrize("side", [9, 10, 15, 24])
def test_the_articles_fft_is_wrong_in_the_way_that_is_described(rng: np.random.Generator, side: int) -> None:
    image, weight, bias = make_case(rng, side)
    wrong = conv_as_in_article(image, weight, bias)
    np.testing.assert_allclose(wrong, describe_article(image, weight, bias), atol=1e-12)
    truth = conv_by_oracle(image, weight, bias)
    assert wrong.shape == truth.shape
    assert np.linalg.norm(wrong - truth) > 0.5 * np.linalg.norm(truth)


@pytest.mark.parametrize("side", [9, 225])
def test_flipped_back_and_not_shifted_the_articles_fft_is_the_conv(rng: np.random.Generator, side: int) -> None:
    image, weight, bias = make_case(rng, side)
    truth, flipped = conv_by_oracle(image, weight, bias), weight[::-1, ::-1]
    inner, unshift = slice(1, side - 1), (-(side // 2), -(side // 2))

    def aligned(taps: Array) -> Array:
        return np.roll(convolve_circular(image, taps), unshift, axis=(0, 1))[inner, inner] + bias

    np.testing.assert_allclose(aligned(flipped), truth, atol=1e-10)
    only_flipped, only_aligned = conv_as_in_article(image, flipped, bias), aligned(weight)
    half = side // 2
    np.testing.assert_allclose(only_flipped[:half, :half], truth[:half, :half], atol=1e-10)
    for wrong in (only_flipped, only_aligned):
        assert np.linalg.norm(wrong - truth) > 0.5 * np.linalg.norm(truth)


def test_quadrants_are_swapped_around_index_0_which_is_left_out() -> None:
    values = np.add.outer(10.0 * np.arange(5), np.arange(5))
    assert swap_quadrants(values).tolist() == [
        [33, 34, 31, 32],
        [43, 44, 41, 42],
        [13, 14, 11, 12],
        [23, 24, 21, 22],
    ]


def test_both_poolings_are_the_same(rng: np.random.Generator) -> None:
    values = rng.standard_normal((7, 10))
    assert np.array_equal(pool_by_loops(values), pool_by_slices(values))
    assert pool_by_slices(np.arange(16.0).reshape(4, 4)).tolist() == [[5, 7], [13, 15]]


# --- the network ------------------------------------------------------------------------------------------------------


def test_the_shipped_network_is_the_articles(trained: ModelProto) -> None:
    layers = ["Conv", "Relu", "MaxPool"]
    assert [n.op_type for n in trained.graph.node] == [*layers * 3, "Flatten", "Gemm", "Relu", "Gemm", "Sigmoid"]
    inferred = onnx.shape_inference.infer_shapes(trained, strict_mode=True, data_prop=True).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    dims = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][1:] for v in values}
    assert dims["image"] == [1, 225, 225]
    assert [dims[f"conv{i}"] for i in (1, 2, 3)] == [[1, 223, 223], [1, 109, 109], [1, 52, 52]]
    assert [dims[name] for name in ("flatten", "hidden", "tumour")] == [[676], [640], [1]]
    tensors = read_tensors(trained)
    assert all(tensors[f"conv{i}.weight"].shape == (1, 1, 3, 3) for i in (1, 2, 3))
    assert sum(tensor.size for tensor in tensors.values()) == 433_951
    assert TRAINED.stat().st_size < 2_000_000
    again = build_network(tensors).graph
    assert (list(again.node), list(again.output)) == (list(trained.graph.node), list(trained.graph.output))


def test_padded_networks_leave_something_for_every_kernel() -> None:
    pixels = draw_images(2, 0).scale()
    for kernel in KERNELS:
        first, second = predict_all(build_network(draw_tensors(kernel, 0), is_padded=True), pixels)
        assert abs(first - second) > 1e-3 * abs(first)
    assert article_network.count_features(63, is_padded=True) == 28 * 28
    assert article_network.count_features(3, is_padded=False) == 676


@pytest.mark.slow
def test_images_depend_on_the_seed_and_their_number_only() -> None:
    images, fewer = draw_images(12, 7), draw_images(3, 7)
    assert images.pixels.shape == (12, SIZE, SIZE)
    assert np.array_equal(images.pixels[:3], fewer.pixels) and np.array_equal(images.labels[:3], fewer.labels)
    assert not np.array_equal(images.pixels, draw_images(12, 8).pixels)
    assert 0 < images.labels.sum() < len(images)
    assert images.scale().min() >= 0 and 0.8 < images.scale().max() <= 1


@pytest.mark.slow
def test_the_shipped_network_tells_tumours(trained: ModelProto) -> None:
    images = draw_images(40, 99)
    guesses = predict_all(trained, images.scale()) >= 0
    assert np.mean(guesses == images.labels) >= 0.8


@pytest.mark.slow
def test_every_right_way_agrees_and_the_articles_does_not(trained: ModelProto, native_library: Path) -> None:
    pixels, tensors = draw_images(3, 5).scale(), read_tensors(trained)
    truth = np.array([predict_logit(image, tensors, conv_by_oracle, pool_by_slices) for image in pixels])
    right = [predict_logit(image, tensors, conv_by_fft, pool_by_slices) for image in pixels]
    np.testing.assert_allclose(right, truth, rtol=1e-10)
    variants = make_variants(trained)
    assert list(variants) == [CONV, *OURS]
    for name in ("dft", "matmul", "fftconv"):
        assert variants[name].to_dict()["replaced"] == 3
        assert {conv["lowering"] for conv in variants[name].to_dict()["convs"]} == {name}
    for name, variant in variants.items():
        np.testing.assert_allclose(predict_all(variant.model, pixels), truth, rtol=2e-5, err_msg=name)
    wrong = [predict_logit(image, tensors, conv_as_in_article, pool_by_slices) for image in pixels]
    assert np.max(np.abs(wrong - truth)) > 0.1


def test_training_gives_the_weights_that_the_network_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(article_training, "IMAGES", 8)
    monkeypatch.setattr(article_training, "EPOCHS", 2)
    said: list[str] = []
    tensors = article_training.train(said.append)
    shapes = {name: tensor.shape for name, tensor in read_tensors(build_network(tensors)).items()}
    assert shapes == {name: tensor.shape for name, tensor in read_tensors(onnx.load(TRAINED)).items()}
    assert said[-1].startswith("epoch 2 of 2: loss 0.")


# --- measuring --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_is_timed_once_and_one_left_alone_not_at_all(trained: ModelProto, native_library: Path) -> None:
    variants = make_variants(trained)
    left = variants["auto"]
    assert left.report is not None and not left.report.replaced
    again = Variant(variants["fftconv"].model, variants["fftconv"].report)
    assert find_same({**variants, "again": again})["again"] == "fftconv"
    assert find_same(variants)["auto"] == CONV
    assert find_same(variants)["matmul"] == "matmul"


def test_predictions_are_judged_by_float64_and_by_the_conv() -> None:
    truth = np.array([1.0, -1.0, 2.0, -2.0])
    labels = np.array([True, False, True, True])
    same = judge(truth, truth, truth, labels)
    assert same["same_bits"] and (same["agreeing"], same["accuracy"]) == (4, 0.75)
    assert same["probability_error"] == same["logit_error"] == 0
    wrong = judge(np.array([1.0, 1.0, 2.0, -2.0]), truth, truth, labels)
    assert not wrong["same_bits"] and (wrong["agreeing"], wrong["accuracy"]) == (3, 0.5)
    assert wrong["probability_error"] == pytest.approx(sigmoid(1.0) - sigmoid(-1.0))
    assert wrong["logit_error"] == pytest.approx(2 / np.sqrt(2.5))


@pytest.mark.slow
def test_ways_end_to_end(trained: ModelProto, native_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"loops": conv_by_oracle, "article": conv_as_in_article, "right": conv_by_fft}
    monkeypatch.setattr(article_measure, "NUMPY_WAYS", quick)
    said: list[str] = []
    network, machine = article_measure.measure_ways(
        trained, draw_images(2, 5), threads=1, budget_s=0.0, say=said.append
    )
    assert machine.threads == 1 and said
    assert network["images"] == 2 and set(network["ways"]) == {*quick, CONV, *OURS}
    ways = network["ways"]
    assert all(way["seconds"] > 0 for way in ways.values())
    assert ways["auto"]["seconds"] == ways[CONV]["seconds"] and ways["auto"]["replaced"] == 0
    assert ways["article"]["logit_error"] > 1e-3
    assert max(ways[name]["logit_error"] for name in ("right", CONV, *OURS)) < 1e-4
    json.dumps(network)


def test_the_vgg_sees_the_image_in_the_middle_and_classes_are_compared() -> None:
    padded = article_vgg.pad_image(np.ones((SIZE, SIZE)))
    assert padded.shape == (1, 240, 240, 3) and padded.dtype == np.float32
    assert padded[0, 7:232, 7:232].all() and padded.sum() == 3 * SIZE * SIZE
    before = np.array([[0.7, 0.3], [0.4, 0.6]])
    found = article_vgg.compare_predictions(before, np.array([[0.6, 0.4], [0.55, 0.45]]))
    assert found == {"images": 2, "agreeing": 1, "probability_error": pytest.approx(0.15)}


@pytest.mark.parametrize(
    ("needed", "error"),
    [("describe_target", NativeUnavailable("no library")), ("fetch", FetchError("no network"))],
    ids=["library", "network"],
)
def test_without_what_it_needs_nothing_is_measured(
    needed: str, error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> list[str]:
        raise error

    monkeypatch.setattr(reproduce_article, "fetch", Path)
    monkeypatch.setattr(reproduce_article, needed, refuse)
    assert reproduce_article.main(["--folder", str(tmp_path / "out")]) == 2
    assert f"error: {error}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
