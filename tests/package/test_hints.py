"""Next steps are data: no flag in the library, no keyword argument on a terminal."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from onnx_fft.cli.hints import word_as_flag
from onnx_fft.errors import OnnxFftError, UsageError
from onnx_fft.hints import Option, tell
from scripts.shared.paths import ROOT

PACKAGE = ROOT / "onnx_fft"
NOT_FLAGS = ("--query-gpu", "--format=", "--editable", "--share:", "--low:", "--high:", "--at:")
"""What other programs and style sheets are told."""


def list_strings() -> Iterator[tuple[str, str]]:
    """Every string of the library, docstrings included, that is not the command line's."""
    for path in PACKAGE.rglob("*.py"):
        if "cli" not in path.parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield f"{path.name}:{node.lineno}", node.value


def test_the_library_knows_no_flags() -> None:
    seen = 0
    for place, text in list_strings():
        seen += 1
        words = [word for word in text.split() if word.lstrip("('\"`").startswith("--")]
        flags = [word for word in words if not any(other in word for other in NOT_FLAGS) and word.strip("-|,")]
        assert not flags, (place, flags)
    assert seen > 1000


@pytest.mark.parametrize(
    "option, in_python, as_flag",
    [
        (Option("opset", 17), "opset=17", "--opset 17"),
        (Option("target", "native"), "target='native'", "--target native"),
        (Option("input_shapes"), "input_shapes", "--input-shape NAME:1x3x224x224"),
        (Option("input_shapes", {"x": (1, 3)}), "input_shapes={'x': (1, 3)}", "--input-shape x:1x3"),
        (Option("max_growth_bytes"), "max_growth_bytes", "--max-growth"),
        (Option("validate", False), "validate=False", "--no-validate"),
        (Option("use_cache", False), "use_cache=False", "--no-cache"),
        (Option("custom_ops"), "custom_ops", "--custom-ops LIBRARY"),
        (Option("inputs"), "inputs", "--inputs feeds.npz"),
    ],
)
def test_each_front_end_has_its_own_words(option: Option, in_python: str, as_flag: str) -> None:
    hint = ("pass ", option, " as well")
    assert tell(hint) == f"pass {in_python} as well"
    assert tell(hint, word_as_flag) == f"pass {as_flag} as well"


def test_an_error_is_data() -> None:
    error = UsageError("got opset 3", "7 or newer", ("set ", Option("opset", 7)))
    assert (error.problem, error.expected) == ("got opset 3", "7 or newer")
    assert str(error) == "got opset 3; expected 7 or newer; set opset=7"
    assert error.tell(word_as_flag) == "got opset 3; expected 7 or newer; set --opset 7"
    assert str(OnnxFftError("matplotlib is not installed")) == "matplotlib is not installed"
