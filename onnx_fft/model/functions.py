"""Model-local functions, and operator domains, in a model that may never have had any.

Functions came with IR version 8. Before version 4 every initializer had to be a graph input as well, without being
meant to change: `Scope` and ONNX Runtime take it for a constant there. From version 4 on, such an input says that a
caller may override it, which would end constant folding for every other node of the model. So these inputs go when the
version is raised over that border; a caller cannot tell, since ONNX Runtime does not list them as inputs in old models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from onnx import FunctionProto, ModelProto
from onnx.helper import make_opsetid

from onnx_fft.model.scopes import IR_WITH_CONSTANT_INITIALIZERS, Scope, is_graph

IR_WITH_FUNCTIONS = 8


def add_functions(model: ModelProto, scope: Scope, functions: Sequence[FunctionProto]) -> None:
    """Let nodes of `scope` call `functions`: raise the IR version, import their domains, add those the model lacks.

    They come first, since onnx's evaluator wants a function to be known before the one that calls it. Call this before
    anything is spliced into `scope`, whose view of the model is kept up to date.
    """
    if not functions:
        return
    _raise_ir_version(model)
    _refresh(scope, model.ir_version)
    known = {(function.domain, function.name) for function in model.functions}
    for function in functions:
        if (function.domain, function.name) not in known:
            model.functions.insert(0, function)
        import_domains(model, scope, [function.domain])


def import_domains(model: ModelProto, scope: Scope, domains: Iterable[str]) -> None:
    """Let nodes of `scope` be of these operator domains, version 1.

    Bodies go by the model's imports; a function has its own, and is inlined into a model that needs them too.
    """
    root = scope
    while root.parent is not None:
        root = root.parent
    for domain in domains:
        for imports in (model.opset_import, *(() if is_graph(root.body) else (root.body.opset_import,))):
            _import_domain(imports, domain)


def is_same_function(one: FunctionProto, other: FunctionProto) -> bool:
    """Whether two functions take the same and compute the same, be it in different opsets."""
    signatures = [(list(f.input), list(f.output), sorted(f.attribute)) for f in (one, other)]
    bodies = [[node.SerializeToString(deterministic=True) for node in f.node] for f in (one, other)]
    return signatures[0] == signatures[1] and bodies[0] == bodies[1]


def freeze_initializers(model: ModelProto) -> list[str]:
    """Make constants, in place, of initializers that are graph inputs as well; the names of those that were none.

    Before IR version 4 all of them are inputs and constants, and remain so.
    """
    return [] if model.ir_version < IR_WITH_CONSTANT_INITIALIZERS else _drop_inputs(model)


def _drop_inputs(model: ModelProto) -> list[str]:
    """Remove the graph inputs that have an initializer, and name them."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {tensor.values.name for tensor in graph.sparse_initializer}
    dropped = [value.name for value in graph.input if value.name in constants]
    for place in reversed([place for place, value in enumerate(graph.input) if value.name in constants]):
        del graph.input[place]
    return dropped


def _raise_ir_version(model: ModelProto) -> None:
    if model.ir_version < IR_WITH_CONSTANT_INITIALIZERS:
        _drop_inputs(model)
    model.ir_version = max(model.ir_version, IR_WITH_FUNCTIONS)


def _refresh(scope: Scope, ir_version: int) -> None:
    """Tell a scope and those around it of the new version."""
    while True:
        if scope.ir_version < IR_WITH_CONSTANT_INITIALIZERS and scope.parent is None:
            scope.inputs -= scope.tensors.keys()
        scope.ir_version = ir_version
        if scope.parent is None:
            return
        scope = scope.parent


def _import_domain(imports: Any, domain: str) -> None:
    if all(entry.domain != domain for entry in imports):
        imports.append(make_opsetid(domain, 1))
