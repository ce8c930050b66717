"""A MatMul as a site: frames times a matrix whose columns are rows of a windowed DFT basis, an STFT of cut frames.

Any other MatMul is none, and is not listed either: models have hundreds of them. What tells is the weight, by its
shape first, then by a sample of its columns, and only then by all of it (`sites.basis`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnx_fft.errors import InvalidModelError, Refusal
from onnx_fft.model.external import Array
from onnx_fft.model.scopes import DEFAULT_DOMAINS, INLINING, Refused, Scope, is_graph
from onnx_fft.model.storage import Storage, count_freed_bytes
from onnx_fft.model.weights import is_stored, resolve_constant, resolve_type
from onnx_fft.sites.basis import LEAST_TAPS, LONGEST_BASIS, find_column_basis
from onnx_fft.sites.fourier import MatMulSpec
from onnx_fft.sites.geometry import DTYPES, MAX_VALUES, require
from onnx_fft.sites.site import Site

MOST_WEIGHTS = 1 << 23
"""Numbers of a weight that is looked at: 2,048 points and all their bins have half as many."""

MOST_ASSUMED_FRAMES = 4096
"""For an open length, those of minutes of audio: the most that a site is judged at."""


@dataclass(frozen=True, slots=True, eq=False)
class MatMulSite(Site):
    """One MatMul `[..., taps] x [taps, rows]`."""

    spec: MatMulSpec | None = None

    @property
    def raw_weight(self) -> str:
        """The name of the weight if another node can read it in its place, else "".

        That has to know it when it is made, and ONNX Runtime (1.17) shows it only what is stored in its own graph.
        """
        name = str(self.node.input[1])
        return name if self.scope.find_owner(name) is self.scope and is_stored(name, self.scope) else ""

    @property
    def storage(self) -> Storage:
        """How the file holds the weight."""
        return Storage(count_freed_bytes(self.scope, self.nodes, self.constants), bool(self.raw_weight))

    def read_weight(self) -> NDArray[np.float64]:
        """The weight `[taps, rows]`; InvalidModelError if it is gone."""
        value = _read_weight(self.node, self.scope)
        if value is None:
            raise InvalidModelError(f"{self.node.input[1]!r}, which {self.name!r} reads, has no value", "a constant")
        return value.astype(np.float64)


def is_matmul(node: NodeProto) -> bool:
    """Whether the node is the standard's MatMul, whatever it multiplies."""
    return node.op_type == "MatMul" and node.domain in DEFAULT_DOMAINS and len(node.input) == 2


def has_basis(node: NodeProto, scope: Scope) -> bool:
    """Whether a MatMul is listed: its second operand is a constant, and a windowed DFT basis, turned."""
    return _find_basis(node, scope) > 0


def resolve_matmul(name: str, scope: Scope, node: NodeProto) -> MatMulSite:
    """The site of a MatMul that is listed; raises `Refused` if it cannot be replaced."""
    weight = resolve_type(node.input[1], scope)
    assert not isinstance(weight, Refusal)  # or it were not listed
    taps, rows = weight.shape
    shape = scope.shapes.get(node.input[0])
    if shape is None:
        hint = "" if is_graph(scope.root.body) else INLINING
        raise Refused("unknown-input", f"shape of {node.input[0]!r} is not known", hint)
    require(0 not in shape, "zero-size", f"input has shape {list(shape)}")
    agrees = len(shape) > 0 and shape[-1] in (None, taps)
    require(agrees, "bad-channels", f"input has shape {list(shape)}, the weight asks for {taps} as the last dimension")
    values = prod(length or MOST_ASSUMED_FRAMES for length in shape[:-1]) * max(taps, rows)
    require(values <= MAX_VALUES, "too-large", f"a tensor may have {values:.1e} numbers, {MAX_VALUES:.1e} are the most")
    spec = MatMulSpec((*shape[:-1], taps), rows, DTYPES[weight.elem_type], _find_basis(node, scope))
    return MatMulSite(name, node.op_type, scope, node, spec, constants=(node.input[1],))


def _find_basis(node: NodeProto, scope: Scope) -> int:
    """Points of the DFT whose windowed basis the columns of a MatMul's weight are; 0 if they are none."""
    if not is_matmul(node) or not all(node.input) or not node.output[0] or not _may_be_basis(node.input[1], scope):
        return 0
    weight = _read_weight(node, scope)
    dtype = "" if weight is None else str(weight.dtype)
    return find_column_basis(weight, dtype) if weight is not None and dtype in DTYPES.values() else 0


def _may_be_basis(name: str, scope: Scope) -> bool:
    """By the shape alone, if that is known without the values."""
    known = scope.shapes.get(name)
    if known is None or None in known:
        found = resolve_type(name, scope)
        known = None if isinstance(found, Refusal) else list(found.shape)
    shape = [length or 0 for length in known or ()]
    return len(shape) == 2 and LEAST_TAPS <= shape[0] <= LONGEST_BASIS and 0 < prod(shape) <= MOST_WEIGHTS


def _read_weight(node: NodeProto, scope: Scope) -> Array | None:
    value = resolve_constant(node.input[1], scope)
    return None if isinstance(value, Refusal) else value
