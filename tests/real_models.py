"""What is known about the models that scripts/models/fetch.py fetches."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from scripts.models.fetch import NAMES
from scripts.shared.standard_cases import light_paths
from tests.marks import mark_slow

QUICK_MODELS = ("silero_vad_16k_op15", "crepe_tiny")
QUICK_GRAPHS = ("squeezenet",)
"""What runs in a moment; tests of the other models are marked as slow."""


def _by_name(names: Iterable[str], quick: tuple[str, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", mark_slow(names, lambda name: name not in quick))


by_model = _by_name(NAMES, QUICK_MODELS)
"""Every model that scripts/models/fetch.py fetches."""

by_graph = _by_name(light_paths(), QUICK_GRAPHS)
"""Every ImageNet graph of the onnx package."""

REMAINING = {
    "ch_PP-OCRv4_det": {("ConvTranspose", "operator"): 2},
    "tumor_vgg16": {("Conv", "growth"): 5},
    "deepbet": {("ConvTranspose", "operator"): 6, ("Conv", "growth"): 14},
}
"""Convolutions left by `select="all"`, by operator and by the reason's code; none in the other models."""

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "rivagan_encoder": {"frame": (1, 3, 1, 70, 45), "data": (1, 32)},
    "rivagan_decoder": {"frame": (1, 3, 1, 70, 64)},
    "multistyle26": {"image": (1, 3, 64, 84)},
    "nmp": {"serving_default_input_2:0": (1, 43844, 1)},
    "tumor_vgg16": {"input": (1, 240, 240, 3)},
    "crepe_tiny": {"frames": (2, 1024)},
    "crepe_full": {"frames": (1, 1024)},
    "realesr_x2": {"data": (1, 3, 24, 40)},
    "deepbet": {"scan": (1, 1, 64, 32, 96)},
    "dnsmos_sig": {"input_1": (1, 901, 161)},
    "whisper80": {"waveforms": (1, 16_000), "waveforms_lens": (1,)},
    "whisper80_conv": {"waveforms": (1, 16_000), "waveforms_lens": (1,)},
    "kaldi": {"waveforms": (1, 16_000), "waveforms_lens": (1,)},
    "kaldi_conv": {"waveforms": (1, 16_000), "waveforms_lens": (1,)},
}
"""Shapes of open inputs that keep the validation short; other models are tried on shapes the validator finds."""
