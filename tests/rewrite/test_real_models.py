"""Models of the field, whole: rewritten, validated, saved, loaded again in plain ONNX Runtime, interface kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, ValueInfoProto

from onnx_fft import rewrite, validate
from onnx_fft.model.scopes import walk_nodes
from onnx_fft.provenance import REPLACES_KEY
from onnx_fft.report import describe
from onnx_fft.rewrite import Rewritten
from onnx_fft.sites.find import is_site
from scripts.models import fetch as fetch_models
from scripts.shared.conv_models import Array
from scripts.shared.running import open_session, run_model
from scripts.shared.standard_cases import STANDARD_ATOL, STANDARD_RTOL, load_light_case
from tests.comparing import dump
from tests.real_models import REMAINING, SHAPES, by_graph, by_model

REPLACED_BY_AUTO = {"rivagan_encoder": 2, "rivagan_decoder": 2, "whisper80": 1}
"""What the choice replaces; in the other models the kernels are small, and it must touch nothing."""

LEAST_SITES = dict.fromkeys(("whisper80", "whisper80_conv", "kaldi", "kaldi_conv"), 1)
"""Convolutions, DFTs and STFTs of a model, at least; 4 in the others."""

LIGHT_GROWTH = 256 << 20
"""Enough for every ImageNet graph but VGG-19, to which 305 MiB would be added: its file computes its weights."""

LIGHT_RTOL = 1e-4
"""Relative L2 allowed between the two models at every Conv of an ImageNet graph; float32 leaves 1e-5 at worst."""


@cache
def rewrite_fetched(name: str, select: str) -> tuple[Path, Rewritten]:
    path = fetch_models.fetch(name)
    return path, rewrite(path, select=select, validate=False)


def print_interface(values: list[ValueInfoProto]) -> list[bytes]:
    return [value.SerializeToString(deterministic=True) for value in values]


def passes_full_check(path: Path) -> bool:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception:  # the checker's own types, and whatever its inference raises
        return False
    return True


def count_sites(model: ModelProto) -> Counter[str]:
    """Nodes that are listed in reports, but for those that a rewrite has put there."""
    return Counter(
        node.op_type
        for node in walk_nodes(model)
        if is_site(node) and not any(entry.key == REPLACES_KEY for entry in node.metadata_props)
    )


def assert_saved_model_loads(path: Path, rewritten: Rewritten, tmp_path: Path) -> None:
    """Written, it passes the checker if the original does, and ONNX Runtime sees the same inputs and outputs."""
    output = tmp_path / "out.onnx"
    rewritten.save(output)
    assert passes_full_check(output) or not passes_full_check(path)
    before, after = open_session(path), open_session(output)
    for list_values in ("get_inputs", "get_outputs"):
        pairs = list(zip(*(getattr(session, list_values)() for session in (before, after)), strict=True))
        assert pairs
        for old, new in pairs:
            assert (new.name, new.type, len(new.shape)) == (old.name, old.type, len(old.shape))
            # the shapes in the file are the same; what ONNX Runtime infers besides may be less, never different
            assert all(n == o or not isinstance(n, int) for n, o in zip(new.shape, old.shape, strict=True))


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.parametrize("select", ["auto", "all"])
@by_model
def test_interface_is_kept_and_the_file_loads(name: str, select: str, tmp_path: Path) -> None:
    path, rewritten = rewrite_fetched(name, select)
    original = onnx.load(path)
    for field in ("input", "output"):
        kept, given = (list(getattr(model.graph, field)) for model in (rewritten.model, original))
        stored = {tensor.name for tensor in (*original.graph.initializer, *rewritten.model.graph.initializer)}
        assert print_interface([v for v in kept if v.name not in stored]) == print_interface(
            [v for v in given if v.name not in stored]
        )
    assert rewritten.model.ir_version == original.ir_version
    assert list(rewritten.model.opset_import) == list(original.opset_import)
    assert_saved_model_loads(path, rewritten, tmp_path)


@pytest.mark.real_model
@by_model
def test_all_replaces_everything_but_what_it_says(name: str) -> None:
    path, rewritten = rewrite_fetched(name, "all")
    before, after = count_sites(onnx.load(path)), count_sites(rewritten.model)
    left = [row for row in rewritten.report.rows if row.lowering is None]
    assert before.total() >= LEAST_SITES.get(name, 4)
    assert Counter((row.op_type, row.code) for row in left) == REMAINING.get(name, {})
    assert Counter(row.op_type for row in left) == after
    assert all(row.op_type in row.reason if row.code == "operator" else "MiB" in row.reason for row in left)
    assert len(rewritten.report.replaced) == before.total() - after.total()
    assert len({row.name for row in rewritten.report.rows}) == len(rewritten.report.rows)


@pytest.mark.real_model
@by_model
def test_auto_replaces_what_gains_and_says_why_not(name: str) -> None:
    path, rewritten = rewrite_fetched(name, "auto")
    replaced = rewritten.report.replaced
    assert len(replaced) == REPLACED_BY_AUTO.get(name, 0)
    assert all(row.code and row.reason for row in rewritten.report.rows if row.lowering is None)
    if not replaced:
        assert rewritten.model == onnx.load(path)
    for row in replaced:
        assert row.predicted_s is not None
        assert row.predicted_conv_s is not None
        assert row.predicted_s < row.predicted_conv_s


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.parametrize("select", ["auto", "all"])
@by_model
def test_outputs_are_the_same(name: str, select: str) -> None:
    path, rewritten = rewrite_fetched(name, select)
    if not rewritten.report.replaced:
        assert dump(rewritten.model) == dump(onnx.load(path))
        return
    result = validate(path, rewritten.loaded, input_shapes=SHAPES.get(name))
    assert result.ok, describe(result)
    assert result.engine == "onnxruntime"
    assert any(comparison.compared for feed in result.feeds for comparison in feed.comparisons)
    checked = [check.ok for check in result.convs]
    assert checked == [True] * len(rewritten.report.replaced)


@pytest.mark.real_model
def test_silero_convs_of_every_branch_are_replaced() -> None:
    """Nested If, four deep: both sampling rates run replaced Convs, and streaming keeps its state."""
    path, rewritten = rewrite_fetched("silero_vad", "all")
    scopes = {row.name.rpartition("/")[0] for row in rewritten.report.rows}
    assert len(scopes) >= 2
    assert all("_branch" in scope for scope in scopes)
    sessions = [open_session(path), open_session(rewritten.model)]
    rng = np.random.default_rng(5)
    for rate, length in ((16000, 576), (8000, 288)):
        states = [np.zeros((2, 1, 128), np.float32)] * 2
        for _ in range(3):
            chunk = rng.standard_normal((1, length)).astype(np.float32) / 8
            feeds = [{"input": chunk, "state": state, "sr": np.array(rate)} for state in states]
            results = [session.run(None, feed) for session, feed in zip(sessions, feeds, strict=True)]
            assert results[0][1].any()
            for before, after in zip(*results, strict=True):
                np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-5)
            states = [result[1] for result in results]


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.parametrize("shape", [(1, 3, 1, 11, 11), (2, 3, 1, 37, 150), (1, 3, 1, 129, 64)])
def test_rivagan_encoder_runs_on_any_size(shape: tuple[int, ...]) -> None:
    """3-D form with every dim dynamic: the number of tiles is a run-time matter."""
    path, rewritten = rewrite_fetched("rivagan_encoder", "all")
    rng = np.random.default_rng(6)
    frame = rng.uniform(-1, 1, shape).astype(np.float32)
    feeds = {"frame": frame, "data": rng.integers(0, 2, (shape[0], 32)).astype(np.float32)}
    (before,), (after,) = run_model(path, feeds), run_model(rewritten.model, feeds)
    assert before.shape == shape
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def expose_convs(model: ModelProto, names: list[str]) -> ModelProto:
    """A copy with the results of the original's Convs as further outputs."""
    copy = ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(ValueInfoProto(name=name) for name in names)
    return copy


def relative_l2(value: Array, reference: Array) -> float:
    difference = np.linalg.norm(value.astype(np.float64) - reference)
    return float(difference / np.linalg.norm(reference.astype(np.float64)))


@pytest.mark.slow
@by_graph
def test_imagenet_graph(name: str) -> None:
    """Its output is nearly constant whatever the Convs do, so every Conv's own result is compared as well."""
    case = load_light_case(name)
    nodes = case.model.graph.node
    norms = {node.input[0]: node.output[0] for node in nodes if node.op_type == "BatchNormalization"}
    names = [norms.get(node.output[0], node.output[0]) for node in nodes if node.op_type == "Conv"]
    rewritten = rewrite(case.model, select="all", max_growth_bytes=LIGHT_GROWTH, validate=False)
    left = [row for row in rewritten.report.rows if row.lowering is None]
    assert len(left) == count_sites(rewritten.model).total() <= (len(nodes) // 8 if name == "vgg19" else 0)
    assert all(row.code == "growth" for row in left)
    assert len(rewritten.report.replaced) == count_sites(case.model).total() - len(left)
    before = run_model(expose_convs(case.model, names), case.feeds)
    after = run_model(expose_convs(rewritten.model, names), case.feeds)
    for output, expected in zip(after[: len(case.expected)], case.expected, strict=True):
        assert (output.dtype, output.shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(output, expected, rtol=STANDARD_RTOL, atol=STANDARD_ATOL)
    pairs = zip(names, after[len(case.expected) :], before[len(case.expected) :], strict=True)
    worst = max((relative_l2(value, reference), name) for name, value, reference in pairs)
    assert worst[0] <= LIGHT_RTOL, worst


@pytest.mark.slow
@by_graph
def test_imagenet_graph_is_left_alone_by_auto(name: str) -> None:
    """Small kernels throughout: nothing gains, and nothing may change."""
    model = load_light_case(name).model
    rewritten = rewrite(model)
    assert dump(rewritten.model) == dump(model)
    assert all(row.code == "no-gain" and "x the speed" in row.reason for row in rewritten.report.rows)


@pytest.fixture(scope="module", autouse=True)
def release_models() -> Iterator[None]:
    """Let go of the rewritten models, some of them large, after the module."""
    yield
    rewrite_fetched.cache_clear()
