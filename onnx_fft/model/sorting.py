"""Nodes into an order in which each is read after it is made, as the standard asks for and some exporters forget.

ONNX Runtime sorts what it loads; onnx's checker and its evaluator do not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from onnx import ModelProto, NodeProto

from onnx_fft.model.scopes import copy_node, free_inputs, walk_bodies


def count_late(model: ModelProto) -> int:
    """How many nodes read what a later node of their body makes."""
    return sum(_is_late(*item) for body in walk_bodies(model) for item in enumerate(_find_makers(body.node)))


def sort_nodes(model: ModelProto) -> None:
    """Sort the nodes of every body in place; nodes keep their order wherever they can.

    A cycle is left as it is, for `check_structure` to name.
    """
    for body in walk_bodies(model):  # which looks into the nodes of a body only after it is sorted
        before = _find_makers(body.node)
        if any(_is_late(*item) for item in enumerate(before)) and len(order := _run(before)) == len(before):
            nodes = [copy_node(body.node[place]) for place in order]
            del body.node[:]
            body.node.extend(nodes)


def _is_late(place: int, makers: set[int]) -> bool:
    return any(maker >= place for maker in makers)


def find_cycle(nodes: Sequence[NodeProto]) -> list[int]:
    """Places of nodes of which each reads what the next makes, and the last what the first makes; [] for none."""
    before = _find_makers(nodes)
    left = set(range(len(nodes))) - set(_run(before))
    seen = dict[int, int]()
    place = min(left, default=-1)
    while left and place not in seen:
        seen[place] = len(seen)
        place = min(before[place] & left)  # each of these waits for another of them
    return list(seen)[seen.get(place, 0) :]


def _find_makers(nodes: Sequence[NodeProto]) -> list[set[int]]:
    """For each node, the places of those that make what it reads, be it in a body of it."""
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    return [{makers[name] for name in free_inputs(node) if name in makers} for node in nodes]


def _run(before: Sequence[set[int]]) -> list[int]:
    """The first of all orders, as far as one goes: of the nodes that could run next, always the foremost."""
    readers = defaultdict[int, list[int]](list)
    for place, makers in enumerate(before):
        for maker in makers:
            readers[maker].append(place)
    missing = [len(makers) for makers in before]
    ready = [place for place, count in enumerate(missing) if not count]
    heapify(ready)
    order = []
    while ready:
        place = heappop(ready)
        order.append(place)
        for reader in readers[place]:
            missing[reader] -= 1
            if not missing[reader]:
                heappush(ready, reader)
    return order
