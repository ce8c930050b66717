"""Does the rewritten model still conform to the standard, as far as onnx's checker knows?"""

from __future__ import annotations

from onnx_fft.model.io import LoadedModel, find_problem


def find_nonconformity(original: LoadedModel, rewritten: LoadedModel) -> str:
    """What onnx's checker says against the rewritten model, unless it refuses the original too; "" for nothing."""
    if (problem := find_problem(rewritten)) and not find_problem(original):
        refusal = "onnx's checker refuses the rewritten model, unlike the original"
        return f"different: {refusal} ({problem}); please report this"
    return ""
