"""Which convolutions to leave alone if each of them is right and an output differs all the same.

Then something behind them makes more of rounding than the tolerances allow: a decision, a root, a sum that cancels. It
is no fault of what they are replaced by, and the rest of the model can be replaced without them.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto

from onnx_fft.checks.draws import find_reached
from onnx_fft.checks.result import Validation


def find_suspects(model: ModelProto, validation: Validation, convolutions: Mapping[str, str]) -> frozenset[str]:
    """Those of the replaced `convolutions` (output tensors by name) from which an output follows that differs.

    None of them if something else is wrong: a convolution by itself, or a model that does not run.
    """
    results = (*validation.feeds, *validation.sparse)
    if any(result.error for result in results) or any(conv.ok is False for conv in validation.convs):
        return frozenset()
    failed = {comparison.output for result in results for comparison in result.comparisons if not comparison.ok}
    outputs = {value.name for value in model.graph.output}
    wrong = {name for name in outputs if any(found == name or found.startswith(f"{name}[") for found in failed)}
    if not wrong:
        return frozenset(convolutions) if failed else frozenset()
    return frozenset(name for name, tensor in convolutions.items() if find_reached(model, [tensor]) & wrong)
