"""The article's reproduction: what its FFT gets wrong, the shipped network, and tables that say what was measured."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import article_measure
import article_network
import article_training
import article_vgg
import numpy as np
import onnx
import pytest
import reproduce_article
from article_images import SIZE, draw_images
from article_measure import CONV, KERNELS, Variant, find_same, judge, make_variants, predict_all
from article_network import TRAINED, build_network, draw_tensors, read_tensors
from article_numpy import (
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
from article_plot import draw_kernels
from article_results import OURS, make_lines, make_ways_table, summarize_kernels, write_text
from onnx import ModelProto
from readme_blocks import read_block

from onnx_fft.errors import PluginUnavailable

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "scripts" / "results"


@pytest.fixture(scope="module")
def trained() -> ModelProto:
    return onnx.load(TRAINED)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / "article.json").read_text())
    return content


def make_case(rng: np.random.Generator, side: int) -> tuple[Array, Array, float]:
    return rng.standard_normal((side, side)), rng.standard_normal((3, 3)), float(rng.standard_normal())


# --- the Convs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [9, 10, 225])
def test_loops_and_the_fft_put_right_compute_the_conv(rng: np.random.Generator, side: int) -> None:
    image, weight, bias = make_case(rng, side)
    truth = conv_by_oracle(image, weight, bias)
    assert truth.shape == (side - 2, side - 2)
    np.testing.assert_allclose(conv_by_fft(image, weight, bias), truth, atol=1e-12)
    if side < 100:
        np.testing.assert_allclose(conv_by_loops(image, weight, bias), truth, atol=1e-12)


def describe_article(image: Array, weight: Array, bias: float) -> Array:
    """What article_numpy.py says that the article computes, by the definition, output by output.

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


def test_images_depend_on_the_seed_and_their_number_only() -> None:
    images, fewer = draw_images(12, 7), draw_images(3, 7)
    assert images.pixels.shape == (12, SIZE, SIZE)
    assert np.array_equal(images.pixels[:3], fewer.pixels) and np.array_equal(images.labels[:3], fewer.labels)
    assert not np.array_equal(images.pixels, draw_images(12, 8).pixels)
    assert 0 < images.labels.sum() < len(images)
    assert images.scale().min() >= 0 and 0.8 < images.scale().max() <= 1


def test_the_shipped_network_tells_tumours(trained: ModelProto) -> None:
    images = draw_images(40, 99)
    guesses = predict_all(trained, images.scale()) >= 0
    assert np.mean(guesses == images.labels) >= 0.8


def test_every_right_way_agrees_and_the_articles_does_not(trained: ModelProto, native_library: Path) -> None:
    pixels, tensors = draw_images(3, 5).scale(), read_tensors(trained)
    truth = np.array([predict_logit(image, tensors, conv_by_oracle, pool_by_slices) for image in pixels])
    right = [predict_logit(image, tensors, conv_by_fft, pool_by_slices) for image in pixels]
    np.testing.assert_allclose(right, truth, rtol=1e-10)
    variants = make_variants(trained)
    assert list(variants) == [CONV, *OURS]
    for name in ("dft", "matmul", "plugin"):
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


def test_a_model_is_timed_once_and_one_left_alone_not_at_all(trained: ModelProto, native_library: Path) -> None:
    variants = make_variants(trained)
    left = variants["auto"]
    assert left.report is not None and not left.report.replaced
    again = Variant(variants["plugin"].model, variants["plugin"].report)
    assert find_same({**variants, "again": again})["again"] == "plugin"
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


def test_without_the_library_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(target: str) -> list[str]:
        raise PluginUnavailable(f"no library for {target}")

    monkeypatch.setattr(reproduce_article, "describe_target", refuse)
    assert reproduce_article.main(["--folder", str(tmp_path / "out")]) == 2
    assert "no library for plugin" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# --- the tables -------------------------------------------------------------------------------------------------------


def make_content(results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The results with `way__key=value` set."""
    content = copy.deepcopy(results)
    for name, value in changes.items():
        way, key = name.split("__")
        content["network"]["ways"][way][key] = value
    return content


def test_tables_and_sentences_say_what_was_measured(results: dict[str, Any]) -> None:
    changes = {"loops__seconds": 90.0, "article__seconds": 30.0, "conv__seconds": 0.5, "matmul__seconds": 2.0}
    text = "\n".join(make_lines(make_content(results, **changes)))
    assert "(b) is 3.0x as fast as (a); the article has 4.8x" in text
    assert "`matmul`, forced, is slower than ONNX Runtime's Conv, at 0.25x." in text
    assert "| (b) the article's FFT |  | 30.0 | 3.00x |" in text
    fast = "\n".join(make_lines(make_content(results, conv__seconds=4.0, matmul__seconds=2.0)))
    assert "`matmul`, forced, is faster than ONNX Runtime's Conv, at 2.00x." in fast


def test_predictions_that_differ_are_not_said_to_agree(results: dict[str, Any]) -> None:
    text = "\n".join(make_lines(make_content(results, dft__agreeing=251, article__agreeing=200)))
    assert "Ours agree with (c) on no fewer than 251 of 253 images." in text
    assert "(b) predicts 53 of 253 images otherwise than (c), for it does not compute the Conv" in text
    agreeing = make_content(results, **{f"{name}__agreeing": 253 for name in OURS})
    assert "Ours agree with (c) on all 253 images." in "\n".join(make_lines(agreeing))


def test_what_is_left_alone_is_said_with_its_reason(results: dict[str, Any]) -> None:
    convs = [{"name": "conv1", "lowering": None, "reason": "too small"}, {"name": "b", "lowering": "dft", "reason": ""}]
    content = make_content(results, auto__convs=convs, auto__replaced=1)
    assert "`auto` leaves 1 of 2 Convs alone. Its report: conv1: too small." in "\n".join(make_lines(content))
    (row,) = (row for row in make_ways_table(content["network"]).rows if row[0] == "(e) `auto`")
    assert row[1] == "1 of 2" and row[4] != "left alone"
    content = make_content(results, auto__convs=convs[:1], auto__replaced=0)
    (row,) = (row for row in make_ways_table(content["network"]).rows if row[0] == "(e) `auto`")
    assert row[4] == "left alone"


@pytest.mark.parametrize(
    ("ratios", "where"),
    [
        ([0.1, 2.0], "from 7x7 on"),
        ([0.1, 0.5], "with none of these kernels"),
        ([2.0, 0.5], "with none of these kernels"),
    ],
)
def test_a_lowering_wins_from_the_kernel_on_after_which_it_never_loses(ratios: Sequence[float], where: str) -> None:
    names = ("dft", "matmul", "plugin")
    rows = [
        {"kernel": kernel, "ways": {name: {"ratio": {"value": ratio}} for name in names}}
        for kernel, ratio in zip((3, 7), ratios, strict=True)
    ]
    assert summarize_kernels(rows) == [f"`{name}` is faster than the Convs {where}." for name in names]


def test_the_chart_is_drawn(results: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "article.svg"
    draw_kernels(results["kernels"], results["header"], path)
    assert "</svg>" in path.read_text()


# --- what is stored ---------------------------------------------------------------------------------------------------


def test_stored_results_and_the_readme_are_of_one_run(results: dict[str, Any], tmp_path: Path) -> None:
    lines = make_lines(results)
    write_text(lines, tmp_path / "article.md")
    assert (RESULTS / "article.md").read_text() == (tmp_path / "article.md").read_text()
    assert read_block((ROOT / "README.md").read_text(encoding="utf-8"), "article") == lines
    assert "</svg>" in (RESULTS / "article.svg").read_text()
    assert results["network"]["images"] == 253
    assert [row["kernel"] for row in results["kernels"]] == list(KERNELS)
    assert f"{results['network']['ways'][CONV]['accuracy']:.1%}" in (ROOT / "models" / "README.md").read_text()
