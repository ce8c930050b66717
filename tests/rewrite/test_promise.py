"""What the library promises in Python: validated before it is returned, written as a whole, never over the original."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import onnx
import onnxruntime
import pytest

import onnx_fft
from onnx_fft.errors import OutputError, UsageError, ValidationFailed
from onnx_fft.model.io import load_model
from onnx_fft.options import DEFAULTS, RewriteChoices, RewriteOptions, check_options
from onnx_fft.runtime.profile import run_profiled
from scripts.shared.conv_models import Array, build_conv_model, draw_input
from scripts.shared.paths import ROOT
from scripts.shared.running import list_op_types
from tests.commands import SPEC, list_files


@pytest.fixture
def external_path(tmp_path: Path) -> Path:
    """A model whose weight lies in `m.bin` beside it."""
    path = tmp_path / "original" / "m.onnx"
    path.parent.mkdir()
    onnx.save(build_conv_model(SPEC), path, save_as_external_data=True, location="m.bin", size_threshold=0)
    return path


def run_plain(model: Path | bytes, x: Array) -> Array:
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    y: Array = session.run(None, {"x": x})[0]
    return y


# --- validated -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, 1.01, float("nan")])
def test_a_wrong_result_is_not_returned(factor: float, model_path: Path, break_matmul: Callable[[float], None]) -> None:
    break_matmul(factor)
    with pytest.raises(ValidationFailed, match="different: ") as caught:
        onnx_fft.rewrite(model_path, lowering="matmul")
    refused = caught.value.rewritten
    assert refused.validation is not None and not refused.validation.ok
    assert [row.lowering for row in refused.report.rows] == ["matmul"]
    assert "--" not in str(caught.value)


def test_validation_can_be_left_out(model_path: Path, break_matmul: Callable[[float], None]) -> None:
    break_matmul(0.0)
    rewritten = onnx_fft.rewrite(model_path, lowering="matmul", validate=False)
    assert rewritten.validation is None and rewritten.report.replaced


@pytest.mark.parametrize(
    "choices, is_validated",
    [({"exclude": ["."]}, False), ({"exclude": ["."], "opset": 18}, True), ({"select": "all"}, True)],
)
def test_whatever_was_changed_is_validated(choices: dict[str, Any], is_validated: bool, model_path: Path) -> None:
    assert (onnx_fft.rewrite(model_path, **choices).validation is not None) == is_validated


def test_a_fixed_shape_is_a_change(tmp_path: Path) -> None:
    model = build_conv_model(SPEC)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    rewritten = onnx_fft.rewrite(model, exclude=["."], input_shapes={"x": (2, 6, 30, 30)})
    assert rewritten.validation is not None and rewritten.validation.ok


# --- written ---------------------------------------------------------------------------------------------------------


def test_saved_is_what_was_validated(model_path: Path, tmp_path: Path) -> None:
    rewritten = onnx_fft.rewrite(model_path, select="all")
    output = tmp_path / "out.onnx"
    output.write_bytes(b"here before")
    rewritten.save(output)
    assert onnx.load(output) == rewritten.model and "Conv" not in list_op_types(onnx.load(output))
    x = draw_input(SPEC)
    np.testing.assert_allclose(run_plain(output, x), run_plain(model_path, x), rtol=1e-4, atol=1e-4)


def test_the_original_is_never_written_over(external_path: Path) -> None:
    rewritten = onnx_fft.rewrite(external_path, select="all")
    folder = external_path.parent
    before = {name: (folder / name).read_bytes() for name in list_files(folder)}
    link = folder.parent / "link.onnx"
    link.symlink_to(external_path)
    for output in (external_path, folder / "m.bin", str(link)):
        with pytest.raises(UsageError, match="the original or holds data of it"):
            rewritten.save(output)
    assert {name: (folder / name).read_bytes() for name in list_files(folder)} == before


def test_external_data_is_saved_beside_the_output(external_path: Path, tmp_path: Path) -> None:
    original = onnx.load(external_path)
    original.graph.output.append(onnx.ValueInfoProto(name=original.graph.initializer[0].name))  # so that it is kept
    onnx.save(original, external_path, save_as_external_data=True, location="m.bin", size_threshold=0)
    (tmp_path / "out").mkdir()
    before = list_files(external_path.parent)
    rewritten = onnx_fft.rewrite(external_path, select="all")
    assert rewritten.validation is not None and rewritten.validation.ok
    assert list_files(external_path.parent) == before
    rewritten.save(tmp_path / "out" / "m.onnx")
    assert list_files(tmp_path / "out") == {"m.onnx", "m.bin"}


def test_a_folder_that_cannot_be_written_to(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="directory does not exist"):
        onnx_fft.rewrite(model_path).save(tmp_path / "missing" / "out.onnx")


# --- sessions --------------------------------------------------------------------------------------------------------


def run_session(model: Any, x: Array, **options: Any) -> tuple[Array, set[str]]:
    """The output, and the types of the operators that ran."""
    (y,), nodes = run_profiled(lambda settings: onnx_fft.InferenceSession(model, settings, **options), {"x": x})
    return y, {node.op_type for node in nodes}


def has_library(op_types: set[str]) -> bool:
    """Whether an operator of the native library ran; it may have an activation behind its name."""
    return any(name.startswith("FFTConv") for name in op_types)


@pytest.mark.parametrize("form", ["path", "bytes", "object", "external"])
def test_a_session_rewrites_in_memory(
    form: str, model_path: Path, external_path: Path, tmp_path: Path, native_library: Path
) -> None:
    model = {
        "path": model_path,
        "bytes": model_path.read_bytes(),
        "object": onnx.load(model_path),
        "external": external_path,
    }[form]
    x, before = draw_input(SPEC), list_files(external_path.parent)
    chosen = onnx_fft.RewriteOptions(target="native", select="all")
    y, ran = run_session(model, x, rewrite=chosen)
    np.testing.assert_allclose(
        y, run_plain(external_path if form == "external" else model_path, x), rtol=1e-4, atol=1e-4
    )
    assert has_library(ran)
    assert list_files(external_path.parent) == before


def test_true_takes_the_defaults_and_the_native_library(tmp_path: Path, native_library: Path) -> None:
    model = ROOT / "models" / "large_kernel.onnx"
    x = np.random.default_rng(0).standard_normal((1, 64, 56, 56)).astype(np.float32)
    y, ran = run_session(model, x, rewrite=True)
    assert has_library(ran)
    np.testing.assert_allclose(y, run_plain(model, x), rtol=1e-3, atol=1e-3)
    assert not has_library(run_session(model, x)[1])  # an original stays one unless asked


def test_without_the_library_a_session_runs_standard_operators(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONNX_FFT_LIBRARY", str(tmp_path / "gone.so"))
    chosen = onnx_fft.RewriteOptions(select="all")
    _, ran = run_session(model_path, draw_input(SPEC), rewrite=chosen)
    assert "MatMul" in ran and "Conv" not in ran


def test_bytes_that_are_not_a_model(native_library: Path) -> None:
    with pytest.raises(onnx_fft.OnnxFftError, match="not an ONNX model"):
        onnx_fft.InferenceSession(b"no model", rewrite=True)


# --- options ---------------------------------------------------------------------------------------------------------


def test_keywords_are_the_fields_of_the_options() -> None:
    assert get_type_hints(RewriteChoices) == get_type_hints(RewriteOptions)
    if sys.version_info < (3, 11):
        pytest.skip("Unpack is new in Python 3.11")
    for function in (onnx_fft.rewrite, onnx_fft.inspect):
        assert "Any" not in str(get_type_hints(function, include_extras=True)["choices"])


def test_given_inputs_are_what_is_validated_on(model_path: Path) -> None:
    x = np.full((1, 6, 30, 30), 0.25, np.float32)
    found = onnx_fft.rewrite(model_path, select="all", inputs={"x": x}).validation
    assert found is not None
    assert [feed.label for feed in found.feeds] == ["given inputs"]
    with pytest.raises(UsageError, match="without x"):
        onnx_fft.rewrite(model_path, inputs={})


def test_keywords_go_on_top_of_options(model_path: Path) -> None:
    options = RewriteOptions(select="all", lowering="dft")
    assert onnx_fft.inspect(model_path, options=options).rows[0].lowering == "dft"
    assert onnx_fft.inspect(model_path, options=options, lowering="matmul").rows[0].lowering == "matmul"
    check_options(DEFAULTS)


def test_the_original_is_read_once_and_never_changed(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load(model_path)
    before = model.SerializeToString(deterministic=True)
    onnx_fft.rewrite(model, select="all", input_shapes={"x": (1, 6, 30, 30)})
    assert model.SerializeToString(deterministic=True) == before
    assert load_model(model_path).path == model_path
