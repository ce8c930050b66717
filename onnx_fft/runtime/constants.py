"""Computing constants by ONNX Runtime, whose values they are to have, or else by ONNX's evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import NodeProto, ValueInfoProto, helper, numpy_helper

from onnx_fft.model.external import Array
from onnx_fft.model.folding import evaluate_by_reference
from onnx_fft.model.scopes import MICROSOFT_DOMAIN
from onnx_fft.ort import import_ort
from onnx_fft.runtime.engines import CPU_PROVIDERS, ORT_QUIET

IR_VERSION = 8
"""Of the model around the node: every supported ONNX Runtime reads it."""


def evaluate_constants(
    nodes: Sequence[NodeProto], feeds: Mapping[str, Array], outputs: Sequence[str], opset: int
) -> list[Any]:
    """The `outputs` of nodes from the values `feeds`, as ONNX Runtime folds them when it loads a model.

    ONNX's evaluator takes its place if it is not installed, or has no kernel for the node.
    Raises whatever that raises.
    """
    tensors = [numpy_helper.from_array(value, name) for name, value in feeds.items()]
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT_DOMAIN, 1)]
    graph = helper.make_graph(nodes, "fold", [], [ValueInfoProto(name=name) for name in outputs], tensors)
    model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)
    try:
        ort = import_ort()
        options = ort.SessionOptions()
        options.log_severity_level = ORT_QUIET
        options.intra_op_num_threads = 1  # no pool of threads for one node
        session = ort.InferenceSession(model.SerializeToString(), options, providers=list(CPU_PROVIDERS))
        return list(session.run(None, {}))
    except Exception:  # RuntimeUnavailable, or one of ONNX Runtime's, which have no common base
        return evaluate_by_reference(nodes, feeds, outputs, opset)
