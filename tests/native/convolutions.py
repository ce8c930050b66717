"""The convolutions that several tests of the native library try: at its edges, in sweeps, and for several threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from tests.native_models import Conv

EDGES = {
    "kernel as long as the input": Conv(extents=(31,), kernel=(31,), pads=(0, 0)),
    "kernel as large as the input": Conv(extents=(13, 11), kernel=(13, 11), pads=(0,) * 4),
    "kernel as large as the body": Conv(extents=(3, 5, 8), kernel=(3, 5, 7), pads=(0, 0, 0, 0, 0, -1)),
    "one output of a stride": Conv(extents=(20,), kernel=(11,), strides=(16,), pads=(0, 0)),
    "one output of a dilation": Conv(extents=(21,), kernel=(3,), dilations=(10,), pads=(0, 0)),
    "one sample": Conv(extents=(1,), kernel=(1,), pads=(0, 0)),
    "one sample, long kernel": Conv(extents=(1,), kernel=(63,), pads=(31, 31)),
    "two samples": Conv(extents=(2, 2), kernel=(2, 2)),
    "primes": Conv(extents=(211,), kernel=(37,), channels=(5, 7), group=1, pads=(0, 0)),
    "primes in two dimensions": Conv(extents=(23, 29), kernel=(7, 11), channels=(3, 11), group=1, pads=(2, 3, 5, 7)),
    "primes in three dimensions": Conv(extents=(7, 11, 13), kernel=(3, 5, 2), channels=(3, 5), group=1),
    "height 1": Conv(extents=(1, 400), kernel=(1, 31), pads=(0, 15, 0, 15)),
    "height 2": Conv(extents=(2, 300), kernel=(2, 65), pads=(0, 32, 1, 32)),
    "width 1": Conv(extents=(400, 1), kernel=(31, 1), pads=(15, 0, 15, 0)),
    "height below the kernel's": Conv(extents=(3, 200), kernel=(9, 17), pads=(4, 8, 4, 8)),
    "depth 1": Conv(extents=(1, 40, 50), kernel=(1, 5, 7), pads=(0, 2, 3, 0, 2, 3)),
    "one channel": Conv(extents=(70, 50), kernel=(9, 9), channels=(1, 1), group=1, batch=1),
    "one channel to many": Conv(extents=(40, 40), kernel=(7, 7), channels=(1, 37), group=1),
    "many channels to one": Conv(extents=(40, 40), kernel=(7, 7), channels=(37, 1), group=1),
    "depthwise, 3 channels": Conv(extents=(40, 30), kernel=(9, 9), channels=(3, 3), group=3),
    "depthwise, 17 channels": Conv(extents=(300,), kernel=(33,), channels=(17, 17), group=17),
    "depthwise, 31 channels in tiles": Conv(extents=(90, 80), kernel=(5, 5), channels=(31, 31), group=31, batch=1),
    "depthwise, few taps": Conv(extents=(40, 41), kernel=(3, 3), channels=(20, 20), group=20),
    "depthwise, few taps, dilated": Conv(
        extents=(30, 41), kernel=(3, 2), channels=(7, 7), group=7, dilations=(2, 3), pads=(2, 3, 2, 0)
    ),
    "depthwise, few taps, 1-D": Conv(extents=(301,), kernel=(4,), channels=(19, 19), group=19, pads=(3, 0)),
    "depthwise, few taps, 3-D": Conv(extents=(7, 9, 11), kernel=(3, 3, 3), channels=(5, 5), group=5, pads=(1,) * 6),
    "one channel, few taps": Conv(extents=(99, 101), kernel=(3, 5), channels=(1, 1), group=1, batch=3),
    "depthwise, large kernel": Conv(
        extents=(60, 50), kernel=(31, 29), channels=(17, 17), group=17, pads=(15, 14, 15, 14)
    ),
    "depthwise, long kernel": Conv(extents=(1900,), kernel=(1201,), channels=(3, 3), group=3, pads=(600, 600)),
    "one channel, long kernel": Conv(extents=(5700,), kernel=(1601,), channels=(1, 1), group=1, batch=1, pads=(0, 0)),
    "multiplier, 19 groups": Conv(extents=(200,), kernel=(21,), channels=(19, 57), group=19),
    "5 groups of 3 and 7": Conv(extents=(30, 30), kernel=(5, 5), channels=(15, 35), group=5),
    "9 groups of 17 and 1": Conv(extents=(120,), kernel=(13,), channels=(153, 9), group=9),
    "stride above the kernel": Conv(extents=(100,), kernel=(3,), strides=(5,)),
    "strides above the kernel": Conv(extents=(40, 50), kernel=(2, 3), strides=(5, 7)),
    "stride above the input": Conv(extents=(30, 9), kernel=(5, 5), strides=(3, 50)),
    "stride and dilation of a common factor": Conv(extents=(150,), kernel=(9,), strides=(4,), dilations=(6,)),
    "stride a multiple of the dilation": Conv(extents=(150,), kernel=(9,), strides=(6,), dilations=(2,)),
    "dilation a multiple of the stride": Conv(extents=(150,), kernel=(9,), strides=(2,), dilations=(6,)),
    "stride 1 beside stride 3": Conv(extents=(40, 41), kernel=(5, 6), strides=(3, 1), dilations=(1, 2)),
    "dilation above the input": Conv(extents=(20,), kernel=(3,), dilations=(50,), pads=(50, 50)),
    "dilation above the outputs": Conv(extents=(60, 60), kernel=(3, 3), dilations=(28, 29), pads=(0,) * 4),
    "dilation of a kernel of one": Conv(extents=(20, 30), kernel=(1, 5), dilations=(99, 1)),
    "padding before the kernel": Conv(extents=(50,), kernel=(5,), pads=(40, 0)),
    "padding behind the kernel": Conv(extents=(50,), kernel=(5,), pads=(0, 40)),
    "padding above the input": Conv(extents=(6, 7), kernel=(3, 3), pads=(20, 0, 0, 30)),
    "causal": Conv(extents=(256,), kernel=(128,), channels=(8, 8), group=8, pads=(127, 0)),
    "large batch": Conv(extents=(33,), kernel=(9,), channels=(2, 2), group=1, batch=67),
}
"""Tiles, vectors, polyphase components or the input itself just begin or end here."""

SWEEPS = {
    "depthwise": (Conv(kernel=(31,), channels=(3, 3), group=3, pads=(0, 0)), ((31, 331),)),
    "long kernel": (Conv(kernel=(401,), channels=(3, 3), group=3, pads=(0, 200)), ((201, 420, 7),)),
    "many tiles": (Conv(kernel=(31,), channels=(2, 3), group=1, pads=(0, 0)), ((31, 390),)),
    "one channel": (Conv(kernel=(5,), channels=(1, 1), group=1, pads=(2, 2)), ((1, 70),)),
    "dense": (Conv(kernel=(7,), channels=(3, 5), group=1, pads=(3, 3)), ((1, 200),)),
    "whole": (Conv(kernel=(500,), channels=(1, 1), group=1, pads=(499, 20)), ((1, 160, 5),)),
    "stride and dilation": (Conv(kernel=(5,), strides=(3,), dilations=(2,), pads=(4, 1)), ((4, 150),)),
    "dilation": (Conv(kernel=(6,), dilations=(4,), pads=(0, 7)), ((14, 150),)),
    "few taps": (Conv(kernel=(3,), channels=(17, 17), group=17, dilations=(2,), pads=(2, 2)), ((1, 100),)),
    "two dimensions": (Conv(kernel=(3, 5), pads=(0, 2, 1, 2), batch=1), ((2, 20), (1, 21))),
}
"""A convolution, and for each axis the range of input extents to try, from one output to several tiles."""


def sweep(name: str) -> Iterator[Conv]:
    """The convolutions of one sweep."""
    conv, ranges = SWEEPS[name]
    for extents in product(*(range(*limits) for limits in ranges)):
        yield replace(conv, extents=extents)


PARALLEL = {
    "dense": Conv(extents=(90, 70), kernel=(7, 7), channels=(20, 36), group=1, activation="Relu").lifted(),
    "dense, few rows": Conv(extents=(30, 31), kernel=(9, 9), channels=(21, 34), group=1, batch=1).lifted(),
    "dense, few channels": Conv(extents=(150, 160), kernel=(5, 5), channels=(3, 2), group=1).lifted(),
    "groups": Conv(extents=(40, 41), kernel=(5, 5), channels=(15, 35), group=5, activation="Clip").lifted(),
    "depthwise": Conv(extents=(70, 80), kernel=(9, 9), channels=(40, 40), group=40, activation="LeakyRelu").lifted(),
    "depthwise, 3 channels": Conv(extents=(90, 95), kernel=(7, 7), channels=(3, 3), group=3).lifted(),
    "depthwise, few taps": Conv(
        extents=(90, 95), kernel=(3, 3), channels=(40, 40), group=40, activation="Clip"
    ).lifted(),
    "1-D": Conv(extents=(5000,), kernel=(63,), activation="HardSigmoid").lifted(),
    "1-D, long kernel": Conv(extents=(20_000,), kernel=(1500,), channels=(2, 2), group=2, batch=1).lifted(),
    "strides": Conv(extents=(100, 90), kernel=(9, 8), strides=(2, 3), channels=(6, 8)).lifted(),
    "dilations": Conv(extents=(100, 90), kernel=(5, 6), dilations=(3, 2), channels=(6, 8)).lifted(),
    "3-D": Conv(extents=(12, 20, 22), kernel=(3, 5, 5), pads=(1, 2, 2, 1, 2, -2), channels=(6, 8)),
    "float16": Conv(extents=(60, 60), kernel=(7, 7), dtype="float16", activation="Relu"),
    "float64": Conv(extents=(60, 60), kernel=(7, 7), channels=(8, 20), dtype="float64"),
    "by onnxruntime": Conv(extents=(60, 60), kernel=(1, 1), activation="LeakyRelu"),
}
"""Each has enough tiles or channels for several threads. All are computed by FFT except the last."""

DENSE = {
    "3x3": Conv(extents=(30, 31), kernel=(3, 3), channels=(20, 36), group=1),
    "3x3, few tiles": Conv(extents=(14, 14), kernel=(3, 3), channels=(130, 24), group=1, batch=1),
    "3x3, no multiple of a vector": Conv(extents=(19, 33), kernel=(3, 3), channels=(7, 13), group=1),
    "3x3 of an image": Conv(extents=(33, 40), kernel=(3, 3), channels=(3, 17), group=1),
    "5x5, 3 groups": Conv(extents=(37, 44), kernel=(5, 5), channels=(48, 51), group=3, pads=(2, 2, 2, 2)),
    "7x7, stride 2": Conv(extents=(65, 71), kernel=(7, 7), channels=(6, 40), group=1, strides=(2, 2), pads=(3,) * 4),
    "strides 3 and 1": Conv(extents=(40, 35), kernel=(5, 4), channels=(9, 18), group=1, strides=(3, 1)),
    "stride 3 of 1-D": Conv(extents=(200,), kernel=(11,), channels=(9, 18), group=1, strides=(3,), pads=(5, 5)),
    "dilations": Conv(extents=(40, 37), kernel=(3, 3), channels=(18, 9), group=1, dilations=(2, 3), pads=(2, 3, 2, 3)),
    "1-D": Conv(extents=(700,), kernel=(11,), channels=(18, 33), group=1, pads=(5, 5)),
    "1-D, dilation 5": Conv(extents=(501,), kernel=(7,), channels=(18, 33), group=1, dilations=(5,), pads=(15, 15)),
    "1-D, long sums": Conv(extents=(96,), kernel=(3,), channels=(1024, 16), group=1, batch=1),
    "3-D": Conv(extents=(11, 14, 19), kernel=(3, 3, 3), channels=(12, 20), group=1, pads=(1,) * 6),
    "3-D, dilation 4": Conv(
        extents=(13, 20, 21), kernel=(3, 3, 3), channels=(16, 16), group=1, dilations=(4, 4, 4), pads=(4,) * 6, batch=1
    ),
    "3-D, pads that crop": Conv(
        extents=(9, 12, 30), kernel=(2, 3, 5), channels=(6, 10), group=1, pads=(1, -2, 3, 0, 1, -1)
    ),
    "one axis of two": Conv(extents=(12, 90), kernel=(1, 9), channels=(10, 20), group=1, pads=(0, 4, 1, 4)),
}
"""Layers of ordinary networks, all of which the dense engine computes."""
