"""Plan files that a hand, or an enemy, has been at: a clear error for each, and never a wait."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onnx_fft import rewrite
from onnx_fft.cost.plan_file import load_plan
from onnx_fft.errors import UsageError
from onnx_fft.measure.cache import Cache, Environment
from tests.commands import list_files, run
from tests.models import two_convs

DEEP = 100_000


def make_plan() -> dict[str, Any]:
    plan = rewrite(two_convs(), lowering="matmul", validate=False).plan
    for entry in plan["convs"]:
        entry |= {"measured_conv_s": 1e-3, "measured_s": 1e-3}
    return plan


PLAN = make_plan()
TEXT = json.dumps(PLAN)

TEXTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not JSON"),
    "cut off": (TEXT[:-20].encode(), "not JSON"),
    "two of them": ((TEXT + TEXT).encode(), "not JSON"),
    "with a mark of its encoding": (b"\xef\xbb\xbf" + TEXT.encode(), "BOM"),
    "in UTF-16": (TEXT.encode("utf-16"), "not JSON"),
    "not UTF-8": (TEXT.replace("first", "\xff").encode("latin-1"), "not JSON"),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, "nested too deeply"),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "nested too deeply"),
    "deep inside": (TEXT.replace('"first"', "[" * DEEP + "]" * DEEP).encode(), "nested too deeply"),
    "many digits": (TEXT.replace("0.001", "1" * 10_000).encode(), "not JSON"),
    "not a number": (TEXT.replace("0.001", "NaN").encode(), "NaN is no number of JSON"),
    "infinite": (TEXT.replace("0.001", "-Infinity").encode(), "-Infinity is no number"),
    "too large": (TEXT.replace("0.001", "1e999").encode(), "not a time in seconds"),
    "negative": (TEXT.replace("0.001", "-1").encode(), "not a time in seconds"),
    "said twice": (TEXT.replace('"name"', '"name": "second", "name"').encode(), "'name' occurs twice"),
    "said twice at the top": (b'{"target": "native", ' + TEXT[1:].encode(), "'target' occurs twice"),
    "null": (b"null", "not a plan"),
    "a text": (b'"plan"', "not a plan"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_file_that_is_no_plan(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = TEXTS[kind]
    path, model = tmp_path / "plan.json", tmp_path / "m.onnx"
    path.write_bytes(content)
    model.write_bytes(two_convs().SerializeToString())
    for arguments in (["rewrite", model, tmp_path / "o.onnx"], ["inspect", model]):
        assert run(*arguments, "--plan", path) == 2
        said = capsys.readouterr().err
        assert message in said and "plan.json" in said
        assert "Traceback" not in said and len(said) < 700
    assert list_files(tmp_path) == {"plan.json", "m.onnx"}


def walk_places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*place, key)
        yield from walk_places(part, (*place, key))


UNREAD = ("reason", "predicted_conv_s", "predicted_s")
"""For the reader of the file only."""

VALUES: list[Any] = [None, True, -1, 0, 1.5, 10**400, 2**62, "", "text", [], [[]], {}, {"a": 1}]


@pytest.mark.parametrize("place", [p for p in walk_places(PLAN) if p[-1] not in UNREAD and 1 not in p[1:2]], ids=str)
def test_a_wrong_value_at_any_place(place: tuple[Any, ...]) -> None:
    """Either it is a plan all the same, or it is refused."""
    refused = 0
    for value in VALUES:
        plan = json.loads(TEXT)
        held = plan
        for key in place[:-1]:
            held = held[key]
        held[place[-1]] = value
        try:
            rewrite(two_convs(), plan=plan, validate=False)
        except UsageError as error:
            refused += 1
            assert len(str(error)) < 600
    assert refused >= len(VALUES) - 5


def test_a_plan_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    def make_pipe(path: Path) -> None:
        os.mkfifo(path)

    makers: list[Callable[[Path], None]] = [make_pipe, lambda path: path.symlink_to("/dev/zero"), Path.mkdir]
    for number, make in enumerate(makers):
        make(tmp_path / f"{number}")
        with pytest.raises(UsageError, match="which is not a file"):
            load_plan(tmp_path / f"{number}")


@pytest.mark.parametrize(
    "text", ["", "[" * DEEP, '{"key": ' * DEEP, "[]", "null", "{}", '{"key": NaN}', "\xff", "1" * 10_000]
)
def test_a_cache_file_that_was_damaged_is_measured_again(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "entry.json"
    path.write_bytes(text.encode("latin-1"))
    monkeypatch.setattr(Cache, "path", lambda _cache, _contest: path)
    monkeypatch.setattr(Cache, "_key", lambda _cache, _contest: {})
    cache = Cache(Environment(1, "1.0", "cpu", 1, "0"), tmp_path)
    contest: Any = None
    assert cache.read(contest) is None
    assert len(cache.notes) == 1 and "measured again" in cache.notes[0]
