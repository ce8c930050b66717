"""The process that times models against each other: run as a script, with a job file and a result file as arguments.

ONNX Runtime's global thread pool is set once a process, and from then on every session of that process must use it; so
the timing has a process of its own and the caller's stays as it was. One pool for all sessions is needed because the
spinning threads of two pools take each other's cores: the same Conv measured 2x slower interleaved than alone, and 0.98
to 1.02 of alone on one pool (two cores, ONNX Runtime 1.32).

The job, as JSON: `models` (paths), `base_dirs` (the folder of each one's external data, "" for the model's own folder),
`feeds` (see `launch`), `threads` (0 leaves it to ONNX Runtime), `budget_s`, `profile_runs`, `custom_ops`, `providers`,
`device` ("cuda" or "cpu" keeps inputs and outputs there, so that copying them is not timed; else ""). The result, as
JSON: `error`, or `models` (`load_s`, `samples_s`, `providers`, `nodes`), `onnxruntime` and `busy_cores`. A job that
holds `memory_of` (the number of a model) is another one: that model alone is loaded and run, and the result is
`peak_bytes`.

Knows the standard library, NumPy and ONNX Runtime only, so that it starts fast.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], object]
Clock = Callable[[], float]

WARM_UP_RUNS = 3
WARM_UP_S = 1.0
"""No further warm-up run starts after this."""
MIN_SAMPLE_S = 0.004
"""A sample is the mean of as many runs as take this long: a single short one says more about the clock."""
MAX_REPEATS = 500
MIN_ROUNDS, MAX_ROUNDS = 7, 100
RELOAD_BELOW_S = 1.0
"""A session that loads faster is loaded twice, and the second time counts: the first one also starts the runtime."""
QUIET = 4
MEMORY_RUNS = 3
"""The second run on the same shapes is the first that plans its memory ahead."""
SIZE_POOL = "set_global_thread_pool_sizes"
SPINNING_KEY = "session.intra_op.allow_spinning"
EXTERNAL_DATA_KEY = "session.model_external_initializers_file_folder_path"


def interleave(runs: Sequence[Run], budget_s: float, clock: Clock = time.perf_counter) -> list[list[float]]:
    """Time `runs` in turn for about `budget_s` in all: per run the seconds of each round, warm-up left out.

    Every other round goes the other way round, so that none always follows the same one. There are at least MIN_ROUNDS.
    """
    repeats = [_warm_up(run, clock) for run in runs]
    rounds: list[list[float]] = []
    order = list(range(len(runs)))
    started = clock()
    while len(rounds) < MIN_ROUNDS or (len(rounds) < MAX_ROUNDS and clock() - started < budget_s):
        row = [0.0] * len(runs)
        for index in order:
            row[index] = _time_run(runs[index], repeats[index], clock)
        rounds.append(row)
        order.reverse()
    return [list(column) for column in zip(*rounds, strict=True)]


def make_run(ort: Any, session: Any, feeds: dict[str, Any], device: str) -> Run:
    """One run of a session that ends when its outputs are there; on `device` if all values are plain tensors.

    `feeds` must outlive it: on the CPU a run reads them where they are.
    """
    outputs = session.get_outputs()
    values_fit = all(isinstance(value, np.ndarray) and value.dtype != np.object_ for value in feeds.values())
    if not device or not values_fit or any(not re.fullmatch(r"tensor\((?!string).*\)", o.type) for o in outputs):
        return partial(session.run, None, feeds)
    binding = session.io_binding()
    for name, value in feeds.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value, device, 0))
    for output in outputs:
        binding.bind_output(output.name, device)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def _warm_up(run: Run, clock: Clock) -> int:
    """Run until warm; how many runs make one sample."""
    started = clock()
    seconds = math.inf
    for _ in range(WARM_UP_RUNS):
        seconds = min(seconds, _time_run(run, 1, clock))
        if clock() - started > WARM_UP_S:
            break
    return max(1, min(MAX_REPEATS, math.ceil(MIN_SAMPLE_S / max(seconds, 1e-9))))


def _time_run(run: Run, repeats: int, clock: Clock) -> float:
    """Mean seconds of one run."""
    started = clock()
    for _ in range(repeats):
        run()
    return (clock() - started) / repeats


def read_nodes(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per node of an ONNX Runtime profile: seconds a run, the first (cold) run left out."""
    runs = sorted((event["ts"], event["dur"]) for event in events if event.get("name") == "model_run")
    if len(runs) < 2:
        return []
    start, count = runs[0][0] + runs[0][1], len(runs) - 1
    nodes: dict[str, dict[str, Any]] = {}
    for event in events:
        name = event.get("name", "")
        if name.endswith("_kernel_time") and event["ts"] >= start:
            fresh = {"name": name.removesuffix("_kernel_time"), "op_type": event["args"]["op_name"], "us": 0}
            nodes.setdefault(name, fresh)["us"] += event["dur"]
    return [{"name": n["name"], "op_type": n["op_type"], "seconds": n["us"] / count / 1e6} for n in nodes.values()]


def _run_job(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    ort: Any = importlib.import_module("onnxruntime")
    ort.set_default_logger_severity(QUIET)
    _share_threads(ort, job["threads"])
    feeds = _read_feeds(job["feeds"], folder)
    loaded = [_load(ort, job, index) for index in range(len(job["models"]))]
    started = (time.perf_counter(), _all_cpu_s(), time.process_time())
    runs = [make_run(ort, session, feeds, job["device"]) for session, _ in loaded]
    samples = interleave(runs, job["budget_s"])
    busy_cores = _count_busy_cores(*started)
    models = [
        {"load_s": load_s, "samples_s": seconds, "providers": session.get_providers()}
        for (session, load_s), seconds in zip(loaded, samples, strict=True)
    ]
    del loaded, runs
    for index, model in enumerate(models):
        model["nodes"] = _profile(ort, job, index, feeds, folder) if job["profile_runs"] else []
    return {"models": models, "onnxruntime": ort.__version__, "busy_cores": busy_cores}


def _measure_memory(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The most memory this process holds while it loads and runs one model, less what it holds before.

    Python, ONNX Runtime and the feeds are in the memory before, so that what is left is the model's: its file while it
    is read, weights, what prepacking and constant folding make of them, and the tensors of a run.
    """
    ort: Any = importlib.import_module("onnxruntime")
    ort.set_default_logger_severity(QUIET)
    _share_threads(ort, job["threads"])
    feeds = _read_feeds(job["feeds"], folder)
    before, _ = read_memory()
    session = _open(ort, job, job["memory_of"], _options(ort, job, job["memory_of"]))
    for _ in range(MEMORY_RUNS):
        session.run(None, feeds)
    _, peak = read_memory()
    return {"peak_bytes": None if before is None or peak is None else max(0, peak - before)}


def read_memory(status: Path = Path("/proc/self/status")) -> tuple[int | None, int | None]:
    """Bytes this process holds now, and the most it ever held; None if the system does not say (only Linux does).

    Not `resource.getrusage`: on Linux its maximum starts at that of the process that started this one.
    """
    try:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        now, most = (int(lines[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    except (OSError, KeyError, ValueError, IndexError):
        return None, None
    return now, most


def _all_cpu_s() -> float | None:
    """Seconds all cores together have worked since the machine started, None if the system does not say."""
    try:
        user, nice, system, _idle, _wait, *rest = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
        return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def _count_busy_cores(wall_s: float, all_s: float | None, own_s: float) -> float | None:
    """How many cores other programs kept busy since the three readings; they slow what is timed."""
    now_s = _all_cpu_s()
    if all_s is None or now_s is None:
        return None
    others_s = now_s - all_s - (time.process_time() - own_s)
    return round(max(0.0, others_s / (time.perf_counter() - wall_s)), 2)


def _read_feeds(kinds: dict[str, list[Any]], folder: Path) -> dict[str, Any]:
    """Arrays by input name; see `launch` for how they are stored."""
    feeds: dict[str, Any] = {}
    with np.load(folder / "feeds.npz", allow_pickle=False) as archive:
        for number, (name, (count, is_text)) in enumerate(kinds.items()):
            parts = [archive[f"{number}.{part}"] for part in range(1 if count is None else count)]
            parts = [part.astype(object) if is_text else part for part in parts]
            feeds[name] = parts[0] if count is None else parts
    return feeds


def _share_threads(ort: Any, threads: int) -> None:
    """Size the thread pool that all sessions share, if ONNX Runtime lets Python do so (1.22 does not, 1.26 does)."""
    if hasattr(ort, SIZE_POOL):
        getattr(ort, SIZE_POOL)(threads, 1)


def _options(ort: Any, job: dict[str, Any], index: int) -> Any:
    """The session options of one model: all optimizations, quiet, and the shared thread pool.

    Without one, threads that wait must sleep: pools that spin take each other's cores.
    """
    options = ort.SessionOptions()
    if hasattr(ort, SIZE_POOL):
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = job["threads"]
        options.add_session_config_entry(SPINNING_KEY, "0")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = QUIET
    if job["base_dirs"][index]:
        options.add_session_config_entry(EXTERNAL_DATA_KEY, job["base_dirs"][index])
    for library in job["custom_ops"]:
        options.register_custom_ops_library(library)
    return options


def _load(ort: Any, job: dict[str, Any], index: int) -> tuple[Any, float]:
    """A session and the seconds it took to load."""
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        session = _open(ort, job, index, _options(ort, job, index))
        seconds = time.perf_counter() - started
        if seconds > RELOAD_BELOW_S:
            break
    return session, seconds


def _open(ort: Any, job: dict[str, Any], index: int, options: Any) -> Any:
    return ort.InferenceSession(job["models"][index], options, providers=job["providers"])


def _profile(ort: Any, job: dict[str, Any], index: int, feeds: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Where the time of one model goes; a profiled run is slower, so that only the shares mean something."""
    options = _options(ort, job, index)
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / f"profile{index}")
    session = _open(ort, job, index, options)
    for _ in range(job["profile_runs"] + 1):
        session.run(None, feeds)
    return read_nodes(json.loads(Path(session.end_profiling()).read_text()))


def main(job_path: str, result_path: str) -> None:
    """Do the job and write the result; what ONNX Runtime says goes there as well."""
    try:
        job, folder = json.loads(Path(job_path).read_text()), Path(job_path).parent
        result = _measure_memory(job, folder) if "memory_of" in job else _run_job(job, folder)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        result = {"error": " ".join(str(error).split())[:400] or type(error).__name__}
    Path(result_path).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
