"""External data behind links, in odd places, or not there: what runs is read and written, what leads out is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnx_fft
from onnx_fft.errors import InvalidModelError, UsageError
from onnx_fft.model.io import find_problem, load_model
from onnx_fft.model.saving import save_model
from scripts.shared.conv_models import Array
from scripts.shared.running import open_session, run_model
from tests.commands import list_paths, run
from tests.marks import ORT_VERSION, since_onnxruntime
from tests.model.external import WEIGHT, parse, write_external

X: Array = np.random.default_rng(6).standard_normal((2, 3, 8, 50)).astype(np.float32)
PLAIN = "g (float[2,3,8,50] x) => (float[2,4,6,11] y) { y = Conv(x, W) }"
SIGMOID = "g (float[2,3,8,50] x) => (float[2,4,6,11] y) { c = Conv(x, W) y = Sigmoid(c) }"


def write_cache(folder: Path, text: str = SIGMOID) -> Path:
    """A model in a cache of models: its file and its data are links to what lies elsewhere, under other names."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "1f"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    onnx.save(parse(text), blobs / "0a", save_as_external_data=True, location="m.onnx_data", size_threshold=0)
    (blobs / "m.onnx_data").rename(blobs / "0b")
    (snapshot / "m.onnx").symlink_to("../../blobs/0a")
    (snapshot / "m.onnx_data").symlink_to("../../blobs/0b")
    return snapshot / "m.onnx"


def link_data(folder: Path, *, beside: bool = False) -> Path:
    """A model whose file is its own, and whose data is a link out of its folder, or to a file beside it."""
    path = write_external(folder / "model", "w.bin", PLAIN)
    target = folder / "model" / "real.bin" if beside else folder / "real.bin"
    (folder / "model" / "w.bin").rename(target)
    (folder / "model" / "w.bin").symlink_to(target)
    return path


def link_folder(folder: Path) -> Path:
    path = write_external(folder / "model", "data/w.bin", PLAIN)
    (folder / "model" / "data").rename(folder / "elsewhere")
    (folder / "model" / "data").symlink_to(folder / "elsewhere", target_is_directory=True)
    return path


def link_hard(folder: Path) -> Path:
    path = write_external(folder / "model", "w.bin", PLAIN)
    (folder / "second.bin").hardlink_to(folder / "model" / "w.bin")
    return path


def go_up_and_down(folder: Path) -> Path:
    return relocate(write_external(folder / "model", "data/w.bin", PLAIN), "data/../data/w.bin")


def relocate(path: Path, location: str, **entries: object) -> Path:
    """Have the weight of the model at `path` be stored in another place."""
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    given = {"location": location, **{key: str(value) for key, value in entries.items()}}
    kept = {entry.key: entry.value for entry in tensor.external_data} | given
    del tensor.external_data[:]
    for key, value in kept.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "cache": write_cache,
    "link out": link_data,
    "link beside": lambda folder: link_data(folder, beside=True),
    "folder linked": link_folder,
    "hard link": link_hard,
    "up and down": go_up_and_down,
    "below": lambda folder: write_external(folder / "model", "data/w.bin", PLAIN),
}


def expect(path: Path) -> Array:
    """What the model computes, its data put into it."""
    has_sigmoid = "Sigmoid" in [node.op_type for node in load_model(path).model.graph.node]
    (y,) = run_model(parse(SIGMOID if has_sigmoid else PLAIN), {"x": X})
    return y


# --- what runs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["standard", "native"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_is_rewritten_validated_and_runs_beside_it_and_elsewhere(
    layout: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = LAYOUTS[layout](tmp_path)
    before = list_paths(tmp_path)
    monkeypatch.chdir(tmp_path)
    rewritten = onnx_fft.rewrite(path.relative_to(tmp_path), select="all", target=target)
    assert rewritten.validation is not None and rewritten.validation.ok
    assert list_paths(tmp_path) == before
    monkeypatch.chdir("/")
    (tmp_path / "out").mkdir()
    for output in (tmp_path / "out" / "o.onnx", path.with_name("o.onnx")):
        rewritten.save(output)
        (y,) = run_model(output, {"x": X})  # by ONNX Runtime, which reads the file and its data itself
        np.testing.assert_allclose(y, expect(path), rtol=1e-4, atol=1e-4)
        assert not output.is_symlink()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_command_takes_it(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = LAYOUTS[layout](tmp_path)
    assert run("validate", path, path) == 0
    if ORT_VERSION >= (1, 18):  # which takes the folder of external data
        assert "onnx.reference" not in capsys.readouterr().out
    assert run("inspect", path) == 0


@pytest.mark.slow
@since_onnxruntime(18, "takes no folder of external data")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_timed(layout: str, tmp_path: Path) -> None:
    path = LAYOUTS[layout](tmp_path)
    assert run("bench", path, path, "--budget", "0.1") == 0
    output = tmp_path / "o.onnx"
    assert run("rewrite", path, output, "--select", "measure", "--no-cache", "--budget", "1") == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_checker_judges_the_model_not_where_its_data_is(layout: str, tmp_path: Path) -> None:
    path = LAYOUTS[layout](tmp_path)
    assert find_problem(load_model(path)) == ""
    model = onnx.load(path, load_external_data=False)
    model.graph.node[0].op_type = "Convolve"
    other = path.with_name("other.onnx")
    other.write_bytes(model.SerializeToString())
    assert "Convolve" in find_problem(load_model(other))


def test_data_of_a_cache_is_copied_beside_the_output_under_a_name_of_its_own(tmp_path: Path) -> None:
    """The link is left alone, and so is what it leads to: ONNX Runtime would load neither through an output there."""
    path = write_cache(tmp_path)
    loaded = load_model(path)
    before = loaded.model.SerializeToString()
    for _ in range(2):  # the second time it is there already
        save_model(loaded.model, path.with_name("o.onnx"), loaded.base_dir)
    assert loaded.model.SerializeToString() == before
    (copy,) = path.parent.glob("o.onnx.*.data")
    assert copy.read_bytes() == (tmp_path / "blobs" / "0b").read_bytes() == WEIGHT.tobytes()
    assert path.with_name("m.onnx_data").is_symlink()
    assert list_paths(tmp_path / "blobs") == ["0a", "0b"]
    shutil.rmtree(tmp_path / "blobs")
    open_session(path.with_name("o.onnx"))


def test_a_link_at_the_output_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"here before")
    output = tmp_path / "o.onnx"
    output.symlink_to("other")
    save_model(parse(), output)
    assert not output.is_symlink() and (tmp_path / "other").read_bytes() == b"here before"


def test_nothing_is_written_through_a_folder_that_is_a_link(tmp_path: Path) -> None:
    loaded = load_model(write_external(tmp_path / "in", "data/w.bin"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    save_model(loaded.model, tmp_path / "out" / "o.onnx", loaded.base_dir)
    assert list_paths(tmp_path / "elsewhere") == []
    open_session(tmp_path / "out" / "o.onnx")


def test_a_name_of_full_length_leaves_room_for_the_data(tmp_path: Path) -> None:
    path = write_cache(tmp_path)
    loaded = load_model(path)
    output = path.with_name("ö" * 125 + ".onnx")
    save_model(loaded.model, output, loaded.base_dir)
    open_session(output)


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location", ["", ".", "..", "../w.bin", "data/../../w.bin", "/etc/hostname", "//w.bin", "w.bin\0x", "out/../w.bin"]
)
@pytest.mark.parametrize("verb", ["inspect", "rewrite", "validate", "bench"])
def test_data_outside_the_folder_is_refused(
    location: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_external(tmp_path / "model", "w.bin", PLAIN)
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    (tmp_path / "sub").mkdir()
    (tmp_path / "model" / "out").symlink_to(tmp_path / "sub", target_is_directory=True)
    relocate(path, location)
    others = {"inspect": [], "rewrite": [tmp_path / "o.onnx"]}
    assert run(verb, path, *others.get(verb, [path])) == 2
    assert "expected a relative path inside the model's directory" in capsys.readouterr().err


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.skipif(os.name != "posix", reason="there are no such files")
@pytest.mark.parametrize("make", [Path.mkdir, make_pipe, make_endless, make_loop])
@pytest.mark.parametrize("verb", ["inspect", "rewrite", "validate", "bench"])
def test_data_that_is_no_file_is_refused_and_never_waited_for(
    make: Callable[[Path], None], verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_external(tmp_path, "w.bin", PLAIN)
    (tmp_path / "w.bin").unlink()
    make(tmp_path / "w.bin")
    others = {"inspect": [], "rewrite": [tmp_path / "o.onnx"]}
    assert run(verb, path, *others.get(verb, [path])) == 2
    assert "'w.bin', which " in capsys.readouterr().err


@pytest.mark.parametrize(
    "entries", [{"offset": 4}, {"offset": 10**30}, {"offset": -8}, {"length": 10**18}, {"length": 8}, {"length": "x"}]
)
def test_data_that_does_not_fit_its_file_is_refused(entries: dict[str, object], tmp_path: Path) -> None:
    path = relocate(write_external(tmp_path, "w.bin", PLAIN), "w.bin", **entries)
    with pytest.raises(InvalidModelError, match="cannot be read"):
        onnx_fft.rewrite(path, select="all", validate=False)


def test_a_file_with_more_data_than_one_tensor_needs_no_length(tmp_path: Path) -> None:
    path = write_external(tmp_path, "w.bin", PLAIN)
    (tmp_path / "w.bin").write_bytes(bytes(64) + WEIGHT.tobytes() + bytes(64))
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    del tensor.external_data[:]
    for key, value in (("location", "w.bin"), ("offset", "64")):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    rewritten = onnx_fft.rewrite(path, select="all")
    assert rewritten.validation is not None and rewritten.validation.ok


def test_a_data_file_with_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    path = relocate(write_external(tmp_path, "w.bin", PLAIN), "w" * 300)
    with pytest.raises(InvalidModelError, match="cannot be a file"):
        load_model(path)


def test_an_output_is_not_written_over_what_a_link_leads_to(tmp_path: Path) -> None:
    path = write_cache(tmp_path)
    rewritten = onnx_fft.rewrite(path, exclude=["."])
    for output in (tmp_path / "blobs" / "0a", tmp_path / "blobs" / "0b", path.with_name("m.onnx_data")):
        with pytest.raises(UsageError, match="holds data of it"):
            rewritten.save(output)
