"""A MatMul as a site: frames times a matrix that is a windowed DFT basis, an STFT of cut frames.

Frames are the rows of what the matrix stands behind, or the columns of what it stands before. Any other MatMul is none,
and is not listed either: models have hundreds of them. What tells is the weight, by its shape first, then by a sample
of its rows, and only then by all of it (`sites.basis`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnx_fft.errors import InvalidModelError, Refusal
from onnx_fft.model.scopes import DEFAULT_DOMAINS, INLINING, Refused, Scope, is_graph
from onnx_fft.model.storage import Storage, count_freed_bytes
from onnx_fft.model.weights import is_stored, resolve_constant, resolve_type
from onnx_fft.sites.basis import LEAST_TAPS, LONGEST_BASIS, find_row_basis
from onnx_fft.sites.fourier import MatMulSpec, find_taps
from onnx_fft.sites.geometry import DTYPES, MAX_VALUES, require
from onnx_fft.sites.site import Site

MOST_WEIGHTS = 1 << 23
"""Numbers of a weight that is looked at: 2,048 points and all their bins have half as many."""

MOST_ASSUMED_FRAMES = 4096
"""For an open length, those of minutes of audio: the most that a site is judged at."""


@dataclass(frozen=True, slots=True)
class BasisOperand:
    """The operand of a MatMul that is a windowed DFT basis: its place, and the points of the DFT."""

    place: int
    points: int


@dataclass(frozen=True, slots=True, eq=False)
class MatMulSite(Site):
    """One MatMul `[..., taps] x [taps, rows]` or `[rows, taps] x [..., taps, frames]`."""

    spec: MatMulSpec | None = None

    @property
    def input(self) -> str:
        """Name of the frames."""
        return str(self.node.input[1 if self._is_weight_first else 0])

    @property
    def _weight(self) -> str:
        return str(self.node.input[0 if self._is_weight_first else 1])

    @property
    def _is_weight_first(self) -> bool:
        return self.spec is not None and self.spec.in_columns

    @property
    def raw_weight(self) -> str:
        """The name of the weight if another node can read it in its place, else "".

        That has to know it when it is made, and ONNX Runtime (1.17) shows it only what is stored in its own graph.
        """
        name = self._weight
        return name if self.scope.find_owner(name) is self.scope and is_stored(name, self.scope) else ""

    @property
    def storage(self) -> Storage:
        """How the file holds the weight."""
        return Storage(count_freed_bytes(self.scope, self.nodes, self.constants), bool(self.raw_weight))

    def read_weight(self) -> NDArray[np.float64]:
        """The weight, of `spec.weight_shape`; InvalidModelError if it is gone."""
        value = resolve_constant(self._weight, self.scope)
        if isinstance(value, Refusal):
            raise InvalidModelError(f"{self._weight!r}, which {self.name!r} reads, has no value", "a constant")
        return value.astype(np.float64)


def is_matmul(node: NodeProto) -> bool:
    """Whether the node is the standard's MatMul, whatever it multiplies."""
    return node.op_type == "MatMul" and node.domain in DEFAULT_DOMAINS and len(node.input) == 2


def find_basis_operand(node: NodeProto, scope: Scope, constants: Collection[str]) -> BasisOperand | None:
    """That of a MatMul that is listed, among operands that are `constants`; None of any other."""
    if not is_matmul(node) or not all(node.input) or not node.output[0]:
        return None
    for place in (1, 0):
        if node.input[place] in constants and (points := _find_basis(node.input[place], place, scope)):
            return BasisOperand(place, points)
    return None


def resolve_matmul(name: str, scope: Scope, node: NodeProto, basis: BasisOperand) -> MatMulSite:
    """The site of a MatMul that is listed; raises `Refused` if it cannot be replaced."""
    x, matrix, in_columns = node.input[1 - basis.place], node.input[basis.place], basis.place == 0
    weight = resolve_type(matrix, scope)
    assert not isinstance(weight, Refusal)  # or it were not listed
    taps, rows = weight.shape[::-1] if in_columns else weight.shape
    known = scope.shapes.get(x)
    if known is None:
        hint = "" if is_graph(scope.root.body) else INLINING
        raise Refused("unknown-input", f"shape of {x!r} is not known", hint)
    require(0 not in known, "zero-size", f"input has shape {known}")
    axis = find_taps(len(known), in_columns)
    asked = f"the weight asks for {taps} as the last dimension{' but one' if in_columns and len(known) > 1 else ''}"
    require(bool(known) and known[axis] in (None, taps), "bad-channels", f"input has shape {known}, {asked}")
    shape = (*known[:axis], taps, *known[axis + 1 :])
    frames = (*known[:axis], *known[axis + 1 :])
    values = prod(length or MOST_ASSUMED_FRAMES for length in frames) * max(taps, rows)
    require(values <= MAX_VALUES, "too-large", f"a tensor may have {values:.1e} numbers, {MAX_VALUES:.1e} are the most")
    spec = MatMulSpec(shape, rows, DTYPES[weight.elem_type], basis.points, in_columns)
    return MatMulSite(name, node.op_type, scope, node, spec, constants=(matrix,))


def _find_basis(name: str, place: int, scope: Scope) -> int:
    """Points of the DFT whose windowed basis an operand of a MatMul is; 0 if it is none."""
    if not _may_be_basis(name, place, scope):
        return 0
    weight = resolve_constant(name, scope)
    if isinstance(weight, Refusal) or str(weight.dtype) not in DTYPES.values():
        return 0
    return find_row_basis(weight.T if place else weight, str(weight.dtype))


def _may_be_basis(name: str, place: int, scope: Scope) -> bool:
    """By the shape alone, if that is known without the values."""
    known = scope.shapes.get(name)
    if known is None or None in known:
        found = resolve_type(name, scope)
        known = None if isinstance(found, Refusal) else list(found.shape)
    shape = [length or 0 for length in known or ()]
    taps = shape[1 - place] if len(shape) == 2 else 0
    return LEAST_TAPS <= taps <= LONGEST_BASIS and 0 < prod(shape) <= MOST_WEIGHTS
