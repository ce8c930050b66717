"""Which inputs the sites of a model really get: recorded if the model leaves lengths open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from onnx_fft.hints import Option
from onnx_fft.inputs.feeds import Feed, load_feed, read_inputs
from onnx_fft.inputs.recording import CHUNK, record_tensors
from onnx_fft.inputs.search import search_model
from onnx_fft.model.io import LoadedModel
from onnx_fft.options import RewriteOptions
from onnx_fft.runtime.libraries import find_libraries
from onnx_fft.runtime.opening import open_original
from onnx_fft.sites.site import Site, list_lengths

SEED = 0
"""Of the random inputs."""

MAX_FEEDS = 3
"""Feeds a model is timed on; those of a model with open lengths differ in shape."""

Shape = tuple[int, ...]


def find_feeds(source: LoadedModel, options: RewriteOptions) -> list[Feed]:
    """The given inputs, or random ones the model runs on, one if it fixes all shapes.

    Raises UsageError if none is found or those given do not fit, and InvalidModelError if nothing runs the model.
    """
    if options.inputs is not None:
        return [load_feed(options.inputs, read_inputs(source.model))]
    hint = ("check that it runs at all, or use ", Option("select", "auto"), ", which measures nothing")
    libraries = find_libraries([source.model], options.custom_ops)
    runner = open_original(source, custom_ops=libraries, next_step=hint)
    return search_model(source, runner, SEED, options.input_shapes)[:MAX_FEEDS]


def find_shapes(
    source: LoadedModel, sites: Sequence[Site], feeds: Sequence[Feed], custom_ops: Sequence[str | Path] = ()
) -> dict[str, tuple[Shape, ...]]:
    """The distinct shapes of each site's input, by site name.

    Read from the model if it fixes them, else recorded under `feeds`; a site with open lengths inside a body or a
    function, in which nothing can be recorded, is left out.
    """
    shapes: dict[str, tuple[Shape, ...]] = {}
    recorded = []
    libraries = find_libraries([source.model], custom_ops)
    for site in sites:
        assert site.spec is not None
        dims = list_lengths(site.spec)
        lengths = tuple(length for length in dims if length is not None)
        if len(lengths) == len(dims):
            shapes[site.name] = (lengths,)
        elif not site.scope.path:
            recorded.append(site)
    for start in range(0, len(recorded), CHUNK):
        chunk = recorded[start : start + CHUNK]
        for feed in feeds:
            tensors = record_tensors(source, [site.input for site in chunk], feed.arrays, libraries)
            for site in chunk:
                shape = np.shape(tensors[site.input])
                shapes[site.name] = tuple(dict.fromkeys((*shapes.get(site.name, ()), shape)))
    return shapes
