"""Options in the words of the command line."""

from __future__ import annotations

from collections.abc import Mapping

from onnx_fft.hints import Option

FLAGS = {
    "input_shapes": "--input-shape",
    "max_growth_bytes": "--max-growth",
    "max_memory_bytes": "--max-memory",
    "budget_s": "--budget",
    "use_cache": "--no-cache",
    "validate": "--no-validate",
}
"""Flags that are not the option's name with dashes."""

PLACEHOLDERS = {"input_shapes": "NAME:1x3x224x224", "inputs": "feeds.npz", "custom_ops": "LIBRARY"}
"""What stands behind a flag if no value is given."""


def name_flag(option: str) -> str:
    """The flag that sets an option of the library."""
    return FLAGS.get(option, f"--{option.replace('_', '-')}")


def word_as_flag(option: Option) -> str:
    """`--opset 17`, `--input-shape x:1x3x224x224`, `--no-validate`."""
    flag, value = name_flag(option.name), option.value
    if isinstance(value, Mapping):
        return " ".join(f"{flag} {name}:{'x'.join(map(str, shape))}" for name, shape in value.items())
    if value is None:
        value = PLACEHOLDERS.get(option.name, "")
    return flag if value == "" or isinstance(value, bool) else f"{flag} {value}"
