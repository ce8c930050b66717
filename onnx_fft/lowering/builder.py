"""The builder that writes the nodes of a fragment, hiding what differs between opsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnx_fft.lowering.base import FourierPorts, Fragment, Ports
from onnx_fft.model.weights import ConvWeights
from onnx_fft.sites.activations import CLIP_INPUTS_OPSET
from onnx_fft.sites.spec import Activation, ConvSpec

Dim: TypeAlias = "int | gs.Variable"
"""A length: an int if the model fixes it, else a run-time int64 tensor of one element."""

Length: TypeAlias = "int | gs.Variable | gs.Constant"
"""A `Dim`, or an int64 vector, constant or computed at run time."""

ACTIVATION_PARAMS = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Clip": ("min", "max")}
"""Attributes by the operators that have some, in the order of `Activation.params`."""

_INTEGER_OPS = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.floor_divide}


class NodeBuilder:
    """Writes the nodes of one fragment, hiding what differs between opsets 7 and newer ones.

    float16 is computed in float32, as ONNX Runtime's CPU operators do.
    """

    def __init__(self, host_dtype: str, ports: Ports | FourierPorts) -> None:
        """Start an empty fragment between `ports`, whose tensors have `host_dtype`."""
        self.ports = ports
        self.dtype = np.dtype("float32" if host_dtype == "float16" else host_dtype)
        self._host_dtype = host_dtype
        self._graph = gs.Graph(opset=ports.opset)
        self._count = 0
        self._host_tensors: dict[str, gs.Variable] = {}

    def input(self) -> gs.Variable:
        """The operator's input, in the dtype the fragment computes in."""
        return self.host_tensor(self.ports.input)

    def close(self, y: gs.Variable) -> Fragment:
        """The fragment whose output is `y`, in the host's dtype."""
        if self.dtype != self._host_dtype:
            y = self.cast(y, self._host_dtype)
        y.inputs[0].outputs = [gs.Variable(self.ports.output)]
        model = gs.export_onnx(self._graph, do_type_check=False)
        return Fragment(tuple(model.graph.node), tuple(model.graph.initializer))

    def host_tensor(self, name: str) -> gs.Variable:
        """A tensor of the host graph, one object for each name, in the dtype the fragment computes in."""
        if name not in self._host_tensors:
            x = gs.Variable(name)
            self._host_tensors[name] = x if self.dtype == self._host_dtype else self.cast(x, self.dtype.name)
        return self._host_tensors[name]

    def op(self, op_type: str, *inputs: gs.Tensor, **attributes: object) -> gs.Variable:
        """Append a node with one output and return that; `op_type` may be written `domain::op_type`."""
        domain, _, kind = op_type.rpartition("::")
        name = self._fresh(kind)
        result = gs.Variable(name)
        self._graph.layer(
            op=kind, name=name, inputs=list(inputs), outputs=[result], attrs=attributes, domain=domain or None
        )
        return result

    def real(self, values: NDArray[np.float64]) -> gs.Constant:
        """A constant in the dtype the fragment computes in."""
        return gs.Constant(self._fresh("const"), np.asarray(values, self.dtype, order="C"))

    def integers(self, values: object) -> gs.Constant:
        """An int64 constant of the shape of `values`, a scalar for an int."""
        return gs.Constant(self._fresh("index"), np.asarray(values, dtype=np.int64))

    def split(self, x: gs.Variable, axis: int) -> tuple[gs.Variable, gs.Variable]:
        """Real and imaginary part, the two elements of dimension `axis` (opset 13 and newer)."""
        name = self._fresh("Split")
        parts = (gs.Variable(f"{name}_real"), gs.Variable(f"{name}_imaginary"))
        self._graph.layer(
            op="Split", name=name, inputs=[x, self.integers([1, 1])], outputs=list(parts), attrs={"axis": axis}
        )
        return parts

    def reshape(self, x: gs.Tensor, *dims: Dim) -> gs.Tensor:
        """`Reshape`, done now for a constant; -1 and 0 mean what they mean there."""
        if isinstance(x, gs.Constant):
            return self.integers(np.reshape(x.values, dims))
        return self.op("Reshape", x, self.vector(*dims))

    def transpose(self, x: gs.Variable, *perm: int) -> gs.Variable:
        """`Transpose`, or `x` itself if nothing would move."""
        return x if perm == tuple(range(len(perm))) else self.op("Transpose", x, perm=list(perm))

    def pad(self, x: gs.Variable, begin: Sequence[Dim], end: Sequence[Dim]) -> gs.Variable:
        """`Pad` with zeros, or `x` itself if there is nothing to add; lengths of run time take opset 11."""
        pads = [*begin, *end]
        if all(isinstance(count, int) and count == 0 for count in pads):
            return x
        if self.ports.opset < 11:
            return self.op("Pad", x, pads=pads)
        return self.op("Pad", x, self.vector(*pads))

    def cast(self, x: gs.Variable, dtype: str) -> gs.Variable:
        """`Cast` to a NumPy dtype name."""
        return self.op("Cast", x, to=int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))))

    def vector(self, *dims: Dim) -> gs.Tensor:
        """Lengths as one int64 vector: a constant if all are known."""
        if all(isinstance(dim, int) for dim in dims):
            return self.integers(list(dims))
        parts = [self.integers([dim]) if isinstance(dim, int) else dim for dim in dims]
        return self.op("Concat", *parts, axis=0)

    def extent(self, x: gs.Variable, position: int) -> gs.Variable:
        """The run-time length of one dimension of `x`, as a vector of one element."""
        return self.op("Gather", self.op("Shape", x), self.integers([position]), axis=0)

    def require_length(self, length: Length, name: str) -> gs.Variable:
        """`length`, of run time, by way of a node called `name` that fails if it is negative."""
        node = gs.Node("ConstantOfShape", f"{self.ports.prefix}{name}", inputs=[length])
        node.attrs["value"] = gs.Constant("one", np.ones(1, np.uint8))
        node.outputs = [gs.Variable(node.name)]
        self._graph.nodes.append(node)
        return self.op("Shape", node.outputs[0])

    def arange(self, count: Dim) -> gs.Tensor:
        """`0 .. count - 1` as int64; at run time through NonZero, since Range came only with opset 11."""
        if isinstance(count, int):
            return self.integers(np.arange(count))
        ones = self.op("ConstantOfShape", count, value=gs.Constant("one", np.ones(1, np.int64)))
        return self.reshape(self.op("NonZero", ones), -1)

    def add(self, a: Length, b: Length) -> Length:
        """`a + b` of lengths or index vectors, computed now if both are known."""
        return self._integer_op("Add", a, b)

    def subtract(self, a: Length, b: Length) -> Length:
        """`a - b`, likewise."""
        return self._integer_op("Sub", a, b)

    def multiply(self, a: Length, b: Length) -> Length:
        """`a * b`, likewise."""
        return self._integer_op("Mul", a, b)

    def floor_divide(self, a: Length, b: Length) -> Length:
        """`a // b` for non-negative operands, likewise."""
        return self._integer_op("Div", a, b)

    def _integer_op(self, op_type: str, a: Length, b: Length) -> Length:
        if isinstance(a, gs.Variable) or isinstance(b, gs.Variable):
            return self.op(op_type, *(self.integers([v]) if isinstance(v, int) else v for v in (a, b)))
        left, right = (np.asarray(v.values if isinstance(v, gs.Constant) else v) for v in (a, b))
        result = _INTEGER_OPS[op_type](left, right)
        return self.integers(result) if result.ndim else int(result)

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{self.ports.prefix}{stem}_{self._count}"


class FragmentBuilder(NodeBuilder):
    """The builder of a convolution's fragment, with what follows the convolution."""

    def __init__(self, spec: ConvSpec, ports: Ports) -> None:
        """Start an empty fragment for `spec` between `ports`."""
        super().__init__(spec.dtype, ports)
        self.spec = spec
        self.ports: Ports = ports

    def finish(self, y: gs.Variable, weights: ConvWeights) -> Fragment:
        """Add bias, sum and activation to `y` `[batch, out_channels, *output_extents]` and close the fragment."""
        channel_shape = (-1, *[1] * self.spec.rank)
        if weights.bias is not None:
            y = self.op("Add", y, self.real(weights.bias.reshape(channel_shape)))
        elif weights.bias_input:
            y = self.op("Add", y, self.reshape(self.host_tensor(weights.bias_input), *channel_shape))
        if self.ports.sum_input:
            y = self.op("Add", y, self.host_tensor(self.ports.sum_input))
        if self.spec.activation is not None:
            y = self._activate(y, self.spec.activation)
        return self.close(y)

    def _activate(self, x: gs.Variable, activation: Activation) -> gs.Variable:
        """A fused activation with the parameters ONNX Runtime's FusedConv gives it."""
        if activation.op_type == "Clip" and self.ports.opset >= CLIP_INPUTS_OPSET:
            return self.op("Clip", x, *(self.real(np.asarray(bound)) for bound in activation.params))
        names = ACTIVATION_PARAMS.get(activation.op_type, ())
        return self.op(activation.op_type, x, **dict(zip(names, activation.params, strict=True)))
