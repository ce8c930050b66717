"""Collects the nodes and constants of one ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
Shape = Sequence[int | str]
"""A string is the name of an open dimension."""


class Graph:
    """A graph in the making; every method returns the name of the tensor it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """An initializer."""
        self.constants[name] = values
        return name

    def add(self, op_type: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """A node with one output, which is called after its place and its operator if it has no name."""
        output = output or f"{len(self.nodes)}_{op_type}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def build(self, name: str, inputs: dict[str, Shape], outputs: dict[str, Shape]) -> onnx.ModelProto:
        """The checked model, all of its inputs and outputs float32."""
        read, made = (
            [helper.make_tensor_value_info(value, TensorProto.FLOAT, shape) for value, shape in group.items()]
            for group in (inputs, outputs)
        )
        tensors = [numpy_helper.from_array(np.ascontiguousarray(array), key) for key, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, name, read, made, tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model
