"""Which nodes of the kinds of sites a rewritten model replaced, in the graph, in bodies and in functions.

Found by names alone, whatever rewrote the model: the node's output (or that of what followed a Conv: a normalization, a
residual sum, an activation) still exists in the same body of the rewritten model, but no such node makes it. Both sides
read the same tensors, so the same input can be given to the original node, to its replacement, and to the oracle. A
body is known by what the node that holds it makes, because a rewrite changes no such name. Of MatMuls only those count
that an operator of ours replaces: other tools make other nodes of many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from onnx_fft.checks.fragments import is_constant
from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import Body, Scope, find_bodies, find_scopes, free_inputs
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.sites.conv import is_convolution
from onnx_fft.sites.conv_transpose import is_conv_transpose
from onnx_fft.sites.dft import is_fourier
from onnx_fft.sites.find import name_sites
from onnx_fft.sites.matmul import is_matmul

CONV_TYPES = ("Conv", "FusedConv")
FOLLOWER_TYPES = (
    *("Relu", "LeakyRelu", "PRelu", "Clip", "Tanh", "Sigmoid", "HardSigmoid", "HardSwish", "Swish"),
    *("BatchNormalization", "Add", "Sum", "Mul", "Div"),
    *("Slice", "Gather", "Split", "Reshape", "Transpose", "Pow", "Sqrt", "ReduceSumSquare", "ReduceL2", "ReduceSum"),
)
"""What may be computed along with a Conv or an STFT. Two nodes of an activation may read its output, `x * Sigmoid(x)`;
the last line is of what is made of bins."""
MOST_FOLLOWERS = 8

Users = Mapping[str, Sequence[NodeProto]]


@dataclass(frozen=True)
class Replaced:
    """A node of the original that something else computes now, with its scope there and the scope of what replaced it.

    `followers` are the nodes fused with it, first to last. `counterpart` is None if the replacement cannot be told from
    the rest; `obstacle` says why.
    """

    name: str
    node: NodeProto
    output: str
    scope: Scope
    counterpart: Scope | None
    followers: tuple[NodeProto, ...] = ()
    obstacle: str = ""

    @property
    def input(self) -> str:
        """What is convolved or transformed."""
        return str(self.node.input[1 if self.in_columns else 0])

    @property
    def weight(self) -> str:
        """The other operand, "" if there is none."""
        return str(self.node.input[0 if self.in_columns else 1]) if len(self.node.input) > 1 else ""

    @property
    def in_columns(self) -> bool:
        """Whether it is a MatMul whose weight comes first, as the replacement tells, in which the weight is stored."""
        if not is_matmul(self.node) or self.counterpart is None:
            return False
        maker = self.counterpart.producers[self.node.output[0]]
        return [is_constant(self.counterpart, name) for name in maker.input[:2]] == [True, False]

    @property
    def reads(self) -> tuple[str, ...]:
        """Every tensor that the original node and the nodes fused with it read: `X, W, B, Z, scale, ...`."""
        made = {name for node in (self.node, *self.followers) for name in node.output}
        names = [name for node in (self.node, *self.followers) for name in node.input]
        return tuple(name for name in dict.fromkeys(names) if name and name not in made)

    @property
    def constants(self) -> tuple[str, ...]:
        """Those of `reads` whose values have to be known: the weight, and what followers read that is not a sum.

        Of a DFT or STFT, all but what is transformed and a window.
        """
        if is_fourier(self.node):
            varying = self.node.input[: 3 if self.node.op_type == "STFT" else 1 : 2]
            return tuple(name for name in self.reads if name not in varying)
        behind = [name for node in self.followers if node.op_type not in ("Add", "Sum") for name in node.input]
        return tuple(name for name in self.reads if name == self.weight or name in behind)


def find_replaced(original: LoadedModel, rewritten: LoadedModel) -> tuple[Replaced, ...]:
    """What is replaced, named like the sites of the original, in their order."""
    after = dict(zip(_walk_keys(rewritten.model), find_scopes(rewritten.model, rewritten.base_dir), strict=True))
    scopes = find_scopes(original.model, original.base_dir)
    keys = dict(zip(scopes, _walk_keys(original.model), strict=True))
    users = {scope: _index_users(scope) for scope in scopes}

    def is_transformed(scope: Scope, node: NodeProto) -> bool:
        other = after.get(keys[scope])
        maker = None if other is None or not is_matmul(node) else other.producers.get(node.output[0])
        return maker is not None and maker.domain == OPERATOR_DOMAIN

    found = [
        _find_replacement(name, node, scope, after.get(keys[scope]), users[scope])
        for name, scope, node in name_sites(scopes, is_transformed)
        if _find_kind(node) and node.output
    ]
    return tuple(conv for conv in found if conv is not None)


def _find_replacement(name: str, node: NodeProto, scope: Scope, after: Scope | None, users: Users) -> Replaced | None:
    """The node with what took its place in `after`, None if it is still such a node."""
    output = node.output[0]
    if after is None:
        return Replaced(name, node, output, scope, None, obstacle="the body that held it is no longer there")
    maker = after.producers.get(output)
    if maker is not None:
        return None if _find_kind(maker) == _find_kind(node) else Replaced(name, node, output, scope, after)
    missing, followers, ends = [output], list[NodeProto](), set[str]()
    while missing and len(followers) <= MOST_FOLLOWERS:
        tensor = missing.pop()
        for user in users.get(tensor, ()):
            if user.op_type not in FOLLOWER_TYPES or not all(user.output):
                ends.add("")
            elif all(user is not known for known in followers):
                followers.append(user)
                for made in user.output:
                    ends.add(made) if made in after.producers else missing.append(made)
    order = {id(node): place for place, node in enumerate(scope.body.node)}
    if len(ends) == 1 and "" not in ends and not missing and all(id(node) in order for node in followers):
        ordered = tuple(sorted(followers, key=lambda node: order[id(node)]))
        return Replaced(name, node, ends.pop(), scope, after, ordered)
    return Replaced(name, node, output, scope, None, obstacle=f"its output {output!r} is no longer there")


def _find_kind(node: NodeProto) -> str:
    """The kind of node that an oracle is there for; "" for any other."""
    if is_fourier(node):
        return "transform"
    if len(node.input) < 2:
        return ""
    if is_matmul(node):
        return "matmul"
    if is_conv_transpose(node):
        return "transposed"
    return "conv" if is_convolution(node) and node.op_type in CONV_TYPES else ""


def _index_users(scope: Scope) -> Users:
    """The nodes of the scope that read each tensor, themselves or in bodies they hold."""
    users: dict[str, list[NodeProto]] = {}
    for node in scope.body.node:
        for name in free_inputs(node):
            users.setdefault(name, []).append(node)
    return users


def _walk_keys(model: ModelProto) -> Iterator[tuple[str, ...]]:
    """What each scope is known by, in the order of `find_scopes`."""
    yield from _walk_keys_within((), model.graph)
    for function in model.functions:
        yield from _walk_keys_within((function.domain, function.name, function.overload), function)


def _walk_keys_within(key: tuple[str, ...], body: Body) -> Iterator[tuple[str, ...]]:
    yield key
    for node in body.node:
        for number, (attribute, graph) in enumerate(find_bodies(node)):
            made = next(filter(None, node.output), node.name)
            yield from _walk_keys_within((*key, made, attribute, str(number)), graph)
