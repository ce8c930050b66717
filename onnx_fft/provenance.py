"""How nodes of ours are told from others: their operator domain, and what their `metadata_props` say.

A rewritten model says of each new node which operator it stands for, which lowering wrote it, by which version, and
which target it was written for if the operators alone do not tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from onnx_fft._version import __version__

OPERATOR_DOMAIN = "onnx_fft"
"""Of the native library's operators, and of the model-local functions that stand in for them."""

REPLACES_KEY = "onnx_fft.replaces"
"""Marks nodes of ours; the value is the name of the site they stand for."""

LOWERING_KEY = "onnx_fft.lowering"
VERSION_KEY = "onnx_fft.version"
TARGET_KEY = "onnx_fft.target"
"""What the nodes are to run on, if their operators alone do not tell."""


class _Entry(Protocol):
    key: str
    value: str


class Node(Protocol):
    """What is read of a NodeProto."""

    @property
    def metadata_props(self) -> Iterable[_Entry]:
        """Its key-value pairs."""


def make_marks(site: str, lowering: str, target: str = "") -> dict[str, str]:
    """The metadata of a new node that stands for `site`."""
    marks = {REPLACES_KEY: site, LOWERING_KEY: lowering, VERSION_KEY: __version__}
    return marks | ({TARGET_KEY: target} if target else {})


def read_marks(node: Node) -> dict[str, str]:
    """The metadata of a node, ours or not."""
    return {entry.key: entry.value for entry in node.metadata_props}


def read_site(node: Node) -> str:
    """The site that this node stands for, "" if it is not one of ours."""
    return read_marks(node).get(REPLACES_KEY, "")


def is_own(node: Node) -> bool:
    """Whether the rewrite wrote this node."""
    return REPLACES_KEY in read_marks(node)
