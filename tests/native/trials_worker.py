"""Runs random convolutions through the native library and compares each with float64.

Run as a program, because the instruction set is chosen when the library is loaded. Arguments: seed, count. Prints what
is wrong, and exits with 1 if anything is.
"""

from __future__ import annotations

import sys

import numpy as np

from tests.native_models import ACTIVATIONS, Conv, assert_close, conv_model, open_session


def draw_conv(rng: np.random.Generator) -> Conv:
    """Edges are frequent: one output, kernels as long as the input, more residues or polyphase components than outputs.
    Some crop, so that the library cannot leave them to ONNX Runtime, as it does if that is faster.
    """
    rank = int(rng.integers(1, 4))
    longest = (70, 17, 6)[rank - 1]
    kernel = tuple(int(rng.integers(1, longest)) if rng.random() < 0.85 else 1 for _ in range(rank))
    strides = tuple(int(rng.choice([1, 1, 1, 2, 3, 4])) for _ in range(rank))
    dilations = tuple(int(rng.choice([1, 1, 1, 2, 3])) for _ in range(rank))
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    pads = [tuple(int(rng.integers(0, span + 1)) for span in spans) for _ in range(2)]
    room = (300, 50, 12)[rank - 1]
    extents = tuple(
        max(1, span - begin - end + int(rng.choice([0, 1, int(rng.integers(0, room))])))
        for span, begin, end in zip(spans, *pads, strict=True)
    )
    group = int(rng.choice([1, 1, 2, 3, 8, 17]))
    inner, outer = (1, int(rng.choice([1, 1, 2]))) if rng.random() < 0.4 else rng.integers(1, 4 if group > 3 else 20, 2)
    conv = Conv(
        extents=extents,
        kernel=kernel,
        group=group,
        channels=(group * int(inner), group * int(outer)),
        batch=int(rng.choice([1, 1, 2, 5])),
        dtype=str(rng.choice(["float32", "float32", "float64", "float16"])),
        activation=str(rng.choice(list(ACTIVATIONS))),
        bias=bool(rng.random() < 0.5),
        strides=strides,
        dilations=dilations,
        pads=(*pads[0], *pads[1]),
    )
    return conv.lifted() if rank < 3 and rng.random() < 0.4 else conv


def run_trial(seed: int) -> None:
    """Raises AssertionError if the library is wrong. In one of three trials weights come with every run."""
    conv = draw_conv(np.random.default_rng(seed))
    arrays = conv.arrays()
    run_time = ("w",) if seed % 3 == 0 else ()
    session = open_session(conv_model(conv, arrays, fixed=seed % 2 == 0, run_time=run_time), threads=1 + seed % 2)
    (y,) = session.run(None, {"x": arrays["x"], **{name: arrays[name] for name in run_time}})
    before = Conv(**{**vars(conv), "activation": ""}).expect(arrays)
    scale = np.sqrt(before.size) * np.linalg.norm(arrays["w"].astype(np.float64)) / np.sqrt(len(arrays["w"]))
    assert_close(y, conv.expect(arrays), conv.dtype, np.maximum(np.abs(before), 0.3 * scale / np.sqrt(before.size)))


def main() -> int:
    """Exit code: how many failed, at most one."""
    seed, count = map(int, sys.argv[1:])
    failed = 0
    for number in range(seed, seed + count):
        try:
            run_trial(number)
        except AssertionError as error:
            failed += 1
            print(f"seed {number}: {draw_conv(np.random.default_rng(number))}: {error}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
