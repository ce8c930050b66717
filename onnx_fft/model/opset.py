"""The opset of a model, and moving the model to a newer one.

Every node is converted by itself, and only if its operator changed on the way: an operator whose newer version takes
all that the older one took, and means the same by it, stays byte for byte what it was. `opset_rules` rewrites those
that changed otherwise. onnx's own version converter is not used: it passes the whole graph through a form that loses
names, empty outputs, bodies and functions, and it is wrong for several operators (Upsample, Resize, Hardmax,
GroupNormalization among them).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path

import onnx
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto
from onnx.defs import OpSchema
from onnx.helper import make_node

from onnx_fft.errors import OpsetError
from onnx_fft.model.inlining import has_same_opsets
from onnx_fft.model.opset_rules import RULES, Place
from onnx_fft.model.scopes import (
    DEFAULT_DOMAINS,
    FunctionKey,
    Refused,
    Scope,
    copy_node,
    find_scopes,
    function_key,
    is_graph,
    label_node,
    walk_bodies,
    walk_body,
    walk_training,
)
from onnx_fft.model.shapes import infer_shapes
from onnx_fft.model.splice import unused_prefix

OLDEST, NEWEST = 6, 28
"""The opsets whose changes are known here, up to that of onnx 1.23."""


def model_opset(model: ModelProto) -> int:
    """Version of the default domain that the model imports, 1 if it imports none."""
    return next((entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), 1)


def convert_opset(model: ModelProto, target: int, base_dir: Path | None = None) -> ModelProto:
    """A copy at opset `target` of the default domain; OpsetError names the node that cannot be converted.

    `base_dir` is where external data lies, which may say how a node is to be converted.

    Functions that import an older version of the domain are converted as well: ONNX Runtime reads their nodes by the
    model's version once it has inlined them.
    """
    opset = model_opset(model)
    copy = ModelProto()
    copy.CopyFrom(model)
    if target == opset:
        return copy
    if problem := _find_obstacle(opset, target):
        raise _error(opset, target, problem)
    try:
        _convert_bodies(copy, target, base_dir)
        _check_training(copy, opset, target)
    except Refused as refused:
        raise _error(opset, target, refused.refusal.reason) from refused
    for body in (copy, *copy.functions):
        for entry in body.opset_import:
            if entry.domain in DEFAULT_DOMAINS:
                entry.version = max(entry.version, target)
    return copy


def can_adapt(function: FunctionProto, model: ModelProto) -> bool:
    """Whether `adapt_functions` can bring this function of the model to the model's opset."""
    trial = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=[function])
    try:
        adapt_functions(trial, {function_key(function)}, None)
    except Refused:
        return False
    return has_same_opsets(trial.functions[0], model)


def adapt_functions(model: ModelProto, chosen: Container[FunctionKey], base_dir: Path | None) -> None:
    """Convert, in place, the `chosen` functions of an older opset than the model's to that.

    Of a newer opset one may be, if its operators are those of the model's. Raises Refused.
    """
    target = model_opset(model)
    for function in model.functions:
        entry = next((entry for entry in function.opset_import if entry.domain in DEFAULT_DOMAINS), None)
        if entry is None or entry.version == target or function_key(function) not in chosen:
            continue
        if entry.version < target:
            if problem := _find_obstacle(entry.version, target):
                raise Refused("opset", problem)
            _convert_bodies(model, target, base_dir, function)
        elif any(
            _find_schema(node, entry.version) is not _find_schema(node, target)
            for body in walk_body(function)
            for node in body.node
        ):
            raise Refused("opset", f"its operators are newer than opset {target}")
        entry.version = target


def _find_schema(node: NodeProto, opset: int) -> OpSchema | None:
    """The version of a node's operator in an opset, None if it is of another domain, or unknown."""
    known = _history().get(node.op_type, ()) if node.domain in DEFAULT_DOMAINS else ()
    return next((schema for schema in reversed(known) if schema.since_version <= opset), None)


def _find_obstacle(opset: int, target: int) -> str:
    """Why no model of this opset can be converted, or ""."""
    newest = min(NEWEST, onnx.defs.onnx_opset_version())
    if target < opset:
        return "the target is older than the model"
    if target > newest:
        return f"versions are known up to {newest}"
    return f"models older than opset {OLDEST} are not converted" if opset < OLDEST else ""


def _error(opset: int, target: int, problem: str) -> OpsetError:
    return OpsetError(
        f"got a model of opset {opset} that could not be converted to opset {target} ({problem})",
        hint="export the model again, or use a lowering that needs no newer opset",
    )


def _convert_bodies(model: ModelProto, target: int, base_dir: Path | None, only: FunctionProto | None = None) -> None:
    """Convert the nodes of every body in place, or of those of `only`, inner bodies before the nodes that hold them."""
    scopes = find_scopes(model, base_dir)
    types = {}
    for scope, body in zip(scopes, walk_bodies(infer_shapes(model, base_dir)), strict=True):
        values = (*body.value_info, *(body.input if is_graph(body) else ()))
        types[scope] = {value.name: value.type for value in values}
    prefix = unused_prefix(model, "onnx_fft_opset")
    names = (f"{prefix}{number}" for number in count())
    for scope in reversed(scopes):
        if only is not None and scope.root.body is not only:
            continue
        converted: list[NodeProto] = []
        for position, node in enumerate(scope.body.node):
            try:
                place = Place(scope, types, names)
                nodes = _convert_node(node, scope.opset, target, place)
                converted += [make_node("Constant", [], [name], name, value=made) for name, made in place.made.items()]
                converted += nodes
            except Refused as refused:
                label = f"{scope.path}{label_node(node, position)}"
                raise Refused("opset", f"{label}: {refused.refusal.reason}") from refused
        del scope.body.node[:]
        scope.body.node.extend(converted)


def _check_training(model: ModelProto, opset: int, target: int) -> None:
    """Refuse a model whose training graphs, which go by the opset of the model, would change."""
    for graph in walk_training(model):
        for position, node in enumerate(graph.node):
            place = Place(Scope("", graph, None, opset, model.ir_version, None), {}, map(str, count()))
            if _convert_node(node, opset, target, place)[0] is not node:
                raise Refused("opset", f"{label_node(node, position)}: in training_info nothing is converted")


def _convert_node(node: NodeProto, opset: int, target: int, place: Place) -> list[NodeProto]:
    """What computes at `target` what `node` computes at `opset`: `node` itself if nothing changed for it."""
    if node.domain not in DEFAULT_DOMAINS:
        return [node]
    older = [schema for schema in _history().get(node.op_type, []) if schema.since_version <= opset]
    if not older:
        raise Refused("opset", f"ONNX has no {node.op_type} in opset {opset}")
    schema = older[-1]
    for newer in _history()[node.op_type][len(older) :]:
        version = newer.since_version
        if version > target:
            break
        rule = RULES.get((node.op_type, version))
        if rule is not None:
            if problem := _find_misfit(node, schema):
                raise Refused("opset", problem)
            nodes = rule(copy_node(node), place)
            return [result for each in nodes for result in _convert_node(each, version, target, place)]
        if not _extends(newer, schema):
            raise Refused("opset", f"{node.op_type} is another operator from opset {version} on")
        schema = newer
    return [node]


def _find_misfit(node: NodeProto, schema: OpSchema) -> str:
    """Why a node is not what its operator asks for, which rules rely on; "" if it is."""
    if not schema.min_input <= len(node.input) <= schema.max_input:
        return f"{node.op_type} of opset {schema.since_version} does not take {len(node.input)} inputs"
    kinds = AttributeProto.AttributeType
    given = {each.name: getattr(OpSchema.AttrType, kinds.Name(each.type), None) for each in node.attribute}
    for name, attribute in schema.attributes.items():
        if (attribute.required and name not in given) or given.get(name, attribute.type) != attribute.type:
            return f"its attribute {name} is missing, or of another type than {node.op_type} has"
    return ""


@cache
def _history() -> Mapping[str, Sequence[OpSchema]]:
    """Every version of every operator of the default domain, the oldest first."""
    found = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain:
            found[schema.name].append(schema)
    return {name: sorted(schemas, key=lambda schema: schema.since_version) for name, schemas in found.items()}


def _extends(newer: OpSchema, older: OpSchema) -> bool:
    """Whether all that `older` takes is taken by `newer`, with the same defaults."""
    given = {name: attribute for name, attribute in newer.attributes.items() if name in older.attributes}
    added = newer.attributes.keys() - older.attributes.keys()
    return (
        not newer.deprecated
        and _extends_parameters(newer.inputs, older.inputs)
        and _extends_parameters(newer.outputs, older.outputs)
        and len(given) == len(older.attributes)
        and not any(newer.attributes[name].required for name in added)
        and all(_is_same_attribute(attribute, older.attributes[name]) for name, attribute in given.items())
    )


def _extends_parameters(newer: Sequence[OpSchema.FormalParameter], older: Sequence[OpSchema.FormalParameter]) -> bool:
    """Whether what was a parameter still is one of the same place and no fewer types, and others may be left out."""
    options = OpSchema.FormalParameterOption
    return (
        len(newer) >= len(older)
        and all(
            new.types >= old.types and (new.option == old.option or new.option == options.Optional)
            for new, old in zip(newer, older, strict=False)
        )
        and all(new.option == options.Optional for new in newer[len(older) :])
    )


def _is_same_attribute(newer: OpSchema.Attribute, older: OpSchema.Attribute) -> bool:
    defaults = [attribute.default_value.SerializeToString() for attribute in (newer, older)]
    return newer.type == older.type and newer.required <= older.required and defaults[0] == defaults[1]
