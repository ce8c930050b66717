"""A replaced node on random input, alone: for one that no feed needs to reach, in a body or a function.

The constants are the original model's own. The shape is the one that follows from the graph inputs, as the rewritten
model fixes them. If none follows, there are two that the kernel fits into: one of even lengths, one of odd ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from onnx import GraphProto, TensorProto, helper

from onnx_fft.checks.compare import Array
from onnx_fft.checks.convcheck import ConvCheck, check_conv, list_varying, resolve_geometry, run_fragment
from onnx_fft.checks.fouriercheck import check_fourier
from onnx_fft.checks.fragments import CutError
from onnx_fft.checks.matmulcheck import check_matmul
from onnx_fft.checks.replaced import Replaced
from onnx_fft.checks.transposedcheck import check_transposed, read_geometry
from onnx_fft.errors import Refusal
from onnx_fft.model.external import tensor_array
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import Body, Scope, walk_bodies
from onnx_fft.model.shapes import infer_shapes, strip_data
from onnx_fft.model.weights import resolve_constant
from onnx_fft.runtime.engines import EngineError
from onnx_fft.sites.conv_transpose import is_conv_transpose
from onnx_fft.sites.dft import is_fourier
from onnx_fft.sites.fourier import find_taps
from onnx_fft.sites.matmul import is_matmul

Dims = tuple[int | None, ...]

OPEN_LENGTH = 12
"""Of what the model leaves open around a DFT."""


class KnownShapes:
    """What is known of the shapes in the original, its inputs as the rewritten model has them; inferred when asked."""

    def __init__(self, original: LoadedModel, rewritten: LoadedModel) -> None:
        """See `LoadedModel`."""
        self._original, self._rewritten = original, rewritten

    def find_dims(self, scope: Scope, name: str) -> Dims:
        """Dimensions of a tensor that `scope` sees, None for open ones; empty if nothing is known."""
        owner = scope.find_owner(name)
        for body, inferred in self._bodies:
            if owner is not None and body is owner.body:
                graph_values = (*inferred.input, *inferred.output) if isinstance(inferred, GraphProto) else ()
                for value in (*inferred.value_info, *graph_values):
                    if value.name == name and value.type.tensor_type.HasField("shape"):
                        return tuple(dim.dim_value or None for dim in value.type.tensor_type.shape.dim)
        return ()

    @cached_property
    def _bodies(self) -> list[tuple[Body, Body]]:
        skeleton = strip_data(self._original.model, self._original.base_dir)
        fixed = {value.name: value for value in self._rewritten.model.graph.input}
        for value in skeleton.graph.input:
            value.CopyFrom(fixed.get(value.name, value))
        return list(zip(walk_bodies(self._original.model), walk_bodies(infer_shapes(skeleton)), strict=True))


def check_alone(
    original: LoadedModel,
    rewritten: LoadedModel,
    conv: Replaced,
    known: KnownShapes,
    seed: int,
    custom_ops: Sequence[str | Path],
    budget: float,
) -> ConvCheck:
    """The worst check of those on random inputs; `ok` is None if none could be made."""
    try:
        constants = _read_constants(original, conv, custom_ops)
        dims = known.find_dims(conv.scope, conv.input)
        is_transform, is_transposed = is_fourier(conv.node), is_conv_transpose(conv.node)
        is_product = is_matmul(conv.node)
        if is_transform:
            shapes = make_fourier_shapes(conv, constants, dims)
        elif is_product:
            shapes = make_matmul_shapes(conv, constants[conv.weight].shape, dims)
        else:
            weight_shape = constants[conv.node.input[1]].shape
            shapes = (make_transposed_shapes if is_transposed else make_shapes)(conv, weight_shape, dims)
        checks = []
        for number, shape in enumerate(shapes):
            rng = np.random.default_rng([seed, number])
            if is_transform:
                tensors = _draw_signal(conv, constants, shape, rng)
                check = check_fourier(original, rewritten, conv, tensors, seed, custom_ops)
            elif is_product:
                tensors = _draw_signal(conv, constants, shape, rng)
                check = check_matmul(original, rewritten, conv, tensors, seed, custom_ops, budget)
            elif is_transposed:
                tensors = _draw_inputs(conv, constants, shape, rng)
                check = check_transposed(original, rewritten, conv, tensors, seed, custom_ops, budget)
            else:
                tensors = _draw_tensors(conv, constants, shape, rng)
                check = check_conv(original, rewritten, conv, tensors, seed, custom_ops, budget)
            text = f"{check.sentence}; on random input, alone ({'x'.join(map(str, shape))})"
            checks.append(replace(check, sentence=text))
    except (CutError, EngineError, ValueError) as error:  # ValueError: an attribute that the function's caller sets
        return ConvCheck(conv.name, None, f"not checked alone ({error})", seed=seed)
    made = [check for check in checks if check.ok is not None] or checks
    return max(made, key=lambda check: (check.ok is False, np.nan_to_num(check.relative_l2_rewritten)))


def make_shapes(conv: Replaced, weight_shape: Sequence[int], known: Dims) -> list[tuple[int, ...]]:
    """Shapes `[batch, channels, *extents]` to try: those `known`, with open lengths a little over the kernel's span."""
    axes = len(weight_shape) - 2
    geometry = resolve_geometry(conv.node, (1, 1, *[1] * axes), weight_shape)
    shapes = []
    for number in (0, 1):
        shape = [number + 1, weight_shape[1] * geometry.group]
        for axis in range(axes):
            span = geometry.dilations[axis] * (weight_shape[2 + axis] - 1) + 1
            cropped = max(0, -geometry.pads_begin[axis]) + max(0, -geometry.pads_end[axis])
            length = cropped + (number + 1) * (span + 2 * geometry.strides[axis]) + 4 + 2 * axis
            shape.append(length + (length + number) % 2)
        shapes.append(_fix_known(shape, known))
    return list(dict.fromkeys(shapes))


def make_transposed_shapes(site: Replaced, weight_shape: Sequence[int], known: Dims) -> list[tuple[int, ...]]:
    """The same for a ConvTranspose: open lengths of which the pads leave a few outputs, one even and one odd."""
    axes = len(weight_shape) - 2
    geometry = read_geometry(site.node, (1, 1, *[OPEN_LENGTH] * axes), weight_shape)
    cropped = map(sum, zip(geometry.pads_begin, geometry.pads_end, strict=True))
    lengths = [6 + -(-pads // stride) for pads, stride in zip(cropped, geometry.strides, strict=True)]
    opens = [(n + 1, weight_shape[0], *(length + length % 2 + n for length in lengths)) for n in (0, 1)]
    return list(dict.fromkeys(_fix_known(shape, known) for shape in opens))


def _fix_known(shape: Sequence[int], known: Dims) -> tuple[int, ...]:
    """A shape `[batch, channels, *extents]` with those lengths that are known."""
    fixed = (known[0], None, *known[2:]) if len(known) == len(shape) else [None] * len(shape)
    return tuple(length or made for length, made in zip(fixed, shape, strict=True))


def make_fourier_shapes(site: Replaced, constants: Mapping[str, Array], known: Dims) -> list[tuple[int, ...]]:
    """Shapes to try for a DFT or STFT: that which is `known`, with open lengths even and odd. CutError if none is."""
    is_real = site.node.op_type == "STFT" and len(known) == 2  # [batch, length]
    if not known or (known[-1] is None and not is_real):
        raise CutError("the shape of its input is not known")
    counts = [int(value.reshape(())) for value in constants.values() if value.size == 1 and value.dtype.kind in "iu"]
    longest = 2 * max([*counts, *(value.size for value in constants.values()), OPEN_LENGTH])
    opens = [(OPEN_LENGTH, OPEN_LENGTH), (OPEN_LENGTH - 1, OPEN_LENGTH - 1)]
    if site.node.op_type == "STFT":
        opens = [(2, longest), (1, longest + 1)]
    shapes = [
        tuple((first if place == 0 else other) if length is None else length for place, length in enumerate(known))
        for first, other in opens
    ]
    return list(dict.fromkeys(shapes))


def make_matmul_shapes(site: Replaced, weight_shape: Sequence[int], known: Dims) -> list[tuple[int, ...]]:
    """Shapes of frames to try for a MatMul: that which is `known`, with open lengths even and odd."""
    dims = list(known or (None, None))
    dims[find_taps(len(dims), site.in_columns)] = weight_shape[1 if site.in_columns else 0]
    shapes = [tuple(length or made for length in dims) for made in (OPEN_LENGTH, OPEN_LENGTH - 1)]
    return list(dict.fromkeys(shapes))


def _draw_signal(
    site: Replaced, constants: Mapping[str, Array], shape: tuple[int, ...], rng: np.random.Generator
) -> dict[str, Array]:
    """Everything that a DFT, STFT or MatMul reads: constants as they are, the rest at random; CutError for windows."""
    name = site.input
    others = [other for other in site.reads if other != name]
    if missing := [other for other in others if other and other not in constants]:
        raise CutError(f"{missing[0]!r} is computed at run time")
    kinds = [value.dtype for value in constants.values() if value.dtype.kind == "f"]
    dtype = kinds[0] if kinds else helper.tensor_dtype_to_np_dtype(site.scope.types.get(name, TensorProto.FLOAT))
    return {**constants, name: np.asarray(rng.standard_normal(shape)).astype(dtype)}


def _draw_inputs(
    site: Replaced, constants: Mapping[str, Array], shape: tuple[int, ...], rng: np.random.Generator
) -> dict[str, Array]:
    """Everything that a ConvTranspose reads: constants as they are, input and a bias of run time at random."""
    weight = constants[site.node.input[1]]
    channels = weight.shape[1] * read_geometry(site.node, shape, weight.shape).group
    tensors = dict(constants)
    for name, wanted in zip(site.node.input, (shape, weight.shape, (channels,)), strict=False):
        if name and name not in tensors:
            tensors[name] = np.asarray(rng.standard_normal(wanted)).astype(weight.dtype)
    return tensors


def _read_constants(original: LoadedModel, conv: Replaced, custom_ops: Sequence[str | Path]) -> dict[str, Array]:
    """The constants the Conv reads, in their own dtypes; CutError if the weight is not a constant."""
    values = {}
    varying = list_varying(conv)
    for name in conv.reads:
        if name in varying:
            continue
        owner = conv.scope.find_owner(name)
        stored = None if owner is None else owner.tensors.get(name)
        if isinstance(stored, TensorProto):
            values[name] = tensor_array(stored, original.base_dir)
        elif stored is None:
            values |= run_fragment(original, conv.scope, [name], {}, custom_ops)
        elif not isinstance(sparse := resolve_constant(name, conv.scope), Refusal):
            values[name] = sparse
    if missing := [name for name in conv.constants if name not in values]:
        raise CutError(f"{missing[0]!r} is computed at run time")
    return values


def _draw_tensors(
    conv: Replaced, constants: dict[str, Array], shape: tuple[int, ...], rng: np.random.Generator
) -> dict[str, Array]:
    """Everything the Conv reads: constants as they are, input, run-time bias and what is added at random."""
    weight = constants[conv.node.input[1]]
    outputs = resolve_geometry(conv.node, shape, weight.shape).output_extents(shape[2:], weight.shape[2:])
    shapes = [shape, weight.shape, weight.shape[:1], (shape[0], weight.shape[0], *outputs)]
    tensors = dict(constants)
    residuals = [name for name in conv.reads if name not in conv.node.input]
    for name, wanted in (*zip(conv.node.input, shapes, strict=False), *((name, shapes[3]) for name in residuals)):
        if name and name not in tensors:
            tensors[name] = np.asarray(rng.standard_normal(wanted)).astype(weight.dtype)
    return tensors
