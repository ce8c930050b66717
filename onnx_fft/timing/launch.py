"""Times models against each other in a process of its own (`worker` says why) and brings back the samples.

Peak memory is measured apart from the times, in one more process for each model, which loads it, runs it, and ends. In
a shared process, the second model would use memory that the first one left behind, and only the sum has a peak.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from onnx.external_data_helper import uses_external_data

from onnx_fft.host import cpu_model
from onnx_fft.model.external import external_path
from onnx_fft.model.io import LoadedModel, with_real_data
from onnx_fft.model.scopes import walk_tensors
from onnx_fft.runtime.cuda import DEVICE, PROVIDER, gpu_name
from onnx_fft.runtime.engines import CPU_PROVIDERS, EngineError, Value
from onnx_fft.timing.stats import Spread, summarize

WORKER = Path(__file__).with_name("worker.py")
PROFILE_RUNS = 3
CONTAINERS = ("If", "Loop", "Scan")
"""Nodes whose time in a profile is that of the nodes in their bodies, which are listed too."""


@dataclass(frozen=True, slots=True)
class Host:
    """Where, on what and when something was timed; `threads` is None if ONNX Runtime chose.

    `busy_cores` is how many cores other programs kept busy meanwhile, None if the system does not say.
    """

    cpu: str
    cores: int
    system: str
    onnxruntime: str
    threads: int | None
    date: str
    busy_cores: float | None = None
    gpu: str = ""
    """What took part beside the CPU, "" for nothing."""


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One node of a profiled run: seconds a run. Only the shares mean something: profiling costs time."""

    name: str
    op_type: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ModelTiming:
    """One model: seconds of a run in each round, seconds to load a session, bytes on disk, and its profile.

    `peak_bytes` is the most memory a process of its own held while it loaded and ran the model, less what it held
    before; None if that was not asked for or the system does not say.
    """

    samples_s: tuple[float, ...]
    load_s: float
    file_bytes: int
    providers: tuple[str, ...] = ()
    nodes: tuple[NodeTime, ...] = ()
    peak_bytes: int | None = None

    @property
    def run_s(self) -> Spread:
        """Seconds of one run: median and quartiles."""
        return summarize(self.samples_s)

    @property
    def seconds_by_op_type(self) -> dict[str, float]:
        """Profiled seconds a run by operator type, the largest first; containers count through their bodies."""
        totals: dict[str, float] = {}
        for node in self.nodes:
            if node.op_type not in CONTAINERS:
                totals[node.op_type] = totals.get(node.op_type, 0.0) + node.seconds
        return dict(sorted(totals.items(), key=lambda item: -item[1]))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, with the median and quartiles of the samples."""
        return {"run_s": self.run_s.to_dict(), **asdict(self)}


def time_models(
    sources: Sequence[LoadedModel],
    feeds: Mapping[str, Value],
    *,
    threads: int | None = None,
    budget_s: float,
    profile: bool = False,
    memory: bool = False,
    custom_ops: Sequence[str | Path] = (),
    cuda: bool = False,
    in_place: bool = False,
) -> tuple[tuple[ModelTiming, ...], Host]:
    """Time `sources`, all under the same `feeds`, interleaved for about `budget_s` seconds.

    `profile` adds the time of each node, `memory` the peak memory of each model. With `cuda`, the CUDA provider runs
    them, with its defaults, inputs and outputs on the GPU. With `in_place`, inputs and outputs stay where ONNX Runtime
    has them, as between the nodes of a model; else each run copies its outputs into new arrays, as `run` does.

    Raises EngineError if ONNX Runtime does not run one of them.
    """
    with tempfile.TemporaryDirectory(prefix="onnx-fft-") as scratch:
        folder = Path(scratch)
        sources = [with_real_data(source) for source in sources]
        paths = [_store_model(source, folder / f"model{i}.onnx") for i, source in enumerate(sources)]
        job = {
            "models": paths,
            "base_dirs": [str(s.base_dir) if s.path is None and s.base_dir else "" for s in sources],
            "feeds": _store_feeds(feeds, folder / "feeds.npz"),
            "threads": threads or 0,
            "budget_s": budget_s,
            "profile_runs": PROFILE_RUNS if profile else 0,
            "custom_ops": [str(library) for library in custom_ops],
            "providers": [PROVIDER, *CPU_PROVIDERS] if cuda else CPU_PROVIDERS,
            "device": DEVICE if cuda else "cpu" if in_place else "",
        }
        result = _run_worker(job, folder)
        peaks = [
            _run_worker(job | {"memory_of": i}, folder)["peak_bytes"] if memory else None for i in range(len(paths))
        ]
        sizes = [_count_bytes(source, Path(path)) for source, path in zip(sources, paths, strict=True)]
    models = tuple(itertools.starmap(_read_timing, zip(result["models"], sizes, peaks, strict=True)))
    return models, _make_host(result, threads, gpu_name() if cuda else "")


def _run_worker(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The worker's result; `-P`, which Python 3.10 does not know, keeps its folder off the import path."""
    job_path, result_path = folder / "job.json", folder / "result.json"
    result_path.unlink(missing_ok=True)
    job_path.write_text(json.dumps(job))
    safe_path = ["-P"] if sys.version_info >= (3, 11) else []
    command = [sys.executable, *safe_path, str(WORKER), str(job_path), str(result_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not result_path.is_file():
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise EngineError(f"the timing process ended with code {done.returncode}: {said[0]}")
    result: dict[str, Any] = json.loads(result_path.read_text())
    if "error" in result:
        raise EngineError(f"onnxruntime: {result['error']}")
    return result


def _store_model(source: LoadedModel, path: Path) -> str:
    """Where the worker finds the model; written to `path` if it has no file of its own."""
    if source.path is not None:
        return str(source.path.absolute())
    path.write_bytes(source.model.SerializeToString())
    return str(path)


def _store_feeds(feeds: Mapping[str, Value], path: Path) -> dict[str, tuple[int | None, bool]]:
    """Write input `i` as `i.0`, and `i.1`, ... for a sequence; by name, a sequence's length and whether it is text."""
    arrays: dict[str, Any] = {}
    kinds: dict[str, tuple[int | None, bool]] = {}
    for number, (name, value) in enumerate(feeds.items()):
        parts = [np.asarray(part) for part in (value if isinstance(value, list) else [value])]
        is_text = any(part.dtype == np.object_ for part in parts)
        kinds[name] = (len(parts) if isinstance(value, list) else None, is_text)
        arrays |= {f"{number}.{i}": part.astype(str) if is_text else part for i, part in enumerate(parts)}
    np.savez(path, **arrays)
    return kinds


def _count_bytes(source: LoadedModel, path: Path) -> int:
    """Bytes of the model file and of the data files it names."""
    external = {external_path(t, source.base_dir) for t in walk_tensors(source.model) if uses_external_data(t)}
    return path.stat().st_size + sum(file.stat().st_size for file in external)


def _read_timing(found: dict[str, Any], file_bytes: int, peak_bytes: int | None) -> ModelTiming:
    return ModelTiming(
        samples_s=tuple(found["samples_s"]),
        load_s=found["load_s"],
        file_bytes=file_bytes,
        providers=tuple(found["providers"]),
        nodes=tuple(NodeTime(**node) for node in found["nodes"]),
        peak_bytes=peak_bytes,
    )


def _make_host(result: dict[str, Any], threads: int | None, gpu: str) -> Host:
    system = f"{platform.system()} {platform.machine()}"
    return Host(
        cpu=cpu_model(),
        cores=os.cpu_count() or 1,
        system=system,
        onnxruntime=result["onnxruntime"],
        threads=threads,
        date=date.today().isoformat(),
        busy_cores=result["busy_cores"],
        gpu=gpu,
    )
