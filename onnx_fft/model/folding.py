"""One node whose inputs are constants: may it be computed when a model is rewritten, and by what?

Any operator of the standard and of ONNX Runtime may, unless its result is random, or nothing bounds what it costs: a
model of a few bytes can ask for petabytes. So the size of a result is inferred before anything is computed, and so is
the work of sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite, prod
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorShapeProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_fft.model.external import Array, Value
from onnx_fft.model.scopes import DEFAULT_DOMAINS, MICROSOFT_DOMAIN, copy_node, find_bodies
from onnx_fft.model.sequences import HELD

MAX_ELEMENTS = 1 << 27
"""Most elements of a computed constant and of what leads to it: half a gigabyte in float32."""

MAX_WORK = 1 << 36
"""Most products that are summed up for one constant: seconds, or a minute in integers."""

RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
)
"""Operators that give something else each time."""

DROPOUTS = ("Dropout", "BiasDropout", "BitmaskDropout", "BitmaskBiasDropout")
"""Random in training."""

UNBOUNDED = frozenset(("AttnLSTM", "CropAndResize", "StringConcat", "TfIdfVectorizer"))
"""Operators without a body whose cost is not counted here."""

RECURRENT = frozenset(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"))
"""Operators that multiply each sample of a sequence, and what they made of it, by their second and third input."""

PART_ELEMENTS = 64
"""What each tensor of a sequence counts, beside its elements."""

KEPT = frozenset(("QuantizeLinear", "DequantizeLinear"))
"""Operators of constants that ONNX Runtime leaves in the model, to compute with integers."""

SIZED_AS_FIRST = frozenset(("GroupNormalization", "MeanVarianceNormalization"))
"""Operators that inference does not know, whose output is as large as their first input."""

SIZED_BY_INPUTS = frozenset(("NonZero", "Compress", "Unique"))
"""Operators of no known output size, which is no larger than the inputs' times their rank."""

SIZED_BY_VALUES = frozenset(("Range", "Pad"))
"""Operators of ONNX Runtime's own with more outputs than the product of all inputs."""

SMALL_ELEMENTS = 1024
"""Inputs of no more elements may be sizes, which inference has to see."""


def is_foldable(node: NodeProto, opset: int) -> bool:
    """Whether ONNX Runtime computes a node of constants when it loads a model, unless the result is very large."""
    return not _find_kind_obstacle(node, opset) and node.op_type not in KEPT


@dataclass(slots=True)
class Budget:
    """What may still be spent on one constant and all that it is computed from."""

    elements: int = MAX_ELEMENTS
    work: int = MAX_WORK

    def find_obstacle(self, node: NodeProto, feeds: Mapping[str, Value], opset: int) -> str:
        """Why a node is not computed from the values `feeds`, as the rest of a sentence; "" if it may be, and is paid.

        Sizes of nodes that were paid before count, since all values are kept.
        """
        if obstacle := _find_kind_obstacle(node, opset, feeds):
            return obstacle
        if node.op_type in HELD and node.domain in DEFAULT_DOMAINS:
            return self._pay(_count_held(node, feeds), 0)
        tensors = {name: value for name, value in feeds.items() if isinstance(value, np.ndarray)}
        if len(tensors) < len(feeds):
            return "which is not folded: it reads a sequence, or an optional that holds nothing"
        size = _count_elements(node, tensors, opset)
        if size is None:
            return "which is not folded: the size of its result is not known before"
        return self._pay(size, _count_work(node, tensors, size))

    def _pay(self, size: int, work: int) -> str:
        if size > self.elements:
            return f"which is not folded: its result has {size} elements, of {MAX_ELEMENTS} are {self.elements} left"
        if work > self.work:
            return f"which is not folded: it sums up {work} products, of {MAX_WORK} are {self.work} left"
        self.elements -= size
        self.work -= work
        return ""


def evaluate_by_reference(
    nodes: Sequence[NodeProto], feeds: Mapping[str, Array], outputs: Sequence[str], opset: int
) -> list[Any]:
    """The `outputs` of nodes by ONNX's evaluator, to which they are given as a function: that needs no types.

    The evaluator knows DequantizeLinear from opset 19 on; the one of 21 can express older ones and ONNX Runtime's own.
    """
    copies = []
    for node in nodes:
        copies.append(copy_node(node))
        if node.op_type == "DequantizeLinear":
            copies[-1].domain, opset = "", max(opset, 21)
    imports = [helper.make_opsetid("", opset)]
    function = helper.make_function("onnx_fft", "fold", list(feeds), list(outputs), copies, imports)
    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(function).run(None, dict(feeds), {}))


def _find_kind_obstacle(node: NodeProto, opset: int, feeds: Mapping[str, Value] | None = None) -> str:
    """Why a node is not computed, whatever its inputs are, or for the values `feeds`."""
    if node.domain not in (*DEFAULT_DOMAINS, MICROSOFT_DOMAIN):
        return f"of domain {node.domain!r}, which is not folded"
    if node.op_type in RANDOM or (node.op_type in DROPOUTS and not _is_inference(node, opset, feeds or {})):
        return "which is not folded: its result is random"
    if node.op_type in UNBOUNDED or find_bodies(node):
        return "which is not folded: what it costs is not known before"
    if any(attribute.name == "strides" and 0 in attribute.ints for attribute in node.attribute):
        return "which is not folded: a stride is 0"  # onnx 1.16 divides by it, which ends the process
    return ""


def _is_inference(dropout: NodeProto, opset: int, feeds: Mapping[str, Value]) -> bool:
    """Whether a Dropout is known to hand on what it reads: `is_test` says so before opset 7, then its third input."""
    if opset < 7:
        return bool(_read(dropout, "is_test", 0))
    trains = feeds.get(dropout.input[2]) if dropout.op_type == "Dropout" and len(dropout.input) == 3 else None
    return not any(dropout.input[2:]) or (trains is not None and not np.any(np.asarray(trains)))


def _count_held(node: NodeProto, feeds: Mapping[str, Value]) -> int:
    """Elements that an operator of `HELD` makes; tensors that it hands on are not copied."""
    parts = [part for value in feeds.values() for part in (value if isinstance(value, list) else [value])]
    count = len(parts)
    if node.op_type == "SplitToSequence" and isinstance(parts[0], np.ndarray):
        count = max(parts[0].shape, default=1)
    is_copied = node.op_type in ("SplitToSequence", "ConcatFromSequence")
    return PART_ELEMENTS * count + sum(np.size(part) for part in parts if is_copied and part is not None)


def _count_elements(node: NodeProto, feeds: Mapping[str, Array], opset: int) -> int | None:
    """Elements of the largest output, None if they are not known before."""
    total = sum(value.size for value in feeds.values())
    if node.op_type in SIZED_BY_INPUTS:
        return total * max((value.ndim for value in feeds.values()), default=1)
    values = [feeds[name] for name in node.input if name]
    if node.op_type == "Range":  # inference takes an infinite one for an empty one
        start, limit, delta = (float(value.item()) for value in values)
        count = (limit - start) / delta if delta else inf
        return max(0, ceil(count)) if isfinite(count) else None
    if node.op_type == "Einsum":  # onnx 1.16 infers its rank only
        return _count_einsum(node, values, of_output=True)
    if node.op_type in SIZED_AS_FIRST:
        return int(values[0].size)
    if node.op_type == "MaxUnpool" and len(values) > 2:
        return prod(int(length) for length in values[2])
    if node.op_type == "NonMaxSuppression":
        return 3 * int(values[1].size)
    if node.op_type == "Attention" and not node.domain:  # a score of each query and key, and no fewer than its outputs
        return int(total + values[0].size * sum(value.shape[-2] for value in values[1:] if value.ndim > 1))
    if node.op_type == "LRN":  # ONNX Runtime pads the channels
        return int(values[0].size * max(1, _read(node, "size", 1)))
    if node.op_type in RECURRENT:  # the results of each gate
        return int(prod(values[0].shape[:2]) * values[1].size // max(1, values[0].shape[-1]))
    shapes = [value.type.tensor_type for value in _infer_outputs(node, feeds, opset)]
    if all(each.HasField("shape") and all(map(_is_known, each.shape.dim)) for each in shapes):
        return sum(prod(int(dim.dim_value) for dim in each.shape.dim) for each in shapes)
    if node.domain == MICROSOFT_DOMAIN and node.op_type not in SIZED_BY_VALUES:  # most are unknown to inference
        return prod(max(1, value.size) for value in feeds.values())
    return None


def _is_known(dim: TensorShapeProto.Dimension) -> bool:
    return dim.HasField("dim_value") and dim.dim_value >= 0


def _infer_outputs(node: NodeProto, feeds: Mapping[str, Array], opset: int) -> list[ValueInfoProto]:
    """The outputs with what inference says of them; ONNX Runtime's twins of standard operators are taken for these."""
    copy = copy_node(node)
    copy.domain = ""
    if node.op_type == "DequantizeLinear":
        opset = max(opset, 21)
    small = {name: value for name, value in feeds.items() if value.size <= SMALL_ELEMENTS}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
        if name not in small
    ]
    outputs = [ValueInfoProto(name=name) for name in node.output if name]
    tensors = [numpy_helper.from_array(value, name) for name, value in small.items()]
    graph = helper.make_graph([copy], "fold", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return list(onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output)


def _count_work(node: NodeProto, feeds: Mapping[str, Array], size: int) -> int:
    """Products that are summed up for a result of `size` elements, 0 if nothing is summed up."""
    values = [feeds[name] for name in node.input if name]
    kind = node.op_type
    if kind == "Einsum":
        return _count_einsum(node, values, of_output=False)
    if "MatMul" in kind or "Gemm" in kind:
        return size * max(values[0].shape, default=1)
    if "ConvTranspose" in kind:
        return values[0].size * prod(values[1].shape[1:])
    if "Conv" in kind:
        weight = values[3] if kind == "QLinearConv" else values[1]
        return size * prod(weight.shape[1:])
    if kind in RECURRENT:
        return prod(values[0].shape[:2]) * int(values[1].size + values[2].size)
    if kind in ("Det", "Inverse", "NonMaxSuppression"):  # of a matrix, and of pairs of boxes
        return max(int(value.size) * max(value.shape, default=1) for value in values[:2])
    if kind == "RoiAlign":  # samples of each result; without a ratio as many as its region is long
        region = 2 * _read(node, "spatial_scale", 1.0) * float(np.abs(values[1]).max(initial=1))
        most = _read(node, "sampling_ratio", 0) or region
        return ceil(size * float(most) ** 2) if isfinite(most) else MAX_WORK + 1
    if kind == "MaxRoiPool":
        return size * prod(values[0].shape[2:])
    kernel: list[int] = _read(node, "kernel_shape", [0])
    return size * prod(kernel)


def _read(node: NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _count_einsum(node: NodeProto, values: list[Array], *, of_output: bool) -> int:
    """The product of the lengths of all indices, or of the output's; an ellipsis counts with all that it stands for."""
    equation = _read(node, "equation", b"").decode()
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    lengths: dict[str, int] = {}
    rest = 1
    for term, value in zip(terms, values, strict=False):
        letters = term.replace(".", "")
        hidden = value.ndim - len(letters)
        first = term.find(".") if "." in term else len(letters)
        lengths.update(zip(letters, (*value.shape[:first], *value.shape[first + hidden :]), strict=False))
        rest = max(rest, prod(value.shape[first : first + hidden]))
    kept = output if of_output and arrow else lengths
    return rest * prod(lengths.get(letter, 1) for letter in kept)
