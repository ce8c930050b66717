"""Every change of every operator, on the standard's own node cases: what ONNX Runtime makes of the version before.

A case is set back to the opset before each change of its operator. Where ONNX Runtime runs that, the case is converted
over the change alone, and must give the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, helper
from onnx.backend.test.case.node import collect_testcases

from onnx_fft.errors import OpsetError
from onnx_fft.model.opset import NEWEST, OLDEST, convert_opset

MIN_CHANGES = 150
"""How many changes are met on onnx 1.16; fewer means that the cases do not run."""

GAPS = ("NOT_IMPLEMENTED", "Current official support")
"""What ONNX Runtime says if it lacks the newer version."""

REFUSED = {("Scan", 9), ("Attention", 25)}


def run(model: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def set_back(model: ModelProto, opset: int) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.opset_import[:]
    copy.opset_import.append(helper.make_opsetid("", opset))
    copy.ir_version = min(model.ir_version, 8)
    return copy


def find_changed_cases() -> Iterator[tuple[str, str, int, ModelProto, dict[str, Any], list[Any]]]:
    """Name, operator, its changed version, the model one opset earlier, what to feed it, and what it gives."""
    changes: dict[str, list[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain and OLDEST < schema.since_version <= NEWEST:
            changes.setdefault(schema.name, []).append(schema.since_version)
    for case in collect_testcases(None):
        if case.model is None:
            continue
        nodes = case.model.graph.node
        if len(nodes) != 1 or nodes[0].domain or not case.data_sets:
            continue
        values = case.data_sets[0][0]
        feeds = {value.name: fed for value, fed in zip(case.model.graph.input, values, strict=False)}
        for version in changes.get(nodes[0].op_type, []):
            model = set_back(case.model, version - 1)
            try:
                onnx.checker.check_model(model)
                yield case.name, nodes[0].op_type, version, model, feeds, run(model, feeds)
            except Exception:  # not a valid model of that opset, or none that ONNX Runtime runs
                continue


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if not isinstance(one, np.ndarray) or one.dtype.kind not in "fc":
        return bool(np.array_equal(one, other))
    return one.dtype == other.dtype and one.shape == other.shape and np.allclose(one, other, 1e-5, 1e-6, equal_nan=True)


@pytest.mark.slow
def test_every_change_keeps_what_onnx_runtime_computes() -> None:
    met, wrong = set(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases overflow on purpose
        for name, op_type, version, model, feeds, before in find_changed_cases():
            try:
                after = run(convert_opset(model, version), feeds)
            except OpsetError:
                assert (op_type, version) in REFUSED, name
                continue
            except Exception as error:
                if not any(gap in str(error) for gap in GAPS):
                    wrong.append(f"{name} to {version}: {error}")
                continue
            met.add((op_type, version))
            wrong += [] if is_same(before, after) else [f"{name} to {version} differs"]
    assert not wrong
    assert len(met) >= MIN_CHANGES
