"""Trains the article's network on synthetic images, with PyTorch (the package's extra `article`).

PyTorch's order of summation depends on the machine, so the same seed gives slightly other weights elsewhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from scripts.article.images import Images, draw_images
from scripts.article.network import CONVS, HIDDEN, KERNEL, count_features

IMAGES = 3000
SEED_IMAGES, SEED_WEIGHTS = 1, 0
EPOCHS, BATCH, RATE = 8, 8, 1e-3


def train(say: Callable[[str], None]) -> dict[str, npt.NDArray[np.float32]]:
    """The weights after EPOCHS passes over IMAGES images, by name; raises ImportError without PyTorch."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)  # such small layers gain nothing from a second one
    torch.manual_seed(SEED_WEIGHTS)
    say(f"drawing {IMAGES} images")
    images = draw_images(IMAGES, SEED_IMAGES)
    layers, forward = _make_layers(torch)
    parameters = [parameter for layer in layers.values() for parameter in layer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    for epoch in range(EPOCHS):
        loss = _run_epoch(torch, images, forward, optimizer, np.random.default_rng((SEED_WEIGHTS, epoch)))
        say(f"epoch {epoch + 1} of {EPOCHS}: loss {loss:.3f}")
    return {
        f"{name}.{key}": value.detach().numpy()
        for name, layer in layers.items()
        for key, value in layer.named_parameters()
    }


def _make_layers(torch: Any) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """The layers by name, and the function `[batch, 1, SIZE, SIZE]` -> logits `[batch]` made of them."""
    convs = {f"conv{number + 1}": torch.nn.Conv2d(1, 1, KERNEL) for number in range(CONVS)}
    for conv in convs.values():
        # Mean 1/9: if all outputs of a lone filter start negative, ReLU stops them and it never learns.
        torch.nn.init.uniform_(conv.weight, -1 / KERNEL**2, 3 / KERNEL**2)
    hidden = torch.nn.Linear(count_features(KERNEL, is_padded=False), HIDDEN)
    logit = torch.nn.Linear(HIDDEN, 1)

    def forward(x: Any) -> Any:
        for conv in convs.values():
            x = torch.nn.functional.max_pool2d(torch.relu(conv(x)), 2)
        return logit(torch.relu(hidden(x.flatten(1))))[:, 0]

    return {**convs, "hidden": hidden, "logit": logit}, forward


def _run_epoch(
    torch: Any, images: Images, forward: Callable[[Any], Any], optimizer: Any, rng: np.random.Generator
) -> float:
    """One pass over all images in random order; the mean loss."""
    losses = []
    for chosen in np.array_split(rng.permutation(len(images)), len(images) // BATCH):
        part = Images(images.pixels[chosen], images.labels[chosen])
        x = torch.from_numpy(part.scale().astype(np.float32)[:, None])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            forward(x), torch.from_numpy(part.labels.astype(np.float32))
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))
