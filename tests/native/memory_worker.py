"""The most memory that a process needs to load a model with the native library and run it.

Run as a program, because a process that has done other things has had other peaks. Arguments: model, shape of its one
input. Prints the bytes that the process held before the session was made, with ONNX Runtime and the input among them,
and the most that it held.
"""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime

from onnx_fft import InferenceSession
from onnx_fft.timing.worker import read_memory

RUNS = 3
"""The second run on the same shapes is the first that plans its memory ahead."""


def main() -> None:
    path, *dims = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    x = np.random.default_rng(0).standard_normal([int(dim) for dim in dims]).astype(np.float32)
    before, _ = read_memory()
    session = InferenceSession(path, options)
    for _ in range(RUNS):
        session.run(None, {session.get_inputs()[0].name: x})
    print(before, read_memory()[1])


if __name__ == "__main__":
    main()
