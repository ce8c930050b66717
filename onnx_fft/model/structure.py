"""What must hold before anything else is looked at.

Every name is defined once in its body, and before it is read; no node lacks what its operator cannot be without.
onnx.checker asks for more than real models fulfil and knows no foreign operators; this asks for what a rewrite needs.
"""

from __future__ import annotations

from onnx import ModelProto

from onnx_fft.errors import InvalidModelError
from onnx_fft.model.schemas import find_lack
from onnx_fft.model.scopes import Body, find_bodies, function_key, is_graph, label_node, walk_body, walk_tensors
from onnx_fft.model.sorting import find_cycle

FIRST_IR_WITH_OPSETS = 3

CYCLE = ": a cycle, "

MAX_SHOWN = 5
"""Nodes of a cycle that a message names."""


def check_structure(model: ModelProto, what: str) -> None:
    """Raise InvalidModelError, naming `what`, if the model has no graph or its names do not add up."""
    problem = _find_problem(model)
    if problem:
        hint = "export it again; onnx.checker may say more"
        raise InvalidModelError(f"got {what}, in which {problem}", "a valid ONNX model", hint)


def _find_problem(model: ModelProto) -> str:
    if not model.HasField("graph") or not model.ir_version:
        return "there is no graph or no IR version"
    if not model.opset_import and model.ir_version >= FIRST_IR_WITH_OPSETS:
        return "no opset is imported"
    for tensor in walk_tensors(model):
        if any(dim < 0 for dim in tensor.dims):  # ONNX's shape inference would abort the process
            return f"tensor {tensor.name!r} has shape {list(tensor.dims)}"
    problems = (_find_body_problem(body, frozenset()) for body in (model.graph, *model.functions))
    return next(filter(None, problems), "") or _find_recursion(model) or find_lack(model)


def _find_body_problem(body: Body, outer: frozenset[str]) -> str:
    """What is wrong with the names of a body that sees those of `outer`, or ""."""
    known = _given_names(body)
    if not all(isinstance(name, str) for name in known):  # protobuf gives bytes then
        return "a name of an input or initializer is not UTF-8"
    for position, node in enumerate(body.node):
        if not all(isinstance(text, str) for text in (node.name, node.op_type, *node.input, *node.output)):
            return f"a name of node number {position} is not UTF-8"
        label = label_node(node, position)
        for name in node.input:
            if name and name not in known and name not in outer:
                return f"node {label!r} reads {name!r}, which nothing before it produces{_describe_cycle(body)}"
        for _, graph in find_bodies(node):
            if problem := _find_body_problem(graph, outer | known):
                return problem + ("" if CYCLE in problem else _describe_cycle(body))  # it may go through the body
        for name in filter(None, node.output):
            if name in known:
                return f"{name!r}, an output of node {label!r}, is defined twice"
            known.add(name)
    outputs = [value.name for value in body.output] if is_graph(body) else body.output
    missing = [name for name in outputs if name not in known and name not in outer]
    return f"output {missing[0]!r} is produced by no node" if missing else ""


def _describe_cycle(body: Body) -> str:
    """The names of nodes that wait for one another, if that is why they are not in order."""
    cycle = find_cycle(body.node)
    names = [repr(label_node(body.node[place], place)) for place in (*cycle[:MAX_SHOWN], *cycle[:1])]
    shown = [*names[:-1], *(["..."] if len(cycle) > MAX_SHOWN else []), *names[-1:]]
    return f"{CYCLE}{' reads '.join(shown)}" if cycle else ""


def _find_recursion(model: ModelProto) -> str:
    """Which functions call one another in a circle, or ""; the standard knows no recursion."""
    functions = {function_key(function): function for function in model.functions}
    calls = {
        key: {function_key(node) for body in walk_body(function) for node in body.node} & functions.keys()
        for key, function in functions.items()
    }
    while ends := {key for key, called in calls.items() if not called}:
        calls = {key: called - ends for key, called in calls.items() if key not in ends}
    circle = [min(calls)] if calls else []
    while circle and circle.index(circle[-1]) == len(circle) - 1:
        circle.append(min(calls[circle[-1]]))
    names = [repr(name) for _, name, _ in circle[circle.index(circle[-1]) if circle else 0 :]]
    return f"functions call one another in a circle, {' calls '.join(names)}" if names else ""


def _given_names(body: Body) -> set[str]:
    """Names defined before the first node: inputs and initializers."""
    if not is_graph(body):
        return set(body.input)
    values = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    return values | {tensor.values.name for tensor in body.sparse_initializer}
