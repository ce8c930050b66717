"""A chain of nodes as it is built, whose end is what the next node reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from scripts.shared.conv_models import Array


@dataclass
class Chain:
    """What is built so far: `value`, of `shape`, is the end."""

    rng: Random
    opset: int
    dtype: str
    shape: list[int]
    value: str = "x"
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> None:
        """A node at the end that reads it, and `inputs` after it."""
        output = f"v{len(self.nodes)}"
        node = helper.make_node(op_type, [self.value, *inputs], [output], f"{op_type}_{len(self.nodes)}", **attributes)
        self.nodes.append(node)
        self.value = output

    def store(self, *shape: int, dtype: str = "") -> str:
        """The name of a new initializer of random values."""
        values = np.random.default_rng(self.rng.getrandbits(32)).standard_normal(shape)
        return self.hold(values.astype(dtype or self.dtype))

    def hold(self, values: Array) -> str:
        """The name of a new initializer of these values."""
        name = f"c{len(self.constants)}"
        self.constants[name] = values
        return name
