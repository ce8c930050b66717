"""How much memory a process holds after three rounds over many shapes, and after six, printed in bytes.

A program, because what a process did before decides how much of its memory is free already.
"""

from __future__ import annotations

import numpy as np

from onnx_fft.timing.worker import read_memory
from tests.native_models import Conv, conv_model, open_session

CONV = Conv(extents=(40, 40), kernel=(9, 9), channels=(16, 32), group=1, batch=1, pads=(4,) * 4).lifted()
SIDES = range(20, 220, 5)
ROUNDS = 6


def main() -> None:
    session = open_session(conv_model(CONV, CONV.arrays()), threads=2)
    held = []
    for number in range(ROUNDS):
        rng = np.random.default_rng(number)
        for side in rng.permutation(list(SIDES)):
            session.run(None, {"x": rng.standard_normal((1, 16, 3, side, side), dtype=np.float32)})
        held.append(read_memory()[0])
    print(held[2], held[-1])


if __name__ == "__main__":
    main()
