"""What the graphs say around the outputs: tensors before a saturation, and integers decided by floats."""

from __future__ import annotations

from onnx import ModelProto, NodeProto

from onnx_fft.model.scopes import find_producers

SATURATING = ("Sigmoid", "Softmax", "HardSigmoid", "Tanh")
RESHAPING = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten")
# fmt: off
FLOAT_DECISIONS = (
    "ArgMax", "ArgMin", "TopK", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal", "Round", "Floor", "Ceil",
    "Cast", "NonMaxSuppression", "QuantizeLinear", "DynamicQuantizeLinear", "NonZero", "Unique",
)
# fmt: on


def find_before_saturation(original: ModelProto, rewritten: ModelProto) -> dict[str, str]:
    """Tensors in front of a final Sigmoid and the like that both models make, with that operator's name."""
    before, after = find_producers(original.graph), find_producers(rewritten.graph)
    output_names = [value.name for value in original.graph.output]
    found = {}
    for name in output_names:
        node = before.get(name)
        while node is not None and node.op_type in RESHAPING:
            node = before.get(_first_input(node))
        if node is not None and node.op_type in SATURATING and (tensor := _first_input(node)) in before.keys() & after:
            found[tensor] = node.op_type
    return {name: op_type for name, op_type in found.items() if name not in output_names}


def _first_input(node: NodeProto) -> str:
    """What a node reads first, "" if it reads nothing: a foreign operator may have any name."""
    return node.input[0] if node.input else ""


def is_float_decision(model: ModelProto, name: str) -> bool:
    """Whether an integer output is made, at one or a few removes, by rounding, comparing or ranking floats."""
    makers, wanted = find_producers(model.graph), [name]
    for _ in range(50):
        node = makers.get(wanted.pop()) if wanted else None
        if node is not None:
            if node.op_type in FLOAT_DECISIONS:
                return True
            wanted += list(node.input)
    return False
