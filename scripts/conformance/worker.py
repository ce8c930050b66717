"""One Python runtime on every model of a folder: `python -P worker.py RUNTIME FOLDER OUT`.

RUNTIME is onnxruntime, native (with the library that ONNX_FFT_LIBRARY names), reference or openvino; the environment
must have that one and NumPy, but not this project. OUT is a folder: each entry of `FOLDER/manifest.json` adds a line of
JSON to `OUT/results.jsonl`, with the outputs' dtype, shape and raw file, or with the error the runtime gave. The first
line says which version ran. Nothing is judged here.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Feeds = dict[str, Array]
Ran = tuple[list[Array], dict[str, int]]
"""Outputs in order, and how many nodes of each type ran; empty if the runtime does not say."""
Run = Callable[[Path, Feeds, Path], Ran]


def open_onnxruntime(library: str = "") -> tuple[str, Run]:
    """The CPU provider with all optimizations, two threads, and that custom-op library, if any."""
    ort: Any = importlib.import_module("onnxruntime")

    def run(model: Path, feeds: Feeds, scratch: Path) -> Ran:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 2
        options.enable_profiling = True
        if library:
            options.register_custom_ops_library(library)
        options.profile_file_prefix = str(scratch / "profile")
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        values = session.run(None, feeds)
        profile = Path(session.end_profiling())
        events = json.loads(profile.read_text())
        profile.unlink()
        ran = Counter(e["args"]["op_name"] for e in events if e.get("name", "").endswith("_kernel_time"))
        return values, dict(ran)

    return f"ONNX Runtime {ort.__version__}", run


def open_reference() -> tuple[str, Run]:
    """onnx's ReferenceEvaluator: NumPy, node by node."""
    onnx: Any = importlib.import_module("onnx")
    reference: Any = importlib.import_module("onnx.reference")

    def run(model: Path, feeds: Feeds, scratch: Path) -> Ran:
        evaluator = reference.ReferenceEvaluator(str(model))
        return evaluator.run(None, feeds), dict(Counter(node.op_type for node in evaluator.rt_nodes_))

    return f"onnx {onnx.__version__}", run


def open_openvino() -> tuple[str, Run]:
    """The CPU plugin in float32: by default OpenVINO computes in bfloat16 if the processor has it."""
    openvino: Any = importlib.import_module("openvino")
    core = openvino.Core()
    wishes = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 2, "INFERENCE_PRECISION_HINT": "f32"}

    def run(model: Path, feeds: Feeds, scratch: Path) -> Ran:
        compiled = core.compile_model(core.read_model(model), "CPU", wishes)
        outputs = compiled(feeds)
        nodes = compiled.get_runtime_model().get_ordered_ops()
        kinds = Counter(node.get_rt_info()["layerType"].astype(str) for node in nodes)
        return [np.array(outputs[output]) for output in compiled.outputs], dict(kinds)

    return f"OpenVINO {openvino.__version__.split('-')[0]}", run


RUNTIMES: Mapping[str, Callable[[], tuple[str, Run]]] = {
    "onnxruntime": open_onnxruntime,
    "native": lambda: open_onnxruntime(os.environ["ONNX_FFT_LIBRARY"]),
    "reference": open_reference,
    "openvino": open_openvino,
}


def run_entry(entry: Mapping[str, Any], folder: Path, out: Path, run: Run) -> dict[str, Any]:
    """The line of one entry."""
    feeds = {
        feed["name"]: np.fromfile(folder / feed["file"], np.dtype(feed["dtype"])).reshape(feed["shape"])
        for feed in entry["feeds"]
    }
    try:
        with np.errstate(all="ignore"):
            values, ran = run(folder / entry["model"], feeds, out)
    except Exception as error:  # whatever the runtime raises is its answer
        return {"name": entry["name"], "error": f"{type(error).__name__}: {error}"}
    outputs = []
    for number, value in enumerate(values):
        file = f"{entry['name']}.output{number}.bin"
        (out / file).write_bytes(np.ascontiguousarray(value).tobytes())
        outputs.append({"dtype": str(value.dtype), "shape": value.shape, "file": file})
    return {"name": entry["name"], "error": "", "outputs": outputs, "ran": ran}


def main() -> int:
    """Run every entry; the exit code is 0 even if some failed, which the lines say."""
    runtime, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    version, run = RUNTIMES[runtime]()
    with (out / "results.jsonl").open("w") as lines:
        print(json.dumps({"version": version}), file=lines)
        for entry in json.loads((folder / "manifest.json").read_text())["entries"]:
            print(json.dumps(run_entry(entry, folder, out, run)), file=lines, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
