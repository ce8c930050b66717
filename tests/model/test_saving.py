"""Models written: whole or not at all, nothing lost, nothing of anyone else's replaced."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fft.model.saving
from onnx_fft.errors import InvalidModelError, OutputError, UsageError
from onnx_fft.model.io import load_model
from onnx_fft.model.saving import save_model, staged_model
from onnx_fft.provenance import is_own
from scripts.shared.conv_models import Array
from scripts.shared.running import open_session, run_model
from scripts.shared.standard_cases import light_paths
from tests.commands import list_paths
from tests.model.external import parse, write_external
from tests.model.splicing import splice_site
from tests.sites.finding import find_convs


@pytest.mark.slow
def test_unchanged_model_is_written_byte_for_byte(tmp_path: Path) -> None:
    for number, path in enumerate([*light_paths().values(), tmp_path / "own.onnx"]):
        if not path.exists():
            onnx.save(parse(), path)
        loaded = load_model(path)
        find_convs(loaded)
        save_model(loaded.model, tmp_path / f"{number}.onnx", loaded.base_dir)
        assert (tmp_path / f"{number}.onnx").read_bytes() == path.read_bytes()


def test_input_can_be_the_output(tmp_path: Path) -> None:
    path = write_external(tmp_path)
    loaded = load_model(path)
    loaded.model.doc_string = "new"
    save_model(loaded.model, path, loaded.base_dir)
    assert list_paths(tmp_path) == ["m.bin", "m.onnx"]
    np.testing.assert_array_equal(read_weight(path), read_weight(parse()))


def read_weight(source: ModelProto | Path) -> Array:
    model = source if isinstance(source, ModelProto) else onnx.load(source)
    return numpy_helper.to_array(model.graph.initializer[0])


def test_external_data_is_copied_beside_the_output(tmp_path: Path) -> None:
    loaded = load_model(write_external(tmp_path / "in", "data/m.bin"))
    (tmp_path / "out").mkdir()
    for _ in range(2):  # the second time the same data is there already
        save_model(loaded.model, tmp_path / "out" / "n.onnx", loaded.base_dir)
        assert list_paths(tmp_path / "out") == ["data/m.bin", "n.onnx"]
    np.testing.assert_array_equal(read_weight(tmp_path / "out" / "n.onnx"), read_weight(parse()))


def test_foreign_data_is_not_overwritten(tmp_path: Path) -> None:
    loaded = load_model(write_external(tmp_path / "in"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "m.bin").write_bytes(b"something else")
    with pytest.raises(OutputError, match=r"m\.bin"):
        save_model(loaded.model, tmp_path / "out" / "n.onnx", loaded.base_dir)
    assert list_paths(tmp_path / "out") == ["m.bin"]
    assert (tmp_path / "out" / "m.bin").read_bytes() == b"something else"


def test_output_is_not_written_over_its_own_data(tmp_path: Path) -> None:
    loaded = load_model(write_external(tmp_path))
    before = (tmp_path / "m.bin").read_bytes()
    with pytest.raises(OutputError, match="keeps data"):
        save_model(loaded.model, tmp_path / "m.bin", loaded.base_dir)
    assert (tmp_path / "m.bin").read_bytes() == before


def test_output_is_not_written_over_data_in_a_folder_below(tmp_path: Path) -> None:
    loaded = load_model(write_external(tmp_path, "data/w.bin"))
    before = (tmp_path / "data" / "w.bin").read_bytes()
    with pytest.raises(OutputError, match="keeps data"):
        save_model(loaded.model, tmp_path / "data" / "w.bin", loaded.base_dir)
    assert list_paths(tmp_path) == ["data/w.bin", "m.onnx"]
    assert (tmp_path / "data" / "w.bin").read_bytes() == before


def test_a_staged_model_is_complete_and_gone_unless_committed(tmp_path: Path) -> None:
    loaded = load_model(write_external(tmp_path / "in", "data/m.bin"))
    (tmp_path / "out").mkdir()
    for folder in ("in", "out"):
        before = list_paths(tmp_path / folder)
        with staged_model(loaded.model, tmp_path / folder / "n.onnx", loaded.base_dir) as staged:
            np.testing.assert_array_equal(read_weight(staged.path), read_weight(parse()))
            open_session(staged.path)
            assert not (tmp_path / folder / "n.onnx").exists()
        assert list_paths(tmp_path / folder) == before


def test_missing_and_outlying_data(tmp_path: Path) -> None:
    path = write_external(tmp_path / "in")
    loaded = load_model(path)
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "m.bin").rename(tmp_path / "m.bin")
    for location in ("m.bin", "../m.bin"):
        loaded.model.graph.initializer[0].external_data[0].value = location
        with pytest.raises(InvalidModelError, match=r"m\.bin"):
            save_model(loaded.model, tmp_path / "out" / "n.onnx", loaded.base_dir)
    assert list_paths(tmp_path / "out") == []


def test_bad_output_paths(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "m.onnx"):
        with pytest.raises(OutputError, match="got output path"):
            save_model(parse(), path)
    with pytest.raises(UsageError, match=r"got output path '.*n\\x00\.onnx', which has a NUL in it"):
        save_model(parse(), tmp_path / "n\0.onnx")


@pytest.mark.parametrize(("function", "call"), [("fsync", 1), ("fsync", 2), ("replace", 1), ("replace", 2)])
def test_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, call: int
) -> None:
    original, calls = getattr(os, function), []

    def fail(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == call:
            raise OSError(28, "No space left on device")
        original(*arguments)

    loaded = load_model(write_external(tmp_path / "in"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "m.onnx").write_bytes(b"before")
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OutputError, match="No space left"):
        save_model(loaded.model, tmp_path / "out" / "m.onnx", loaded.base_dir)
    assert list_paths(tmp_path / "out") == ["m.onnx"]
    assert (tmp_path / "out" / "m.onnx").read_bytes() == b"before"


def test_too_large_models_keep_our_constants_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(parse("g (float[1,3,8,50] x) => (float[1,4,6,11] y) { h = Relu(x) y = Conv(h, W) }"))
    site = find_convs(loaded)[0]
    weight = numpy_helper.from_array(site.read_weights().weight.astype(np.float32), "own")
    foreign = numpy_helper.from_array(np.zeros(2000, np.float32), "foreign")
    loaded.model.graph.initializer.append(foreign)
    splice_site(site, [helper.make_node("Conv", ["h", "own"], ["y"])], [weight])
    before = loaded.model.SerializeToString()
    monkeypatch.setattr(onnx_fft.model.saving, "MAX_MODEL_BYTES", 9000)
    (tmp_path / "big.onnx.data").write_bytes(b"of an earlier run")
    for _ in range(2):  # the second time its data is there already
        save_model(loaded.model, tmp_path / "big.onnx", movable=is_own)
        assert loaded.model.SerializeToString() == before
        model_file, data_file, other = list_paths(tmp_path)
        assert (model_file, other) == ("big.onnx", "big.onnx.data")
        assert re.fullmatch(r"big\.onnx\.[0-9a-f]{16}\.data", data_file)
    assert (tmp_path / "big.onnx.data").read_bytes() == b"of an earlier run"
    stored = {tensor.name: tensor.data_location for tensor in load_model(tmp_path / "big.onnx").model.graph.initializer}
    assert stored == {"own": TensorProto.EXTERNAL, "foreign": TensorProto.DEFAULT}
    x = np.ones((1, 3, 8, 50), np.float32)
    y, y_big = (run_model(source, {"x": x})[0] for source in (loaded.model, tmp_path / "big.onnx"))
    np.testing.assert_array_equal(y, y_big)
    monkeypatch.setattr(onnx_fft.model.saving, "MAX_MODEL_BYTES", 5000)
    with pytest.raises(OutputError, match="5000 bytes"):
        save_model(loaded.model, tmp_path / "bigger.onnx", movable=is_own)
    assert list_paths(tmp_path) == ["big.onnx", data_file, "big.onnx.data"]
    monkeypatch.setattr(onnx_fft.model.saving, "MAX_MODEL_BYTES", 9000)
    (tmp_path / data_file).write_bytes(b"of someone else")
    with pytest.raises(OutputError, match=data_file):
        save_model(loaded.model, tmp_path / "big.onnx", movable=is_own)
    assert (tmp_path / data_file).read_bytes() == b"of someone else"
    assert loaded.model.SerializeToString() == before
