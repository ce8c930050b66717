"""Models in ONNX's text form, and the one site in them."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from onnx_fft.model.io import LoadedModel, load_model
from onnx_fft.model.scopes import Evaluate
from onnx_fft.sites.conv import ConvSite
from onnx_fft.sites.find import find_sites
from onnx_fft.sites.spec import ConvSpec
from tests.models import parse_model

RNG = np.random.default_rng(3)
SHAPES = {"W": (4, 3, 3, 3), "B": (4,), "S": (4,)}
CONSTANTS = {name: RNG.random(shape, np.float32) + np.float32(0.5) for name, shape in SHAPES.items()}


def parse(text: str, **versions: int) -> ModelProto:
    """A model from ONNX's text form, with the weight `W` and the vectors `B` and `S` if it does not define them."""
    return parse_model(text, CONSTANTS, **versions)


def find_convs(source: LoadedModel, evaluate: Evaluate | None = None) -> tuple[ConvSite, ...]:
    return tuple(site for site in find_sites(source, evaluate) if isinstance(site, ConvSite))


def only_site(model: ModelProto) -> ConvSite:
    (site,) = find_convs(load_model(model))
    return site


def spec_of(model: ModelProto) -> ConvSpec:
    site = only_site(model)
    assert site.refusal is None
    assert site.spec is not None
    return site.spec
