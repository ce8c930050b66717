"""Does the rewritten model still conform to the standard, as far as onnx's checker knows?"""

from __future__ import annotations

from onnx_fft.errors import ValidationFailed
from onnx_fft.hints import Option
from onnx_fft.model.io import LoadedModel, find_problem


def check_conformity(original: LoadedModel, rewritten: LoadedModel) -> None:
    """Raise ValidationFailed if onnx's checker refuses the rewritten model, unlike the original."""
    if (problem := find_problem(rewritten)) and not find_problem(original):
        raise ValidationFailed(
            f"got a rewritten model that onnx's checker refuses, unlike the original ({problem})",
            "a valid one",
            ("please report this; if you need the model, set ", Option("validate", False)),
        )
