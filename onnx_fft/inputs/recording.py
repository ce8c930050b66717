"""What tensors inside a model hold under one feed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from onnx_fft.errors import Refusal
from onnx_fft.model.external import tensor_array
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import find_producers, find_scopes
from onnx_fft.model.weights import resolve_constant
from onnx_fft.runtime.engines import Value
from onnx_fft.runtime.opening import open_runner

CHUNK = 16
"""Convs whose inputs are recorded in one run; bounds the memory that recorded tensors hold."""


def record_tensors(
    source: LoadedModel, names: Sequence[str], feed: Mapping[str, Value], custom_ops: Sequence[str | Path] = ()
) -> dict[str, Value]:
    """The values of tensors of the main graph under one feed; constants are read from the file."""
    found: dict[str, Value] = {name: feed[name] for name in names if name in feed}
    for tensor in source.model.graph.initializer:
        if tensor.name in names and tensor.name not in found:
            found[tensor.name] = tensor_array(tensor, source.base_dir)
    for sparse in {tensor.values.name for tensor in source.model.graph.sparse_initializer} & set(names) - found.keys():
        value = resolve_constant(sparse, find_scopes(source.model, source.base_dir)[0])
        found |= {} if isinstance(value, Refusal) else {sparse: value}
    makers = find_producers(source.model.graph)
    missing = [name for name in dict.fromkeys(names) if name not in found and name in makers]
    if missing:
        outputs = open_runner(source, expose=missing, custom_ops=custom_ops).run(feed)
        found |= {name: outputs[name] for name in missing}
    return found
