"""`Site`: one node of a model that may be replaced, of whatever kind, and what can be asked of every kind."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx import NodeProto

from onnx_fft.errors import Refusal
from onnx_fft.model.scopes import Scope
from onnx_fft.model.storage import Storage, count_freed_bytes
from onnx_fft.sites.fourier import DftSpec, MatMulSpec, StftSpec, describe_fourier
from onnx_fft.sites.spec import ConvSpec, describe_spec
from onnx_fft.sites.transposed import ConvTransposeSpec, describe_transposed

FourierSpec = DftSpec | StftSpec

Spec = ConvSpec | ConvTransposeSpec | DftSpec | StftSpec | MatMulSpec
"""What a site computes, whatever its kind: all that lowerings, costs and plans ask about."""


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One node. Exactly one of `spec` and `refusal` is set; a kind of its own has a spec of its own.

    `name` is unique in the model: the node's own, or its type and position (`Conv#3`), after the path of its scope.
    `followers` holds nodes behind the site's own that go with it, `constants` the names of all constant operands that
    go with these.
    """

    name: str
    op_type: str
    scope: Scope
    node: NodeProto
    spec: Spec | None = None
    refusal: Refusal | None = None
    followers: tuple[NodeProto, ...] = ()
    constants: tuple[str, ...] = ()
    zero_reader: str = ""
    """The first operator behind it that turns on exact zeros, which a transform makes noise of; "" if there is none."""

    @property
    def input(self) -> str:
        """Name of the tensor that is transformed, "" if the node has none."""
        return self.node.input[0] if self.node.input else ""

    @property
    def output(self) -> str:
        """Name of the result, behind the followers."""
        last = self.followers[-1] if self.followers else self.node
        return str(last.output[0])

    @property
    def nodes(self) -> tuple[NodeProto, ...]:
        """The nodes that a replacement stands for, first to last."""
        return (self.node, *self.followers)

    @property
    def opset(self) -> int:
        """Opset of the default domain that holds here."""
        return self.scope.opset

    @property
    def storage(self) -> Storage:
        """How the file holds the constants."""
        return Storage(count_freed_bytes(self.scope, self.nodes, self.constants), is_readable=False)


def list_lengths(spec: Spec) -> tuple[int | None, ...]:
    """The shape of a site's input, None for what the model does not fix."""
    if isinstance(spec, ConvSpec | ConvTransposeSpec):
        return (spec.batch, spec.in_channels, *spec.extents)
    return (spec.batch, spec.length, spec.parts) if isinstance(spec, StftSpec) else spec.shape


def fix_lengths(spec: Spec, shape: tuple[int, ...]) -> Spec:
    """The site on an input of this shape."""
    if isinstance(spec, ConvSpec | ConvTransposeSpec):
        return replace(spec.at(shape[2:]), batch=shape[0])
    if isinstance(spec, StftSpec):
        return replace(spec, batch=shape[0], length=shape[1])
    if isinstance(spec, MatMulSpec):
        return replace(spec, shape=shape)
    length = shape[spec.axis]
    points = spec.dft_length or (2 * (length - 1) if spec.gives_real else length)
    return replace(spec, shape=shape, dft_length=points, has_late_length=False)


def describe_site(spec: Spec) -> str:
    """The geometry of a site on one line."""
    if isinstance(spec, ConvTransposeSpec):
        return describe_transposed(spec)
    return describe_spec(spec) if isinstance(spec, ConvSpec) else describe_fourier(spec)
