"""Where the time of two profiles went: one row a node, a replaced Conv against all the nodes that took its place.

ONNX Runtime names what it ran after its own rewriting, and a row needs names both models share:

1. A node keeps its name; a nameless one runs as `<op_type>_<index>`, Constant nodes not counted, and is called by its
   first output here, because indices shift when a Conv is replaced.
2. A Conv in the blocked layout runs as `<tensor>_nchwc`, after the output of the last node fused into it (its
   BatchNormalization, activation or residual sum). So a Conv is looked for along the chain of its sole readers.
3. Reorder nodes, which change the layout, are ONNX Runtime's own: one row for all of them.

Names seen with ONNX Runtime 1.32. What is not recognized has a row of its own, and its Conv no time in that column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onnx import ModelProto, NodeProto

from onnx_fft.model.io import LoadedModel
from onnx_fft.model.scopes import walk_bodies
from onnx_fft.provenance import LOWERING_KEY, REPLACES_KEY
from onnx_fft.sites.find import find_sites
from onnx_fft.sites.site import Site
from onnx_fft.timing.launch import CONTAINERS, NodeTime

LAYOUT_OPS = ("ReorderInput", "ReorderOutput")
BLOCKED = "_nchwc"
MAX_FUSED = 4
"""Nodes behind a Conv that ONNX Runtime may have fused into it."""


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A node, or a Conv and its replacement: profiled seconds a run in each model, None if it was not seen there.

    `nodes` counts the nodes that ran for it in the rewritten model; `lowering` is "" for what was not replaced.
    """

    name: str
    op_type: str
    lowering: str
    original_s: float | None
    rewritten_s: float | None
    nodes: int

    @property
    def larger_s(self) -> float:
        """The larger of the two times."""
        return max(self.original_s or 0.0, self.rewritten_s or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


@dataclass(slots=True)
class _Row:
    op_type: str
    lowering: str = ""
    original_s: float | None = None
    rewritten_s: float | None = None
    nodes: int = 0


def compare_nodes(
    original: LoadedModel, rewritten: LoadedModel, before: Sequence[NodeTime], after: Sequence[NodeTime]
) -> tuple[NodeChange, ...]:
    """The rows of both profiles, replaced Convs first, the longest first among each; empty without profiles."""
    if not before or not after:
        return ()
    marks = _find_marks(rewritten.model)
    replaced = {site for site, _ in marks.values()}
    sites = [s for s in find_sites(LoadedModel(original.model, original.base_dir)) if s.name in replaced]
    owners = _find_owners(original.model, sites, {node.name for node in before})
    lowerings = dict(marks.values())
    rows = {site.name: _Row(site.op_type, lowerings[site.name]) for site in sites}
    labels = _label_nameless(original.model)
    for node in _drop_containers(before):
        row = rows.setdefault(owners.get(node.name) or _label(node, labels), _Row(node.op_type))
        row.original_s = (row.original_s or 0.0) + node.seconds
    labels = _label_nameless(rewritten.model)
    folders = {name.rpartition("/")[0]: mark for name, mark in marks.items() if "/" in name}
    for node in _drop_containers(after):
        site, lowering = marks.get(node.name) or folders.get(node.name.rpartition("/")[0], ("", ""))
        row = rows.setdefault(site or _label(node, labels), _Row(node.op_type, lowering))
        row.rewritten_s = (row.rewritten_s or 0.0) + node.seconds
        row.nodes += 1
    return _sort_rows(rows)


def _drop_containers(nodes: Sequence[NodeTime]) -> Iterator[NodeTime]:
    """All but the nodes whose bodies are counted."""
    return (node for node in nodes if node.op_type not in CONTAINERS)


def _sort_rows(rows: Mapping[str, _Row]) -> tuple[NodeChange, ...]:
    changes = [NodeChange(name, **asdict(row)) for name, row in rows.items()]
    seen = [change for change in changes if change.original_s is not None or change.rewritten_s is not None]
    return tuple(sorted(seen, key=lambda change: (not change.lowering, -change.larger_s)))


def _find_marks(model: ModelProto) -> dict[str, tuple[str, str]]:
    """By node name, the site each node of a fragment was written for and its lowering, as the rewrite marked them."""
    marks = {}
    for body in walk_bodies(model):
        for node in body.node:
            entries = {entry.key: entry.value for entry in node.metadata_props}
            if REPLACES_KEY in entries:
                marks[node.name] = (entries[REPLACES_KEY], entries.get(LOWERING_KEY, ""))
    return marks


def _find_owners(model: ModelProto, sites: Sequence[Site], ran: set[str]) -> dict[str, str]:
    """The site by the name ONNX Runtime ran it under: the nearest of its possible names that is among `ran`."""
    indexed = {id(node): name for name, node in _walk_indexed(model)}
    owners: dict[str, str] = {}
    for site in sites:
        readers = _find_readers(site)
        names = [site.node.name or indexed.get(id(site.node), ""), f"{site.node.output[0]}{BLOCKED}"]
        tensor = site.output
        for _ in range(MAX_FUSED):
            names.append(f"{tensor}{BLOCKED}")
            if len(readers.get(tensor, ())) != 1:
                break
            tensor = "".join(readers[tensor][0].output[:1])
        found = next((name for name in names if name in ran and name not in owners), None)
        if found is not None:
            owners[found] = site.name
    return owners


def _find_readers(site: Site) -> dict[str, list[NodeProto]]:
    readers: dict[str, list[NodeProto]] = {}
    for node in site.scope.body.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _walk_indexed(model: ModelProto) -> Iterator[tuple[str, NodeProto]]:
    """Nameless nodes under the names ONNX Runtime gives them."""
    for body in walk_bodies(model):
        for index, node in enumerate(node for node in body.node if node.op_type != "Constant"):
            if not node.name:
                yield f"{node.op_type}_{index}", node


def _label_nameless(model: ModelProto) -> dict[str, str]:
    return {name: node.output[0] for name, node in _walk_indexed(model) if node.output}


def _label(node: NodeTime, labels: Mapping[str, str]) -> str:
    """What the row of a node is called: the same in both models."""
    if node.op_type in LAYOUT_OPS:
        return "layout changes"
    name = re.sub(r"_token_\d+$", "", node.name)
    return labels.get(name, name).removesuffix(BLOCKED)
