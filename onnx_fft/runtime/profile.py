"""Which nodes ran: one run under ONNX Runtime's profiler, read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnx_fft.ort import import_ort

KERNEL = "_kernel_time"
"""The end of the name of an event that is the run of one node (ONNX Runtime 1.17 to 1.32)."""


@dataclass(frozen=True, slots=True)
class Executed:
    """A node that ran: its name, the type of its operator, and the provider that ran it."""

    name: str
    op_type: str
    provider: str


def run_profiled(
    open_session: Callable[[Any], Any], feeds: Mapping[str, Any]
) -> tuple[list[Any], tuple[Executed, ...]]:
    """Run a model once: its outputs in order, and the nodes that ran, each once an execution.

    `open_session` makes the session from the session options it is given. Nodes inside If, Loop and Scan bodies are
    among those that ran. Nodes that ONNX Runtime folded or fused away are not. Raises ValueError if the profile names
    no node: nothing ran, or its format changed.
    """
    with TemporaryDirectory(prefix="onnx_fft-") as folder:
        options = import_ort().SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(options)
        outputs = list(session.run(None, dict(feeds)))
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = tuple(
        Executed(event["name"].removesuffix(KERNEL), event["args"]["op_name"], event["args"].get("provider", ""))
        for event in events
        if event.get("name", "").endswith(KERNEL)
    )
    if not nodes:
        raise ValueError("got a profile without a node; expected at least one: nothing ran, or its format changed")
    return outputs, nodes
